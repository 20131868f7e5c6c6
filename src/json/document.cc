#include "json/document.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

namespace berth::json {
namespace {

using Kind = Value::Kind;

constexpr std::size_t kShownKey = 48;    // bytes of one odd key in a path
constexpr std::size_t kShownPath = 400;  // longer paths end in "..."

struct Node {
  const char* key = nullptr;
  union {
    std::int64_t integer = 0;  // kInteger; kBool as 0 and 1
    const char* text;          // kString; kReal: the number as it was written
    const Node* children;      // kArray, kObject: `size` of them; members sorted by key
  };
  std::uint32_t key_size = 0;
  std::uint32_t size = 0;
  Kind kind = Kind::kNull;

  std::string_view Key() const { return {key, key_size}; }
  std::string_view Text() const { return {text, size}; }
  std::span<const Node> Children() const { return {children, size}; }
  bool Container() const { return kind == Kind::kArray || kind == Kind::kObject; }
};

const Node& AsNode(const void* node) { return *static_cast<const Node*>(node); }

bool IsPlainKey(std::string_view key) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !key.empty() && key.size() <= kShownKey && std::all_of(key.begin(), key.end(), plain);
}

std::string Step(const std::string& path, std::string_view step) {
  if (path.size() + step.size() <= kShownPath) return path + std::string(step);
  return path.ends_with("...") ? path : path + "...";
}

std::string MemberPath(const std::string& path, std::string_view key) {
  if (IsPlainKey(key)) return Step(path, "." + std::string(key));
  // A key that is a URL (auths of a docker config file) may have a password before its '@'.
  key.remove_prefix(key.rfind('@') + 1);  // npos + 1 is 0
  if (key.size() <= kShownKey) return Step(path, "[" + Quoted(key) + "]");
  return Step(path, "[" + Quoted(key.substr(0, kShownKey)) + "...]");
}

std::string ElementPath(const std::string& path, std::size_t index) {
  return Step(path, "[" + std::to_string(index) + "]");
}

// Memory of one document. Neither the characters nor the blocks of nodes ever move.
class Arena {
 public:
  explicit Arena(std::size_t text_bytes) { text_.reserve(text_bytes); }

  // Unescaped text is never longer than its escaped form, so one reservation of the document's size holds all.
  const char* Text(std::string_view s) {
    BERTH_CHECK(text_.capacity() - text_.size() >= s.size());
    const std::size_t at = text_.size();
    text_ += s;
    return text_.data() + at;
  }

  const Node* Block(std::span<const Node> nodes) {
    constexpr std::size_t kChunk = 128;
    if (nodes.empty()) return nullptr;
    if (room_ < nodes.size()) {
      room_ = std::max(kChunk, nodes.size());
      chunks_.push_back(std::make_unique<Node[]>(room_));
      next_ = chunks_.back().get();
    }
    Node* const block = next_;
    std::copy(nodes.begin(), nodes.end(), block);
    next_ += nodes.size();
    room_ -= nodes.size();
    return block;
  }

 private:
  std::string text_;
  std::vector<std::unique_ptr<Node[]>> chunks_;
  Node* next_ = nullptr;
  std::size_t room_ = 0;
};

// Takes the parser's calls and builds the tree from the leaves up: finished values wait in `pending_` until their
// container closes, which then moves them into one block.
class Builder {
 public:
  // The names that nlohmann::json_sax asks for.
  using Json = nlohmann::json;
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  Builder(Arena& arena, Reason reason, const Limits& limits) : arena_(arena), reason_(reason), limits_(limits) {}

  bool null() {
    return Add(Kind::kNull, [](Node&) {});
  }
  bool boolean(bool value) {
    return Add(Kind::kBool, [&](Node& n) { n.integer = value ? 1 : 0; });
  }
  bool number_integer(number_integer_t value) {
    // Positive numbers come as unsigned ones, so a zero here was written "-0".
    if (value == 0) return Real("-0");
    return Add(Kind::kInteger, [&](Node& n) { n.integer = value; });
  }
  bool number_unsigned(number_unsigned_t value) {
    if (value > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max())) {
      return Real(std::to_string(value));
    }
    return Add(Kind::kInteger, [&](Node& n) { n.integer = static_cast<std::int64_t>(value); });
  }
  bool number_float(number_float_t, const string_t& written) { return Real(written); }
  bool string(string_t& value) {
    return Add(Kind::kString, [&](Node& n) { SetText(n, value); });
  }
  bool binary(binary_t&) { return false; }  // not in text

