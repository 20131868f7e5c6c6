// json/tree.h: a JSON value that can be changed: the builder of what json/document.h reads.
//
//   json::Tree pod(document.root());
//   pod["spec"]["restartPolicy"] = json::Tree("Always");
//   if (json::Tree* spec = pod.Find("spec")) spec->Erase("nodeName");
//   ASSIGN_OR_RETURN(auto again, json::Document::Parse(pod.Dump(), Reason::kUsage));
//
// Objects keep their members sorted by the bytes of the key, so that equal values dump as equal text; numbers keep the
// spelling they were read with. References to members stay good while others come and go, those to items do not. A plain
// value: copies are deep. Not for input: Document checks, Tree trusts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "json/document.h"

namespace berth::json {

class Tree {
 public:
  using Kind = Value::Kind;
  using Members = std::map<std::string, Tree, std::less<>>;
  using Member = Members::value_type;

  Tree() = default;  // null
  explicit Tree(const Value& value);
  explicit Tree(std::string_view text) : kind_(Kind::kString), text_(text) {}
  explicit Tree(const char* text) : Tree(std::string_view(text)) {}
  explicit Tree(const std::string& text) : Tree(std::string_view(text)) {}
  explicit Tree(bool value) : kind_(Kind::kBool), text_(value ? "true" : "false") {}
  explicit Tree(std::int64_t value) : kind_(Kind::kInteger), text_(std::to_string(value)) {}
  explicit Tree(int value) : Tree(static_cast<std::int64_t>(value)) {}
  static Tree Object() { return Tree(Kind::kObject); }
  static Tree Array() { return Tree(Kind::kArray); }

  Kind kind() const { return kind_; }
  bool IsNull() const { return kind_ == Kind::kNull; }
  bool IsObject() const { return kind_ == Kind::kObject; }
  bool IsArray() const { return kind_ == Kind::kArray; }
  bool IsString() const { return kind_ == Kind::kString; }
  // Of a string; "" for anything else.
  std::string_view text() const { return IsString() ? std::string_view(text_) : std::string_view(); }

  // Objects. On anything else: Find is nullptr, Erase false; operator[] first makes it an empty object.
  const Members& members() const { return members_; }
  Members& members() { return members_; }
  const Tree* Find(std::string_view key) const;
  Tree* Find(std::string_view key);
  std::string_view Text(std::string_view key) const;  // of a member that is a string, else ""
  Tree& operator[](std::string_view key);             // made when absent (null)
  bool Erase(std::string_view key);

  // Arrays. Append first makes anything else an empty array.
  const std::vector<Tree>& items() const { return items_; }
  std::vector<Tree>& items() { return items_; }
  Tree& Append(Tree item);

  // Compact JSON, as Value::Dump.
  std::string Dump() const;
  friend bool operator==(const Tree& a, const Tree& b);

 private:
  explicit Tree(Kind kind) : kind_(kind) {}
  void Write(Writer& writer) const;

  Kind kind_ = Kind::kNull;
  std::string text_;             // of a string; numbers and booleans as JSON
  std::vector<Tree> items_;
  Members members_;
};

// RFC 7386: null removes, objects merge, everything else replaces.
void MergePatch(Tree& target, const Tree& patch);

}  // namespace berth::json
