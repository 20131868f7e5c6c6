#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <bit>

#include "codec/decoder_impl.h"

namespace berth::codec {
namespace {

Error Broken(std::string what) { return Error(Reason::kInvalidLayer, std::move(what)); }

struct FreeStream {
  void operator()(ZSTD_DStream* s) const { ZSTD_freeDStream(s); }
};
using Stream = std::unique_ptr<ZSTD_DStream, FreeStream>;

std::uint32_t LittleEndian(bytes::View b) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(b[i]);
  return value;
}

class ZstdDecoder final : public Base {
 public:
  ZstdDecoder(InputBuffer input, const Limits& limits, Stream stream)
      : Base(Format::kZstd, std::move(input), limits), stream_(std::move(stream)) {}

 private:
  Result<std::size_t> Decode(bytes::MutableView room) override {
    ZSTD_outBuffer out{room.data(), room.size(), 0};
    for (;;) {
      if (!in_frame_) {
        ASSIGN_OR_RETURN(const bool another, NextFrame());
        if (!another) return std::size_t{0};
      }
      const bytes::View in = input_.data();
      ZSTD_inBuffer from{in.data(), in.size(), 0};
      const std::size_t status = ZSTD_decompressStream(stream_.get(), &out, &from);
      input_.Use(from.pos);
      if (ZSTD_isError(status)) return Translate(ZSTD_getErrorCode(status));
      in_frame_ = status != 0;
      given_ += out.pos;
      // The library checks this itself, but not in a frame that comes in pieces and ends with an empty block.
      if (!in_frame_ && declared_ != ZSTD_CONTENTSIZE_UNKNOWN && declared_ != given_) {
        return Broken("a zstd frame declares " + std::to_string(declared_) + " bytes and gives " + std::to_string(given_));
      }
      if (out.pos > 0) return out.pos;
      if (in_frame_ && input_.size() == 0) {
        ASSIGN_OR_RETURN(const bool more, input_.Fill());
        if (!more) return Broken("the input ends inside a zstd frame");
      }
    }
  }

  // Skips skippable frames up to the next frame with contents; false at the end of the input. Skipping here, not in
  // the library, bounds what one of them may claim.
  Result<bool> NextFrame() {
    for (;;) {
      RETURN_IF_ERROR(input_.Want(8));
      if (input_.size() == 0) return false;
      if (input_.size() < 4) return Broken("the input ends inside a zstd frame");
      const std::uint32_t magic = LittleEndian(input_.data());
      if (magic == ZSTD_MAGICNUMBER) {
        RETURN_IF_ERROR(input_.Want(kFrameHeader));
        declared_ = ZSTD_getFrameContentSize(input_.data().data(), input_.size());
        if (declared_ == ZSTD_CONTENTSIZE_ERROR) declared_ = ZSTD_CONTENTSIZE_UNKNOWN;  // the stream will say what is wrong
        given_ = 0;
        in_frame_ = true;
        return true;
      }
      if ((magic & ZSTD_MAGIC_SKIPPABLE_MASK) != ZSTD_MAGIC_SKIPPABLE_START) {
        return Broken("bytes that are no zstd frame follow the last zstd frame");
      }
      if (input_.size() < 8) return Broken("the input ends inside a zstd frame");
      std::uint64_t left = LittleEndian(input_.data().subspan(4));
      if (left > limits_.zstd_window_bytes) {
        return Error(Reason::kLimitExceeded, "a skippable zstd frame claims " + std::to_string(left) +
                                                 " bytes, allowed are " + std::to_string(limits_.zstd_window_bytes) +
                                                 " (limit zstd_window_bytes)");
      }
      input_.Use(8);
      while (left > 0) {
        RETURN_IF_ERROR(input_.Want(1));
        if (input_.size() == 0) return Broken("the input ends inside a zstd frame");
        const std::uint64_t count = std::min<std::uint64_t>(left, input_.size());
        input_.Use(count);
        left -= count;
      }
    }
  }

