// apiserver/server.h: the Kubernetes API on a socket: HTTPS, an authority and a token of its own, and a kubeconfig for root.
//
//   ASSIGN_OR_RETURN(auto server, apiserver::Server::Start(store_folder, apiserver::BackendOf(node), {.listen = "127.0.0.1:6443", .kubeconfig = "/run/berth/kubeconfig"}, clock));
//   $ kubectl --kubeconfig /run/berth/kubeconfig get pods
//
// The certificate is renewed while the server runs. Safe for concurrent use.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "apiserver/api.h"
#include "apiserver/identity.h"
#include "host/dir.h"
#include "httpd/server.h"

namespace berth::apiserver {

struct ServerOptions {
  std::string listen;                   // "127.0.0.1:6443"; port 0: any
  std::string kubeconfig;               // an absolute path; written at every start, mode 0600
  std::string version;
  std::vector<std::string> names;       // further names in the certificate, of hosts
  unsigned connections = 2048;          // a watch is one
};

class Server {
 public:
  // `folder`: of the store; its apiserver/ is ours. Errors of the socket are host/listen.h's.
  static Result<std::unique_ptr<Server>> Start(const host::Dir& folder, Backend backend, ServerOptions options, const time::Clock& clock);
  ~Server();
  // No new calls; those at work and watches end within `grace`.
  void Stop(time::Duration grace);
  const std::string& url() const { return url_; }

 private:
  Server(Identity identity, digest::LeafNames names, const time::Clock& clock)
      : identity_(std::move(identity)), names_(std::move(names)), clock_(clock) {}
  void Renew(const std::stop_token& stop, time::WallTime until);

  const Identity identity_;
  const digest::LeafNames names_;
  const time::Clock& clock_;
  std::string url_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<httpd::Server> http_;
  std::jthread renewal_;                // last
};

}  // namespace berth::apiserver
