#include "catalog/leases.h"

#include <algorithm>
#include <utility>

namespace berth::catalog {

Leases::Lease& Leases::Lease::operator=(Lease&& o) noexcept {
  if (this != &o) {
    Release();
    owner_ = std::exchange(o.owner_, nullptr);
    objects_ = std::move(o.objects_);
  }
  return *this;
}

void Leases::Lease::Release() {
  if (owner_ == nullptr) return;
  std::lock_guard lock(owner_->mutex_);
  for (const auto& object : objects_) {
    const auto it = owner_->leased_.find(object);
    if (--it->second == 0) owner_->leased_.erase(it);
  }
  owner_ = nullptr;
}

Leases::Claim& Leases::Claim::operator=(Claim&& o) noexcept {
  if (this != &o) {
    Release();
    owner_ = std::exchange(o.owner_, nullptr);
    objects_ = std::move(o.objects_);
  }
  return *this;
}

void Leases::Claim::Release() {
  if (owner_ == nullptr) return;
  {
    std::lock_guard lock(owner_->mutex_);
    for (const auto& object : objects_) owner_->claimed_.erase(object);
  }
  owner_->changed_.notify_all();
  owner_ = nullptr;
}

Result<Leases::Lease> Leases::Acquire(const task::Context& ctx, std::vector<digest::Digest> objects) {
  std::unique_lock lock(mutex_);
  const auto free = [&] { return std::ranges::none_of(objects, [&](const auto& o) { return claimed_.contains(o); }); };
  const bool got = ctx.deadline() ? changed_.wait_until(lock, ctx.stop(), *ctx.deadline(), free) : changed_.wait(lock, ctx.stop(), free);
  if (!got) {
    lock.unlock();
    RETURN_IF_ERROR(ctx.Check());
    return Error(Reason::kTimeout, "the deadline passed while an object was being removed");
  }
  for (const auto& object : objects) ++leased_[object];
  return Lease(this, std::move(objects));
}

Leases::Claim Leases::ClaimFree(const std::vector<digest::Digest>& objects) {
  std::lock_guard lock(mutex_);
  std::vector<digest::Digest> mine;
  for (const auto& object : objects)
    if (!leased_.contains(object) && claimed_.insert(object).second) mine.push_back(object);
  return Claim(this, std::move(mine));
}

bool Leases::claimed(const digest::Digest& object) const {
  std::lock_guard lock(mutex_);
  return claimed_.contains(object);
}

bool Leases::leased(const digest::Digest& object) const {
  std::lock_guard lock(mutex_);
  return leased_.contains(object);
}

std::size_t Leases::size() const {
  std::lock_guard lock(mutex_);
  return leased_.size();
}

}  // namespace berth::catalog
