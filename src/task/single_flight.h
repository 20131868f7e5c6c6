// task/single_flight.h: the same work asked for several times is done once.
//
//   SingleFlight<std::string, Answer> flights;
//   auto ticket = flights.Join(key, [&](const Context& ctx) -> Result<Answer> { … });   // starts it or joins it
//   Result<Answer> answer = ticket.Wait(ctx);
//
// The work runs on a thread of its own under a stop token of its own: it ends early only when the last Ticket is gone,
// so one caller's cancellation never fails another's. Waiting honours the waiter's Context. A key is free again as soon
// as its work has ended: who joins later starts anew. Errors are handed to every waiter alike; `started()` tells a
// waiter whether the work was begun on its behalf (its credentials) or on somebody else's.
//
// Safe for concurrent use. The destructor stops all work and waits for it: no flight outlives the SingleFlight.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "result/result.h"
#include "task/context.h"

namespace berth::task {

template <class Key, class T>
class SingleFlight {
  struct Flight {
    std::mutex mutex;
    std::condition_variable_any done;
    std::optional<Result<T>> answer;  // guarded by mutex
    std::stop_source stop;
    int tickets = 0;                  // guarded by the SingleFlight's mutex
  };
  struct Shared {
    std::mutex mutex;
    std::condition_variable idle;
    std::map<Key, std::shared_ptr<Flight>> flights;  // guarded by mutex: those that can be joined
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
      std::unique_lock lock(flight_->mutex);
      const auto ready = [&] { return flight_->answer.has_value(); };
      const bool there = ctx.deadline() ? flight_->done.wait_until(lock, ctx.stop(), *ctx.deadline(), ready)
                                        : flight_->done.wait(lock, ctx.stop(), ready);
      if (there) return *flight_->answer;
      lock.unlock();
      RETURN_IF_ERROR(ctx.Check());
      return Error(Reason::kTimeout, "the deadline passed");
    }
    bool started() const { return started_; }

   private:
    friend class SingleFlight;
    Ticket(std::shared_ptr<Shared> shared, std::shared_ptr<Flight> flight, bool started)
        : shared_(std::move(shared)), flight_(std::move(flight)), started_(started) {}
    void Leave() {
      if (!flight_) return;
      std::lock_guard lock(shared_->mutex);
      if (--flight_->tickets == 0) {
        flight_->stop.request_stop();
        // Nobody may join work that is being stopped.
        std::erase_if(shared_->flights, [&](const auto& entry) { return entry.second == flight_; });
      }
      flight_.reset();
    }
    std::shared_ptr<Shared> shared_;
    std::shared_ptr<Flight> flight_;
    bool started_ = false;
  };

  SingleFlight() : shared_(std::make_shared<Shared>()) {}
  SingleFlight(const SingleFlight&) = delete;
  SingleFlight& operator=(const SingleFlight&) = delete;
  ~SingleFlight() {
    std::unique_lock lock(shared_->mutex);
    for (auto& [key, flight] : shared_->flights) flight->stop.request_stop();
    shared_->idle.wait(lock, [&] { return shared_->running == 0; });
  }

  // `work` gets a Context with the flight's stop token and `base`'s clock, no deadline.
  Ticket Join(const Key& key, const Context& base, std::function<Result<T>(const Context&)> work) {
    std::lock_guard lock(shared_->mutex);
    auto& flight = shared_->flights[key];
    const bool start = !flight;
    if (start) {
      flight = std::make_shared<Flight>();
      ++shared_->running;
      std::thread([shared = shared_, flight, key, ctx = Context(flight->stop.get_token(), base.clock()), work = std::move(work)]() mutable {
        Run(*shared, std::move(flight), key, ctx, std::move(work));
      }).detach();  // counted in `running`: the destructor waits for it
    }
    ++flight->tickets;
    return Ticket(shared_, flight, start);
  }
  std::size_t size() const {
    std::lock_guard lock(shared_->mutex);
    return shared_->flights.size();
  }

 private:
  static void Run(Shared& shared, std::shared_ptr<Flight> flight, const Key& key, const Context& ctx,
                  std::function<Result<T>(const Context&)> work) {
    Result<T> answer = work(ctx);
    work = nullptr;  // what it captured goes before anybody is told
    {
      std::lock_guard lock(shared.mutex);
      const auto it = shared.flights.find(key);
      if (it != shared.flights.end() && it->second == flight) shared.flights.erase(it);
    }
    {
      std::lock_guard lock(flight->mutex);
      flight->answer.emplace(std::move(answer));
    }
    flight->done.notify_all();
    flight.reset();
    std::lock_guard lock(shared.mutex);
    if (--shared.running == 0) shared.idle.notify_all();
  }

  std::shared_ptr<Shared> shared_;
};

}  // namespace berth::task
