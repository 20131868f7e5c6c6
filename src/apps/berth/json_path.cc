#include "apps/berth/json_path.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

namespace berth::cli {
namespace {

constexpr std::string_view kForm = "jsonpath";

struct Condition;
struct Step {
  enum class Kind : std::uint8_t { kRoot, kField, kWildcard, kDescend, kIndex, kSlice, kUnion, kFilter } kind;
  std::size_t at = 0;
  std::string name;                                        // kField
  std::optional<std::int64_t> from, to, step;              // kIndex: from
  std::vector<std::vector<Step>> paths;                    // kUnion
  std::vector<std::vector<Condition>> any;                 // kFilter: one of them, of which all
  bool lenient = false;                                    // behind "..": what does not fit is passed over
};
using Path = std::vector<Step>;
struct Operand {
  Path path;
  std::optional<Datum> literal;
};
struct Condition {
  std::size_t at = 0;
  Operand left, right;
  std::string op;  // "": there is something
};

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

struct JsonPath::Node {
  enum class Kind : std::uint8_t { kText, kPath, kRange } kind = Kind::kText;
  std::string text;
  Path path;
  std::vector<Node> body;
};

namespace {

using Node = JsonPath::Node;

class Parser {
 public:
  explicit Parser(std::string_view source) : source_(source) {}

  Result<std::vector<Node>> Run() {
    std::vector<Node> nodes;
    RETURN_IF_ERROR(Body(nodes, std::nullopt, 0));
    return nodes;
  }

 private:
  // Until the end, or {end} of the range that began at `range`.
  Result<> Body(std::vector<Node>& nodes, std::optional<std::size_t> range, std::size_t depth) {
    if (depth > kTemplateDepth) return Wrong(*range, "loops nest too deep", "use fewer than 100 of them");
    while (at_ < source_.size()) {
      const std::size_t brace = std::min(source_.find('{', at_), source_.size());
      if (brace > at_) nodes.push_back({.kind = Node::Kind::kText, .text = std::string(source_.substr(at_, brace - at_))});
      at_ = brace;
      if (at_ == source_.size()) break;
      open_ = at_++;
      Skip();
      const std::size_t begin = at_;
      const std::string_view word = Word();
      if (word == "end") {
        RETURN_IF_ERROR(Close());
        if (!range) return Wrong(begin, "{end} without a {range …} before it", "take it away, or begin with {range .list[*]}");
        return {};
      }
      Node node{.kind = word == "range" ? Node::Kind::kRange : Node::Kind::kPath};
      if (word == "true" || word == "false") {
        node = {.kind = Node::Kind::kText, .text = std::string(word)};
      } else if (!word.empty() && word != "range") {
        return Wrong(begin, "there is no word " + Quoted(word) + " here", "fields begin with a dot: {." + std::string(word.substr(0, 40)) + "}; text stands outside the braces");
      } else if (word.empty() && (Peek() == '"' || Peek() == '\'')) {
        node.kind = Node::Kind::kText;
        ASSIGN_OR_RETURN(node.text, Text());
      } else if (word.empty() && (IsDigit(Peek()) || Peek() == '-' || Peek() == '+')) {
        ASSIGN_OR_RETURN(const Datum number, Number());
        node = {.kind = Node::Kind::kText, .text = GoText(number, "")};
      } else {
        ASSIGN_OR_RETURN(node.path, ReadPath(false, depth));
      }
      RETURN_IF_ERROR(Close());
      if (node.kind == Node::Kind::kRange) RETURN_IF_ERROR(Body(node.body, begin, depth + 1));
      nodes.push_back(std::move(node));
    }
    if (range) return Wrong(*range, "{range …} without its {end}", "add {end} where the loop ends");
    return {};
  }

  Result<> Close() {
    Skip();
    if (Peek() == '}') return ++at_, Result<>();
    if (at_ >= source_.size()) return Wrong(open_, "this { is never closed", "add } at the end; a brace as text is {\"{\"}");
    if (Peek() == '"' || Peek() == '\'') return Wrong(at_, "a quoted text stands alone in its braces", "{.name}{\"\\n\"}");
    return Wrong(at_, Quoted(source_.substr(at_, 1)) + " is not expected here", "an expression is {.field.field[…]}, {range …}, {end} or {\"text\"}");
  }

