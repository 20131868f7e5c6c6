// policy/verification.h: imagePullCredentialsVerificationPolicy and its allow-list.
//
// Rules: kubelet-images 4.8.1. Whether a Pod must prove that it may use an image that is on the node already:
//   kNeverVerify         no Pod
//   kNeverVerifyPreloaded (default)  Pods, for images that this node pulled
//   kNeverVerifyAllowlisted  Pods, for images that no pattern of the list names, however they came here
//   kAlwaysVerify        every Pod
// A pattern is a name without tag and digest, or a prefix that ends with "/*"; both are compared with the user's spelling
// (without tag and digest), nothing is normalised: `ubuntu` is for `ubuntu:22.04`, `docker.io/library/*` is not.
// Immutable values, pure functions.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"

namespace berth::policy {

enum class VerificationPolicy : unsigned char { kNeverVerify, kNeverVerifyPreloaded, kNeverVerifyAllowlisted, kAlwaysVerify };

std::string_view Name(VerificationPolicy policy);  // "NeverVerifyPreloadedImages"
std::optional<VerificationPolicy> ParseVerificationPolicy(std::string_view text);

class AllowList {
 public:
  AllowList() = default;
  // kConfig with the kubelet's words for the first bad pattern.
  static Result<AllowList> Parse(std::span<const std::string> patterns);
  bool Matches(std::string_view image) const;
  bool empty() const { return patterns_.empty(); }

 private:
  struct Pattern {
    std::string text;  // of a prefix with the '/' at its end
    bool prefix = false;
  };
  std::vector<Pattern> patterns_;
};

}  // namespace berth::policy