  bool start_object(std::size_t) { return Open(Kind::kObject); }
  bool start_array(std::size_t) { return Open(Kind::kArray); }
  bool key(string_t& key) {
    open_.back().key = arena_.Text(key);
    open_.back().key_size = static_cast<std::uint32_t>(key.size());
    return true;
  }
  bool end_array() { return Close(); }
  bool end_object() {
    const auto members = Waiting();
    const auto before = [](const Node& a, const Node& b) { return a.Key() < b.Key(); };
    std::sort(members.begin(), members.end(), before);
    const auto twice = std::adjacent_find(members.begin(), members.end(),
                                          [](const Node& a, const Node& b) { return a.Key() == b.Key(); });
    if (twice != members.end()) return Fail(reason_, MemberPath(Place(), twice->Key()) + " is there twice");
    return Close();
  }

  template <class Exception>
  bool parse_error(std::size_t position, const std::string&, const Exception& exception) {
    constexpr int kNumberOverflow = 406;
    return Fail(reason_,
                (exception.id == kNumberOverflow ? "number out of range at byte " : "not valid JSON at byte ") +
                    std::to_string(position));
  }

  const Node* TakeRoot() { return arena_.Block(pending_); }
  Error TakeError() { return *std::move(error_); }

 private:
  struct Container {
    Kind kind;
    std::size_t first;  // its first child in pending_
    const char* key = nullptr;
    std::uint32_t key_size = 0;
  };

  bool Fail(Reason reason, std::string message) {
    error_.emplace(reason, std::move(message));
    return false;
  }

  void SetText(Node& node, std::string_view text) {
    node.text = arena_.Text(text);
    node.size = static_cast<std::uint32_t>(text.size());
  }

  bool Real(std::string_view written) {
    return Add(Kind::kReal, [&](Node& n) { SetText(n, written); });
  }

  // Fails beyond the limit of values; else appends a value whose content `fill` sets.
  template <class Fill>
  bool Add(Kind kind, Fill fill) {
    if (!Count()) return false;
    Append(kind, fill);
    return true;
  }

  template <class Fill>
  void Append(Kind kind, Fill fill) {
    Node& node = pending_.emplace_back();
    node.kind = kind;
    if (!open_.empty() && open_.back().kind == Kind::kObject) {
      node.key = open_.back().key;
      node.key_size = open_.back().key_size;
    }
    fill(node);
  }

  bool Count() {
    if (++values_ <= limits_.values) return true;
    return Fail(Reason::kLimitExceeded,
                "JSON with more than " + std::to_string(limits_.values) + " values (limit: values)");
  }

  bool Open(Kind kind) {
    if (!Count()) return false;
    if (open_.size() >= limits_.depth) {
      return Fail(Reason::kLimitExceeded,
                  "JSON nested deeper than " + std::to_string(limits_.depth) + " levels (limit: depth)");
    }
    open_.push_back({kind, pending_.size()});
    return true;
  }

  std::span<Node> Waiting() { return std::span(pending_).subspan(open_.back().first); }

  bool Close() {
    const Container done = open_.back();
    const std::span<const Node> children = Waiting();
    const auto size = static_cast<std::uint32_t>(children.size());
    const Node* const block = arena_.Block(children);
    pending_.resize(done.first);
    open_.pop_back();
    Append(done.kind, [&](Node& n) {
      n.children = block;
      n.size = size;
    });
    return true;
  }

  // Where the innermost open container is.
  std::string Place() const {
    std::string path = "$";
    for (std::size_t i = 0; i + 1 < open_.size(); ++i) {
      const Container& c = open_[i];
      path = c.kind == Kind::kObject ? MemberPath(path, {c.key, c.key_size})
                                     : ElementPath(path, open_[i + 1].first - c.first);
    }
    return path;
  }

  Arena& arena_;
  const Reason reason_;
  const Limits& limits_;
  std::size_t values_ = 0;
  std::vector<Node> pending_;
  std::vector<Container> open_;
  std::optional<Error> error_;
};

Error Expected(Reason reason, const std::string& path, std::string_view wanted) {
  return Error(reason, path + " must be " + std::string(wanted));
}

}  // namespace

Value::Kind Value::kind() const { return AsNode(node_).kind; }

Result<bool> Value::AsBool() const {
  if (kind() != Kind::kBool) return Expected(reason_, path_, "true or false");
  return AsNode(node_).integer != 0;
}

Result<std::int64_t> Value::AsInt64() const {
  if (kind() != Kind::kInteger) return Expected(reason_, path_, "an integer of at most 63 bits");
  return AsNode(node_).integer;
}

