#include "apps/berth/go_template.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

namespace berth::cli {
namespace {

constexpr std::string_view kForm = "go-template";
constexpr std::array<std::string_view, 15> kFunctions{"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "print", "printf", "println", "json"};

struct Expression {
  enum class Kind : std::uint8_t { kDot, kVariable, kLiteral, kCall, kPipeline } kind = Kind::kDot;
  std::size_t at = 0;
  std::string name;                   // kVariable ("$x"), kCall
  Datum value;                        // kLiteral
  std::vector<Expression> parts;      // arguments, stages
  std::vector<std::string> fields;    // of whatever it is
};

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsWord(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || IsDigit(c) || (c & 0x80) != 0; }

}  // namespace

struct GoTemplate::Statement {
  enum class Kind : std::uint8_t { kText, kPrint, kIf, kWith, kRange, kBreak, kContinue } kind = Kind::kText;
  std::size_t at = 0;
  std::string text;
  Expression pipe;
  std::vector<std::string> variables;  // set by this
  bool declares = true;                // := and not =
  std::vector<Statement> body, otherwise;
};

namespace {

using Statement = GoTemplate::Statement;
using Kind = Statement::Kind;

class Parser {
 public:
  explicit Parser(std::string_view source) : source_(source) {}

  Result<std::vector<Statement>> Run() {
    std::vector<Statement> all;
    ASSIGN_OR_RETURN(const Ending ending, Body(all, nullptr, 0));
    if (!ending.word.empty()) return Wrong(ending.at, "{{" + ending.word + "}} without an if, range or with before it", "take it away");
    return all;
  }

 private:
  struct Ending {
    std::string word;  // "end", "else"; "" at the end of the template
    std::size_t at = 0;
  };

  Result<Ending> Body(std::vector<Statement>& out, const Statement* inside, std::size_t depth) {
    if (depth > kTemplateDepth) return Wrong(at_, "blocks nest too deep", "use fewer than 100 of them");
    for (;;) {
      const std::size_t open = std::min(source_.find("{{", at_), source_.size());
      std::string_view text = source_.substr(at_, open - at_);
      const bool trims = source_.substr(open).starts_with("{{-") && open + 3 < source_.size() && IsSpace(source_[open + 3]);
      if (trim_next_) while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
      if (trims) while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
      if (!text.empty()) out.push_back({.kind = Kind::kText, .at = at_, .text = std::string(text)});
      at_ = open;
      trim_next_ = false;
      if (open == source_.size()) {
        if (inside != nullptr) return Wrong(inside->at, "this block has no end", "add {{end}}");
        return Ending{};
      }
      open_ = open;
      at_ += trims ? 4 : 2;
      if (trims) Skip();
      if (source_.substr(at_).starts_with("/*")) {
        const auto end = source_.find("*/", at_ + 2);
        if (end == source_.npos) return Wrong(open, "this comment does not end", "{{/* … */}}");
        at_ = end + 2;
        RETURN_IF_ERROR(Close());
        continue;
      }
      Skip();
      const std::size_t begin = at_;
      const std::string_view word = Word();
      if (word == "end" || word == "else") {
        if (word == "end") RETURN_IF_ERROR(Close());
        return Ending{std::string(word), begin};
      }
      if (word == "define" || word == "template" || word == "block") return Wrong(begin, Quoted(word) + " is not offered here", "one template is all there is");
      Statement statement{.kind = Kind::kPrint, .at = begin};
      if (word == "if" || word == "with" || word == "range") {
        ASSIGN_OR_RETURN(statement, Block(begin, word, depth));
      } else if (word == "break" || word == "continue") {
        if (loops_ == 0) return Wrong(begin, "{{" + std::string(word) + "}} outside of a range", "take it away");
        statement.kind = word == "break" ? Kind::kBreak : Kind::kContinue;
        RETURN_IF_ERROR(Close());
      } else {
        at_ = begin;
        RETURN_IF_ERROR(Head(statement));
        RETURN_IF_ERROR(Close());
      }
      out.push_back(std::move(statement));
    }
  }

