#include "resolve/registry_resolver.h"

#include <iterator>

namespace berth::resolve {
namespace {

secret::Secret Take(std::map<std::string, secret::Secret>& data, std::string_view key) {
  const auto found = data.find(std::string(key));
  return found == data.end() ? secret::Secret() : std::move(found->second);
}

}  // namespace

credentials::PullSecret AsPullSecret(kube::Secret secret) {
  credentials::PullSecret out;
  out.coordinates.uid = secret.metadata.uid;
  out.coordinates.namespace_name = secret.metadata.ns;
  out.coordinates.name = secret.metadata.name;
  out.type = secret.type;
  out.docker_config_json = Take(secret.data, credentials::kDockerConfigJsonKey);
  out.docker_cfg = Take(secret.data, credentials::kDockerCfgKey);
  return out;
}

Result<digest::Digest> RegistryResolver::Resolve(const task::Context& ctx, const admission::Lookup& lookup) {
  std::vector<credentials::PullSecret> secrets;
  std::vector<credentials::SecretCoordinates> missing;
  for (const std::string& name : lookup.pull_secrets) {
    auto secret = facts_.FindSecret(ctx, lookup.ns, name);
    if (secret) {
      secrets.push_back(AsPullSecret(*std::move(secret)));
    } else if (secret.error().code == 404 || secret.error().code == 403) {
      credentials::SecretCoordinates& where = missing.emplace_back();
      where.namespace_name = lookup.ns;
      where.name = name;
    } else {
      return Error(Reason::kUnavailable, "secret " + Quoted(lookup.ns + "/" + name) + " cannot be read: " + secret.error().message);
    }
  }
  const std::string repository = lookup.image.Repository();
  ASSIGN_OR_RETURN(auto found, sources_.Find(ctx, {.repository = repository, .secrets = secrets, .missing = missing}));
  if (more_) std::ranges::move(more_(lookup.image), std::back_inserter(found.credentials));
  ASSIGN_OR_RETURN(const auto resolved, client_.Open(lookup.image, std::move(found.credentials))->Resolve(ctx));
  return resolved.digest;
}

}  // namespace berth::resolve
