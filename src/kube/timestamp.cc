#include "kube/timestamp.h"

#include <charconv>
#include <cstdio>

namespace berth::kube {
namespace {

namespace chrono = std::chrono;

// Exactly `digits` digits, then `end` (unless NUL).
std::optional<int> Number(std::string_view& text, std::size_t digits, char end) {
  int value = 0;
  if (text.size() < digits || text.substr(0, digits).find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  std::from_chars(text.data(), text.data() + digits, value);
  text.remove_prefix(digits);
  if (end == '\0') return value;
  if (!text.starts_with(end)) return std::nullopt;
  text.remove_prefix(1);
  return value;
}

}  // namespace

std::string FormatTime(time::WallTime t) {
  const auto seconds = chrono::floor<chrono::seconds>(t);
  const auto day = chrono::floor<chrono::days>(seconds);
  const chrono::year_month_day date(day);
  const chrono::hh_mm_ss clock(seconds - day);
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  return buffer;
}

std::optional<time::WallTime> ParseTime(std::string_view text) {
  const auto year = Number(text, 4, '-');
  const auto month = year ? Number(text, 2, '-') : std::nullopt;
  const auto day = month ? Number(text, 2, 'T') : std::nullopt;
  const auto hour = day ? Number(text, 2, ':') : std::nullopt;
  const auto minute = hour ? Number(text, 2, ':') : std::nullopt;
  const auto second = minute ? Number(text, 2, '\0') : std::nullopt;
  if (!second || *hour > 23 || *minute > 59 || *second > 59 || *year < 1678 || *year > 2261) return std::nullopt;
  const chrono::year_month_day date(chrono::year(*year), chrono::month(static_cast<unsigned>(*month)),
                                    chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok()) return std::nullopt;
  std::int64_t nanos = 0;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    if (digits == 0) return std::nullopt;
    for (std::size_t i = 0; i < 9; ++i) nanos = nanos * 10 + (i < digits ? text[i] - '0' : 0);
    text.remove_prefix(digits);
  }
  chrono::minutes zone{0};
  if (text != "Z") {
    const bool west = text.starts_with('-');
    if (!west && !text.starts_with('+')) return std::nullopt;
    text.remove_prefix(1);
    const auto hours = Number(text, 2, ':');
    const auto minutes = hours ? Number(text, 2, '\0') : std::nullopt;
    if (!minutes || !text.empty() || *hours > 23 || *minutes > 59) return std::nullopt;
    zone = chrono::minutes((*hours * 60 + *minutes) * (west ? -1 : 1));
  }
  return chrono::sys_days(date) + chrono::hours(*hour) + chrono::minutes(*minute) + chrono::seconds(*second) +
         chrono::nanoseconds(nanos) - zone;
}

}  // namespace berth::kube
