#include "policy/backoff.h"

#include <algorithm>

namespace berth::policy {

Backoff::State Backoff::StateOf(const Entry& e, time::SteadyTime now) const {
  return {e.failures, e.delay, e.last_wall, e.last_wall + e.delay, std::max(e.delay - (now - e.last), time::Duration::zero()), e.failure};
}

std::optional<Backoff::State> Backoff::Blocked(const std::string& key) const {
  auto state = Peek(key);
  if (state && state->remaining <= time::Duration::zero()) state.reset();
  return state;
}

std::optional<Backoff::State> Backoff::Peek(const std::string& key) const {
  const auto now = clock_.SteadyNow();
  std::lock_guard lock(mutex_);
  const auto it = entries_.find(key);
  if (it == entries_.end() || Expired(it->second, now)) return std::nullopt;
  return StateOf(it->second, now);
}

void Backoff::Failed(const std::string& key, std::string failure) {
  const auto now = clock_.SteadyNow();
  const auto wall = clock_.WallNow();
  std::lock_guard lock(mutex_);
  if (entries_.size() >= collect_at_) {
    CollectLocked(now);
    collect_at_ = std::max<std::size_t>(64, 2 * entries_.size());
  }
  Entry& e = entries_[key];
  const bool fresh = e.failures == 0 || Expired(e, now);
  e = {fresh ? 1 : e.failures + 1, fresh ? options_.initial : std::min(2 * e.delay, options_.cap), now, wall, std::move(failure)};
}

void Backoff::ForgetFailure(const std::string& key) {
  std::lock_guard lock(mutex_);
  if (const auto it = entries_.find(key); it != entries_.end()) it->second.failure.clear();
}

void Backoff::CollectExpired() {
  const auto now = clock_.SteadyNow();
  std::lock_guard lock(mutex_);
  CollectLocked(now);
}

void Backoff::CollectLocked(time::SteadyTime now) {
  std::erase_if(entries_, [&](const auto& e) { return Expired(e.second, now); });
}

void Backoff::ForgetPod(std::string_view pod_uid) {
  const std::string prefix = Key(pod_uid, "");
  std::lock_guard lock(mutex_);
  auto it = entries_.lower_bound(prefix);
  while (it != entries_.end() && it->first.starts_with(prefix)) it = entries_.erase(it);
}

std::size_t Backoff::size() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace berth::policy
