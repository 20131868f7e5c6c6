// oci/platform.h: operating system, architecture, variant; and which of them a host accepts.
//
// Normalisation and fall-back order exactly as kubelet-images 11.2 (containerd's "only" comparer). Values; safe to share.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"

namespace berth::oci {

struct Platform {
  std::string os, architecture, variant, os_version;
  std::vector<std::string> os_features;

  // "linux/arm64/v8", "arm64" (os of the host), "linux" (architecture of the host); normalised. Error: kUsage.
  static Result<Platform> Parse(std::string_view text);
  // Lower case, one spelling each: x86_64 is amd64, arm64/v8 is arm64, arm is arm/v7. Texts from documents are kept as
  // written until somebody asks for this.
  Platform Normalized() const;
  // "os/arch[/variant]", normalised; of unchecked text: control characters escaped, each part cut.
  std::string ToString() const;
  friend bool operator==(const Platform&, const Platform&) = default;
};

// What this machine is: os and architecture of the build, variant (arm and arm64 only) from the kernel. Reads
// /proc/cpuinfo; keep the answer.
Platform HostPlatform();

// The variant of an arm or arm64 build, from the text of /proc/cpuinfo or else uname's machine; "" when neither
// tells. An ARMv6 Raspberry Pi that calls itself architecture 7 is v6.
std::string ArmVariant(std::string_view architecture, std::string_view cpuinfo, std::string_view machine);

class PlatformMatcher {
 public:
  explicit PlatformMatcher(const Platform& host);
  // Smaller is better, 0 the best; nullopt = not acceptable. A missing os is the host's. Features that the candidate
  // wants must be among the host's; of two candidates the one that uses more of them is better.
  std::optional<std::size_t> Rank(const Platform& candidate) const;
  // The same of "os/arch[/variant]"; nullopt, too, for what is none.
  std::optional<std::size_t> Rank(std::string_view candidate) const;
  // Of `items`, whose `platform` is such text, the one that ranks best, of equals the first; nullptr: none is acceptable.
  template <class Item>
  const Item* Best(const std::vector<Item>& items) const {
    const Item* best = nullptr;
    std::optional<std::size_t> best_rank;
    for (const Item& item : items)
      if (const auto rank = Rank(item.platform); rank && (!best_rank || *rank < *best_rank)) best_rank = rank, best = &item;
    return best;
  }
  // Best first. Empty for an arm64 variant that nobody knows: such a host accepts nothing.
  const std::vector<Platform>& acceptable() const { return acceptable_; }
  const Platform& host() const { return host_; }

 private:
  Platform host_;
  std::vector<Platform> acceptable_;
};

}  // namespace berth::oci
