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

class Decoder : public bytes::Source {
 public:
  // Reads the first bytes of `input` to choose. `input` must outlive the decoder.
  static Result<std::unique_ptr<Decoder>> Open(bytes::Source& input, const Limits& limits = {});
  virtual Format format() const = 0;
  // Bytes delivered so far.
  virtual std::uint64_t produced() const = 0;
};

}  // namespace berth::codec
