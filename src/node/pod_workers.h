// node/pod_workers.h: all Pods of the node, and the threads that move them.
//
// A Pod is synced by one thread at a time, when something happened to it or its next step is due. Long work runs on lanes of its
// own, so that nothing waits for what it does not need:
//   sync     quick steps of all Pods
//   present  images, and image volumes, that look present (a query, perhaps a verification)
//   pulls    images that are pulled; threads beyond the queue's limits wait in policy::PullQueue, further Pods cost no thread
//   hooks    preStop, postStart
// Safe for concurrent use. The destructor stops pulls and hooks and waits; containers live on.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "node/lane.h"
#include "node/pod_worker.h"

namespace berth::node {

class PodWorkers {
 public:
  struct Options {
    std::size_t sync = 4, present = 8, pulls = 24, hooks = 32;  // threads, at most
    PodWorker::Options worker;
  };
  // `present`: whether an image looks present; quick.
  PodWorkers(Options options, PodWorker::Parts parts, std::function<bool(const std::string& image)> present);
  ~PodWorkers();

  // A Pod that is new gets a worker with what `found` has of it; a known one (by UID) hears of its change.
  void Update(kube::Pod pod, const std::vector<FoundRun>& found = {});
  void Delete(const std::string& uid, std::optional<std::int64_t> grace);
  void Wake(const std::string& uid);   // something happened to its containers
  std::shared_ptr<PodWorker> Find(const std::string& uid) const;
  std::vector<std::shared_ptr<PodWorker>> List() const;
  std::size_t size() const { std::lock_guard hold(mutex_); return slots_.size(); }
  void AwaitGone(const task::Context& ctx, const std::string& uid) const;
  // Called, on a sync thread, when a Pod is no more.
  void OnGone(std::function<void(const kube::Pod&)> listener) { on_gone_ = std::move(listener); }

 private:
  struct Slot {
    std::shared_ptr<PodWorker> worker;
    bool queued = false, running = false, again = false;
    std::optional<time::SteadyTime> due;
  };
  void Enqueue(const std::string& uid);                       // mutex_ held
  void Run(const std::string& uid);
  void Dispatch(const std::string& uid, const std::shared_ptr<PodWorker>& worker, const PodWorker::Work& work);
  void Timer(const std::stop_token& stop);

  const Options options_;
  const PodWorker::Parts parts_;
  const std::function<bool(const std::string&)> present_;
  std::function<void(const kube::Pod&)> on_gone_;
  mutable std::mutex mutex_;
  mutable std::condition_variable_any gone_;
  std::map<std::string, Slot> slots_;   // guarded by mutex_; by UID
  std::stop_source alarm_;              // guarded by mutex_: wakes the timer for an earlier date
  std::stop_source stop_;               // of everything that runs for us
  Lane sync_, present_lane_, pulls_, hooks_;
  std::jthread timer_;                  // last
};

}  // namespace berth::node
