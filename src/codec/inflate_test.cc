// Every symbol, tree and edge of RFC 1951, hand-made; then zlib and ISA-L as encoders, and zlib as the judge of mutations.
#include "codec/inflate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <isa-l/igzip_lib.h>

#include <array>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "codec/testing/raw_deflate.h"

namespace berth::codec {
namespace {

using std::string_literals::operator""s;
using testing::Inflated;
using testing::Ours;
using testing::Zlib;
using ::testing::HasSubstr;

// RFC 1951 3.2.5, independent of the decoder's tables.
constexpr std::array<int, 29> kLengthBase = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                             31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr std::array<int, 29> kLengthExtra = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                              2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr std::array<int, 30> kDistanceBase = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                               193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
constexpr std::array<int, 30> kDistanceExtra = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                                6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

using Lengths = std::vector<int>;

// Writes a deflate stream, and beside it what it should give.
class Stream {
 public:
  Stream& Bits(std::uint32_t value, int count) {
    for (int i = 0; i < count; ++i, value >>= 1) Bit(value & 1);
    return *this;
  }
  Stream& Stored(std::string_view body, bool last = false) {
    Bits(last, 1).Bits(0, 2);
    used_ = 0;
    const auto size = static_cast<std::uint32_t>(body.size());
    Bits(size, 16).Bits(size ^ 0xffff, 16);
    bytes_ += body;
    plain_ += body;
    return *this;
  }
  Stream& Fixed(bool last = false) {
    symbols_ = Lengths(144, 8);
    symbols_.resize(256, 9);
    symbols_.resize(280, 7);
    symbols_.resize(288, 8);
    distances_ = Lengths(32, 5);
    return Bits(last, 1).Bits(1, 2);
  }
  // The lengths go out one by one with a flat code of four bits, or with `runs` (symbols 16, 17, 18) as given.
  Stream& Dynamic(Lengths symbols, Lengths distances, bool last = false) {
    Bits(last, 1).Bits(2, 2);
    Bits(static_cast<std::uint32_t>(symbols.size() - 257), 5).Bits(static_cast<std::uint32_t>(distances.size() - 1), 5);
    Bits(15, 4);
    for (const int s : {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}) Bits(s < 16 ? 4 : 0, 3);
    const Lengths flat(16, 4);
    for (const int length : symbols) Code(flat, length);
    for (const int length : distances) Code(flat, length);
    symbols_ = std::move(symbols);
    distances_ = std::move(distances);
    return *this;
  }
  Stream& Literal(char c) {
    Code(symbols_, static_cast<unsigned char>(c));
    plain_ += c;
    return *this;
  }
  Stream& Literals(std::string_view text) {
    for (const char c : text) Literal(c);
    return *this;
  }
  Stream& Symbol(int symbol) { return Code(symbols_, symbol); }
  Stream& Distance(int symbol) { return Code(distances_, symbol); }
  Stream& End() { return Symbol(256); }
  // `code`: 258 is also 227 and 31 more.
  Stream& Match(int length, int distance, int code = -1) {
    if (code < 0) code = Find(kLengthBase, length);
    Symbol(257 + code);
    Bits(static_cast<std::uint32_t>(length - kLengthBase[code]), kLengthExtra[code]);
    const int far = Find(kDistanceBase, distance);
    Distance(far);
    Bits(static_cast<std::uint32_t>(distance - kDistanceBase[far]), kDistanceExtra[far]);
    if (static_cast<std::size_t>(distance) > plain_.size()) return *this;
    for (int i = 0; i < length; ++i) plain_ += plain_[plain_.size() - static_cast<std::size_t>(distance)];
    return *this;
  }
  const std::string& bytes() const { return bytes_; }
  const std::string& plain() const { return plain_; }

