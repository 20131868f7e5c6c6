#include "pull/turns.h"

#include <algorithm>
#include <utility>

namespace berth::pull {
namespace {

// What is worth telling: nobody reads of half a second.
std::string Told(time::Duration wait, const std::string& why) { return wait < std::chrono::seconds(1) ? "" : why; }

}  // namespace

std::size_t Turns::at_work() const {
  std::lock_guard lock(mutex_);
  return at_work_;
}

std::size_t Turns::waiting() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

// Under mutex_, after something of the turn changed.
void Turns::Settle(Turn& turn) {
  using State = Turn::State;
  const bool wants = turn.number_ != 0 && (turn.moves_ || turn.paused_ < turn.pieces_);
  if (wants && turn.state_ == State::kAside) {
    queue_.emplace(turn.number_, &turn);
    turn.state_ = State::kQueued;
  } else if (!wants && turn.state_ != State::kAside) {
    if (turn.state_ == State::kQueued) std::erase_if(queue_, [&](const auto& entry) { return entry.second == &turn; });
    else --at_work_;
    turn.state_ = State::kAside;
  }
  for (; at_work_ < most_ && !queue_.empty(); ++at_work_) {
    queue_.begin()->second->state_ = State::kAtWork;
    queue_.erase(queue_.begin());
  }
  if (turn.moves_ && turn.paused_ == 0) turn.why_.clear();
  if (turn.tell_ && turn.number_ != 0) turn.tell_(turn.why_);
  changed_.notify_all();
}

template <class Ready>
Result<> Turns::Until(const task::Context& ctx, std::unique_lock<std::mutex>& lock, const Ready& ready) {
  const bool there = ctx.deadline() ? changed_.wait_until(lock, ctx.stop(), *ctx.deadline(), ready)
                                    : changed_.wait(lock, ctx.stop(), ready);
  if (there) return {};
  lock.unlock();
  RETURN_IF_ERROR(ctx.Check());
  return Error(Reason::kTimeout, "the deadline passed while waiting for a slot");
}

// --- Turn

Result<> Turns::Turn::Begin(const task::Context& ctx) {
  std::unique_lock lock(turns_.mutex_);
  number_ = ++turns_.arrivals_;
  turns_.Settle(*this);
  return turns_.Until(ctx, lock, [&] { return state_ == State::kAtWork; });
}

void Turns::Turn::End() {
  std::lock_guard lock(turns_.mutex_);
  if (tell_ && number_ != 0) tell_("");
  number_ = 0;
  turns_.Settle(*this);
}

void Turns::Turn::Await(std::size_t pieces) {
  std::lock_guard lock(turns_.mutex_);
  moves_ = false;
  pieces_ = pieces;
  turns_.Settle(*this);
}

Result<> Turns::Turn::GoOn(const task::Context& ctx) {
  std::unique_lock lock(turns_.mutex_);
  moves_ = true;
  turns_.Settle(*this);
  return turns_.Until(ctx, lock, [&] { return state_ == State::kAtWork; });
}

void Turns::Turn::GoOnAtOnce() {
  std::lock_guard lock(turns_.mutex_);
  moves_ = true;
  if (state_ == State::kQueued) turns_.queue_.erase(number_);
  if (state_ != State::kAtWork) ++turns_.at_work_;
  state_ = State::kAtWork;
  turns_.Settle(*this);
}

void Turns::Turn::GiveBack(time::Duration wait, const std::string& why) {
  std::lock_guard lock(turns_.mutex_);
  moves_ = false;
  pieces_ = 0;
  why_ = Told(wait, why);
  turns_.Settle(*this);
}

// --- Work

void Turns::Work::Join(std::shared_ptr<Turn> turn) {
  std::lock_guard lock(turns_.mutex_);
  if (paused_) {
    ++turn->paused_;
    turn->why_ = why_;
    turns_.Settle(*turn);
  }
  turns_of_.push_back(std::move(turn));
  turns_.changed_.notify_all();
}

void Turns::Work::GiveBack(time::Duration wait, const std::string& why) {
  std::lock_guard lock(turns_.mutex_);
  paused_ = true;
  why_ = Told(wait, why);
  for (const auto& turn : turns_of_) {
    ++turn->paused_;
    turn->why_ = why_;
    turns_.Settle(*turn);
  }
}

// Under turns_.mutex_.
void Turns::Work::Unpause() {
  paused_ = false;
  for (const auto& turn : turns_of_) {
    if (--turn->paused_ == 0) turn->why_.clear();
    turns_.Settle(*turn);
  }
}

void Turns::Work::GoOnAtOnce() {
  std::lock_guard lock(turns_.mutex_);
  Unpause();
}

Result<> Turns::Work::TakeAgain(const task::Context& ctx) {
  std::unique_lock lock(turns_.mutex_);
  Unpause();
  return turns_.Until(ctx, lock, [&] {
    return std::ranges::any_of(turns_of_, [](const auto& turn) { return turn->state_ == Turn::State::kAtWork; });
  });
}

}  // namespace berth::pull
