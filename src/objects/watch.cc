#include "objects/watch.h"

#include <algorithm>

namespace berth::objects {

using kube::Answer;
using kube::Object;
using kube::Status;

std::size_t Watch::Change::bytes() const { return (before ? before->json.size() : 0) + (after ? after->json.size() : 0); }

bool Filter::Passes(const Object& object) const {
  const auto fits = [](const std::string& wanted, const std::string& is) { return wanted.empty() || wanted == is; };
  return fits(kind, object.kind) && fits(ns, object.metadata.ns) && fits(name, object.metadata.name) && (!matches || matches(object));
}

std::string_view NameOf(WatchEvent::Type type) {
  return type == WatchEvent::Type::kAdded ? "ADDED" : type == WatchEvent::Type::kModified ? "MODIFIED" : "DELETED";
}

void Watch::OnNews(std::function<void()> news) {
  std::lock_guard lock(mutex_);
  news_ = std::move(news);
  if (dropped_ || !queue_.empty()) news_();
}

void Watch::Push(const Change& change, std::int64_t oldest) {
  // To a selector, an object that no longer fits is deleted, one that now fits is new.
  const bool was = change.before && filter_.Passes(*change.before), is = change.after && filter_.Passes(*change.after);
  using Type = WatchEvent::Type;
  {
    std::lock_guard lock(mutex_);
    if (dropped_) return;
    if (!queue_.empty() && queue_.front().version <= oldest) {
      std::deque<WatchEvent>().swap(queue_);
      dropped_ = true;
    } else if (was || is) {
      const Type type = is ? (was ? Type::kModified : Type::kAdded) : Type::kDeleted;
      queue_.push_back({type, change.after ? change.after : change.before, change.version});
    } else {
      return;
    }
    if (news_) news_();
  }
  came_.notify_all();
}

void Watch::Drop() {
  {
    std::lock_guard lock(mutex_);
    dropped_ = true;
    if (news_) news_();
  }
  came_.notify_all();
}

Answer<std::optional<WatchEvent>> Watch::Poll() {
  std::lock_guard lock(mutex_);
  if (!queue_.empty()) {
    std::optional<WatchEvent> event = std::move(queue_.front());
    queue_.pop_front();
    return event;
  }
  if (dropped_) return Status::Expired("the watch was too slow, or the server stops: changes were lost; list again");
  return std::optional<WatchEvent>();
}

Answer<WatchEvent> Watch::Next(const task::Context& ctx) {
  for (;;) {
    Answer<std::optional<WatchEvent>> event = Poll();
    if (!event) return kube::Refusal(event);
    if (event->has_value()) return std::move(**event);
    std::unique_lock lock(mutex_);
    if (!came_.wait(lock, ctx.stop(), [&] { return dropped_ || !queue_.empty(); })) return Error(Reason::kCanceled, "the watch was stopped");
  }
}

Hub::~Hub() {
  for (const auto& weak : watches_)
    if (const auto watch = weak.lock()) watch->Drop();
}

void Hub::Start(std::int64_t version) {
  std::lock_guard lock(mutex_);
  oldest_ = version;
}

void Hub::Publish(std::shared_ptr<const Object> before, std::shared_ptr<const Object> after, std::int64_t version) {
  std::lock_guard lock(mutex_);
  history_.push_back({std::move(before), std::move(after), version});
  bytes_ += history_.back().bytes();
  while (history_.size() > 1 && (history_.size() > change_limit_ || bytes_ > byte_limit_)) {
    oldest_ = history_.front().version;
    bytes_ -= history_.front().bytes();
    history_.pop_front();
  }
  std::erase_if(watches_, [&](const auto& weak) {
    const auto watch = weak.lock();
    if (watch) watch->Push(history_.back(), oldest_);
    return !watch;
  });
}

Answer<std::shared_ptr<Watch>> Hub::Add(Filter filter, std::int64_t version) {
  std::lock_guard lock(mutex_);
  if (version < oldest_) return Status::Expired("too old resource version: " + std::to_string(version) + " (" + std::to_string(oldest_) + ")");
  std::erase_if(watches_, [](const auto& weak) { return weak.expired(); });
  if (watches_.size() >= watcher_limit_) {
    return Status{.reason = "TooManyRequests", .code = 429, .message = "too many watches (limit: " + std::to_string(watcher_limit_) + "), try again later",
                  .retry_after_seconds = 1};
  }
  std::shared_ptr<Watch> watch(new Watch(std::move(filter)));
  for (const Watch::Change& change : history_)
    if (change.version > version) watch->Push(change, oldest_);
  watches_.push_back(watch);
  return watch;
}

}  // namespace berth::objects
