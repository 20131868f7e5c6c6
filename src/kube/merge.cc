#include "kube/merge.h"

#include <algorithm>

#include "kube/schema.h"

namespace berth::kube {
namespace {

using json::Tree;

const Tree& Get(const Tree* t, std::string_view key) {
  static const Tree kNull;
  const Tree* m = t == nullptr ? nullptr : t->Find(key);
  return m == nullptr ? kNull : *m;
}

const Tree* ByKey(const Tree& list, std::string_view key, const Tree& like) {
  for (const Tree& item : list.items())
    if (key.empty() ? item == like : Get(&item, key) == Get(&like, key)) return &item;
  return nullptr;
}

Tree Merge(const Tree& last, const Tree& live, const Tree& wanted, const FieldType* field);

Tree MergeMembers(const Tree& last, const Tree& live, const Tree& wanted, const Type* type) {
  Tree out = live;
  for (const Tree::Member& m : last.members())
    if (wanted.Find(m.first) == nullptr) out.Erase(m.first);
  for (const Tree::Member& m : wanted.members()) {
    if (m.second.IsNull()) {
      out.Erase(m.first);
      continue;
    }
    const Field* field = type == nullptr ? nullptr : type->Find(m.first);
    out[m.first] = Merge(Get(&last, m.first), Get(&live, m.first), m.second, field == nullptr ? nullptr : &field->type);
  }
  return out;
}

Tree MergeList(const Tree& last, const Tree& live, const Tree& wanted, const FieldType& field) {
  const std::string_view key = *field.merge;
  FieldType item_type = field;
  item_type.shape = FieldType::Shape::kSingle;
  Tree out = Tree::Array();
  for (const Tree& item : wanted.items()) {
    const Tree *before = ByKey(last, key, item), *now = ByKey(live, key, item);
    Tree merged = Merge(before == nullptr ? Tree() : *before, now == nullptr ? Tree() : *now, item, &item_type);
    // One source only: Kubernetes' "retainKeys" for volumes.
    if (field.type != nullptr && field.type->name == "Volume" && now != nullptr) {
      const Tree both = merged;
      for (const Tree::Member& m : both.members())
        if (item.Find(m.first) == nullptr) merged.Erase(m.first);
    }
    out.Append(std::move(merged));
  }
  for (const Tree& item : live.items())
    if (ByKey(wanted, key, item) == nullptr && ByKey(last, key, item) == nullptr) out.Append(item);
  return out;
}

Tree Merge(const Tree& last, const Tree& live, const Tree& wanted, const FieldType* field) {
  if (wanted.IsObject() && live.IsObject()) {
    const bool single = field != nullptr && field->shape == FieldType::Shape::kSingle;
    return MergeMembers(last, live, wanted, single ? field->type : nullptr);
  }
  if (wanted.IsArray() && live.IsArray() && field != nullptr && field->merge) return MergeList(last, live, wanted, *field);
  return wanted;
}

void DropAnnotation(Tree& object) {
  Tree* metadata = object.Find("metadata");
  Tree* annotations = metadata == nullptr ? nullptr : metadata->Find("annotations");
  if (annotations != nullptr && annotations->Erase(kLastApplied) && annotations->members().empty()) metadata->Erase("annotations");
}

}  // namespace

Tree MergeApplied(const Tree& last, const Tree& live, const Tree& wanted, std::string_view kind) {
  Tree before = last, now = wanted;
  DropAnnotation(before);
  DropAnnotation(now);
  // Applying says nothing about these, whatever the file had.
  for (Tree* t : {&before, &now}) t->Erase("status");
  return MergeMembers(before, live, now, FindType(kind));
}

std::string LastApplied(const Tree& object) {
  Tree copy = object;
  DropAnnotation(copy);
  copy.Erase("status");
  Tree& metadata = copy["metadata"];
  if (metadata.Find("annotations") == nullptr) metadata["annotations"] = Tree::Object();
  return copy.Dump() + "\n";
}

}  // namespace berth::kube
