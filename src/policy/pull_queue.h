// policy/pull_queue.h: whose pull runs when: one at a time, or several in parallel.
//
//   auto slot = queue.Enter(ctx, {pod_uid, image});    // waits for its turn
//   if (!slot) …                                       // cancelled or too late: the request is withdrawn
//   … pull …                                           // the slot is given back when it goes
//
// Rules: kubelet-images 5.2, 5.3. Serial (the default): one pull at a time, in order of arrival; 10 requests are queued,
// those beyond block before the queue (the difference shows only in the counters). Parallel: up to `limit` at once, any
// number when there is none. Never two pulls in parallel for one Pod, whatever the limit: the second waits, without
// holding up other Pods behind it. Nothing is de-duplicated here (the image service joins pulls of one image).
// Better than the kubelet: the parallel queue is first come first served, too, and a cancelled request leaves the queue at
// once (the kubelet keeps it there and pulls with a dead context).
// The caller's thread does the pulling: the queue has no threads. Safe for concurrent use.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "result/result.h"
#include "task/context.h"

namespace berth::policy {

class PullQueue {
 public:
  static constexpr std::size_t kSerialCapacity = 10;
  struct Options {
    bool serial = true;
    std::optional<std::int64_t> limit;  // of a parallel queue; none or below 1: unlimited
  };
  struct Request {
    std::string pod_uid;
    std::string image;
  };
  enum class Stage : unsigned char { kRunning, kQueued, kBlocked };
  struct Item {
    Request request;
    Stage stage = Stage::kQueued;
    time::SteadyTime since{};  // in the queue, or running
  };
  struct Counters {
    std::uint64_t entered = 0, granted = 0, withdrawn = 0;
    std::size_t running = 0, queued = 0, blocked = 0, peak_running = 0;
    time::Duration waited{};  // by all that were granted
  };

  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& o) noexcept : owner_(std::exchange(o.owner_, nullptr)), place_(o.place_) {}
    Slot& operator=(Slot&& o) noexcept;
    ~Slot() { Release(); }
    void Release();

   private:
    friend class PullQueue;
    using Place = std::list<Item>::iterator;
    Slot(PullQueue* owner, Place place) : owner_(owner), place_(place) {}
    PullQueue* owner_ = nullptr;
    Place place_;
  };

  explicit PullQueue(const Options& options);
  PullQueue(const PullQueue&) = delete;
  PullQueue& operator=(const PullQueue&) = delete;
  ~PullQueue();  // REQUIRES: nobody waits, no slot is out

  // kCanceled, kTimeout: the Context's.
  Result<Slot> Enter(const task::Context& ctx, Request request);
  Counters counters() const;
  std::vector<Item> Snapshot() const;  // running ones first, then those waiting in their order

 private:
  struct Waiter {
    Item item;
    bool granted = false;
    Slot::Place place;  // when granted
    std::condition_variable_any turn;
  };
  void Grant();  // to everyone whose turn it is; mutex_ held
  void Leave(Slot::Place place);

  const std::size_t slots_;  // 0: unlimited
  const bool serial_;
  mutable std::mutex mutex_;
  std::list<Waiter> waiting_;         // guarded by mutex_, in order of arrival
  std::list<Item> running_;           // guarded by mutex_
  std::set<std::string> busy_pods_;   // guarded by mutex_
  Counters counters_;                 // guarded by mutex_; running, queued and blocked are computed
};

}  // namespace berth::policy
