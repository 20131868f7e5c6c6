#include "cloud/tokens.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "bytes/encoding.h"
#include "http/url.h"

namespace berth::cloud {
namespace {

// A year: longer lives are mistakes of the other side.
constexpr std::int64_t kLongestLife = 366LL * 24 * 3600;

}  // namespace

std::optional<time::WallTime> JwtExpiry(std::string_view token) {
  const auto first = token.find('.');
  const auto second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos) return {};
  std::string claims(token.substr(first + 1, second - first - 1));
  std::replace(claims.begin(), claims.end(), '-', '+');
  std::replace(claims.begin(), claims.end(), '_', '/');
  const auto decoded = bytes::FromBase64(claims, bytes::Padding::kOptional);
  if (!decoded) return {};
  const auto document = json::Document::Parse(*decoded, Reason::kTokenError, {.bytes = 64u << 10});
  if (!document) return {};
  const auto exp = document->root().Find("exp");
  if (!exp) return {};
  const auto seconds = exp->AsDouble();
  if (!seconds || !(*seconds >= 0 && *seconds < 1e10)) return {};
  return time::FromUnix(static_cast<std::int64_t>(*seconds));
}

std::optional<time::WallTime> ParseTimestamp(std::string_view text) {
  // 0123456789012345678
  // 2026-11-25T14:00:00
  const auto number = [&](std::size_t at, std::size_t digits) -> int {
    int value = 0;
    for (std::size_t i = at; i < at + digits; ++i) {
      if (text[i] < '0' || text[i] > '9') return -1;
      value = value * 10 + (text[i] - '0');
    }
    return value;
  };
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':') return {};
  std::string_view rest = text.substr(19);
  if (rest[0] == '.') {
    rest.remove_prefix(1);
    const auto digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    if (digits == 0) return {};
    rest.remove_prefix(digits);
  }
  if (rest != "Z" && rest != "+00:00") return {};
  const int year = number(0, 4), month = number(5, 2), day = number(8, 2), h = number(11, 2), m = number(14, 2), s = number(17, 2);
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (year < 1970 || year > 2200 || month < 1 || day < 1 || !date.ok() || h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 60) return {};
  return time::WallTime(std::chrono::sys_days(date)) + std::chrono::hours(h) + std::chrono::minutes(m) + std::chrono::seconds(s);
}

secret::Secret Form(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  std::string out;
  std::size_t size = 0;
  for (const auto& [key, value] : fields) size += key.size() + 3 * value.size() + 2;
  out.reserve(size);  // no copies left behind by growing
  for (const auto& [key, value] : fields) {
    std::string encoded = http::PercentEncode(value);
    out.append(out.empty() ? "" : "&").append(key).append("=").append(encoded);
    secret::Secret::Wipe(encoded);
  }
  return secret::Secret::Take(out);
}

Result<json::Document> ParseAnswer(std::string_view text) {
  return json::Document::Parse(text, Reason::kTokenError, {.bytes = 1u << 20, .depth = 8, .values = 10'000});
}

Result<secret::Secret> SecretField(const json::Value& object, std::string_view key) {
  ASSIGN_OR_RETURN(const json::Value value, object.Get(key));
  ASSIGN_OR_RETURN(const std::string_view text, value.AsString());
  if (text.empty() || !IsVisible(text)) return Error(Reason::kTokenError, value.path() + " is empty or holds blanks or control characters");
  return secret::Secret(text);
}

std::optional<time::WallTime> ExpiresIn(const json::Value& object, time::WallTime now) {
  const auto value = object.Find("expires_in");
  if (!value) return {};
  std::int64_t seconds = -1;
  if (const auto text = value->AsString()) {
    const auto [end, bad] = std::from_chars(text->data(), text->data() + text->size(), seconds);
    if (bad != std::errc() || end != text->data() + text->size()) return {};
  } else if (const auto number = value->AsDouble()) {
    if (!(*number >= 0 && *number <= kLongestLife)) return {};
    seconds = static_cast<std::int64_t>(*number);
  }
  if (seconds < 0 || seconds > kLongestLife) return {};
  return now + std::chrono::seconds(seconds);
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const auto first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos ? std::string_view() : text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

bool IsVisible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; });
}

}  // namespace berth::cloud