  // A chain of steps, as far as it goes. In a filter the operators end a field's name, and blanks end the path.
  Result<Path> ReadPath(bool filter, std::size_t depth) {
    Path path;
    for (bool first = true; at_ < source_.size(); first = false) {
      if (!filter) Skip();
      const std::size_t begin = at_;
      const char c = Peek();
      const bool behind_descent = !path.empty() && path.back().kind == Step::Kind::kDescend;
      if (c == '@' && first) {
        ++at_;
      } else if (c == '$' && first) {
        ++at_;
        path.push_back({.kind = Step::Kind::kRoot, .at = begin});
      } else if (source_.substr(at_).starts_with("..")) {
        if (behind_descent) return Wrong(begin, "one \"..\" follows another", "write {..name}");
        at_ += 2;
        path.push_back({.kind = Step::Kind::kDescend, .at = begin});
        if (IsLetter(Peek()) || Peek() == '*' || Peek() == '\\') PushField(path, begin, filter);
      } else if (c == '.') {
        ++at_;
        PushField(path, begin, filter);
      } else if (c == '[') {
        ASSIGN_OR_RETURN(Step step, Bracket(depth + 1));
        step.lenient = std::ranges::any_of(path, [](const Step& one) { return one.kind == Step::Kind::kDescend; });
        path.push_back(std::move(step));
      } else if (IsLetter(c) && !path.empty() && !filter) {
        PushField(path, begin, filter);  // {.list[1]name}
      } else {
        break;
      }
    }
    return path;
  }

  // "." alone is where we stand.
  void PushField(Path& path, std::size_t begin, bool filter) {
    std::string name;
    while (at_ < source_.size()) {
      const char c = source_[at_];
      if (c == '\\' && at_ + 1 < source_.size()) {
        name += source_[at_ + 1];
        at_ += 2;
        continue;
      }
      if (IsSpace(c) || std::string_view(".,[]$@{}").find(c) != std::string_view::npos) break;
      if (filter && std::string_view("!<>=)&|").find(c) != std::string_view::npos) break;
      name += c;
      ++at_;
    }
    if (name == "*" && source_[at_ - 1] == '*' && source_[at_ - 2] != '\\') path.push_back({.kind = Step::Kind::kWildcard, .at = begin});
    else if (!name.empty()) path.push_back({.kind = Step::Kind::kField, .at = begin, .name = std::move(name)});
  }

  Result<Step> Bracket(std::size_t depth) {
    const std::size_t begin = at_++;
    if (depth > kTemplateDepth) return Wrong(begin, "brackets nest too deep", "use fewer than 100 of them");
    if (source_.substr(at_).starts_with("?(")) {
      at_ += 2;
      Step step{.kind = Step::Kind::kFilter, .at = begin};
      ASSIGN_OR_RETURN(step.any, Filter(depth));
      if (Peek() != ')') return Wrong(at_, "the filter is not closed here", "a filter is [?(@.field==\"text\")]");
      ++at_;
      if (Peek() != ']') return Wrong(at_, "the filter's ] is wanted here", "a filter is [?(@.field==\"text\")]");
      ++at_;
      return step;
    }
    Step all{.kind = Step::Kind::kUnion, .at = begin};
    for (;;) {
      Skip();
      Path path;
      if (Peek() == '"' || Peek() == '\'') {
        // A path without its dot, as kubectl reads it: 'metadata.name'; a dot of the name itself is \.
        const std::size_t end = QuotedEnd(source_, at_);
        if (end == source_.npos) return Wrong(at_, "the quoted name does not end", "close it with the same quote");
        Parser inner(source_.substr(0, end - 1));
        inner.at_ = at_ + 1;
        inner.PushField(path, at_, false);
        ASSIGN_OR_RETURN(Path rest, inner.ReadPath(false, depth));
        if (inner.at_ != end - 1) return Wrong(inner.at_, "this name cannot be read", "write \\ before a dot or bracket that is part of a name");
        for (Step& step : rest) path.push_back(std::move(step));
        at_ = end;
      } else {
        ASSIGN_OR_RETURN(Step step, IndexOrSlice(begin));
        path.push_back(std::move(step));
      }
      all.paths.push_back(std::move(path));
      Skip();
      if (Peek() == ',') {
        ++at_;
        continue;
      }
      if (Peek() != ']') return Wrong(at_, at_ < source_.size() ? "a ] is wanted here" : "this [ is never closed", kBracketHelp);
      ++at_;
      if (all.paths.size() == 1 && all.paths[0].size() == 1) return std::move(all.paths[0][0]);
      return all;
    }
  }

