// codec/decoder.h: decompression of a layer's bytes as a pull stream.
//
// Opens on a byte Source, sniffs the format once from the first bytes (gzip, zstd, else plain), never recurses, and
// reads every member and frame, skippable frames included, to the end of the input. Refuses xz, bzip2, lz4, lzma by
// their magic (kUnsupported), HTML and other non-layers are the tar reader's business.
// gzip: our own inflate (inflate.h), CRC32 and ISIZE of every member checked. After a member: another member, or zero padding, or
// the end; anything else is kInvalidLayer. zstd: window at most Limits::zstd_window_bytes (kLimitExceeded).
// Output is bounded: more than Limits::output_bytes is kLimitExceeded, noticed within one buffer.
// A truncated input is kInvalidLayer ("ends inside a gzip member"), never a short success.
// An error is final: every later Read returns it.
// gzip fills the room it is given before it returns, and decodes up to 33 KiB ahead of it.
// Speed: give Read at least 256 KiB of room; smaller spans cost gzip up to 4 %. Contents go straight to the caller's
// span. Memory: 256 KiB of input and 120 KiB of state for gzip; zstd adds the frame's window.
// A skippable zstd frame may claim at most zstd_window_bytes too.
// One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "bytes/bytes.h"
#include "result/result.h"

namespace berth::codec {

enum class Format : std::uint8_t { kPlain, kGzip, kZstd };
std::string_view Name(Format format);

struct Limits {
  std::uint64_t output_bytes = 256ull << 30;
  std::uint64_t zstd_window_bytes = 128ull << 20;
};

// Follows the frames and blocks of a zstd input by their headers, and tells what its decoder has to allocate. Decodes nothing, and
// stops for good where the input is no zstd. Bytes in order, in pieces of any size.
class ZstdWindows {
 public:
  // The largest window of all frames whose header is complete with these bytes; 0: none yet.
  std::uint64_t Take(bytes::View more);

 private:
  enum class At : std::uint8_t { kFrame, kBlock, kNowhere };
  void Header();
  At at_ = At::kFrame;
  std::array<std::byte, 18> header_;     // of frame or block; the longest there is, RFC 8878 3.1.1
  std::size_t have_ = 0;                 // of it
  bool checksum_ = false;                // the frame ends with one
  std::uint64_t skip_ = 0, largest_ = 0;
};

class Decoder : public bytes::Source {
 public:
  // Reads the first bytes of `input` to choose. `input` must outlive the decoder.
  static Result<std::unique_ptr<Decoder>> Open(bytes::Source& input, const Limits& limits = {});
  virtual Format format() const = 0;
  // Bytes delivered so far.
  virtual std::uint64_t produced() const = 0;
};

}  // namespace berth::codec
