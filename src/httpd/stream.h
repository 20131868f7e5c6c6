// httpd/stream.h: an answer that is written bit by bit, for as long as the client listens (watches, logs that are followed).
//
//   auto [writer, body] = httpd::MakeStream();
//   watchers.Add(std::move(writer));                       // any thread writes
//   return httpd::Response::Streamed(200, fields, std::move(body));
//
// Between writer and socket there are at most `room` bytes. A writer that goes without End() cuts the connection, so that
// the client sees that something is missing. Safe for concurrent use; writes of several threads do not mix.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <stop_token>
#include <string_view>
#include <utility>

#include "result/result.h"
#include "task/context.h"

namespace berth::httpd {

namespace internal {
class Channel;
}

class StreamWriter {
 public:
  explicit StreamWriter(std::shared_ptr<internal::Channel> channel) : channel_(std::move(channel)) {}
  StreamWriter(StreamWriter&&) noexcept = default;
  StreamWriter& operator=(StreamWriter&& o) noexcept;
  ~StreamWriter();

  // Waits for room. kCanceled when the client is gone, the server stops or the Context says so.
  Result<> Write(const task::Context& ctx, std::string_view bytes);
  // All of it at once, or nothing: false when there is no room (a slow client) or nobody listens.
  bool TryWrite(std::string_view bytes);
  // After a TryWrite that found no room: `call` is called once, when the client has taken something or nobody listens any more; at once
  // when there is room for `bytes` now. On the server's thread, with a lock held: it must only wake somebody.
  void WhenRoom(std::size_t bytes, std::function<void()> call);
  // What was written is still delivered. Later writes are refused.
  void End();
  // Stopped when the client has gone, or was cut off, or the server stops.
  std::stop_token gone() const;

 private:
  std::shared_ptr<internal::Channel> channel_;
};

using StreamBody = std::shared_ptr<internal::Channel>;

std::pair<StreamWriter, StreamBody> MakeStream(std::size_t room = 256u << 10);

}  // namespace berth::httpd
