#include "credentials/pull_secrets.h"

#include <utility>

#include "log/log.h"

namespace berth::credentials {

std::string WhyUnusable(const PullSecret& secret) {
  const bool json = secret.type == kDockerConfigJsonType, cfg = secret.type == kDockerCfgType;
  if (!json && !cfg) return "type is " + Quoted(secret.type) + ", not " + std::string(kDockerConfigJsonType);
  if (!(json ? secret.docker_config_json : secret.docker_cfg).empty()) return "";
  const bool swapped = !(json ? secret.docker_cfg : secret.docker_config_json).empty();
  return "type " + secret.type + " needs the key " + std::string(json ? kDockerConfigJsonKey : kDockerCfgKey) +
         (swapped ? ", it has " + std::string(json ? kDockerCfgKey : kDockerConfigJsonKey) : ", which is missing or empty");
}

Result<std::optional<Keyring>> ReadPullSecrets(Profile profile, std::span<const PullSecret> secrets, const DockerConfigLimits& limits) {
  std::optional<Keyring> ring;
  for (const PullSecret& secret : secrets) {
    if (!WhyUnusable(secret).empty()) continue;
    const bool json = secret.type == kDockerConfigJsonType;
    const std::string source = "secret " + secret.coordinates.namespace_name + "/" + secret.coordinates.name;
    auto config = ParseDockerConfig((json ? secret.docker_config_json : secret.docker_cfg).Reveal(),
                                    json ? FileFormat::kConfigJson : FileFormat::kDockerCfg, profile, source, limits);
    if (!config) return std::move(config).error().Context(source);
    for (auto& entry : config->entries) entry.credential.secret = secret.coordinates;
    if (!ring) ring.emplace(profile);
    for (const auto& key : ring->Add(*std::move(config)))
      log::Debug("a key of a pull secret names no registry", {{"secret", source}, {"key", key}});
  }
  return ring;
}

}  // namespace berth::credentials