  Result<Step> IndexOrSlice(std::size_t begin) {
    if (Peek() == '*') return ++at_, Step{.kind = Step::Kind::kWildcard, .at = begin};
    Step step{.kind = Step::Kind::kIndex, .at = begin};
    std::optional<std::int64_t>* const parts[] = {&step.from, &step.to, &step.step};
    for (std::size_t i = 0; i < 3; ++i) {
      Skip();
      std::int64_t n = 0;
      const char* const end = source_.data() + source_.size();
      if (const auto read = std::from_chars(source_.data() + at_, end, n); read.ec == std::errc()) {
        *parts[i] = n;
        at_ = static_cast<std::size_t>(read.ptr - source_.data());
      }
      Skip();
      if (Peek() != ':' || i == 2) break;
      step.kind = Step::Kind::kSlice;
      ++at_;
    }
    if (step.kind == Step::Kind::kIndex && !step.from) return Wrong(at_, "no index can be read here", kBracketHelp);
    if (step.step && *step.step < 1) return Wrong(begin, "the step of a slice is at least 1", "[start:end:step]");
    return step;
  }

  Result<std::vector<std::vector<Condition>>> Filter(std::size_t depth) {
    std::vector<std::vector<Condition>> any(1);
    for (;;) {
      Skip();
      Condition condition{.at = at_};
      ASSIGN_OR_RETURN(condition.left, ReadOperand(depth));
      Skip();
      for (const std::string_view op : {"==", "!=", "<=", ">=", "<", ">"})
        if (condition.op.empty() && source_.substr(at_).starts_with(op)) condition.op = op;
      if (!condition.op.empty()) {
        at_ += condition.op.size();
        if (Peek() == '~' || Peek() == '=') return Wrong(at_, "there is no such operator", kOperators);
        Skip();
        ASSIGN_OR_RETURN(condition.right, ReadOperand(depth));
        Skip();
      }
      any.back().push_back(std::move(condition));
      const std::string_view rest = source_.substr(at_);
      if (rest.starts_with("||")) any.emplace_back();
      else if (!rest.starts_with("&&")) break;
      at_ += 2;
    }
    if (Peek() == '=' || Peek() == '!' || Peek() == '~') return Wrong(at_, "there is no such operator", kOperators);
    return any;
  }

  Result<Operand> ReadOperand(std::size_t depth) {
    Operand operand;
    const char c = Peek();
    const std::size_t begin = at_;
    if (c == '"' || c == '\'') {
      ASSIGN_OR_RETURN(std::string text, Text());
      operand.literal = Datum(std::move(text));
    } else if (IsDigit(c) || c == '-' || c == '+') {
      ASSIGN_OR_RETURN(operand.literal, Number());
    } else if (c == '@' || c == '$' || c == '.' || c == '[') {
      ASSIGN_OR_RETURN(operand.path, ReadPath(true, depth));
    } else {
      const std::string_view word = Word();
      if (word == "true" || word == "false") operand.literal = Datum(word == "true");
      else if (word == "null") operand.literal = Datum();
      else return Wrong(begin, "a value is wanted here", "@.field, \"text\", a number, true, false or null");
    }
    return operand;
  }

  Result<std::string> Text() {
    const std::size_t begin = at_, end = QuotedEnd(source_, at_);
    if (end == source_.npos) return Wrong(begin, "the quoted text does not end", "close it with the same quote, on the same line");
    at_ = end;
    auto text = GoUnquote(source_.substr(begin, end - begin));
    if (!text) return Wrong(begin, "the quoted text has a \\ that means nothing", "\\n, \\t, \\\", \\\\, \\x41, \\u00e9");
    return *std::move(text);
  }
  Result<Datum> Number() {
    const std::size_t begin = at_++;
    while (IsDigit(Peek()) || IsLetter(Peek()) || Peek() == '.') ++at_;
    const auto number = ParseNumber(source_.substr(begin, at_ - begin));
    if (!number) return Wrong(begin, "this is no number", "5, -5 or 1.5; text in quotes");
    return *number;
  }
  std::string_view Word() {
    const std::size_t begin = at_;
    while (IsLetter(Peek()) || (at_ > begin && IsDigit(Peek()))) ++at_;
    return source_.substr(begin, at_ - begin);
  }
  void Skip() { while (IsSpace(Peek())) ++at_; }
  char Peek() const { return at_ < source_.size() ? source_[at_] : '\0'; }
  Error Wrong(std::size_t at, const std::string& what, std::string next) const {
    return TemplateError(kForm, source_, at, what).Next(std::move(next));
  }

