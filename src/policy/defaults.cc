#include "policy/defaults.h"

#include "reference/reference.h"

namespace berth::policy {

std::string_view Name(PullPolicy policy) {
  switch (policy) {
    case PullPolicy::kAlways: return "Always";
    case PullPolicy::kIfNotPresent: return "IfNotPresent";
    case PullPolicy::kNever: return "Never";
  }
  return "";
}

std::optional<PullPolicy> ParsePullPolicy(std::string_view text) {
  for (const auto policy : {PullPolicy::kAlways, PullPolicy::kIfNotPresent, PullPolicy::kNever})
    if (Name(policy) == text) return policy;
  return std::nullopt;
}

PullPolicy DefaultPullPolicy(credentials::Profile profile, std::string_view image) {
  const auto reference = reference::Reference::Parse(image);
  if (!reference || reference->tag() != "latest") return PullPolicy::kIfNotPresent;
  const bool pinned = reference->digest().has_value() && profile == credentials::Profile::kDocumented;
  return pinned ? PullPolicy::kIfNotPresent : PullPolicy::kAlways;
}

bool ProfilesDiffer(std::string_view image) {
  return DefaultPullPolicy(credentials::Profile::kDocumented, image) != DefaultPullPolicy(credentials::Profile::kKubelet, image);
}

}  // namespace berth::policy
