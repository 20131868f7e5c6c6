// launch/resources.h: requests and limits as numbers for cgroups, computed as the kubelet does.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "kube/objects.h"
#include "launch/machine.h"
#include "result/result.h"

namespace berth::launch {

enum class QosClass : std::uint8_t { kGuaranteed, kBurstable, kBestEffort };
// Guaranteed: cpu and memory limits in every container, equal to the requests (an absent request is the limit). BestEffort: neither
// anywhere. By the sums over containers and init containers.
QosClass QosOf(const kube::PodSpec& spec);

struct CgroupLimits {
  std::uint64_t cpu_shares = 2;                 // milli-CPU requested * 1024 / 1000, 2 to 262,144
  std::optional<std::int64_t> cpu_quota;        // microseconds a period, at least 1,000; absent: no limit
  std::uint64_t cpu_period = 100'000;
  std::optional<std::int64_t> memory_limit;     // bytes
  std::vector<std::pair<std::string, std::uint64_t>> hugepages;  // "2MB", bytes
};
// kUsage for what is no quantity.
Result<CgroupLimits> LimitsOf(const kube::ResourceRequirements& resources);

// Guaranteed -997 (as is a system-critical Pod), BestEffort 1000, Burstable by its memory request: 3 to 999. Then clamped to what
// this process may set (product 6.2): not below its own without CAP_SYS_RESOURCE.
int OomScoreAdj(const kube::Pod& pod, const kube::Container& container, const Machine& machine);

}  // namespace berth::launch
