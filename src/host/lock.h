// host/lock.h: one daemon per store.
#pragma once

#include <string_view>

#include "host/dir.h"
#include "result/result.h"

namespace berth::host {

// An flock on a file of the store, held by descriptor: it goes with the process however that ends, and no pid is trusted.
class StoreLock {
 public:
  // kConflict when another process holds it ("another berthd uses this store").
  static Result<StoreLock> Acquire(const Dir& store, std::string_view file = "lock");

 private:
  explicit StoreLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace berth::host
