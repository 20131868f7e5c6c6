// apiserver/log_threads.h: a bounded number of threads that write logs to clients; reading a log blocks.
#pragma once

#include <functional>
#include <list>
#include <mutex>
#include <thread>

#include "httpd/stream.h"

namespace berth::apiserver {

// Safe for concurrent use. The destructor stops them all and waits.
class LogThreads {
 public:
  using Job = std::function<void(const std::stop_token& stop)>;
  explicit LogThreads(std::size_t limit) : limit_(limit) {}
  ~LogThreads();
  // False when all are at work, or the kernel has no thread to give.
  bool Start(Job job);

 private:
  struct Worker {
    std::jthread thread;
    bool done = false;             // guarded by mutex_
  };
  const std::size_t limit_;
  std::mutex mutex_;
  std::list<Worker> workers_;      // guarded by mutex_
};

}  // namespace berth::apiserver
