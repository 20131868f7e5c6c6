// apps/berth/signals.h: SIGINT and SIGTERM as a stop token.
//
// The first one asks everything to stop, the second one ends the process at once (product 3.11). SIGPIPE gets its
// default back: a reader of our data that went away ends us quietly (world.h has the exception).
#pragma once

#include <atomic>
#include <stop_token>
#include <thread>

#include "host/fd.h"

namespace berth::cli {

// One per process, made before any other thread: threads inherit the signal mask.
class Signals {
 public:
  Signals();
  std::stop_token stop() const { return stop_.get_token(); }
  // What the process exits with after a signal: 128 + its number.
  int status() const { return 128 + caught_.load(); }

 private:
  void Watch(const std::stop_token& done);

  std::stop_source stop_;
  std::atomic<int> caught_{0};
  host::Fd fd_;
  std::jthread watcher_;
};

}  // namespace berth::cli
