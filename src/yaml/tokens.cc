#include "yaml/tokens.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace berth::yaml {
namespace {

constexpr char kEnd = '\x04';  // no text has it

bool Blank(char c) { return c == ' ' || c == '\t'; }
bool Break(char c) { return c == '\n' || c == '\r'; }
bool BlankOrBreak(char c) { return Blank(c) || Break(c); }
bool OneOf(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }
bool Alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool Hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// The rules are yaml-cpp's, with its quirks (columns are bytes and begin behind '\n' only, any tag or anchor may begin a key and
// so indents): where it believes to be decides what is a token and what is text.
class Walk {
 public:
  Walk(std::string_view text, const Limits& limits) : text_(text), limits_(limits) {}

  std::optional<Excess> Run() {
    while (!excess_ && Step()) {
    }
    return excess_;
  }

 private:
  enum Kind : std::uint8_t { kNode, kEntry, kItem, kKey, kValue, kTag, kAnchor, kMarker, kKinds };
  enum class Ends : std::uint8_t { kNever, kPlain, kPlainInFlow, kSingle, kDouble };
  enum class Status : std::uint8_t { kValid, kUnknown, kInvalid };
  struct Indent {
    int column;
    enum class Of : std::uint8_t { kNone, kList, kMap } of;
    Status status = Status::kValid;
    std::uint32_t id = 0;  // grows up the stack
  };
  struct MaybeKey {
    std::size_t level, at;
    int line;
    std::uint32_t indent;  // 0 = none
  };

  // One token; false at the end, or where yaml-cpp refuses.
  bool Step() {
    ToNextToken();
    PopIndentToHere();
    if (End()) return false;
    const char c = Peek();
    const bool flow = InFlow();
    if (Column() == 0 && (c == '%' || IsMarker("---") || IsMarker("..."))) return Marker(c);
    if (c == '[' || c == '{') {
      MayBeKey();
      flows_.push_back(c);
      if (flows_.size() > limits_.depth) excess_ = {.line = line_, .depth = true};
      return Took(kNode, 1, true, false);
    }
    if (c == ']' || c == '}') {
      if (!flow) return false;
      EndEntry();
      if (flows_.back() != (c == ']' ? '[' : '{')) return false;
      flows_.pop_back();
      Eat(1);
      key_allowed_ = false;
      like_json_ = true;
      return true;
    }
    if (c == ',') {
      if (flow) EndEntry();
      return Took(kEntry, 1, true, false);
    }
    const char next = Peek(1);
    const bool apart = BlankOrBreak(next);
    if (c == '-' && (apart || next == kEnd)) {
      if (flow || !key_allowed_) return false;
      Push(Indent::Of::kList);
      return Took(kItem, 1, true, false);
    }
    if (c == '?' && apart) {
      if (!flow && !key_allowed_) return false;
      if (!flow) Push(Indent::Of::kMap);
      return Took(kKey, 1, !flow, like_json_);
    }
    if (c == ':' && (apart || (flow ? like_json_ || OneOf(next, ",]}") : next == kEnd))) {
      if (VerifyKey()) return Took(kValue, 1, false, false);
      if (!flow && !key_allowed_) return false;
      if (!flow) Push(Indent::Of::kMap);
      return Took(kValue, 1, !flow, false);
    }
    if (c == '*' || c == '&') return Name(c);
    if (c == '!') return Tag();
    if (!flow && (c == '|' || c == '>')) return BlockScalar();
    if (c == '\'' || c == '"') {
      MayBeKey();
      Eat(1);
      if (!Scalar(c == '"' ? Ends::kDouble : Ends::kSingle, 0)) return false;
      return Took(kNode, 0, false, true);
    }
    if (OneOf(c, flow ? "?,[]{}#&*!|>'\"%@`" : ",[]{}#&*!|>'\"%@`")) return false;
    if (flow ? OneOf(c, "-:") && (Blank(next) || next == kEnd) : OneOf(c, "-?:") && (apart || next == kEnd)) return false;
    const int indent = flow ? 0 : indents_.back().column + 1;  // not that of the key which this may be
    MayBeKey();
    if (!Scalar(flow ? Ends::kPlainInFlow : Ends::kPlain, indent)) return false;
    return Took(kNode, 0, on_new_line_, false);
  }

  bool Took(Kind kind, std::size_t bytes, bool key_allowed, bool like_json) {
    if (++counts_[kind] > limits_.values && !excess_) excess_ = {.line = line_};
    Eat(bytes);
    key_allowed_ = key_allowed;
    like_json_ = like_json;
    return true;
  }

