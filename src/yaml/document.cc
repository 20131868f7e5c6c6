#include "yaml/document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <optional>
#include <sstream>
#include <unordered_set>
#include <utility>

#include "bytes/encoding.h"
#include "json/utf8.h"
#include "yaml/scalar.h"
#include "yaml/tokens.h"

namespace berth::yaml {

struct Document::Place {
  int line = 0;
  bool list = false;
  std::vector<std::string> names;  // of a map's children, in their order
  std::vector<Place> children;
};

namespace {

using Place = Document::Place;

constexpr std::size_t kGrowth = 4;  // JSON text per byte of YAML that we allow; aliases make it grow

class Failure {  // what every part here needs to complain
 public:
  Failure(std::string_view name, Reason reason) : name_(name), reason_(reason) {}
  Error operator()(int line, const std::string& what) const { return Error(reason_, Where(line) + what); }
  Error Limit(int line, const std::string& what) const { return Error(Reason::kLimitExceeded, Where(line) + what); }

 private:
  std::string Where(int line) const { return std::string(name_) + (line > 0 ? ":" + std::to_string(line) : "") + ": "; }
  std::string_view name_;
  Reason reason_;
};

std::string TooMany(const Limits& limits) { return "more than " + std::to_string(limits.values) + " values (limit: values)"; }
std::string Deeper(const Limits& limits) { return "nested deeper than " + std::to_string(limits.depth) + " (limit: depth)"; }

// Children by index into the builder's nodes, so that an alias is just the same index again.
struct Node {
  enum class Kind : std::uint8_t { kNull, kPlain, kText, kList, kMap } kind = Kind::kNull;
  bool open = false;
  int line = 0;
  std::string tag;   // an explicit one
  std::string text;
  std::vector<std::uint32_t> items;  // of a list; of a map: key, value, key, value, …
};

// The text was UTF-8 (CheckText), so what is none here is what yaml-cpp makes of the escapes \N and \_: one byte each.
std::string AsUtf8(std::string_view value) {
  std::string text;
  for (std::size_t i = 0; i < value.size();) {
    const std::size_t n = json::Utf8SequenceLength(value.substr(i));
    if (n == 0) text += '\xC2';
    text += value.substr(i, std::max<std::size_t>(n, 1));
    i += std::max<std::size_t>(n, 1);
  }
  return text;
}

// Builds one document from the parser's events. Not yaml-cpp's own tree: its LoadAll never ends on some malformed texts
// (",a?b": one empty document after another), and it does not tell quoted from plain text, nor aliases from copies.
class Builder final : public YAML::EventHandler {
 public:
  using Mark = YAML::Mark;
  using Style = YAML::EmitterStyle::value;

  explicit Builder(const Limits& limits) : limits_(limits) {}

