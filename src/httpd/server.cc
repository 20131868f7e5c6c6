#include "httpd/server.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "host/listen.h"
#include "host/poll.h"
#include "httpd/certificate_parts.h"
#include "httpd/channel.h"
#include "httpd/target.h"
#include "log/log.h"
#include "task/pool.h"

namespace berth::httpd {
namespace {

constexpr std::size_t kBlock = 1u << 10;           // of a stream to a client of HTTP/1.0; to others it goes by MHD's buffer for the connection
constexpr std::size_t kThreadStack = 256u << 10;   // handlers run here, too

std::string_view View(const char* text, std::size_t size) { return text == nullptr ? std::string_view() : std::string_view(text, size); }

}  // namespace

struct Server::State {
  struct Connection;

  struct Exchange {
    Connection* connection = nullptr;
    MHD_Connection* mhd = nullptr;
    Request request;
    std::string target;
    std::stop_source stop;
    bool head_seen = false, dispatched = false, too_large = false;
    std::size_t received = 0;
    std::optional<Response> response;  // written by a worker before it resumes the connection
    StreamBody stream;                 // guarded by State::mutex
  };

  struct Connection {
    State* server = nullptr;
    std::uint64_t id = 0;
    int fd = -1;
    std::optional<time::SteadyTime> deadline;  // guarded by State::mutex
    std::shared_ptr<Exchange> exchange;        // guarded by State::mutex
  };

  State(Handler h, ServerOptions o) : handler(std::move(h)), options(std::move(o)) {}

  const Handler handler;
  const ServerOptions options;
  std::uint16_t port = 0;
  MHD_Daemon* daemon = nullptr;
  host::Fd epoll, wake;
  std::stop_source stop;                 // of all Contexts
  std::atomic<bool> stopping{false};

  mutable std::mutex mutex;
  std::condition_variable_any changed;   // exchanges went down
  std::map<std::uint64_t, std::unique_ptr<Connection>> connections;  // guarded by mutex
  std::uint64_t next_id = 1;                                         // guarded by mutex
  std::size_t exchanges = 0;                                         // guarded by mutex
  time::SteadyTime watching_until = time::SteadyTime::max();         // guarded by mutex
  std::optional<Certificate> certificate;                            // guarded by mutex
  std::optional<ClientAuthority> clients;                            // guarded by mutex

  std::unique_ptr<task::Pool> pool;
  std::jthread watcher;                  // last: uses all of the above

