// httpd/channel.h: both ends of a stream: writers on one side, the server's thread on the other. Inside httpd only.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

#include "httpd/stream.h"

namespace berth::httpd::internal {

class Channel {
 public:
  explicit Channel(std::size_t room) : room_(room) {}

  // --- writers
  Result<> Write(const task::Context& ctx, std::string_view bytes);
  bool TryWrite(std::string_view bytes);
  void WhenRoom(std::size_t bytes, std::function<void()> call);
  void End() { Close(State::kEnded); }
  void Abandon() { Close(State::kAborted); }
  std::stop_token gone() const { return gone_.get_token(); }

  // --- the server
  enum class Next : unsigned char { kBytes, kWait, kEnd, kCut };
  // Takes up to `limit` bytes into `out`. With nothing there `pause` is called, under the lock, before kWait is returned;
  // `resume` is called, once, when there is news.
  Next Take(char* out, std::size_t limit, std::size_t& taken, const std::function<void()>& pause, std::function<void()> resume);
  // The client is gone or has to go: writers are told, a paused reader is resumed and cuts.
  void Hangup();

 private:
  enum class State : unsigned char { kOpen, kEnded, kAborted };
  void Close(State state);
  void Resume();  // with the lock held

  const std::size_t room_;
  std::stop_source gone_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::string buffer_;            // guarded by mutex_
  std::size_t sent_ = 0;          // guarded by mutex_: of buffer_
  State state_ = State::kOpen;    // guarded by mutex_
  std::function<void()> resume_;  // guarded by mutex_: of a paused reader
  std::function<void()> room_came_;  // guarded by mutex_: of a writer that waits without a thread
};

}  // namespace berth::httpd::internal
