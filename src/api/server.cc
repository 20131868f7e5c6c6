#include "api/server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/support/server_interceptor.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "host/listen.h"
#include "host/poll.h"
#include "log/log.h"

namespace berth::api {
namespace {

using Ended = std::function<void(grpc::StatusCode)>;

// One for each call that is watched. A call that nobody could be told the end of was cancelled.
class Watcher final : public grpc::experimental::Interceptor {
 public:
  explicit Watcher(Ended ended) : ended_(std::move(ended)) {}
  ~Watcher() override { Tell(grpc::StatusCode::CANCELLED); }
  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    if (batch->QueryInterceptionHookPoint(Point::PRE_SEND_STATUS)) Tell(batch->GetSendStatus().error_code());
    batch->Proceed();
  }

 private:
  void Tell(grpc::StatusCode code) {
    if (const Ended ended = std::exchange(ended_, nullptr)) ended(code);
  }
  Ended ended_;
};

class Watchers final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Watchers(std::function<Ended(std::string_view)> on_call) : on_call_(std::move(on_call)) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* call) override {
    Ended ended = on_call_(call->method());
    return ended ? new Watcher(std::move(ended)) : nullptr;  // gRPC's from here on
  }

 private:
  const std::function<Ended(std::string_view)> on_call_;
};

}  // namespace

struct Server::State {
  std::string socket;  // "" when it was inherited
  host::Fd listener;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::unique_ptr<grpc::Server> server;
  std::jthread thread;

  // A connection lasts as long as its descriptor is that socket: gRPC closes it when it is done, and the number is nobody's or
  // another file's. (A second descriptor to watch it by would keep it in gRPC's epoll set.)
  struct Connection {
    int fd;
    ino_t socket;
    pid_t process;
  };
  std::size_t limit = 0, limit_per_process = 0;
  std::vector<Connection> connections;  // of the thread; those that are over go when the limit is reached

  void Accept(const std::stop_token& stop) {
    const task::Context ctx(stop);
    while (host::AwaitReadable(ctx, listener.get())) {
      if (AcceptOne()) continue;
      log::Warning("no descriptor is left for a caller", {{"wait_seconds", 1}});
      (void)ctx.Sleep(std::chrono::seconds(1));
    }
  }

  bool HasRoom(pid_t process) {
    const auto full = [&] {
      return connections.size() >= limit ||
             std::ranges::count(connections, process, &Connection::process) >= static_cast<std::ptrdiff_t>(limit_per_process);
    };
    if (!full()) return true;
    std::erase_if(connections, [](const Connection& c) {
      struct stat st {};
      return ::fstat(c.fd, &st) != 0 || st.st_ino != c.socket || !S_ISSOCK(st.st_mode);
    });
    return !full();
  }

  // False when the process has no descriptors left.
  bool AcceptOne() {
    host::Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!peer.valid()) return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
    ucred who{};
    socklen_t length = sizeof who;
    if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &length) != 0 || (who.uid != 0 && who.uid != ::geteuid())) {
      log::Debug("a caller who is not root was refused", {{"uid", who.uid}});
      return true;
    }
    struct stat st {};
    if (!HasRoom(who.pid) || ::fstat(peer.get(), &st) != 0) {
      log::Debug("a caller with too many connections was refused", {{"pid", who.pid}});
      return true;
    }
    connections.push_back({peer.get(), st.st_ino, who.pid});
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = listener.get();
    connection.fd = peer.release();
    acceptor->HandleNewConnection(&connection);
    return true;
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
  state->limit = options.connections;
  state->limit_per_process = options.connections_per_process;
  const auto millis = [](time::Duration d) { return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(d).count()); };
  // Keeps the library up until the process ends: its own shutdown may take ten seconds (1.51).
  ::grpc_init();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();  // from the archive only when it is named
  grpc::ServerBuilder builder;
  // Reflection is the one service with threads of its own: one is enough.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(options.message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, static_cast<int>(options.metadata_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(options.streams));
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, millis(options.handshake));
  // A ping that a caller who reads nothing cannot answer.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, millis(options.unread / 3));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, millis(options.unread - options.unread / 3));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  builder.SetResourceQuota(grpc::ResourceQuota("berthd").SetMaxThreads(16).Resize(128u << 20));
  builder.RegisterService(&service.grpc());
  for (grpc::Service* more : options.more) builder.RegisterService(more);
  state->acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
  if (options.on_call) {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> watchers;
    watchers.push_back(std::make_unique<Watchers>(std::move(options.on_call)));
    builder.experimental().SetInterceptorCreators(std::move(watchers));
  }
  state->server = builder.BuildAndStart();
  if (!state->server) return Error(Reason::kInternal, "gRPC could not start a server");
  for (const auto& name : options.health) state->server->GetHealthCheckService()->SetServingStatus(name, true);
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
  s.server->GetHealthCheckService()->Shutdown();
  s.server->Shutdown(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(grace));
  s.server->Wait();
  s.server.reset();
}

}  // namespace berth::api
