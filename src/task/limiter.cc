#include "task/limiter.h"

#include <chrono>

namespace berth::task {

void Limiter::Permit::Release() {
  if (Limiter* owner = std::exchange(owner_, nullptr)) owner->GiveBack();
}

Result<Limiter::Permit> Limiter::Acquire(const Context& ctx) {
  std::unique_lock lock(mutex_);
  const auto place = queue_.insert(queue_.end(), Waiter());
  const auto mine = [&] { return place == queue_.begin() && free_ > 0; };
  if (ctx.deadline())
    changed_.wait_until(lock, ctx.stop(), *ctx.deadline(), mine);
  else
    changed_.wait(lock, ctx.stop(), mine);
  const bool got = mine();
  queue_.erase(place);
  if (got) --free_;
  lock.unlock();
  changed_.notify_all();
  if (got) return Permit(this);
  RETURN_IF_ERROR(ctx.Check());
  return Error(Reason::kTimeout, "the deadline passed while waiting for a slot");
}

void Limiter::GiveBack() {
  { std::lock_guard lock(mutex_); ++free_; }
  changed_.notify_all();
}

std::size_t Limiter::free() const {
  std::lock_guard lock(mutex_);
  return free_;
}

std::size_t Limiter::waiting() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

}  // namespace berth::task