  // "---", "..." or a directive. Outside of collections they are given at once, and many of them may be no value.
  bool Marker(char c) {
    PopAllIndents();
    keys_.clear();
    if (c != '%') Eat(3);
    else while (!End() && !Break(Peek())) Eat(1);
    if (InFlow()) return Took(kMarker, 0, false, false);
    key_allowed_ = like_json_ = false;
    return true;
  }

  bool Name(char c) {
    MayBeKey();
    Eat(1);
    const std::size_t start = at_;
    while (!End() && !BlankOrBreak(Peek()) && !OneOf(Peek(), "[]{},")) Eat(1);
    if (at_ == start || OneOf(Peek(), "[{")) return false;
    return Took(c == '*' ? kNode : kAnchor, 0, false, false);
  }

  std::size_t TagCharacter(std::string_view more) const {
    if (Alphanumeric(Peek()) || OneOf(Peek(), "-#;/?:@&=+$_.~*'()") || OneOf(Peek(), more)) return 1;
    return Peek() == '%' && Hex(Peek(1)) && Hex(Peek(2)) ? 3 : 0;
  }
  bool Tag() {
    MayBeKey();
    Eat(1);
    if (Peek() == '<') {
      for (Eat(1); Peek() != '>';) {
        const std::size_t n = TagCharacter(",![]");
        if (n == 0) return false;
        Eat(n);
      }
      Eat(1);
      return Took(kTag, 0, false, false);
    }
    bool handle = true;
    while (!End() && Peek() != '!') {
      handle = handle && (Alphanumeric(Peek()) || Peek() == '-');
      const std::size_t n = TagCharacter("");
      if (n == 0) break;
      Eat(n);
    }
    if (Peek() != '!') return Took(kTag, 0, false, false);
    if (!handle) return false;
    Eat(1);
    const std::size_t start = at_;
    for (std::size_t n = 0; (n = TagCharacter("")) > 0;) Eat(n);
    return at_ != start && Took(kTag, 0, false, false);
  }

  bool BlockScalar() {
    Eat(1);
    int indent = 1;
    bool detect = true;
    const auto digit = [&] { return Peek() >= '0' && Peek() <= '9'; };
    const auto sign = [&] { return OneOf(Peek(), "+-"); };
    const auto number = [&] {
      indent = Peek() - '0';
      detect = false;
      Eat(1);
      return indent > 0;
    };
    if (sign()) {
      Eat(1);
      if (digit() && !number()) return false;
    } else if (digit()) {
      if (!number()) return false;
      if (sign()) Eat(1);
    }
    while (Blank(Peek())) Eat(1);
    if (Peek() == '#')
      while (!End() && !Break(Peek())) Eat(1);
    if (!End() && !Break(Peek())) return false;
    if (indents_.back().column >= 0) indent += indents_.back().column;
    return Scalar(Ends::kNever, indent, detect) && Took(kNode, 0, true, false);
  }

  bool AtEnd(Ends ends) const {
    const char c = Peek(), next = Peek(1);
    switch (ends) {
      case Ends::kNever: return End();
      case Ends::kSingle: return c == '\'' && next != '\'';
      case Ends::kDouble: return c == '"';
      case Ends::kPlain: case Ends::kPlainInFlow: break;
    }
    const bool flow = ends == Ends::kPlainInFlow;
    if (c == ':' && (BlankOrBreak(next) || next == kEnd || (flow && OneOf(next, ",]}")))) return true;
    if (flow && OneOf(c, ",?[]{}")) return true;
    return BlankOrBreak(c) && (c == '\r' && next == '\n' ? Peek(2) : next) == '#';
  }

  // To the end of a scalar; on_new_line_: a line of less indentation ended it.
  bool Scalar(Ends ends, int indent, bool detect = false) {
    const bool plain = ends == Ends::kPlain || ends == Ends::kPlainInFlow, quoted = ends == Ends::kSingle || ends == Ends::kDouble;
    const auto marker = [&] { return Column() == 0 && (IsMarker("---") || IsMarker("...")); };
    bool found = false;
    on_new_line_ = false;
    while (!End()) {
      while (!AtEnd(ends) && !End() && !Break(Peek())) {
        if (plain && marker()) break;
        if (quoted && marker()) return false;
        found = true;
        const bool escape = Peek() == (ends == Ends::kDouble ? '\\' : ends == Ends::kSingle ? '\'' : kEnd);
        Eat(1);
        if (!escape) continue;
        if (Break(Peek())) break;
        Eat(1);
      }
      if (End()) return !quoted;
      if (plain && marker()) return true;
      if (AtEnd(ends)) {
        if (quoted) Eat(1);
        return true;
      }
      EatBreak();
      while (Peek() == ' ' && (Column() < indent || (detect && !found)) && !AtEnd(ends)) Eat(1);
      if (detect && !found) indent = std::max(indent, Column());
      while (Blank(Peek())) {
        if (Peek() == '\t' && Column() < indent && !quoted) return false;
        if (ends == Ends::kNever || AtEnd(ends)) break;
        Eat(1);
      }
      if (!Break(Peek()) && Column() < indent) {
        on_new_line_ = true;
        return true;
      }
    }
    return true;
  }

