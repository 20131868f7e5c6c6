// tar/pax.h: the records of one PAX extended header. Private to tar/ and its tests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "result/result.h"
#include "tar/reader.h"

namespace berth::tar {

using Segments = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // (offset, length)

struct Pax {
  std::optional<std::string> path, link;
  std::optional<std::uint64_t> size;
  std::optional<std::uint32_t> uid, gid;
  std::optional<std::pair<std::int64_t, std::uint32_t>> mtime;  // clamped seconds, nanoseconds
  std::vector<std::pair<std::string, std::string>> xattrs;

  // GNU.sparse.*: any of them makes the entry sparse.
  bool sparse = false;
  bool sparse_map_in_data = false;  // version 1.0
  std::optional<std::string> sparse_name;
  std::optional<std::uint64_t> sparse_size;
  Segments sparse_map;              // versions 0.0 and 0.1, unchecked
};

// Strictly "LENGTH key=value\n" to the last byte. A key given twice: the last one wins. An empty value takes the record
// back (POSIX), except for xattrs, whose value may be empty. Keys that say nothing about a layer are skipped.
Result<Pax> ParsePax(std::string_view body, const Limits& limits);

// Seconds as the contract of Entry wants them.
std::pair<std::int64_t, std::uint32_t> ClampTime(std::int64_t seconds, std::uint32_t nanos);

// Plain decimal digits that fit 63 bits.
std::optional<std::uint64_t> ParseDecimal(std::string_view text);

}  // namespace berth::tar