Result<double> Value::AsDouble() const {
  const Node& node = AsNode(node_);
  if (node.kind == Kind::kInteger) return static_cast<double>(node.integer);
  double value = 0;
  if (node.kind == Kind::kReal) {
    const std::string_view text = node.Text();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
  }
  return Expected(reason_, path_, "a number");
}

Result<std::string_view> Value::AsString() const {
  if (!IsString()) return Expected(reason_, path_, "a string");
  return AsNode(node_).Text();
}

std::size_t Value::size() const {
  const Node& node = AsNode(node_);
  return node.Container() ? node.size : 0;
}

Value Value::at(std::size_t index) const {
  BERTH_CHECK(IsArray() && index < size());
  return Value(AsNode(node_).children + index, reason_, ElementPath(path_, index));
}

std::optional<Value> Value::Find(std::string_view key) const {
  if (!IsObject()) return std::nullopt;
  const std::span<const Node> members = AsNode(node_).Children();
  const auto it = std::lower_bound(members.begin(), members.end(), key,
                                   [](const Node& n, std::string_view k) { return n.Key() < k; });
  if (it == members.end() || it->Key() != key) return std::nullopt;
  return Value(&*it, reason_, MemberPath(path_, key));
}

Result<Value> Value::Get(std::string_view key) const {
  if (!IsObject()) return Expected(reason_, path_, "an object");
  if (std::optional<Value> found = Find(key)) return *std::move(found);
  return Error(reason_, MemberPath(path_, key) + " is missing");
}

std::vector<std::pair<std::string_view, Value>> Value::Members() const {
  std::vector<std::pair<std::string_view, Value>> out;
  if (!IsObject()) return out;
  out.reserve(size());
  for (const Node& n : AsNode(node_).Children())
    out.emplace_back(n.Key(), Value(&n, reason_, MemberPath(path_, n.Key())));
  return out;
}

std::string Value::Dump() const {
  struct Open {
    const Node* container;
    std::size_t next;
  };
  Writer writer;
  std::vector<Open> open;
  const auto write = [&](const Node& n) {
    switch (n.kind) {
      case Kind::kNull: writer.Null(); break;
      case Kind::kBool: writer.Bool(n.integer != 0); break;
      case Kind::kInteger: writer.Int(n.integer); break;
      case Kind::kReal: writer.Raw(n.Text()); break;
      case Kind::kString: writer.String(n.Text()); break;
      case Kind::kArray: writer.BeginArray(); break;
      case Kind::kObject: writer.BeginObject(); break;
    }
    if (n.Container()) open.push_back({&n, 0});
  };
  write(AsNode(node_));
  while (!open.empty()) {
    const Node& container = *open.back().container;
    const bool object = container.kind == Kind::kObject;
    if (open.back().next == container.size) {
      object ? writer.EndObject() : writer.EndArray();
      open.pop_back();
      continue;
    }
    const Node& child = container.children[open.back().next++];
    if (object) writer.Key(child.Key());
    write(child);
  }
  return std::move(writer).Take();
}

struct Document::State {
  Arena arena;
  Reason reason;
  const Node* root = nullptr;
};

Document::Document(std::unique_ptr<State> state) : state_(std::move(state)) {}
Document::Document(Document&&) noexcept = default;
Document& Document::operator=(Document&&) noexcept = default;
Document::~Document() = default;

Value Document::root() const {
  BERTH_CHECK(state_ != nullptr);
  return Value(state_->root, state_->reason, "$");
}

Result<Document> Document::Parse(std::string_view text, Reason reason, const Limits& limits) {
  // Node counts in 32 bits.
  const std::size_t most = std::min<std::size_t>(limits.bytes, std::numeric_limits<std::uint32_t>::max());
  if (text.size() > most) {
    return Error(Reason::kLimitExceeded, "JSON larger than " + std::to_string(most) + " bytes (limit: bytes)");
  }
  // The parser behind this would skip a byte order mark and take a NUL for the end.
  if (text.starts_with("\xEF\xBB\xBF")) return Error(reason, "not valid JSON: it begins with a byte order mark");
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return Error(reason, "not valid JSON at byte " + std::to_string(nul + 1));
  }
  auto state = std::make_unique<State>(State{Arena(text.size()), reason});
  Builder builder(state->arena, reason, limits);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) return builder.TakeError();
  state->root = builder.TakeRoot();
  return Document(std::move(state));
}

}  // namespace berth::json
