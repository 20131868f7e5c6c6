#include "admission/draft.h"

#include <algorithm>
#include <map>

#include "json/pointer.h"

namespace berth::admission {
namespace {

using json::Tree;

// A key that would not read well after a dot.
bool Plain(std::string_view key) { return !key.empty() && key.find_first_of("./[]\"'") == std::string_view::npos; }

std::string Show(const Tree& value) { return value.IsString() ? std::string(value.text()) : value.Dump(); }

// Applies a later change inside the value of an earlier operation.
void Merge(Tree& value, std::string_view rest, const std::optional<Tree>& after) {
  const auto pointer = json::ParsePointer(rest);
  if (!pointer || pointer->empty()) return;
  Tree* owner = json::Walk(value, *pointer, pointer->size() - 1);
  if (owner == nullptr) return;
  const std::string& last = pointer->back();
  if (owner->IsArray()) {
    const auto index = json::ItemIndex(*owner, last);
    if (after && index) owner->items()[*index] = *after;
  } else if (after) {
    (*owner)[last] = *after;
  } else {
    owner->Erase(last);
  }
}

}  // namespace

Place Place::Member(std::string_view key) const {
  Place out{pointer, field};
  out.pointer += '/' + json::PointerToken(key);
  if (Plain(key)) {
    if (!out.field.empty()) out.field += '.';
    out.field += key;
  } else {
    out.field.append("[").append(key).append("]");
  }
  return out;
}

Place Place::Item(std::size_t index) const {
  const std::string number = std::to_string(index);
  return {pointer + '/' + number, field + '[' + number + ']'};
}

std::string ShowBefore(const Change& c) { return !c.before ? "" : c.secret ? "<secret contents redacted>" : Show(*c.before); }
std::string ShowAfter(const Change& c) { return !c.after ? "" : c.secret ? "<secret contents redacted>" : Show(*c.after); }

void Draft::Set(Tree& owner, const Place& at, std::string_view key, Tree value, std::string_view plugin, std::string why) {
  Tree* const there = owner.Find(key);
  if (there != nullptr && *there == value) return;
  changes_.push_back({at.Member(key), plugin, std::move(why), there == nullptr ? std::nullopt : std::optional(*there), value});
  owner[key] = std::move(value);
}

void Draft::Compare(const Tree* before, const Tree* after, const Place& at, std::string_view plugin, std::string_view why) {
  if (before != nullptr && after != nullptr) {
    if (before->IsObject() && after->IsObject()) {
      for (const Tree::Member& m : before->members()) Compare(&m.second, after->Find(m.first), at.Member(m.first), plugin, why);
      for (const Tree::Member& m : after->members())
        if (before->Find(m.first) == nullptr) Compare(nullptr, &m.second, at.Member(m.first), plugin, why);
      return;
    }
    if (before->IsArray() && after->IsArray() && before->items().size() == after->items().size()) {
      for (std::size_t i = 0; i < before->items().size(); ++i) Compare(&before->items()[i], &after->items()[i], at.Item(i), plugin, why);
      return;
    }
    if (*before == *after) return;
  }
  const bool secret = object_.Text("kind") == "Secret" && (at.pointer.starts_with("/data") || at.pointer.starts_with("/stringData"));
  const auto copy = [](const Tree* t) { return t == nullptr ? std::nullopt : std::optional(*t); };
  changes_.push_back({at, plugin, std::string(why), copy(before), copy(after), secret});
}

std::vector<Operation> Patch(const std::vector<Change>& changes) {
  struct Entry {
    Operation operation;
    const std::optional<Tree>* before;
    bool live = true;
  };
  std::vector<Entry> entries;
  std::map<std::string_view, std::size_t> places;  // pointer -> entry; views into `changes`
  for (const Change& c : changes) {
    const std::string_view pointer = c.place.pointer;
    if (const auto same = places.find(pointer); same != places.end()) {
      Entry& e = entries[same->second];
      const bool back = c.after == *e.before;  // as it was before all this, present or not
      e.live = !back;
      if (!c.after) e.operation.kind = Operation::Kind::kRemove, e.operation.value = Tree();
      else e.operation.kind = *e.before ? Operation::Kind::kReplace : Operation::Kind::kAdd, e.operation.value = *c.after;
      continue;
    }
    Entry* above = nullptr;
    std::size_t cut = pointer.rfind('/');
    for (; cut != std::string_view::npos && cut > 0; cut = pointer.rfind('/', cut - 1))
      if (const auto it = places.find(pointer.substr(0, cut)); it != places.end()) {
        above = &entries[it->second];
        break;
      }
    if (above != nullptr && above->live) {
      Merge(above->operation.value, pointer.substr(cut), c.after);
      continue;
    }
    const auto kind = !c.after ? Operation::Kind::kRemove : c.before ? Operation::Kind::kReplace : Operation::Kind::kAdd;
    // What was done below a value goes with it.
    const std::string below = std::string(pointer) + '/';
    for (auto it = places.lower_bound(below); it != places.end() && it->first.starts_with(below); it = places.erase(it))
      entries[it->second].live = false;
    places.emplace(pointer, entries.size());
    entries.push_back({{kind, std::string(pointer), c.after ? *c.after : Tree()}, &c.before});
  }
  std::vector<Operation> out;
  for (Entry& e : entries)
    if (e.live) out.push_back(std::move(e.operation));
  return out;
}

std::string PatchJson(const std::vector<Change>& changes) {
  static constexpr const char* kNames[] = {"add", "replace", "remove"};
  json::Writer w;
  w.BeginArray();
  for (const Operation& o : Patch(changes)) {
    w.BeginObject().Key("op").String(kNames[static_cast<int>(o.kind)]).Key("path").String(o.path);
    if (o.kind != Operation::Kind::kRemove) w.Key("value").Raw(o.value.Dump());
    w.EndObject();
  }
  w.EndArray();
  return std::move(w).Take();
}

}  // namespace berth::admission
