// credentials/provider_response.h: the exec protocol of credential provider plug-ins: what goes in, what comes out.
//
// One JSON document each way (kubelet-images 7.4). Pure functions. Errors never hold a value of the answer.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "credentials/provider_config.h"
#include "result/result.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::credentials {

struct ProviderRequest {
  ExecVersion version = ExecVersion::kV1;
  std::string image;                           // repository, without tag and digest
  const secret::Secret* token = nullptr;       // of the service account
  std::map<std::string, std::string> annotations;
};
// The line for the plug-in's stdin, newline included.
secret::Secret EncodeProviderRequest(const ProviderRequest& request);

enum class CacheKeyType : unsigned char { kImage, kRegistry, kGlobal };

struct ProviderResponse {
  struct Entry {
    std::string pattern, username;
    secret::Secret password;
  };
  CacheKeyType key_type = CacheKeyType::kImage;
  std::optional<time::Duration> cache;  // nullopt: the configured default
  std::vector<Entry> entries;
};

// kProtocolError with the kubelet's words. `token`: when given, an answer that returns it as a password is refused
// (service account mode with cache type ServiceAccount).
Result<ProviderResponse> ParseProviderResponse(std::string_view text, ExecVersion version, const secret::Secret* token = nullptr,
                                               std::size_t most_bytes = 1u << 20);

}  // namespace berth::credentials
