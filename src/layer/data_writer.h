// layer/data_writer.h: file contents of a layer, one after the other, in one file.
//
// Each file (each segment of a sparse one) starts at a multiple of 4096; gaps are zeros. Contents are gathered from the
// caller's buffers and written with few large pwritev calls at page-aligned places; nothing is copied but at most one
// page at the end of a buffer. Blocks are reserved ahead, doubling up to 64 MiB, which halves the cost of the writes;
// write-back starts every 8 MiB, so that the final fsync is short (performance 2c).
// A CRC32C of every MiB of the file is kept for fsck (descriptor.h).
// Errors: kNoSpace, kIo. One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "layer/builder.h"
#include "result/result.h"

namespace berth::layer {

inline constexpr std::uint64_t kCrcBlock = 1u << 20;

class DataWriter final : public ContentSink {
 public:
  explicit DataWriter(int fd) : fd_(fd) {}

  Result<std::uint64_t> Start(const erofs::Tree& tree, std::uint32_t node) override;
  Result<> Append(bytes::View data) override;
  Result<> End(const erofs::Tree&, std::uint32_t) override { return {}; }
  Result<> Link(const erofs::Tree&, std::uint32_t, std::uint32_t) override { return {}; }
  Result<> Remove(const erofs::Tree&, std::uint32_t) override { return {}; }  // what is written stays, unused

  // Spans given to Append are no longer needed after this. Call it before their buffer is used again.
  Result<> Flush();
  // The rest, padded to 4096. Once.
  Result<> Finish();
  std::uint64_t bytes() const { return end_; }
  // Of every kCrcBlock bytes; the last block may be short.
  const std::vector<std::uint32_t>& crcs() const { return crcs_; }

 private:
  Result<> Put(bytes::View piece);
  Result<> Write(std::uint64_t until);
  void Reserve(std::uint64_t until);
  void AddCrc(bytes::View piece);

  int fd_;
  std::uint64_t end_ = 0;        // bytes given so far
  std::uint64_t written_ = 0;    // bytes in the file, a multiple of 4096
  std::uint64_t writeback_ = 0;  // write-back was started up to here
  std::uint64_t reserved_ = 0;   // blocks were asked for up to here
  std::vector<bytes::View> pieces_;     // [written_, end_)
  std::array<std::byte, 4096> tail_{};  // the start of a page whose end is not known yet
  std::vector<std::uint32_t> crcs_;
  std::uint64_t crc_room_ = 0;  // bytes that the last block still takes
};

}  // namespace berth::layer
