#include "credentials/docker_secret.h"

#include <utility>

#include "bytes/encoding.h"
#include "credentials/docker_config.h"
#include "credentials/go_text.h"
#include "credentials/pull_secrets.h"
#include "digest/digest.h"
#include "json/document.h"

namespace berth::credentials {

Result<secret::Secret> EncodeDockerSecret(const DockerSecretRequest& request) {
  if (request.server.empty() || request.username.empty() || request.password.empty())
    return Error(Reason::kUsage, "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required");
  const secret::Secret entry = EncodeEntry(request.username, request.password, request.email);
  std::string text;
  text.reserve(32 + 6 * request.server.size() + entry.size());
  text += R"({"auths":{)";
  AppendGoJson(text, request.server);
  text.append(":").append(entry.Reveal()).append("}}");
  return secret::Secret::Take(text);
}

Result<> CheckDockerSecret(std::string_view config_json) {
  auto config = ParseDockerConfig(config_json, FileFormat::kConfigJson, Profile::kKubelet, "");
  if (!config) return std::move(config).error();
  if (config->entries.empty())
    return Error(Reason::kInvalidCredentials, "the file has no entry under \"auths\"").Next("run 'docker login REGISTRY' without a credential store first");
  return {};
}

std::string AppendHash(std::string_view name, std::string_view key, const secret::Secret& value) {
  std::string text = "{\"data\":{";
  text.reserve(128 + 6 * (name.size() + key.size()) + 2 * value.size());
  std::string data = bytes::ToBase64(bytes::AsView(value.Reveal()));
  AppendGoJson(text, key);
  text.append(":\"").append(data).append("\"},\"kind\":\"Secret\",\"name\":");
  AppendGoJson(text, name);
  text += ",\"type\":";
  AppendGoJson(text, kDockerConfigJsonType);
  text += '}';
  std::string suffix = digest::Digest::Of(bytes::AsView(text)).Hex().substr(0, 10);
  secret::Secret::Wipe(text);
  secret::Secret::Wipe(data);
  for (char& c : suffix) {  // no vowels and few digits: no words by chance
    constexpr std::string_view kFrom = "013ae", kTo = "ghkmt";
    if (const auto at = kFrom.find(c); at != kFrom.npos) c = kTo[at];
  }
  return std::string(name) + "-" + suffix;
}

}  // namespace berth::credentials
