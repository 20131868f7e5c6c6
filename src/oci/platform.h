// oci/platform.h: operating system, architecture, variant; and which of them a host accepts.
//
// Normalisation and fall-back order exactly as kubelet-images 11.2 (containerd's "only" comparer).
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"

namespace berth::oci {

struct Platform {
  std::string os, architecture, variant, os_version;
  std::vector<std::string> os_features;

  // "linux/arm64/v8", "arm64" (os of the host), "linux/amd64". Error: kUsage.
  static Result<Platform> Parse(std::string_view text);
  Platform Normalized() const;
  std::string ToString() const;  // os/arch[/variant], normalised
  friend bool operator==(const Platform&, const Platform&) = default;
};

// What this machine is (variant detected for arm and arm64 only).
Platform HostPlatform();

class PlatformMatcher {
 public:
  explicit PlatformMatcher(const Platform& host);
  // 0 = best; nullopt = not acceptable.
  std::optional<std::size_t> Rank(const Platform& candidate) const;
  const std::vector<Platform>& acceptable() const { return acceptable_; }  // best first
  const Platform& host() const { return host_; }

 private:
  Platform host_;
  std::vector<Platform> acceptable_;
};

}  // namespace berth::oci
