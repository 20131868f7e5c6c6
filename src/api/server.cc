#include "api/server.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "host/listen.h"
#include "host/poll.h"
#include "log/log.h"

namespace berth::api {

struct Server::State {
  std::string socket;  // "" when it was inherited
  host::Fd listener;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::unique_ptr<grpc::Server> server;
  std::jthread thread;

  void Accept(const std::stop_token& stop) {
    const task::Context ctx(stop);
    while (host::AwaitReadable(ctx, listener.get())) {
      host::Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!peer.valid()) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
          log::Warning("no descriptor is left for a caller", {{"wait_seconds", 1}});
          (void)ctx.Sleep(std::chrono::seconds(1));
        }
        continue;
      }
      ucred who{};
      socklen_t length = sizeof who;
      if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &length) != 0 || (who.uid != 0 && who.uid != ::geteuid())) {
        log::Debug("a caller who is not root was refused", {{"uid", who.uid}});
        continue;
      }
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
      connection.listener_fd = listener.get();
      connection.fd = peer.release();
      acceptor->HandleNewConnection(&connection);
    }
  }
};

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() { Stop(time::Duration::zero()); }

Result<std::unique_ptr<Server>> Server::Start(Service& service, ServerOptions options) {
  auto state = std::make_unique<State>();
  if (options.inherited.valid()) {
    state->listener = std::move(options.inherited);
    RETURN_IF_ERROR(host::SetNonBlocking(state->listener.get(), true));
  } else {
    ASSIGN_OR_RETURN(state->listener, host::ListenUnix(options.socket));
    state->socket = options.socket;
  }
  // Keeps the library up until the process ends: its own shutdown may take ten seconds (1.51).
  ::grpc_init();
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(options.message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, static_cast<int>(options.metadata_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(options.streams));
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  builder.SetResourceQuota(grpc::ResourceQuota("berthd").SetMaxThreads(16).Resize(128u << 20));
  builder.RegisterService(&service.grpc());
  for (grpc::Service* more : options.more) builder.RegisterService(more);
  state->acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
  state->server = builder.BuildAndStart();
  if (!state->server) return Error(Reason::kInternal, "gRPC could not start a server");
  state->thread = std::jthread([raw = state.get()](const std::stop_token& stop) { raw->Accept(stop); });
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

void Server::Stop(time::Duration grace) {
  State& s = *state_;
  if (!s.server) return;
  s.thread.request_stop();
  s.thread.join();
  // Only what is still ours: a successor may have put its own socket there.
  if (!s.socket.empty()) host::RemoveSocket(s.socket);
  s.listener.reset();
  s.server->Shutdown(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(grace));
  s.server->Wait();
  s.server.reset();
}

}  // namespace berth::api
