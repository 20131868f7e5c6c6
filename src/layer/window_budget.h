// layer/window_budget.h: memory for zstd windows, shared by all layers at work.
//
// A layer learns from one frame's header after the other how large a window it needs, so it may want more while it holds some. That
// none ever waits for ever is the banker's rule: units are given only as long as the one who holds the most could still have all that
// anybody may ever want. That one can go to its end, and what it gives back is enough for the next. With one bound for all that is one
// comparison.
// Who holds some goes before who holds none; among the latter first come, first served.
// Safe for concurrent use; a Share is for one thread at a time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <set>

#include "result/result.h"
#include "task/context.h"

namespace berth::layer {

class WindowBudget {
 public:
  // `most`: what one layer may ever want, at most `units`.
  WindowBudget(std::uint64_t units, std::uint64_t most) : free_(units), most_(most) {}

  // What one layer holds. Outlived by the budget.
  class Share {
   public:
    explicit Share(WindowBudget& budget) : budget_(budget) {}
    ~Share() { Release(); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    // Holds `units` from now on, or what it held if that is more. Blocks while others have them. REQUIRES: units <= most().
    Result<> Grow(const task::Context& ctx, std::uint64_t units) { return budget_.Grow(ctx, *this, units); }
    void Release() { budget_.Release(*this); }
    std::uint64_t units() const { return units_; }

   private:
    friend class WindowBudget;
    WindowBudget& budget_;
    std::uint64_t units_ = 0;
  };

  std::uint64_t most() const { return most_; }
  std::uint64_t free() const;
  std::size_t waiting() const;

 private:
  using Queue = std::list<const Share*>;
  Result<> Grow(const task::Context& ctx, Share& share, std::uint64_t units);
  void Release(Share& share);
  bool Safe(std::uint64_t held, std::uint64_t units) const;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::uint64_t free_;                  // guarded by mutex_
  const std::uint64_t most_;
  std::multiset<std::uint64_t> held_;   // guarded by mutex_: of each share that holds some
  Queue newcomers_;                     // guarded by mutex_: those who wait and hold nothing, in order of arrival
  std::size_t growing_ = 0;             // guarded by mutex_: those who wait and hold some
};

}  // namespace berth::layer
