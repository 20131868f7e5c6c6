// admission/draft.h: an object while admission changes it: every change with its place, its author and its reason.
//
//   Draft draft(std::move(object));
//   draft.Set(container, place, "imagePullPolicy", json::Tree("Always"), "AlwaysPullImages", "the plug-in is on");
//   PatchJson(draft.changes());   // [{"op":"add","path":"/spec/containers/0/imagePullPolicy","value":"Always"}]
//
// Nothing that is already so is a change, so admitting twice changes nothing. The patch (RFC 6902) is minimal: one operation for each
// place that differs in the end, none for what was changed back. A plain value; one thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "json/tree.h"

namespace berth::admission {

// One place in an object, in both spellings. The object itself is the Place with two empty texts.
struct Place {
  std::string pointer;  // RFC 6901: "/spec/containers/0/image"
  std::string field;    // Kubernetes': "spec.containers[0].image"
  Place Member(std::string_view key) const;
  Place Item(std::size_t index) const;
};

struct Change {
  Place place;
  std::string_view plugin;                    // "Defaults", "ServiceAccount", "AlwaysPullImages", "PinImages"
  std::string why;                            // a phrase, in our own words
  std::optional<json::Tree> before, after;    // nullopt: not there
  bool secret = false;                        // the values are contents of a Secret: for the patch, never for the eye
};

// How a value of a change may be shown: compact JSON, strings as they are, "<secret contents redacted>".
std::string ShowBefore(const Change& change);  // "" when there was none
std::string ShowAfter(const Change& change);

class Draft {
 public:
  explicit Draft(json::Tree object) : object_(std::move(object)) {}

  // To look at, and to find the owners that Set() is given. What is changed past Set() and Rewrite() is in no patch.
  json::Tree& object() { return object_; }
  const json::Tree& object() const { return object_; }
  const std::vector<Change>& changes() const { return changes_; }

  // Member `key` of `owner` (an object below object(), at `at`).
  void Set(json::Tree& owner, const Place& at, std::string_view key, json::Tree value, std::string_view plugin, std::string why);

  // `rewrite(json::Tree&)` does as it likes; what came of it is found by comparing. References into the object are void.
  template <class Function>
  void Rewrite(std::string_view plugin, std::string_view why, Function rewrite) {
    const json::Tree before = object_;
    rewrite(object_);
    Compare(&before, &object_, {}, plugin, why);
  }

  std::pair<json::Tree, std::vector<Change>> Take() && { return {std::move(object_), std::move(changes_)}; }

 private:
  void Compare(const json::Tree* before, const json::Tree* after, const Place& at, std::string_view plugin, std::string_view why);
  json::Tree object_;
  std::vector<Change> changes_;
};

// One operation of a JSON patch.
struct Operation {
  enum class Kind : std::uint8_t { kAdd, kReplace, kRemove } kind = Kind::kAdd;
  std::string path;
  json::Tree value;  // null for kRemove
};
std::vector<Operation> Patch(const std::vector<Change>& changes);
// "[]" when nothing is left to do.
std::string PatchJson(const std::vector<Change>& changes);

}  // namespace berth::admission
