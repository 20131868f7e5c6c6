// time/clock.h: the only door to "now" and to sleeping.
//
// Everything that waits or stamps takes a Clock by constructor (or through task::Context), so that tests turn
// the hands themselves (time/testing/manual_clock.h) and never sleep.
//
// Steady time is monotonic and is what every timeout uses; wall time is for records and expiry that comes from
// outside (certificates, tokens), and may jump. Thread-safety: every Clock is safe for concurrent use.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <stop_token>

namespace berth::time {

using Duration = std::chrono::nanoseconds;
using SteadyTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

// So many seconds after 1970. What lies beyond 64 bits of nanoseconds (the years 1678 to 2261) is the nearest they hold: expiry
// dates from outside do, such as those of certificates that are meant to last for ever.
constexpr WallTime FromUnix(std::int64_t seconds) {
  constexpr std::int64_t kMost = INT64_MAX / 1'000'000'000;
  return WallTime(std::chrono::seconds(std::clamp(seconds, -kMost, kMost)));
}

class Clock {
 public:
  virtual ~Clock() = default;
  virtual SteadyTime SteadyNow() const = 0;
  virtual WallTime WallNow() const = 0;
  // Returns true when the time has come, false when `stop` was requested first.
  virtual bool SleepUntil(std::stop_token stop, SteadyTime until) const = 0;
  bool SleepFor(std::stop_token stop, Duration d) const { return SleepUntil(std::move(stop), SteadyNow() + d); }
};

// The machine's clock. One immutable instance serves the process.
const Clock& SystemClock();

}  // namespace berth::time
