// api/server.h: the Unix socket on which berthd answers, and gRPC behind it.
//
// We accept, gRPC serves: so the peer is known before a byte of his is read. Only processes of root (or of our own user)
// are served, whatever the file's mode says; the socket is made 0600 (umask during bind) and never open to anybody else.
// A socket handed over by the service manager (host/listen.h) is used as it is.
// Limits (reliability-security 5.12, 3.g): 16 MiB a message, not compressed; 16 KiB of metadata; 256 streams a connection; ten
// seconds for a connection to speak HTTP/2; pings at most every ten seconds. A caller that takes no byte for 30 seconds while
// a call of his runs is cut off. 64 connections for each process, 1024 for all: who gets in is root, so it is the process, not
// the user, that tells one caller from another.
// Beside the services: grpc.health.v1.Health ("" and every name in `health`; not serving as soon as Stop begins) and the
// server reflection of gRPC, by which tools like grpcurl find out what there is.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
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
  std::size_t connections = 1024, connections_per_process = 64;
  time::Duration handshake = std::chrono::seconds(10);  // from connecting to the first settings of HTTP/2
  time::Duration unread = std::chrono::seconds(30);     // then a caller that takes nothing is cut off
  std::vector<grpc::Service*> more = {};  // served beside it; they outlive the server
  std::vector<std::string> health = {"berth.v1.Berth"};  // names of services for the health service
  // At the beginning of each call, with "/runtime.v1.ImageService/PullImage"; what it returns (may be empty) is called at its end.
  std::function<std::function<void(grpc::StatusCode)>(std::string_view method)> on_call = {};
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
