#include "launch/resources.h"

#include <algorithm>
#include <map>
#include <string>

#include "kube/quantity.h"

namespace berth::launch {
namespace {

const std::string* Find(const kube::StringMap& map, const std::string& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

// Of a request: the limit stands in for it.
const std::string* Requested(const kube::ResourceRequirements& r, const std::string& what) {
  const auto* request = Find(r.requests, what);
  return request != nullptr ? request : Find(r.limits, what);
}

std::int64_t MilliOf(const std::string* quantity) {
  return quantity == nullptr ? 0 : kube::Milli(*quantity).value_or(0);
}

}  // namespace

QosClass QosOf(const kube::PodSpec& spec) {
  std::map<std::string, std::int64_t> requests, limits;
  bool guaranteed = true;
  for (const auto* list : {&spec.containers, &spec.init_containers})
    for (const auto& container : *list)
      for (const std::string what : {"cpu", "memory"}) {
        const auto request = MilliOf(Requested(container.resources, what)),
                   limit = MilliOf(Find(container.resources.limits, what));
        if (request > 0) requests[what] += request;
        if (limit > 0)
          limits[what] += limit;
        else
          guaranteed = false;
      }
  if (requests.empty() && limits.empty()) return QosClass::kBestEffort;
  return guaranteed && requests == limits ? QosClass::kGuaranteed : QosClass::kBurstable;
}

Result<CgroupLimits> LimitsOf(const kube::ResourceRequirements& resources) {
  for (const auto* map : {&resources.limits, &resources.requests})
    for (const auto& [what, quantity] : *map)
      if (!kube::IsQuantity(quantity))
        return Error(Reason::kUsage,
                     "the quantity of " + Quoted(what) + " cannot be read: " + Quoted(quantity));
  CgroupLimits out;
  const std::int64_t request = MilliOf(Requested(resources, "cpu")),
                     limit = MilliOf(Find(resources.limits, "cpu"));
  if (request > 0)
    out.cpu_shares = std::clamp<std::uint64_t>(
        static_cast<std::uint64_t>(std::min<std::int64_t>(request, 1 << 30)) * 1024 / 1000, 2, 262'144);
  if (limit > 0)
    out.cpu_quota = std::max<std::int64_t>(1000, std::min<std::int64_t>(limit, 1'000'000'000) * 100);
  if (const auto* memory = Find(resources.limits, "memory"))
    if (const auto bytes = kube::Whole(*memory).value_or(0); bytes > 0) out.memory_limit = bytes;
  for (const auto& [what, quantity] : resources.limits) {
    if (!what.starts_with("hugepages-")) continue;
    std::string size = what.substr(10);  // "2Mi" -> "2MB"
    if (size.ends_with("i")) size.back() = 'B';
    out.hugepages.emplace_back(
        size, static_cast<std::uint64_t>(std::max<std::int64_t>(0, kube::Whole(quantity).value_or(0))));
  }
  return out;
}

int OomScoreAdj(const kube::Pod& pod, const kube::Container& container, const Machine& machine) {
  int score = 0;
  const QosClass qos = QosOf(pod.spec);
  if (pod.spec.priority.value_or(0) >= 2'000'000'000 || qos == QosClass::kGuaranteed) {
    score = -997;
  } else if (qos == QosClass::kBestEffort) {
    score = 1000;
  } else {
    const auto* request = Requested(container.resources, "memory");
    const double bytes = request == nullptr ? 0 : static_cast<double>(kube::Whole(*request).value_or(0));
    const double capacity = static_cast<double>(std::max<std::uint64_t>(machine.memory_bytes, 1));
    score = std::clamp(1000 - static_cast<int>(std::min(1000.0, 1000.0 * bytes / capacity)), 3, 999);
  }
  return machine.sys_resource ? score : std::max(score, machine.oom_score_adj);
}

}  // namespace berth::launch
