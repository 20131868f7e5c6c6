// layer/data_writer.h: file contents of a layer, one after the other, in one file.
//
// Each file (each segment of a sparse one) starts at a multiple of 4096; gaps are zeros. Contents are gathered from the
// caller's buffers and written by a thread of the writer's own, with few large pwritev calls at page-aligned places; nothing
// is copied but at most one page at the end of a buffer. Blocks are reserved ahead, doubling up to 64 MiB, which halves the
// cost of the writes; write-back starts every 8 MiB, so that the final fsync is short (performance 2c).
// A CRC32C of every MiB of the file is kept for fsck (descriptor.h).
// Errors: kNoSpace, kIo; a write's is the answer to one of the next calls. One thread at a time.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "layer/builder.h"
#include "result/result.h"

namespace berth::layer {

inline constexpr std::uint64_t kCrcBlock = 1u << 20;

class DataWriter final : public ContentSink {
 public:
  // `free` is called, from the writer's thread, for every Flush() with what was given to it: nobody reads there any more.
  explicit DataWriter(int fd, std::function<void(const void*)> free);
  ~DataWriter() override;  // drops what is not written yet

  Result<std::uint64_t> Start(const erofs::Tree& tree, std::uint32_t node) override;
  Result<> Append(bytes::View data) override;
  Result<> End(const erofs::Tree&, std::uint32_t) override { return {}; }
  Result<> Link(const erofs::Tree&, std::uint32_t, std::uint32_t) override { return {}; }
  Result<> Remove(const erofs::Tree&, std::uint32_t) override { return {}; }  // what is written stays, unused

  // Spans given to Append since the last Flush lie in `buffer`, which the caller wants back.
  Result<> Flush(const void* buffer);
  // Returns when everything is written, padded to 4096. Once, with nothing appended since Flush.
  Result<> Finish();
  std::uint64_t bytes() const { return end_; }
  // Of every kCrcBlock bytes; the last block may be short. After Finish().
  const std::vector<std::uint32_t>& crcs() const { return crcs_; }

 private:
  // What one buffer adds to the file.
  struct Batch {
    std::array<std::byte, 4096> head;   // the start of its first page, which came with the buffer before
    std::vector<bytes::View> pieces;
    std::uint64_t size = 0;             // of them
    const void* buffer = nullptr;
  };

  void Put(bytes::View piece);
  Result<> Hand(std::unique_ptr<Batch> batch);
  void Run(const std::stop_token& stop);
  Result<> Write(const Batch& batch);
  void Reserve(std::uint64_t until);
  void AddCrc(bytes::View piece);

  const int fd_;
  const std::function<void(const void*)> free_;
  std::unique_ptr<Batch> next_ = std::make_unique<Batch>();
  std::uint64_t end_ = 0;  // bytes given so far

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::unique_ptr<Batch>> queue_;  // guarded by mutex_
  bool last_ = false;                         // guarded by mutex_: no more will come
  std::optional<Error> failed_;               // guarded by mutex_

  // The thread's own, anybody's after its end.
  std::uint64_t written_ = 0;    // bytes in the file, a multiple of 4096
  std::uint64_t writeback_ = 0;  // write-back was started up to here
  std::uint64_t reserved_ = 0;   // blocks were asked for up to here
  std::vector<std::uint32_t> crcs_;
  std::uint64_t crc_room_ = 0;   // bytes that the last block still takes

  std::jthread thread_;
};

}  // namespace berth::layer
