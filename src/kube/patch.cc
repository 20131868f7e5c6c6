#include "kube/patch.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "json/patch.h"
#include "kube/schema.h"

namespace berth::kube {
namespace {

using json::Tree;

constexpr std::string_view kDirective = "$patch", kRetain = "$retainKeys";
constexpr std::string_view kDelete = "$deleteFromPrimitiveList/", kOrder = "$setElementOrder/";

bool IsDirective(std::string_view key) {
  return key == kDirective || key == kRetain || key.starts_with(kDelete) || key.starts_with(kOrder);
}

Status Refuse(std::string why) { return Status::BadRequest(std::move(why)); }

const Tree* Member(const Tree& item, std::string_view key) { return item.IsObject() ? item.Find(key) : nullptr; }

// The same item: by the merge key, or, of scalars (key ""), by value.
bool Same(const Tree& a, const Tree& b, std::string_view key) {
  if (key.empty()) return a == b;
  const Tree *x = Member(a, key), *y = Member(b, key);
  return x != nullptr && y != nullptr && *x == *y;
}
std::ptrdiff_t Find(const std::vector<Tree>& list, const Tree& like, std::string_view key) {
  const auto found = std::ranges::find_if(list, [&](const Tree& item) { return Same(item, like, key); });
  return found == list.end() ? -1 : found - list.begin();
}

// What a patch sets where nothing was: nulls and directives say nothing then.
Tree Plain(const Tree& value) {
  if (value.IsArray()) {
    Tree out = Tree::Array();
    for (const Tree& item : value.items())
      if (Member(item, kDirective) == nullptr) out.Append(Plain(item));
    return out;
  }
  if (!value.IsObject()) return value;
  Tree out = Tree::Object();
  for (const auto& [key, member] : value.members())
    if (!IsDirective(key) && !member.IsNull()) out[key] = Plain(member);
  return out;
}

// `wanted` names all items the patch knows, in its order. The others stay before whatever they were before.
void Order(std::vector<Tree>& items, const std::vector<Tree>& original, const Tree& wanted, std::string_view key) {
  std::vector<Tree> known, others, out;
  for (const Tree& like : wanted.items())
    if (const auto at = Find(items, like, key); at >= 0) known.push_back(items[static_cast<std::size_t>(at)]);
  for (Tree& item : items)
    if (Find(wanted.items(), item, key) < 0) others.push_back(std::move(item));
  std::size_t i = 0, j = 0;
  while (i < known.size() && j < others.size()) {
    const auto left = Find(original, known[i], key), right = Find(original, others[j], key);
    const bool first = left >= 0 && right >= 0 && left < right;
    out.push_back(std::move(first ? known[i++] : others[j++]));
  }
  for (; i < known.size(); ++i) out.push_back(std::move(known[i]));
  for (; j < others.size(); ++j) out.push_back(std::move(others[j]));
  items = std::move(out);
}

class Merger {
 public:
  Answer<> Object(Tree& object, const Tree& patch, const Type* type) {
    if (const Tree* directive = patch.Find(kDirective)) {
      if (directive->text() == "replace") return object = Plain(patch), Answer<>();
      if (directive->text() == "delete") return object = Tree::Object(), Answer<>();
      if (directive->text() != "merge") return Refuse("Unknown patch type found: " + Quoted(directive->text()));
    }
    if (const Tree* retain = patch.Find(kRetain)) {
      if (!retain->IsArray()) return Refuse("$retainKeys must be a list of names");
      const auto keeps = [&](const std::string& key) { return Find(retain->items(), Tree(key), "") >= 0; };
      for (const auto& [key, value] : patch.members())
        if (!IsDirective(key) && !value.IsNull() && !keeps(key)) return Refuse("the patch sets a field that its $retainKeys list does not have: " + Quoted(key));
      std::erase_if(object.members(), [&](const auto& m) { return !keeps(m.first); });
    }
    for (const auto& [key, value] : patch.members()) {
      if (key.starts_with(kDelete)) {
        Tree* list = object.Find(std::string_view(key).substr(kDelete.size()));
        if (list == nullptr) continue;
        std::erase_if(list->items(), [&, &value = value](const Tree& item) { return Find(value.items(), item, "") >= 0; });
      }
    }
    for (const auto& [key, value] : patch.members()) {
      if (IsDirective(key)) continue;
      if (value.IsNull()) {
        object.Erase(key);
        continue;
      }
      const Field* field = type == nullptr ? nullptr : type->Find(key);
      Tree* live = object.Find(key);
      if (live == nullptr || live->kind() != value.kind() || (!value.IsObject() && !value.IsArray())) {
        object[key] = Plain(value);
      } else if (value.IsObject()) {
        const bool single = field != nullptr && field->type.shape == FieldType::Shape::kSingle;
        if (auto merged = Object(*live, value, single ? field->type.type : nullptr); !merged) return merged;
      } else if (field != nullptr && field->type.merge) {
        const Tree* order = patch.Find(std::string(kOrder) + key);
        if (auto merged = List(*live, value, field->type, order); !merged) return merged;
      } else {
        *live = Plain(value);
      }
    }
    // An order alone, for a list that the patch does not touch otherwise.
    for (const auto& [key, value] : patch.members()) {
      if (!key.starts_with(kOrder)) continue;
      const std::string name = key.substr(kOrder.size());
      const Field* field = type == nullptr ? nullptr : type->Find(name);
      Tree* live = object.Find(name);
      if (patch.Find(name) != nullptr || live == nullptr || field == nullptr || !field->type.merge) continue;
      const std::vector<Tree> original = live->items();
      Order(live->items(), original, value, *field->type.merge);
    }
    return {};
  }

