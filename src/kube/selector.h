// kube/selector.h: label and field selectors, as they stand in the query of a list or watch.
//
//   app=web,tier!=db,env in (a,b),env notin (c),ready,!old        metadata.name=web,status.phase!=Running
//
// Pure; a selector is an immutable value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "json/document.h"
#include "kube/objects.h"
#include "kube/status.h"

namespace berth::kube {

class LabelSelector {
 public:
  // BadRequest with the API server's words (`unable to parse requirement: …`).
  static Answer<LabelSelector> Parse(std::string_view text);
  bool Matches(const StringMap& labels) const;
  bool empty() const { return requirements_.empty(); }

 private:
  enum class Op : std::uint8_t { kIn, kNotIn, kExists, kAbsent, kGreater, kLess };
  struct Requirement {
    std::string key;
    Op op = Op::kExists;
    std::vector<std::string> values;
  };
  std::vector<Requirement> requirements_;
};

// Object::selectable: the values of the fields Kubernetes offers for `kind`, in the order of the table; "" where there is none.
std::vector<std::string> Selectable(const json::Value& object, std::string_view kind);

class FieldQuery {  // FieldSelector is the one of the downward API
 public:
  // For objects of `kind`. BadRequest for a field that Kubernetes does not offer there: `field label not supported: x`.
  static Answer<FieldQuery> Parse(std::string_view text, std::string_view kind);
  bool Matches(const Object& object) const;
  bool empty() const { return terms_.empty(); }
  // The name, when the selector is for one object: "metadata.name=web"; "" otherwise.
  std::string Name() const;

 private:
  struct Term {
    std::string field, value;
    std::size_t index = 0;  // in Object::selectable; of no meaning for metadata
    bool equal = true;
  };
  std::vector<Term> terms_;
};

}  // namespace berth::kube
