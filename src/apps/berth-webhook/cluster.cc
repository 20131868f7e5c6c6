#include "apps/berth-webhook/cluster.h"

#include <unistd.h>

#include "bytes/encoding.h"
#include "host/dir.h"
#include "kube/parse.h"
#include "yaml/document.h"

namespace berth::webhook {
namespace {

constexpr std::size_t kFileBytes = 1u << 20, kObjectBytes = 4u << 20, kNamespaces = 10'000;
constexpr auto kFresh = std::chrono::seconds(10);

Error Bad(std::string text) { return Error(Reason::kConfig, std::move(text)); }

std::string Text(const json::Value& owner, std::string_view key) {
  const auto member = owner.Find(key);
  const auto text = member ? member->AsString() : Result<std::string_view>(std::string_view());
  return text ? std::string(*text) : std::string();
}

// The entry of that name in a kubeconfig's list.
Result<json::Value> Named(const json::Value& root, std::string_view list, std::string_view member, const std::string& name) {
  if (const auto all = root.Find(list); all && all->IsArray())
    for (std::size_t i = 0; i < all->size(); ++i)
      if (Text(all->at(i), "name") == name) return all->at(i).Get(member);
  return Bad("the kubeconfig has no entry " + Quoted(name) + " in " + std::string(list));
}

// A member that is a path, or NAME-data: base64 of the file itself.
Result<std::string> File(const json::Value& owner, const std::string& key, const std::string& folder, ClusterAccess& access) {
  if (std::string data = Text(owner, key + "-data"); !data.empty()) {
    auto bytes = bytes::FromBase64(data);
    secret::Secret::Wipe(data);
    if (!bytes) return Bad(key + "-data of the kubeconfig is no base64");
    auto file = host::MemFd("kubeconfig", bytes::AsView(*bytes));
    secret::Secret::Wipe(*bytes);
    if (!file) return std::move(file).error().Context(key + "-data");
    access.kept.push_back(*std::move(file));
    return "/proc/self/fd/" + std::to_string(access.kept.back().get());
  }
  std::string path = Text(owner, key);
  if (!path.empty() && path.front() != '/') path = folder + "/" + path;
  return path;
}

}  // namespace

Result<ClusterAccess> ReadKubeconfig(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, host::ReadSmallFile(path, kFileBytes));
  auto documents = yaml::Parse(text, path, Reason::kConfig);
  secret::Secret::Wipe(text);
  if (!documents) return std::move(documents).error();
  if (documents->size() != 1) return Bad("a kubeconfig is one document");
  const json::Value root = (*documents)[0].root();
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash);
  ASSIGN_OR_RETURN(const json::Value context, Named(root, "contexts", "context", Text(root, "current-context")));
  ASSIGN_OR_RETURN(const json::Value cluster, Named(root, "clusters", "cluster", Text(context, "cluster")));
  ASSIGN_OR_RETURN(const json::Value user, Named(root, "users", "user", Text(context, "user")));
  for (const char* member : {"exec", "auth-provider", "username", "password"})
    if (user.Find(member)) return Bad("the kubeconfig's user has " + Quoted(member) + ", which berth-webhook does not do").Next("use a token file or a client certificate");
  for (const char* member : {"tls-server-name", "proxy-url"})
    if (cluster.Find(member)) return Bad("the kubeconfig's cluster has " + Quoted(member) + ", which berth-webhook does not do");
  auto server = http::Url::Parse(Text(cluster, "server"));
  if (!server || !server->https()) return Bad("the kubeconfig's server must be an https URL");
  ClusterAccess access;
  access.server = *std::move(server);
  if (const auto skip = cluster.Find("insecure-skip-tls-verify")) {
    ASSIGN_OR_RETURN(access.tls.skip_verify, skip->AsBool());
  }
  ASSIGN_OR_RETURN(std::string ca, File(cluster, "certificate-authority", folder, access));
  if (!ca.empty()) access.tls.ca_paths.push_back(std::move(ca));
  ASSIGN_OR_RETURN(access.tls.client_cert, File(user, "client-certificate", folder, access));
  ASSIGN_OR_RETURN(access.tls.client_key, File(user, "client-key", folder, access));
  std::string token = Text(user, "token");
  access.token = secret::Secret::Take(token);
  access.token_file = Text(user, "tokenFile");
  if (!access.token_file.empty() && access.token_file.front() != '/') access.token_file = folder + "/" + access.token_file;
  return access;
}

