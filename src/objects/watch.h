// objects/watch.h: changes of the store as they happen, to any number of readers.
//
// A Watch gives every change behind the version it started at, in order. Its queue is bounded: a reader that does not keep up is
// dropped and told so (Status 410 "Expired"), which is what kubectl and client libraries answer with a new list. Queues share
// the objects they hold, so a thousand watchers cost a thousand queues of pointers.
// Threads: one reader per Watch; the store may go first (the Watch then ends with 410).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "kube/objects.h"
#include "kube/status.h"
#include "task/context.h"

namespace berth::objects {

struct Filter {
  std::string kind;                                   // "" = all kinds; also below
  std::string ns, name;                               // "" = all
  std::function<bool(const kube::Object&)> matches;   // selectors; empty = all. Called with a lock held: no store calls
  bool Passes(const kube::Object& object) const;
};

struct WatchEvent {
  enum class Type : std::uint8_t { kAdded, kModified, kDeleted } type = Type::kAdded;
  std::shared_ptr<const kube::Object> object;         // kDeleted: its last state, with the version of the deletion
  std::int64_t version = 0;
};
std::string_view NameOf(WatchEvent::Type type);       // "ADDED", …

class Watch {
 public:
  // The next change. Blocks until there is one; 410 when dropped; the Error kCanceled, as a 500, when `ctx` is stopped (its deadline
  // does not count: whoever has one stops the context).
  kube::Answer<WatchEvent> Next(const task::Context& ctx);
  // Without blocking: nullopt when there is none now.
  kube::Answer<std::optional<WatchEvent>> Poll();
  // For readers without a thread: `news` is called whenever there may be something for Poll(), at once if there is now. On the thread
  // of whoever writes, with the store's locks held: it must only wake somebody. Once, before the first Poll().
  void OnNews(std::function<void()> news);

 private:
  friend class Hub;
  struct Change {                                     // one for all watchers
    std::shared_ptr<const kube::Object> before, after;
    std::int64_t version = 0;
  };
  Watch(Filter filter, std::size_t limit) : filter_(std::move(filter)), limit_(limit) {}
  void Push(const Change& change);
  void Drop();

  const Filter filter_;
  const std::size_t limit_;
  std::mutex mutex_;
  std::condition_variable_any came_;
  std::deque<WatchEvent> queue_;
  bool dropped_ = false;
  std::function<void()> news_;
};

// The store's side: recent changes, and who wants to hear of them.
class Hub {
 public:
  Hub(std::size_t history, std::size_t queue, std::size_t watchers)
      : history_limit_(history), queue_limit_(queue), watcher_limit_(watchers) {}
  ~Hub();
  // What `version` is at start: older ones are gone.
  void Start(std::int64_t version);
  void Publish(std::shared_ptr<const kube::Object> before, std::shared_ptr<const kube::Object> after, std::int64_t version);
  // From behind `version`. 410 when changes since then are no longer known, 429 when there are too many watchers.
  kube::Answer<std::shared_ptr<Watch>> Add(Filter filter, std::int64_t version);

 private:
  const std::size_t history_limit_, queue_limit_, watcher_limit_;
  std::mutex mutex_;
  std::int64_t oldest_ = 0;                           // changes behind this version are in history_
  std::deque<Watch::Change> history_;
  std::vector<std::weak_ptr<Watch>> watches_;
};

}  // namespace berth::objects
