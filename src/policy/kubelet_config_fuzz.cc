// A KubeletConfiguration is read or refused with kConfig or kLimitExceeded; what is valid can be used as it promises.
#include <cstdint>
#include <cstdlib>

#include "policy/kubelet_config.h"
#include "policy/throttle.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const auto require = [](bool truth) {
    if (!truth) std::abort();
  };
  const auto document = json::Document::Parse({reinterpret_cast<const char*>(data), size}, Reason::kConfig);
  if (!document) return 0;
  const auto read = policy::ParseKubeletConfig(document->root());
  if (!read) {
    require(read.error().reason() == Reason::kConfig);
    return 0;
  }
  const auto& c = read->config;
  require(c.registry_burst != 0 && c.max_pods != 0 && c.image_minimum_gc_age != time::Duration::zero());
  const auto problems = c.Validate();
  require(c.Check().has_value() == problems.empty());
  for (const auto& p : problems) require(p.starts_with("invalid configuration: "));
  if (!problems.empty()) return 0;
  require(c.image_gc_low_threshold_percent < c.image_gc_high_threshold_percent && c.image_gc_high_threshold_percent <= 100);
  require(!c.serialize_image_pulls || c.max_parallel_image_pulls.value_or(1) == 1);
  require(c.allow_list().empty() == c.preloaded_images_allowlist.empty());
  for (const auto& pattern : c.preloaded_images_allowlist)
    require(c.allow_list().Matches(pattern) || pattern.ends_with("/*"));
  policy::Throttle throttle(time::SystemClock(), c.registry_pull_qps, c.registry_burst);
  require(throttle.TryTake());
  return 0;
}
