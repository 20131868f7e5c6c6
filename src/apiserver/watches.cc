#include "apiserver/watches.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace berth::apiserver {
namespace {

constexpr std::size_t kRoom = 8u << 10, kPart = 4u << 10;
constexpr int kTurn = 64;                                    // lines of one watch before the next one's
constexpr auto kBookmarkEvery = std::chrono::minutes(1);
constexpr auto kUsual = std::chrono::minutes(45);            // spread, so that clients do not all come back at once
constexpr int kSpread = 15 * 60;                             // seconds
constexpr int kTries = 3;

class Client;

// Those that have something to do. Outlives the pump in the callbacks of others, which run under locks of others: they must never
// be the ones that let go of a Client.
class ReadyQueue {
 public:
  void Add(std::weak_ptr<Client> client) {
    {
      std::lock_guard lock(mutex_);
      clients_.push_back(std::move(client));
    }
    came_.notify_one();
  }
  // nullopt when stopped.
  std::optional<std::weak_ptr<Client>> Next(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (!came_.wait(lock, stop, [&] { return !clients_.empty(); })) return std::nullopt;
    auto client = std::move(clients_.front());
    clients_.pop_front();
    return client;
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any came_;
  std::deque<std::weak_ptr<Client>> clients_;  // guarded by mutex_; each once
};

// One watch. All but Wake() is the pump's.
class Client : public std::enable_shared_from_this<Client> {
 public:
  Client(std::shared_ptr<objects::Watch> watch, std::vector<objects::ObjectPtr> initial, httpd::StreamWriter writer, Renderer renderer,
         bool wants_bookmarks, time::SteadyTime until)
      : bookmarks(wants_bookmarks), end(until), watch_(std::move(watch)), initial_(initial.begin(), initial.end()),
        writer_(std::move(writer)), renderer_(std::move(renderer)) {}

  void Attach(const std::shared_ptr<ReadyQueue>& queue) {
    wake_ = [queue, weak = weak_from_this(), queued = queued_] {
      if (!queued->exchange(true)) queue->Add(weak);
    };
    gone_.emplace(writer_.gone(), wake_);
    watch_->OnNews(wake_);
    wake_();  // whether there is anything is the pump's to see: it may be at work already
  }

  enum class Next : std::uint8_t { kIdle, kMore, kOver };
  Next Turn(const objects::Store& store, time::SteadyTime now) {
    *queued_ = false;  // news from here on queue it again
    if (finished_ || writer_.gone().stop_requested()) return Next::kOver;
    const bool over = now >= end;
    bool asked = due.exchange(false) || over;
    const std::int64_t version = asked ? store.version() : 0;  // before the queue is emptied: all up to it has come
    for (int line = 0; line < kTurn; ++line) {
      if (!Flush()) {
        if (asked) due = true;
        return Next::kIdle;
      }
      if (last_) return Finish();
      if (!initial_.empty()) {
        Say(renderer_.Event(objects::WatchEvent::Type::kAdded, *initial_.front(), std::exchange(first_, false)));
        initial_.pop_front();
        continue;
      }
      auto event = watch_->Poll();
      if (!event) {
        Say(Renderer::Failure(event.error()));
        last_ = true;
      } else if (event->has_value()) {
        Say(renderer_.Event((*event)->type, *(*event)->object, std::exchange(first_, false)));
      } else if (asked) {
        if (bookmarks) Say(renderer_.Bookmark(version));
        last_ = over;
        asked = false;
        if (!bookmarks && last_) return Finish();
      } else {
        return Next::kIdle;
      }
    }
    if (asked) due = true;
    return Next::kMore;
  }
  void Wake() { wake_(); }

  const bool bookmarks;
  const time::SteadyTime end;
  std::atomic<bool> due{false};

 private:
  Next Finish() {
    finished_ = true;
    writer_.End();
    return Next::kOver;
  }
  void Say(std::string text) {
    text_ = std::move(text);
    sent_ = 0;
  }
  // False: the rest waits for room.
  bool Flush() {
    while (sent_ < text_.size()) {
      const std::string_view part = std::string_view(text_).substr(sent_, kPart);
      if (!writer_.TryWrite(part)) {
        if (sent_ > 0) text_ = text_.substr(std::exchange(sent_, 0));  // it may wait for long
        return writer_.WhenRoom(std::min(kPart, text_.size()), wake_), false;
      }
      sent_ += part.size();
    }
    text_ = std::string();
    sent_ = 0;
    return true;
  }

