#include "kube/selector.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <span>

#include "kube/parse.h"
#include "kube/validate.h"

namespace berth::kube {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsSpecial(char c) { return c == '=' || c == '!' || c == '(' || c == ')' || c == ',' || c == '<' || c == '>'; }

std::optional<std::int64_t> Integer(std::string_view text) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(n) : std::nullopt;
}

bool IsLess(std::string_view a, std::string_view b) {
  const auto x = Integer(a), y = Integer(b);
  return x && y && *x < *y;
}

// "=", "==", "!=", "(", ",", … or a word; "" at the end.
class Words {
 public:
  explicit Words(std::string_view text) : text_(text) {}
  std::string_view Next() {
    while (!text_.empty() && IsSpace(text_.front())) text_.remove_prefix(1);
    if (text_.empty()) return {};
    std::size_t n = 1;
    if (IsSpecial(text_.front())) {
      if (text_.starts_with("==") || text_.starts_with("!=")) n = 2;
    } else {
      while (n < text_.size() && !IsSpace(text_[n]) && !IsSpecial(text_[n])) ++n;
    }
    const auto word = text_.substr(0, n);
    text_.remove_prefix(n);
    return word;
  }
  std::string_view Peek() const { return Words(*this).Next(); }

 private:
  std::string_view text_;
};

// metadata.name and metadata.namespace are everywhere.
struct Offered {
  std::string_view kind;
  std::span<const std::string_view> fields;
};
constexpr std::string_view kPodFields[] = {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
                                           "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"};
constexpr std::string_view kEventFields[] = {"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
                                             "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
                                             "reportingComponent", "source", "type"};
constexpr std::string_view kSecretFields[] = {"type"}, kNamespaceFields[] = {"status.phase"}, kNodeFields[] = {"spec.unschedulable"};
constexpr Offered kOffered[] = {{"Pod", kPodFields}, {"Event", kEventFields}, {"Secret", kSecretFields}, {"Namespace", kNamespaceFields}, {"Node", kNodeFields}};

std::span<const std::string_view> OfferedFor(std::string_view kind) {
  const auto found = std::ranges::find(kOffered, kind, &Offered::kind);
  return found == std::end(kOffered) ? std::span<const std::string_view>() : found->fields;
}

std::string ValueAt(const json::Value& root, std::string_view kind, std::string_view path) {
  const bool flag = path == "spec.unschedulable" || path == "spec.hostNetwork";
  if (kind == "Event" && path == "source") path = "source.component";
  const bool ips = path == "status.podIPs";
  if (ips) path = "status.podIP";
  std::optional<json::Value> at = root;
  while (at && !path.empty()) {
    const auto dot = path.find('.');
    at = at->Find(path.substr(0, dot));
    path = dot == path.npos ? std::string_view() : path.substr(dot + 1);
  }
  if (!at || at->IsNull()) return flag ? "false" : "";
  return at->IsString() ? std::string(*at->AsString()) : at->Dump();
}

}  // namespace

Answer<LabelSelector> LabelSelector::Parse(std::string_view text) {
  LabelSelector out;
  Words words(text);
  const auto refuse = [](std::string why) { return Status::BadRequest("unable to parse requirement: " + std::move(why)); };
  if (words.Peek().empty()) return out;
  for (;;) {
    Requirement r;
    std::string_view word = words.Next();
    if (word == "!") {
      r.op = Op::kAbsent;
      word = words.Next();
    }
    if (word.empty() || IsSpecial(word.front())) return refuse("found '" + std::string(word) + "', expected: identifier");
    if (!IsLabelKey(word)) return refuse("<nil>: Invalid value: " + Quoted(word) + ": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character");
    r.key = word;
    std::string_view next = words.Next();
    if (r.op != Op::kAbsent && !next.empty() && next != ",") {
      const bool set = next == "in" || next == "notin";
      if (next == "=" || next == "==" || next == "in") r.op = Op::kIn;
      else if (next == "!=" || next == "notin") r.op = Op::kNotIn;
      else if (next == ">") r.op = Op::kGreater;
      else if (next == "<") r.op = Op::kLess;
      else return refuse("found '" + std::string(next) + "', expected: in, notin, =, ==, !=, gt, lt");
      const auto value = [&]() -> std::string {
        const std::string_view peek = words.Peek();
        return peek.empty() || peek == "," || peek == ")" ? "" : std::string(words.Next());
      };
      if (set) {
        if (const auto open = words.Next(); open != "(") return refuse("found '" + std::string(open) + "' expected: '('");
        for (;;) {
          r.values.push_back(value());
          const auto after = words.Next();
          if (after == ")") break;
          if (after != ",") return refuse("found '" + std::string(after) + "', expected: ',' or ')'");
        }
      } else {
        r.values.push_back(value());
      }
      for (const std::string& v : r.values) {
        if (!IsLabelValue(v)) {
          return refuse("values[0][" + r.key + "]: Invalid value: " + Quoted(v) + ": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
                        "and must start and end with an alphanumeric character");
        }
        if ((r.op == Op::kGreater || r.op == Op::kLess) && !Integer(v)) return refuse("values[0]: Invalid value: " + Quoted(v) + ": for 'Gt', 'Lt' operators, the value must be an integer");
      }
      next = words.Next();
    }
    out.requirements_.push_back(std::move(r));
    if (next.empty()) return out;
    if (next != ",") return refuse("found '" + std::string(next) + "', expected: ',' or 'end of string'");
    if (words.Peek().empty()) return refuse("found '', expected: identifier after ','");
  }
}