  // --- deadlines, and clients that go in silence
  void SetDeadline(Connection& c, std::optional<time::Duration> after) {
    std::lock_guard lock(mutex);
    c.deadline = after ? std::optional(options.clock->SteadyNow() + *after) : std::nullopt;
    if (c.deadline && *c.deadline < watching_until) {
      watching_until = *c.deadline;
      const std::uint64_t one = 1;
      (void)!::write(wake.get(), &one, sizeof one);
    }
  }
  void Watch(const Connection& c) {
    epoll_event event{.events = EPOLLRDHUP | EPOLLONESHOT, .data = {.u64 = c.id}};
    (void)::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, c.fd, &event);
  }
  void Unwatch(const Connection& c) { (void)::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, c.fd, nullptr); }

  void Run(const std::stop_token& token) {
    const task::Context ctx(token, *options.clock);
    while (!token.stop_requested()) {
      auto until = time::SteadyTime::max();
      {
        std::lock_guard lock(mutex);
        const auto now = options.clock->SteadyNow();
        for (auto& [id, c] : connections) {
          if (!c->deadline) continue;
          if (*c->deadline <= now) {
            // MHD reads the end and closes; the descriptor stays its own.
            ::shutdown(c->fd, SHUT_RDWR);
            c->deadline.reset();
          } else {
            until = std::min(until, *c->deadline);
          }
        }
        watching_until = until;
      }
      std::array<pollfd, 2> ready{{{epoll.get(), POLLIN, 0}, {wake.get(), POLLIN, 0}}};
      (void)host::Poll(until == time::SteadyTime::max() ? ctx : ctx.WithDeadline(until), ready);
      if (ready[1].revents != 0) {
        std::uint64_t count = 0;
        (void)!::read(wake.get(), &count, sizeof count);
      }
      std::array<epoll_event, 64> gone;
      const int n = ready[0].revents != 0 ? ::epoll_wait(epoll.get(), gone.data(), gone.size(), 0) : 0;
      for (int i = 0; i < n; ++i) Hangup(gone[static_cast<std::size_t>(i)].data.u64);
    }
  }
  void Hangup(std::uint64_t id) {
    std::shared_ptr<Exchange> exchange;
    StreamBody stream;
    {
      std::lock_guard lock(mutex);
      const auto it = connections.find(id);
      if (it == connections.end() || !it->second->exchange) return;
      exchange = it->second->exchange;
      stream = exchange->stream;
    }
    exchange->stop.request_stop();
    if (stream) stream->Hangup();
  }

  // --- one request, on a polling thread but where it says otherwise
  bool ReadHead(Exchange& e, const char* method) {
    e.request.method = method;
    MHD_get_connection_values_n(
        e.mhd, MHD_HEADER_KIND,
        [](void* fields, MHD_ValueKind, const char* key, size_t key_size, const char* value, size_t value_size) {
          static_cast<Fields*>(fields)->emplace_back(View(key, key_size), View(value, value_size));
          return MHD_YES;
        },
        &e.request.fields);
    auto target = ParseTarget(e.target);
    if (!target) return false;
    e.request.path = std::move(target->path);
    e.request.query = std::move(target->query);
    return true;
  }

  MHD_Result Handle(const std::shared_ptr<Exchange>& e, const char* method, const char* upload, std::size_t* size) {
    if (!e->head_seen) {
      e->head_seen = true;
      if (!ReadHead(*e, method)) return Answer(e, Response::Text(400, "the request target is not one\n"));
      std::uint64_t length = 0;
      const std::string_view claimed = e->request.Field("Content-Length");
      (void)std::from_chars(claimed.data(), claimed.data() + claimed.size(), length);
      if (length > options.body_bytes) return Answer(e, TooLarge());
      const bool body = length > 0 || !e->request.Field("Transfer-Encoding").empty();
      if (body) SetDeadline(*e->connection, options.body);
      return MHD_YES;
    }
    if (*size > 0) {
      // MHD takes no answer while a body comes: what is too much is read, up to the same again, and thrown away.
      e->received += *size;
      e->too_large |= e->received > options.body_bytes;
      if (e->received > 2 * options.body_bytes) return MHD_NO;
      if (e->too_large) e->request.body = {};
      else e->request.body.append(upload, *size);
      *size = 0;
      return MHD_YES;
    }
    if (e->response) return Answer(e, *std::exchange(e->response, std::nullopt));
    if (e->dispatched) return MHD_YES;
    e->dispatched = true;
    if (e->too_large) return Answer(e, TooLarge());
    if (stopping) return Answer(e, Busy());
    if (!pool) return Answer(e, handler(task::Context(stop.get_token(), *options.clock), e->request));
    SetDeadline(*e->connection, std::nullopt);
    MHD_suspend_connection(e->mhd);
    Watch(*e->connection);
    const auto finish = [this, e](Response response) {
      e->response = std::move(response);
      Unwatch(*e->connection);
      MHD_resume_connection(e->mhd);
    };
    const bool taken = pool->Post([this, e, finish] {
      const std::stop_callback all(stop.get_token(), [&] { e->stop.request_stop(); });
      finish(handler(task::Context(e->stop.get_token(), *options.clock), e->request));
    });
    if (!taken) finish(Busy());
    return MHD_YES;
  }

  Response TooLarge() const {
    return Response::Text(413, "the request body is larger than " + std::to_string(options.body_bytes) + " bytes (limit " + options.body_limit + ")\n");
  }
  static Response Busy() {
    Response busy = Response::Text(503, "too busy, or stopping\n");
    busy.fields.emplace_back("Retry-After", "1");
    return busy;
  }

  MHD_Result Answer(const std::shared_ptr<Exchange>& e, Response answer) {
    SetDeadline(*e->connection, answer.stream ? std::nullopt : std::optional(options.answer));
    MHD_Response* made = answer.stream ? MakeStreamed(e, std::move(answer.stream)) : MakePlain(std::move(answer.body));
    if (made == nullptr) return MHD_NO;
    for (const auto& [name, value] : answer.fields) {
      if (MHD_add_response_header(made, name.c_str(), value.c_str()) == MHD_YES) continue;
      log::Failure("an answer had a header field that cannot be sent", {{"server", options.name}, {"field", name}});
      MHD_destroy_response(made);
      made = MakePlain("");
      answer.status = 500;
      break;
    }
    if (stopping) (void)MHD_add_response_header(made, MHD_HTTP_HEADER_CONNECTION, "close");
    const MHD_Result queued = MHD_queue_response(e->mhd, static_cast<unsigned>(answer.status), made);
    MHD_destroy_response(made);
    return queued;
  }

  MHD_Response* MakePlain(std::string body) {
    auto kept = std::make_unique<std::string>(std::move(body));
    MHD_Response* made = MHD_create_response_from_buffer_with_free_callback_cls(
        kept->size(), kept->data(), [](void* p) { delete static_cast<std::string*>(p); }, kept.get());
    if (made != nullptr) (void)kept.release();
    return made;
  }

  struct Reader {
    State* state;
    std::shared_ptr<Exchange> exchange;
    StreamBody stream;
  };
  MHD_Response* MakeStreamed(const std::shared_ptr<Exchange>& e, StreamBody stream) {
    {
      std::lock_guard lock(mutex);
      e->stream = stream;
    }
    if (stopping) stream->Hangup();
    auto reader = std::make_unique<Reader>(Reader{this, e, std::move(stream)});
    MHD_Response* made = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, kBlock, &Read, reader.get(), [](void* p) {
      const std::unique_ptr<Reader> done(static_cast<Reader*>(p));
      done->stream->Hangup();
    });
    if (made != nullptr) (void)reader.release();
    return made;
  }
  static ssize_t Read(void* cls, std::uint64_t, char* out, std::size_t limit) {
    const Reader& reader = *static_cast<Reader*>(cls);
    std::size_t taken = 0;
    const auto next = reader.stream->Take(
        out, limit, taken,
        [&] {
          MHD_suspend_connection(reader.exchange->mhd);
          reader.state->Watch(*reader.exchange->connection);
        },
        [s = reader.state, e = reader.exchange.get()] {  // the suspended connection keeps both
          s->Unwatch(*e->connection);
          MHD_resume_connection(e->mhd);
        });
    switch (next) {
      case internal::Channel::Next::kBytes: return static_cast<ssize_t>(taken);
      case internal::Channel::Next::kWait: return 0;
      case internal::Channel::Next::kEnd: return MHD_CONTENT_READER_END_OF_STREAM;
      case internal::Channel::Next::kCut: break;
    }
    return MHD_CONTENT_READER_END_WITH_ERROR;
  }

  // --- what MHD calls
  static Connection* Of(MHD_Connection* mhd) {
    const auto* info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == nullptr ? nullptr : static_cast<Connection*>(info->socket_context);
  }
  static void OnConnection(void* cls, MHD_Connection* mhd, void** context, MHD_ConnectionNotificationCode code) {
    State& s = *static_cast<State*>(cls);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
      auto c = std::make_unique<Connection>();
      c->server = &s;
      c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
      Connection& made = *c;
      *context = c.get();
      {
        std::lock_guard lock(s.mutex);
        c->id = s.next_id++;
        s.connections.emplace(c->id, std::move(c));
      }
      s.SetDeadline(made, s.options.head);
    } else {
      std::lock_guard lock(s.mutex);
      s.connections.erase(static_cast<Connection*>(*context)->id);
      *context = nullptr;
    }
  }
  static void* OnTarget(void* cls, const char* target, MHD_Connection* mhd) {
    State& s = *static_cast<State*>(cls);
    auto e = std::make_shared<Exchange>();
    e->mhd = mhd;
    e->connection = Of(mhd);
    e->target = target;
    std::lock_guard lock(s.mutex);
    ++s.exchanges;
    e->connection->exchange = e;
    return new std::shared_ptr<Exchange>(std::move(e));
  }
  static MHD_Result OnRequest(void* cls, MHD_Connection*, const char*, const char* method, const char*, const char* upload,
                              std::size_t* size, void** exchange) {
    State& s = *static_cast<State*>(cls);
    const auto e = *static_cast<std::shared_ptr<Exchange>*>(*exchange);
    return s.Handle(e, method, upload, size);
  }
  static void OnDone(void* cls, MHD_Connection* mhd, void** exchange, MHD_RequestTerminationCode) {
    State& s = *static_cast<State*>(cls);
    if (*exchange == nullptr) return;
    const std::unique_ptr<std::shared_ptr<Exchange>> e(static_cast<std::shared_ptr<Exchange>*>(std::exchange(*exchange, nullptr)));
    (*e)->stop.request_stop();
    {
      std::lock_guard lock(s.mutex);
      if (Connection* c = Of(mhd)) c->exchange.reset();
      --s.exchanges;
    }
    s.changed.notify_all();
    if (Connection* c = Of(mhd)) s.SetDeadline(*c, s.options.idle);
  }
  static int OnCertificate(gnutls_session_t session, const gnutls_cert_retr_st*, gnutls_pcert_st** pcerts, unsigned int* count,
                           gnutls_ocsp_data_st**, unsigned int* ocsp, gnutls_privkey_t* key, unsigned int* flags);
  static int OnClient(gnutls_session_t session);
  static void OnLog(void* cls, const char* format, va_list arguments) {
    if (!log::Enabled(log::Level::kDebug)) return;
    std::array<char, 256> text{};
    std::vsnprintf(text.data(), text.size(), format, arguments);
    std::string_view line = text.data();
    while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
    log::Debug("http connection", {{"server", static_cast<State*>(cls)->options.name}, {"note", line}});
  }
};

