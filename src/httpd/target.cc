#include "httpd/target.h"

#include <strings.h>

#include <algorithm>

#include "bytes/encoding.h"
#include "bytes/text.h"

namespace berth::httpd {
namespace {

std::optional<std::string> Decode(std::string_view text, bool query) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '#' || bytes::IsControl(c)) return std::nullopt;
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = bytes::HexValue(text[i + 1]), low = bytes::HexValue(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
      // A line break may stand in a parameter; nothing may end a string early.
      if (c == '\0' || (!query && (c == '/' || bytes::IsControl(c)))) return std::nullopt;
    } else if (query && c == '+') {
      c = ' ';
    }
    out += c;
  }
  return out;
}

}  // namespace

std::optional<Target> ParseTarget(std::string_view text) {
  if (!text.starts_with('/')) return std::nullopt;
  const auto mark = text.find('?');
  auto path = Decode(text.substr(0, mark), false);
  if (!path) return std::nullopt;
  for (std::size_t from = 1; from <= path->size();) {
    const auto to = std::min(path->find('/', from), path->size());
    const auto segment = std::string_view(*path).substr(from, to - from);
    if (segment == "." || segment == "..") return std::nullopt;
    from = to + 1;
  }
  Target target{std::move(*path), {}};
  for (std::string_view rest = mark == text.npos ? std::string_view() : text.substr(mark + 1); !rest.empty();) {
    const auto amp = rest.find('&');
    const std::string_view pair = rest.substr(0, amp);
    rest = amp == rest.npos ? std::string_view() : rest.substr(amp + 1);
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    auto name = Decode(pair.substr(0, equals), true);
    auto value = Decode(equals == pair.npos ? std::string_view() : pair.substr(equals + 1), true);
    if (!name || !value) return std::nullopt;
    target.query.emplace_back(std::move(*name), std::move(*value));
  }
  return target;
}

std::string_view Request::Field(std::string_view name) const {
  for (const auto& [key, value] : fields)
    if (key.size() == name.size() && ::strncasecmp(key.data(), name.data(), name.size()) == 0) return value;
  return {};
}

std::optional<std::string_view> Request::Query(std::string_view name) const {
  for (const auto& [key, value] : query)
    if (key == name) return value;
  return std::nullopt;
}

std::string_view Request::BearerToken() const {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view value = Field("Authorization");
  return value.size() > kScheme.size() && ::strncasecmp(value.data(), kScheme.data(), kScheme.size()) == 0 ? value.substr(kScheme.size())
                                                                                                            : std::string_view();
}

}  // namespace berth::httpd