  // Behind the word: the pipeline, the body, what else there is, and the end.
  Result<Statement> Block(std::size_t begin, std::string_view word, std::size_t depth) {
    const std::size_t scope = variables_.size();
    Statement block{.kind = word == "if" ? Kind::kIf : word == "with" ? Kind::kWith : Kind::kRange, .at = begin};
    RETURN_IF_ERROR(Head(block));
    RETURN_IF_ERROR(Close());
    const std::size_t own = variables_.size();  // what the pipeline declares is known in both lists, what a list declares ends with it
    const bool loop = block.kind == Kind::kRange;
    loops_ += loop ? 1 : 0;
    ASSIGN_OR_RETURN(Ending ending, Body(block.body, &block, depth + 1));
    loops_ -= loop ? 1 : 0;
    if (ending.word == "else") {
      variables_.resize(own);
      Skip();
      const std::size_t next = at_;
      const std::string_view also = Word();
      if ((also == "if" && block.kind == Kind::kIf) || (also == "with" && block.kind == Kind::kWith)) {
        if (depth + 1 > kTemplateDepth) return Wrong(next, "blocks nest too deep", "use fewer than 100 of them");
        ASSIGN_OR_RETURN(Statement chained, Block(next, also, depth + 1));  // one {{end}} for both
        block.otherwise.push_back(std::move(chained));
      } else {
        at_ = next;
        RETURN_IF_ERROR(Close());
        ASSIGN_OR_RETURN(ending, Body(block.otherwise, &block, depth + 1));
        if (ending.word == "else") return Wrong(ending.at, "a second {{else}}", "one is all a block has; {{else if …}} before it");
      }
    }
    variables_.resize(scope);
    return block;
  }

  // "$x := pipeline", "$i, $e := pipeline", "$x = pipeline", "pipeline".
  Result<> Head(Statement& statement) {
    Skip();
    const std::size_t begin = at_;
    while (Peek() == '$') {
      const std::size_t from = at_++;
      (void)Word();
      statement.variables.emplace_back(source_.substr(from, at_ - from));
      Skip();
      if (Peek() != ',') break;
      ++at_;
      Skip();
    }
    statement.declares = source_.substr(at_).starts_with(":=");
    const bool sets = statement.declares || (Peek() == '=' && !statement.variables.empty());
    if (!sets) {
      if (statement.variables.size() > 1) return Wrong(at_, ":= is wanted here", "{{range $i, $e := .list}}");
      statement.variables.clear();
      at_ = begin;
    } else {
      at_ += statement.declares ? 2 : 1;
      if (statement.variables.size() > (statement.kind == Kind::kRange ? 2u : 1u)) return Wrong(begin, "too many variables", "range takes two, all others one");
      for (const auto& name : statement.variables) {
        if (name == "$") return Wrong(begin, "$ is the document", "name the variable: $x");
        if (!statement.declares && !Known(name)) return Undeclared(begin, name);
      }
    }
    ASSIGN_OR_RETURN(statement.pipe, Pipeline(0));
    if (sets && statement.declares) variables_.insert(variables_.end(), statement.variables.begin(), statement.variables.end());
    return {};
  }

  Result<Expression> Pipeline(std::size_t depth) {
    if (depth > kTemplateDepth) return Wrong(at_, "parentheses nest too deep", "use fewer than 100 of them");
    Skip();
    Expression pipeline{.kind = Expression::Kind::kPipeline, .at = at_};
    for (;;) {
      Skip();
      const std::size_t begin = at_;
      ASSIGN_OR_RETURN(Expression stage, Operand(depth));
      for (Skip(); AtOperand(); Skip()) {
        const std::size_t argument = at_;
        if (argument == stage.at || !Apart(argument)) return Wrong(argument, "a blank is missing before this", "arguments are set apart: {{printf \"%s\" .name}}");
        ASSIGN_OR_RETURN(Expression part, Operand(depth));
        if (stage.kind != Expression::Kind::kCall || !stage.fields.empty()) return Wrong(argument, "only a function takes arguments", "fields of fields are written .a.b; an item is {{index .list 0}}");
        stage.parts.push_back(std::move(part));
      }
      if (!pipeline.parts.empty() && stage.kind != Expression::Kind::kCall) return Wrong(begin, "behind | a function is wanted", "{{.name | printf \"%s\"}}");
      pipeline.parts.push_back(std::move(stage));
      if (Peek() != '|') break;
      ++at_;
    }
    return pipeline;
  }

  bool Apart(std::size_t at) const { return at > 0 && (IsSpace(source_[at - 1]) || source_[at - 1] == '(' || source_[at] == '('); }
  // Something that could be an argument, and not the end of the action.
  bool AtOperand() const {
    const char c = Peek();
    if (c == '-' || c == '+') return at_ + 1 < source_.size() && (IsDigit(source_[at_ + 1]) || source_[at_ + 1] == '.');
    return c == '.' || c == '$' || c == '"' || c == '`' || c == '\'' || c == '(' || IsWord(c);
  }

