#include "credentials/provider_response.h"

#include <algorithm>
#include <utility>

#include "credentials/go_text.h"
#include "json/document.h"
#include "time/go_duration.h"

namespace berth::credentials {
namespace {

Error Lie(std::string text) {
  return Error(Reason::kProtocolError, std::move(text)).Next("run the plug-in by hand and compare its output with CredentialProviderResponse");
}

// "credentialprovider.kubelet.k8s.io/v2alpha1": what may be shown without a risk.
bool IsVersion(std::string_view text) {
  constexpr std::string_view kGroup = "credentialprovider.kubelet.k8s.io/v";
  if (!text.starts_with(kGroup) || text.size() > kGroup.size() + 8) return false;
  text.remove_prefix(kGroup.size());
  return !text.empty() && text[0] >= '0' && text[0] <= '9' &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); });
}

// The whole answer but its header; nullopt for anything that is not exactly of its form.
std::optional<ProviderResponse> Decode(const json::Value& root, std::string& key_type) {
  ProviderResponse response;
  for (const auto& [name, value] : root.Members()) {
    if (name == "kind") {
      if (!value.IsString() || *value.AsString() != "CredentialProviderResponse") return std::nullopt;
    } else if (name == "cacheKeyType") {
      if (value.IsNull()) continue;
      if (!value.IsString()) return std::nullopt;
      key_type = *value.AsString();
    } else if (name == "cacheDuration") {
      if (value.IsNull()) continue;
      if (!value.IsString() || !(response.cache = time::ParseGoDuration(*value.AsString()))) return std::nullopt;
    } else if (name == "auth") {
      if (value.IsNull()) continue;
      if (!value.IsObject()) return std::nullopt;
      for (const auto& [pattern, auth] : value.Members()) {
        if (!auth.IsObject() && !auth.IsNull()) return std::nullopt;
        ProviderResponse::Entry entry{.pattern = std::string(pattern)};
        for (const auto& [field, text] : auth.Members()) {
          if (text.IsNull() && (field == "username" || field == "password")) continue;
          if (!text.IsString()) return std::nullopt;
          if (field == "username") entry.username = *text.AsString();
          else if (field == "password") entry.password = secret::Secret(*text.AsString());
          else return std::nullopt;
        }
        response.entries.push_back(std::move(entry));
      }
    } else if (name != "apiVersion") {
      return std::nullopt;
    }
  }
  return response;
}

}  // namespace

secret::Secret EncodeProviderRequest(const ProviderRequest& request) {
  std::string text;
  std::size_t room = 256 + 6 * request.image.size() + (request.token != nullptr ? 6 * request.token->size() : 0);
  for (const auto& [key, value] : request.annotations) room += 8 + 6 * (key.size() + value.size());
  text.reserve(room);  // no copies of the token are left behind
  text += R"({"kind":"CredentialProviderRequest","apiVersion":)";
  AppendGoJson(text, Name(request.version));
  text += ",\"image\":";
  AppendGoJson(text, request.image);
  if (request.token != nullptr && !request.token->empty()) {
    text += ",\"serviceAccountToken\":";
    AppendGoJson(text, request.token->Reveal());
  }
  if (!request.annotations.empty()) {
    text += ",\"serviceAccountAnnotations\":{";
    bool first = true;
    for (const auto& [key, value] : request.annotations) {
      if (!std::exchange(first, false)) text += ',';
      AppendGoJson(text, key);
      text += ':';
      AppendGoJson(text, value);
    }
    text += '}';
  }
  text += "}\n";
  return secret::Secret::Take(text);
}

Result<ProviderResponse> ParseProviderResponse(std::string_view text, ExecVersion version, const secret::Secret* token,
                                               std::size_t most_bytes) {
  const auto document = json::Document::Parse(text, Reason::kProtocolError, {.bytes = most_bytes, .depth = 8, .values = 50'000});
  if (!document)  // a duplicate key's name could be anything: only the kind of trouble is told
    return Lie(std::string("error reading GVK from response: ") +
               (document.error().reason() == Reason::kLimitExceeded ? "too large" : text.empty() ? "no output" : "not one strict JSON document"));
  const json::Value root = document->root();
  const auto text_of = [&](std::string_view name) -> std::string {
    const auto value = root.Find(name);
    return value && value->IsString() ? std::string(*value->AsString()) : "";
  };
  const std::string kind = text_of("kind"), actual = text_of("apiVersion");
  if (kind.empty() || actual.empty()) return Lie("error reading GVK from response: kind and apiVersion must be given");
  if (actual != Name(version))
    return Lie("apiVersion from credential plugin response did not match expected apiVersion:" + std::string(Name(version)) +
               ", actual apiVersion:" + (IsVersion(actual) ? actual : "another"));
  std::string key_type;
  auto response = Decode(root, key_type);
  if (!response) return Lie("error decoding credential provider plugin response from stdout");
  if (token != nullptr)
    for (const auto& entry : response->entries)
      if (entry.password == *token)
        return Lie(
            "credential provider plugin returned the service account token as the password which is not allowed when service account cache type is "
            "not set to 'Token'");
  if (key_type == "Image") response->key_type = CacheKeyType::kImage;
  else if (key_type == "Registry") response->key_type = CacheKeyType::kRegistry;
  else if (key_type == "Global") response->key_type = CacheKeyType::kGlobal;
  else return Lie("credential provider plugin did not return a valid cacheKeyType" + std::string(key_type.empty() ? ": none" : ""));
  return *std::move(response);
}

}  // namespace berth::credentials
