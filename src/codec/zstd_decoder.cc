#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
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