int Server::State::OnCertificate(gnutls_session_t session, const gnutls_cert_retr_st*, gnutls_pcert_st** pcerts, unsigned int* count,
                                 gnutls_ocsp_data_st**, unsigned int* ocsp, gnutls_privkey_t* key, unsigned int* flags) {
  // MHD keeps its connection in the session, we keep ours in that.
  Connection* c = Of(static_cast<MHD_Connection*>(gnutls_session_get_ptr(session)));
  if (c == nullptr) return -1;
  std::optional<Certificate> certificate;
  {
    std::lock_guard lock(c->server->mutex);
    certificate = c->server->certificate;
  }
  // The request for the client's certificate follows ours, and there are no tickets: no session begins without both.
  if (c->server->options.clients) {
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_function(session, &OnClient);
  }
  *ocsp = 0;
  *flags = GNUTLS_CERT_RETR_DEINIT_ALL;
  return certificate->parts().Lend(pcerts, count, key);
}

int Server::State::OnClient(gnutls_session_t session) {
  Connection* c = Of(static_cast<MHD_Connection*>(gnutls_session_get_ptr(session)));
  if (c == nullptr) return GNUTLS_E_CERTIFICATE_ERROR;
  std::optional<ClientAuthority> clients;
  {
    std::lock_guard lock(c->server->mutex);
    clients = c->server->clients;
  }
  return clients->parts().Admits(session) ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() { Stop(time::Duration::zero()); }

Result<std::unique_ptr<Server>> Server::Start(host::Fd listener, Handler handler, ServerOptions options) {
  auto state = std::make_unique<State>(std::move(handler), std::move(options));
  const ServerOptions& o = state->options;
  state->certificate = o.certificate;
  state->clients = o.clients;
  if (const auto port = host::PortOf(listener.get())) state->port = *port;
  RETURN_IF_ERROR(host::SetNonBlocking(listener.get(), true));
  if (o.send_buffer > 0 && ::setsockopt(listener.get(), SOL_SOCKET, SO_SNDBUF, &o.send_buffer, sizeof o.send_buffer) != 0)  // inherited
    return host::OsError(errno, "bound the send buffers of connections");
  state->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  state->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->epoll.valid() || !state->wake.valid()) return host::OsError(errno, "make an epoll descriptor");
  if (o.workers > 0) state->pool = std::make_unique<task::Pool>(o.workers, o.queue);

  const auto number = [](auto n) { return static_cast<intptr_t>(n); };
  std::vector<MHD_OptionItem> items{
      {MHD_OPTION_EXTERNAL_LOGGER, reinterpret_cast<intptr_t>(&State::OnLog), state.get()},
      {MHD_OPTION_LISTEN_SOCKET, listener.get(), nullptr},
      {MHD_OPTION_CONNECTION_LIMIT, number(o.connections), nullptr},
      {MHD_OPTION_CONNECTION_MEMORY_LIMIT, number(o.head_bytes), nullptr},
      {MHD_OPTION_CONNECTION_TIMEOUT, number(std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(o.idle).count())), nullptr},
      {MHD_OPTION_THREAD_STACK_SIZE, number(kThreadStack), nullptr},
      {MHD_OPTION_STRICT_FOR_CLIENT, 1, nullptr},
      {MHD_OPTION_NOTIFY_CONNECTION, reinterpret_cast<intptr_t>(&State::OnConnection), state.get()},
      {MHD_OPTION_URI_LOG_CALLBACK, reinterpret_cast<intptr_t>(&State::OnTarget), state.get()},
      {MHD_OPTION_NOTIFY_COMPLETED, reinterpret_cast<intptr_t>(&State::OnDone), state.get()},
  };
  if (o.pollers > 1) items.push_back({MHD_OPTION_THREAD_POOL_SIZE, number(o.pollers), nullptr});
  unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
  if (o.certificate) {
    flags |= MHD_USE_TLS;
    items.push_back({MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, reinterpret_cast<void*>(&State::OnCertificate)});
    items.push_back({MHD_OPTION_HTTPS_PRIORITIES, 0, const_cast<char*>("NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2")});
  }
  items.push_back({MHD_OPTION_END, 0, nullptr});
  state->daemon = MHD_start_daemon(flags, 0, nullptr, nullptr, &State::OnRequest, state.get(), MHD_OPTION_ARRAY, items.data(),
                                   MHD_OPTION_END);
  if (state->daemon == nullptr) return Error(Reason::kInternal, "the HTTP server " + Quoted(o.name) + " cannot be started");
  (void)listener.release();
  state->watcher = std::jthread([raw = state.get()](const std::stop_token& token) { raw->Run(token); });
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