  void OnDocumentStart(const Mark& mark) override {
    at_ = mark.pos;
    nodes_.clear();
    open_.clear();
    anchors_.clear();
    root_.reset();
    start_ = mark.line + 1;
  }
  void OnDocumentEnd() override {}
  void OnNull(const Mark& mark, YAML::anchor_t anchor) override { Add(New(mark, anchor, Node::Kind::kNull)); }
  void OnAlias(const Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end() || nodes_[it->second].open) Refuse(mark, "an alias within what it names");
    Count(mark);
    Add(it->second);
  }
  void OnScalar(const Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    const std::uint32_t node = New(mark, anchor, tag == "?" ? Node::Kind::kPlain : Node::Kind::kText, tag);
    nodes_[node].text = AsUtf8(value);
    Add(node);
  }
  void OnSequenceStart(const Mark& mark, const std::string&, YAML::anchor_t anchor, Style) override {
    Open(mark, anchor, Node::Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const Mark& mark, const std::string&, YAML::anchor_t anchor, Style) override {
    Open(mark, anchor, Node::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

  int at() const { return at_; }  // where the document began, in bytes
  int start() const { return start_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  std::optional<std::uint32_t> root() const { return root_; }
  struct Refusal {
    int line;
    std::string why;
    bool limit;
  };
  struct Stop {};  // thrown through the parser: nothing else ends it early
  const std::optional<Refusal>& refused() const { return refused_; }

 private:
  [[noreturn]] void Refuse(const Mark& mark, std::string why, bool limit = false) {
    refused_ = Refusal{mark.line + 1, std::move(why), limit};
    throw Stop{};
  }
  void Count(const Mark& mark) {
    if (++made_ > limits_.values) Refuse(mark, TooMany(limits_), true);
  }
  std::uint32_t New(const Mark& mark, YAML::anchor_t anchor, Node::Kind kind, const std::string& tag = "?") {
    Count(mark);
    const auto index = static_cast<std::uint32_t>(nodes_.size());
    nodes_.push_back({.kind = kind, .line = mark.line + 1, .tag = tag == "?" || tag == "!" ? "" : tag});
    if (anchor != YAML::NullAnchor) anchors_[anchor] = index;
    return index;
  }
  void Open(const Mark& mark, YAML::anchor_t anchor, Node::Kind kind) {
    if (open_.size() >= limits_.depth) Refuse(mark, Deeper(limits_), true);
    open_.push_back(New(mark, anchor, kind));
    nodes_[open_.back()].open = true;
  }
  void Close() {
    const std::uint32_t done = open_.back();
    open_.pop_back();
    nodes_[done].open = false;
    Add(done);
  }
  void Add(std::uint32_t node) {
    if (open_.empty()) root_ = node;
    else nodes_[open_.back()].items.push_back(node);
  }

  const Limits& limits_;
  int at_ = -1, start_ = 0;
  std::size_t made_ = 0;  // in all documents
  std::vector<Node> nodes_;
  std::vector<std::uint32_t> open_;
  std::map<YAML::anchor_t, std::uint32_t> anchors_;
  std::optional<std::uint32_t> root_;
  std::optional<Refusal> refused_;
};

// Nodes to JSON text and places; aliases and merge keys are expanded here, and counted.
class Converter {
 public:
  Converter(const std::vector<Node>& nodes, const Limits& limits, const Failure& fail, std::size_t& values)
      : nodes_(nodes), limits_(limits), fail_(fail), values_(values) {}

  Result<Place> Convert(std::uint32_t index, std::size_t depth = 0) {
    const Node& node = nodes_[index];
    RETURN_IF_ERROR(Count(node.line));
    Place place{.line = node.line};
    switch (node.kind) {
      case Node::Kind::kNull: writer_.Null(); break;
      case Node::Kind::kPlain:
      case Node::Kind::kText: RETURN_IF_ERROR(Scalar(node)); break;
      case Node::Kind::kList: {
        if (depth >= limits_.depth) return TooDeep(node.line);
        place.list = true;
        writer_.BeginArray();
        for (const std::uint32_t item : node.items) {
          ASSIGN_OR_RETURN(Place child, Convert(item, depth + 1));
          place.children.push_back(std::move(child));
        }
        writer_.EndArray();
        break;
      }
      case Node::Kind::kMap: {
        if (depth >= limits_.depth) return TooDeep(node.line);
        std::vector<Member> members;
        std::unordered_set<std::string> seen;
        RETURN_IF_ERROR(Collect(node, depth, seen, members));
        writer_.BeginObject();
        for (const Member& m : members) {
          writer_.Key(m.key);
          ASSIGN_OR_RETURN(Place child, Convert(m.value, depth + 1));
          child.line = m.line;
          place.names.push_back(m.key);
          place.children.push_back(std::move(child));
        }
        writer_.EndObject();
        break;
      }
    }
    if (writer_.text().size() > kGrowth * limits_.bytes) return TooLarge(node.line);
    return place;
  }

  const std::string& json() const { return writer_.text(); }

 private:
  struct Member {
    std::string key;
    std::uint32_t value;
    int line;
  };

  Result<> Count(int line) {
    if (++values_ <= limits_.values) return {};
    return fail_.Limit(line, "more than " + std::to_string(limits_.values) + " values, aliases expanded (limit: values)");
  }
  Error TooLarge(int line) const { return fail_.Limit(line, "aliases make this too large (limit: bytes)"); }
  Error TooDeep(int line) const { return fail_.Limit(line, Deeper(limits_)); }

  bool IsMerge(const Node& key) const {
    return (key.kind == Node::Kind::kPlain && Resolve(key.text).kind == Resolved::Kind::kMerge) || key.tag == "tag:yaml.org,2002:merge";
  }

  // The map's own members, then those of what it merges that it has not itself. Each visit of a merged map counts as a value,
  // and the bytes of each key as growth, also where nothing comes of them.
  Result<> Collect(const Node& map, std::size_t depth, std::unordered_set<std::string>& seen, std::vector<Member>& out) {
    if (depth >= limits_.depth) return TooDeep(map.line);
    std::unordered_set<std::string> own;
    for (std::size_t i = 0; i + 1 < map.items.size(); i += 2) {
      const Node& key = nodes_[map.items[i]];
      RETURN_IF_ERROR(Count(key.line));
      if (IsMerge(key)) continue;
      ASSIGN_OR_RETURN(std::string name, Key(key));
      if ((key_bytes_ += name.size()) > kGrowth * limits_.bytes) return TooLarge(key.line);
      if (!own.insert(name).second) return fail_(key.line, "key " + Quoted(name) + " is there twice");
      if (seen.insert(name).second) out.push_back({std::move(name), map.items[i + 1], key.line});
    }
    bool merged = false;
    for (std::size_t i = 0; i + 1 < map.items.size(); i += 2) {
      const Node& key = nodes_[map.items[i]];
      if (!IsMerge(key)) continue;
      if (std::exchange(merged, true)) return fail_(key.line, "key \"<<\" is there twice");
      const Node& from = nodes_[map.items[i + 1]];
      if (from.kind == Node::Kind::kMap) {
        RETURN_IF_ERROR(Count(key.line));
        RETURN_IF_ERROR(Collect(from, depth + 1, seen, out));
        continue;
      }
      if (from.kind != Node::Kind::kList) return fail_(key.line, "only maps can be merged (<<)");
      for (const std::uint32_t item : from.items) {
        if (nodes_[item].kind != Node::Kind::kMap) return fail_(key.line, "only maps can be merged (<<)");
        RETURN_IF_ERROR(Count(key.line));
        RETURN_IF_ERROR(Collect(nodes_[item], depth + 1, seen, out));
      }
    }
    return {};
  }

  Result<std::string> Key(const Node& key) const {
    if (key.kind == Node::Kind::kText || key.kind == Node::Kind::kPlain) {
      ASSIGN_OR_RETURN(const Resolved r, Meaning(key));
      if (r.kind == Resolved::Kind::kString || r.kind == Resolved::Kind::kMerge) return key.text;
      if (r.kind != Resolved::Kind::kNull) return r.text;
    }
    return fail_(key.line, "a key must be text, a number or a boolean");
  }

  Result<Resolved> Meaning(const Node& node) const {
    Resolved r;
    if (node.kind == Node::Kind::kPlain) {
      r = Resolve(node.text);
    } else if (node.tag.starts_with("tag:yaml.org,2002:")) {
      const std::string_view tag = std::string_view(node.tag).substr(18);
      using Kind = Resolved::Kind;
      const Resolved meant = Resolve(node.text);
      if (tag == "int" || tag == "float" || tag == "bool" || tag == "null") {
        const bool fits = tag == "int"     ? meant.kind == Kind::kInteger
                          : tag == "float" ? meant.kind == Kind::kInteger || meant.kind == Kind::kReal
                          : tag == "bool"  ? meant.kind == Kind::kBool
                                           : meant.kind == Kind::kNull;
        if (!fits) return fail_(node.line, "the value is not what its tag !!" + std::string(tag) + " says");
        r = meant;
      }
    }
    if (r.kind == Resolved::Kind::kNotFinite) return fail_(node.line, "infinity and NaN cannot be written as JSON");
    return r;
  }

  Result<> Scalar(const Node& node) {
    if (node.tag == "tag:yaml.org,2002:binary") {
      std::string text = node.text;
      std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' ' || c == '\t'; });
      const std::optional<std::string> bytes = bytes::FromBase64(text);
      if (!bytes) return fail_(node.line, "the value is not base64, as its tag !!binary says");
      for (std::size_t i = 0; i < bytes->size();) {
        const std::size_t n = json::Utf8SequenceLength(std::string_view(*bytes).substr(i));
        if (n == 0) return fail_(node.line, "the bytes of a !!binary value are not UTF-8 text");
        i += n;
      }
      writer_.String(*bytes);
      return {};
    }
    ASSIGN_OR_RETURN(const Resolved r, Meaning(node));
    switch (r.kind) {
      case Resolved::Kind::kNull: writer_.Null(); break;
      case Resolved::Kind::kBool:
      case Resolved::Kind::kInteger:
      case Resolved::Kind::kReal: writer_.Raw(r.text); break;
      default: writer_.String(node.text);
    }
    return {};
  }

  const std::vector<Node>& nodes_;
  const Limits& limits_;
  const Failure& fail_;
  std::size_t& values_;
  std::size_t key_bytes_ = 0;
  json::Writer writer_;
};

// Finds the end of a JSON value and the lines in it. Only brackets, strings and commas count: the JSON reader judges the rest.
class JsonScanner {
 public:
  JsonScanner(std::string_view text, std::size_t depth) : text_(text), depth_(depth) {}

  // False: this is no JSON.
  bool Scan(Place& place, std::size_t depth = 0) {
    SkipBlanks();
    place.line = line_;
    if (depth > depth_ || at_ >= text_.size()) return false;
    const char c = text_[at_];
    if (c == '"') return String().has_value();
    if (c != '{' && c != '[') {
      const std::size_t end = std::min(text_.find_first_of(",]} \t\r\n", at_), text_.size());
      return std::exchange(at_, end) != end;
    }
    const char close = c == '{' ? '}' : ']';
    place.list = c == '[';
    ++at_;
    if (Take(close)) return true;
    for (;;) {
      SkipBlanks();
      const int line = line_;
      if (c == '{') {
        const auto name = String();
        if (!name || !Take(':')) return false;
        place.names.emplace_back(*name);
      }
      Place& child = place.children.emplace_back();
      if (!Scan(child, depth + 1)) return false;
      if (c == '{') child.line = line;
      if (Take(close)) return true;
      if (!Take(',')) return false;
    }
  }
  void SkipBlanks() {
    for (; at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r' || text_[at_] == '\n'); ++at_)
      if (text_[at_] == '\n') ++line_;
  }
  std::size_t at() const { return at_; }

 private:
  bool Take(char c) {
    SkipBlanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  // Between the quotes, as written.
  std::optional<std::string_view> String() {
    if (at_ >= text_.size() || text_[at_] != '"') return std::nullopt;
    const std::size_t start = ++at_;
    for (; at_ < text_.size() && text_[at_] != '\n'; ++at_) {
      if (text_[at_] == '\\') ++at_;
      else if (text_[at_] == '"') return text_.substr(start, at_++ - start);
    }
    return std::nullopt;
  }

  std::string_view text_;
  std::size_t depth_, at_ = 0;
  int line_ = 1;
};

json::Limits ForJson(const Limits& limits) {
  return {.bytes = kGrowth * limits.bytes + (1u << 20), .depth = limits.depth, .values = limits.values};
}

// One JSON document behind the other; nullopt when the text is anything else (YAML has the last word, and the better errors).
std::optional<std::vector<Document>> ReadJson(std::string_view text, std::string_view name, Reason reason, const Limits& limits) {
  std::vector<Document> out;
  JsonScanner scanner(text, limits.depth);
  std::size_t values = limits.values;
  for (scanner.SkipBlanks(); scanner.at() < text.size(); scanner.SkipBlanks()) {
    const std::size_t start = scanner.at();
    if ((text[start] != '{' && text[start] != '[') || out.size() >= limits.documents) return std::nullopt;
    auto place = std::make_shared<Place>();
    if (!scanner.Scan(*place)) return std::nullopt;
    auto json_limits = ForJson(limits);
    json_limits.values = values;
    Result<json::Document> json = json::Document::Parse(text.substr(start, scanner.at() - start), reason, json_limits);
    if (!json) return std::nullopt;
    out.emplace_back(*std::move(json), std::string(name), place->line, place);
  }
  if (out.empty()) return std::nullopt;
  return out;
}

// The characters a YAML text may have.
Result<> CheckText(std::string_view text, const Failure& fail) {
  int line = 1;
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\n') ++line;
    const std::size_t n = json::Utf8SequenceLength(text.substr(i));
    if (n == 0) return fail(line, "not UTF-8 text");
    const bool control = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f ||
                         (n == 2 && c == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0 && text[i + 1] != '\x85');
    if (control) return fail(line, "a control character: write it escaped, in double quotes");
    if (text.substr(i, n) == "\xEF\xBB\xBF" && i > 0) return fail(line, "a byte order mark within the text");
    i += n;
  }
  return {};
}

}  // namespace

int Document::LineOf(std::string_view path) const {
  const Place* place = places_.get();
  if (path.starts_with('$')) path.remove_prefix(1);
  while (!path.empty()) {
    std::string_view step;
    if (path[0] == '[') {
      const bool quoted = path.starts_with("[\"");
      const std::size_t end = path.find(quoted ? "\"]" : "]");
      if (end == std::string_view::npos) break;
      step = path.substr(quoted ? 2 : 1, end - (quoted ? 2 : 1));
      path.remove_prefix(end + (quoted ? 2 : 1));
    } else {
      if (path[0] == '.') path.remove_prefix(1);
      const std::size_t end = std::min(path.find_first_of(".["), path.size());
      step = path.substr(0, end);
      path.remove_prefix(end);
    }
    const Place* next = nullptr;
    if (place->list) {
      std::size_t index = 0;
      const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), index);
      if (error == std::errc() && end == step.data() + step.size() && index < place->children.size()) next = &place->children[index];
    } else {
      const auto name = std::find(place->names.begin(), place->names.end(), step);
      if (name != place->names.end()) next = &place->children[static_cast<std::size_t>(name - place->names.begin())];
    }
    if (next == nullptr) break;
    place = next;
  }
  return place->line;
}

Result<std::vector<Document>> Parse(std::string_view text, std::string_view name, Reason reason, const Limits& limits) {
  const Failure fail(name, reason);
  if (text.size() > limits.bytes) return fail.Limit(0, "larger than " + std::to_string(limits.bytes) + " bytes (limit: bytes)");
  RETURN_IF_ERROR(CheckText(text, fail));
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (auto json = ReadJson(text, name, reason, limits)) return *std::move(json);
  if (text.size() > limits.values)  // what is shorter has no more tokens than that
    if (const auto excess = CountTokens(text, limits)) return fail.Limit(excess->line, excess->depth ? Deeper(limits) : TooMany(limits));

  std::vector<Document> out;
  std::size_t values = 0;
  Builder builder(limits);
  try {
    std::istringstream input{std::string(text)};
    YAML::Parser parser(input);
    for (int before = -1; parser.HandleNextDocument(builder); before = builder.at()) {
      if (builder.at() == before) return fail(builder.start(), "this is no valid YAML");  // it does not get on
      if (!builder.root() || builder.nodes()[*builder.root()].kind == Node::Kind::kNull) continue;
      if (out.size() >= limits.documents) return fail.Limit(builder.start(), "more than " + std::to_string(limits.documents) + " documents (limit: documents)");
      Converter converter(builder.nodes(), limits, fail, values);
      ASSIGN_OR_RETURN(Place place, converter.Convert(*builder.root()));
      Result<json::Document> json = json::Document::Parse(converter.json(), reason, ForJson(limits));
      if (!json) return Error(std::move(json).error()).Context(std::string(name) + ":" + std::to_string(place.line));
      const int line = place.line;
      out.emplace_back(*std::move(json), std::string(name), line, std::make_shared<const Place>(std::move(place)));
    }
  } catch (const Builder::Stop&) {
    const Builder::Refusal& refused = *builder.refused();
    return refused.limit ? fail.Limit(refused.line, refused.why) : fail(refused.line, refused.why);
  } catch (const YAML::Exception& e) {
    return fail(e.mark.line + 1, "this is no valid YAML");
  }
  return out;
}

}  // namespace berth::yaml
