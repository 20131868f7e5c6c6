#include "httpd/stream.h"

#include <algorithm>
#include <cstring>

#include "httpd/channel.h"

namespace berth::httpd {
namespace internal {

Result<> Channel::Write(const task::Context& ctx, std::string_view bytes) {
  // Wakes for the caller's stop token by the wait itself, for the client's end by Hangup.
  while (!bytes.empty()) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return state_ != State::kOpen || buffer_.size() - sent_ < room_; };
    const bool in_time = ctx.deadline() ? changed_.wait_until(lock, ctx.stop(), *ctx.deadline(), ready)
                                        : changed_.wait(lock, ctx.stop(), ready);
    if (!in_time) {
      RETURN_IF_ERROR(ctx.Check());
      return Error(Reason::kTimeout, "the client did not take the answer in time");
    }
    if (state_ != State::kOpen) return Error(Reason::kCanceled, "the client does not listen any more");
    const std::size_t part = std::min(bytes.size(), room_ - (buffer_.size() - sent_));
    buffer_.append(bytes.substr(0, part));
    bytes.remove_prefix(part);
    Resume();
  }
  return {};
}

bool Channel::TryWrite(std::string_view bytes) {
  std::lock_guard lock(mutex_);
  if (state_ != State::kOpen || bytes.size() > room_ - (buffer_.size() - sent_)) return false;
  buffer_.append(bytes);
  Resume();
  return true;
}

void Channel::WhenRoom(std::size_t bytes, std::function<void()> call) {
  std::lock_guard lock(mutex_);
  if (state_ != State::kOpen || bytes <= room_ - (buffer_.size() - sent_)) return call();
  room_came_ = std::move(call);
}

void Channel::Close(State state) {
  std::lock_guard lock(mutex_);
  if (state_ != State::kOpen) return;
  state_ = state;
  Resume();
  changed_.notify_all();
}

void Channel::Hangup() {
  {
    std::lock_guard lock(mutex_);
    state_ = State::kAborted;
    Resume();
    if (auto call = std::exchange(room_came_, nullptr)) call();
    changed_.notify_all();
  }
  gone_.request_stop();
}

void Channel::Resume() {
  if (auto resume = std::exchange(resume_, nullptr)) resume();
}

Channel::Next Channel::Take(char* out, std::size_t limit, std::size_t& taken, const std::function<void()>& pause,
                            std::function<void()> resume) {
  std::lock_guard lock(mutex_);
  if (state_ == State::kAborted) return Next::kCut;
  const std::size_t there = buffer_.size() - sent_;
  if (there == 0) {
    if (state_ == State::kEnded) return Next::kEnd;
    pause();
    resume_ = std::move(resume);
    return Next::kWait;
  }
  taken = std::min(there, limit);
  std::memcpy(out, buffer_.data() + sent_, taken);
  sent_ += taken;
  if (sent_ == buffer_.size()) {
    buffer_.clear();
    sent_ = 0;
    if (buffer_.capacity() > 4096) buffer_.shrink_to_fit();  // thousands of watches idle
  } else if (sent_ >= room_ / 2) {
    buffer_.erase(0, sent_);
    sent_ = 0;
  }
  changed_.notify_all();
  if (auto call = std::exchange(room_came_, nullptr)) call();
  return Next::kBytes;
}

}  // namespace internal

StreamWriter& StreamWriter::operator=(StreamWriter&& o) noexcept {
  if (this != &o) {
    if (channel_) channel_->Abandon();
    channel_ = std::move(o.channel_);
  }
  return *this;
}
StreamWriter::~StreamWriter() {
  if (channel_) channel_->Abandon();
}
Result<> StreamWriter::Write(const task::Context& ctx, std::string_view bytes) { return channel_->Write(ctx, bytes); }
bool StreamWriter::TryWrite(std::string_view bytes) { return channel_->TryWrite(bytes); }
void StreamWriter::WhenRoom(std::size_t bytes, std::function<void()> call) { channel_->WhenRoom(bytes, std::move(call)); }
void StreamWriter::End() { channel_->End(); }
std::stop_token StreamWriter::gone() const { return channel_->gone(); }

std::pair<StreamWriter, StreamBody> MakeStream(std::size_t room) {
  auto channel = std::make_shared<internal::Channel>(room);
  return {StreamWriter(channel), channel};
}

}  // namespace berth::httpd
