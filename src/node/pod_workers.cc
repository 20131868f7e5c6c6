#include "node/pod_workers.h"

#include <algorithm>

namespace berth::node {

PodWorkers::PodWorkers(Options options, PodWorker::Parts parts, std::function<bool(const std::string& image)> present)
    : options_(std::move(options)), parts_(parts), present_(std::move(present)), sync_(options_.sync), present_lane_(options_.present),
      pulls_(options_.pulls), hooks_(options_.hooks), timer_([this](const std::stop_token& stop) { Timer(stop); }) {}

PodWorkers::~PodWorkers() {
  stop_.request_stop();
  timer_.request_stop();
  timer_.join();
  // Work ends first: it asks for syncs.
  for (Lane* lane : {&hooks_, &pulls_, &present_lane_, &sync_}) lane->Stop();
}

void PodWorkers::Update(kube::Pod pod, const std::vector<FoundRun>& found) {
  std::lock_guard hold(mutex_);
  const std::string uid = pod.metadata.uid;
  const auto [slot, fresh] = slots_.try_emplace(uid);
  if (fresh) slot->second.worker = std::make_shared<PodWorker>(std::move(pod), found, options_.worker, parts_);
  else slot->second.worker->Update(std::move(pod));
  Enqueue(uid);
}

void PodWorkers::Delete(const std::string& uid, std::optional<std::int64_t> grace) {
  std::lock_guard hold(mutex_);
  const auto slot = slots_.find(uid);
  if (slot == slots_.end()) return;
  slot->second.worker->Delete(grace);
  Enqueue(uid);
}

void PodWorkers::Wake(const std::string& uid) {
  std::lock_guard hold(mutex_);
  Enqueue(uid);
}

std::shared_ptr<PodWorker> PodWorkers::Find(const std::string& uid) const {
  std::lock_guard hold(mutex_);
  const auto slot = slots_.find(uid);
  return slot == slots_.end() ? nullptr : slot->second.worker;
}

std::vector<std::shared_ptr<PodWorker>> PodWorkers::List() const {
  std::lock_guard hold(mutex_);
  std::vector<std::shared_ptr<PodWorker>> all;
  for (const auto& [uid, slot] : slots_) all.push_back(slot.worker);
  return all;
}

void PodWorkers::AwaitGone(const task::Context& ctx, const std::string& uid) const {
  std::unique_lock lock(mutex_);
  gone_.wait(lock, ctx.stop(), [&] { return !slots_.contains(uid); });
}

void PodWorkers::Enqueue(const std::string& uid) {
  const auto slot = slots_.find(uid);
  if (slot == slots_.end() || slot->second.queued) return;
  if (slot->second.running) {
    slot->second.again = true;
    return;
  }
  slot->second.queued = true;
  slot->second.due.reset();
  sync_.Post([this, uid] { Run(uid); });
}

void PodWorkers::Run(const std::string& uid) {
  std::shared_ptr<PodWorker> worker;
  {
    std::lock_guard hold(mutex_);
    Slot& slot = slots_.at(uid);  // only this function takes slots away, one run at a time
    slot.queued = false;
    slot.running = true;
    worker = slot.worker;
  }
  const task::Context ctx(stop_.get_token(), parts_.clock);
  const PodWorker::Step step = worker->Sync(ctx);
  for (const auto& work : step.work) Dispatch(uid, worker, work);
  if (step.done) {
    {
      std::lock_guard hold(mutex_);
      slots_.erase(uid);
    }
    gone_.notify_all();
    if (on_gone_) on_gone_(*worker->pod());
    return;
  }
  std::lock_guard hold(mutex_);
  Slot& slot = slots_.at(uid);
  slot.running = false;
  slot.due = step.next;
  if (slot.due) alarm_.request_stop();
  if (std::exchange(slot.again, false)) Enqueue(uid);
}

void PodWorkers::Dispatch(const std::string& uid, const std::shared_ptr<PodWorker>& worker, const PodWorker::Work& work) {
  using Kind = PodWorker::Work::Kind;
  const bool hook = work.kind == Kind::kPostStart || work.kind == Kind::kPreStop;
  const auto volumes_present = [&] {
    const auto pod = worker->pod();
    return std::ranges::all_of(pod->spec.volumes, [&](const auto& v) {
      return v.kind != kube::Volume::Kind::kImage || (v.pull_policy != "Always" && present_(v.reference));
    });
  };
  const bool quick = work.kind == Kind::kImage ? !work.always && present_(work.image) : work.kind == Kind::kVolumes && volumes_present();
  Lane& lane = hook ? hooks_ : quick ? present_lane_ : pulls_;
  lane.Post([this, uid, worker, work] {
    worker->Do(task::Context(stop_.get_token(), parts_.clock), work);
    Wake(uid);
  });
}

void PodWorkers::Timer(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::stop_source alarm;
    auto next = time::SteadyTime::max();
    {
      std::lock_guard hold(mutex_);
      alarm_ = alarm;
      const auto now = parts_.clock.SteadyNow();
      for (auto& [uid, slot] : slots_) {
        if (!slot.due) continue;
        if (*slot.due <= now) Enqueue(uid);
        else next = std::min(next, *slot.due);
      }
    }
    const std::stop_callback end(stop, [&] { alarm.request_stop(); });
    // The far end of time is beyond what a wait can take; an hour is as good.
    parts_.clock.SleepUntil(alarm.get_token(), std::min(next, parts_.clock.SteadyNow() + std::chrono::hours(1)));
  }
}

}  // namespace berth::node
