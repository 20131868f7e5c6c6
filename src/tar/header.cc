#include "tar/header.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace berth::tar {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::size_t kChecksumOffset = 148, kChecksumSize = 8;

// The block summed as if the checksum field were blank.
template <class Byte>
std::int64_t Sum(const char* block) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < kBlockBytes; ++i) sum += static_cast<Byte>(block[i]);
  for (std::size_t i = 0; i < kChecksumSize; ++i) sum -= static_cast<Byte>(block[kChecksumOffset + i]);
  return sum + static_cast<std::int32_t>(kChecksumSize) * ' ';
}

Numeric ParseBase256(std::string_view field) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(field[i]); };
  const bool negative = (byte(0) & 0x40u) != 0;
  // The first byte gives its low seven bits, sign-extended; a value grows out of 64 bits when bits that differ from
  // the sign are shifted out.
  std::int64_t value = negative ? -1 : 0;
  for (std::size_t i = 0; i < field.size(); ++i) {
    const unsigned next = i == 0 ? (negative ? byte(0) | 0x80u : byte(0) & 0x7fu) : byte(i);
    if (value > (std::numeric_limits<std::int64_t>::max() >> 8) ||
        value < (std::numeric_limits<std::int64_t>::min() >> 8)) {
      return {.value = negative ? std::numeric_limits<std::int64_t>::min() : std::numeric_limits<std::int64_t>::max(),
              .exact = false};
    }
    value = static_cast<std::int64_t>(static_cast<std::uint64_t>(value) << 8 | next);
  }
  return {.value = value};
}

}  // namespace

std::optional<Numeric> ParseNumeric(std::string_view field) {
  if (field.empty()) return Numeric{.blank = true};
  if ((static_cast<unsigned char>(field[0]) & 0x80u) != 0) return ParseBase256(field);
  std::size_t at = 0;
  while (at < field.size() && (field[at] == ' ' || field[at] == '\0')) ++at;
  if (at == field.size()) return Numeric{.blank = true};
  std::int64_t value = 0;  // at most 12 digits of 3 bits
  const std::size_t first = at;
  for (; at < field.size() && field[at] >= '0' && field[at] <= '7'; ++at) value = value << 3 | (field[at] - '0');
  if (at == first || (at < field.size() && field[at] != ' ' && field[at] != '\0')) return std::nullopt;
  return Numeric{.value = value};
}

std::string_view TextField(std::string_view field) { return field.substr(0, field.find('\0')); }

bool HeaderView::IsZero() const {
  static constexpr std::array<char, kBlockBytes> kZero{};
  return block_[0] == 0 && std::memcmp(block_, kZero.data(), kBlockBytes) == 0;
}

bool HeaderView::ChecksumMatches() const {
  const std::optional<Numeric> stored = ParseNumeric(Field(kChecksumOffset, kChecksumSize));
  if (!stored || stored->blank) return false;
  return stored->value == Sum<unsigned char>(block_) || stored->value == Sum<signed char>(block_);
}

Dialect HeaderView::dialect() const {
  if (Field(257, 6) == "ustar\0"sv) return Field(508, 4) == "tar\0"sv ? Dialect::kStar : Dialect::kUstar;
  if (Field(257, 8) == "ustar  \0"sv) return Dialect::kGnu;
  return Dialect::kV7;
}

std::string_view HeaderView::prefix() const {
  switch (dialect()) {
    case Dialect::kUstar: return TextField(Field(345, 155));
    case Dialect::kStar: return TextField(Field(345, 131));
    case Dialect::kGnu:
    case Dialect::kV7: return {};
  }
  return {};
}

}  // namespace berth::tar
