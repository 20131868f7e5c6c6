#include "apiserver/discovery.h"

#include "apiserver/openapi_protobuf.h"
#include "digest/digest.h"
#include "json/document.h"
#include "kube/openapi.h"

namespace berth::apiserver {
namespace {

struct Row {
  const char *resource, *singular, *kind, *short_name;
  bool namespaced, writable, all;
};
constexpr Row kRows[] = {{"configmaps", "configmap", "ConfigMap", "cm", true, true, false},
                         {"events", "event", "Event", "ev", true, true, false},
                         {"namespaces", "namespace", "Namespace", "ns", false, true, false},
                         {"namespaces/status", "", "Namespace", "", false, false, false},
                         {"nodes", "node", "Node", "no", false, false, false},
                         {"nodes/status", "", "Node", "", false, false, false},
                         {"pods", "pod", "Pod", "po", true, true, true},
                         {"pods/ephemeralcontainers", "", "Pod", "", true, true, false},
                         {"pods/log", "", "Pod", "", true, false, false},
                         {"pods/status", "", "Pod", "", true, false, false},
                         {"secrets", "secret", "Secret", "", true, true, false},
                         {"serviceaccounts", "serviceaccount", "ServiceAccount", "sa", true, true, false}};

std::string Resources() {
  json::Writer w;
  w.BeginObject().Key("apiVersion").String("v1").Key("groupVersion").String("v1").Key("kind").String("APIResourceList").Key("resources").BeginArray();
  for (const Row& row : kRows) {
    const std::string_view name = row.resource;
    const bool part = name.find('/') != name.npos;
    w.BeginObject();
    if (row.all) w.Key("categories").BeginArray().String("all").EndArray();
    w.Key("kind").String(row.kind).Key("name").String(name).Key("namespaced").Bool(row.namespaced);
    if (row.short_name[0] != '\0') w.Key("shortNames").BeginArray().String(row.short_name).EndArray();
    w.Key("singularName").String(row.singular).Key("verbs").BeginArray();
    const auto verbs = [&](std::initializer_list<const char*> list) {
      for (const char* verb : list) w.String(verb);
    };
    if (part && row.writable) verbs({"get", "patch", "update"});
    else if (part) verbs({"get"});
    else if (!row.writable) verbs({"get", "list", "watch"});
    else if (name == "namespaces") verbs({"create", "delete", "get", "list", "patch", "update", "watch"});
    else verbs({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"});
    w.EndArray().EndObject();
  }
  w.EndArray().EndObject();
  return std::move(w).Take();
}

}  // namespace

Discovery::Discovery(const std::string& version, std::string address)
    : v1_(Resources()), openapi_v1_(kube::OpenApiV3()), openapi_v2_(kube::OpenApiV2()) {
  json::Writer root, api, apis, versions, openapi;
  root.BeginObject().Key("paths").BeginArray();
  for (const char* path : {"/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/readyz", "/version"}) root.String(path);
  root.EndArray().EndObject();
  root_ = std::move(root).Take();
  api.BeginObject().Key("kind").String("APIVersions").Key("serverAddressByClientCIDRs").BeginArray().BeginObject().Key("clientCIDR").String("0.0.0.0/0")
      .Key("serverAddress").String(address).EndObject().EndArray().Key("versions").BeginArray().String("v1").EndArray().EndObject();
  api_ = std::move(api).Take();
  apis.BeginObject().Key("apiVersion").String("v1").Key("groups").BeginArray().EndArray().Key("kind").String("APIGroupList").EndObject();
  apis_ = std::move(apis).Take();
  const std::string_view numbers = std::string_view(version).substr(1);  // "v1.36.0+…"
  const auto dot = numbers.find('.');
  versions.BeginObject().Key("buildDate").String("1970-01-01T00:00:00Z").Key("compiler").String("gcc").Key("gitCommit").String("").Key("gitTreeState").String("clean")
      .Key("gitVersion").String(version).Key("goVersion").String("").Key("major").String(numbers.substr(0, dot)).Key("minor")
      .String(numbers.substr(dot + 1, numbers.find('.', dot + 1) - dot - 1)).Key("platform").String("linux").EndObject();
  version_ = std::move(versions).Take();
  openapi.BeginObject().Key("paths").BeginObject().Key("api/v1").BeginObject().Key("serverRelativeURL")
      .String("/openapi/v3/api/v1?hash=" + digest::Digest::Of(bytes::AsView(openapi_v1_)).Hex().substr(0, 32)).EndObject().EndObject().EndObject();
  openapi_ = std::move(openapi).Take();
  const auto document = json::Document::Parse(openapi_v2_, Reason::kInternal);
  BERTH_CHECK(document.has_value());
  openapi_v2_protobuf_ = OpenApiProtobuf(json::Tree(document->root()));
}

std::optional<Discovery::Found> Discovery::Find(std::string_view path, std::string_view accept) const {
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  if (path == "/openapi/v2" && accept.find(kAcceptsOpenApiProtobuf) != accept.npos) return Found{kOpenApiProtobuf, openapi_v2_protobuf_};
  const std::pair<std::string_view, const std::string*> documents[] = {
      {"/", &root_}, {"/api", &api_}, {"/apis", &apis_}, {"/api/v1", &v1_}, {"/version", &version_}, {"/openapi/v2", &openapi_v2_},
      {"/openapi/v3", &openapi_}, {"/openapi/v3/api/v1", &openapi_v1_}};
  for (const auto& [at, text] : documents)
    if (path == at) return Found{"application/json", *text};
  return std::nullopt;
}

}  // namespace berth::apiserver