  Result<Expression> Operand(std::size_t depth) {
    const std::size_t begin = at_;
    const char c = Peek();
    Expression e{.kind = Expression::Kind::kLiteral, .at = begin};
    if (c == '"' || c == '`' || c == '\'') {
      const std::size_t end = QuotedEnd(source_, begin);
      if (end == source_.npos) return Wrong(begin, "the quoted text does not end", "close it with the same quote");
      at_ = end;
      auto text = GoUnquote(source_.substr(begin, end - begin));
      if (!text) return Wrong(begin, "the quoted text has a \\ that means nothing", "\\n, \\t, \\\", \\\\, \\x41, \\u00e9; or `…`, which has none");
      if (c != '\'') return e.value = Datum(*std::move(text)), e;
      const auto code = OneCharacter(*text);
      if (!code) return Wrong(begin, "in single quotes stands one character", "text stands in double quotes");
      return e.value = Datum(*code), e;
    }
    if (IsDigit(c) || c == '-' || c == '+' || (c == '.' && at_ + 1 < source_.size() && IsDigit(source_[at_ + 1]))) {
      const auto exponent_sign = [&] { return (Peek() == '-' || Peek() == '+') && (source_[at_ - 1] == 'e' || source_[at_ - 1] == 'E'); };
      for (++at_; IsWord(Peek()) || Peek() == '.' || exponent_sign(); ++at_) {}
      const auto number = ParseNumber(source_.substr(begin, at_ - begin));
      if (!number) return Wrong(begin, "this is no number", "5, -5, 1.5 or 0x1F; text in quotes");
      return e.value = *number, e;
    }
    if (c == '(') {
      ++at_;
      ASSIGN_OR_RETURN(e, Pipeline(depth + 1));
      if (Peek() != ')') return Wrong(begin, "this ( is never closed", "add )");
      ++at_;
    } else if (c == '$') {
      ++at_;
      (void)Word();
      e.kind = Expression::Kind::kVariable;
      e.name = source_.substr(begin, at_ - begin);
      if (!Known(e.name)) return Undeclared(begin, e.name);
    } else if (c == '.') {
      e.kind = Expression::Kind::kDot;
      if (at_ + 1 >= source_.size() || !IsWord(source_[at_ + 1])) {
        ++at_;
        return e;
      }
    } else if (IsWord(c)) {
      const std::string_view word = Word();
      if (word == "true" || word == "false") return e.value = Datum(word == "true"), e;
      if (word == "nil") return e;
      if (std::ranges::find(kFunctions, word) == kFunctions.end()) {
        std::string all;
        for (const auto& name : kFunctions) all += (all.empty() ? "" : ", ") + std::string(name);
        return Wrong(begin, "there is no function " + Quoted(word), "fields begin with a dot; the functions are " + all);
      }
      e.kind = Expression::Kind::kCall;
      e.name = word;
      return e;
    } else {
      return Wrong(begin, at_ < source_.size() && !AtClose() ? Quoted(source_.substr(begin, 1)) + " is not expected here" : "a value is missing here",
                   "a field (.name), a variable, a text in quotes or a function");
    }
    while (Peek() == '.') {
      ++at_;
      const std::string_view field = Word();
      if (field.empty()) return Wrong(at_ - 1, "a field's name is missing behind the dot", "{{.a.b}}; names with other characters: {{index . \"a-b\"}}");
      e.fields.emplace_back(field);
    }
    return e;
  }

  static std::optional<std::int64_t> OneCharacter(std::string_view text) {
    if (text.empty()) return std::nullopt;
    const auto first = static_cast<unsigned char>(text[0]);
    const std::size_t length = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (text.size() != length) return text.size() == 1 ? std::optional<std::int64_t>(first) : std::nullopt;
    std::int64_t code = length == 1 ? first : first & (0xFF >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) code = code << 6 | (static_cast<unsigned char>(text[i]) & 63);
    return code;
  }

