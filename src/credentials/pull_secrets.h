// credentials/pull_secrets.h: a Pod's image pull secrets as one keyring.
//
// The caller has resolved the names (namespace of the Pod only, order of the list, empty names left out); this library knows
// no Kubernetes objects. A Secret is usable when its type and its key agree: `kubernetes.io/dockerconfigjson` with a non-empty
// ".dockerconfigjson", `kubernetes.io/dockercfg` with a non-empty ".dockercfg"; others count as if they were not listed. All
// usable ones form one keyring: between secrets only entries of one key keep the order of the list. One malformed usable
// secret fails the look-up as a whole, and with it the pull. (kubelet-images 6.6, 8.1)
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "credentials/keyring.h"
#include "result/result.h"

namespace berth::credentials {

inline constexpr std::string_view kDockerConfigJsonType = "kubernetes.io/dockerconfigjson";
inline constexpr std::string_view kDockerConfigJsonKey = ".dockerconfigjson";
inline constexpr std::string_view kDockerCfgType = "kubernetes.io/dockercfg";
inline constexpr std::string_view kDockerCfgKey = ".dockercfg";

struct PullSecret {
  SecretCoordinates coordinates;
  std::string type;
  // The values of the two keys, after base64; the other keys are of no interest.
  secret::Secret docker_config_json, docker_cfg;
};

// Why a secret does not count, "" when it is usable: "type is Opaque, not kubernetes.io/dockerconfigjson".
std::string WhyUnusable(const PullSecret& secret);

// The keyring, nullopt when no secret is usable. kInvalidCredentials names the secret and the place in it, never a value.
Result<std::optional<Keyring>> ReadPullSecrets(Profile profile, std::span<const PullSecret> secrets, const DockerConfigLimits& limits = {});

}  // namespace berth::credentials