  Error Translate(ZSTD_ErrorCode code) const {
    switch (code) {
      case ZSTD_error_frameParameter_windowTooLarge:
        return Error(Reason::kLimitExceeded, "a zstd frame needs a window of more than " +
                                                 std::to_string(limits_.zstd_window_bytes) +
                                                 " bytes (limit zstd_window_bytes)");
      case ZSTD_error_memory_allocation:
        return Error(Reason::kLimitExceeded, "not enough memory for the window of a zstd frame");
      case ZSTD_error_checksum_wrong: return Broken("the checksum of a zstd frame does not match");
      case ZSTD_error_dictionary_wrong: return Broken("a zstd frame needs a dictionary");
      default: return Broken("a zstd frame is not valid");
    }
  }

  static constexpr std::size_t kFrameHeader = 18;  // the longest there is, RFC 8878 3.1.1

  Stream stream_;
  bool in_frame_ = false;
  std::uint64_t declared_ = ZSTD_CONTENTSIZE_UNKNOWN;  // contents of the frame, as its header says
  std::uint64_t given_ = 0;                            // contents of the frame so far
};

}  // namespace

std::uint64_t ZstdWindows::Take(bytes::View more) {
  while (!more.empty() && at_ != At::kNowhere) {
    if (skip_ > 0) {
      const std::uint64_t count = std::min<std::uint64_t>(skip_, more.size());
      skip_ -= count;
      more = more.subspan(count);
      continue;
    }
    header_[have_++] = more[0];
    more = more.subspan(1);
    Header();
  }
  return largest_;
}

// One byte more of a header. RFC 8878 3.1.1.
void ZstdWindows::Header() {
  const auto number = [&](std::size_t from, std::size_t width) {
    std::uint64_t value = 0;
    for (std::size_t i = width; i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(header_[from + i]);
    return value;
  };
  const auto enough = [&](std::size_t size) { return have_ == size && (have_ = 0, true); };
  if (at_ == At::kBlock) {
    if (!enough(3)) return;
    const std::uint64_t header = number(0, 3), type = header >> 1 & 3;
    skip_ = type == 1 ? 1 : header >> 3;  // 1: one byte, repeated
    if (type == 3) at_ = At::kNowhere;
    if (type != 3 && (header & 1) != 0) {
      at_ = At::kFrame;
      skip_ += checksum_ ? 4 : 0;
    }
    return;
  }
  if (have_ < 5) {
    if (have_ == 4 && number(0, 4) != ZSTD_MAGICNUMBER && (number(0, 4) & ZSTD_MAGIC_SKIPPABLE_MASK) != ZSTD_MAGIC_SKIPPABLE_START)
      at_ = At::kNowhere;
    return;
  }
  if (number(0, 4) != ZSTD_MAGICNUMBER) {
    if (enough(8)) skip_ = number(4, 4);
    return;
  }
  constexpr std::array<std::size_t, 4> kDictionary{0, 1, 2, 4}, kSize{0, 2, 4, 8};
  const std::uint64_t descriptor = number(4, 1);
  const bool single = (descriptor & 0x20) != 0;
  const std::size_t at = 5 + (single ? 0 : 1) + kDictionary[descriptor & 3];
  const std::size_t width = single && descriptor >> 6 == 0 ? 1 : kSize[descriptor >> 6];
  if (!enough(at + width)) return;
  const std::uint64_t exponent = number(5, 1);
  const std::uint64_t base = 1ull << (10 + (exponent >> 3));
  // One segment: the window is the contents.
  const std::uint64_t window = single ? number(at, width) + (width == 2 ? 256 : 0) : base + base / 8 * (exponent & 7);
  largest_ = std::max(largest_, window);
  checksum_ = (descriptor & 4) != 0;
  at_ = At::kBlock;
}

Result<std::unique_ptr<Decoder>> MakeZstd(InputBuffer input, const Limits& limits) {
  Stream stream(ZSTD_createDStream());
  if (!stream) return Error(Reason::kInternal, "no memory for a zstd decoder");
  // The library knows powers of two only: the largest one within the limit rules.
  const ZSTD_bounds bounds = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax);
  const int wanted = std::bit_width(std::max<std::uint64_t>(limits.zstd_window_bytes, 1)) - 1;
  const int log = std::clamp(wanted, bounds.lowerBound, bounds.upperBound);
  if (ZSTD_isError(ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, log))) {
    return Error(Reason::kInternal, "the zstd window limit could not be set");
  }
  return std::make_unique<ZstdDecoder>(std::move(input), limits, std::move(stream));
}

}  // namespace berth::codec