  static constexpr const char* kBracketHelp = "[0], [-1], [1:3], [*], ['name'], ['a','b'] or [?(@.field==\"text\")]";
  static constexpr const char* kOperators = "==, !=, <, <=, >, >=, && and ||";
  const std::string_view source_;
  std::size_t at_ = 0, open_ = 0;
};

using Results = std::vector<const json::Tree*>;

class Evaluation {
 public:
  Evaluation(std::string_view source, const json::Tree& document, std::uint64_t work)
      : source_(source), document_(document), budget_(work) {}

  Result<> Print(const std::vector<Node>& nodes, const json::Tree& here, std::string& out) {
    for (const Node& node : nodes) {
      if (node.kind == Node::Kind::kText) {
        RETURN_IF_ERROR(Spend(node.text.size() + 1));
        out += node.text;
        continue;
      }
      ASSIGN_OR_RETURN(const Results results, Walk(node.path, here, false));
      for (std::size_t i = 0; i < results.size(); ++i) {
        if (node.kind == Node::Kind::kRange) {
          RETURN_IF_ERROR(Print(node.body, *results[i], out));
          continue;
        }
        const std::string text = GoText(Datum(*results[i]), "null");
        RETURN_IF_ERROR(Spend(text.size() + 1));
        out += (i == 0 ? "" : " ") + text;
      }
    }
    return {};
  }

 private:
  Result<Results> Walk(const Path& path, const json::Tree& here, bool lenient) {
    Results now{&here};
    for (const Step& step : path) {
      Results next;
      if (step.kind == Step::Kind::kRoot) {
        next.push_back(&document_);
      } else if (step.kind == Step::Kind::kUnion) {
        for (const Path& one : step.paths)
          for (const json::Tree* tree : now) {
            ASSIGN_OR_RETURN(const Results found, Walk(one, *tree, lenient || step.lenient));
            next.insert(next.end(), found.begin(), found.end());
          }
      } else {
        for (const json::Tree* tree : now) RETURN_IF_ERROR(Take(step, *tree, lenient || step.lenient, next));
      }
      now = std::move(next);
    }
    return now;
  }

  Result<> Take(const Step& step, const json::Tree& tree, bool lenient, Results& out) {
    RETURN_IF_ERROR(Spend(1));
    switch (step.kind) {
      case Step::Kind::kField:
        if (const json::Tree* member = tree.Find(step.name)) out.push_back(member);
        return {};
      case Step::Kind::kWildcard:
        RETURN_IF_ERROR(Spend(tree.items().size() + tree.members().size()));
        for (const json::Tree& item : tree.items()) out.push_back(&item);
        for (const auto& [name, member] : tree.members()) out.push_back(&member);
        return {};
      case Step::Kind::kDescend: return Descend(tree, out);
      case Step::Kind::kRoot: case Step::Kind::kUnion: return {};  // Walk's
      case Step::Kind::kIndex: case Step::Kind::kSlice: case Step::Kind::kFilter: break;
    }
    if (!tree.IsArray()) {
      if (lenient || tree.IsNull()) return {};
      return TemplateError(kForm, source_, step.at, "this is " + std::string(KindName(Datum(tree))) + ", not a list")
          .Next("-o json shows what there is; of a map .name or .*");
    }
    const auto& items = tree.items();
    const auto size = static_cast<std::int64_t>(items.size());
    if (step.kind == Step::Kind::kIndex) {
      const std::int64_t index = *step.from + (*step.from < 0 ? size : 0);
      if (index >= 0 && index < size) out.push_back(&items[static_cast<std::size_t>(index)]);
      else if (!lenient)
        return TemplateError(kForm, source_, step.at, "there is no item " + std::to_string(*step.from) + " in a list of " + std::to_string(size))
            .Next("[0:1] gives the first one if there is one");
      return {};
    }
    if (step.kind == Step::Kind::kFilter) {
      for (const json::Tree& item : items) {
        ASSIGN_OR_RETURN(const bool holds, Holds(step, item));
        if (holds) out.push_back(&item);
      }
      return {};
    }
    const auto bound = [&](std::int64_t n) { return std::clamp<std::int64_t>(n < 0 ? n + size : n, 0, size); };
    const std::int64_t end = bound(step.to.value_or(size)), stride = std::min(step.step.value_or(1), std::max<std::int64_t>(size, 1));
    for (std::int64_t i = bound(step.from.value_or(0)); i < end; i += stride) {
      RETURN_IF_ERROR(Spend(1));
      out.push_back(&items[static_cast<std::size_t>(i)]);
    }
    return {};
  }

