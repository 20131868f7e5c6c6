#include "time/go_duration.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

namespace berth::time {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kLimit = std::uint64_t{1} << 63;  // the magnitude of the most negative duration

constexpr std::pair<std::string_view, std::uint64_t> kUnits[] = {
    {"ns", 1}, {"us", 1'000}, {"\u00b5s", 1'000}, {"\u03bcs", 1'000}, {"ms", 1'000'000}, {"s", kSecond}, {"m", 60 * kSecond}, {"h", 3'600 * kSecond}};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// `value` in units of 10^digits, without zeros at the end of the fraction.
std::string Decimal(std::uint64_t value, std::size_t digits) {
  std::string whole = std::to_string(value);
  if (whole.size() <= digits) whole.insert(0, digits + 1 - whole.size(), '0');
  std::string fraction = whole.substr(whole.size() - digits);
  whole.resize(whole.size() - digits);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return fraction.empty() ? whole : whole + "." + fraction;
}

// Digits at the front of `s`; nothing when they are more than kLimit.
std::optional<std::uint64_t> TakeInteger(std::string_view& s) {
  std::uint64_t x = 0;
  for (; !s.empty() && IsDigit(s[0]); s.remove_prefix(1)) {
    if (x > kLimit / 10) return std::nullopt;
    x = x * 10 + static_cast<std::uint64_t>(s[0] - '0');
    if (x > kLimit) return std::nullopt;
  }
  return x;
}

// Digits of a fraction: the value is `x / scale`. Those that do not fit any more change nothing.
std::pair<std::uint64_t, double> TakeFraction(std::string_view& s) {
  std::uint64_t x = 0;
  double scale = 1;
  for (bool full = false; !s.empty() && IsDigit(s[0]); s.remove_prefix(1)) {
    if (full) continue;
    const std::uint64_t next = x * 10 + static_cast<std::uint64_t>(s[0] - '0');
    full = x > (kLimit - 1) / 10 || next > kLimit;
    if (full) continue;
    x = next;
    scale *= 10;
  }
  return {x, scale};
}

}  // namespace

std::string FormatGoDuration(Duration d) {
  const bool negative = d.count() < 0;
  const std::uint64_t u = negative ? 0 - static_cast<std::uint64_t>(d.count()) : static_cast<std::uint64_t>(d.count());
  std::string out = negative ? "-" : "";
  if (u == 0) return "0s";
  if (u < 1'000) return out + std::to_string(u) + "ns";
  if (u < 1'000'000) return out + Decimal(u, 3) + "\u00b5s";
  if (u < kSecond) return out + Decimal(u, 6) + "ms";
  const std::uint64_t minutes = u / (60 * kSecond), hours = minutes / 60;
  if (hours > 0) out += std::to_string(hours) + "h";
  if (minutes > 0) out += std::to_string(minutes % 60) + "m";
  return out + Decimal(u % (60 * kSecond), 9) + "s";
}

std::optional<Duration> ParseGoDuration(std::string_view s) {
  const bool negative = s.starts_with('-');
  if (negative || s.starts_with('+')) s.remove_prefix(1);
  if (s == "0") return Duration::zero();
  if (s.empty()) return std::nullopt;
  std::uint64_t total = 0;
  while (!s.empty()) {
    const std::size_t before = s.size();
    const auto whole = TakeInteger(s);
    if (!whole) return std::nullopt;
    bool digits = s.size() != before;
    std::pair<std::uint64_t, double> fraction{0, 1};
    if (s.starts_with('.')) {
      s.remove_prefix(1);
      const std::size_t at = s.size();
      fraction = TakeFraction(s);
      digits |= s.size() != at;
    }
    const std::string_view unit = s.substr(0, s.find_first_of(".0123456789"));
    const auto* found = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const auto& u) { return u.first == unit; });
    if (!digits || found == std::end(kUnits) || *whole > kLimit / found->second) return std::nullopt;
    s.remove_prefix(unit.size());
    std::uint64_t part = *whole * found->second;
    if (fraction.first > 0)
      part += static_cast<std::uint64_t>(static_cast<double>(fraction.first) * (static_cast<double>(found->second) / fraction.second));
    if (part > kLimit - total) return std::nullopt;
    total += part;
  }
  if (negative) return Duration(static_cast<std::int64_t>(0 - total));
  if (total > kLimit - 1) return std::nullopt;
  return Duration(static_cast<std::int64_t>(total));
}

}  // namespace berth::time