  const std::shared_ptr<objects::Watch> watch_;
  std::deque<objects::ObjectPtr> initial_;
  httpd::StreamWriter writer_;
  const Renderer renderer_;
  std::string text_;
  std::size_t sent_ = 0;
  bool first_ = true, last_ = false, finished_ = false;
  const std::shared_ptr<std::atomic<bool>> queued_ = std::make_shared<std::atomic<bool>>(false);
  std::function<void()> wake_;
  std::optional<std::stop_callback<std::function<void()>>> gone_;
};

}  // namespace

struct Watches::State {
  State(objects::Store& s, const time::Clock& c) : store(s), clock(c), queue(std::make_shared<ReadyQueue>()) {}

  void Pump(const std::stop_token& stop) {
    while (const auto next = queue->Next(stop)) {
      const auto client = next->lock();
      if (client == nullptr) continue;
      switch (client->Turn(store, clock.SteadyNow())) {
        case Client::Next::kIdle: break;
        case Client::Next::kMore: client->Wake(); break;
        case Client::Next::kOver: {
          std::lock_guard lock(mutex);
          clients.erase(client);
          break;
        }
      }
    }
  }

  // Bookmarks and ends.
  void Arm(const std::shared_ptr<Client>& client) {
    const auto now = clock.SteadyNow();
    const auto at = client->bookmarks ? std::min(client->end, now + kBookmarkEvery) : client->end;
    std::lock_guard lock(mutex);
    timers.emplace(at, client);
    sleeper.request_stop();
    armed.notify_all();
  }
  void RunTimers(const std::stop_token& stop) {
    for (;;) {
      time::SteadyTime at;
      std::stop_source sleep;
      {
        std::unique_lock lock(mutex);
        if (!armed.wait(lock, stop, [&] { return !timers.empty(); })) return;
        at = timers.begin()->first;
        sleeper = sleep;
      }
      {
        const std::stop_callback end(stop, [&] { sleep.request_stop(); });
        (void)clock.SleepUntil(sleep.get_token(), at);
      }
      if (stop.stop_requested()) return;
      std::vector<std::shared_ptr<Client>> due;
      {
        std::lock_guard lock(mutex);
        const auto now = clock.SteadyNow();
        while (!timers.empty() && timers.begin()->first <= now) {
          if (auto client = timers.begin()->second.lock()) due.push_back(std::move(client));
          timers.erase(timers.begin());
        }
      }
      for (const auto& client : due) {
        client->due = true;
        client->Wake();
        if (clock.SteadyNow() < client->end) Arm(client);
      }
    }
  }

  objects::Store& store;
  const time::Clock& clock;
  const std::shared_ptr<ReadyQueue> queue;
  std::mutex mutex;
  std::condition_variable_any armed;
  std::set<std::shared_ptr<Client>> clients;                            // guarded by mutex
  std::multimap<time::SteadyTime, std::weak_ptr<Client>> timers;        // guarded by mutex
  std::stop_source sleeper;                                             // guarded by mutex: ends the current sleep
  std::int64_t started = 0;                                             // guarded by mutex
  std::jthread pump{[this](const std::stop_token& stop) { Pump(stop); }};
  std::jthread timer{[this](const std::stop_token& stop) { RunTimers(stop); }};
};

Watches::Watches(objects::Store& store, const time::Clock& clock) : state_(std::make_unique<State>(store, clock)) {}
Watches::~Watches() {
  state_->timer = {};
  state_->pump = {};
}

kube::Answer<httpd::StreamBody> Watches::Start(WatchWish wish, Renderer renderer) {
  auto [writer, body] = httpd::MakeStream(kRoom);
  std::vector<objects::ObjectPtr> initial;
  std::shared_ptr<objects::Watch> watch;
  for (int i = 0; watch == nullptr; ++i) {
    std::optional<std::int64_t> from = wish.from;
    if (!from) {
      auto listing = state_->store.List(wish.filter);
      if (!listing) return kube::Refusal(listing);
      initial = std::move(listing->objects);
      from = listing->version;
    }
    auto added = state_->store.Watching(wish.filter, from);
    if (added) {
      watch = *std::move(added);
    } else if (added.error().code != 410) {
      return kube::Refusal(added);
    } else if (wish.from || i >= kTries) {
      const std::string text = Renderer::Failure(added.error());
      (void)writer.TryWrite(text);
      writer.End();
      return std::move(body);
    }
  }
  std::int64_t nth = 0;
  {
    std::lock_guard lock(state_->mutex);
    nth = state_->started++;
  }
  const time::Duration limit = wish.limit ? *wish.limit : time::Duration(kUsual) + std::chrono::seconds(nth * 7919 % kSpread);
  const auto client = std::make_shared<Client>(std::move(watch), std::move(initial), std::move(writer), std::move(renderer), wish.bookmarks,
                                               state_->clock.SteadyNow() + limit);
  {
    std::lock_guard lock(state_->mutex);
    state_->clients.insert(client);
  }
  client->Attach(state_->queue);
  state_->Arm(client);
  return std::move(body);
}

}  // namespace berth::apiserver
