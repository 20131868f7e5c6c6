#include "policy/throttle.h"

#include <algorithm>
#include <cmath>

namespace berth::policy {
namespace {

// A level is a sum of few products; what it lacks of a whole token by rounding must not deny one.
constexpr double kRounding = 1e-6;

}  // namespace

Throttle::Throttle(const time::Clock& clock, std::int64_t qps, std::int64_t burst)
    : clock_(clock), qps_(qps), burst_(burst), last_(clock.SteadyNow()), level_(static_cast<double>(burst)) {}

void Throttle::Refill(time::SteadyTime now) const {
  if (now <= last_) return;
  const double gained = std::chrono::duration<double>(now - last_).count() * static_cast<double>(qps_);
  level_ = std::min(static_cast<double>(burst_), level_ + gained);
  last_ = now;
}

bool Throttle::TryTake() {
  if (qps_ == 0) return true;
  const auto now = clock_.SteadyNow();
  std::lock_guard lock(mutex_);
  Refill(now);
  if (level_ + kRounding < 1) {
    ++denied_;
    return false;
  }
  level_ = std::max(0.0, level_ - 1);
  return true;
}

time::Duration Throttle::UntilNext() const {
  if (qps_ == 0) return {};
  if (burst_ == 0) return time::Duration::max();
  const auto now = clock_.SteadyNow();
  std::lock_guard lock(mutex_);
  Refill(now);
  if (level_ + kRounding >= 1) return {};
  return time::Duration(static_cast<std::int64_t>(std::ceil((1 - level_) / static_cast<double>(qps_) * 1e9)));
}

std::uint64_t Throttle::denied() const {
  std::lock_guard lock(mutex_);
  return denied_;
}

}  // namespace berth::policy
