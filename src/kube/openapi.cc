#include "kube/openapi.h"

#include <set>

#include "json/document.h"
#include "kube/parse.h"
#include "kube/schema.h"

namespace berth::kube {
namespace {

constexpr std::string_view kKinds[] = {"ConfigMap", "Event", "Namespace", "Node", "Pod", "Secret", "ServiceAccount"};

// As Kubernetes calls them.
std::string Id(std::string_view type) {
  const bool meta = type == "ObjectMeta" || type == "OwnerReference";
  return (meta ? "io.k8s.apimachinery.pkg.apis.meta.v1." : "io.k8s.api.core.v1.") + std::string(type);
}

enum class Dialect : std::uint8_t { kV2, kV3 };

std::string Reference(Dialect dialect, std::string_view type) {
  return (dialect == Dialect::kV2 ? "#/definitions/" : "#/components/schemas/") + Id(type);
}

class Schemas {
 public:
  Schemas(json::Writer& w, Dialect dialect) : w_(w), v2_(dialect == Dialect::kV2) {}

  // The type and, after it, all it leads to.
  void Add(const Type& type) {
    if (!seen_.insert(type.name).second) return;
    w_.Key(Id(type.name)).BeginObject().Key("type").String("object").Key("properties").BeginObject();
    for (const Field& field : type.fields) {
      w_.Key(field.name).BeginObject();
      Shape(field.type);
      w_.EndObject();
    }
    w_.EndObject();
    if (IsKind(type.name)) {
      w_.Key("x-kubernetes-group-version-kind").BeginArray();
      Gvk(w_, type.name);
      w_.EndArray();
    }
    w_.EndObject();
    for (const Field& field : type.fields)
      if (field.type.type != nullptr) Add(*field.type.type);
  }

  static void Gvk(json::Writer& w, std::string_view kind) {
    w.BeginObject().Key("group").String("").Key("kind").String(kind).Key("version").String("v1").EndObject();
  }

 private:
  void Shape(const FieldType& field) {
    if (field.shape == FieldType::Shape::kSingle) return Single(field);
    if (field.shape == FieldType::Shape::kMap) {
      w_.Key("type").String("object").Key("additionalProperties").BeginObject();
    } else {
      w_.Key("type").String("array");
      if (field.merge) {
        w_.Key("x-kubernetes-patch-strategy").String(field.type != nullptr && field.type->name == "Volume" ? "merge,retainKeys" : "merge");
        if (!field.merge->empty()) w_.Key("x-kubernetes-patch-merge-key").String(*field.merge);
      }
      w_.Key("items").BeginObject();
    }
    Single(field);
    w_.EndObject();
  }

  void Single(const FieldType& field) {
    const auto type = [&](std::string_view name, std::string_view format = {}) {
      w_.Key("type").String(name);
      if (!format.empty()) w_.Key("format").String(format);
    };
    using Kind = FieldType::Kind;
    switch (field.kind) {
      case Kind::kString: case Kind::kDuration: return type("string");
      case Kind::kBool: return type("boolean");
      case Kind::kInt32: return type("integer", "int32");
      case Kind::kInt64: return type("integer", "int64");
      case Kind::kTime: return type("string", "date-time");
      case Kind::kBytes: return type("string", "byte");
      case Kind::kObject:
        // A client that computes patches by this document has no words for a map whose members it must merge.
        if (!v2_) type("object");
        return;
      case Kind::kQuantity: return v2_ ? type("string") : OneOf("string", "number");
      case Kind::kIntOrString: return v2_ ? type("string", "int-or-string") : OneOf("integer", "string");
      case Kind::kAny: return;
      case Kind::kStruct:
        if (v2_) w_.Key("$ref").String(Reference(Dialect::kV2, field.type->name));
        else w_.Key("allOf").BeginArray().BeginObject().Key("$ref").String(Reference(Dialect::kV3, field.type->name)).EndObject().EndArray();
        return;
    }
  }
  void OneOf(std::string_view a, std::string_view b) {
    w_.Key("oneOf").BeginArray();
    for (const auto name : {a, b}) w_.BeginObject().Key("type").String(name).EndObject();
    w_.EndArray();
  }

  json::Writer& w_;
  const bool v2_;
  std::set<std::string_view> seen_;
};

void Operation(json::Writer& w, Dialect dialect, std::string_view method, std::string_view kind) {
  const bool v2 = dialect == Dialect::kV2;
  w.Key(method).BeginObject().Key("x-kubernetes-action").String(method).Key("x-kubernetes-group-version-kind");
  Schemas::Gvk(w, kind);
  if (method == "patch") {
    w.Key("parameters").BeginArray();
    for (const char* name : {"dryRun", "fieldManager", "fieldValidation"}) {
      w.BeginObject().Key("in").String("query").Key("name").String(name);
      if (v2) w.Key("type").String("string");
      else w.Key("schema").BeginObject().Key("type").String("string").EndObject();
      w.EndObject();
    }
    w.EndArray();
    constexpr std::string_view kTypes[] = {"application/json-patch+json", "application/merge-patch+json"};
    if (v2) {
      w.Key("consumes").BeginArray();
      for (const auto type : kTypes) w.String(type);
      w.EndArray();
    } else {
      w.Key("requestBody").BeginObject().Key("content").BeginObject();
      for (const auto type : kTypes) w.Key(type).BeginObject().EndObject();
      w.EndObject().EndObject();
    }
  }
  w.Key("responses").BeginObject();
  if (IsKind(kind)) {
    w.Key("200").BeginObject().Key("description").String("OK");
    if (!v2) w.Key("content").BeginObject().Key("application/json").BeginObject();
    w.Key("schema").BeginObject().Key("$ref").String(Reference(dialect, kind)).EndObject();
    if (!v2) w.EndObject().EndObject();
    w.EndObject();
  }
  w.EndObject().EndObject();
}

std::string OpenApi(Dialect dialect) {
  json::Writer w;
  w.BeginObject();
  if (dialect == Dialect::kV2) w.Key("swagger").String("2.0").Key("definitions").BeginObject();
  else w.Key("openapi").String("3.0.0").Key("components").BeginObject().Key("schemas").BeginObject();
  Schemas schemas(w, dialect);
  for (const auto kind : kKinds) schemas.Add(*FindType(kind));
  w.EndObject();
  if (dialect == Dialect::kV3) w.EndObject();
  w.Key("info").BeginObject().Key("title").String("Kubernetes").Key("version").String("v1.36.0").EndObject();
  w.Key("paths").BeginObject();
  for (const auto kind : kKinds) {
    w.Key("/api/v1/" + std::string(IsNamespaced(kind) ? "namespaces/{namespace}/" : "") + std::string(ResourceOf(kind)) + "/{name}").BeginObject();
    Operation(w, dialect, "get", kind);
    if (kind != "Node") Operation(w, dialect, "patch", kind);
    w.EndObject();
  }
  // kubectl asks whether a file with a List can be validated by the server; its items are sent one by one.
  w.Key("/api/v1/lists/{name}").BeginObject();
  Operation(w, dialect, "patch", "List");
  w.EndObject().EndObject().EndObject();
  return std::move(w).Take();
}

}  // namespace

std::string OpenApiV3() { return OpenApi(Dialect::kV3); }
std::string OpenApiV2() { return OpenApi(Dialect::kV2); }

}  // namespace berth::kube