  bool AtClose() const { return source_.substr(at_).starts_with("}}") || source_.substr(at_).starts_with("-}}"); }
  Result<> Close() {
    Skip();
    const std::string_view rest = source_.substr(at_);
    trim_next_ = rest.starts_with("-}}") && IsSpace(source_[at_ - 1]);
    if (!trim_next_ && !rest.starts_with("}}")) {
      if (rest.empty()) return Wrong(open_, "this {{ is never closed", "add }}");
      return Wrong(at_, Quoted(rest.substr(0, 1)) + " is not expected here",
                   rest[0] == '-' ? "names with dashes: {{index . \"a-b\"}}; before -}} stands a blank" : "}} ends it");
    }
    at_ += trim_next_ ? 3 : 2;
    return {};
  }
  std::string_view Word() {
    const std::size_t begin = at_;
    while (IsWord(Peek())) ++at_;
    return source_.substr(begin, at_ - begin);
  }
  void Skip() { while (IsSpace(Peek())) ++at_; }
  char Peek() const { return at_ < source_.size() ? source_[at_] : '\0'; }
  bool Known(const std::string& name) const { return name == "$" || std::ranges::find(variables_, name) != variables_.end(); }
  Error Undeclared(std::size_t at, const std::string& name) const { return Wrong(at, "there is no variable " + Quoted(name), "{{" + name.substr(0, 40) + " := …}} makes one"); }
  Error Wrong(std::size_t at, const std::string& what, std::string next) const {
    return TemplateError(kForm, source_, at, what).Next(std::move(next));
  }

  const std::string_view source_;
  std::size_t at_ = 0, open_ = 0, loops_ = 0;
  bool trim_next_ = false;
  std::vector<std::string> variables_;
};

bool Truth(const Datum& d) {
  switch (d.kind) {
    case Datum::Kind::kNone: return false;
    case Datum::Kind::kBool: case Datum::Kind::kInt: return d.number != 0;
    case Datum::Kind::kReal: return d.real != 0;
    case Datum::Kind::kString: return !d.text.empty();
    case Datum::Kind::kList: return !d.tree->items().empty();
    case Datum::Kind::kMap: return !d.tree->members().empty();
  }
  return false;
}

class Evaluation {
 public:
  Evaluation(std::string_view source, const json::Tree& document, std::uint64_t work)
      : source_(source), document_(document), budget_(work) {}

  enum class Flow : std::uint8_t { kOn, kBreak, kContinue };
  Result<Flow> Run(const std::vector<Statement>& all, const Datum& dot) {
    for (const Statement& statement : all) {
      RETURN_IF_ERROR(Spend(statement.at, 1));
      if (statement.kind == Kind::kBreak) return Flow::kBreak;
      if (statement.kind == Kind::kContinue) return Flow::kContinue;
      if (statement.kind == Kind::kText) {
        RETURN_IF_ERROR(Spend(statement.at, statement.text.size()));
        out_ += statement.text;
        continue;
      }
      ASSIGN_OR_RETURN(const Datum value, Value(statement.pipe, dot));
      if (statement.kind == Kind::kPrint) {
        if (!statement.variables.empty()) {
          Set(statement.variables[0], value, statement.declares);
          continue;
        }
        const std::string text = GoText(value, "<no value>");
        RETURN_IF_ERROR(Spend(statement.at, text.size()));
        out_ += text;
        continue;
      }
      const std::size_t scope = variables_.size();
      ASSIGN_OR_RETURN(const Flow flow, statement.kind == Kind::kRange ? Loop(statement, value, dot) : Choose(statement, value, dot));
      variables_.resize(scope);
      if (flow != Flow::kOn) return flow;
    }
    return Flow::kOn;
  }
  std::string Take() { return std::move(out_); }

 private:
  Result<Flow> Choose(const Statement& statement, const Datum& value, const Datum& dot) {
    if (!statement.variables.empty()) Set(statement.variables[0], value, statement.declares);
    if (!Truth(value)) return Run(statement.otherwise, dot);
    return Run(statement.body, statement.kind == Kind::kWith ? value : dot);
  }

  Result<Flow> Loop(const Statement& statement, const Datum& value, const Datum& dot) {
    if (value.tree == nullptr && !value.is(Datum::Kind::kNone))
      return Wrong(statement.pipe.at, std::string(KindName(value)) + " has nothing to range over", "range takes lists and maps; -o json shows what there is");
    if (!Truth(value)) {
      for (const std::string& name : statement.variables) Set(name, value, statement.declares);  // as Go does
      return Run(statement.otherwise, dot);
    }
    const std::size_t scope = variables_.size();
    const auto once = [&](Datum key, const json::Tree& item) -> Result<Flow> {
      variables_.resize(scope);
      RETURN_IF_ERROR(Spend(statement.at, 1));
      const Datum element(item);
      const auto& names = statement.variables;
      if (names.size() == 2) Set(names[0], std::move(key), statement.declares);
      if (!names.empty()) Set(names.back(), element, statement.declares);
      return Run(statement.body, element);
    };
    std::int64_t i = 0;
    for (const json::Tree& item : value.tree->items()) {
      ASSIGN_OR_RETURN(const Flow flow, once(Datum(i++), item));
      if (flow == Flow::kBreak) return Flow::kOn;
    }
    for (const auto& [name, member] : value.tree->members()) {
      ASSIGN_OR_RETURN(const Flow flow, once(Datum(name), member));
      if (flow == Flow::kBreak) return Flow::kOn;
    }
    return Flow::kOn;
  }

