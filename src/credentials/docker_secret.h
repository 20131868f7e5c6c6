// credentials/docker_secret.h: what `kubectl create secret docker-registry` writes.
//
// Byte for byte as kubectl does it (kubelet-images 8.3, vectors in pull_secrets_test.cc): compact JSON, HTML characters
// escaped, `email` left out when empty; the name's suffix with --append-hash. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "result/result.h"
#include "secret/secret.h"

namespace berth::credentials {

inline constexpr std::string_view kDefaultDockerServer = "https://index.docker.io/v1/";

struct DockerSecretRequest {
  std::string server{kDefaultDockerServer}, username, email;
  secret::Secret password;
};

// The value of ".dockerconfigjson". kUsage when server, user name or password is missing, with kubectl's words.
Result<secret::Secret> EncodeDockerSecret(const DockerSecretRequest& request);

// What a file given with --from-file must be before it is stored: a non-empty JSON object that is a docker config file.
// (kubectl stores an empty one, too; the API server then refuses it, or, with a client-side dry run, nobody does.)
Result<> CheckDockerSecret(std::string_view config_json);

// "foo-548cm7fgdh": the name with the hash of the secret that has this one key and the docker-registry type.
std::string AppendHash(std::string_view name, std::string_view key, const secret::Secret& value);

}  // namespace berth::credentials
