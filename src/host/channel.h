// host/channel.h: bytes for another process, through memory that both have mapped.
//
// The writer fills a slot in place and says how much is in it; the reader takes it from there. Nothing is copied by the
// kernel, and the writer may use what it has handed over (hash it, store it) until it asks for more room. Beside the memory
// run two pipes: lengths to the reader, freed slots back.
// The reader may be hostile: its descriptor and its mapping are for reading only (the file is sealed), the file cannot be
// shortened under the writer, and what it says about freed slots only decides what it reads itself.
// The writing process must ignore SIGPIPE. One thread at a time for each object.
#pragma once

#include <cstdint>
#include <utility>

#include "bytes/bytes.h"
#include "host/fd.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::host {

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : view_(std::exchange(other.view_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(view_, other.view_);
    return *this;
  }
  ~Mapping();
  // All of a file of `size` bytes, shared.
  static Result<Mapping> Open(int fd, std::size_t size, bool writable);
  bytes::MutableView view() const { return view_; }

 private:
  bytes::MutableView view_;
};

class ChannelWriter {
 public:
  // What the reader is to get, in the order of ChannelReader::Open. Closed here once it has them: else its end is not seen.
  struct ReaderEnd {
    Fd memory, lengths, freed;
  };

  static constexpr std::size_t kSlotBytes = 256u << 10, kSlots = 8;

  static Result<std::pair<ChannelWriter, ReaderEnd>> Open();
  // Where the reader answers: neither call below waits for a reader who has answered.
  void AnswersOn(int fd) { answer_ = fd; }
  // What is left of the slot in hand; waits for a free one. An empty view: the reader has ended or answered.
  Result<bytes::MutableView> Room(const task::Context& ctx);
  // The first `count` bytes of Room() are the reader's to read, and stay as they are until the next Room().
  // False: it has ended or answered.
  Result<bool> HandOver(const task::Context& ctx, std::size_t count);
  // The reader gets its end of the stream after what it was handed.
  void Close() { lengths_.reset(); }

 private:
  Result<bool> Await(const task::Context& ctx, int fd, short events);
  Mapping memory_;
  Fd lengths_, freed_;
  int answer_ = -1;
  std::size_t slot_ = 0, filled_ = 0;  // in hand, and how much of it is handed over
  std::size_t taken_ = 1;              // slots that were begun and not freed, this one included
};

class ChannelReader final : public bytes::Source {
 public:
  // Borrows the pipes; the memory may be closed afterwards.
  static Result<ChannelReader> Open(int memory_fd, int lengths_fd, int freed_fd);
  Result<std::size_t> Read(bytes::MutableView room) override;

 private:
  ChannelReader(int lengths, int freed) : lengths_(lengths), freed_(freed) {}
  Mapping memory_;
  int lengths_, freed_;
  std::size_t at_ = 0, available_ = 0;  // where it reads in the ring; handed over and not read
};

}  // namespace berth::host
