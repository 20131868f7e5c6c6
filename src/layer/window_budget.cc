#include "layer/window_budget.h"

#include <algorithm>
#include <utility>

namespace berth::layer {

// Afterwards, could the one who holds the most have all that it may want?
bool WindowBudget::Safe(std::uint64_t held, std::uint64_t units) const {
  const std::uint64_t more = units - held;
  if (more > free_) return false;
  const std::uint64_t largest = held_.empty() ? units : std::max(units, *held_.rbegin());
  return free_ - more >= most_ - largest;
}

Result<> WindowBudget::Grow(const task::Context& ctx, Share& share, std::uint64_t units) {
  BERTH_CHECK(units <= most_);
  std::unique_lock lock(mutex_);
  const std::uint64_t held = share.units_;
  if (units <= held) return {};
  Queue::iterator place;
  if (held == 0) place = newcomers_.insert(newcomers_.end(), &share);
  else ++growing_;
  const auto mine = [&] { return (held > 0 || (growing_ == 0 && place == newcomers_.begin())) && Safe(held, units); };
  if (ctx.deadline()) changed_.wait_until(lock, ctx.stop(), *ctx.deadline(), mine);
  else changed_.wait(lock, ctx.stop(), mine);
  const bool got = mine();
  if (held == 0) newcomers_.erase(place);
  else --growing_;
  if (got) {
    if (held > 0) held_.erase(held_.find(held));
    held_.insert(units);
    free_ -= units - held;
    share.units_ = units;
  }
  lock.unlock();
  changed_.notify_all();
  if (got) return {};
  RETURN_IF_ERROR(ctx.Check());
  return Error(Reason::kTimeout, "the deadline passed while waiting for the memory of a zstd window");
}

void WindowBudget::Release(Share& share) {
  if (share.units_ == 0) return;
  {
    const std::lock_guard lock(mutex_);
    held_.erase(held_.find(share.units_));
    free_ += std::exchange(share.units_, 0);
  }
  changed_.notify_all();
}

std::uint64_t WindowBudget::free() const {
  const std::lock_guard lock(mutex_);
  return free_;
}

std::size_t WindowBudget::waiting() const {
  const std::lock_guard lock(mutex_);
  return newcomers_.size() + growing_;
}

}  // namespace berth::layer
