// credentials/docker_config.h: reads ~/.docker/config.json, .dockercfg, and the secrets that hold one.
//
// Strict JSON (json/document.h): duplicate keys and trailing bytes are errors. Member names of entries match in any case,
// as Go programs read them. `auth` overrides username and password. One bad entry fails the whole file: a typing error is
// to be seen, not to be skipped. Errors: kInvalidCredentials naming the place ("$.auths[…].auth"), never a value; kLimitExceeded.
// kubelet-images 6.2 (vectors: credentials_test.cc).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "credentials/credential.h"
#include "credentials/match.h"
#include "result/result.h"

namespace berth::credentials {

// kConfigJson: {"auths": {KEY: ENTRY}}; kDockerCfg: {KEY: ENTRY}.
enum class FileFormat : unsigned char { kConfigJson, kDockerCfg };

struct DockerConfig {
  struct Entry {
    std::string key;  // as written
    Credential credential;
  };
  std::vector<Entry> entries;            // in the order of the bytes of their keys
  std::string credential_store;          // credsStore: named, never run by this library
  std::vector<std::pair<std::string, std::string>> credential_helpers;  // host, helper
};

struct DockerConfigLimits {
  std::size_t bytes = 1u << 20;
  std::size_t depth = 32;  // objects inside objects
};

// The text of a file that ParseDockerConfig will take. As host::ReadSmallFile.
Result<std::string> ReadDockerConfig(const std::string& path, const DockerConfigLimits& limits = {});

// `source` goes into each credential ("config.json /root/.docker/config.json"). The kubelet knows nothing of identity and
// registry tokens: kKubelet leaves them out.
Result<DockerConfig> ParseDockerConfig(std::string_view text, FileFormat format, Profile profile, std::string_view source,
                                       const DockerConfigLimits& limits = {});

// "auth" of an entry: base64 of "user:password", padding optional, CR and LF inside allowed.
Result<Credential> DecodeAuth(std::string_view auth);
// The entry as kubectl writes it: username, password, email when not empty, auth always.
secret::Secret EncodeEntry(std::string_view username, const secret::Secret& password, std::string_view email);

}  // namespace berth::credentials
