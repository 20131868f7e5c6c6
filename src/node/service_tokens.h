// node/service_tokens.h: service account tokens for credential plug-ins, minted on this node: what TokenRequest is to a kubelet.
//
// A token is a JSON Web Token (RFC 7519), signed with ES256 by a key that is made at the first use and lives in the store:
//   service-account.key        the private key, PEM, 0600; remove it and restart: a new one is made, old tokens are worth nothing
//   service-account.jwks.json  the public half, RFC 7517, 0644: give it to whoever is to trust the tokens (an OIDC issuer's key set)
// Claims are Kubernetes': iss, sub "system:serviceaccount:NAMESPACE:NAME", aud [one], iat, nbf, exp (an hour later), jti, and
// "kubernetes.io" with namespace, node, pod and serviceaccount, each with name and uid. A Pod that is not in the store (explain of
// a file) is left out of it.
//
// A token is given again until 80 % of its life are over (kubelet-images 7.5), so that a plug-in's answers of cache type Token
// are found again; it is bound to the Pod, so no other Pod sees it. Nothing prints one. Safe for concurrent use.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "credentials/provider.h"
#include "host/dir.h"
#include "objects/store.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::node {

struct ServiceTokenOptions {
  std::string node_name;
  std::string issuer;                          // "": https:// and the node's name
};

class ServiceTokens final : public credentials::TokenSource {
 public:
  static constexpr const char* kKeyName = "service-account.key";
  static constexpr const char* kKeySetName = "service-account.jwks.json";
  static constexpr std::size_t kMost = 4096;   // tokens kept; beyond, the one that ends first goes

  // Reads the key in `root`, or makes it. kInvalidCredentials: the file holds no key on P-256. `random`: 64 bits a call.
  static Result<std::unique_ptr<ServiceTokens>> Open(const host::Dir& root, const objects::Store& store, const time::Clock& clock,
                                                     std::function<std::uint64_t()> random, ServiceTokenOptions options);

  Result<Account> FindAccount(const task::Context& ctx, const std::string& namespace_name, const std::string& name) override;
  Result<secret::Secret> Token(const task::Context& ctx, const credentials::PodIdentity& pod, const std::string& account_uid,
                               const std::string& audience) override;

 private:
  // Namespace, account, its uid, the Pod's uid, audience.
  using For = std::tuple<std::string, std::string, std::string, std::string, std::string>;
  struct Kept {
    secret::Secret token;
    time::SteadyTime until;
  };
  ServiceTokens(const objects::Store& store, const time::Clock& clock, std::function<std::uint64_t()> random,
                ServiceTokenOptions options, secret::Secret key, std::string key_id)
      : store_(store), clock_(clock), random_(std::move(random)), options_(std::move(options)), key_(std::move(key)),
        key_id_(std::move(key_id)) {}
  std::string NewId();
  Result<secret::Secret> Mint(const credentials::PodIdentity& pod, const std::string& account_uid, const std::string& audience);

  const objects::Store& store_;
  const time::Clock& clock_;
  const std::function<std::uint64_t()> random_;
  const ServiceTokenOptions options_;
  const secret::Secret key_;   // PEM
  const std::string key_id_;
  std::mutex mutex_;
  std::map<For, Kept> kept_;   // guarded by mutex_
};

}  // namespace berth::node
