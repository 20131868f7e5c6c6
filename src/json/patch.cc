#include "json/patch.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "json/pointer.h"

namespace berth::json {
namespace {

// Containers in containers; no deeper than the limit itself, so this recursion is not either.
std::size_t Depth(const Tree& tree) {
  std::size_t most = 0;
  for (const Tree& item : tree.items()) most = std::max(most, Depth(item));
  for (const auto& [key, member] : tree.members()) most = std::max(most, Depth(member));
  return tree.IsArray() || tree.IsObject() ? most + 1 : 0;
}

bool Add(Tree& root, const Pointer& pointer, Tree value) {
  if (pointer.empty()) {
    root = std::move(value);
    return true;
  }
  Tree* parent = Walk(root, pointer, pointer.size() - 1);
  if (parent == nullptr) return false;
  if (parent->IsArray()) {
    const auto index = ItemIndex(*parent, pointer.back(), true);
    if (!index) return false;
    parent->items().insert(parent->items().begin() + static_cast<std::ptrdiff_t>(*index), std::move(value));
    return true;
  }
  if (!parent->IsObject()) return false;
  (*parent)[pointer.back()] = std::move(value);
  return true;
}

bool Remove(Tree& root, const Pointer& pointer) {
  if (pointer.empty()) return false;
  Tree* parent = Walk(root, pointer, pointer.size() - 1);
  if (parent == nullptr) return false;
  if (!parent->IsArray()) return parent->Erase(pointer.back());
  const auto index = ItemIndex(*parent, pointer.back(), false);
  if (index) parent->items().erase(parent->items().begin() + static_cast<std::ptrdiff_t>(*index));
  return index.has_value();
}

}  // namespace

Result<> ApplyPatch(Tree& target, const Value& patch, const PatchLimits& limits) {
  if (!patch.IsArray()) return Error(Reason::kUsage, "a JSON patch is an array of operations");
  if (patch.size() > limits.operations) {
    return Error(Reason::kLimitExceeded, "the allowed maximum operations in a JSON patch is " + std::to_string(limits.operations) +
                                             ", got " + std::to_string(patch.size()));
  }
  Tree out = target;
  std::size_t copied = 0;
  for (std::size_t i = 0; i < patch.size(); ++i) {
    const Value step = patch.at(i);
    const auto text = [&](std::string_view key) {
      const auto m = step.Find(key);
      return m && m->IsString() ? std::optional(*m->AsString()) : std::nullopt;
    };
    const auto op = text("op"), path = text("path"), from = text("from");
    const auto refuse = [&](std::string_view why) {
      return Error(Reason::kUsage, "operation " + std::to_string(i) + (op ? " (" + Quoted(*op) + ")" : "") + " of the JSON patch " + std::string(why) +
                                       (path ? ": " + Quoted(*path) : ""));
    };
    const auto pointer = path ? ParsePointer(*path) : std::nullopt;
    if (!op || !pointer) return refuse("has no op or no well-formed path");
    const auto value = step.Find("value");
    const auto source = from ? ParsePointer(*from) : std::nullopt;
    const bool moves = *op == "move" || *op == "copy";
    if (moves && !source) return refuse("has no well-formed from");
    if ((*op == "add" || *op == "replace" || *op == "test") && !value) return refuse("has no value");
    const auto too_deep = [&](const Tree& added) { return pointer->size() + Depth(added) > limits.depth; };
    const auto deep = [&] { return Error(Reason::kLimitExceeded, "the JSON patch makes a document of more than " + std::to_string(limits.depth) + " levels"); };
    Tree given = *op == "add" || *op == "replace" ? Tree(*value) : Tree();
    if (too_deep(given)) return deep();
    if (*op == "add") {
      if (!Add(out, *pointer, std::move(given))) return refuse("has no place there");
    } else if (*op == "remove") {
      if (!Remove(out, *pointer)) return refuse("removes what is not there");
    } else if (*op == "replace") {
      Tree* at = Walk(out, *pointer, pointer->size());
      if (at == nullptr) return refuse("replaces what is not there");
      *at = std::move(given);
    } else if (*op == "test") {
      const Tree* at = Walk(out, *pointer, pointer->size());
      if (at == nullptr ? !value->IsNull() : *at != Tree(*value)) return refuse("finds another value");
    } else if (moves) {
      Tree* at = Walk(out, *source, source->size());
      if (at == nullptr) return refuse("takes what is not there");
      if (too_deep(*at)) return deep();
      if (*op == "move" && *path != *from && path->starts_with(std::string(*from) + "/")) return refuse("moves a value into itself");
      Tree taken = *op == "copy" ? *at : std::move(*at);  // what is refused from here on leaves `target` as it was
      if (*op == "copy") {
        copied += taken.Dump().size();
        if (copied > limits.copied) return Error(Reason::kLimitExceeded, "the copies of the JSON patch are larger than " + std::to_string(limits.copied) + " bytes");
      } else if (!source->empty() && !Remove(out, *source)) {
        return refuse("takes what is not there");
      }
      if (!Add(out, *pointer, std::move(taken))) return refuse("has no place there");
    } else {
      return refuse("is none that we know");
    }
  }
  target = std::move(out);
  return {};
}

}  // namespace berth::json
