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

class Schemas {
 public:
  explicit Schemas(json::Writer& w) : w_(w) {}

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
      case Kind::kObject: return type("object");
      case Kind::kQuantity: return OneOf("string", "number");
      case Kind::kIntOrString: return OneOf("integer", "string");
      case Kind::kAny: return;
      case Kind::kStruct:
        w_.Key("allOf").BeginArray().BeginObject().Key("$ref").String("#/components/schemas/" + Id(field.type->name)).EndObject().EndArray();
        return;
    }
  }
  void OneOf(std::string_view a, std::string_view b) {
    w_.Key("oneOf").BeginArray();
    for (const auto name : {a, b}) w_.BeginObject().Key("type").String(name).EndObject();
    w_.EndArray();
  }

  json::Writer& w_;
  std::set<std::string_view> seen_;
};

void Operation(json::Writer& w, const char* method, const char* action, std::string_view kind) {
  w.Key(method).BeginObject().Key("x-kubernetes-action").String(action).Key("x-kubernetes-group-version-kind");
  Schemas::Gvk(w, kind);
  if (std::string_view(method) == "patch") {
    w.Key("parameters").BeginArray();
    for (const char* name : {"dryRun", "fieldManager", "fieldValidation"})
      w.BeginObject().Key("in").String("query").Key("name").String(name).Key("schema").BeginObject().Key("type").String("string").EndObject().EndObject();
    w.EndArray().Key("requestBody").BeginObject().Key("content").BeginObject();
    for (const char* type : {"application/json-patch+json", "application/merge-patch+json"}) w.Key(type).BeginObject().EndObject();
    w.EndObject().EndObject();
  }
  if (!IsKind(kind)) {
    w.Key("responses").BeginObject().EndObject().EndObject();
    return;
  }
  w.Key("responses").BeginObject().Key("200").BeginObject().Key("description").String("OK").Key("content").BeginObject().Key("application/json")
      .BeginObject().Key("schema").BeginObject().Key("$ref").String("#/components/schemas/" + Id(kind)).EndObject().EndObject().EndObject()
      .EndObject().EndObject().EndObject();
}

}  // namespace

std::string OpenApiV3() {
  json::Writer w;
  w.BeginObject().Key("components").BeginObject().Key("schemas").BeginObject();
  Schemas schemas(w);
  for (const auto kind : kKinds) schemas.Add(*FindType(kind));
  w.EndObject().EndObject();
  w.Key("info").BeginObject().Key("title").String("Kubernetes").Key("version").String("v1.36.0").EndObject();
  w.Key("openapi").String("3.0.0").Key("paths").BeginObject();
  for (const auto kind : kKinds) {
    w.Key("/api/v1/" + std::string(IsNamespaced(kind) ? "namespaces/{namespace}/" : "") + std::string(ResourceOf(kind)) + "/{name}").BeginObject();
    Operation(w, "get", "get", kind);
    if (kind != "Node") Operation(w, "patch", "patch", kind);
    w.EndObject();
  }
  // kubectl asks whether a file with a List can be validated by the server; its items are sent one by one.
  w.Key("/api/v1/lists/{name}").BeginObject();
  Operation(w, "patch", "patch", "List");
  w.EndObject().EndObject().EndObject();
  return std::move(w).Take();
}

}  // namespace berth::kube
