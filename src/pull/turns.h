// pull/turns.h: at most N pulls, or layers, at work at a time, where who sits out a wait of a registry is not at work. Private to pull/.
//
// A Turn is one pull's or one layer's place: granted in order of arrival, given back while nothing of it moves, taken again
// before all who came later (reliability-security C-34, C-35).
//
//   Turns turns(8);
//   auto turn = std::make_shared<Turns::Turn>(turns);
//   RETURN_IF_ERROR(turn->Begin(ctx));    // until it has its place
//   turn->Await(4); … turn->GoOn(ctx);    // its thread only waits for 4 pieces of Work; with all of them paused it is not at work
//   turn->End();
//
// A piece of Work may belong to several Turns (pulls share layers): it goes on when one of them is at work. So nobody who
// is at work ever waits for one who is not: what its Turn waits for may always go on. Who holds, through a wait, something else that those
// at work may be waiting for (memory), must not wait for them: GoOnAtOnce(), beyond the N if need be.
// Safe for concurrent use. `tell`, of a Turn, is called under the lock with what is waited for ("": nothing).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "registry/standby.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::pull {

class Turns {
 public:
  explicit Turns(std::size_t most) : most_(most) {}
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;
  std::size_t at_work() const;
  std::size_t waiting() const;  // those who would be, were there room

  // As a Standby: for waits on its own thread.
  class Turn final : public registry::Standby {
   public:
    explicit Turn(Turns& turns, std::function<void(const std::string& why)> tell = nullptr) : turns_(turns), tell_(std::move(tell)) {}
    ~Turn() override { End(); }
    Result<> Begin(const task::Context& ctx);
    void End();
    void Await(std::size_t pieces);
    Result<> GoOn(const task::Context& ctx);
    void GoOnAtOnce();
    void GiveBack(time::Duration wait, const std::string& why) override;
    Result<> TakeAgain(const task::Context& ctx) override { return GoOn(ctx); }

   private:
    friend class Turns;
    enum class State : std::uint8_t { kAside, kQueued, kAtWork };
    Turns& turns_;
    const std::function<void(const std::string&)> tell_;
    // All guarded by turns_.mutex_.
    State state_ = State::kAside;
    std::uint64_t number_ = 0;  // of arrival; 0: not begun, or ended
    bool moves_ = true;         // its own thread does
    std::size_t pieces_ = 0, paused_ = 0;
    std::string why_;
  };

  // As a Standby: for waits of whoever works on it.
  class Work final : public registry::Standby {
   public:
    explicit Work(Turns& turns) : turns_(turns) {}
    void Join(std::shared_ptr<Turn> turn);
    void GiveBack(time::Duration wait, const std::string& why) override;
    Result<> TakeAgain(const task::Context& ctx) override;
    void GoOnAtOnce();

   private:
    void Unpause();
    Turns& turns_;
    bool paused_ = false;  // guarded by turns_.mutex_, as are
    std::string why_;
    std::vector<std::shared_ptr<Turn>> turns_of_;
  };

 private:
  void Settle(Turn& turn);
  template <class Ready>
  Result<> Until(const task::Context& ctx, std::unique_lock<std::mutex>& lock, const Ready& ready);

  const std::size_t most_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::uint64_t, Turn*> queue_;  // guarded by mutex_, as are
  std::size_t at_work_ = 0;
  std::uint64_t arrivals_ = 0;
};

}  // namespace berth::pull
