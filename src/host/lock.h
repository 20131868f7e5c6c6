// host/lock.h: one daemon per store.
#pragma once

#include <chrono>
#include <string_view>

#include "host/dir.h"
#include "result/result.h"
#include "time/clock.h"

namespace berth::host {

// An flock on a file of the store, held by descriptor: it goes with the process however that ends, and no pid is trusted. A child
// that was forked right before the end and has not come to its exec yet still has it, for milliseconds: hence the patience.
class StoreLock {
 public:
  static constexpr std::chrono::seconds kPatience{1};
  // kConflict when another process holds it all that time ("another berthd uses this store").
  static Result<StoreLock> Acquire(const Dir& store, const time::Clock& clock, std::string_view file = "lock");

 private:
  explicit StoreLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace berth::host
