// time/testing/manual_clock.h: a Clock whose hands the test turns.
//
// Time stands still until Advance(). A sleeper wakes when Advance() passes its time. `auto_advance` makes a sleep
// return at once and move the hands to its end: for single-threaded tests of retry loops. Every sleep asked for
// is written down in sleeps(), so that a test can assert on how long the code meant to wait.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

#include "time/clock.h"

namespace berth::time::testing {

enum class AutoAdvance : bool { kNo, kYes };

class ManualClock final : public Clock {
 public:
  explicit ManualClock(AutoAdvance mode = AutoAdvance::kNo) : auto_(mode) {}

  SteadyTime SteadyNow() const override { std::lock_guard lock(mutex_); return steady_; }
  WallTime WallNow() const override { std::lock_guard lock(mutex_); return wall_; }

  bool SleepUntil(std::stop_token stop, SteadyTime until) const override {
    std::unique_lock lock(mutex_);
    sleeps_.push_back(until - steady_);
    asked_.notify_all();
    if (auto_ == AutoAdvance::kYes) {
      if (until > steady_) { wall_ += until - steady_; steady_ = until; }
      return !stop.stop_requested();
    }
    moved_.wait(lock, stop, [&] { return steady_ >= until; });
    return !stop.stop_requested();
  }

  void Advance(Duration d) {
    { std::lock_guard lock(mutex_); steady_ += d; wall_ += d; }
    moved_.notify_all();
  }
  void JumpWall(Duration d) { std::lock_guard lock(mutex_); wall_ += d; }

  // Blocks until `n` sleeps have been asked for since construction.
  void AwaitSleeps(std::size_t n) const {
    std::unique_lock lock(mutex_);
    asked_.wait(lock, [&] { return sleeps_.size() >= n; });
  }
  std::vector<Duration> sleeps() const { std::lock_guard lock(mutex_); return sleeps_; }

 private:
  const AutoAdvance auto_;
  mutable std::mutex mutex_;
  mutable std::condition_variable_any moved_, asked_;
  mutable SteadyTime steady_{std::chrono::hours(1)};
  mutable WallTime wall_{std::chrono::hours(24 * 365 * 56)};
  mutable std::vector<Duration> sleeps_;
};

}  // namespace berth::time::testing
