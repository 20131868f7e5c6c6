// objects/watch.h: changes of the store as they happen, to any number of readers.
//
// A Watch gives every change behind the version it started at, in order. The store keeps so many changes of so many bytes; a reader that
// has not taken one when it goes is dropped and told so (Status 410 "Expired"), which is what kubectl and client libraries answer
// with a new list. So all watchers together hold no more than what the store keeps, and a queue of pointers each.
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
    std::size_t bytes() const;
  };
  explicit Watch(Filter filter) : filter_(std::move(filter)) {}
  // `oldest`: changes up to it are gone.
  void Push(const Change& change, std::int64_t oldest);
  void Drop();

  const Filter filter_;
  std::mutex mutex_;
  std::condition_variable_any came_;
  std::deque<WatchEvent> queue_;
  bool dropped_ = false;
  std::function<void()> news_;
};

// The store's side: recent changes, and who wants to hear of them.
class Hub {
 public:
  // `bytes`: of JSON, before and after; the last change is kept whatever it has.
  Hub(std::size_t changes, std::size_t bytes, std::size_t watchers)
      : change_limit_(changes), byte_limit_(bytes), watcher_limit_(watchers) {}
  ~Hub();
  // What `version` is at start: older ones are gone.
  void Start(std::int64_t version);
  void Publish(std::shared_ptr<const kube::Object> before, std::shared_ptr<const kube::Object> after, std::int64_t version);
  // From behind `version`. 410 when changes since then are no longer known, 429 when there are too many watchers.
  kube::Answer<std::shared_ptr<Watch>> Add(Filter filter, std::int64_t version);

 private:
  const std::size_t change_limit_, byte_limit_, watcher_limit_;
  std::mutex mutex_;
  std::size_t bytes_ = 0;                             // of history_
  std::int64_t oldest_ = 0;                           // changes behind this version are in history_
  std::deque<Watch::Change> history_;
  std::vector<std::weak_ptr<Watch>> watches_;
};

}  // namespace berth::objects
