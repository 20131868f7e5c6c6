#include "apiserver/log_threads.h"

#include <system_error>

namespace berth::apiserver {

LogThreads::~LogThreads() {
  std::list<Worker> all;
  {
    std::lock_guard lock(mutex_);
    for (Worker& worker : workers_) worker.thread.request_stop();
    all.splice(all.end(), workers_);
  }
  for (Worker& worker : all) worker.thread.join();
}

bool LogThreads::Start(Job job) {
  std::list<Worker> ended;  // joined without the lock
  std::lock_guard lock(mutex_);
  for (auto it = workers_.begin(); it != workers_.end();) {
    const auto next = std::next(it);
    if (it->done) ended.splice(ended.end(), workers_, it);
    it = next;
  }
  if (workers_.size() >= limit_) return false;
  Worker& worker = workers_.emplace_back();
  try {
    worker.thread = std::jthread([this, &worker, job = std::move(job)](const std::stop_token& stop) {
      job(stop);
      std::lock_guard hold(mutex_);
      worker.done = true;
    });
  } catch (const std::system_error&) {  // the kernel has no thread to give
    workers_.pop_back();
    return false;
  }
  return true;
}

}  // namespace berth::apiserver
