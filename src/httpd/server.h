// httpd/server.h: an HTTP/1.1 server on one listening socket, plain or TLS.
//
//   ASSIGN_OR_RETURN(auto listener, host::ListenTcp({.ip = "127.0.0.1", .port = 10290}));
//   ASSIGN_OR_RETURN(auto server, httpd::Server::Start(std::move(listener), [](const task::Context& ctx, const httpd::Request& r) {
//     return r.path == "/livez" ? httpd::Response::Text(200, "ok\n") : httpd::Response::Text(404, "there is no such page\n");
//   }, {}));
//
// Routing is the handler's. With `workers` = 0 it runs on the polling threads and must not block: for answers that are computed
// (webhooks, metrics). With workers it runs on so many threads of a pool and may block; its Context is stopped when the
// client goes away or the server stops, and more than `queue` waiting requests are answered with 503. Either may answer with a
// stream (stream.h), which needs no thread while it is silent. An exception that leaves a handler ends the process.
//
// Threads: libmicrohttpd's epoll loop, `pollers` of them, each with its own connections, plus one that notices clients that go
// while nothing is sent to them, and keeps the deadlines. Measured (httpd_bench): one core answers 44,000 kept-alive TLS 1.3 POSTs
// of 2 KiB a second with the handler on the polling thread, 26,000 through workers; so what only computes runs inline, and
// a watch that is silent costs a few KiB and no thread, which a thread for each connection could not offer.
//
// Hostile clients: the first head of a connection must be there after `head`, each next one `idle` after the last answer, a body
// after `body`, an answer must be taken within `answer` (streams: something of it every `idle`), whatever trickles in
// meanwhile. Heads above `head_bytes` get 431, targets nobody should send 400 (target.h), bodies above `body_bytes` 413. At most
// `connections`; more wait in the kernel's queue.
//
// Stop(grace): accepts nothing more and ends streams, lets answers that are being made or sent go on for `grace`, then stops
// their Contexts, waits for the handlers, and cuts what is left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "host/fd.h"
#include "httpd/certificate.h"
#include "httpd/client_authority.h"
#include "httpd/message.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::httpd {

using Handler = std::function<Response(const task::Context&, const Request&)>;

struct ServerOptions {
  std::string name = "http";          // of this server in the log
  unsigned pollers = 1;
  unsigned workers = 0;
  std::size_t queue = 1024;           // requests that wait for a worker
  unsigned connections = 1024;
  std::size_t head_bytes = 32u << 10; // request line and fields
  int send_buffer = 0;                // of each connection in the kernel, bytes; 0: as the kernel thinks fit
  std::size_t body_bytes = 3u << 20;  // what the Kubernetes API server allows
  std::string body_limit = "body_bytes";  // what the settings call that
  time::Duration head = std::chrono::seconds(10);
  time::Duration body = std::chrono::seconds(30);
  time::Duration idle = std::chrono::seconds(90);
  time::Duration answer = std::chrono::minutes(5);
  std::optional<Certificate> certificate;  // given: TLS 1.2 and 1.3
  std::optional<ClientAuthority> clients;  // given, with a certificate: nobody else gets through the handshake
  const time::Clock* clock = &time::SystemClock();
};

struct ServerStats {
  std::size_t connections = 0, requests = 0;  // open, at work (streams are)
};

// Safe for concurrent use.
class Server {
 public:
  // Takes a listening socket (host/listen.h). kInternal when libmicrohttpd cannot start.
  static Result<std::unique_ptr<Server>> Start(host::Fd listener, Handler handler, ServerOptions options);
  ~Server();  // Stop with no grace
  void Stop(time::Duration grace);

  // For handshakes from now on; connections stay. Only for a server that was started with one of the kind.
  void SetCertificate(Certificate certificate);
  void SetClients(ClientAuthority clients);
  std::uint16_t port() const;  // 0: a Unix socket
  ServerStats stats() const;

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace berth::httpd