bool LabelSelector::Matches(const StringMap& labels) const {
  return std::ranges::all_of(requirements_, [&](const Requirement& r) {
    const auto found = labels.find(r.key);
    const bool there = found != labels.end(), listed = there && std::ranges::find(r.values, found->second) != r.values.end();
    switch (r.op) {
      case Op::kIn: return listed;
      case Op::kNotIn: return !listed;
      case Op::kExists: return there;
      case Op::kAbsent: return !there;
      case Op::kGreater: return there && IsLess(r.values[0], found->second);
      case Op::kLess: return there && IsLess(found->second, r.values[0]);
    }
    return false;
  });
}

std::vector<std::string> Selectable(const json::Value& object, std::string_view kind) {
  std::vector<std::string> out;
  for (const auto field : OfferedFor(kind)) out.push_back(ValueAt(object, kind, field));
  return out;
}

Answer<FieldQuery> FieldQuery::Parse(std::string_view text, std::string_view kind) {
  FieldQuery out;
  // A backslash takes the meaning from ',', '=' and itself.
  std::string current;
  Term term;
  bool has_op = false;
  const auto finish = [&]() -> Answer<> {
    if (!has_op && current.empty()) return {};
    if (!has_op) return Status::BadRequest("invalid selector: " + Quoted(text) + "; can't understand " + Quoted(current));
    term.value = std::exchange(current, {});
    const bool everywhere = term.field == "metadata.name" || (term.field == "metadata.namespace" && IsNamespaced(kind));
    const auto offered = OfferedFor(kind);
    const auto field = std::ranges::find(offered, term.field);
    if (!everywhere && field == offered.end()) return Status::BadRequest("field label not supported: " + term.field);
    term.index = static_cast<std::size_t>(field - offered.begin());
    out.terms_.push_back(std::exchange(term, {}));
    has_op = false;
    return {};
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') {
      if (++i == text.size() || (text[i] != '\\' && text[i] != ',' && text[i] != '=')) return Status::BadRequest("invalid field selector: invalid escape sequence");
      current += text[i];
    } else if (c == ',') {
      if (auto done = finish(); !done) return Refusal(done);
    } else if (!has_op && (c == '=' || (c == '!' && i + 1 < text.size() && text[i + 1] == '='))) {
      term.field = std::exchange(current, {});
      term.equal = c == '=';
      if (c == '!' || (i + 1 < text.size() && text[i + 1] == '=')) ++i;
      has_op = true;
    } else {
      current += c;
    }
  }
  if (auto done = finish(); !done) return Refusal(done);
  return out;
}

bool FieldQuery::Matches(const Object& object) const {
  return std::ranges::all_of(terms_, [&](const Term& t) {
    const auto value = [&]() -> std::string_view {
      if (t.field == "metadata.name") return object.metadata.name;
      if (t.field == "metadata.namespace") return object.metadata.ns;
      return t.index < object.selectable.size() ? std::string_view(object.selectable[t.index]) : std::string_view();
    };
    return (value() == t.value) == t.equal;
  });
}

std::string FieldQuery::Name() const {
  for (const Term& t : terms_)
    if (t.equal && t.field == "metadata.name") return t.value;
  return "";
}

}  // namespace berth::kube
