#include "apps/berth/format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>

#include "json/utf8.h"

namespace berth::cli {
namespace {

constexpr std::array<std::string_view, 7> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

// The unit in which `bytes` has at most three digits before the point, and its size.
std::size_t UnitOf(std::uint64_t bytes, double& size) {
  std::size_t unit = 0;
  for (size = 1; unit + 1 < kUnits.size() && static_cast<double>(bytes) / size >= 999.95; size *= 1024) ++unit;
  return unit;
}

template <class... Args>
std::string Format(const char* format, Args... args) {
  std::array<char, 96> buffer;
  const int n = std::snprintf(buffer.data(), buffer.size(), format, args...);
  return {buffer.data(), static_cast<std::size_t>(std::clamp(n, 0, static_cast<int>(buffer.size()) - 1))};
}

// One character at the start of `s`: its bytes, whether it may be shown, the columns it takes.
struct Character { std::size_t bytes; bool shown; std::size_t columns; };
Character First(std::string_view s) {
  const std::size_t n = json::Utf8SequenceLength(s);
  const auto c = static_cast<unsigned char>(s[0]);
  if (n <= 1) return {1, n == 1 && c >= 0x20 && c != 0x7F, 1};
  std::uint32_t code = c & (0x7Fu >> n);
  for (std::size_t i = 1; i < n; ++i) code = code << 6 | (static_cast<unsigned char>(s[i]) & 0x3Fu);
  const bool steers = code < 0xA0 || (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
                      (code >= 0x2060 && code <= 0x206F) || code == 0xFEFF;
  const bool wide = (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xD7A3) ||
                    (code >= 0xF900 && code <= 0xFAFF) || (code >= 0xFE30 && code <= 0xFF60) || code >= 0x1F300;
  return {n, !steers, wide ? 2u : 1u};
}

}  // namespace

std::string Size(std::uint64_t bytes) {
  double size;
  const std::size_t unit = UnitOf(bytes, size);
  if (unit == 0) return std::to_string(bytes) + " B";
  return Format("%.1f %s", static_cast<double>(bytes) / size, kUnits[unit].data());
}

std::string SizePair(std::uint64_t part, std::uint64_t whole) {
  double size;
  const std::size_t unit = UnitOf(std::max(part, whole), size);
  const char* format = unit == 0 ? "%5.0f/%5.0f %-3s" : "%5.1f/%5.1f %-3s";
  return Format(format, static_cast<double>(part) / size, static_cast<double>(whole) / size, kUnits[unit].data());
}

std::string Rate(double bytes_per_second) {
  return Size(static_cast<std::uint64_t>(std::clamp(bytes_per_second, 0.0, 1e18))) + "/s";
}

std::uint64_t Percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<std::uint64_t>(std::min(1.0, static_cast<double>(part) / static_cast<double>(whole)) * 100);
}

std::string UnknownDisk(std::string_view path) { return "the file system at " + std::string(path) + " does not say how large it is"; }

std::string Took(double seconds) {
  if (seconds < 0.9995) return Format("%.0fms", std::max(0.0, seconds) * 1000);
  if (seconds < 59.95) {
    std::string text = Format("%.1f", seconds);
    if (text.ends_with(".0")) text.resize(text.size() - 2);
    return text + "s";
  }
  const auto s = static_cast<unsigned long long>(std::min(seconds, 1e12) + 0.5);
  if (s < 3600) return Format("%llum%02llus", s / 60, s % 60);
  return Format("%lluh%02llum", s / 3600, s / 60 % 60);
}

std::string Count(std::uint64_t n, std::string_view noun) {
  return std::to_string(n) + " " + std::string(noun) + (n == 1 ? "" : "s");
}

std::string ShortHex(std::string_view digest) {
  const auto colon = digest.find(':');
  return Escape(digest.substr(colon == std::string_view::npos ? 0 : colon + 1).substr(0, 12));
}

std::string Digest(std::string_view digest, bool whole) {
  const auto colon = digest.find(':');
  if (whole || colon == std::string_view::npos) return Escape(digest);
  return Escape(digest.substr(0, colon + 1)) + ShortHex(digest);
}

std::optional<time::WallTime> ParseTime(std::string_view text) {
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
  if (text.size() < kShape.size() + 1 || text.back() != 'Z') return std::nullopt;
  for (std::size_t i = 0; i < kShape.size(); ++i)
    if (kShape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != kShape[i]) return std::nullopt;
  const auto number = [&](std::size_t at, std::size_t n) {
    int value = 0;
    std::from_chars(text.data() + at, text.data() + at + n, value);
    return value;
  };
  std::tm tm{};
  tm.tm_year = number(0, 4) - 1900, tm.tm_mon = number(5, 2) - 1, tm.tm_mday = number(8, 2);
  tm.tm_hour = number(11, 2), tm.tm_min = number(14, 2), tm.tm_sec = number(17, 2);
  if (tm.tm_year < 70 || tm.tm_year > 300 || tm.tm_mon > 11 || tm.tm_mday > 31 || tm.tm_hour > 23) return std::nullopt;
  time::WallTime t{std::chrono::seconds(timegm(&tm))};
  std::string_view fraction = text.substr(kShape.size(), text.size() - kShape.size() - 1);
  if (fraction.empty()) return t;
  if (fraction[0] != '.' || fraction.size() > 10) return std::nullopt;
  std::int64_t nanos = 0, unit = 100'000'000;
  for (const char c : fraction.substr(1)) {
    if (c < '0' || c > '9') return std::nullopt;
    nanos += (c - '0') * unit, unit /= 10;
  }
  return t + std::chrono::nanoseconds(nanos);
}

std::string Timestamp(time::WallTime t) {
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(t.time_since_epoch()).count();
  const std::time_t seconds = ms / 1000;
  std::tm tm{};
  gmtime_r(&seconds, &tm);
  return Format("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                tm.tm_sec, static_cast<int>(ms % 1000));
}

std::string ClockTime(time::WallTime t) {
  const std::time_t seconds = std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()).count();
  std::tm tm{};
  localtime_r(&seconds, &tm);
  return Format("%02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
}

std::string Ago(time::WallTime then, time::WallTime now) {
  const auto s = static_cast<std::uint64_t>(std::max<std::int64_t>(0, std::chrono::floor<std::chrono::seconds>(now - then).count()));
  if (s < 90) return Count(s, "second") + " ago";
  if (s < 90 * 60) return Count(s / 60, "minute") + " ago";
  if (s < 36 * 3600) return Count(s / 3600, "hour") + " ago";
  return Count(s / 86400, "day") + " ago";
}

std::optional<time::Duration> ParseDuration(std::string_view text) {
  constexpr std::int64_t kSecond = 1000, kMost = 10LL * 366 * 86400 * kSecond;
  std::int64_t total = 0, last_unit = INT64_MAX;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    std::int64_t n = 0;
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (bad != std::errc{} || text[0] == '-' || n > kMost) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    std::int64_t unit = kSecond;
    if (!text.empty()) {
      const bool millis = text.starts_with("ms");
      switch (text[0]) {
        case 's': break;
        case 'm': unit = millis ? 1 : 60 * kSecond; break;
        case 'h': unit = 3600 * kSecond; break;
        case 'd': unit = 86400 * kSecond; break;
        default: return std::nullopt;
      }
      text.remove_prefix(millis ? 2 : 1);
    } else if (last_unit != INT64_MAX) {
      return std::nullopt;  // "1h30": thirty what?
    }
    if (unit >= last_unit || n > kMost / unit || (total += n * unit) > kMost) return std::nullopt;
    last_unit = unit;
  }
  return std::chrono::milliseconds(total);
}

std::string Escape(std::string_view raw) {
  std::string out;
  out.reserve(raw.size());
  while (!raw.empty()) {
    const Character c = First(raw);
    for (std::size_t i = 0; i < c.bytes; ++i)
      if (c.shown) out += raw[i];
      else out += Format("\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(raw[i])));
    raw.remove_prefix(c.bytes);
  }
  return out;
}

std::size_t Columns(std::string_view text) {
  std::size_t columns = 0;
  while (!text.empty()) {
    const Character c = First(text);
    columns += c.columns;
    text.remove_prefix(c.bytes);
  }
  return columns;
}

std::string Cut(std::string_view text, std::size_t columns) {
  std::size_t end = 0;
  while (end < text.size()) {
    const Character c = First(text.substr(end));
    if (c.columns > columns) break;
    columns -= c.columns;
    end += c.bytes;
  }
  return std::string(text.substr(0, end));
}

std::string Indent(std::string_view json) {
  std::string out;
  std::size_t depth = 0;
  bool in_string = false;
  const auto line = [&] { out += '\n'; out.append(2 * depth, ' '); };
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      out += c;
      if (c == '\\') out += json[++i];
      else in_string = c != '"';
      continue;
    }
    switch (c) {
      case '{': case '[':
        out += c;
        if (json[i + 1] == '}' || json[i + 1] == ']') out += json[++i];
        else ++depth, line();
        break;
      case '}': case ']': --depth; line(); out += c; break;
      case ',': out += c; line(); break;
      case ':': out += ": "; break;
      default: in_string = c == '"'; out += c;
    }
  }
  return out += '\n';
}

std::string Table::Text(bool headers) const {
  std::vector<std::vector<std::string>> lines;
  if (headers) lines.push_back(headers_);
  for (const auto& row : rows_) {
    auto& cells = lines.emplace_back();
    for (const auto& cell : row) cells.push_back(Escape(cell));
  }
  std::vector<std::size_t> widths(headers_.size());
  for (const auto& line : lines)
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], Columns(line[i]));
  std::string out;
  for (const auto& line : lines) {
    std::size_t pending = 0;  // blanks owed before the next cell that has text
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (!line[i].empty()) out.append(pending, ' '), pending = 0, out += line[i];
      pending += widths[i] - Columns(line[i]) + 2;
    }
    out += '\n';
  }
  return out;
}

}  // namespace berth::cli