 private:
  Answer<> List(Tree& live, const Tree& patch, const FieldType& field, const Tree* order) {
    const std::string_view key = *field.merge;
    const std::vector<Tree> original = live.items();
    std::vector<Tree>& items = live.items();
    for (const Tree& item : patch.items()) {
      const Tree* directive = Member(item, kDirective);
      if (directive == nullptr) continue;
      if (directive->text() == "replace") return live = Plain(patch), Answer<>();
      if (directive->text() == "merge") return Refuse("merging lists cannot yet be done by the directive $patch: merge");
      if (directive->text() != "delete") return Refuse("Unknown patch type found: " + Quoted(directive->text()));
      if (key.empty() || Member(item, key) == nullptr) return Refuse("delete patch type with no merge key defined");
      std::erase_if(items, [&](const Tree& there) { return Same(there, item, key); });
    }
    for (const Tree& item : patch.items()) {
      if (Member(item, kDirective) != nullptr) continue;
      if (!key.empty() && Member(item, key) == nullptr) return Refuse("an item of a list in the patch does not contain declared merge key: " + std::string(key));
      const auto at = Find(items, item, key);
      if (at < 0) {
        items.push_back(Plain(item));
      } else if (item.IsObject()) {
        if (auto merged = Object(items[static_cast<std::size_t>(at)], item, field.type); !merged) return merged;
      }
    }
    if (order != nullptr) Order(items, original, *order, key);
    return {};
  }
};

}  // namespace

Answer<> ApplyPatch(Tree& object, PatchType type, const json::Value& patch, std::string_view kind) {
  if (type == PatchType::kJson) {
    if (!patch.IsArray()) return Status::BadRequest("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch");
    const Result<> applied = json::ApplyPatch(object, patch);
    if (applied && object.IsObject()) return {};
    if (!applied && applied.error().reason() == Reason::kLimitExceeded)
      return Status{.reason = "RequestEntityTooLarge", .code = 413, .message = "Request entity too large: " + applied.error().message()};
    return Status{.reason = "Invalid", .code = 422, .message = "the server rejected our request due to an error in our request",
                  .causes = {{"UnexpectedServerResponse", applied ? "the patch leaves no object" : applied.error().message(), ""}}};
  }
  if (!patch.IsObject()) return Status::BadRequest("error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}");
  const Tree changes(patch);
  if (type == PatchType::kStrategic) return Merger().Object(object, changes, FindType(kind));
  json::MergePatch(object, changes);
  return {};
}

}  // namespace berth::kube
