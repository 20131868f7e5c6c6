#include "yaml/scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>

namespace berth::yaml {
namespace {

using Kind = Resolved::Kind;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool SkipDigits(std::string_view& s) {
  const std::size_t n = std::min(s.find_first_not_of("0123456789"), s.size());
  s.remove_prefix(n);
  return n > 0;
}

// Digits after an optional sign; Go's base prefixes. nullopt: no integer, or beyond 64 bits.
std::optional<std::string> Integer(std::string_view s) {
  const bool negative = s.starts_with('-');
  if (negative || s.starts_with('+')) s.remove_prefix(1);
  int base = 10;
  if (s.size() > 1 && s[0] == '0') {
    const char c = s[1] | 0x20;
    base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
    s.remove_prefix(c == 'x' || c == 'b' || c == 'o' ? 2 : 1);
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value, base);
  if (s.empty() || error != std::errc() || end != s.data() + s.size()) return std::nullopt;
  if (!negative || value == 0) return std::to_string(value);
  if (value > std::uint64_t{1} << 63) return std::nullopt;
  return "-" + std::to_string(value);
}

bool LooksReal(std::string_view s) {
  if (s.starts_with('-') || s.starts_with('+')) s.remove_prefix(1);
  const bool whole = SkipDigits(s);
  if (s.starts_with('.')) {
    s.remove_prefix(1);
    if (!SkipDigits(s) && !whole) return false;
  } else if (!whole) {
    return false;
  }
  if (s.empty()) return true;
  if (s[0] != 'e' && s[0] != 'E') return false;
  s.remove_prefix(1);
  if (s.starts_with('-') || s.starts_with('+')) s.remove_prefix(1);
  return SkipDigits(s) && s.empty();
}

// As Go's encoding/json writes it: without exponent between 1e-6 and 1e21, so 1e3 becomes the integer 1000.
std::optional<std::string> Real(std::string_view s) {
  if (s.starts_with('+')) s.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (end != s.data() + s.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) {  // too large is text to kubectl, too small is 0
    const std::size_t e = s.find_first_of("eE");
    if (e == std::string_view::npos || e + 1 >= s.size() || s[e + 1] != '-') return std::nullopt;
    value = 0;
  }
  std::array<char, 64> buffer;
  const auto write = [&](std::chars_format format) {
    return std::string(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr);
  };
  const double size = std::fabs(value);
  if (size != 0 && size < 1e-6) {
    std::string text = write(std::chars_format::scientific);
    if (const std::size_t e = text.find("e-0"); e != std::string::npos) text.erase(e + 2, 1);
    return text;
  }
  if (size < 0x1p53) return write(std::chars_format::fixed);
  if (size >= 1e21) return write(std::chars_format::scientific);
  // The digits that tell it from others, then zeros.
  std::string text = write(std::chars_format::scientific);
  const std::size_t e = text.find('e');
  std::size_t exponent = 0;
  std::from_chars(text.data() + e + 2, text.data() + text.size(), exponent);
  text.resize(e);
  std::erase(text, '.');
  text.resize(exponent + (text[0] == '-' ? 2 : 1), '0');
  return text;
}

}  // namespace

Resolved Resolve(std::string_view plain) {
  if (plain.empty() || plain == "~" || plain == "null" || plain == "Null" || plain == "NULL") return {Kind::kNull};
  if (plain == "<<") return {Kind::kMerge};
  if (plain.size() <= 5) {
    for (const char* yes : {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
      if (plain == yes) return {Kind::kBool, "true"};
    for (const char* no : {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
      if (plain == no) return {Kind::kBool, "false"};
    std::string_view bare = plain;
    if (bare.starts_with('+') || bare.starts_with('-')) bare.remove_prefix(1);
    if (bare == ".inf" || bare == ".Inf" || bare == ".INF") return {Kind::kNotFinite};
    if (plain == ".nan" || plain == ".NaN" || plain == ".NAN") return {Kind::kNotFinite};
  }
  const char first = plain[0];
  if (!IsDigit(first) && first != '+' && first != '-' && first != '.') return {};
  std::string digits(plain);
  for (std::size_t i = 1; first == '.' && i + 1 < plain.size(); ++i)  // behind a leading point, underscores only between digits
    if (plain[i] == '_' && (!IsDigit(plain[i - 1]) || !IsDigit(plain[i + 1]))) return {};
  if (first != '.' || plain.back() != '_') std::erase(digits, '_');
  if (first != '.') {
    if (auto integer = Integer(digits)) return {Kind::kInteger, *std::move(integer)};
  }
  if (LooksReal(digits)) {
    if (auto real = Real(digits)) return {Kind::kReal, *std::move(real)};
  }
  return {};
}

bool IsBase60(std::string_view s) {
  if (s.starts_with('-') || s.starts_with('+')) s.remove_prefix(1);
  if (s.empty() || !IsDigit(s[0])) return false;
  s.remove_prefix(std::min(s.find_first_not_of("0123456789_"), s.size()));
  int parts = 0;
  while (s.starts_with(':')) {
    s.remove_prefix(1);
    const std::size_t n = std::min(s.find_first_not_of("0123456789"), s.size());
    if (n == 0 || n > 2 || (n == 2 && s[0] > '5')) return false;
    s.remove_prefix(n);
    ++parts;
  }
  if (parts == 0) return false;
  if (s.starts_with('.')) s.remove_prefix(std::min(s.find_first_not_of("0123456789_", 1), s.size()));
  return s.empty();
}

}  // namespace berth::yaml