  void Set(const std::string& name, Datum value, bool declares) {
    if (!declares)
      for (auto variable = variables_.rbegin(); variable != variables_.rend(); ++variable)
        if (variable->first == name) return void(variable->second = std::move(value));
    variables_.emplace_back(name, std::move(value));
  }

  Result<Datum> Value(const Expression& e, const Datum& dot) {
    RETURN_IF_ERROR(Spend(e.at, 1));
    Datum value;
    switch (e.kind) {
      case Expression::Kind::kDot: value = dot; break;
      case Expression::Kind::kLiteral: return e.value;
      case Expression::Kind::kVariable: {
        const auto named = [&](const auto& variable) { return variable.first == e.name; };
        const auto found = std::find_if(variables_.rbegin(), variables_.rend(), named);
        if (found == variables_.rend() && e.name != "$") return Wrong(e.at, "there is no variable " + Quoted(e.name), "{{" + e.name.substr(0, 40) + " := …}} makes one");
        value = found == variables_.rend() ? Datum(document_) : found->second;
        break;
      }
      case Expression::Kind::kCall: return Call(e, dot, nullptr);
      case Expression::Kind::kPipeline:
        for (const Expression& stage : e.parts) {
          if (&stage == &e.parts.front()) {
            ASSIGN_OR_RETURN(value, Value(stage, dot));
          } else {
            const Datum last = std::move(value);
            ASSIGN_OR_RETURN(value, Call(stage, dot, &last));
          }
        }
        break;
    }
    RETURN_IF_ERROR(Spend(e.at, value.text.size()));
    for (const std::string& field : e.fields) {
      if (value.is(Datum::Kind::kNone)) return value;
      if (!value.is(Datum::Kind::kMap))
        return Wrong(e.at, std::string(KindName(value)) + " has no field " + Quoted(field),
                     value.is(Datum::Kind::kList) ? "{{range …}} goes through a list, {{index … 0}} takes one of it" : "-o json shows what there is");
      const json::Tree* member = value.tree->Find(field);
      value = member == nullptr ? Datum() : Datum(*member);
    }
    return value;
  }

  Result<Datum> Call(const Expression& call, const Datum& dot, const Datum* last) {
    const std::string& name = call.name;
    const std::size_t count = call.parts.size() + (last == nullptr ? 0 : 1);
    const auto argument = [&](std::size_t i) -> Result<Datum> {
      if (i == call.parts.size()) return *last;
      return Value(call.parts[i], dot);
    };
    const bool compares = name == "eq" || name == "ne" || name == "lt" || name == "le" || name == "gt" || name == "ge";
    const std::size_t least = name.starts_with("print") ? (name == "printf" ? 1 : 0) : compares ? 2 : 1;
    const bool more = name == "and" || name == "or" || name == "eq" || name == "index" || name.starts_with("print");
    if (count < least || (!more && count > least))
      return Wrong(call.at, name + " takes " + (more ? "at least " : "") + std::to_string(least) + (least == 1 ? " argument, not " : " arguments, not ") + std::to_string(count),
                   "{{" + name + (compares ? " .field \"text\"}}" : " .field}}"));
    if (name == "and" || name == "or") {
      for (std::size_t i = 0;; ++i) {
        ASSIGN_OR_RETURN(Datum value, argument(i));
        if (i + 1 == count || Truth(value) == (name == "or")) return value;
      }
    }
    std::vector<Datum> values;
    for (std::size_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(Datum value, argument(i));
      values.push_back(std::move(value));
    }
    if (name == "not") return Datum(!Truth(values[0]));
    if (compares) return Comparison(call, values);
    if (name == "len") {
      const Datum& of = values[0];
      if (of.is(Datum::Kind::kString)) return Datum(static_cast<std::int64_t>(of.text.size()));
      if (of.tree == nullptr) return Wrong(call.at, std::string(KindName(of)) + " has no length", "len takes strings, lists and maps");
      return Datum(static_cast<std::int64_t>(of.tree->items().size() + of.tree->members().size()));
    }
    if (name == "index") return Index(call, values);
    std::string text;
    if (name == "json") {
      text = ToJson(values[0]);
    } else if (name == "printf") {
      if (!values[0].is(Datum::Kind::kString)) return Wrong(call.at, "printf begins with a text", "{{printf \"%s\" .name}}");
      std::uint64_t cost = values[0].text.size();
      for (const Datum& value : values) cost += value.text.size();
      RETURN_IF_ERROR(Spend(call.at, cost));
      auto printed = GoPrintf(values[0].text, {values.begin() + 1, values.end()});
      if (!printed) return Wrong(call.at, "a width or precision is above 1000", "use a smaller one");
      text = *std::move(printed);
    } else {
      const bool line = name == "println";
      for (std::size_t i = 0; i < values.size(); ++i) {
        const bool apart = i > 0 && (line || (!values[i].is(Datum::Kind::kString) && !values[i - 1].is(Datum::Kind::kString)));
        text += (apart ? " " : "") + GoText(values[i], "<nil>");
      }
      if (line) text += "\n";
    }
    RETURN_IF_ERROR(Spend(call.at, text.size()));
    return Datum(std::move(text));
  }

