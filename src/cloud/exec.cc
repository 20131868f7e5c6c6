#include "cloud/exec.h"

#include <algorithm>

#include "bytes/text.h"
#include "json/document.h"

namespace berth::cloud {
namespace {

constexpr std::string_view kGroup = "credentialprovider.kubelet.k8s.io/";
constexpr std::string_view kV1 = "credentialprovider.kubelet.k8s.io/v1";

Result<std::string_view> Text(const json::Value& object, std::string_view key) {
  ASSIGN_OR_RETURN(const json::Value value, object.Get(key));
  return value.AsString();
}

// Registry hosts are letters, digits, '-', '.', and a port; anything else is not one of a cloud.
bool IsHost(std::string_view s) {
  return !s.empty() && s.size() <= 260 && std::all_of(s.begin(), s.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':';
  });
}

}  // namespace

Result<ExecRequest> ExecRequest::Parse(std::string_view text) {
  constexpr json::Limits kLimits{.bytes = kMaxRequestBytes, .depth = 8, .values = 10'000};
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(text, Reason::kUsage, kLimits));
  const json::Value root = document.root();
  ASSIGN_OR_RETURN(const std::string_view kind, Text(root, "kind"));
  if (kind != "CredentialProviderRequest")
    return Error(Reason::kUsage, "the request is of kind " + Quoted(kind) + ", not CredentialProviderRequest");
  ExecRequest request;
  ASSIGN_OR_RETURN(request.api_version, Text(root, "apiVersion"));
  const std::string_view version = std::string_view(request.api_version).substr(std::min(kGroup.size(), request.api_version.size()));
  if (!request.api_version.starts_with(kGroup) || (version != "v1" && version != "v1beta1" && version != "v1alpha1"))
    return Error(Reason::kUsage, "apiVersion " + Quoted(request.api_version) + " is not one that this provider speaks")
        .Next("set apiVersion of this provider to " + std::string(kV1) + " in the CredentialProviderConfig");
  ASSIGN_OR_RETURN(request.image, Text(root, "image"));
  request.host = bytes::Lower(request.image.substr(0, request.image.find('/')));
  if (!IsHost(request.host)) return Error(Reason::kUsage, "image " + Quoted(request.image) + " does not begin with a registry host");
  if (request.api_version != kV1) return request;

  if (const auto token = root.Find("serviceAccountToken"); token && !token->IsNull()) {
    ASSIGN_OR_RETURN(const std::string_view value, token->AsString());
    request.service_account_token = secret::Secret(value);
  }
  if (const auto annotations = root.Find("serviceAccountAnnotations"); annotations && !annotations->IsNull()) {
    if (!annotations->IsObject()) return Error(Reason::kUsage, annotations->path() + " is not an object");
    for (const auto& [key, value] : annotations->Members()) {
      ASSIGN_OR_RETURN(const std::string_view s, value.AsString());
      request.annotations.emplace(key, s);
    }
  }
  return request;
}

std::string_view ExecRequest::Annotation(std::string_view key) const {
  const auto found = annotations.find(key);
  return found == annotations.end() ? std::string_view() : std::string_view(found->second);
}

std::chrono::seconds CacheDuration(const std::optional<time::WallTime>& expires, time::WallTime now) {
  using std::chrono::seconds;
  if (!expires || *expires <= now) return seconds(0);
  const time::Duration life = *expires - now;
  return std::chrono::floor<seconds>(life - std::min<time::Duration>(life / 4, std::chrono::minutes(15)));
}

secret::Secret RenderResponse(const ExecRequest& request, const Login& login, time::WallTime now) {
  constexpr std::string_view kKeys[] = {"Image", "Registry", "Global"};
  json::Writer w;
  w.BeginObject().Key("kind").String("CredentialProviderResponse").Key("apiVersion").String(request.api_version);
  w.Key("cacheKeyType").String(kKeys[static_cast<int>(login.cache_key)]);
  w.Key("cacheDuration").String(std::to_string(CacheDuration(login.expires, now).count()) + "s").Key("auth").BeginObject();
  for (const std::string& pattern : login.patterns)
    w.Key(pattern).BeginObject().Key("username").String(login.user).Key("password").String(login.password.Reveal()).EndObject();
  w.EndObject().EndObject();
  std::string text = std::move(w).Take() + "\n";
  return secret::Secret::Take(text);
}

}  // namespace berth::cloud
