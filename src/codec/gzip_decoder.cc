// The gzip wrapper (RFC 1952) is ours: header fields of any length pass in a stream, the trailer is checked here.
// inflate.h does the deflate stream, ISA-L the CRC.
#include <isa-l/crc.h>

#include <algorithm>

#include "codec/decoder_impl.h"
#include "codec/inflate.h"

namespace berth::codec {
namespace {

Error Broken(std::string what) { return Error(Reason::kInvalidLayer, std::move(what)); }

std::uint32_t LittleEndian(bytes::View b) {
  std::uint32_t value = 0;
  for (std::size_t i = b.size(); i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(b[i]);
  return value;
}

class GzipDecoder final : public Base {
 public:
  GzipDecoder(InputBuffer input, const Limits& limits)
      : Base(Format::kGzip, std::move(input), limits) {}

 private:
  static constexpr std::uint8_t kHeaderCrc = 2, kExtra = 4, kName = 8, kComment = 16, kReserved = 0xe0;

  Result<std::size_t> Decode(bytes::MutableView room) override {
    for (;;) {
      if (!in_member_) {
        ASSIGN_OR_RETURN(const bool another, NextMember());
        if (!another) return std::size_t{0};
      }
      ASSIGN_OR_RETURN(const std::size_t got, inflate_.Read(input_, room));
      if (inflate_.ended()) RETURN_IF_ERROR(CheckTrailer());
      if (got > 0) return got;
    }
  }

  // Reads a member's header, or sees the end of the input.
  Result<bool> NextMember() {
    RETURN_IF_ERROR(input_.Want(1));
    if (input_.size() == 0) return false;
    if (members_ > 0 && input_.data()[0] == std::byte{0}) {
      RETURN_IF_ERROR(CheckPadding());
      return false;
    }
    RETURN_IF_ERROR(input_.Want(10));
    const bytes::View head = input_.data();
    if (head[0] != std::byte{0x1f} || (head.size() > 1 && head[1] != std::byte{0x8b})) {
      return Broken("bytes that are neither a gzip member nor zero padding follow the last gzip member");
    }
    if (head.size() < 10) return Truncated();
    if (head[2] != std::byte{8}) return Broken("a gzip member uses a compression method other than deflate");
    const auto flags = std::to_integer<std::uint8_t>(head[3]);
    if ((flags & kReserved) != 0) return Broken("a gzip member has reserved flags set");
    header_crc_ = 0;
    UseHeader(10);
    if ((flags & kExtra) != 0) {
      RETURN_IF_ERROR(Require(2));
      const std::size_t length = LittleEndian(input_.data().first(2));
      UseHeader(2);
      RETURN_IF_ERROR(SkipExtra(length));
    }
    if ((flags & kName) != 0) RETURN_IF_ERROR(SkipText());
    if ((flags & kComment) != 0) RETURN_IF_ERROR(SkipText());
    if ((flags & kHeaderCrc) != 0) {
      RETURN_IF_ERROR(Require(2));
      if (LittleEndian(input_.data().first(2)) != (header_crc_ & 0xffffu)) {
        return Broken("the checksum of a gzip member's header does not match");
      }
      input_.Use(2);
    }
    inflate_.Start();
    in_member_ = true;
    ++members_;
    return true;
  }

  Result<> CheckTrailer() {
    RETURN_IF_ERROR(Require(8));
    const bytes::View trailer = input_.data().first(8);
    if (LittleEndian(trailer.first(4)) != inflate_.crc()) return Broken("the CRC-32 of a gzip member does not match");
    if (LittleEndian(trailer.last(4)) != (inflate_.size() & 0xffffffff)) return Broken("the length of a gzip member does not match");
    input_.Use(8);
    in_member_ = false;
    return {};
  }

  Result<> CheckPadding() {
    for (;;) {
      const bytes::View rest = input_.data();
      if (std::ranges::any_of(rest, [](std::byte b) { return b != std::byte{0}; })) {
        return Broken("bytes other than zero padding follow the last gzip member");
      }
      input_.Use(rest.size());
      ASSIGN_OR_RETURN(const bool more, input_.Fill());
      if (!more) return {};
    }
  }

  static Error Truncated() { return Broken("the input ends inside a gzip member"); }
  Result<> Require(std::size_t count) {
    RETURN_IF_ERROR(input_.Want(count));
    if (input_.size() < count) return Truncated();
    return {};
  }
  void UseHeader(std::size_t count) {
    header_crc_ = crc32_gzip_refl(header_crc_, reinterpret_cast<const unsigned char*>(input_.data().data()), count);
    input_.Use(count);
  }
  Result<> SkipExtra(std::size_t length) {
    while (length > 0) {
      RETURN_IF_ERROR(Require(1));
      const std::size_t count = std::min(length, input_.size());
      UseHeader(count);
      length -= count;
    }
    return {};
  }
  Result<> SkipText() {
    for (;;) {
      RETURN_IF_ERROR(Require(1));
      const std::string_view text = bytes::AsText(input_.data());
      const std::size_t end = text.find('\0');
      if (end != std::string_view::npos) {
        UseHeader(end + 1);
        return {};
      }
      UseHeader(text.size());
    }
  }

  Inflate inflate_;
  std::uint64_t members_ = 0;
  std::uint32_t header_crc_ = 0;
  bool in_member_ = false;
};

}  // namespace

std::unique_ptr<Decoder> MakeGzip(InputBuffer input, const Limits& limits) {
  return std::make_unique<GzipDecoder>(std::move(input), limits);
}

}  // namespace berth::codec
