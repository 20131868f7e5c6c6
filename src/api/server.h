// api/server.h: the Unix socket on which berthd answers, and gRPC behind it.
//
// We accept, gRPC serves: so the peer is known before a byte of his is read. Only processes of root (or of our own user)
// are served, whatever the file's mode says; the socket is made 0600 (umask during bind) and never open to anybody else.
// A socket handed over by the service manager (host/listen.h) is used as it is.
// Limits (reliability-security 5.12): 16 MiB a message, not compressed; 16 KiB of metadata; 256 streams a connection; ten
// seconds for a connection to speak HTTP/2; pings at most every ten seconds.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "api/service.h"
#include "host/fd.h"
#include "result/result.h"
#include "time/clock.h"

namespace berth::api {

struct ServerOptions {
  std::string socket;   // absolute path; its folder exists
  host::Fd inherited;   // a listening socket, instead of making one
  std::size_t message_bytes = 16u << 20;
  std::size_t metadata_bytes = 16u << 10;
  std::size_t streams = 256;  // of one connection
  std::vector<grpc::Service*> more = {};  // served beside it; they outlive the server
};

class Server {
 public:
  // A socket that is there already is taken to be stale and replaced: the caller holds the lock that proves it.
  // kUsage for a path that is too long or no socket; kSocket when it cannot be made.
  static Result<std::unique_ptr<Server>> Start(Service& service, ServerOptions options);
  ~Server();  // Stop with no grace
  // Accepts nothing more, lets running calls end for `grace` (on the real clock), cancels the rest, waits for all.
  void Stop(time::Duration grace);

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace berth::api