 private:
  template <std::size_t N>
  static int Find(const std::array<int, N>& base, int value) {
    return static_cast<int>(std::ranges::upper_bound(base, value) - base.begin()) - 1;
  }
  void Bit(std::uint32_t bit) {
    if (used_ == 0) bytes_ += '\0';
    bytes_.back() = static_cast<char>(bytes_.back() | static_cast<char>(bit << used_));
    used_ = (used_ + 1) % 8;
  }
  // RFC 1951 3.2.2, one code at a time.
  Stream& Code(const Lengths& lengths, int symbol) {
    const int length = lengths[static_cast<std::size_t>(symbol)];
    std::uint32_t code = 0;
    for (int l = 1; l <= length; ++l) {
      code <<= 1;
      for (std::size_t s = 0; s < lengths.size(); ++s) {
        code += (lengths[s] == l && (l < length || s < static_cast<std::size_t>(symbol))) ? 1 : 0;
      }
    }
    for (int i = length; i-- > 0;) Bit(code >> i & 1);
    return *this;
  }

  std::string bytes_, plain_;
  int used_ = 0;
  Lengths symbols_, distances_;
};

std::string Noise(std::size_t size, unsigned seed = 1, unsigned alphabet = 256) {
  std::mt19937 random(seed);
  std::string noise(size, '\0');
  for (char& c : noise) c = static_cast<char>(random() % alphabet);
  return noise;
}

// Every way to read and to give, and something that is not the stream's behind it.
void ExpectGives(const std::string& stream, const std::string& plain) {
  struct Way {
    std::size_t piece, room;
  };
  const std::string more = stream + "trailer!and what else follows the stream";
  for (const Way way : {Way{1u << 20, 1u << 20}, Way{1, 300'000}, Way{1, 1}, Way{7, 100},
                        Way{5000, 40'000}, Way{1u << 20, 70'001}}) {
    if (plain.size() > 500'000 && way.room < 1000) continue;
    for (const std::string& input : {stream, more}) {
      const Result<Inflated> got = Ours(input, way.piece, way.room);
      ASSERT_TRUE(got) << got.error().Text() << ", pieces of " << way.piece << ", room of " << way.room;
      ASSERT_TRUE(got->out == plain) << "pieces of " << way.piece << ", room of " << way.room;
      ASSERT_EQ(got->used, stream.size());
    }
  }
}

void ExpectRefused(const std::string& stream, std::string_view says) {
  for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{1}}) {
    for (const std::size_t room : {std::size_t{1} << 20, std::size_t{100}}) {
      const Result<Inflated> got = Ours(stream, piece, room);
      ASSERT_FALSE(got);
      EXPECT_EQ(got.error().reason(), Reason::kInvalidLayer);
      EXPECT_THAT(got.error().Text(), HasSubstr(says));
    }
  }
}
constexpr std::string_view kNotDeflate = "not a valid deflate stream", kEndsInside = "ends inside";

// A complete code for all symbols with the longest codes there are: 1, 2, …, 14 bits and the rest flat below 15.
Lengths Steep(std::size_t symbols, std::size_t first) {
  Lengths lengths(symbols, 0);
  for (int l = 1; l < 15; ++l) lengths[(first + static_cast<std::size_t>(l)) % symbols] = l;
  lengths[(first + 15) % symbols] = lengths[(first + 16) % symbols] = 15;
  return lengths;
}

TEST(Symbols, EveryLengthAtShortAndLongDistances) {
  Stream stream;
  stream.Stored(Noise(300)).Fixed(true);
  for (int length = 3; length <= 258; ++length) {
    for (const int distance : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 39, 40, 41, 258, 300}) {
      stream.Literal(static_cast<char>(length * distance)).Match(length, distance);
    }
  }
  stream.Literal('x').Match(258, 7, 27).End();
  ExpectGives(stream.bytes(), stream.plain());
}

TEST(Symbols, EveryDistance) {
  Stream stream;
  stream.Stored(Noise(32'768)).Fixed(true);
  for (int distance = 1; distance <= 32'768; ++distance) stream.Match(3 + distance % 30, distance);
  stream.End();
  ExpectGives(stream.bytes(), stream.plain());
}

// Codes of up to 15 bits: second-level tables for symbols and distances of every kind.
TEST(Symbols, LongCodes) {
  Stream stream;
  stream.Stored(Noise(32'768));
  for (std::size_t shift = 0; shift < 286; shift += 5) {
    Lengths symbols = Steep(286, shift);
    if (symbols[256] == 0) {  // split the last leaf of 14 bits
      for (int& l : symbols) if (l == 14) { l = 15; break; }
      symbols[256] = 15;
    }
    const Lengths distances = Steep(30, shift % 30);
    stream.Dynamic(symbols, distances);
    for (int s = 0; s < 286; ++s) {
      if (symbols[static_cast<std::size_t>(s)] == 0 || s == 256) continue;
      if (s < 256) {
        for (int i = 0; i < 4; ++i) stream.Literal(static_cast<char>(s));
      } else {
        for (int d = 0; d < 30; ++d) {
          if (distances[static_cast<std::size_t>(d)] == 0) continue;
          const int widest = kDistanceBase[d] + (1 << kDistanceExtra[d]) - 1;
          stream.Match(kLengthBase[s - 257], kDistanceBase[d]).Match(kLengthBase[s - 257], widest);
        }
      }
    }
    stream.End();
  }
  stream.Stored("", true);
  ExpectGives(stream.bytes(), stream.plain());
}

TEST(Symbols, ReservedOnesAreRefused) {
  for (const int symbol : {286, 287}) {
    ExpectRefused(Stream().Fixed(true).Literal('a').Symbol(symbol).Bits(0, 32).Bits(0, 32).bytes(), kNotDeflate);
  }
  for (const int distance : {30, 31}) {
    ExpectRefused(Stream().Fixed(true).Literals("abc").Symbol(257).Distance(distance).Bits(0, 32).Bits(0, 32).bytes(), kNotDeflate);
  }
}

TEST(Window, TheFarthestDistanceNeedsThatManyBytes) {
  Stream good, bad;
  good.Stored(Noise(32'768)).Fixed(true).Match(258, 32'768).End();
  bad.Stored(Noise(32'767)).Fixed(true).Match(258, 32'768).End().Bits(0, 32).Bits(0, 32);
  ExpectGives(good.bytes(), good.plain());
  ExpectRefused(bad.bytes(), kNotDeflate);
}

TEST(Window, DistancesBeforeTheStartAreRefused) {
  for (int distance = 1; distance <= 40; ++distance) {
    Stream bad, good;
    bad.Fixed(true).Literals(Noise(static_cast<std::size_t>(distance) - 1)).Match(3, distance).End().Bits(0, 32).Bits(0, 32);
    good.Fixed(true).Literals(Noise(static_cast<std::size_t>(distance))).Match(3, distance).End();
    ExpectRefused(bad.bytes(), kNotDeflate);
    ExpectGives(good.bytes(), good.plain());
  }
}

// The output of one stream is no history of the next.
TEST(Window, StartForgetsTheStreamBefore) {
  const std::string first = Stream().Stored(Noise(50'000), true).bytes();
  const std::string second = Stream().Fixed(true).Literal('a').Match(3, 2).End().Bits(0, 32).Bits(0, 32).bytes();
  const std::string both = first + second;
  testing::Pieces source(both, both.size());
  InputBuffer input(source);
  Inflate inflate;
  std::string room(100'000, '\0');
  const auto span = std::as_writable_bytes(std::span(room));
  inflate.Start();
  const auto one = inflate.Read(input, span);
  ASSERT_TRUE(one);
  EXPECT_EQ(*one, 50'000u);
  ASSERT_TRUE(inflate.ended());
  inflate.Start();
  EXPECT_FALSE(inflate.ended());
  EXPECT_FALSE(inflate.Read(input, span));
}

TEST(Stored, SizesAndPlaces) {
  Stream stream;
  stream.Stored("").Stored("a").Fixed().Literal('b').End().Stored(Noise(65'535)).Stored(Noise(65'535, 2)).Fixed();
  stream.Literals("cde").Match(5, 3).End().Stored("").Stored(Noise(1000), true);
  ExpectGives(stream.bytes(), stream.plain());
}
TEST(Stored, TheComplementMustMatch) { ExpectRefused("\x01\x05\x00\xfb\xff" "abcdefghij"s, kNotDeflate); }

struct Vector {
  std::string name;
  std::string stream;
  std::string plain;
};
void PrintTo(const Vector& v, std::ostream* out) { *out << v.name; }
class Small : public ::testing::TestWithParam<Vector> {};
TEST_P(Small, Gives) { ExpectGives(GetParam().stream, GetParam().plain); }
INSTANTIATE_TEST_SUITE_P(Inflate, Small, ::testing::ValuesIn(std::vector<Vector>{
    {"FixedOfNothing", "\x03\x00"s, ""},
    {"StoredOfNothing", "\x01\x00\x00\xff\xff"s, ""},
    {"FixedLiteral", "\x4b\x04\x00"s, "a"},
    {"FixedRun", "\x4b\x84\x03\x00"s, std::string(10, 'a')},
    {"StoredHello", "\x01\x05\x00\xfa\xffhello"s, "hello"},
    {"TwoEmptyBlocks", "\x00\x00\x00\xff\xff\x01\x00\x00\xff\xff"s, ""},
}), [](const auto& p) { return p.param.name; });

// Trees as zlib judges them. The end symbol is sent where there is one.
struct Tree {
  std::string name;
  Lengths symbols;  // padded with zeros to 257
  Lengths distances;
  bool good = false;
};
void PrintTo(const Tree& t, std::ostream* out) { *out << t.name; }
class Trees : public ::testing::TestWithParam<Tree> {};
TEST_P(Trees, AreJudgedLikeZlibDoes) {
  const Tree& t = GetParam();
  Stream stream;
  stream.Dynamic(t.symbols, t.distances, true).End();
  const std::string bytes = stream.bytes() + std::string(t.good ? 0 : 80, '\0');
  ASSERT_EQ(Zlib(bytes).has_value(), t.good);
  if (t.good) ExpectGives(bytes, "");
  else ExpectRefused(bytes, kNotDeflate);
}
Lengths With(std::vector<std::pair<int, int>> given, std::size_t size = 257) {
  Lengths lengths(size, 0);
  for (const auto& [symbol, length] : given) lengths[static_cast<std::size_t>(symbol)] = length;
  return lengths;
}
INSTANTIATE_TEST_SUITE_P(Inflate, Trees, ::testing::ValuesIn(std::vector<Tree>{
    {"Complete", With({{0, 1}, {256, 1}}), {1, 1}, true},
    {"OnlyTheEnd", With({{256, 1}}), {0}, true},
    {"OnlyTheEndWithTwoBits", With({{256, 2}}), {0}, false},
    {"NoEnd", With({{0, 1}, {1, 1}}), {0}, false},
    {"NoSymbols", With({}), {0}, false},
    {"SymbolsOverSubscribed", With({{0, 1}, {1, 1}, {256, 1}}), {0}, false},
    {"SymbolsOverSubscribedDeep", With({{0, 1}, {1, 2}, {2, 15}, {3, 2}, {256, 15}}), {0}, false},
    {"SymbolsIncomplete", With({{0, 2}, {256, 1}}), {0}, false},
    {"SymbolsIncompleteDeep", With({{0, 1}, {1, 2}, {2, 3}, {256, 15}}), {0}, false},
    {"TooManySymbols", With({{0, 1}, {256, 1}}, 287), {0}, false},
    {"AllSymbolsThereAre", With({{0, 1}, {256, 1}}, 286), {0}, true},
    {"NoDistance", With({{0, 1}, {256, 1}}), {0}, true},
    {"OneDistance", With({{0, 1}, {256, 1}}), {0, 0, 1}, true},
    {"OneDistanceWithTwoBits", With({{0, 1}, {256, 1}}), {0, 0, 2}, false},
    {"DistancesIncomplete", With({{0, 1}, {256, 1}}), {2, 2, 2}, false},
    {"DistancesOverSubscribed", With({{0, 1}, {256, 1}}), {1, 1, 1}, false},
    {"AllDistancesThereAre", With({{0, 1}, {256, 1}}), With({{0, 1}, {29, 1}}, 30), true},
    {"TooManyDistances", With({{0, 1}, {256, 1}}), With({{0, 1}, {29, 1}}, 31), false},
}), [](const auto& p) { return p.param.name; });

TEST(Trees, ADistanceWithoutACodeIsRefusedWhenUsed) {
  Lengths symbols = With({{0, 1}, {256, 2}, {257, 2}}, 258);
  Stream none, other, used;
  none.Dynamic(symbols, {0}, true).Literal('\0').Symbol(257).Bits(0, 1).End().Bits(0, 32).Bits(0, 32);
  other.Dynamic(symbols, {1}, true).Literal('\0').Symbol(257).Bits(1, 1).End().Bits(0, 32).Bits(0, 32);
  used.Dynamic(symbols, {1}, true).Literal('\0').Match(3, 1).End();
  ExpectRefused(none.bytes(), kNotDeflate);
  ExpectRefused(other.bytes(), kNotDeflate);
  ExpectGives(used.bytes(), used.plain());
}

// Code-length codes: repeats out of place, and codes that are none. Code lengths 16, 17, 18, 0 get the bits given.
TEST(Trees, CodeLengthCodes) {
  const auto header = [](std::array<int, 4> lengths, std::uint32_t bits, int count) {
    Stream s;
    s.Bits(1, 1).Bits(2, 2).Bits(0, 5).Bits(0, 5).Bits(0, 4);
    for (const int l : lengths) s.Bits(static_cast<std::uint32_t>(l), 3);
    return s.Bits(bits, count).bytes() + std::string(80, '\0');
  };
  ExpectRefused(header({1, 0, 0, 1}, 1, 1), kNotDeflate);                // repeats before there is a length
  ExpectRefused(header({0, 0, 1, 1}, 0xff | 0xff << 8 | 0xff << 16, 24), kNotDeflate);  // three runs of 138: too many
  ExpectRefused(header({1, 1, 1, 0}, 0, 0), kNotDeflate);                // over-subscribed
  ExpectRefused(header({0, 0, 2, 1}, 0, 0), kNotDeflate);                // incomplete
  ExpectRefused(header({0, 0, 0, 1}, 0, 0), kNotDeflate);                // one only
  ExpectRefused(header({0, 0, 0, 0}, 0, 0), kNotDeflate);                // none
  ExpectRefused("\x07"s + std::string(80, '\0'), kNotDeflate);           // reserved type
}

std::string Deflate(std::string_view plain, int level, int strategy, int memory, int flush_every = 0, int flush = Z_NO_FLUSH) {
  z_stream z{};
  EXPECT_EQ(deflateInit2(&z, level, Z_DEFLATED, -15, memory, strategy), Z_OK);
  std::string out(2 * plain.size() + 100'000, '\0');
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  std::size_t left = plain.size();
  while (flush_every > 0 && left > static_cast<std::size_t>(flush_every)) {
    z.avail_in = static_cast<uInt>(flush_every);
    EXPECT_EQ(deflate(&z, flush), Z_OK);
    left -= static_cast<std::size_t>(flush_every);
  }
  z.avail_in = static_cast<uInt>(left);
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string Isal(std::string_view plain, std::uint32_t level) {
  std::vector<std::uint8_t> memory(ISAL_DEF_LVL3_DEFAULT);
  auto z = std::make_unique<isal_zstream>();
  isal_deflate_init(z.get());
  z->level = level;
  z->level_buf = memory.data();
  z->level_buf_size = static_cast<std::uint32_t>(memory.size());
  z->end_of_stream = 1;
  std::string out(2 * plain.size() + 1000, '\0');
  z->next_in = reinterpret_cast<std::uint8_t*>(const_cast<char*>(plain.data()));
  z->avail_in = static_cast<std::uint32_t>(plain.size());
  z->next_out = reinterpret_cast<std::uint8_t*>(out.data());
  z->avail_out = static_cast<std::uint32_t>(out.size());
  EXPECT_EQ(isal_deflate(z.get()), COMP_OK);
  out.resize(z->total_out);
  return out;
}

// Text, runs, noise and far repeats after each other, like a layer has them.
std::string Mixed(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string plain;
  while (plain.size() < size) {
    const std::size_t count = 1 + random() % 3000;
    switch (random() % 6) {
      case 0: plain += Noise(count, random()); break;
      case 1: plain += Noise(count, random(), 20); break;
      case 2: plain.append(count, static_cast<char>(random())); break;
      case 3: plain.append(random() % 50'000, '\0'); break;
      case 4:
        for (std::size_t i = 0; i < count / 8; ++i) plain += "word" + std::to_string(random() % 300) + " ";
        break;
      default:
        for (int i = 0; i < 20 && !plain.empty(); ++i) {
          const std::size_t far = 1 + random() % std::min<std::size_t>(plain.size(), 32'768);
          plain += plain.substr(plain.size() - far, 1 + random() % 300);
        }
    }
  }
  plain.resize(size);
  return plain;
}

TEST(RoundTrip, ZlibLevelsStrategiesAndMemory) {
  unsigned seed = 0;
  for (int level = 0; level <= 9; ++level) {
    for (const int strategy : {Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE, Z_FIXED}) {
      ++seed;
      const std::string plain = Mixed(200'000 + 977 * seed, seed);
      SCOPED_TRACE("level " + std::to_string(level) + ", strategy " + std::to_string(strategy));
      ExpectGives(Deflate(plain, level, strategy, 1 + static_cast<int>(seed) % 9), plain);
    }
  }
}

// pigz cuts its one member at such points.
TEST(RoundTrip, ZlibFlushes) {
  const std::string plain = Mixed(400'000, 77);
  for (const int flush : {Z_PARTIAL_FLUSH, Z_SYNC_FLUSH, Z_FULL_FLUSH, Z_BLOCK}) {
    for (const int every : {131, 5000, 131'072}) ExpectGives(Deflate(plain, 6, Z_DEFAULT_STRATEGY, 8, every, flush), plain);
  }
}

TEST(RoundTrip, IsalLevels) {
  const std::string plain = Mixed(400'000, 78);
  for (std::uint32_t level = 0; level <= 3; ++level) ExpectGives(Isal(plain, level), plain);
}

// Rooms around every size at which the decoder changes between the room and its window.
TEST(Rooms, OfSizesAroundTheWindow) {
  const std::string plain = Mixed(1'000'000, 79);
  const std::string stream = Deflate(plain, 6, Z_DEFAULT_STRATEGY, 8);
  for (const std::size_t edge : {320, 1024, 32'768, 33'792, 34'112, 65'536, 67'584, 68'224, 101'000, 262'144}) {
    for (const std::size_t room : {edge - 1, edge, edge + 1, edge + 259}) {
      const Result<Inflated> got = Ours(stream, 1u << 20, room);
      ASSERT_TRUE(got) << room;
      ASSERT_TRUE(got->out == plain) << room;
    }
  }
}

TEST(Rooms, OfChangingSizes) {
  const std::string plain = Mixed(3'000'000, 80);
  const std::string stream = Deflate(plain, 6, Z_DEFAULT_STRATEGY, 8);
  std::mt19937 random(81);
  testing::Pieces source(stream, 3000);
  InputBuffer input(source);
  Inflate inflate;
  inflate.Start();
  std::string out;
  while (!inflate.ended()) {
    std::string room(1 + random() % (1u << random() % 19), '\x5a');  // another place each time, nothing kept
    const auto got = inflate.Read(input, std::as_writable_bytes(std::span(room)));
    ASSERT_TRUE(got);
    out.append(room, 0, *got);
  }
  EXPECT_TRUE(out == plain);
}

// A room is given without waiting for what only the next one needs.
TEST(Input, IsNotReadFarAhead) {
  const std::string plain = Noise(20'000);
  Stream stream;
  stream.Stored(plain, true);
  testing::Pieces source(stream.bytes(), 100);
  InputBuffer input(source);
  Inflate inflate;
  inflate.Start();
  std::string room(5000, '\0');
  const auto got = inflate.Read(input, std::as_writable_bytes(std::span(room)));
  ASSERT_TRUE(got);
  EXPECT_EQ(room, plain.substr(0, 5000));
  EXPECT_GT(source.left(), 14'000u);
}

TEST(Truncated, EveryPrefixIsRefusedAsSuch) {
  const std::string plain = Mixed(6000, 5);
  for (const int level : {0, 6}) {
    for (const int strategy : {Z_DEFAULT_STRATEGY, Z_FIXED}) {
      const std::string stream = Deflate(plain, level, strategy, 8);
      for (std::size_t size = 0; size < stream.size(); ++size) {
        const Result<Inflated> got = Ours(std::string_view(stream).substr(0, size), 1u << 20, 100'000);
        ASSERT_FALSE(got) << size;
        ASSERT_THAT(got.error().Text(), HasSubstr(kEndsInside)) << size;
      }
    }
  }
}

// What zlib takes we take, to the byte; what it refuses we refuse.
TEST(Mutated, StreamsAreJudgedLikeZlibDoes) {
  std::mt19937 random(4711);
  std::vector<std::string> streams;
  for (int i = 0; i < 24; ++i) {
    const std::string plain = Mixed(1500 + random() % 4000, random());
    streams.push_back(Deflate(plain, i % 10, i % 5, 1 + i % 9, i % 3 == 0 ? 700 : 0, Z_SYNC_FLUSH));
  }
  int taken = 0;
  for (int round = 0; round < 12'000; ++round) {
    std::string stream = streams[random() % streams.size()];
    for (auto n = 1 + random() % 3; n > 0; --n) {
      // Headers decide the most, so half of the changes fall there.
      const std::size_t at = random() % (random() % 2 == 0 ? std::min<std::size_t>(stream.size(), 90) : stream.size());
      switch (random() % 4) {
        case 0: stream[at] = static_cast<char>(random()); break;
        case 1: stream[at] = static_cast<char>(stream[at] ^ (1 << random() % 8)); break;
        case 2: stream.erase(at, 1 + random() % 4); break;
        default: stream.insert(at, 1, static_cast<char>(random()));
      }
      if (stream.empty()) stream = "\x03";
    }
    const std::optional<Inflated> zlib = Zlib(stream);
    const std::size_t piece = round % 2 == 0 ? 1u << 20 : 1 + random() % 50;
    const std::size_t room = 1 + random() % (round % 3 == 0 ? 200'000 : 300);
    const Result<Inflated> ours = Ours(stream, piece, room);
    ASSERT_EQ(ours.has_value(), zlib.has_value()) << "round " << round;
    if (zlib) {
      ASSERT_TRUE(*ours == *zlib) << "round " << round;
      ++taken;
    }
  }
  EXPECT_GT(taken, 500);
}

}  // namespace
}  // namespace berth::codec
