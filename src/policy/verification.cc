#include "policy/verification.h"

#include <algorithm>

#include "reference/reference.h"

namespace berth::policy {
namespace {

constexpr VerificationPolicy kAll[] = {VerificationPolicy::kNeverVerify, VerificationPolicy::kNeverVerifyPreloaded,
                                       VerificationPolicy::kNeverVerifyAllowlisted, VerificationPolicy::kAlwaysVerify};

// A pattern comes from the node's own configuration; control characters have no business in a log line all the same.
Error Bad(std::string_view what, std::string_view pattern) {
  const std::string quoted = Quoted(pattern);
  return Error(Reason::kConfig, std::string(what) + ": " + quoted.substr(1, quoted.size() - 2));
}

}  // namespace

std::string_view Name(VerificationPolicy policy) {
  switch (policy) {
    case VerificationPolicy::kNeverVerify: return "NeverVerify";
    case VerificationPolicy::kNeverVerifyPreloaded: return "NeverVerifyPreloadedImages";
    case VerificationPolicy::kNeverVerifyAllowlisted: return "NeverVerifyAllowlistedImages";
    case VerificationPolicy::kAlwaysVerify: return "AlwaysVerify";
  }
  return "";
}

std::optional<VerificationPolicy> ParseVerificationPolicy(std::string_view text) {
  for (const auto policy : kAll)
    if (Name(policy) == text) return policy;
  return std::nullopt;
}

Result<AllowList> AllowList::Parse(std::span<const std::string> patterns) {
  constexpr std::string_view kBlank = " \t\n\v\f\r", kAny = "/*";
  AllowList out;
  for (const std::string_view p : patterns) {
    if (p.find_first_of(kBlank) == 0 || (!p.empty() && kBlank.find(p.back()) != std::string_view::npos))
      return Bad("leading/trailing spaces are not allowed", p);
    if (p.empty()) return Bad("the supplied pattern is too short", p);
    const bool prefix = p.ends_with(kAny);
    const std::string_view text = prefix ? p.substr(0, p.size() - 1) : p;
    if (text.find('*') != std::string_view::npos)
      return Bad("not a valid wildcard pattern, only patterns ending with '/*' are allowed", p);
    if (text == "/") return Error(Reason::kConfig, "at least registry hostname is required");
    if (!prefix) {
      const auto reference = reference::Reference::ParseRaw(text);
      if (!reference) return Error(Reason::kConfig, "failed to parse as an image name: " + reference.error().Text());
      if (reference->tag() || reference->digest()) return Bad("neither tag nor digest is accepted in an image reference", p);
    }
    out.patterns_.push_back({std::string(text), prefix});
  }
  return out;
}

bool AllowList::Matches(std::string_view image) const {
  const auto trimmed = reference::TrimTagAndDigest(image);
  const std::string_view name = trimmed ? std::string_view(*trimmed) : image;
  const auto matches = [&](const Pattern& p) { return p.prefix ? name.starts_with(p.text) : name == p.text; };
  return std::any_of(patterns_.begin(), patterns_.end(), matches);
}

}  // namespace berth::policy
