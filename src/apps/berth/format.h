// apps/berth/format.h: values as people read them, and JSON as people read it.
//
// Sizes are binary units with one decimal; text from outside is escaped before it reaches a terminal or a table.
// Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "time/clock.h"

namespace berth::cli {

std::string Size(std::uint64_t bytes);                                // "0 B", "86.9 MiB"
std::string SizePair(std::uint64_t part, std::uint64_t whole);        // " 12.1/ 28.6 MiB", always the same width below 1 PiB
std::string Rate(double bytes_per_second);                            // "38.2 MiB/s"
std::uint64_t Percent(std::uint64_t part, std::uint64_t whole);       // rounded down, at most 100; 0 of 0 is 0
std::string UnknownDisk(std::string_view path);                       // instead of a percentage, where the total is 0
std::string Took(double seconds);                                     // "41ms", "1.3s", "2m05s", "3h07m"
std::string Count(std::uint64_t n, std::string_view noun);            // "1 layer", "3 layers"
// "sha256:" and 12 hex digits of it; anything else as it is, escaped. `whole`: not cut.
std::string Digest(std::string_view digest, bool whole);
std::string ShortHex(std::string_view digest);                        // the 12 hex digits alone
// An RFC 3339 time in UTC ("2026-11-23T06:37:46.113Z"); nullopt when it is none.
std::optional<time::WallTime> ParseTime(std::string_view text);
std::string Timestamp(time::WallTime t);                              // the inverse, with milliseconds
std::string ClockTime(time::WallTime t);                              // "06:37:11", local
std::string Ago(time::WallTime then, time::WallTime now);             // "20 seconds ago", "3 days ago"
// "90", "90s", "500ms", "15m", "1h30m", "7d": nullopt when it is none of these, or longer than ten years.
std::optional<time::Duration> ParseDuration(std::string_view text);

// Control characters (C0, DEL, C1), bidirectional marks and bytes that are not UTF-8 become \xNN.
std::string Escape(std::string_view raw);
// Columns of a terminal that escaped text takes; wide characters count two.
std::size_t Columns(std::string_view text);
// At most that many columns of it.
std::string Cut(std::string_view text, std::size_t columns);

// Compact JSON (as json::Writer makes it) with two spaces of indentation and a final line break.
std::string Indent(std::string_view json);

// Left-aligned columns two spaces apart, no blanks at line ends. Cells are escaped here.
class Table {
 public:
  explicit Table(std::vector<std::string> headers) : headers_(std::move(headers)) {}
  void Row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string Text(bool headers = true) const;

 private:
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace berth::cli
