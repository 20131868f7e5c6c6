// task/single_flight.h: the same work asked for several times is done once.
//
//   SingleFlight<std::string, Answer> flights("berth-answer");
//   auto ticket = flights.Join(key, [&](const Context& ctx) -> Result<Answer> { … });   // starts it or joins it
//   Result<Answer> answer = ticket.Wait(ctx);
//
// The work runs on a thread of its own under a stop token of its own: it ends early only when the last Ticket is gone,
// so one caller's cancellation never fails another's. Waiting honours the waiter's Context. A key is free again as soon
// as its work has ended: who joins later starts anew. Nobody joins work that is being stopped: who comes meanwhile starts
// anew too, and that work begins when the old one has ended, so two never run under one key. Errors are handed to every
// waiter alike; `started()` tells a waiter whether the work was begun on its behalf (its credentials) or on somebody else's.
// Where the kernel has no thread to give, the answer is kUnavailable to the one who asked (`refused()`), and the key stays free.
//
// Safe for concurrent use; one Ticket by one thread. The destructor stops all work and waits for it: no flight outlives
// the SingleFlight.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "result/result.h"
#include "task/context.h"
#include "task/spawn.h"

namespace berth::task {

template <class Key, class T>
class SingleFlight {
  // All of it guarded by Shared::mutex, but `answer` does not change once it is there.
  struct Flight {
    std::optional<Result<T>> answer;
    std::stop_source stop;
    int tickets = 0;
    bool refused = false;           // it never ran
    bool ended = false;             // its thread will touch nothing of the key any more
    std::shared_ptr<Flight> after;  // that held the key before and is being stopped
  };
  struct Shared {
    std::mutex mutex;
    std::condition_variable_any changed;             // an answer, an end
    std::map<Key, std::shared_ptr<Flight>> flights;  // guarded by mutex: the last one of each key, until it ended
    int running = 0;                                 // guarded by mutex: threads
  };

 public:
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& o) noexcept = default;
    Ticket& operator=(Ticket&& o) noexcept {
      if (this != &o) {
        Leave();
        shared_ = std::move(o.shared_);
        flight_ = std::move(o.flight_);
        started_ = o.started_;
      }
      return *this;
    }
    ~Ticket() { Leave(); }

    Result<T> Wait(const Context& ctx) {
      RETURN_IF_ERROR(Await(ctx, *shared_, [&] { return flight_->answer.has_value(); }));
      return *flight_->answer;
    }
    bool started() const { return started_; }
    bool refused() const {
      std::lock_guard lock(shared_->mutex);
      return flight_->refused;
    }

   private:
    friend class SingleFlight;
    Ticket(std::shared_ptr<Shared> shared, std::shared_ptr<Flight> flight, bool started)
        : shared_(std::move(shared)), flight_(std::move(flight)), started_(started) {}
    void Leave() {
      if (!flight_) return;
      std::lock_guard lock(shared_->mutex);
      if (--flight_->tickets == 0) flight_->stop.request_stop();
      flight_.reset();
    }
    std::shared_ptr<Shared> shared_;
    std::shared_ptr<Flight> flight_;
    bool started_ = false;
  };

  // `thread_name`: of its threads, for those who look with ps or perf; a literal of at most 15 characters.
  explicit SingleFlight(const char* thread_name = "berth-flight", Spawn spawn = SpawnDetached)
      : shared_(std::make_shared<Shared>()), thread_name_(thread_name), spawn_(std::move(spawn)) {}
  SingleFlight(const SingleFlight&) = delete;
  SingleFlight& operator=(const SingleFlight&) = delete;
  ~SingleFlight() {
    std::unique_lock lock(shared_->mutex);
    for (auto& [key, flight] : shared_->flights)
      for (auto f = flight; f; f = f->after) f->stop.request_stop();
    shared_->changed.wait(lock, [&] { return shared_->running == 0; });
  }

  // `work` gets a Context with the flight's stop token and `base`'s clock, no deadline.
  Ticket Join(const Key& key, const Context& base, std::function<Result<T>(const Context&)> work) {
    std::lock_guard lock(shared_->mutex);
    auto& last = shared_->flights[key];
    if (last && last->tickets > 0) {
      ++last->tickets;
      return Ticket(shared_, last, false);
    }
    const auto flight = std::make_shared<Flight>();
    ++flight->tickets;
    flight->after = std::move(last);
    last = flight;
    ++shared_->running;
    const auto begun = Start(spawn_, [shared = shared_, name = thread_name_, flight, key,
                                      ctx = Context(flight->stop.get_token(), base.clock()), work = std::move(work)]() mutable {
      (void)pthread_setname_np(pthread_self(), name);
      Run(*shared, std::move(flight), key, ctx, std::move(work));
    });  // counted in `running`: the destructor waits for it
    if (!begun) {  // as if nobody had come, but for the ticket
      --shared_->running;
      last = std::move(flight->after);
      if (!last) shared_->flights.erase(key);
      flight->refused = flight->ended = true;
      flight->answer.emplace(begun.error());
    }
    return Ticket(shared_, flight, true);
  }

  // The place of a ticket in `open` (places into `tickets`, at least one) whose work has ended; its Wait() returns at once.
  static Result<std::size_t> WaitAny(const Context& ctx, std::span<const Ticket> tickets, const std::set<std::size_t>& open) {
    auto ready = open.end();
    RETURN_IF_ERROR(Await(ctx, *tickets[*open.begin()].shared_, [&] {
      for (ready = open.begin(); ready != open.end(); ++ready)
        if (tickets[*ready].flight_->answer) return true;
      return false;
    }));
    return *ready;
  }

  std::size_t size() const {  // keys at work
    std::lock_guard lock(shared_->mutex);
    return shared_->flights.size();
  }

 private:
  static Result<> Await(const Context& ctx, Shared& shared, const std::function<bool()>& ready) {
    std::unique_lock lock(shared.mutex);
    const bool there = ctx.deadline() ? shared.changed.wait_until(lock, ctx.stop(), *ctx.deadline(), ready)
                                      : shared.changed.wait(lock, ctx.stop(), ready);
    if (there) return {};
    lock.unlock();
    RETURN_IF_ERROR(ctx.Check());
    return Error(Reason::kTimeout, "the deadline passed");
  }

  static void Run(Shared& shared, std::shared_ptr<Flight> flight, const Key& key, const Context& ctx,
                  std::function<Result<T>(const Context&)> work) {
    {
      // Even when stopped itself: the next one waits for this one only.
      std::unique_lock lock(shared.mutex);
      shared.changed.wait(lock, [&] { return !flight->after || flight->after->ended; });
      flight->after.reset();
    }
    Result<T> answer = work(ctx);
    work = nullptr;  // what it captured goes before anybody is told
    {
      std::lock_guard lock(shared.mutex);
      flight->answer.emplace(std::move(answer));
      flight->ended = true;
      const auto it = shared.flights.find(key);
      if (it != shared.flights.end() && it->second == flight) shared.flights.erase(it);
    }
    shared.changed.notify_all();
    flight.reset();
    std::lock_guard lock(shared.mutex);
    if (--shared.running == 0) shared.changed.notify_all();
  }

  std::shared_ptr<Shared> shared_;
  const char* thread_name_;
  const Spawn spawn_;
};

}  // namespace berth::task
