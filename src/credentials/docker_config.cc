#include "credentials/docker_config.h"

#include <algorithm>
#include <utility>

#include "bytes/encoding.h"
#include "credentials/go_text.h"
#include "host/dir.h"
#include "json/document.h"

namespace berth::credentials {
namespace {

Error Bad(std::string_view where, std::string what) {
  return Error(Reason::kInvalidCredentials, std::string(where) + " " + what).Next("compare with what 'kubectl create secret docker-registry' writes");
}

Error TooMuch(std::string what) { return Error(Reason::kLimitExceeded, "a docker config file " + std::move(what)); }

bool SameName(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return (x | 0x20) == (y | 0x20); });
}

// The text of a member, "" when it is absent or null.
Result<std::string> Text(const json::Value& entry, std::string_view name) {
  std::string text;
  for (const auto& [key, value] : entry.Members()) {
    if (!SameName(key, name) || value.IsNull()) continue;
    if (!value.IsString()) return Bad(value.path(), "must be a string");
    text = *value.AsString();
  }
  return text;
}

Result<Credential> ReadEntry(const json::Value& entry, Profile profile, std::string_view source) {
  if (!entry.IsObject() && !entry.IsNull()) return Bad(entry.path(), "must be an object");
  ASSIGN_OR_RETURN(std::string username, Text(entry, "username"));
  ASSIGN_OR_RETURN(std::string password, Text(entry, "password"));
  ASSIGN_OR_RETURN(std::string auth, Text(entry, "auth"));
  ASSIGN_OR_RETURN(std::string email, Text(entry, "email"));
  Credential credential;
  if (!auth.empty()) {
    auto decoded = DecodeAuth(auth);
    secret::Secret::Wipe(auth);
    secret::Secret::Wipe(password);
    if (!decoded) return std::move(decoded).error().Context(entry.path() + ".auth");
    credential = *std::move(decoded);
  } else {
    credential.username = std::move(username);
    credential.password = secret::Secret::Take(password);
  }
  if (profile == Profile::kDocumented) {
    ASSIGN_OR_RETURN(std::string identity, Text(entry, "identitytoken"));
    ASSIGN_OR_RETURN(std::string token, Text(entry, "registrytoken"));
    credential.identity_token = secret::Secret::Take(identity);
    credential.registry_token = secret::Secret::Take(token);
  }
  credential.source = source;
  credential.email = std::move(email);
  return credential;
}

}  // namespace

Result<Credential> DecodeAuth(std::string_view auth) {
  std::string compact;
  for (const char c : auth)
    if (c != '\r' && c != '\n') compact += c;
  auto decoded = bytes::FromBase64(compact, bytes::Padding::kOptional);
  secret::Secret::Wipe(compact);
  if (!decoded) return Error(Reason::kInvalidCredentials, "not base64");
  const auto colon = decoded->find(':');
  Credential credential;
  if (colon != decoded->npos) {
    credential.username = decoded->substr(0, colon);
    credential.password = secret::Secret(std::string_view(*decoded).substr(colon + 1));
  }
  secret::Secret::Wipe(*decoded);
  if (colon == decoded->npos) return Error(Reason::kInvalidCredentials, "unable to parse auth field, must be formatted as base64(username:password)");
  return credential;
}

secret::Secret EncodeEntry(std::string_view username, const secret::Secret& password, std::string_view email) {
  std::string pair = std::string(username) + ":" + std::string(password.Reveal());
  std::string auth = bytes::ToBase64(bytes::AsView(pair));
  secret::Secret::Wipe(pair);
  std::string text = "{";
  text.reserve(128 + 6 * (username.size() + password.size() + email.size()) + auth.size());  // no copies are left behind
  const auto member = [&](std::string_view name, std::string_view value) {
    text.append(text.size() > 1 ? ",\"" : "\"").append(name).append("\":");
    AppendGoJson(text, value);
  };
  if (!username.empty()) member("username", username);
  if (!password.empty()) member("password", password.Reveal());
  if (!email.empty()) member("email", email);
  member("auth", auth);
  text += '}';
  secret::Secret::Wipe(auth);
  return secret::Secret::Take(text);
}

Result<std::string> ReadDockerConfig(const std::string& path, const DockerConfigLimits& limits) {
  auto text = host::ReadSmallFile(path, limits.bytes);
  if (!text && text.error().reason() == Reason::kLimitExceeded)
    return Error(Reason::kLimitExceeded, text.error().message() + " (limit docker_config_bytes)");
  return text;
}

Result<DockerConfig> ParseDockerConfig(std::string_view text, FileFormat format, Profile profile, std::string_view source,
                                       const DockerConfigLimits& limits) {
  if (text.size() > limits.bytes) return TooMuch("larger than " + std::to_string(limits.bytes) + " bytes (limit docker_config_bytes)");
  const auto document = json::Document::Parse(text, Reason::kInvalidCredentials, {.bytes = limits.bytes, .depth = limits.depth});
  if (!document && document.error().message().ends_with("(limit: depth)"))
    return TooMuch("nested deeper than " + std::to_string(limits.depth) + " levels (limit docker_config_depth)");
  if (!document) return document.error();
  const json::Value root = document->root();
  if (!root.IsObject()) return Bad(root.path(), "must be an object");
  DockerConfig config;
  std::optional<json::Value> auths;
  if (format == FileFormat::kDockerCfg) auths = root;
  else
    for (const auto& [key, value] : root.Members()) {
      if (SameName(key, "auths")) auths = value;
      if (SameName(key, "credsStore") && value.IsString()) config.credential_store = *value.AsString();
      if (SameName(key, "credHelpers") && value.IsObject())
        for (const auto& [host, helper] : value.Members())
          if (helper.IsString()) config.credential_helpers.emplace_back(host, *helper.AsString());
    }
  if (!auths || auths->IsNull()) return config;
  if (!auths->IsObject()) return Bad(auths->path(), "must be an object");
  for (const auto& [key, value] : auths->Members()) {
    ASSIGN_OR_RETURN(auto credential, ReadEntry(value, profile, source));
    config.entries.push_back({std::string(key), std::move(credential)});
  }
  return config;
}

}  // namespace berth::credentials
