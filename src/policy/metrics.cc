#include "policy/metrics.h"

#include <algorithm>

namespace berth::policy {

std::string_view SizeLabel(std::uint64_t bytes) {
  constexpr std::uint64_t kMb = 1u << 20, kGb = 1u << 30;
  struct Row { std::uint64_t above; std::string_view label; };
  constexpr Row kRows[] = {{100 * kGb, "GT100GB"},     {60 * kGb, "60GB-100GB"}, {40 * kGb, "40GB-60GB"},    {30 * kGb, "30GB-40GB"},   {20 * kGb, "20GB-30GB"},
                           {10 * kGb, "10GB-20GB"},    {5 * kGb, "5GB-10GB"},    {kGb, "1GB-5GB"},           {500 * kMb, "500MB-1GB"},  {100 * kMb, "100MB-500MB"},
                           {10 * kMb, "10MB-100MB"},   {0, "0-10MB"}};
  for (const auto& row : kRows)
    if (bytes > row.above) return row.label;
  return "N/A";
}

void Metrics::CountRequest(Request labels) {
  std::lock_guard lock(mutex_);
  ++now_.ensure_requests[std::move(labels)];
}

void Metrics::CountCheck(std::string_view result) {
  if (result.empty()) return;
  std::lock_guard lock(mutex_);
  ++now_.must_pull_checks[std::string(result)];
}

void Metrics::ObservePull(std::uint64_t bytes, time::Duration total) {
  const double seconds = std::chrono::duration<double>(total).count();
  const auto bucket = std::lower_bound(kPullSecondsBuckets.begin(), kPullSecondsBuckets.end(), seconds) - kPullSecondsBuckets.begin();
  std::lock_guard lock(mutex_);
  auto& h = now_.pull_durations[std::string(SizeLabel(bytes))];
  ++h.buckets[static_cast<std::size_t>(bucket)];
  ++h.count;
  h.sum_seconds += seconds;
}

Metrics::Snapshot Metrics::snapshot() const {
  std::lock_guard lock(mutex_);
  return now_;
}

}  // namespace berth::policy
