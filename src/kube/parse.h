// kube/parse.h: from JSON to the structs of kube/objects.h, with Kubernetes' own complaints.
//
//   ASSIGN_OR_RETURN(auto parsed, kube::ParseObject(document.root()));
//   for (const Mistake& m : parsed.unknown) Warn(document.At(m.field) + m.message);   // unknown field "spec.contaners"
//   const kube::Pod pod = kube::ReadPod(parsed.object);
//
// A field Kubernetes v1.36 does not know is a warning and stays in the object. A value of the wrong type is an error with the API
// server's words: Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field
// PodSpec.spec.hostNetwork of type bool. Whether the values make sense is kube/validate.h.
// Pure; errors show field names, never values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/document.h"
#include "json/tree.h"
#include "kube/objects.h"
#include "result/result.h"

namespace berth::kube {

// Of one object: the apiserver takes 3 MiB of it, YAML and lists may make more.
inline constexpr json::Limits kObjectLimits{.bytes = 16u << 20, .depth = 64, .values = 500'000};

struct Mistake {
  std::string field;    // "spec.containers[0].image"
  std::string message;
};

// Every field and its type, for a kind or for one part of it ("Pod", "Container").
struct FieldReport {
  std::vector<Mistake> unknown;    // in the order of the text's sorted keys; at most 100
  std::optional<Mistake> wrong;    // the first; message from "json: " on
};
FieldReport CheckFields(const json::Value& value, std::string_view type);

// The kinds we speak, all of apiVersion v1: "Pod", "Secret", "ConfigMap", "ServiceAccount", "Namespace", "Event", "Node".
bool IsKind(std::string_view kind);
// "pods" for "Pod"; "" for a kind that we do not speak. And back.
std::string_view ResourceOf(std::string_view kind);
std::string_view KindOf(std::string_view resource);
bool IsNamespaced(std::string_view kind);

struct Parsed {
  Object object;
  std::vector<Mistake> unknown;
};
// kUsage: not an object, no apiVersion or kind, a kind we do not speak (`no matches for kind "X" in version "Y"`), a wrong type.
Result<Parsed> ParseObject(const json::Value& value);
Result<Parsed> ParseObject(const json::Tree& tree);

// The items of a kind: List (or PodList, …), or the value itself.
std::vector<json::Value> Items(const json::Value& value);

// Typed views. REQUIRES: `object` came from ParseObject, of that kind. A Secret's data that is not base64 was refused there.
ObjectMeta ReadMeta(const json::Value& metadata);
Pod ReadPod(const Object& object);
Secret ReadSecret(const Object& object);
ConfigMap ReadConfigMap(const Object& object);
ServiceAccount ReadServiceAccount(const Object& object);
Namespace ReadNamespace(const Object& object);
Event ReadEvent(const Object& object);
Node ReadNode(const Object& object);
PodSpec ReadPodSpec(const json::Value& spec);  // of a Pod or a template

// Where the pod spec of a kind is: {"spec"} for a Pod, {"spec", "template", "spec"} for a Deployment, …; empty: it has none.
std::vector<std::string_view> PodSpecPath(std::string_view kind);

}  // namespace berth::kube