  void ToNextToken() {
    for (;;) {
      for (; Blank(Peek()); Eat(1))
        if (!InFlow() && Peek() == '\t') key_allowed_ = false;
      if (Peek() == '#')
        while (!End() && !Break(Peek())) Eat(1);
      if (!Break(Peek())) return;
      EatBreak();
      InvalidateKey();
      if (!InFlow()) key_allowed_ = true;
    }
  }

  // ---- where a block begins, and what may turn out to be a key

  std::uint32_t Push(Indent::Of of, Status status = Status::kValid) {
    const Indent& last = indents_.back();
    if (Column() < last.column) return 0;
    if (Column() == last.column && !(of == Indent::Of::kList && last.of == Indent::Of::kMap)) return 0;
    indents_.push_back({.column = Column(), .of = of, .status = status, .id = ++ids_});
    return ids_;
  }
  void Pop() {
    const bool valid = indents_.back().status == Status::kValid;
    indents_.pop_back();
    if (!valid) InvalidateKey();
  }
  void PopIndentToHere() {
    if (InFlow()) return;
    const bool item = Peek() == '-' && (BlankOrBreak(Peek(1)) || Peek(1) == kEnd);
    const auto ended = [&](const Indent& i) { return i.column > Column() || (i.column == Column() && i.of == Indent::Of::kList && !item); };
    while (ended(indents_.back())) Pop();
    while (indents_.back().status == Status::kInvalid) Pop();
  }
  void PopAllIndents() {
    while (!InFlow() && indents_.back().of != Indent::Of::kNone) Pop();
  }
  void MayBeKey() {
    if (!key_allowed_ || (!keys_.empty() && keys_.back().level == flows_.size())) return;
    const std::uint32_t indent = InFlow() ? 0 : Push(Indent::Of::kMap, Status::kUnknown);
    keys_.push_back({.level = flows_.size(), .at = at_, .line = line_, .indent = indent});
  }
  void Settle(const MaybeKey& key, Status status) {
    for (auto it = indents_.rbegin(); key.indent != 0 && it->id >= key.indent; ++it)
      if (it->id == key.indent) it->status = status;
  }
  void InvalidateKey() {
    if (keys_.empty() || keys_.back().level != flows_.size()) return;
    Settle(keys_.back(), Status::kInvalid);
    keys_.pop_back();
  }
  bool VerifyKey() {
    if (keys_.empty() || keys_.back().level != flows_.size()) return false;
    const MaybeKey key = keys_.back();
    keys_.pop_back();
    const bool is_key = key.line == line_ && at_ - key.at <= 1024;
    Settle(key, is_key ? Status::kValid : Status::kInvalid);
    return is_key;
  }
  void EndEntry() { flows_.back() == '{' ? void(VerifyKey()) : InvalidateKey(); }

  // ---- the text

  bool InFlow() const { return !flows_.empty(); }
  bool End() const { return at_ >= text_.size(); }
  char Peek(std::size_t ahead = 0) const {
    const std::size_t at = at_ + ahead;
    if (at >= text_.size()) return kEnd;
    return text_[at] == '\r' && text_.substr(at + 1, 1) != "\n" ? 'r' : text_[at];  // alone it breaks no line
  }
  int Column() const { return static_cast<int>(at_ - line_start_); }
  bool IsMarker(std::string_view three) const {
    return text_.substr(at_).starts_with(three) && (BlankOrBreak(Peek(3)) || Peek(3) == kEnd);
  }
  void Eat(std::size_t n) {
    for (; n > 0 && !End(); --n)
      if (text_[at_++] == '\n') {
        ++line_;
        line_start_ = at_;
      }
  }
  void EatBreak() { Eat(Peek() == '\r' && Peek(1) == '\n' ? 2 : 1); }

  std::string_view text_;
  const Limits& limits_;
  std::size_t at_ = 0, line_start_ = 0;
  int line_ = 1;
  bool key_allowed_ = true, like_json_ = false, on_new_line_ = false;
  std::uint32_t ids_ = 0;
  std::vector<Indent> indents_{{.column = -1, .of = Indent::Of::kNone}};
  std::vector<MaybeKey> keys_;
  std::vector<char> flows_;
  std::array<std::size_t, kKinds> counts_{};
  std::optional<Excess> excess_;
};

}  // namespace

std::optional<Excess> CountTokens(std::string_view text, const Limits& limits) { return Walk(text, limits).Run(); }

}  // namespace berth::yaml
