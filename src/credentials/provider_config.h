// credentials/provider_config.h: CredentialProviderConfig: which exec plug-ins there are, and for which images.
//
//   apiVersion: kubelet.config.k8s.io/v1          (also v1beta1, v1alpha1: the same without tokenAttributes)
//   kind: CredentialProviderConfig
//   providers:
//   - name: ecr-credential-provider
//     matchImages: ["*.dkr.ecr.*.amazonaws.com"]
//     defaultCacheDuration: 12h
//     apiVersion: credentialprovider.kubelet.k8s.io/v1
//
// Decoding is strict: unknown fields, wrong types and names in another case are errors. Errors: kConfig with the kubelet's
// words (kubelet-images 7.1, 7.3) after the file's name. Their text may quote names, patterns and keys of the file, never the
// value of an `env` entry. Pure functions but for LoadProviderConfigs().
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "credentials/match.h"
#include "json/document.h"
#include "result/result.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::credentials {

// Version of the exec protocol.
enum class ExecVersion : unsigned char { kV1, kV1Beta1, kV1Alpha1 };
std::string_view Name(ExecVersion version);  // "credentialprovider.kubelet.k8s.io/v1"

struct TokenAttributes {
  enum class CacheType : unsigned char { kServiceAccount, kToken };
  std::string audience;
  CacheType cache_type = CacheType::kServiceAccount;
  bool require_service_account = false;
  std::vector<std::string> required_annotations, optional_annotations;  // keys
  friend bool operator==(const TokenAttributes&, const TokenAttributes&) = default;
};

struct ProviderSpec {
  std::string name;                       // of the program in the folder of plug-ins
  std::vector<std::string> match_images;  // at least one
  time::Duration default_cache{};         // >= 0; 0: answers without a duration are not kept
  ExecVersion version = ExecVersion::kV1;
  std::vector<std::string> args;
  // Values may be secrets (keys of a cloud account).
  struct Variable {
    std::string name;
    secret::Secret value;
  };
  std::vector<Variable> env;
  std::optional<TokenAttributes> token;

  ProviderSpec Clone() const;
  friend bool operator==(const ProviderSpec& a, const ProviderSpec& b);
};

// One document. `service_account_tokens` is the gate KubeletServiceAccountTokenForCredentialProviders. Several findings come
// as the kubelet aggregates them: "[first, second]".
// kDocumented takes the globs of the documentation in matchImages, too ("my[0-9].io").
struct ProviderConfigRules {
  Profile profile = Profile::kDocumented;
  bool service_account_tokens = true;
};
Result<std::vector<ProviderSpec>> ParseProviderConfig(const json::Value& root, const ProviderConfigRules& rules);

struct ProviderConfigs {
  std::vector<ProviderSpec> providers;  // in the order of the files
  std::string hash;                     // "sha256:…" over lengths and bytes of the files: the kubelet's metric
};

inline constexpr std::size_t kProviderConfigBytes = 1u << 20;
inline constexpr std::size_t kProviderConfigFiles = 256;

// Text of one file to a document; by default JSON. The daemon gives one that reads YAML, of which JSON is a part.
using DocumentParser = std::function<Result<json::Document>(std::string_view text)>;
Result<json::Document> ParseJsonDocument(std::string_view text);

// `path`: a file, or a folder, of which .json, .yaml and .yml count, by name, without sub-folders.
Result<ProviderConfigs> LoadProviderConfigs(const std::string& path, const ProviderConfigRules& rules,
                                            const DocumentParser& parse = ParseJsonDocument);

}  // namespace berth::credentials
