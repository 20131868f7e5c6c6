#include "registry/warning.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "json/utf8.h"

namespace berth::registry {
namespace {

void SkipSpace(std::string_view& s) { s.remove_prefix(std::min(s.find_first_not_of(" \t"), s.size())); }

// Up to a space, not empty, without quotes or commas.
std::optional<std::string_view> Word(std::string_view& s) {
  const std::string_view word = s.substr(0, s.find_first_of(" \t\",\\"));
  s.remove_prefix(word.size());
  if (word.empty() || s.empty() || (s.front() != ' ' && s.front() != '\t')) return std::nullopt;
  SkipSpace(s);
  return word;
}

std::optional<std::string> QuotedString(std::string_view& s) {
  if (s.empty() || s.front() != '"') return std::nullopt;
  std::string text;
  for (std::size_t i = 1; i < s.size(); ++i) {
    if (s[i] == '"') {
      s.remove_prefix(i + 1);
      return text;
    }
    if (s[i] == '\\' && ++i == s.size()) break;
    text += s[i];
  }
  return std::nullopt;
}

bool IsUtf8(std::string_view s) {
  while (!s.empty()) {
    const std::size_t n = json::Utf8SequenceLength(s);
    if (n == 0) return false;
    s.remove_prefix(n);
  }
  return true;
}

}  // namespace

std::vector<std::string> ParseWarnings(const std::vector<std::string_view>& fields) {
  std::vector<std::string> texts;
  std::size_t bytes = 0;
  for (std::string_view s : fields) {
    for (bool more = true; more;) {
      SkipSpace(s);
      const auto code = Word(s);
      const auto agent = code ? Word(s) : std::nullopt;
      auto text = agent ? QuotedString(s) : std::nullopt;
      if (!text) break;
      SkipSpace(s);
      if (s.starts_with('"') && !QuotedString(s)) break;  // a date
      SkipSpace(s);
      more = s.starts_with(',');
      if (!more && !s.empty()) break;
      if (more) s.remove_prefix(1);
      if (*code != "299" || text->empty() || text->size() > kWarningBytes - bytes || !IsUtf8(*text)) continue;
      bytes += text->size();
      texts.push_back(*std::move(text));
    }
  }
  return texts;
}

}  // namespace berth::registry
