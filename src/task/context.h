// task/context.h: what every blocking call takes first.
//
// A Context says who may stop the work (stop token), until when it may run (steady deadline) and which clock
// rules. It is a cheap value; pass it by const reference. Check() turns "stop" into kCanceled and "too late"
// into kTimeout, so that callers write RETURN_IF_ERROR(ctx.Check()).
#pragma once

#include <optional>
#include <stop_token>

#include "result/result.h"
#include "time/clock.h"

namespace berth::task {

class Context {
 public:
  // Nobody stops it, no deadline, the machine's clock.
  Context() : clock_(&time::SystemClock()) {}
  explicit Context(std::stop_token stop, const time::Clock& clock = time::SystemClock())
      : stop_(std::move(stop)), clock_(&clock) {}

  Context WithDeadline(time::SteadyTime deadline) const;   // the earlier of both counts
  Context WithTimeout(time::Duration d) const { return WithDeadline(clock_->SteadyNow() + d); }
  Context WithStop(std::stop_token stop) const { Context c = *this; c.stop_ = std::move(stop); return c; }

  const std::stop_token& stop() const { return stop_; }
  const time::Clock& clock() const { return *clock_; }
  std::optional<time::SteadyTime> deadline() const { return deadline_; }

  bool stopped() const { return stop_.stop_requested(); }
  Result<> Check() const;
  // Sleeps; an error when stopped or when the deadline comes first.
  Result<> Sleep(time::Duration d) const;

 private:
  std::stop_token stop_;
  const time::Clock* clock_;
  std::optional<time::SteadyTime> deadline_;
};

}  // namespace berth::task
