// task/limiter.h: at most N at a time, first come first served.
//
// A Limiter hands out units ("unpack slots", "blob slots", "bytes of a shared budget"). Acquire() blocks, honours
// the Context, and returns a Permit that gives the units back when it goes. Waiters are served in order of
// arrival, so a large request is not starved by small ones. Safe for concurrent use.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>

#include "result/result.h"
#include "task/context.h"

namespace berth::task {

class Limiter {
 public:
  class Permit {
   public:
    Permit() = default;
    Permit(Permit&& o) noexcept : owner_(o.owner_), units_(o.units_) { o.owner_ = nullptr; }
    Permit& operator=(Permit&& o) noexcept;
    ~Permit() { Release(); }
    void Release();
    bool held() const { return owner_ != nullptr; }

   private:
    friend class Limiter;
    Permit(Limiter* owner, std::uint64_t units) : owner_(owner), units_(units) {}
    Limiter* owner_ = nullptr;
    std::uint64_t units_ = 0;
  };

  explicit Limiter(std::uint64_t units) : capacity_(units), free_(units) {}
  // A request larger than the capacity waits for all of it instead of forever.
  Result<Permit> Acquire(const Context& ctx, std::uint64_t units = 1);
  std::uint64_t capacity() const { return capacity_; }
  std::uint64_t in_use() const;
  std::size_t waiting() const;

 private:
  void GiveBack(std::uint64_t units);

  const std::uint64_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::uint64_t free_;              // guarded by mutex_
  std::list<std::uint64_t> queue_;  // guarded by mutex_: units wanted, in order of arrival
};

}  // namespace berth::task