  // Lists and maps, outer ones first.
  Result<> Descend(const json::Tree& tree, Results& out) {
    RETURN_IF_ERROR(Spend(1));
    if (!tree.IsArray() && !tree.IsObject()) return {};
    out.push_back(&tree);
    for (const json::Tree& item : tree.items()) RETURN_IF_ERROR(Descend(item, out));
    for (const auto& [name, member] : tree.members()) RETURN_IF_ERROR(Descend(member, out));
    return {};
  }

  Result<bool> Holds(const Step& filter, const json::Tree& item) {
    for (const auto& all : filter.any) {
      bool holds = true;
      for (const Condition& condition : all) {
        if (!holds) break;
        ASSIGN_OR_RETURN(holds, Holds(condition, item));
      }
      if (holds) return true;
    }
    return false;
  }

  Result<bool> Holds(const Condition& condition, const json::Tree& item) {
    ASSIGN_OR_RETURN(const auto left, Value(condition, condition.left, item));
    if (condition.op.empty()) return condition.left.literal ? left->is(Datum::Kind::kBool) && left->number != 0 : left.has_value();
    ASSIGN_OR_RETURN(const auto right, Value(condition, condition.right, item));
    if (!left || !right) return false;
    const bool equality = condition.op == "==" || condition.op == "!=";
    const bool null = left->is(Datum::Kind::kNone) || right->is(Datum::Kind::kNone);
    if (equality && null) return (left->kind == right->kind) == (condition.op == "==");
    const auto order = Compare(*left, *right);
    if (!order || (!equality && left->is(Datum::Kind::kBool)))
      return TemplateError(kForm, source_, condition.at, std::string(KindName(*left)) + " cannot be compared with " +
                                                             std::string(KindName(*right)) + " by " + condition.op)
          .Next("numbers stand without quotes, text with them");
    if (condition.op == "==") return *order == 0;
    if (condition.op == "!=") return *order != 0;
    if (condition.op == "<") return *order < 0;
    if (condition.op == "<=") return *order <= 0;
    return condition.op == ">" ? *order > 0 : *order >= 0;
  }

  Result<std::optional<Datum>> Value(const Condition& condition, const Operand& operand, const json::Tree& item) {
    if (operand.literal) return operand.literal;
    ASSIGN_OR_RETURN(const Results found, Walk(operand.path, item, true));
    if (found.empty()) return std::optional<Datum>();
    if (found.size() > 1 && !condition.op.empty())
      return TemplateError(kForm, source_, condition.at, std::to_string(found.size()) + " values cannot be compared at once").Next("choose one of them: [0]");
    return std::optional<Datum>(Datum(*found[0]));
  }

  Result<> Spend(std::uint64_t n) {
    if (budget_.Take(n)) return {};
    return TemplateError(kForm, source_, 0, "the template makes too much of too little").Next("nest fewer loops");
  }

  const std::string_view source_;
  const json::Tree& document_;
  Budget budget_;
};

}  // namespace

Result<JsonPath> JsonPath::Parse(std::string_view source) {
  if (source.size() > kTemplateBytes)
    return TemplateError(kForm, source.substr(0, 1), 0, "the template has more than 64 KiB").Next("-o json, and a program that reads it");
  JsonPath path;
  auto root = std::make_shared<Node>();
  ASSIGN_OR_RETURN(root->body, Parser(source).Run());
  path.root_ = std::move(root);
  path.source_ = source;
  return path;
}

Result<std::string> JsonPath::Print(const json::Tree& document, std::uint64_t work) const {
  std::string out;
  RETURN_IF_ERROR(Evaluation(source_, document, work).Print(root_->body, document, out));
  return out;
}

}  // namespace berth::cli
