#include "bytes/text.h"

#include <algorithm>

namespace berth::bytes {

std::string_view Utf8Prefix(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0) == 0x80) --most;
  return text.substr(0, most);
}

std::string Ellipsized(std::string text, std::size_t most) {
  if (text.size() <= most) return text;
  text.resize(Utf8Prefix(text, most - 3).size());
  return text += "...";
}

bool HasControls(std::string_view text) { return std::ranges::any_of(text, IsControl); }

}  // namespace berth::bytes
