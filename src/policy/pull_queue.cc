#include "policy/pull_queue.h"

#include <algorithm>

namespace berth::policy {

PullQueue::Slot& PullQueue::Slot::operator=(Slot&& o) noexcept {
  if (this != &o) {
    Release();
    owner_ = std::exchange(o.owner_, nullptr);
    place_ = o.place_;
  }
  return *this;
}

void PullQueue::Slot::Release() {
  if (auto* owner = std::exchange(owner_, nullptr)) owner->Leave(place_);
}

PullQueue::PullQueue(const Options& options)
    : slots_(options.serial ? 1 : static_cast<std::size_t>(std::max<std::int64_t>(0, options.limit.value_or(0)))),
      serial_(options.serial) {}

PullQueue::~PullQueue() { BERTH_CHECK(waiting_.empty() && running_.empty()); }

Result<PullQueue::Slot> PullQueue::Enter(const task::Context& ctx, Request request) {
  RETURN_IF_ERROR(ctx.Check());
  std::unique_lock lock(mutex_);
  const auto arrived = ctx.clock().SteadyNow();
  const auto me = waiting_.emplace(waiting_.end());
  me->item = {std::move(request), Stage::kQueued, arrived};
  ++counters_.entered;
  Grant();
  const auto mine = [&] { return me->granted; };
  if (ctx.deadline())
    me->turn.wait_until(lock, ctx.stop(), *ctx.deadline(), mine);
  else
    me->turn.wait(lock, ctx.stop(), mine);
  const bool granted = me->granted;
  const auto place = me->place;
  waiting_.erase(me);
  if (!granted) {
    ++counters_.withdrawn;
    lock.unlock();
    RETURN_IF_ERROR(ctx.Check());
    return Error(Reason::kTimeout, "the deadline passed while the pull waited for its turn");
  }
  ++counters_.granted;
  place->since = ctx.clock().SteadyNow();
  counters_.waited += place->since - arrived;
  return Slot(this, place);
}

void PullQueue::Grant() {
  for (auto& w : waiting_) {
    if (slots_ != 0 && running_.size() >= slots_) return;
    if (w.granted || !busy_pods_.insert(w.item.request.pod_uid).second) continue;
    w.granted = true;
    w.place = running_.insert(running_.end(), w.item);
    w.place->stage = Stage::kRunning;
    counters_.peak_running = std::max(counters_.peak_running, running_.size());
    w.turn.notify_one();
  }
}

void PullQueue::Leave(Slot::Place place) {
  std::lock_guard lock(mutex_);
  busy_pods_.erase(place->request.pod_uid);
  running_.erase(place);
  Grant();
}

PullQueue::Counters PullQueue::counters() const {
  std::lock_guard lock(mutex_);
  Counters c = counters_;
  c.running = running_.size();
  std::size_t waiting = 0;
  for (const auto& w : waiting_) waiting += w.granted ? 0 : 1;
  c.queued = serial_ ? std::min(waiting, kSerialCapacity) : waiting;
  c.blocked = waiting - c.queued;
  return c;
}

std::vector<PullQueue::Item> PullQueue::Snapshot() const {
  std::lock_guard lock(mutex_);
  std::vector<Item> out(running_.begin(), running_.end());
  std::size_t waiting = 0;
  for (const auto& w : waiting_) {
    if (w.granted) continue;
    out.push_back(w.item);
    if (serial_ && ++waiting > kSerialCapacity) out.back().stage = Stage::kBlocked;
  }
  return out;
}

}  // namespace berth::policy