Result<ClusterAccess> InClusterAccess(const std::function<std::optional<std::string>(std::string_view)>& variable,
                                      const std::string& folder) {
  const auto host = variable("KUBERNETES_SERVICE_HOST"), port = variable("KUBERNETES_SERVICE_PORT");
  if (!host || !port || host->empty())
    return Bad("this is no Pod of a cluster: KUBERNETES_SERVICE_HOST is not set").Next("set `kubeconfig`");
  ClusterAccess access;
  auto server = http::Url::Parse("https://" + (host->find(':') == std::string::npos ? *host : "[" + *host + "]") + ":" + *port);
  if (!server) return Bad("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are no address");
  access.server = *std::move(server);
  access.tls.ca_paths = {folder + "/ca.crt"};
  access.token_file = folder + "/token";
  return access;
}

kube::Answer<kube::Object> Cluster::Get(const task::Context& ctx, std::string_view kind, std::string_view ns, std::string_view name) {
  const std::string_view resource = kube::ResourceOf(kind);
  http::Request request;
  request.url = access_.server;
  std::string path = access_.server.path;
  while (path.ends_with('/')) path.pop_back();
  path += "/api/v1/";
  if (kube::IsNamespaced(kind)) path += "namespaces/" + http::PercentEncode(ns) + "/";
  // Names come from objects that nobody has judged yet: "." and ".." would be other places.
  if (name.empty() || name == "." || name == ".." || ns == "." || ns == "..") return kube::Status::NotFound(resource, name);
  request.url.path = path + std::string(resource) + "/" + http::PercentEncode(name);
  request.headers.Add("Accept", "application/json");
  request.tls = access_.tls;
  secret::Secret token = access_.token.Clone();
  if (!access_.token_file.empty()) {
    auto text = host::ReadSmallFile(access_.token_file, kFileBytes);
    if (!text) return text.error();
    while (text->ends_with('\n')) text->pop_back();
    token = secret::Secret::Take(*text);
  }
  if (!token.empty()) {
    std::string header = "Bearer " + std::string(token.Reveal());
    request.authorization = secret::Secret::Take(header);
  }
  auto response = http_.Send(ctx, request);
  if (!response) return response.error();
  const int status = (*response)->status();
  if (status == 404) return kube::Status::NotFound(resource, name);
  if (status == 403) return kube::Status::Forbidden(resource, name, "berth-webhook may not read it");
  if (status != 200) return Error(Reason::kUnavailable, "the API server answered " + std::to_string(status) + " when asked for " + std::string(resource) + " " + Quoted(name));
  auto body = http::ReadAll(**response, kObjectBytes, "object");
  if (!body) return body.error();
  const auto document = json::Document::Parse(*body, Reason::kProtocolError);
  secret::Secret::Wipe(*body);
  if (!document) return document.error();
  auto parsed = kube::ParseObject(document->root());
  if (!parsed) return parsed.error();
  if (parsed->object.kind != kind) return Error(Reason::kProtocolError, "the API server answered with another kind than " + std::string(kind));
  return std::move(parsed->object);
}

kube::Answer<kube::ServiceAccount> Cluster::FindAccount(const task::Context& ctx, std::string_view ns, std::string_view name) {
  auto object = Get(ctx, "ServiceAccount", ns, name);
  if (!object) return Refusal(object);
  return kube::ReadServiceAccount(*object);
}

kube::Answer<kube::Secret> Cluster::FindSecret(const task::Context& ctx, std::string_view ns, std::string_view name) {
  auto object = Get(ctx, "Secret", ns, name);
  if (!object) return Refusal(object);
  return kube::ReadSecret(*object);
}

kube::Answer<kube::StringMap> Cluster::NamespaceLabels(const task::Context& ctx, std::string_view ns) {
  const auto now = ctx.clock().SteadyNow();
  {
    std::lock_guard lock(mutex_);
    const auto it = labels_.find(ns);
    if (it != labels_.end() && now - it->second.read < kFresh) return it->second.labels;
  }
  auto object = Get(ctx, "Namespace", {}, ns);
  if (!object) return Refusal(object);
  kube::StringMap labels = kube::ReadNamespace(*object).metadata.labels;
  std::lock_guard lock(mutex_);
  if (labels_.size() >= kNamespaces) labels_.clear();
  labels_.insert_or_assign(std::string(ns), Labels{labels, now});
  return labels;
}

}  // namespace berth::webhook
