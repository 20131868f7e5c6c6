#include "kube/quantity.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <string>

namespace berth::kube {
namespace {

struct Parts {
  std::string number;          // decimal digits with an optional sign and point
  int tens = 0;                // times 10^tens
  int twos = 0;                // times 2^twos
};

std::optional<Parts> Split(std::string_view text) {
  Parts out;
  std::size_t i = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  const std::size_t start = i;
  int digits = 0, points = 0;
  for (; i < text.size() && ((text[i] >= '0' && text[i] <= '9') || text[i] == '.'); ++i) (text[i] == '.' ? points : digits)++;
  if (digits == 0 || points > 1) return std::nullopt;
  out.number = (text[0] == '-' ? "-" : "") + std::string(text.substr(start, i - start));
  const std::string_view suffix = text.substr(i);
  struct Suffix {
    std::string_view text;
    int tens, twos;
  };
  static constexpr Suffix kSuffixes[] = {
      {"", 0, 0},   {"n", -9, 0}, {"u", -6, 0},  {"m", -3, 0},  {"k", 3, 0},   {"M", 6, 0},   {"G", 9, 0},   {"T", 12, 0},
      {"P", 15, 0}, {"E", 18, 0}, {"Ki", 0, 10}, {"Mi", 0, 20}, {"Gi", 0, 30}, {"Ti", 0, 40}, {"Pi", 0, 50}, {"Ei", 0, 60}};
  for (const Suffix& s : kSuffixes)
    if (s.text == suffix) {
      out.tens = s.tens;
      out.twos = s.twos;
      return out;
    }
  if (suffix[0] != 'e' && suffix[0] != 'E') return std::nullopt;
  std::string_view exponent = suffix.substr(1);
  if (exponent.starts_with('+')) exponent.remove_prefix(1);
  const auto [end, error] = std::from_chars(exponent.data(), exponent.data() + exponent.size(), out.tens);
  if (exponent.empty() || error != std::errc() || end != exponent.data() + exponent.size()) return std::nullopt;
  return out;
}

std::optional<std::int64_t> Scaled(std::string_view text, int tens) {
  const auto parts = Split(text);
  if (!parts) return std::nullopt;
  // 64 bits of mantissa: exact for every value that fits the result, but for fractions nobody can tell apart.
  long double value = std::strtold(parts->number.c_str(), nullptr);
  value = std::ldexp(value, parts->twos);
  const int power = parts->tens + tens;
  value = power >= 0 ? value * std::pow(10.0L, power) : value / std::pow(10.0L, -power);
  value = value < 0 ? std::floor(value) : std::ceil(value);
  using Limits = std::numeric_limits<std::int64_t>;
  if (value >= static_cast<long double>(Limits::max())) return Limits::max();
  if (value <= static_cast<long double>(Limits::min())) return Limits::min();
  return static_cast<std::int64_t>(value);
}

}  // namespace

bool IsQuantity(std::string_view text) { return Split(text).has_value(); }
std::optional<std::int64_t> Milli(std::string_view text) { return Scaled(text, 3); }
std::optional<std::int64_t> Whole(std::string_view text) { return Scaled(text, 0); }

}  // namespace berth::kube
