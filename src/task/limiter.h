// task/limiter.h: at most N at a time, first come first served.
//
// A Limiter hands out slots ("plug-ins at once"). Acquire() blocks, honours the Context, and returns a Permit that gives the
// slot back when it goes. Waiters are served in order of arrival. Who stops working while it waits for somebody else has
// pull/turns.h, who may want more while it holds some layer/window_budget.h. Safe for concurrent use.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <list>
#include <mutex>
#include <utility>

#include "result/result.h"
#include "task/context.h"

namespace berth::task {

class Limiter {
 public:
  class Permit {
   public:
    Permit(Permit&& o) noexcept : owner_(std::exchange(o.owner_, nullptr)) {}
    ~Permit() { Release(); }
    void Release();

   private:
    friend class Limiter;
    explicit Permit(Limiter* owner) : owner_(owner) {}
    Limiter* owner_ = nullptr;
  };

  explicit Limiter(std::size_t slots) : free_(slots) {}
  Result<Permit> Acquire(const Context& ctx);
  std::size_t free() const;
  std::size_t waiting() const;

 private:
  struct Waiter {};
  void GiveBack();

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::size_t free_;         // guarded by mutex_
  std::list<Waiter> queue_;  // guarded by mutex_: in order of arrival
};

}  // namespace berth::task
