#include "json/tree.h"

#include <utility>

namespace berth::json {
Tree::Tree(const Value& value) : kind_(value.kind()) {
  switch (kind_) {
    case Kind::kNull: break;
    case Kind::kBool:
    case Kind::kInteger:
    case Kind::kReal: text_ = value.Dump(); break;
    case Kind::kString: text_ = *value.AsString(); break;
    case Kind::kArray:
      items_.reserve(value.size());
      for (std::size_t i = 0; i < value.size(); ++i) items_.emplace_back(value.at(i));
      break;
    case Kind::kObject:
      for (const auto& [key, member] : value.Members()) members_.emplace_hint(members_.end(), key, Tree(member));
      break;
  }
}

const Tree* Tree::Find(std::string_view key) const {
  const auto it = members_.find(key);
  return it == members_.end() ? nullptr : &it->second;
}
Tree* Tree::Find(std::string_view key) { return const_cast<Tree*>(std::as_const(*this).Find(key)); }

std::string_view Tree::Text(std::string_view key) const {
  const Tree* member = Find(key);
  return member == nullptr ? std::string_view() : member->text();
}

Tree& Tree::operator[](std::string_view key) {
  if (!IsObject()) *this = Object();
  return members_.try_emplace(std::string(key)).first->second;
}

bool Tree::Erase(std::string_view key) {
  const auto it = members_.find(key);
  if (it == members_.end()) return false;
  members_.erase(it);
  return true;
}

Tree& Tree::Append(Tree item) {
  if (!IsArray()) *this = Array();
  return items_.emplace_back(std::move(item));
}

void Tree::Write(Writer& writer) const {
  switch (kind_) {
    case Kind::kNull: writer.Null(); break;
    case Kind::kBool:
    case Kind::kInteger:
    case Kind::kReal: writer.Raw(text_); break;
    case Kind::kString: writer.String(text_); break;
    case Kind::kArray:
      writer.BeginArray();
      for (const Tree& item : items_) item.Write(writer);
      writer.EndArray();
      break;
    case Kind::kObject:
      writer.BeginObject();
      for (const Member& m : members_) {
        writer.Key(m.first);
        m.second.Write(writer);
      }
      writer.EndObject();
      break;
  }
}

std::string Tree::Dump() const {
  Writer writer;
  Write(writer);
  return std::move(writer).Take();
}

bool operator==(const Tree& a, const Tree& b) {
  return a.kind_ == b.kind_ && a.text_ == b.text_ && a.items_ == b.items_ && a.members_ == b.members_;
}

void MergePatch(Tree& target, const Tree& patch) {
  if (!patch.IsObject()) {
    target = patch;
    return;
  }
  if (!target.IsObject()) target = Tree::Object();
  for (const Tree::Member& m : patch.members()) {
    if (m.second.IsNull()) target.Erase(m.first);
    else MergePatch(target[m.first], m.second);
  }
}

}  // namespace berth::json
