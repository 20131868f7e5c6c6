// cloud/exec.h: the kubelet's exec protocol for credential providers, seen from the plug-in.
//
// One CredentialProviderRequest on stdin, one CredentialProviderResponse on stdout, in the apiVersion that was asked for
// (credentialprovider.kubelet.k8s.io/ v1, v1beta1, v1alpha1). Unknown fields are ignored: newer kubelets add some.
// The service account token and annotations exist in v1 only. Rules: kubelet-images 7.2, 7.4, 7.6.
// The image is untrusted text (a Pod's author wrote it): it only ever chooses among hosts that the provider knows.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::cloud {

inline constexpr std::size_t kMaxRequestBytes = 1u << 20;

struct ExecRequest {
  std::string api_version;  // one of the three
  std::string image;        // repository, without tag and digest
  std::string host;         // the registry part of `image`, lower case, with the port if there is one
  secret::Secret service_account_token;  // empty: none was given
  std::map<std::string, std::string, std::less<>> annotations;  // of the service account

  // kUsage names what is wrong; no value is quoted but kind, apiVersion and image.
  static Result<ExecRequest> Parse(std::string_view text);
  std::string_view Annotation(std::string_view key) const;  // "" when absent
};

// For which other images the kubelet may use the answer again.
enum class CacheKey : std::uint8_t { kImage, kRegistry, kGlobal };

// What a provider found.
struct Login {
  CacheKey cache_key = CacheKey::kRegistry;
  std::vector<std::string> patterns;       // which images it opens, as in matchImages
  std::string user;
  secret::Secret password;
  std::optional<time::WallTime> expires;   // none: unknown, so not cached
};

// How long the kubelet may keep a login: its life less a margin of a quarter, at most 15 minutes, in whole seconds. A pull that
// starts at the last moment still has the margin, and so has a clock that is off. Never negative.
std::chrono::seconds CacheDuration(const std::optional<time::WallTime>& expires, time::WallTime now);

// The response as one line. cacheDuration is always there: without one the kubelet takes its defaultCacheDuration, which
// knows nothing of this token.
secret::Secret RenderResponse(const ExecRequest& request, const Login& login, time::WallTime now);

}  // namespace berth::cloud
