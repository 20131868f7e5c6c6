// verify/cosign.h: are there signatures by a rule's keys for this image? Private to verify/.
//
// Looks at the tag sha256-<hex>.sig first, then at referrers (cosign's OCI 1.1 artifacts and Sigstore bundles 0.3), until the rule's
// threshold is met. A source that cannot be asked does not hide a good signature in the other one.
#pragma once

#include <vector>

#include "registry/client.h"
#include "result/result.h"
#include "task/context.h"
#include "verify/verifier.h"

namespace berth::verify {

struct Signed {
  bool enough = false;
  Cause cause = Cause::kNone;          // !enough: the one to tell
  std::string detail;                  // of that one
  std::vector<std::string> keys;
  std::vector<Finding> findings;
  std::optional<time::WallTime> until;
};

// Fails only when `ctx` ends it; `limited` is the same with the time limit of a verification.
Result<Signed> LookForSignatures(const task::Context& ctx, const task::Context& limited, const Rule& rule, const Subject& subject,
                                 const SignatureLimits& limits, registry::Repository& repository);

}  // namespace berth::verify
