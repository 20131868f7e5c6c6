// policy/metrics.h: what the image manager counts, in the kubelet's terms (kubelet-images 10).
//
//   kubelet_image_manager_ensure_image_requests_total{pull_policy, present_locally, pull_required}
//   kubelet_imagemanager_image_mustpull_checks_total{result}
//   kubelet_image_pull_duration_seconds{image_size_in_bytes}: waiting included, successes only
// A Metrics is safe for concurrent use; a Snapshot is a value.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>

#include "time/clock.h"

namespace berth::policy {

// "N/A" for 0, "0-10MB" … "GT100GB"; a boundary belongs to the lower one.
std::string_view SizeLabel(std::uint64_t bytes);

inline constexpr std::array kPullSecondsBuckets = {1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600};

struct DurationHistogram {
  std::array<std::uint64_t, kPullSecondsBuckets.size() + 1> buckets{};  // not cumulative; the last one is above all
  std::uint64_t count = 0;
  double sum_seconds = 0;
};

class Metrics {
 public:
  // Label values: "ifnotpresent", "true" / "false" / "unknown", the same.
  using Request = std::tuple<std::string, std::string, std::string>;
  struct Snapshot {
    std::map<Request, std::uint64_t> ensure_requests;
    std::map<std::string, std::uint64_t> must_pull_checks;
    std::map<std::string, DurationHistogram> pull_durations;
  };

  void CountRequest(Request labels);
  void CountCheck(std::string_view result);  // "" is not counted
  void ObservePull(std::uint64_t bytes, time::Duration total);
  Snapshot snapshot() const;

 private:
  mutable std::mutex mutex_;
  Snapshot now_;  // guarded by mutex_
};

}  // namespace berth::policy
