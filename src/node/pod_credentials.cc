#include "node/pod_credentials.h"

#include "bytes/text.h"
#include "kube/parse.h"
#include "resolve/registry_resolver.h"

namespace berth::node {
namespace {

constexpr std::size_t kMessageBytes = 1000;  // of an event; a message ends at 1,024

// The kubelet only logs this, where the owner of the Pod cannot see it. The program's own words (quoted, at the end) are for the node's
// operator: they stay in the log.
policy::Event ProviderFailed(const credentials::MatchReport& report) {
  const std::string why = report.source + ": " + report.reason.substr(0, report.reason.find(": \""));
  return {"FailedCredentialProvider", true, bytes::Ellipsized(why, kMessageBytes)};
}

class Source final : public policy::CredentialSource {
 public:
  Source(PullSecrets secrets, credentials::PodIdentity pod, const credentials::Sources& sources, PodCredentials::Tell tell)
      : secrets_(std::move(secrets)), pod_(std::move(pod)), sources_(sources), tell_(std::move(tell)) {}

  Result<std::vector<policy::PullCredential>> Find(const task::Context& ctx, const std::string& repository) override {
    ASSIGN_OR_RETURN(
        auto found,
        sources_.Find(ctx, {.repository = repository, .secrets = secrets_.found, .missing = secrets_.missing, .pod = pod_}));
    if (tell_)
      for (const auto& report : found.reports)
        if (report.verdict == credentials::MatchReport::Verdict::kFailed) tell_(ProviderFailed(report));
    std::vector<policy::PullCredential> out;
    for (auto& credential : found.credentials) {
      auto access = policy::AccessOf(credential);
      out.push_back({std::move(credential), std::move(access)});
    }
    return out;
  }

 private:
  const PullSecrets secrets_;
  const credentials::PodIdentity pod_;
  const credentials::Sources& sources_;
  const PodCredentials::Tell tell_;
};

}  // namespace

PullSecrets ReadPullSecrets(const objects::Store& store, const kube::Pod& pod) {
  PullSecrets out;
  for (const auto& name : pod.spec.image_pull_secrets) {
    if (name.empty()) continue;
    const auto object = store.Get({"Secret", pod.metadata.ns, name});
    credentials::SecretCoordinates where;
    where.namespace_name = pod.metadata.ns, where.name = name;
    if (!object) {
      out.missing.push_back(std::move(where));
      continue;
    }
    out.found.push_back(resolve::AsPullSecret(kube::ReadSecret(**object)));
  }
  return out;
}

PodCredentials::Found SecretCredentials::For(const task::Context&, const kube::Pod& pod, Tell tell) {
  PullSecrets secrets = ReadPullSecrets(store_, pod);
  Found found;
  for (const auto& missing : secrets.missing) found.missing.push_back(missing.name);
  found.source = std::make_unique<Source>(
      std::move(secrets),
      credentials::PodIdentity{pod.metadata.ns, pod.metadata.name, pod.metadata.uid, pod.spec.service_account_name}, sources_,
      std::move(tell));
  return found;
}

}  // namespace berth::node
