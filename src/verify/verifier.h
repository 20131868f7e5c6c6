// verify/verifier.h: may this image, under this name, come here? Asked between resolve and download, and before anything runs.
//
//   ASSIGN_OR_RETURN(const Verdict verdict, verifier.Verify(ctx, {.name = ref, .digest = …, .media_type = …}, repository));
//   if (!verdict.admitted()) return verdict.Refusal();
//
// What is verified is the digest that the name stood for when it was resolved: of an index, or of a manifest. An index signature covers
// its children by digest; a child's signature says nothing about the index (reliability-security 5.8).
// Fails closed: what cannot be asked, read, found or run is a refusal, unless the rule says otherwise. Errors are only for work that
// was stopped; every other outcome is a Verdict.
// Limits: SignatureLimits, ten pages of referrers, 60 s.
// Implementations are safe for concurrent use.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "digest/digest.h"
#include "reference/reference.h"
#include "registry/client.h"
#include "result/result.h"
#include "task/context.h"
#include "verify/rules.h"

namespace berth::verify {

enum class Outcome : std::uint8_t { kAllowed, kWarned, kDenied };
std::string_view Name(Outcome outcome);  // "allowed", "warned", "denied"

// Why it was not simply allowed; also what became of one signature. Of several the last in this order is told.
enum class Cause : std::uint8_t {
  kNone, kDeniedByRule, kNoRule, kDigestNotListed,
  kUnsigned, kMalformed, kWrongKey, kWrongDigest, kWrongIdentity, kOutOfDate, kTooFewKeys,
  kUnreachable, kProgramRefused, kProgramFailed,
};
std::string_view Name(Cause cause);      // "unsigned", "wrong-key", …; "" for kNone
std::optional<Cause> ParseCause(std::string_view text);

struct Finding {
  std::string where;     // "tag sha256-….sig, layer 1", "referrer sha256:…"
  Cause cause = Cause::kNone;  // kNone: good
  std::string key;       // that made it; "" when none of ours did
  std::string detail;    // of a bad one
};

struct Verdict {
  Outcome outcome = Outcome::kDenied;
  Cause cause = Cause::kNone;
  std::string rule;                    // by name
  std::string hash;                    // of that rule and the programs: the verdict holds as long as it is the same
  std::string reason, next;            // for people; "" when all is well. next: one step
  std::vector<std::string> keys;       // that matched, sorted
  std::vector<std::string> programs;   // that accepted
  std::vector<Finding> signatures;     // that were looked at
  std::optional<time::WallTime> until; // a key of it ends then, or the registry is asked again

  bool admitted() const { return outcome != Outcome::kDenied; }
  // kSignature. REQUIRES: !admitted().
  Error Refusal() const;
  std::string ToJson() const;
  static Result<Verdict> FromJson(std::string_view text);  // kCorrupt
};

struct Subject {
  reference::Reference name;
  digest::Digest digest;
  std::string media_type;
  std::uint64_t size = 0;
};

class Verifier {
 public:
  virtual ~Verifier() = default;
  // False: nothing is verified, and Decide allows everything.
  virtual bool enabled() const = 0;
  // What the rules alone say, without asking anybody; nothing when signatures or programs have to be looked at. Without a digest
  // only a refusal that no digest could change is told.
  virtual std::optional<Verdict> Decide(const reference::Reference& name, const digest::Digest* digest) const = 0;
  virtual Result<Verdict> Verify(const task::Context& ctx, const Subject& subject, registry::Repository& repository) const = 0;
  // Does a verdict of earlier still hold?
  virtual bool Holds(const Verdict& verdict, const reference::Reference& name) const = 0;
  // False: whatever is found, images of this name are let through.
  virtual bool MayRefuse(const reference::Reference& name) const = 0;
  // Under which text a verdict is kept: what it is a verdict on.
  virtual std::string KeyOf(const reference::Reference& name, const digest::Digest& digest) const = 0;
};

// What is looked at of one image, whatever is there.
struct SignatureLimits {
  std::size_t count = 64;
  std::uint64_t bytes = 4u << 20;  // all of them, with their manifests
};

// Rules, cosign signatures by key, programs.
class RuleVerifier final : public Verifier {
 public:
  RuleVerifier(Rules rules, const time::Clock& clock, time::Duration limit = std::chrono::seconds(60), SignatureLimits signatures = {})
      : clock_(clock), limit_(limit), signatures_(signatures), rules_(std::make_shared<const Rules>(std::move(rules))) {}

  // Calls under way finish with the old ones.
  void Replace(Rules rules);
  std::shared_ptr<const Rules> rules() const;

  bool enabled() const override { return rules()->enabled(); }
  std::optional<Verdict> Decide(const reference::Reference& name, const digest::Digest* digest) const override;
  Result<Verdict> Verify(const task::Context& ctx, const Subject& subject, registry::Repository& repository) const override;
  bool Holds(const Verdict& verdict, const reference::Reference& name) const override;
  bool MayRefuse(const reference::Reference& name) const override;
  std::string KeyOf(const reference::Reference& name, const digest::Digest& digest) const override;

 private:
  std::optional<Verdict> Decide(const Rules& rules, const Rule& rule, const reference::Reference& name, const digest::Digest* digest) const;

  const time::Clock& clock_;
  const time::Duration limit_;
  const SignatureLimits signatures_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Rules> rules_;  // guarded by mutex_
};

}  // namespace berth::verify
