#include "task/limiter.h"

#include <algorithm>
#include <chrono>

namespace berth::task {

Limiter::Permit& Limiter::Permit::operator=(Permit&& o) noexcept {
  if (this != &o) {
    Release();
    owner_ = o.owner_;
    units_ = o.units_;
    o.owner_ = nullptr;
  }
  return *this;
}

void Limiter::Permit::Release() {
  if (owner_ != nullptr) owner_->GiveBack(units_);
  owner_ = nullptr;
}

Result<Limiter::Permit> Limiter::Acquire(const Context& ctx, std::uint64_t units) {
  units = std::min(units, capacity_);
  std::unique_lock lock(mutex_);
  const auto place = queue_.insert(queue_.end(), units);
  const auto mine = [&] { return place == queue_.begin() && free_ >= units; };
  if (ctx.deadline())
    changed_.wait_until(lock, ctx.stop(), *ctx.deadline(), mine);
  else
    changed_.wait(lock, ctx.stop(), mine);
  const bool got = mine();
  queue_.erase(place);
  if (got) free_ -= units;
  lock.unlock();
  changed_.notify_all();
  if (got) return Permit(this, units);
  RETURN_IF_ERROR(ctx.Check());
  return Error(Reason::kTimeout, "the deadline passed while waiting for a slot");
}

void Limiter::GiveBack(std::uint64_t units) {
  { std::lock_guard lock(mutex_); free_ += units; }
  changed_.notify_all();
}

std::uint64_t Limiter::in_use() const {
  std::lock_guard lock(mutex_);
  return capacity_ - free_;
}

std::size_t Limiter::waiting() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

}  // namespace berth::task
