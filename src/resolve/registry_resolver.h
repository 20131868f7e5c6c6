// resolve/registry_resolver.h: admission's questions put to registries, with the object's own pull secrets.
//
// One look-up: the object's imagePullSecrets (its namespace only, in order; missing ones are passed over, as the kubelet does), then
// whatever else `sources` and `more` know, tried in turn; mirrors and hosts.toml as for a pull; one HEAD. Errors: as of
// registry::Repository::Resolve; kInvalidCredentials for a secret that is malformed; kUnavailable when secrets cannot be read.
// Safe for concurrent use. Nothing here keeps a secret.
#pragma once

#include <functional>
#include <vector>

#include "admission/request.h"
#include "admission/resolver.h"
#include "credentials/sources.h"
#include "kube/objects.h"
#include "registry/client.h"

namespace berth::resolve {

// A Secret as credentials/ knows it.
credentials::PullSecret AsPullSecret(kube::Secret secret);

class RegistryResolver final : public admission::Resolver {
 public:
  using More = std::function<std::vector<credentials::Credential>(const reference::Reference&)>;  // thread-safe
  // All references must outlive it.
  RegistryResolver(registry::Client& client, admission::Facts& facts, const credentials::Sources& sources, More more = nullptr)
      : client_(client), facts_(facts), sources_(sources), more_(std::move(more)) {}
  Result<digest::Digest> Resolve(const task::Context& ctx, const admission::Lookup& lookup) override;

 private:
  registry::Client& client_;
  admission::Facts& facts_;
  const credentials::Sources& sources_;
  const More more_;
};

}  // namespace berth::resolve
