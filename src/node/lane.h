// node/lane.h: threads that are made when there is work for them, up to a limit, and work in order of arrival.
//
// A lane keeps blocking work of one sort away from all others. The queue is bounded by its callers (a Pod has one pull and at most
// one hook per container out). Stop() drops what has not begun; the destructor waits for what has.
// Safe for concurrent use.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace berth::node {

class Lane {
 public:
  explicit Lane(std::size_t threads) : limit_(threads) {}
  ~Lane() { Stop(); }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  void Post(std::function<void()> job) {
    {
      std::lock_guard hold(mutex_);
      if (stopped_) return;
      queue_.push_back(std::move(job));
      if (queue_.size() > idle_ && threads_.size() < limit_) threads_.emplace_back([this](const std::stop_token& stop) { Run(stop); });
    }
    changed_.notify_one();
  }
  void Stop() {
    std::vector<std::jthread> threads;
    {
      std::lock_guard hold(mutex_);
      stopped_ = true;
      queue_.clear();
      threads.swap(threads_);
    }
    for (auto& thread : threads) thread.request_stop();
  }
  std::size_t threads() const { std::lock_guard hold(mutex_); return threads_.size(); }
  std::size_t queued() const { std::lock_guard hold(mutex_); return queue_.size(); }

 private:
  void Run(const std::stop_token& stop) {
    for (;;) {
      std::function<void()> job;
      {
        std::unique_lock lock(mutex_);
        ++idle_;
        changed_.wait(lock, stop, [&] { return !queue_.empty(); });
        --idle_;
        if (queue_.empty()) return;
        job = std::move(queue_.front());
        queue_.pop_front();
      }
      job();
    }
  }
  const std::size_t limit_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::function<void()>> queue_;  // guarded by mutex_
  std::vector<std::jthread> threads_;        // guarded by mutex_
  std::size_t idle_ = 0;                     // guarded by mutex_
  bool stopped_ = false;                     // guarded by mutex_
};

}  // namespace berth::node