  Result<Datum> Comparison(const Expression& call, const std::vector<Datum>& values) {
    const std::string& name = call.name;
    const bool equality = name == "eq" || name == "ne";
    for (std::size_t i = 1; i < values.size(); ++i) {
      const bool none = values[0].is(Datum::Kind::kNone) || values[i].is(Datum::Kind::kNone);
      const auto order = equality && none ? std::optional<int>(values[0].kind == values[i].kind ? 0 : 1) : Compare(values[0], values[i]);
      if (!order || (!equality && (none || values[0].is(Datum::Kind::kBool))))
        return Wrong(call.at, std::string(KindName(values[0])) + " cannot be compared with " + std::string(KindName(values[i])) + " by " + name,
                     "numbers stand without quotes, text with them");
      if (name == "ne") return Datum(*order != 0);
      if (name == "lt") return Datum(*order < 0);
      if (name == "le") return Datum(*order <= 0);
      if (name == "gt") return Datum(*order > 0);
      if (name == "ge") return Datum(*order >= 0);
      if (*order == 0) return Datum(true);
    }
    return Datum(false);
  }

  Result<Datum> Index(const Expression& call, const std::vector<Datum>& values) {
    Datum value = values[0];
    for (std::size_t i = 1; i < values.size(); ++i) {
      const Datum& key = values[i];
      if (value.is(Datum::Kind::kNone)) return value;
      if (value.is(Datum::Kind::kMap) && key.is(Datum::Kind::kString)) {
        const json::Tree* member = value.tree->Find(key.text);
        value = member == nullptr ? Datum() : Datum(*member);
      } else if (value.is(Datum::Kind::kList) && key.is(Datum::Kind::kInt)) {
        const auto& items = value.tree->items();
        if (key.number < 0 || static_cast<std::uint64_t>(key.number) >= items.size())
          return Wrong(call.at, "there is no item " + std::to_string(key.number) + " in a list of " + std::to_string(items.size()), "the first one is 0; {{if .list}} asks whether there is one");
        value = Datum(items[static_cast<std::size_t>(key.number)]);
      } else {
        return Wrong(call.at, std::string(KindName(value)) + " has no index that is " + std::string(KindName(key)), "lists take numbers, maps strings");
      }
    }
    return value;
  }

  Error Wrong(std::size_t at, const std::string& what, std::string next) const {
    return TemplateError(kForm, source_, at, what).Next(std::move(next));
  }
  Result<> Spend(std::size_t at, std::uint64_t n) {
    if (budget_.Take(n)) return {};
    return Wrong(at, "the template makes too much of too little", "nest fewer loops");
  }

