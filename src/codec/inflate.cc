#include "codec/inflate.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

namespace berth::codec {
namespace {

static_assert(std::endian::native == std::endian::little, "bits are taken from words as they lie in memory");

// An entry of a decoding table:
//   bits 0..5    how many bits to drop: the code and its extra bits; for kTable the bits of this table
//   bits 8..11   how many of them are the code; for kTable the width of the table below
//   bits 12..15  kSpecial and its kind, or none
//   bits 16..30  the literal, the base of the length or distance, or where the table below starts
//   bit 31       a literal
constexpr std::uint32_t kLiteral = 1u << 31, kSpecial = 1u << 15, kTable = 1u << 14, kEnd = 1u << 13;
constexpr std::uint32_t kInvalid = kSpecial;

constexpr std::uint32_t Base(std::uint32_t base, std::uint32_t extra) { return base << 16 | extra; }

// Entries by symbol, to which Build adds the length of the code.
constexpr auto kSymbols = [] {
  std::array<std::uint32_t, 288> table{};
  for (std::uint32_t s = 0; s < 256; ++s) table[s] = kLiteral | s << 16;
  table[256] = kSpecial | kEnd;
  std::uint32_t base = 3;
  for (std::uint32_t s = 257; s < 285; ++s) {
    const std::uint32_t extra = s < 265 ? 0 : (s - 261) / 4;
    table[s] = Base(base, extra);
    base += 1u << extra;
  }
  table[285] = Base(258, 0);
  table[286] = table[287] = kInvalid;
  return table;
}();
constexpr auto kDistances = [] {
  std::array<std::uint32_t, 32> table{};
  std::uint32_t base = 1;
  for (std::uint32_t s = 0; s < 30; ++s) {
    const std::uint32_t extra = s < 4 ? 0 : s / 2 - 1;
    table[s] = Base(base, extra);
    base += 1u << extra;
  }
  table[30] = table[31] = kInvalid;
  return table;
}();
constexpr unsigned kCodeLengthBits = 7;
constexpr auto kCodeLengths = [] {
  std::array<std::uint32_t, 19> table{};
  for (std::uint32_t s = 0; s < 19; ++s) table[s] = s << 16;
  return table;
}();
constexpr std::array<std::uint8_t, 19> kCodeLengthOrder = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

template <typename Word>
inline Word Load(const std::uint8_t* at) {
  Word word;
  std::memcpy(&word, at, sizeof word);
  return word;
}
inline void Store(std::uint8_t* at, std::uint64_t word) { std::memcpy(at, &word, sizeof word); }
constexpr std::uint64_t Low(std::uint64_t word, std::uint32_t width) { return word & ((std::uint64_t{1} << (width & 63)) - 1); }

// The value of an entry's extra bits; `bits` as they were before the entry was dropped.
inline std::uint64_t Extra(std::uint64_t bits, std::uint32_t entry) { return Low(bits, entry) >> (entry >> 8 & 63); }
// Word after word, for they may overlap: the distance is eight or more.
[[gnu::always_inline]] inline void CopyFive(std::uint8_t* at, const std::uint8_t* from) {
  Store(at + 0, Load<std::uint64_t>(from + 0));
  Store(at + 8, Load<std::uint64_t>(from + 8));
  Store(at + 16, Load<std::uint64_t>(from + 16));
  Store(at + 24, Load<std::uint64_t>(from + 24));
  Store(at + 32, Load<std::uint64_t>(from + 32));
}

constexpr unsigned kLongestCode = 15;
constexpr std::ptrdiff_t kPiece = 128 << 10;

// Fills `table` (2^width entries, tables of the second level behind them) for the code with these lengths, one a symbol.
// False: not a prefix code, or one that leaves bits without meaning; `sparse` lets codes of at most one symbol pass.
bool Build(std::span<const std::uint8_t> lengths, const std::uint32_t* symbols, unsigned width, bool sparse,
           std::uint32_t* table) {
  std::uint16_t count[kLongestCode + 1] = {};
  for (const std::uint8_t length : lengths) ++count[length];
  std::uint16_t next[kLongestCode + 1] = {};
  std::int32_t space = 1;
  for (unsigned length = 1; length <= kLongestCode; ++length) {
    space = 2 * space - count[length];
    if (space < 0) return false;
    next[length] = static_cast<std::uint16_t>(next[length - 1] + count[length - 1]);
  }
  std::uint16_t sorted[288];  // by length, then by symbol; the unused ones first
  for (std::size_t s = 0; s < lengths.size(); ++s) sorted[next[lengths[s]]++] = static_cast<std::uint16_t>(s);
  unsigned at = count[0];
  const auto end = static_cast<unsigned>(lengths.size());
  const auto entry = [&](unsigned i, unsigned length) { return symbols[sorted[i]] + length * 0x101u; };
  if (space > 0) {
    if (!sparse || end - at > 1 || end - at != count[1]) return false;
    std::fill_n(table, std::size_t{1} << width, kInvalid);
    if (at == end) return true;
    for (std::size_t i = 0; i < std::size_t{1} << width; i += 2) table[i] = entry(at, 1);
    return true;
  }
  // Codes arrive with their first bit lowest, so the next code of the same length counts from the top bit down. The
  // table for one more bit is the table so far, twice, and then the codes of that length.
  std::uint32_t code = 0;
  const auto advance = [&](unsigned length) {
    const std::uint32_t rest = code ^ ((1u << length) - 1);
    const std::uint32_t top = std::bit_floor(rest);
    code = (code & (top - 1)) | top;
  };
  for (unsigned length = 1; length <= width; ++length) {
    const std::size_t half = std::size_t{1} << (length - 1);
    if (length > 1) std::memcpy(table + half, table, half * sizeof *table);
    for (unsigned n = count[length]; n > 0; --n) {
      table[code] = entry(at++, length);
      if (at == end) {
        for (std::size_t size = 2 * half; size < std::size_t{1} << width; size *= 2) {
          std::memcpy(table + size, table, size * sizeof *table);
        }
        return true;
      }
      advance(length);
    }
  }
  const std::uint32_t mask = (1u << width) - 1;
  std::uint32_t prefix = ~0u;
  std::size_t below = std::size_t{1} << width, size = 0;
  for (unsigned length = width + 1;; ++length) {
    for (unsigned n = count[length]; n > 0; --n) {
      if ((code & mask) != prefix) {
        prefix = code & mask;
        below += size;
        // As wide as the longest code with this prefix: the codes that are left fill it in order.
        unsigned bits = length - width;
        for (unsigned fill = n; fill < 1u << bits;) fill = 2 * fill + count[width + ++bits];
        size = std::size_t{1} << bits;
        table[prefix] = kSpecial | kTable | static_cast<std::uint32_t>(below) << 16 | bits << 8 | width;
      }
      const std::uint32_t e = entry(at++, length - width);
      for (std::size_t i = code >> width; i < size; i += std::size_t{1} << (length - width)) table[below + i] = e;
      if (at == end) return true;
      advance(length);
    }
  }
}

// Distances below eight repeat a pattern shorter than a word: kRepeat[d] multiplies its bytes up to a whole word.
constexpr std::uint64_t kRepeat[8] = {0, 0x0101010101010101, 0x0001000100010001, 0x0001000001000001,
                                      0x0000000100000001, 0x0000010000000001, 0x0001000000000001, 0x0100000000000001};
constexpr std::uint8_t kStep[8] = {0, 8, 8, 6, 8, 5, 6, 7};

Error Broken() { return Error(Reason::kInvalidLayer, "a gzip member is not a valid deflate stream"); }
Error Truncated() { return Error(Reason::kInvalidLayer, "the input ends inside a gzip member"); }

}  // namespace

[[gnu::always_inline]] inline void Inflate::Bits::Refill() {
  bits |= Load<std::uint64_t>(in) << (count & 63);
  in += (count ^ 63) >> 3 & 7;
  count |= 56;
}
[[gnu::always_inline]] inline void Inflate::Bits::Drop(std::uint32_t entry) {
  bits >>= entry & 63;
  count -= entry;
}
inline std::uint32_t Inflate::Bits::Take(unsigned width) {
  const auto taken = static_cast<std::uint32_t>(Low(bits, width));
  Drop(width);
  return taken;
}
// Whole bytes go back to the input.
inline void Inflate::Bits::GiveBack() {
  count &= 63;
  in -= count >> 3;
  count &= 7;
  bits = Low(bits, count);
}
inline void Inflate::Bits::Align() {
  GiveBack();
  bits = 0;
  count = 0;
}

Inflate::Stop Inflate::DecodeSymbols(const std::uint8_t* in_limit, Target& to) {
  constexpr std::uint32_t kSymbolMask = (1u << kSymbolBits) - 1, kDistanceMask = (1u << kDistanceBits) - 1;
  const std::uint32_t* const symbols = tables_.symbol.data();
  const std::uint32_t* const distances = tables_.distance.data();
  const std::uint8_t* const begin = to.begin;
  std::uint8_t* const limit = to.limit;
  std::uint8_t* out = to.at;
  Bits b = bits_;
  Stop stop = Stop::kLimit;
  // After a refill all 64 bits are the stream's, though `count` may say 56: a look-up never waits for the refill that
  // follows it. What comes next is looked up both ways, as a symbol and as a distance, before it is known which is right,
  // so a mispredicted branch does not wait for a load too (4 %). An entry only counts once its bits are dropped.
  b.Refill();
  std::uint32_t next = symbols[b.bits & kSymbolMask], d = 0;
  do {
    std::uint32_t e = 0;
    std::uint64_t before = 0;
    const auto take = [&]() __attribute__((always_inline)) {
      e = next;
      before = b.bits;
      b.Drop(e);
      next = symbols[b.bits & kSymbolMask];
      d = distances[b.bits & kDistanceMask];
      if ((e & kLiteral) == 0) return false;
      *out++ = static_cast<std::uint8_t>(e >> 16);
      return true;
    };
    // Three literals of 11 bits, or two and a length of 20, leave the bits of the next look-up.
    if (take() && take() && take()) {
      b.Refill();
      continue;
    }
    if ((e & kSpecial) != 0) [[unlikely]] {
      if ((e & kTable) != 0) {
        next = symbols[(e >> 16) + Low(b.bits, e >> 8 & 15)];
        if (take()) {
          b.Refill();
          continue;
        }
      }
      if ((e & kSpecial) != 0) {
        stop = (e & kEnd) != 0 ? Stop::kEndOfBlock : Stop::kBroken;
        break;
      }
    }
    const std::size_t length = (e >> 16) + Extra(before, e);
    b.Refill();
    if ((d & kSpecial) != 0) [[unlikely]] {
      if ((d & kTable) != 0) {
        b.Drop(d);
        d = distances[(d >> 16) + Low(b.bits, d >> 8 & 15)];
      }
      if ((d & kSpecial) != 0) {
        stop = Stop::kBroken;
        break;
      }
    }
    const std::size_t distance = (d >> 16) + Extra(b.bits, d);
    b.Drop(d);
    if (distance > static_cast<std::size_t>(out - begin)) [[unlikely]] {
      stop = Stop::kBroken;
      break;
    }
    next = symbols[b.bits & kSymbolMask];
    b.Refill();
    const std::uint8_t* from = out - distance;
    std::uint8_t* at = out;
    out += length;
    if (distance >= 8) [[likely]] {
      CopyFive(at, from);
      while ((at += 40) < out) [[unlikely]] CopyFive(at, from += 40);
    } else {
      const std::uint64_t word = Low(Load<std::uint64_t>(from), static_cast<std::uint32_t>(8 * distance)) * kRepeat[distance];
      const std::size_t step = kStep[distance];
      do {
        Store(at, word);
        at += step;
      } while (at < out);
    }
  } while (b.in <= in_limit && out < limit);
  b.GiveBack();
  bits_ = b;
  to.at = out;
  return stop;
}

Inflate::Inflate() : window_(std::make_unique_for_overwrite<std::uint8_t[]>(kWindow + kSlack)) {}

void Inflate::Start() {
  state_ = State::kHeader;
  last_block_ = false;
  crc_ = 0;
  size_ = 0;
  bits_ = {};
  given_ = 0;
  end_ = 0;
  in_window_ = true;
}

Result<std::size_t> Inflate::Read(InputBuffer& input, bytes::MutableView room) {
  auto* const first = reinterpret_cast<std::uint8_t*>(room.data());
  std::uint8_t* const last = first + room.size();
  std::size_t got = Give(room);
  while (got < room.size() && state_ != State::kDone) {
    // All that was decoded is with the caller, `got` bytes of it in this room.
    const auto history = static_cast<std::size_t>(std::min<std::uint64_t>(size_, kHistory));
    if (got >= history && room.size() - got > kAhead) {
      Target to{.begin = first, .at = first + got, .limit = last - kSlack};
      RETURN_IF_ERROR(Decode(input, room.size(), to));
      got = static_cast<std::size_t>(to.at - first);
      in_window_ = false;
      continue;
    }
    std::uint8_t* const window = window_.get();
    if (!in_window_ || end_ > kWindow - kAhead - kSlack) {
      std::memmove(window, (in_window_ ? window + end_ : first + got) - history, history);
      given_ = end_ = history;
      in_window_ = true;
    }
    Target to{.begin = window, .at = window + end_, .limit = window + end_ + kAhead};
    RETURN_IF_ERROR(Decode(input, room.size() - got, to));
    end_ = static_cast<std::size_t>(to.at - window);
    got += Give(room.subspan(got));
  }
  if (!in_window_) given_ = end_ = 0;
  return got;
}

std::size_t Inflate::Give(bytes::MutableView room) {
  const std::size_t count = std::min(room.size(), end_ - given_);
  if (count > 0) std::memcpy(room.data(), window_.get() + given_, count);
  given_ += count;
  return count;
}

// Decodes to the limit, the end of the stream, or, when more input would have to be waited for, `wanted` bytes.
Result<> Inflate::Decode(InputBuffer& input, std::size_t wanted, Target& to) {
  const std::uint8_t* const start = to.at;
  while (state_ != State::kDone && to.at < to.limit) {
    const std::size_t left = input.size();
    if (left <= kReserve && !input.ended()) {
      if (static_cast<std::size_t>(to.at - start) >= wanted) break;
      RETURN_IF_ERROR(input.Fill());
      continue;
    }
    const bool tail = left <= kReserve;
    const auto* in = reinterpret_cast<const std::uint8_t*>(input.data().data());
    if (tail) {
      if (left > 0) std::memcpy(tail_.data(), in, left);
      std::memset(tail_.data() + left, 0, tail_.size() - left);
      in = tail_.data();
    }
    const std::uint8_t* const end = in + left;
    bits_.in = in;
    // The CRC is taken of bytes that are still in the nearest cache.
    const std::uint8_t* const piece = to.at;
    Target part{.begin = to.begin, .at = to.at, .limit = to.at + std::min<std::ptrdiff_t>(to.limit - to.at, kPiece)};
    const bool good = tail ? Run(end, end, end + 8, part) : Run(end, end - kReserve, end - kReserve, part);
    // The last six bytes are less than a symbol can take: what is wrong there may be the zeros.
    if (tail && (bits_.in > end || (!good && end - bits_.in < 6))) return Truncated();
    if (!good) return Broken();
    input.Use(static_cast<std::size_t>(bits_.in - in));
    const auto made = static_cast<std::size_t>(part.at - piece);
    crc_ = crc32_gzip_refl(crc_, piece, made);
    size_ += made;
    to.at = part.at;
    if (tail && state_ == State::kStored && bits_.in == end && made == 0) return Truncated();
  }
  return {};
}

// Steps may start up to `safe`, turns of the loop up to `in_limit`; only stored bytes are taken up to `in_end`.
bool Inflate::Run(const std::uint8_t* in_end, const std::uint8_t* safe, const std::uint8_t* in_limit, Target& to) {
  while (state_ != State::kDone && to.at < to.limit && bits_.in <= safe) {
    switch (state_) {
      case State::kHeader:
        if (!Header()) return false;
        break;
      case State::kStored: {
        const auto count = std::min({static_cast<std::ptrdiff_t>(stored_left_), in_end - bits_.in, to.limit - to.at});
        std::memcpy(to.at, bits_.in, static_cast<std::size_t>(count));
        to.at += count;
        bits_.in += count;
        stored_left_ -= static_cast<std::uint32_t>(count);
        if (stored_left_ == 0) EndBlock();
        else if (count == 0) return true;
        break;
      }
      case State::kSymbols:
        switch (DecodeSymbols(in_limit, to)) {
          case Stop::kLimit: break;
          case Stop::kEndOfBlock: EndBlock(); break;
          case Stop::kBroken: return false;
        }
        break;
      case State::kDone: break;
    }
  }
  return true;
}

void Inflate::EndBlock() {
  state_ = last_block_ ? State::kDone : State::kHeader;
  if (last_block_) bits_.Align();
}

bool Inflate::Header() {
  Bits& b = bits_;
  b.Refill();
  last_block_ = b.Take(1) != 0;
  const std::uint32_t type = b.Take(2);
  bool good = true;
  if (type == 0) {
    b.Align();
    stored_left_ = Load<std::uint16_t>(b.in);
    good = (stored_left_ ^ Load<std::uint16_t>(b.in + 2)) == 0xffff;
    b.in += 4;
    state_ = State::kStored;
    if (stored_left_ == 0) EndBlock();
  } else {
    good = type == 1 ? FixedTables() : type == 2 && DynamicTables();
    state_ = State::kSymbols;
  }
  b.GiveBack();
  return good;
}

bool Inflate::FixedTables() {
  if (tables_fixed_) return true;
  tables_fixed_ = true;
  std::array<std::uint8_t, 288> lengths;
  std::fill_n(lengths.begin(), 144, 8);
  std::fill_n(lengths.begin() + 144, 112, 9);
  std::fill_n(lengths.begin() + 256, 24, 7);
  std::fill_n(lengths.begin() + 280, 8, 8);
  Build(lengths, kSymbols.data(), kSymbolBits, false, tables_.symbol.data());
  std::fill_n(lengths.begin(), 32, 5);
  return Build(std::span(lengths).first(32), kDistances.data(), kDistanceBits, false, tables_.distance.data());
}

bool Inflate::DynamicTables() {
  Bits& b = bits_;
  tables_fixed_ = false;
  const std::size_t symbols = b.Take(5) + 257, distances = b.Take(5) + 1, code_lengths = b.Take(4) + 4;
  if (symbols > 286 || distances > 30) return false;
  std::uint8_t lengths[286 + 30];
  std::uint8_t code[19] = {};
  for (std::size_t i = 0; i < code_lengths; ++i) {
    if ((b.count & 0xff) < 3) b.Refill();
    code[kCodeLengthOrder[i]] = static_cast<std::uint8_t>(b.Take(3));
  }
  std::uint32_t table[1u << kCodeLengthBits];
  if (!Build(code, kCodeLengths.data(), kCodeLengthBits, false, table)) return false;
  const std::size_t all = symbols + distances;
  for (std::size_t i = 0; i < all;) {
    if ((b.count & 0xff) < 14) b.Refill();
    const std::uint32_t e = table[Low(b.bits, kCodeLengthBits)], symbol = e >> 16;
    b.Drop(e);
    if (symbol < 16) {
      lengths[i++] = static_cast<std::uint8_t>(symbol);
      continue;
    }
    if (symbol == 16 && i == 0) return false;
    const std::uint8_t repeated = symbol == 16 ? lengths[i - 1] : 0;
    const std::size_t times = symbol == 16 ? 3 + b.Take(2) : symbol == 17 ? 3 + b.Take(3) : 11 + b.Take(7);
    if (times > all - i) return false;
    std::memset(lengths + i, repeated, times);
    i += times;
  }
  const std::span<const std::uint8_t> given(lengths, all);
  return given[256] != 0 && Build(given.first(symbols), kSymbols.data(), kSymbolBits, true, tables_.symbol.data()) &&
         Build(given.subspan(symbols), kDistances.data(), kDistanceBits, true, tables_.distance.data());
}

}  // namespace berth::codec