void Server::Stop(time::Duration grace) {
  State& s = *state_;
  if (s.daemon == nullptr || s.stopping.exchange(true)) return;
  const host::Fd listener(MHD_quiesce_daemon(s.daemon));
  std::vector<StreamBody> streams;
  {
    std::lock_guard lock(s.mutex);
    for (const auto& [id, c] : s.connections)
      if (c->exchange && c->exchange->stream) streams.push_back(c->exchange->stream);
  }
  for (const auto& stream : streams) stream->Hangup();
  {
    std::unique_lock lock(s.mutex);
    s.changed.wait_until(lock, s.options.clock->SteadyNow() + grace, [&] { return s.exchanges == 0; });
  }
  s.stop.request_stop();
  s.pool.reset();  // waits: handlers have been told
  // A handler that ended just now may have answered with a stream: MakeStreamed saw `stopping`.
  MHD_stop_daemon(std::exchange(s.daemon, nullptr));
  s.watcher = {};
}

void Server::SetCertificate(Certificate certificate) {
  std::lock_guard lock(state_->mutex);
  BERTH_CHECK(state_->certificate.has_value());
  state_->certificate = std::move(certificate);
}

void Server::SetClients(ClientAuthority clients) {
  std::lock_guard lock(state_->mutex);
  BERTH_CHECK(state_->clients.has_value());
  state_->clients = std::move(clients);
}

std::uint16_t Server::port() const { return state_->port; }

ServerStats Server::stats() const {
  std::lock_guard lock(state_->mutex);
  return {state_->connections.size(), state_->exchanges};
}

}  // namespace berth::httpd
