#include "apiserver/server.h"

#include "bytes/bytes.h"
#include "host/listen.h"
#include "host/machine.h"
#include "log/log.h"

namespace berth::apiserver {
namespace {

constexpr auto kLook = std::chrono::hours(24);
constexpr auto kRenewBefore = std::chrono::hours(24 * 120);  // a third of a year
constexpr unsigned kWorkers = 4;
constexpr std::size_t kHead = 12u << 10;  // each connection has so much for as long as it lasts, and most are watches
constexpr int kSendBuffer = 128 << 10;    // of a watch that nobody reads, in the kernel
constexpr const char* kFolder = "apiserver";

Result<host::Dir> OpenFolder(const host::Dir& root) {
  ASSIGN_OR_RETURN(const bool there, root.Exists(kFolder));
  return there ? root.OpenDir(kFolder) : root.MakeAndOpenDir(kFolder, 0700);
}

Result<> WriteKubeconfig(const std::string& path, const secret::Secret& text) {
  const auto slash = path.rfind('/');
  ASSIGN_OR_RETURN(const host::Dir folder, host::Dir::Open(slash == 0 ? "/" : path.substr(0, slash)));
  auto written = folder.WriteDurably(path.substr(slash + 1), bytes::AsView(text.Reveal()), 0600);
  if (!written) return std::move(written).error().Context("the kubeconfig " + path);
  return {};
}

}  // namespace

Result<std::unique_ptr<Server>> Server::Start(const host::Dir& root, Backend backend, ServerOptions options, const time::Clock& clock) {
  ASSIGN_OR_RETURN(const host::Dir folder, OpenFolder(root));
  ASSIGN_OR_RETURN(Identity identity, Identity::Open(folder, clock.WallNow()));
  ASSIGN_OR_RETURN(const auto address, host::ParseTcpAddress(options.listen));
  const bool any = address.ip == "0.0.0.0" || address.ip == "::";
  digest::LeafNames names{"berthd", std::move(options.names), {"127.0.0.1", "::1"}};
  names.dns.insert(names.dns.begin(), {"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"});
  if (!any && !address.loopback) names.ips.push_back(address.ip);
  ASSIGN_OR_RETURN(host::Fd listener, host::ListenTcp(address));
  ASSIGN_OR_RETURN(const std::uint16_t port, host::PortOf(listener.get()));
  const std::string host = any ? (address.v6 ? "[::1]" : "127.0.0.1") : address.v6 ? "[" + address.ip + "]" : address.ip;

  std::unique_ptr<Server> server(new Server(std::move(identity), std::move(names), clock));
  server->url_ = "https://" + host + ":" + std::to_string(port);
  ASSIGN_OR_RETURN(auto certificate, server->identity_.Issue(server->names_, clock.WallNow()));
  server->api_ = std::make_unique<Api>(std::move(backend), server->identity_.token().Clone(),
                                       ApiOptions{.version = options.version, .address = host + ":" + std::to_string(port)}, clock);
  const time::WallTime until = certificate.not_after();
  httpd::ServerOptions http{.name = "apiserver",
                            .workers = kWorkers,
                            .connections = options.connections,
                            .head_bytes = kHead,
                            .send_buffer = kSendBuffer,
                            .certificate = std::move(certificate),
                            .clock = &clock};
  ASSIGN_OR_RETURN(server->http_,
                   httpd::Server::Start(
                       std::move(listener),
                       [api = server->api_.get()](const task::Context& ctx, const httpd::Request& request) {
                         return api->Handle(ctx, request);
                       },
                       std::move(http)));
  RETURN_IF_ERROR(WriteKubeconfig(options.kubeconfig, server->identity_.Kubeconfig(server->url_)));
  server->renewal_ = std::jthread([s = server.get(), until](const std::stop_token& stop) { s->Renew(stop, until); });
  log::Info("the Kubernetes API is served", {{"url", server->url_}, {"kubeconfig", options.kubeconfig}});
  return server;
}

Server::~Server() {
  renewal_ = {};
  http_.reset();  // its handlers use the rest
}

void Server::Stop(time::Duration grace) { http_->Stop(grace); }

// The wall clock may jump, so it is looked at once a day rather than computed from.
void Server::Renew(const std::stop_token& stop, time::WallTime until) {
  while (clock_.SleepFor(stop, kLook)) {
    if (until - clock_.WallNow() > kRenewBefore) continue;
    auto certificate = identity_.Issue(names_, clock_.WallNow());
    if (!certificate) {
      log::Failure("the certificate of the API server cannot be renewed", {{"error", certificate.error()}});
      continue;
    }
    until = certificate->not_after();
    http_->SetCertificate(*std::move(certificate));
  }
}

}  // namespace berth::apiserver
