#include "time/clock.h"

#include <condition_variable>
#include <mutex>

namespace berth::time {
namespace {

class MachineClock final : public Clock {
 public:
  SteadyTime SteadyNow() const override { return std::chrono::steady_clock::now(); }
  WallTime WallNow() const override { return std::chrono::system_clock::now(); }
  bool SleepUntil(std::stop_token stop, SteadyTime until) const override {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait_until(lock, stop, until, [&] { return SteadyNow() >= until; });
    return !stop.stop_requested();
  }
};

}  // namespace

const Clock& SystemClock() {
  static const MachineClock clock;
  return clock;
}

}  // namespace berth::time
