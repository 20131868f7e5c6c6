// tar/header.h: one 512-byte header block, read field by field. Private to tar/ and its tests.
//
// Field layout: POSIX ustar (IEEE Std 1003.1, pax), the GNU manual (oldgnu_header, base-256 numbers), star(5).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace berth::tar {

inline constexpr std::size_t kBlockBytes = 512;

enum class Dialect : std::uint8_t { kV7, kUstar, kGnu, kStar };

// A number of a header field. Base-256 may exceed 64 bits or be negative: saturated, and told apart by `exact`.
struct Numeric {
  std::int64_t value = 0;
  bool exact = true;   // false: saturated at the end of the range
  bool blank = false;  // nothing but blanks and NULs
};

// Leading blanks and NULs, octal digits, then a blank, a NUL or the end of the field; or base-256 with the top bit of
// the first byte set (two's complement). nullopt for anything else.
std::optional<Numeric> ParseNumeric(std::string_view field);

// Bytes up to the first NUL.
std::string_view TextField(std::string_view field);

class HeaderView {
 public:
  // `block` has kBlockBytes and outlives the view.
  explicit HeaderView(const char* block) : block_(block) {}

  bool IsZero() const;
  // The stored sum equals the sum of unsigned bytes, or that of signed bytes as some old systems wrote it.
  bool ChecksumMatches() const;
  Dialect dialect() const;

  std::string_view Field(std::size_t offset, std::size_t size) const { return {block_ + offset, size}; }
  std::string_view name() const { return TextField(Field(0, 100)); }
  std::string_view link() const { return TextField(Field(157, 100)); }
  std::string_view mode() const { return Field(100, 8); }
  std::string_view uid() const { return Field(108, 8); }
  std::string_view gid() const { return Field(116, 8); }
  std::string_view size() const { return Field(124, 12); }
  std::string_view mtime() const { return Field(136, 12); }
  char type() const { return block_[156]; }
  std::string_view dev_major() const { return Field(329, 8); }
  std::string_view dev_minor() const { return Field(337, 8); }
  // The directory part of the name; empty where the dialect has none. GNU keeps times and sparse maps there.
  std::string_view prefix() const;

 private:
  const char* block_;
};

}  // namespace berth::tar
