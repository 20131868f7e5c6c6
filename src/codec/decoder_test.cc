// Rows of reliability-security 3.a. zlib and libzstd make the streams.
#include "codec/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace berth::codec {
namespace {

using std::string_literals::operator""s;
using ::testing::HasSubstr;

constexpr std::uint64_t kMiB = 1u << 20;

// Gives `head`, then `repeat` copies of `body`, then `tail`, at most `piece` bytes at a time.
class Pieces : public bytes::Source {
 public:
  explicit Pieces(std::string_view head, std::size_t piece = 1u << 20) : parts_{head}, piece_(piece) {}
  Pieces& Then(std::string_view part, std::size_t times = 1) { parts_.insert(parts_.end(), times, part); return *this; }
  Result<std::size_t> Read(bytes::MutableView room) override {
    while (at_ < parts_.size() && parts_[at_].empty()) ++at_;
    if (at_ == parts_.size()) return std::size_t{0};
    std::string_view& part = parts_[at_];
    const std::size_t count = std::min({room.size(), part.size(), piece_});
    std::memcpy(room.data(), part.data(), count);
    part.remove_prefix(count);
    return count;
  }

 private:
  std::vector<std::string_view> parts_;
  std::size_t at_ = 0;
  std::size_t piece_;
};

struct Decoded {
  Format format = Format::kPlain;
  std::string out;
};

Result<Decoded> Decode(bytes::Source& source, const Limits& limits = {}, std::size_t room = 64u << 10) {
  ASSIGN_OR_RETURN(auto decoder, Decoder::Open(source, limits));
  Decoded decoded{.format = decoder->format()};
  std::string buffer(room, '\0');
  for (;;) {
    ASSIGN_OR_RETURN(const std::size_t got, decoder->Read(std::as_writable_bytes(std::span(buffer))));
    if (got == 0) break;
    decoded.out.append(buffer, 0, got);
  }
  EXPECT_EQ(decoder->produced(), decoded.out.size());
  return decoded;
}

std::string Text(std::size_t size) {
  std::string text;
  std::uint64_t state = 1;
  while (text.size() < size) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    text += "line " + std::to_string(state >> 50) + "\n";
  }
  text.resize(size);
  return text;
}

