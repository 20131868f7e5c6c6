#include "apps/berth/datum.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace berth::cli {

Datum::Datum(const json::Tree& from) {
  switch (from.kind()) {
    case json::Tree::Kind::kNull: break;
    case json::Tree::Kind::kString: kind = Kind::kString, text = from.text(); break;
    case json::Tree::Kind::kArray: kind = Kind::kList, tree = &from; break;
    case json::Tree::Kind::kObject: kind = Kind::kMap, tree = &from; break;
    default: {
      const std::string spelled = from.Dump();
      if (from.kind() == json::Tree::Kind::kBool) *this = Datum(spelled == "true");
      else if (from.kind() == json::Tree::Kind::kInteger) {
        kind = Kind::kInt;
        std::from_chars(spelled.data(), spelled.data() + spelled.size(), number);
      } else {
        kind = Kind::kReal;
        std::from_chars(spelled.data(), spelled.data() + spelled.size(), real);
      }
    }
  }
}

std::string_view KindName(const Datum& datum) {
  static constexpr std::array<std::string_view, 7> kNames{"nothing", "a boolean", "a number", "a number", "a string", "a list", "a map"};
  return kNames[static_cast<std::size_t>(datum.kind)];
}

// As few digits as read back, with an exponent where it is below -4 or above 5.
std::string GoReal(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Inf" : "+Inf";
  std::array<char, 64> room{};
  const auto scientific = std::to_chars(room.data(), room.data() + room.size(), value, std::chars_format::scientific);
  const std::string text(room.data(), scientific.ptr);
  const auto e = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 6) return text;
  std::array<char, 64> fixed{};
  const auto plain = std::to_chars(fixed.data(), fixed.data() + fixed.size(), value, std::chars_format::fixed);
  return {fixed.data(), plain.ptr};
}

std::string GoText(const Datum& datum, std::string_view none) {
  switch (datum.kind) {
    case Datum::Kind::kNone: return std::string(none);
    case Datum::Kind::kBool: return datum.number != 0 ? "true" : "false";
    case Datum::Kind::kInt: return std::to_string(datum.number);
    case Datum::Kind::kReal: return GoReal(datum.real);
    case Datum::Kind::kString: return datum.text;
    case Datum::Kind::kList: case Datum::Kind::kMap: return datum.tree->Dump();
  }
  return "";
}

std::string ToJson(const Datum& datum) {
  json::Writer w;
  if (datum.is(Datum::Kind::kString)) w.String(datum.text);
  else if (datum.is(Datum::Kind::kReal)) w.Double(datum.real);
  else w.Raw(GoText(datum, "null"));
  return std::move(w).Take();
}

std::optional<int> Compare(const Datum& a, const Datum& b) {
  const auto sign = [](const auto& x, const auto& y) { return x < y ? -1 : x > y ? 1 : 0; };
  if (a.is(Datum::Kind::kInt) && b.is(Datum::Kind::kInt)) return sign(a.number, b.number);
  if (a.IsNumber() && b.IsNumber()) return sign(a.AsReal(), b.AsReal());
  if (a.kind != b.kind || a.tree != nullptr) return std::nullopt;
  return a.is(Datum::Kind::kString) ? sign(a.text, b.text) : sign(a.number, b.number);
}

std::optional<Datum> ParseNumber(std::string_view text) {
  const bool minus = text.starts_with('-');
  std::string_view digits = text.substr(minus || text.starts_with('+') ? 1 : 0);
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0') {
    const char kind = static_cast<char>(digits[1] | 0x20);
    base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
  }
  if (base != 10) digits.remove_prefix(2);
  // from_chars would take a second sign, "inf" and "nan".
  const std::string_view begins = base == 16 ? "0123456789abcdefABCDEF" : "0123456789.";
  if (digits.empty() || begins.find(digits[0]) == begins.npos) return std::nullopt;
  const char* const end = digits.data() + digits.size();
  std::int64_t whole = 0;
  const auto integer = std::from_chars(digits.data(), end, whole, base);
  if (integer.ec == std::errc() && integer.ptr == end) return Datum(minus ? -whole : whole);
  double real = 0;
  if (base != 10) return std::nullopt;
  const auto floating = std::from_chars(digits.data(), end, real);
  if (floating.ec != std::errc() || floating.ptr != end) return std::nullopt;
  return Datum(minus ? -real : real);
}

std::size_t QuotedEnd(std::string_view text, std::size_t at) {
  const char quote = text[at];
  for (std::size_t i = at + 1; i < text.size(); ++i) {
    if (quote != '`' && text[i] == '\n') break;
    if (quote != '`' && text[i] == '\\') ++i;
    else if (text[i] == quote) return i + 1;
  }
  return text.npos;
}

void AppendUtf8(std::string& out, std::uint32_t code) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
  const auto add = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return add(code);
  if (code < 0x800) {
    add(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) add(0xE0 | code >> 12);
    else add(0xF0 | code >> 18), add(0x80 | (code >> 12 & 63));
    add(0x80 | (code >> 6 & 63));
  }
  add(0x80 | (code & 63));
}

std::optional<std::string> GoUnquote(std::string_view quoted) {
  std::string_view text = quoted.substr(1, quoted.size() - 2);
  if (quoted[0] == '`') return std::string(text);
  std::string out;
  while (!text.empty()) {
    const char c = text[0];
    text.remove_prefix(1);
    if (c != '\\') {
      out += c;
      continue;
    }
    if (text.empty()) return std::nullopt;
    const char kind = text[0];
    static constexpr std::string_view kLetters = "abfnrtv\\\"'", kBytes = "\a\b\f\n\r\t\v\\\"'";
    if (const auto letter = kLetters.find(kind); letter != kLetters.npos) {
      out += kBytes[letter];
      text.remove_prefix(1);
      continue;
    }
    const bool octal = kind >= '0' && kind <= '7';
    const std::size_t length = octal ? 3 : kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0, skip = octal ? 0 : 1;
    if (length == 0 || text.size() < length + skip) return std::nullopt;
    std::uint32_t code = 0;
    const char* const end = text.data() + skip + length;
    const auto read = std::from_chars(text.data() + skip, end, code, octal ? 8 : 16);
    if (read.ec != std::errc() || read.ptr != end || (octal && code > 255)) return std::nullopt;
    if (kind == 'u' || kind == 'U') {
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return std::nullopt;
      AppendUtf8(out, code);
    } else {
      out += static_cast<char>(code);
    }
    text.remove_prefix(skip + length);
  }
  return out;
}

Error TemplateError(std::string_view form, std::string_view source, std::size_t at, const std::string& what) {
  const std::string_view before = source.substr(0, at);
  const auto line = std::ranges::count(before, '\n');
  const std::string_view here = before.substr(before.rfind('\n') + 1);  // npos + 1 is 0
  const auto column = std::ranges::count_if(here, [](char c) { return (c & 0xC0) != 0x80; }) + 1;
  return Error(Reason::kUsage, std::string(form) + (source.find('\n') == source.npos ? "" : ", line " + std::to_string(line + 1)) + ", column " +
                                   std::to_string(column) + ": " + what);
}

}  // namespace berth::cli
