// explain/facts.h: everything that is known about one image and why it is, was or would be pulled: values, no judgement.
//
// explain/explainer.h and explain/journal.h collect them, explain/advise.h judges them, explain/report.h shows them. They
// hold our own words, names, numbers and digests. No secret, no query, no remote text: what comes from outside was made
// harmless by the library that read it (registry::Attempt, credentials::MatchReport, http::Peer).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "credentials/keyring.h"
#include "policy/backoff.h"
#include "policy/defaults.h"
#include "reference/reference.h"
#include "registry/attempt.h"
#include "result/result.h"
#include "time/clock.h"
#include "verify/verifier.h"

namespace berth::explain {

struct PolicyFacts {
  policy::PullPolicy value = policy::PullPolicy::kIfNotPresent;
  bool given = false;           // in the Pod or on the command line; else the default for this name
  bool profiles_differ = false; // the other profile's default is another
};

struct PresenceFacts {
  enum class State : unsigned char { kUnknown, kAbsent, kPresent } state = State::kUnknown;
  std::string digest, platform;                // of what is there
  std::optional<time::WallTime> pulled;
  std::uint64_t size = 0;                      // compressed; 0: unknown
  bool must_prove = false;                     // imagePullCredentialsVerificationPolicy wants a pull all the same
  std::string access;                          // why, or why not; "" when nobody asked
};

// A pull secret that the Pod lists and that is not in its namespace.
struct MissingSecret {
  std::string ns, name;
  std::vector<std::string> elsewhere;          // namespaces that have one of this name
  std::string similar;                         // the nearest name in `ns`, when it is near
};

struct HostFacts {
  std::string origin;                          // "https://mirror.example"
  bool mirror = false;
};

// What one request without credentials to GET /v2/ showed. A certificate that is refused is looked at by a second one, which
// does not verify and sends nothing but that.
struct NetworkFacts {
  std::string origin, address, proxy;          // proxy "": straight
  time::Duration dns{}, tcp{}, tls{};          // each step alone
  std::string tls_version, subject, issuer;    // "" over plain HTTP
  std::vector<std::string> names;
  std::optional<time::WallTime> not_before, not_after;
  int http_version = 0, status = 0;            // 11, 20; of GET /v2/, 0: no answer
  std::string challenges;                      // "Basic", "Bearer, Basic"
  std::optional<std::chrono::seconds> clock_skew;  // the other clock minus ours, when beyond a minute
  std::optional<Error> error;
};

struct ResolvedFacts {
  std::string digest, media_type, host;
  std::vector<std::string> platforms;          // offered, at most 20
  std::string chosen;                          // the one for this node; "" when there is none
  std::uint64_t size = 0;                      // of manifest, config and layers; 0: unknown
  std::size_t layers = 0, layers_here = 0;     // of that image; on this node already
  std::uint64_t fetch_bytes = 0;               // compressed, of the layers that are not here
};

struct Facts {
  std::string image;                           // as written
  std::string ns, pod, container;              // "" for an image alone
  std::string node, platform;                  // name of the machine; "linux/amd64"
  credentials::Profile profile = credentials::Profile::kDocumented;
  bool past = false;                           // from the journal: nothing was asked now
  std::optional<time::WallTime> at;            // past: when it ended
  double seconds = 0;                          // past: how long it took

  std::optional<reference::Reference> reference;  // nothing: the name is malformed, `failure` says how
  PolicyFacts policy;
  PresenceFacts present;
  bool pull_needed = true;                     // by policy and presence
  std::vector<credentials::MatchReport> entries;  // those that matched first, in the order of use
  std::vector<MissingSecret> missing;
  std::vector<std::string> notes;              // "service account \"default\" also lists shop/ci-cred; …"
  std::optional<Error> credential_error;       // the look-up as a whole failed, and the pull with it
  std::vector<HostFacts> hosts;
  std::string certs_dir;                       // where this registry's hosts.toml and certificates are, or would be
  bool hosts_file = false;                     // there is a hosts.toml in it
  std::vector<NetworkFacts> network;
  std::vector<registry::Attempt> attempts;
  std::optional<ResolvedFacts> resolved;
  std::optional<verify::Verdict> verification; // of what the name stands for, or stood for; nothing while it is off
  std::optional<Error> failure;                // of the question to the registry, or of the pull

  std::optional<policy::Backoff::State> backoff;
  std::string waiting_reason, waiting_message; // of the Pod's container
  bool running = false;                        // the Pod's container runs: there is nothing to explain away
};

}  // namespace berth::explain
