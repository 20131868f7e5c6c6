#include "yaml/writer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "yaml/scalar.h"

namespace berth::yaml {
namespace {

using json::Value;
using Kind = Value::Kind;

constexpr std::size_t kWidth = 80;       // text is folded at the first space after this column
constexpr std::size_t kSimpleKey = 128;  // bytes; longer keys take the "? key" form
constexpr int kIndent = 2;

// One character: its bytes and its code point. JSON text is well-formed UTF-8.
struct Character {
  std::string_view bytes;
  char32_t code;
};
Character At(std::string_view s, std::size_t i) {
  const auto lead = static_cast<unsigned char>(s[i]);
  const std::size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  char32_t code = size == 1 ? lead : lead & (0x7fu >> size);
  for (std::size_t k = 1; k < size; ++k) code = code << 6 | (static_cast<unsigned char>(s[i + k]) & 0x3fu);
  return {s.substr(i, size), code};
}

// What kubectl prints as it is. Beyond its rule, the three breaks of Unicode are escaped: readers disagree about them.
bool Printable(char32_t c) {
  if (c == 0x85 || c == 0x2028 || c == 0x2029) return false;
  return c == '\n' || (c >= 0x20 && c <= 0x7e) || (c >= 0xa0 && c <= 0xfffd && c != 0xfeff);
}
bool BlankAt(std::string_view s, std::size_t i) { return i >= s.size() || s[i] == ' ' || s[i] == '\t' || s[i] == '\n'; }

enum class Style { kPlain, kSingle, kDouble, kLiteral };

Style Choose(std::string_view s, bool simple_key) {
  bool indicator = s.starts_with("---") || s.starts_with("...");
  bool special = false, break_then_space = false, space_then_break = false;
  const bool breaks = s.find('\n') != std::string_view::npos;
  for (std::size_t i = 0; i < s.size();) {
    const Character c = At(s, i);
    const char byte = s[i];
    const bool blank_next = BlankAt(s, i + 1);
    if (i == 0) {
      indicator |= std::string_view("#,[]{}&*!|>'\"%@`").find(byte) != std::string_view::npos;
      indicator |= (byte == '?' || byte == ':' || byte == '-') && blank_next;
    } else {
      indicator |= byte == ':' && blank_next;
      indicator |= byte == '#' && BlankAt(s, i - 1);
      break_then_space |= byte == ' ' && s[i - 1] == '\n';
      space_then_break |= byte == '\n' && s[i - 1] == ' ';
    }
    special |= !Printable(c.code);
    i += c.bytes.size();
  }
  const bool edge = !s.empty() && (s.front() == ' ' || s.front() == '\n' || s.back() == ' ' || s.back() == '\n');
  const bool no_quotes = special || space_then_break;  // only escapes will do
  if (breaks) return no_quotes || s.back() == ' ' || simple_key ? Style::kDouble : Style::kLiteral;
  const Resolved::Kind meaning = Resolve(s).kind;
  const bool merge = meaning == Resolved::Kind::kMerge;  // only as a key does it mean more than itself
  if (IsBase60(s) || (merge ? simple_key : meaning != Resolved::Kind::kString)) return Style::kDouble;
  if (!indicator && !edge && !special) return Style::kPlain;
  return no_quotes || break_then_space ? Style::kDouble : Style::kSingle;
}

// kubectl's order: digits as numbers, letters behind everything else.
bool Before(std::string_view a, std::string_view b) {
  const auto digit = [](std::string_view s, std::size_t i) { return i < s.size() && s[i] >= '0' && s[i] <= '9'; };
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80; };
  const std::size_t common = static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  if (common == a.size() || common == b.size()) return a.size() < b.size();
  const char x = a[common], y = b[common];
  if (letter(x) && letter(y)) return static_cast<unsigned char>(x) < static_cast<unsigned char>(y);
  if (letter(x) || letter(y)) return letter(y);
  std::uint64_t start = 0;  // 1 when the numbers to compare have digits other than 0 in common
  if (x == '0' || y == '0')
    for (std::size_t j = common; j > 0 && digit(a, j - 1) && start == 0; --j) start = a[j - 1] != '0';
  std::size_t i = common, k = common;
  std::uint64_t m = start, n = start;
  while (digit(a, i)) m = m * 10 + static_cast<std::uint64_t>(a[i++] - '0');
  while (digit(b, k)) n = n * 10 + static_cast<std::uint64_t>(b[k++] - '0');
  if (m != n) return m < n;
  if (i != k) return i < k;
  return static_cast<unsigned char>(x) < static_cast<unsigned char>(y);
}

// As kubectl does it: through Go's JSON, where a real that is whole loses its exponent and comes back as an integer if 64 bits have
// room for it, then Go's shortest %g for what is none.
std::string Real(const Value& value) {
  const std::string written = value.Dump();
  const Resolved number = Resolve(Resolve(written).text);
  if (number.kind == Resolved::Kind::kInteger) return number.text;  // JSON's -0 too: YAML has one zero
  double real = 0;
  const auto [end, error] = std::from_chars(number.text.data(), number.text.data() + number.text.size(), real);
  if (number.kind != Resolved::Kind::kReal || error != std::errc()) return written;
  std::array<char, 64> buffer;
  const auto text = [&](std::chars_format format) {
    return std::string(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), real, format).ptr);
  };
  std::string scientific = text(std::chars_format::scientific);
  int exponent = 0;
  const std::size_t e = scientific.find('e');
  const std::size_t digits = e + (scientific[e + 1] == '+' ? 2 : 1);
  std::from_chars(scientific.data() + digits, scientific.data() + scientific.size(), exponent);
  return exponent < -4 || exponent >= 6 ? scientific : text(std::chars_format::fixed);
}