std::string Deflate(std::string_view plain, int level = 6) {
  z_stream z{};
  EXPECT_EQ(deflateInit2(&z, level, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&z, plain.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  z.avail_in = static_cast<uInt>(plain.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string Le32(std::uint64_t value) {
  std::string le;
  for (int i = 0; i < 4; ++i, value >>= 8) le += static_cast<char>(value & 0xff);
  return le;
}

std::string Member(std::string_view plain, char flags = 0, std::string_view fields = {}, int level = 6) {
  std::string header = "\x1f\x8b\x08"s + flags + "\0\0\0\0\0\xff"s;
  header += fields;
  if ((flags & 2) != 0) {
    header += Le32(crc32(0, reinterpret_cast<const Bytef*>(header.data()), static_cast<uInt>(header.size()))).substr(0, 2);
  }
  return header + Deflate(plain, level) +
         Le32(crc32_z(0, reinterpret_cast<const Bytef*>(plain.data()), plain.size())) + Le32(plain.size());
}

std::string Frame(std::string_view plain, bool checksum = true) {
  ZSTD_CCtx* const c = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum ? 1 : 0);
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  out.resize(ZSTD_compress2(c, out.data(), out.size(), plain.data(), plain.size()));
  ZSTD_freeCCtx(c);
  return out;
}
std::string Skippable(std::string_view body) { return "\x53\x2a\x4d\x18"s + Le32(body.size()) + std::string(body); }
// A frame header with this window descriptor and one empty last block.
std::string WindowFrame(int descriptor) { return "\x28\xb5\x2f\xfd\0"s + static_cast<char>(descriptor) + "\1\0\0"s; }
// `size` bytes in `frames` frames of one RLE block of 128 KiB each.
std::string ZstdZeros() { return "\x28\xb5\x2f\xfd\0\x40"s + std::string("\x03\x00\x10\0", 4); }

struct Row {
  std::string row;
  std::string stream;
  std::string plain;  // when accepted
  Format format = Format::kGzip;
};
void PrintTo(const Row& r, std::ostream* out) { *out << r.row; }
class Accepted : public ::testing::TestWithParam<Row> {};

TEST_P(Accepted, WithPiecesOfAnySize) {
  for (const std::size_t piece : {1, 3, 100, 65'536, 1 << 20}) {
    if (piece < 100 && GetParam().stream.size() > kMiB) continue;
    for (const std::size_t room : {1u, 1000u, 1u << 20}) {
      if (room == 1 && GetParam().plain.size() > kMiB) continue;
      Pieces source(GetParam().stream, piece);
      const Result<Decoded> got = Decode(source, {}, room);
      ASSERT_TRUE(got) << got.error().Text() << ", pieces of " << piece << " into " << room;
      EXPECT_EQ(got->format, GetParam().format);
      ASSERT_TRUE(got->out == GetParam().plain) << "pieces of " << piece << " into " << room;
    }
  }
}

std::vector<Row> AcceptedTable() {
  const std::string text = Text(300'000);
  const std::string zeros(4 * kMiB, '\0');
  const std::string fextra = "\xff\xff"s + std::string(65'535, 'e');
  return {
      {"A102Plain", text, text, Format::kPlain},
      {"A102Empty", "", "", Format::kPlain},
      {"A102Short", "ab", "ab", Format::kPlain},
      {"A102Gzip", Member(text), text},
      {"A102GzipStored", Member(text, 0, {}, 0), text},
      {"A102GzipFast", Member(text, 0, {}, 1), text},
      {"A102GzipOfNothing", Member(""), ""},
      {"A102SeveralMembers", Member("one ") + Member("") + Member(text) + Member("three"), "one " + text + "three"},
      {"A102Zstd", Frame(text), text, Format::kZstd},
      {"A102ZstdOfNothing", Frame(""), "", Format::kZstd},
      {"A102ZstdWithoutChecksum", Frame(text, false), text, Format::kZstd},
      {"A102SeveralFrames", Frame("one ") + Frame(text) + Skippable("x") + Frame("three"), "one " + text + "three",
       Format::kZstd},
      {"A102SkippableFirst", Skippable(std::string(300'000, 's')) + Frame(text) + Skippable(""), text, Format::kZstd},
      {"A102SkippableOnly", Skippable("abc"), "", Format::kZstd},
      {"A103ZerosAfterTheMember", Member(text) + std::string(300'000, '\0'), text},
      {"A103OneZeroAfterTheMember", Member("a") + "\0"s, "a"},
      {"A105NameCommentExtraAndHeaderCrc", Member(text, 30, "\3\0ext"s + "name\0"s + "comment\0"s), text},
      {"A105NameOf10MiB", Member("x", 8, std::string(10 * kMiB, 'n') + '\0'), "x"},
      {"A105CommentOf10MiB", Member("x", 16, std::string(10 * kMiB, 'c') + '\0'), "x"},
      {"A105LongestExtra", Member("x", 4, fextra), "x"},
      {"A105EmptyExtra", Member("x", 4, "\0\0"s), "x"},
      {"A107Ratio1000To1", Member(zeros), zeros},
      {"A107ZstdRatio", Frame(zeros), zeros, Format::kZstd},
      {"A108Window128MiB", WindowFrame((27 - 10) << 3), "", Format::kZstd},
      {"A109SniffedOnce", Member(Member("x")), Member("x")},
      {"NoBzip2", "BZh9 is a file name", "BZh9 is a file name", Format::kPlain},
      {"NoLzma", "]"s + std::string(511, '\0'), "]"s + std::string(511, '\0'), Format::kPlain},
  };
}
INSTANTIATE_TEST_SUITE_P(Codec, Accepted, ::testing::ValuesIn(AcceptedTable()),
                         [](const auto& p) { return p.param.row; });

struct Bad {
  std::string row;
  std::string stream;
  Reason reason = Reason::kInvalidLayer;
  std::string says = "";
};
void PrintTo(const Bad& r, std::ostream* out) { *out << r.row; }
class Rejected : public ::testing::TestWithParam<Bad> {};

TEST_P(Rejected, WithPiecesOfAnySize) {
  for (const std::size_t piece : {1, 7, 65'536}) {
    Pieces source(GetParam().stream, piece);
    const Result<Decoded> got = Decode(source);
    ASSERT_FALSE(got) << "pieces of " << piece;
    EXPECT_EQ(got.error().reason(), GetParam().reason) << got.error().Text();
    EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().says));
  }
}

std::vector<Bad> RejectedTable() {
  const std::string text = Text(100'000);
  const std::string gzip = Member(text), zstd = Frame(text);
  const auto flip = [](std::string s, std::size_t from_end) {
    s[s.size() - from_end] = static_cast<char>(s[s.size() - from_end] ^ 1);
    return s;
  };
  std::string bad_header_crc = Member("x", 2);
  bad_header_crc[10] = static_cast<char>(bad_header_crc[10] ^ 1);
  return {
      {"A103GarbageAfterTheMember", gzip + "garbage"},
      {"A103GarbageAfterZeros", gzip + std::string(1000, '\0') + "x"},
      {"A103MemberAfterZeros", gzip + "\0"s + gzip},
      {"A103HalfAMagic", gzip + "\x1f"s, Reason::kInvalidLayer, "ends inside a gzip member"},
      {"A103GarbageAfterTheFrame", zstd + "garbage and more"},
      {"A103ZerosAfterTheFrame", zstd + std::string(100, '\0')},
      {"A103ShortGarbageAfterTheFrame", zstd + "x"},
      {"A104TruncatedHeader", gzip.substr(0, 9), Reason::kInvalidLayer, "ends inside a gzip member"},
      {"A104TruncatedData", gzip.substr(0, gzip.size() / 2), Reason::kInvalidLayer, "ends inside a gzip member"},
      {"A104TruncatedTrailer", gzip.substr(0, gzip.size() - 1), Reason::kInvalidLayer, "ends inside a gzip member"},
      {"A104NoTrailer", gzip.substr(0, gzip.size() - 8), Reason::kInvalidLayer, "ends inside a gzip member"},
      {"A104TruncatedSecondMember", gzip + gzip.substr(0, 500), Reason::kInvalidLayer, "ends inside a gzip member"},
      {"A104TruncatedName", "\x1f\x8b\x08\x08\0\0\0\0\0\xffname"s, Reason::kInvalidLayer, "ends inside a gzip member"},
      {"A104WrongCrc", flip(gzip, 8), Reason::kInvalidLayer, "CRC-32"},
      {"A104WrongLength", flip(gzip, 1), Reason::kInvalidLayer, "length"},
      {"A104WrongHeaderCrc", bad_header_crc, Reason::kInvalidLayer, "header"},
      {"A104ReservedFlags", Member("x", '\x20'), Reason::kInvalidLayer, "reserved"},
      {"A104TopReservedFlag", Member("x", '\x80'), Reason::kInvalidLayer, "reserved"},
      {"A104Method", "\x1f\x8b\x07"s + gzip.substr(3), Reason::kInvalidLayer, "method"},
      {"A104ReservedBlockType", "\x1f\x8b\x08\0\0\0\0\0\0\xff\x07\0\0\0\0\0\0\0\0\0"s},
      {"A104LookbackBeforeTheStart", "\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\x02\0\0\0\0\0\0\0\0\0"s},
      {"A104ZstdTruncated", zstd.substr(0, zstd.size() / 2), Reason::kInvalidLayer, "ends inside a zstd frame"},
      {"A104ZstdTruncatedChecksum", zstd.substr(0, zstd.size() - 1), Reason::kInvalidLayer, "ends inside a zstd frame"},
      {"A104ZstdTruncatedMagic", zstd + zstd.substr(0, 3), Reason::kInvalidLayer, "ends inside a zstd frame"},
      {"A104ZstdTruncatedHeader", zstd.substr(0, 5), Reason::kInvalidLayer, "ends inside a zstd frame"},
      {"A104ZstdTruncatedSkippable", Skippable("abc").substr(0, 10), Reason::kInvalidLayer, "ends inside a zstd frame"},
      {"A104ZstdChecksum", flip(zstd, 1), Reason::kInvalidLayer, "checksum"},
      {"A104ZstdDeclares255GivesNone", "\x28\xb5\x2f\xfd\x20\xff\x01\0\0"s, Reason::kInvalidLayer},
      {"A104ZstdReservedBlock", "\x28\xb5\x2f\xfd\0\x40\x07\0\0\0\0\0"s},
      {"A108Window3TiB", WindowFrame(0xff), Reason::kLimitExceeded, "limit zstd_window_bytes"},
      {"A108Window2GiB", WindowFrame((31 - 10) << 3), Reason::kLimitExceeded, "limit zstd_window_bytes"},
      {"A108WindowJustAbove128MiB", WindowFrame(((27 - 10) << 3) + 1), Reason::kLimitExceeded, "limit zstd_window_bytes"},
      {"A108Skippable4GiB", "\x50\x2a\x4d\x18\xff\xff\xff\xff"s, Reason::kLimitExceeded, "limit zstd_window_bytes"},
      {"A111Xz", "\xfd" "7zXZ\0\0\4"s, Reason::kUnsupported, "xz"},
      {"A111Bzip2", "BZh91AY&SY....", Reason::kUnsupported, "bzip2"},
      {"A111Bzip2OfNothing", "BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0"s, Reason::kUnsupported, "bzip2"},
      {"A111Lz4", "\x04\x22\x4d\x18...."s, Reason::kUnsupported, "lz4"},
      {"A111Lz4Legacy", "\x02\x21\x4c\x18...."s, Reason::kUnsupported, "lz4"},
      {"A111Lzma", "\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff"s, Reason::kUnsupported, "lzma"},
  };
}
INSTANTIATE_TEST_SUITE_P(Codec, Rejected, ::testing::ValuesIn(RejectedTable()),
                         [](const auto& p) { return p.param.row; });

// many zeros from few bytes, far over the limit; the decoder stops within one buffer.
TEST(Limits, A106OutputBytes) {
  const std::string member = Member(std::string(kMiB, '\0'));
  const std::string frame = ZstdZeros();
  for (const std::string& stream : {member, frame}) {
    Pieces source(stream);
    source.Then(stream, 100'000);
    auto decoder = Decoder::Open(source, {.output_bytes = 10 * kMiB});
    ASSERT_TRUE(decoder);
    std::string room(kMiB, '\0');
    Result<std::size_t> got = std::size_t{1};
    while (got && *got > 0) got = (*decoder)->Read(std::as_writable_bytes(std::span(room)));
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().reason(), Reason::kLimitExceeded);
    EXPECT_THAT(got.error().Text(), HasSubstr("limit output_bytes"));
    EXPECT_LE((*decoder)->produced(), 10 * kMiB);
    EXPECT_FALSE((*decoder)->Read(std::as_writable_bytes(std::span(room)))) << "an error is final";
  }
}

TEST(Limits, ExactlyTheOutputLimitIsFine) {
  const std::string text = Text(5000);
  for (const std::string& stream : {text, Member(text), Frame(text)}) {
    Pieces fits(stream), exceeds(stream);
    const Result<Decoded> good = Decode(fits, {.output_bytes = 5000});
    ASSERT_TRUE(good) << good.error().Text();
    EXPECT_EQ(good->out, text);
    const Result<Decoded> bad = Decode(exceeds, {.output_bytes = 4999});
    ASSERT_FALSE(bad);
    EXPECT_EQ(bad.error().reason(), Reason::kLimitExceeded);
  }
}

TEST(Limits, WindowOfAnySize) {
  const std::string small_frame = WindowFrame((20 - 10) << 3), large_frame = WindowFrame((21 - 10) << 3);
  Pieces small(small_frame), large(large_frame);
  EXPECT_TRUE(Decode(small, {.zstd_window_bytes = 1500 * 1024}));
  EXPECT_FALSE(Decode(large, {.zstd_window_bytes = 1500 * 1024}));
}

std::uint64_t WindowOf(std::string_view input, std::size_t piece = std::string_view::npos) {
  ZstdWindows windows;
  std::uint64_t window = 0;
  for (; !input.empty(); input.remove_prefix(std::min(piece, input.size()))) window = windows.Take(bytes::AsView(input.substr(0, piece)));
  return window;
}

// As libzstd has it, of frames of every shape; and nothing is said before it can be known.
TEST(Window, OfAFrame) {
  EXPECT_EQ(WindowOf(WindowFrame((27 - 10) << 3)), 128u << 20);
  EXPECT_EQ(WindowOf(WindowFrame(((20 - 10) << 3) + 3)), (1u << 20) + 3 * (1u << 17));
  EXPECT_EQ(WindowOf(WindowFrame(0xff)), (1ull << 41) + 7 * (1ull << 38));
  for (const std::size_t size : {0u, 1u, 255u, 256u, 300u, 65'791u, 65'792u, 100'000u, 3'000'000u}) {
    const std::string frame = Frame(Text(size));
    const std::uint64_t window = WindowOf(frame);
    Pieces source(frame);
    EXPECT_TRUE(Decode(source, {.zstd_window_bytes = std::bit_ceil(std::max<std::uint64_t>(window, 1024))})) << size << " " << window;
    EXPECT_LE(window, std::max<std::uint64_t>(2 * size, 8u << 20)) << size;
    EXPECT_EQ(WindowOf(Skippable("abc") + Skippable("") + frame), window);
    EXPECT_EQ(WindowOf(frame, 1), window);
    EXPECT_EQ(WindowOf(frame.substr(0, 5)), 0u);
  }
  const std::string skipped = Skippable(std::string(100, 'x'));
  for (const std::string& other : {Member("x"), "plain"s, std::string(600, '\0'), skipped, skipped + "plain"}) EXPECT_EQ(WindowOf(other), 0u);
}

// Not only the first: the largest of those seen so far, with whatever blocks and checksums lie between.
TEST(Window, OfLaterFrames) {
  const std::string small = Frame(Text(3'000'000)), wide = WindowFrame((25 - 10) << 3), wider = WindowFrame((27 - 10) << 3);
  ASSERT_LT(WindowOf(small), 32u << 20);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{100'000}, std::string::npos}) {
    EXPECT_EQ(WindowOf(small + wide, piece), 32u << 20) << piece;
    EXPECT_EQ(WindowOf(wide + Skippable(std::string(5000, '\x28')) + small, piece), 32u << 20) << piece;
    EXPECT_EQ(WindowOf(small + Skippable("") + wide + small + wider, piece), 128u << 20) << piece;
    EXPECT_EQ(WindowOf(small + "no frame" + wider, piece), WindowOf(small)) << piece;
  }
  EXPECT_EQ(WindowOf((small + wide).substr(0, small.size() + 5)), WindowOf(small)) << "before the header is whole";
}

TEST(Errors, OfTheSourcePass) {
  struct Fails : bytes::Source {
    explicit Fails(std::string_view given) : head(given) {}
    Result<std::size_t> Read(bytes::MutableView room) override {
      if (head.empty()) return Error(Reason::kConnectionReset, "reset");
      const std::size_t count = std::min(room.size(), head.size());
      std::memcpy(room.data(), head.data(), count);
      head.remove_prefix(count);
      return count;
    }
    std::string_view head;
  };
  const std::string text = Text(1000);
  for (const std::string& stream : {text, Member(text), Frame(text)}) {
    Fails source(std::string_view(stream).substr(0, 100));
    const Result<Decoded> got = Decode(source);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().reason(), Reason::kConnectionReset);
  }
}

TEST(Format, Names) {
  EXPECT_EQ(Name(Format::kPlain), "plain");
  EXPECT_EQ(Name(Format::kGzip), "gzip");
  EXPECT_EQ(Name(Format::kZstd), "zstd");
}

}  // namespace
}  // namespace berth::codec
