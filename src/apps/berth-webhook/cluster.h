// apps/berth-webhook/cluster.h: a small reader of a cluster's API: what admission asks of other objects.
//
// One GET each. Tokens in files are read for every request (kubelets rotate them). Labels of namespaces are kept for ten seconds; Secrets
// and accounts never. Errors are ours: no body of the other side is quoted.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "admission/request.h"
#include "host/fd.h"
#include "http/client.h"
#include "json/document.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::webhook {

// Where the API is and who we are there.
struct ClusterAccess {
  http::Url server;
  http::TlsOptions tls;
  secret::Secret token;         // or
  std::string token_file;
  std::vector<host::Fd> kept;   // PEM texts that stood in the kubeconfig: files without a name
};
// The current context; relative paths are the file's folder's. kConfig: exec and auth-provider plug-ins, user names and passwords, http.
Result<ClusterAccess> ReadKubeconfig(const std::string& path);
// Of the Pod that we are: `variable` KUBERNETES_SERVICE_HOST and _PORT, and the account's folder.
Result<ClusterAccess> InClusterAccess(const std::function<std::optional<std::string>(std::string_view)>& variable,
                                      const std::string& folder = "/var/run/secrets/kubernetes.io/serviceaccount");

// Safe for concurrent use.
class Cluster final : public admission::Facts {
 public:
  // `http` outlives it; it should have no proxies.
  Cluster(http::Client& http, ClusterAccess access) : http_(http), access_(std::move(access)) {}
  kube::Answer<kube::ServiceAccount> FindAccount(const task::Context& ctx, std::string_view ns, std::string_view name) override;
  kube::Answer<kube::Secret> FindSecret(const task::Context& ctx, std::string_view ns, std::string_view name) override;
  kube::Answer<kube::StringMap> NamespaceLabels(const task::Context& ctx, std::string_view ns) override;

 private:
  // The object, or 404 and so on as the API server has it.
  kube::Answer<kube::Object> Get(const task::Context& ctx, std::string_view kind, std::string_view ns, std::string_view name);

  struct Labels {
    kube::StringMap labels;
    time::SteadyTime read;
  };
  http::Client& http_;
  const ClusterAccess access_;
  std::mutex mutex_;
  std::map<std::string, Labels, std::less<>> labels_;  // guarded by mutex_
};

}  // namespace berth::webhook