class Printer {
 public:
  std::string Take() && {
    if (column_ > 0) Break();
    return std::move(out_);
  }

  // `indent`: of the containers that are open around it. `in_map`: right behind "key:".
  void Node(const Value& value, int indent, bool in_map) {
    switch (value.kind()) {
      case Kind::kNull: return Word("null");
      case Kind::kBool: return Word(value.Dump());
      case Kind::kInteger: return Word(value.Dump());
      case Kind::kReal: return Word(Real(value));
      case Kind::kString: return String(*value.AsString(), indent < 0 ? kIndent : indent + kIndent, false);
      case Kind::kArray: return List(value, in_map, indent);
      case Kind::kObject: return Map(value, indent);
    }
  }

 private:
  void List(const Value& list, bool in_map, int indent) {
    if (list.size() == 0) return Word("[]");
    const int mine = indent < 0 ? 0 : in_map && !fresh_ ? indent : indent + kIndent;
    for (std::size_t i = 0; i < list.size(); ++i) {
      Indent(mine);
      Indicator("-");
      fresh_ = true;
      Node(list.at(i), mine, false);
    }
  }

  void Map(const Value& map, int indent) {
    if (map.size() == 0) return Word("{}");
    const int mine = indent < 0 ? 0 : indent + kIndent;
    auto members = map.Members();
    // Not always a strict weak order, and std::stable_sort keeps its footing with that.
    std::stable_sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return Before(a.first, b.first); });
    for (const auto& [key, value] : members) {
      Indent(mine);
      const bool simple = key.size() <= kSimpleKey && key.find('\n') == std::string_view::npos;
      if (simple) {
        String(key, mine, true);
        Put(":");
        blank_ = fresh_ = false;
      } else {
        Indicator("?");
        String(key, mine + kIndent, false);
        Indent(mine);
        Indicator(":");
        fresh_ = true;
      }
      Node(value, mine, true);
    }
  }

  void String(std::string_view s, int indent, bool simple_key) {
    const Style style = Choose(s, simple_key);
    switch (style) {
      case Style::kLiteral: return Literal(s, indent);
      case Style::kPlain: Space(); Folded(s, indent, simple_key, '\0'); break;
      case Style::kSingle: Indicator("'"); Folded(s, indent, simple_key, '\''); Put("'"); break;
      case Style::kDouble: Indicator("\""); Escaped(s, indent, simple_key); Put("\""); break;
    }
    blank_ = fresh_ = false;
  }

  // A single space becomes a new line once the line is long enough; `quote` is doubled.
  void Folded(std::string_view s, int indent, bool simple_key, char quote) {
    bool spaces = false;
    for (std::size_t i = 0; i < s.size();) {
      const Character c = At(s, i);
      if (s[i] == ' ') {
        const bool inner = quote == '\0' || (i > 0 && i + 1 < s.size());
        if (!simple_key && !spaces && column_ > kWidth && inner && i + 1 < s.size() && s[i + 1] != ' ') Indent(indent);
        else Put(" ");
        spaces = true;
      } else {
        if (quote != '\0' && s[i] == quote) Put(c.bytes);
        Put(c.bytes);
        blank_ = fresh_ = spaces = false;
      }
      i += c.bytes.size();
    }
  }

  void Escaped(std::string_view s, int indent, bool simple_key) {
    bool spaces = false;
    for (std::size_t i = 0; i < s.size();) {
      const Character c = At(s, i);
      if (!Printable(c.code) || c.code == '\n' || c.code == '"' || c.code == '\\') {
        Escape(c.code);
        spaces = false;
      } else if (c.code == ' ') {
        if (!simple_key && !spaces && column_ > kWidth && i > 0 && i + 1 < s.size()) {
          Indent(indent);
          if (s[i + 1] == ' ') Put("\\");
        } else {
          Put(" ");
        }
        spaces = true;
      } else {
        Put(c.bytes);
        blank_ = fresh_ = spaces = false;
      }
      i += c.bytes.size();
    }
  }

  void Escape(char32_t code) {
    static constexpr std::pair<char32_t, char> kShort[] = {
        {0, '0'},   {7, 'a'},   {8, 'b'},    {9, 't'},      {10, 'n'},    {11, 'v'},     {12, 'f'},
        {13, 'r'},  {27, 'e'},  {'"', '"'},  {'\\', '\\'},  {0x85, 'N'},  {0x2028, 'L'}, {0x2029, 'P'}};
    for (const auto& [c, letter] : kShort)
      if (c == code) return Put({'\\', letter});
    const int width = code <= 0xff ? 2 : code <= 0xffff ? 4 : 8;
    std::string text{'\\', width == 2 ? 'x' : width == 4 ? 'u' : 'U'};
    for (int shift = 4 * (width - 1); shift >= 0; shift -= 4) text += "0123456789ABCDEF"[code >> shift & 15];
    Put(text);
  }

  void Literal(std::string_view s, int indent) {
    Indicator("|");
    if (s.front() == ' ' || s.front() == '\n') Put(std::to_string(kIndent));
    if (s.back() != '\n') Put("-");
    else if (s.size() == 1 || s[s.size() - 2] == '\n') Put("+");
    Break();
    for (std::size_t i = 0; i < s.size();) {
      const std::size_t end = std::min(s.find('\n', i), s.size());
      if (end > i) {
        Put(std::string(static_cast<std::size_t>(indent), ' '));
        Put(s.substr(i, end - i));
      }
      blank_ = fresh_ = false;
      if (end < s.size()) Break();
      i = end + 1;
    }
  }

  void Word(std::string_view word) {
    Space();
    Put(word);
    blank_ = fresh_ = false;
  }
  void Indicator(std::string_view text) {
    Space();
    Put(text);
    blank_ = false;
  }
  void Space() {
    if (!blank_) Put(" ");
  }
  // To column `indent`: on this line when nothing but indicators is on it and there is room, else on a new one.
  void Indent(int indent) {
    const auto want = static_cast<std::size_t>(indent);
    if (!fresh_ || column_ > want || (column_ == want && !blank_)) Break();
    while (column_ < want) Put(" ");
    blank_ = fresh_ = true;
  }
  void Put(std::initializer_list<char> text) { Put(std::string_view(text.begin(), text.size())); }
  void Put(std::string_view text) {
    out_ += text;
    column_ += static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
  }
  void Break() {
    out_ += '\n';
    column_ = 0;
    blank_ = fresh_ = true;
  }

  std::string out_;
  std::size_t column_ = 0;  // characters on this line
  bool blank_ = true;       // the last one was white space, or there is none
  bool fresh_ = true;       // only indentation and indicators so far
};

}  // namespace

std::string Print(const Value& value) {
  Printer printer;
  printer.Node(value, -1, false);
  return std::move(printer).Take();
}

}  // namespace berth::yaml
