// admission/admission.h: what becomes of an object between the one who sends it and the store: changed, judged, explained.
//
//   admission::Admission admission({.default_objects = true, .always_pull = true}, {.facts = &facts});
//   admission::Outcome out = admission.Admit(ctx, std::move(object), {.operation = …, .ns = "shop"});
//   if (out.denied) …   else Store(out.object), Show(out.changes)
//
// One implementation for the API of a node, for the webhook (admission/review.h) and for files (admission/files.h). The order is
// Kubernetes': defaults, ServiceAccount, AlwaysPullImages, then pinning (there a webhook); then the judgements in the same order. The
// object's other members are kept as they are. Blocks only where Facts and the registry are asked. Safe for concurrent use.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "admission/draft.h"
#include "admission/pin.h"
#include "admission/policies.h"
#include "admission/request.h"
#include "admission/service_account.h"
#include "json/tree.h"
#include "kube/defaults.h"
#include "kube/status.h"
#include "task/context.h"

namespace berth::admission {

struct Options {
  enum class Defaults : std::uint8_t { kNone, kPolicies, kAll } fill = Defaults::kNone;  // kPolicies: pull policies and nothing else
  kube::DefaultOptions defaults;    // the profile
  bool validate = false;            // as the API server would, with its words: 422
  bool accounts = false;            // ServiceAccount
  AccountOptions account;
  bool always_pull = false;         // AlwaysPullImages
  AlwaysPullOptions always;
  bool pin = false;
  PinOptions pinning;
  bool mutate = true, judge = true;  // a webhook has one handler for each
};

struct Parts {
  Facts* facts = nullptr;           // needed for `accounts`
  DigestCache* digests = nullptr;   // needed for `pin`
};

struct Outcome {
  json::Tree object;                     // as it would be stored; what was done so far when denied
  std::vector<Change> changes;           // in the order in which they were made
  std::vector<std::string> warnings;
  std::optional<kube::Status> denied;
  std::optional<Reason> cause;           // of a denial by a registry's answer

  // For callers outside the API: the cause's reason, kPolicy for 403, kUsage for 400 and 422, kInternal.
  Error ToError() const;
};

class Admission {
 public:
  Admission(Options options, Parts parts) : options_(std::move(options)), parts_(parts) {}
  const Options& options() const { return options_; }

  // `request.kind`: nullptr looks it up by the object's apiVersion and kind; an object without images gets its defaults only.
  Outcome Admit(const task::Context& ctx, json::Tree object, Request request) const;

 private:
  kube::Answer<> Mutate(const task::Context& ctx, Draft& draft, const Request& request, Outcome& out) const;
  kube::Answer<> Judge(const task::Context& ctx, const json::Tree& object, const Request& request, Outcome& out) const;

  const Options options_;
  const Parts parts_;
};

}  // namespace berth::admission
