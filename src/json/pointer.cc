#include "json/pointer.h"

#include <charconv>

namespace berth::json {

std::optional<Pointer> ParsePointer(std::string_view text) {
  Pointer out;
  if (text.empty()) return out;
  if (text.front() != '/') return std::nullopt;
  std::string* part = nullptr;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '/') {
      part = &out.emplace_back();
    } else if (text[i] == '~') {
      if (++i == text.size() || (text[i] != '0' && text[i] != '1')) return std::nullopt;
      *part += text[i] == '0' ? '~' : '/';
    } else {
      *part += text[i];
    }
  }
  return out;
}

std::string PointerToken(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '~') out += "~0";
    else if (c == '/') out += "~1";
    else out += c;
  }
  return out;
}

std::optional<std::size_t> ItemIndex(const Tree& array, std::string_view text, bool end) {
  if (end && text == "-") return array.items().size();
  std::size_t n = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || stop != text.data() + text.size() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  return n < array.items().size() + (end ? 1 : 0) ? std::optional(n) : std::nullopt;
}

Tree* Walk(Tree& root, const Pointer& pointer, std::size_t depth) {
  Tree* at = &root;
  for (std::size_t i = 0; i < depth && at != nullptr; ++i) {
    if (at->IsArray()) {
      const auto index = ItemIndex(*at, pointer[i]);
      at = index ? &at->items()[*index] : nullptr;
    } else {
      at = at->Find(pointer[i]);
    }
  }
  return at;
}

}  // namespace berth::json
