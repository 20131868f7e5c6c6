#include "codec/decoder.h"

#include <algorithm>
#include <string_view>

#include "codec/decoder_impl.h"

namespace berth::codec {
namespace {

using std::string_view_literals::operator""sv;

class PlainDecoder final : public Base {
 public:
  PlainDecoder(InputBuffer input, const Limits& limits) : Base(Format::kPlain, std::move(input), limits) {}

 private:
  Result<std::size_t> Decode(bytes::MutableView room) override {
    if (const std::size_t count = std::min(room.size(), input_.size()); count > 0) {
      std::memcpy(room.data(), input_.data().data(), count);
      input_.Use(count);
      return count;
    }
    if (input_.ended()) return std::size_t{0};
    return input_.source().Read(room);
  }
};

// Enough for the longest magic below.
constexpr std::size_t kSniffBytes = 10;

bool IsSkippableZstd(std::string_view head) {
  return head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xf0u) == 0x50 && head.substr(1, 3) == "\x2a\x4d\x18"sv;
}

// The name of a compression we know and refuse; empty for anything else.
std::string_view RefusedFormat(std::string_view head) {
  if (head.starts_with("\xfd" "7zXZ\0"sv)) return "xz";
  // A tar member may be called "BZh…" or "]": both need more than their first bytes.
  if (head.starts_with("BZh"sv) && head.size() >= 10 && head[3] >= '1' && head[3] <= '9' &&
      (head.substr(4, 6) == "1AY&SY"sv || head.substr(4, 6) == "\x17\x72\x45\x38\x50\x90"sv)) {
    return "bzip2";
  }
  if (head.starts_with("\x04\x22\x4d\x18"sv) || head.starts_with("\x02\x21\x4c\x18"sv)) return "lz4";
  if (head.starts_with("\x5d\0\0"sv) && head.size() >= 5 && (head[3] != 0 || head[4] != 0)) return "lzma";
  return {};
}

}  // namespace

std::string_view Name(Format format) {
  switch (format) {
    case Format::kPlain: return "plain";
    case Format::kGzip: return "gzip";
    case Format::kZstd: return "zstd";
  }
  return "plain";
}

Result<std::unique_ptr<Decoder>> Decoder::Open(bytes::Source& source, const Limits& limits) {
  InputBuffer input(source);
  RETURN_IF_ERROR(input.Want(kSniffBytes));
  const std::string_view head = bytes::AsText(input.data()).substr(0, kSniffBytes);
  if (head.starts_with("\x1f\x8b"sv)) return MakeGzip(std::move(input), limits);
  if (head.starts_with("\x28\xb5\x2f\xfd"sv) || IsSkippableZstd(head)) return MakeZstd(std::move(input), limits);
  if (const std::string_view refused = RefusedFormat(head); !refused.empty()) {
    return Error(Reason::kUnsupported, "the layer is compressed with " + std::string(refused) +
                                           "; supported are gzip, zstd and no compression");
  }
  return std::make_unique<PlainDecoder>(std::move(input), limits);
}

Result<std::size_t> Base::Read(bytes::MutableView room) {
  if (failed_) return *failed_;
  if (ended_ || room.empty()) return std::size_t{0};
  // One byte of room beyond the limit tells "exactly at the limit" from "over it".
  const std::uint64_t left = limits_.output_bytes - produced_;
  if (left < room.size()) room = room.first(static_cast<std::size_t>(left) + 1);
  Result<std::size_t> got = Decode(room);
  if (got && *got > left) {
    got = Error(Reason::kLimitExceeded, "the layer unpacks to more than " + std::to_string(limits_.output_bytes) +
                                            " bytes (limit output_bytes)");
  }
  if (!got) {
    failed_ = got.error();
    return got;
  }
  produced_ += *got;
  ended_ = *got == 0;
  return got;
}

}  // namespace berth::codec
