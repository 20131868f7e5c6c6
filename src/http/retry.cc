#include "http/retry.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace berth::http {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::sys_days;
using std::chrono::year_month_day;

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// Takes exactly `digits` digits (a leading space counts as zero when `padded`).
std::optional<int> Number(std::string_view& s, std::size_t digits, bool padded = false) {
  if (s.size() < digits) return {};
  int value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    const char c = padded && i == 0 && s[i] == ' ' ? '0' : s[i];
    if (c < '0' || c > '9') return {};
    value = value * 10 + (c - '0');
  }
  s.remove_prefix(digits);
  return value;
}

bool Take(std::string_view& s, std::string_view text) {
  if (!s.starts_with(text)) return false;
  s.remove_prefix(text.size());
  return true;
}

std::optional<int> Month(std::string_view& s) {
  static constexpr std::array<std::string_view, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  for (std::size_t i = 0; i < kMonths.size(); ++i)
    if (Take(s, kMonths[i])) return static_cast<int>(i) + 1;
  return {};
}

struct Clock24 { int h, m, s; };
std::optional<Clock24> TimeOfDay(std::string_view& s) {
  const auto h = Number(s, 2);
  if (!h || !Take(s, ":")) return {};
  const auto m = Number(s, 2);
  if (!m || !Take(s, ":")) return {};
  const auto sec = Number(s, 2);
  if (!sec || *h > 23 || *m > 59 || *sec > 60) return {};
  return Clock24{*h, *m, *sec};
}

}  // namespace

time::Duration RetryDelay(int attempt, time::Duration base, time::Duration cap, double random) {
  const double whole = std::min(static_cast<double>(cap.count()),
                                static_cast<double>(base.count()) * std::pow(2.0, std::clamp(attempt, 0, 62)));
  return time::Duration(static_cast<time::Duration::rep>(whole * (1.0 - 0.5 * std::clamp(random, 0.0, 1.0))));
}

std::optional<time::WallTime> ParseHttpDate(std::string_view value, time::WallTime now) {
  std::string_view s = Trim(value);
  static constexpr std::array<std::string_view, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<std::string_view, 7> kRest{"day", "day", "sday", "nesday", "rsday", "day", "urday"};
  std::size_t day_name = 0;
  while (day_name < kDays.size() && !Take(s, kDays[day_name])) ++day_name;
  if (day_name == kDays.size()) return {};
  std::optional<int> d, mon, y;
  std::optional<Clock24> t;
  if (Take(s, ", ")) {  // Sun, 06 Nov 1994 08:49:37 GMT
    if (!(d = Number(s, 2)) || !Take(s, " ") || !(mon = Month(s)) || !Take(s, " ") || !(y = Number(s, 4)) || !Take(s, " ") ||
        !(t = TimeOfDay(s)) || s != " GMT")
      return {};
  } else if (Take(s, kRest[day_name])) {  // Sunday, 06-Nov-94 08:49:37 GMT
    if (!Take(s, ", ") || !(d = Number(s, 2)) || !Take(s, "-") || !(mon = Month(s)) || !Take(s, "-") || !(y = Number(s, 2)) ||
        !Take(s, " ") || !(t = TimeOfDay(s)) || s != " GMT")
      return {};
    // RFC 9110 5.6.7: a year that seems more than 50 years ahead is the one a century before.
    const int this_year = static_cast<int>(year_month_day(std::chrono::floor<std::chrono::days>(now)).year());
    y = this_year / 100 * 100 + *y;
    if (*y > this_year + 50) y = *y - 100;
  } else {  // Sun Nov  6 08:49:37 1994
    if (!Take(s, " ") || !(mon = Month(s)) || !Take(s, " ") || !(d = Number(s, 2, true)) || !Take(s, " ") ||
        !(t = TimeOfDay(s)) || !Take(s, " ") || !(y = Number(s, 4)) || !s.empty())
      return {};
  }
  const year_month_day date{std::chrono::year(*y), std::chrono::month(static_cast<unsigned>(*mon)),
                            std::chrono::day(static_cast<unsigned>(*d))};
  // Nanoseconds since 1970 end in 2262.
  if (!date.ok() || *y < 1970 || *y > 2200) return {};
  return time::WallTime(sys_days(date)) + hours(t->h) + minutes(t->m) + seconds(t->s);
}

std::optional<time::Duration> ParseRetryAfter(std::string_view value, time::WallTime now, time::Duration cap) {
  const std::string_view s = Trim(value);
  if (!s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    std::int64_t n = 0;
    const auto r = std::from_chars(s.data(), s.data() + s.size(), n);
    if (r.ec != std::errc() || n > std::chrono::ceil<seconds>(cap).count()) return cap;
    return std::min<time::Duration>(seconds(n), cap);
  }
  const auto date = ParseHttpDate(s, now);
  if (!date) return {};
  return std::clamp<time::Duration>(*date - now, time::Duration::zero(), cap);
}

}  // namespace berth::http
