// kube/schema.h: the fields Kubernetes v1.36 knows in the kinds we speak: names, types, merge keys. Private to kube/.
//
// One table (schema.cc) answers three questions: is a field known (parse.h), does its value have the right type (parse.h), and
// how do two lists of it merge (merge.h). Parts we never look into are "any object".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace berth::kube {

struct Type;

struct FieldType {
  enum class Kind {
    kString, kBool, kInt32, kInt64, kTime, kQuantity,
    kIntOrString, kBytes, kDuration, kAny, kObject, kStruct
  } kind = Kind::kAny;
  enum class Shape { kSingle, kList, kMap } shape = Shape::kSingle;
  const Type* type = nullptr;              // of a kStruct
  std::string_view go;                     // as Go's messages name it: "string", "v1.PullPolicy", "int32"
  std::optional<std::string_view> merge;   // of a list: its items merge by this member, or by value (""); nullopt: replaced as one
};

struct Field {
  std::string_view name;
  FieldType type;
};

struct Type {
  std::string_view name;
  std::vector<Field> fields;
  const Field* Find(std::string_view field) const;
};

// "Pod", "Container", …; nullptr when the table has none. Immutable; made at the first call.
const Type* FindType(std::string_view name);

}  // namespace berth::kube
