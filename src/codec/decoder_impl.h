// codec/decoder_impl.h: what the three decoders share. Private to codec/.
//
// InputBuffer holds compressed bytes that were read but not used; Base keeps the promises every decoder makes: an
// error or the end is final, and no more bytes leave than Limits::output_bytes.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "bytes/bytes.h"
#include "codec/decoder.h"
#include "result/result.h"

namespace berth::codec {

inline constexpr std::size_t kInputBytes = 256u << 10;

class InputBuffer {
 public:
  explicit InputBuffer(bytes::Source& source)
      : source_(&source), store_(std::make_unique_for_overwrite<std::byte[]>(kInputBytes)) {}

  bytes::View data() const { return {store_.get() + begin_, end_ - begin_}; }
  std::size_t size() const { return end_ - begin_; }
  // Drops the first `count` bytes of data().
  void Use(std::size_t count) { begin_ += count; }
  // Appends what one Read gives; false at the end of the input. Moves data().
  Result<bool> Fill() {
    if (ended_) return false;
    std::memmove(store_.get(), store_.get() + begin_, size());
    end_ -= begin_;
    begin_ = 0;
    if (end_ == kInputBytes) return true;
    ASSIGN_OR_RETURN(const std::size_t got, source_->Read({store_.get() + end_, kInputBytes - end_}));
    end_ += got;
    ended_ = got == 0;
    return !ended_;
  }
  // At least `count` bytes (at most kInputBytes), fewer only at the end of the input.
  Result<> Want(std::size_t count) {
    while (size() < count) {
      ASSIGN_OR_RETURN(const bool more, Fill());
      if (!more) break;
    }
    return {};
  }
  bool ended() const { return ended_; }
  bytes::Source& source() { return *source_; }

 private:
  bytes::Source* source_;
  std::unique_ptr<std::byte[]> store_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool ended_ = false;
};

class Base : public Decoder {
 public:
  Base(Format format, InputBuffer input, const Limits& limits)
      : input_(std::move(input)), limits_(limits), format_(format) {}

  Format format() const final { return format_; }
  std::uint64_t produced() const final { return produced_; }
  Result<std::size_t> Read(bytes::MutableView room) final;

 protected:
  // Fills a prefix of `room` (never empty); 0 only at the true end. `room` is clamped to the output limit plus one.
  virtual Result<std::size_t> Decode(bytes::MutableView room) = 0;

  InputBuffer input_;
  const Limits limits_;

 private:
  const Format format_;
  std::uint64_t produced_ = 0;
  bool ended_ = false;
  std::optional<Error> failed_;
};

std::unique_ptr<Decoder> MakeGzip(InputBuffer input, const Limits& limits);
Result<std::unique_ptr<Decoder>> MakeZstd(InputBuffer input, const Limits& limits);

}  // namespace berth::codec