  const std::string_view source_;
  const json::Tree& document_;
  Budget budget_;
  std::vector<std::pair<std::string, Datum>> variables_;
  std::string out_;
};

// --- printf

std::size_t Characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

struct Verb {
  bool minus = false, plus = false, zero = false, blank = false, sharp = false;
  std::optional<int> width, precision;
  char letter = 0;
};

std::string Padded(const Verb& verb, std::string text, bool number) {
  const std::size_t wanted = static_cast<std::size_t>(verb.width.value_or(0)), have = Characters(text);
  if (have >= wanted) return text;
  const std::string fill(wanted - have, verb.zero && number && !verb.minus ? '0' : ' ');
  if (verb.minus) return text + fill;
  const bool sign = fill[0] == '0' && (text[0] == '-' || text[0] == '+' || text[0] == ' ');
  return sign ? text[0] + fill + text.substr(1) : fill + text;
}

std::string GoType(const Datum& d) {
  static constexpr std::array<std::string_view, 7> kTypes{"<nil>", "bool", "int", "float64", "string", "[]interface {}", "map[string]interface {}"};
  return std::string(kTypes[static_cast<std::size_t>(d.kind)]);
}
std::string Typed(const Datum& d) { return d.is(Datum::Kind::kNone) ? "<nil>" : GoType(d) + "=" + GoText(d, ""); }

std::string Quote(std::string_view text, char quote) {
  static constexpr std::string_view kHex = "0123456789abcdef", kFrom = "\a\b\f\n\r\t\v", kTo = "abfnrtv";
  std::string out(1, quote);
  for (const char c : text) {
    const auto named = kFrom.find(c);
    if (c == quote || c == '\\') (out += '\\') += c;
    else if (named != kFrom.npos && c != '\0') (out += '\\') += kTo[named];
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) ((out += "\\x") += kHex[static_cast<unsigned char>(c) >> 4]) += kHex[c & 15];
    else out += c;
  }
  return out + quote;
}

std::string Signed(const Verb& verb, std::int64_t n, std::uint64_t base, std::string_view digits) {
  std::uint64_t rest = n < 0 ? 0 - static_cast<std::uint64_t>(n) : static_cast<std::uint64_t>(n);
  std::string out;
  do out.insert(out.begin(), digits[rest % base]);
  while ((rest /= base) > 0);
  if (const auto least = static_cast<std::size_t>(verb.precision.value_or(0)); out.size() < least) out.insert(0, least - out.size(), '0');
  if (verb.sharp && base != 10) out.insert(0, base == 16 ? (verb.letter == 'X' ? "0X" : "0x") : base == 8 ? "0" : "0b");
  return (n < 0 ? "-" : verb.plus ? "+" : verb.blank ? " " : "") + out;
}

std::string Real(const Verb& verb, double value) {
  std::string text;
  if ((verb.letter == 'v' || verb.letter == 'g' || verb.letter == 'G') && !verb.precision) {
    text = GoReal(value);
  } else {
    const char format[] = {'%', '.', '*', verb.letter == 'v' ? 'g' : verb.letter, '\0'};
    std::array<char, 1500> room{};
    const int n = std::snprintf(room.data(), room.size(), format, verb.precision.value_or(6), value);
    text.assign(room.data(), static_cast<std::size_t>(std::clamp(n, 0, static_cast<int>(room.size()) - 1)));
  }
  if (verb.plus && text[0] != '-' && text[0] != '+') text.insert(0, "+");
  else if (verb.blank && text[0] != '-') text.insert(0, " ");
  return text;
}

// nullopt: this verb is not for such a value.
std::optional<std::string> Formatted(const Verb& verb, const Datum& d) {
  static constexpr std::string_view kLower = "0123456789abcdef", kUpper = "0123456789ABCDEF";
  const char letter = verb.letter;
  const auto cut = [&](std::string text) {
    if (!verb.precision) return text;
    std::size_t end = 0;
    for (int n = 0; end < text.size(); ++end)
      if ((text[end] & 0xC0) != 0x80 && n++ == *verb.precision) break;
    return text.substr(0, end);
  };
  if (letter == 'T') return Padded(verb, GoType(d), false);
  const bool real = std::string_view("eEfFgG").find(letter) != std::string_view::npos;
  if ((real || letter == 'v') && (d.is(Datum::Kind::kReal) || (real && d.IsNumber()))) return Padded(verb, Real(verb, d.AsReal()), true);
  if (d.is(Datum::Kind::kInt)) {
    switch (letter) {
      case 'd': case 'v': return Padded(verb, Signed(verb, d.number, 10, kLower), true);
      case 'x': return Padded(verb, Signed(verb, d.number, 16, kLower), true);
      case 'X': return Padded(verb, Signed(verb, d.number, 16, kUpper), true);
      case 'o': return Padded(verb, Signed(verb, d.number, 8, kLower), true);
      case 'b': return Padded(verb, Signed(verb, d.number, 2, kLower), true);
      case 'c': case 'q': {
        std::string text;
        AppendUtf8(text, d.number < 0 || d.number > 0x10FFFF ? 0xFFFDu : static_cast<std::uint32_t>(d.number));
        return Padded(verb, letter == 'c' ? text : Quote(text, '\''), false);
      }
      case 'U': {
        Verb four = verb;
        four.precision = std::max(4, verb.precision.value_or(4));
        four.plus = four.blank = four.sharp = false;
        return Padded(verb, "U+" + Signed(four, d.number, 16, kUpper), false);
      }
      default: return std::nullopt;
    }
  }
  if (d.is(Datum::Kind::kBool)) return letter == 't' || letter == 'v' ? std::optional(Padded(verb, GoText(d, ""), false)) : std::nullopt;
  if (d.is(Datum::Kind::kNone)) return letter == 'v' ? std::optional(Padded(verb, "<nil>", false)) : std::nullopt;
  if (d.is(Datum::Kind::kReal)) return std::nullopt;
  // Strings; lists and maps are JSON.
  if (letter == 's' || letter == 'v') return Padded(verb, cut(GoText(d, "")), false);
  if (letter == 'q') return Padded(verb, Quote(cut(GoText(d, "")), '"'), false);
  if (letter != 'x' && letter != 'X') return std::nullopt;
  std::string hex;
  for (const char c : GoText(d, "")) {
    const std::string_view digits = letter == 'x' ? kLower : kUpper;
    (hex += digits[static_cast<unsigned char>(c) >> 4]) += digits[c & 15];
  }
  return Padded(verb, std::move(hex), false);
}

}  // namespace

std::optional<std::string> GoPrintf(std::string_view format, const std::vector<Datum>& arguments) {
  std::string out;
  std::size_t next = 0;
  const auto number = [&](std::optional<int>& to) {
    while (!format.empty() && IsDigit(format[0])) {
      to = std::min(to.value_or(0) * 10 + (format[0] - '0'), 1001);
      format.remove_prefix(1);
    }
    return !to || *to <= 1000;
  };
  while (!format.empty()) {
    const std::size_t percent = std::min(format.find('%'), format.size());
    out += format.substr(0, percent);
    format.remove_prefix(percent);
    if (format.empty()) break;
    format.remove_prefix(1);
    Verb verb;
    for (bool flag = true; flag && !format.empty();) {
      switch (format[0]) {
        case '-': verb.minus = true; break;
        case '+': verb.plus = true; break;
        case '0': verb.zero = true; break;
        case ' ': verb.blank = true; break;
        case '#': verb.sharp = true; break;
        default: flag = false;
      }
      if (flag) format.remove_prefix(1);
    }
    if (!number(verb.width)) return std::nullopt;
    if (format.starts_with('.')) {
      format.remove_prefix(1);
      verb.precision = 0;
      if (!number(verb.precision)) return std::nullopt;
    }
    if (format.empty()) {
      out += "%!(NOVERB)";
      break;
    }
    verb.letter = format[0];
    std::size_t length = 1;
    while (length < format.size() && (format[length] & 0xC0) == 0x80) ++length;
    const std::string letter(format.substr(0, length));
    format.remove_prefix(length);
    if (letter == "%") out += '%';
    else if (next == arguments.size()) out += "%!" + letter + "(MISSING)";
    else if (const auto text = Formatted(verb, arguments[next++])) out += *text;
    else out += "%!" + letter + "(" + Typed(arguments[next - 1]) + ")";
  }
  if (next < arguments.size()) {
    out += "%!(EXTRA ";
    for (std::size_t i = next; i < arguments.size(); ++i) out += (i == next ? "" : ", ") + Typed(arguments[i]);
    out += ")";
  }
  return out;
}

Result<GoTemplate> GoTemplate::Parse(std::string_view source) {
  if (source.size() > kTemplateBytes)
    return TemplateError(kForm, source.substr(0, 1), 0, "the template has more than 64 KiB").Next("-o json, and a program that reads it");
  GoTemplate parsed;
  ASSIGN_OR_RETURN(auto body, Parser(source).Run());
  parsed.body_ = std::make_shared<const std::vector<Statement>>(std::move(body));
  parsed.source_ = source;
  return parsed;
}

Result<std::string> GoTemplate::Print(const json::Tree& document, std::uint64_t work) const {
  Evaluation evaluation(source_, document, work);
  RETURN_IF_ERROR(evaluation.Run(*body_, Datum(document)));
  return evaluation.Take();
}

}  // namespace berth::cli
