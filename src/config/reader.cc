#include "config/reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <optional>
#include <sstream>
#include <utility>

#include "log/log.h"

namespace berth::config {
namespace {

constexpr std::size_t kBytes = 1u << 20;
constexpr std::size_t kDepth = 16;
constexpr int kDocuments = 16;

Error At(std::string_view name, int line, const std::string& what) {
  return Error(Reason::kConfig, std::string(name) + ":" + std::to_string(line) + ": " + what);
}

struct Node {
  enum class Kind : unsigned char { kNull, kScalar, kList, kMap } kind = Kind::kNull;
  std::string text;
  int line = 0;
  std::vector<Node> items;  // of a list; of a map: key, value, key, value, …
};

// Builds one document from the parser's events. Not yaml-cpp's own tree: its LoadAll never ends on some malformed texts
// (",a?b": one empty document after another), and our settings have no use for aliases.
class Builder final : public YAML::EventHandler {
 public:
  using Mark = YAML::Mark;
  void OnDocumentStart(const Mark& mark) override {
    at_ = mark.pos;
    open_.clear();
    root_ = {.line = mark.line + 1};
  }
  void OnDocumentEnd() override {}
  void OnNull(const Mark& mark, YAML::anchor_t) override { Add({.line = mark.line + 1}); }
  void OnAlias(const Mark& mark, YAML::anchor_t) override { Refuse(mark, "aliases (*name) are not supported"); }
  void OnScalar(const Mark& mark, const std::string&, YAML::anchor_t, const std::string& value) override {
    Add({.kind = Node::Kind::kScalar, .text = value, .line = mark.line + 1});
  }
  void OnSequenceStart(const Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    Open(mark, Node::Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    Open(mark, Node::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

  int at() const { return at_; }  // where the document began, in bytes
  const Node& root() const { return root_; }
  const std::optional<std::pair<int, std::string>>& refused() const { return refused_; }

 private:
  void Refuse(const Mark& mark, std::string why) {
    if (!refused_) refused_.emplace(mark.line + 1, std::move(why));
  }
  void Open(const Mark& mark, Node::Kind kind) {
    if (open_.size() >= kDepth) Refuse(mark, "nested deeper than " + std::to_string(kDepth));
    open_.push_back({.kind = kind, .line = mark.line + 1});
  }
  void Close() {
    Node done = std::move(open_.back());
    open_.pop_back();
    Add(std::move(done));
  }
  void Add(Node node) {
    if (open_.empty()) root_ = std::move(node);
    else open_.back().items.push_back(std::move(node));
  }

  int at_ = -1;
  Node root_;
  std::vector<Node> open_;
  std::optional<std::pair<int, std::string>> refused_;
};

Result<> Flatten(const Node& map, const std::string& prefix, std::string_view name, std::vector<Entry>& out) {
  for (std::size_t i = 0; i + 1 < map.items.size(); i += 2) {
    const Node& key = map.items[i];
    const Node& value = map.items[i + 1];
    if (key.kind != Node::Kind::kScalar) return At(name, key.line, "a key must be plain text");
    if (value.kind == Node::Kind::kMap) {
      RETURN_IF_ERROR(Flatten(value, prefix + key.text + ".", name, out));
      continue;
    }
    Entry entry{.key = prefix + key.text, .values = {}, .list = value.kind == Node::Kind::kList, .line = key.line};
    if (!entry.list) entry.values.push_back(value.text);
    for (const Node& item : value.items) {
      if (item.kind != Node::Kind::kScalar) return At(name, item.line, Quoted(entry.key) + " must be a list of plain values");
      entry.values.push_back(item.text);
    }
    out.push_back(std::move(entry));
  }
  return {};
}

// "" when it is not there or not plain.
std::string Member(const Node& map, std::string_view name) {
  for (std::size_t i = 0; i + 1 < map.items.size(); i += 2)
    if (map.items[i].text == name) return map.items[i + 1].text;
  return "";
}

Result<> ReadDocument(const Node& document, std::string_view name, std::vector<Entry>& out) {
  if (document.kind == Node::Kind::kNull) return {};
  if (document.kind != Node::Kind::kMap) return At(name, document.line, "a document must be a map of settings");
  const std::string kind = Member(document, "kind"), version = Member(document, "apiVersion");
  if (kind == "KubeletConfiguration") {
    log::Info("KubeletConfiguration is left alone by this version", {{"file", name}});
    return {};
  }
  if (kind != "ImageDaemonConfiguration")
    return At(name, document.line, "kind is " + Quoted(kind) + ", wanted is ImageDaemonConfiguration (apiVersion: berth.dev/v1alpha1)");
  if (version != "berth.dev/v1alpha1") return At(name, document.line, "apiVersion is " + Quoted(version) + ", wanted is berth.dev/v1alpha1");
  return Flatten(document, "", name, out);
}

}  // namespace

Result<std::vector<Entry>> ReadYaml(std::string_view text, std::string_view name) {
  if (text.size() > kBytes) return Error(Reason::kConfig, std::string(name) + " is larger than 1 MiB");
  std::vector<Entry> entries;
  try {
    std::istringstream input{std::string(text)};
    YAML::Parser parser(input);
    Builder builder;
    int documents = 0;
    for (int before = -1; parser.HandleNextDocument(builder); before = builder.at()) {
      if (const auto& refused = builder.refused()) return At(name, refused->first, refused->second);
      if (builder.at() == before) return At(name, builder.root().line, "this is no valid YAML");  // it does not get on
      if (++documents > kDocuments) return At(name, builder.root().line, "more than " + std::to_string(kDocuments) + " documents");
      RETURN_IF_ERROR(ReadDocument(builder.root(), name, entries));
    }
  } catch (const YAML::Exception& e) {
    return At(name, e.mark.line + 1, "this is no valid YAML");
  }
  std::erase_if(entries, [](const Entry& e) { return e.key == "kind" || e.key == "apiVersion"; });
  return entries;
}

}  // namespace berth::config
