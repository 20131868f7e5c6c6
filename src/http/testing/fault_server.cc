#include "http/testing/fault_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <list>
#include <stdexcept>
#include <thread>

namespace berth::http::testing {
namespace {

void Must(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("test server: ") + what);
}

// A peer that went must not kill the process; OpenSSL writes without MSG_NOSIGNAL.
void BlockSigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

std::string Lowered(std::string s) {
  for (char& c : s)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return s;
}

struct Listener {
  int fd = -1;
  std::uint16_t port = 0;

  explicit Listener(const std::string& address) {
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    Must(inet_pton(AF_INET, address.c_str(), &a.sin_addr) == 1, "address");
    Must(bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0 && listen(fd, 256) == 0, "bind");
    socklen_t length = sizeof a;
    getsockname(fd, reinterpret_cast<sockaddr*>(&a), &length);
    port = ntohs(a.sin_port);
  }
  ~Listener() { close(fd); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
};

// One connection, plain or TLS. Reads and writes return false when the peer or the server goes; the server goes by shutdown() of
// the socket, which breaks every blocking call.
class Wire {
 public:
  explicit Wire(int fd) : fd_(fd) {
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  ~Wire() {
    SSL_free(ssl_);
    close(fd_);
  }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  bool StartTls(SSL_CTX* ctx) {
    ssl_ = SSL_new(ctx);
    SSL_set_fd(ssl_, fd_);
    if (SSL_accept(ssl_) == 1) return true;
    // The alert must arrive: closing with unread bytes would be a reset.
    shutdown(fd_, SHUT_WR);
    for (char buffer[4096]; recv(fd_, buffer, sizeof buffer, 0) > 0;) {}
    return false;
  }
  bool h2() const {
    const unsigned char* name = nullptr;
    unsigned length = 0;
    if (ssl_) SSL_get0_alpn_selected(ssl_, &name, &length);
    return length == 2 && name[0] == 'h' && name[1] == '2';
  }
  // Appends what there is; false at the end.
  bool Read(std::string& to) {
    char buffer[16384];
    const ssize_t n = ssl_ ? SSL_read(ssl_, buffer, sizeof buffer) : recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    to.append(buffer, static_cast<std::size_t>(n));
    return true;
  }
  bool Write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ssl_ ? SSL_write(ssl_, text.data(), static_cast<int>(text.size()))
                             : send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  void Bye() {
    if (ssl_) SSL_shutdown(ssl_);
    shutdown(fd_, SHUT_WR);
  }
  void Reset() {
    const linger hard{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  }
  void Break() { shutdown(fd_, SHUT_RDWR); }
  int fd() const { return fd_; }

 private:
  const int fd_;
  SSL* ssl_ = nullptr;
};

// Accepts on its own thread, one more thread per connection; all end with it.
class Threads {
 public:
  Threads(const std::string& address, std::function<void(int connection, Wire&)> serve)
      : listener_(address), serve_(std::move(serve)) {}

  void Start() { acceptor_ = std::thread([this] { Accept(); }); }
  // Before anything that `serve` uses goes.

  void Stop() {
    stopping_ = true;
    shutdown(listener_.fd, SHUT_RDWR);
    acceptor_.join();
    {
      std::lock_guard lock(mutex_);
      for (Wire* wire : open_) wire->Break();
    }
    if (on_stop) on_stop();
    threads_.clear();
  }
  bool stopping() const { return stopping_; }
  std::uint16_t port() const { return listener_.port; }
  int accepted() const { std::lock_guard lock(mutex_); return accepted_; }
  void AwaitClosed(int n) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ >= n; });
  }
  // While a thread waits at a gate it has to learn of the end.
  std::function<void()> on_stop;

 private:
  void Accept() {
    BlockSigpipe();
    for (;;) {
      const int fd = accept4(listener_.fd, nullptr, nullptr, SOCK_CLOEXEC);
      if (stopping_) {
        if (fd >= 0) close(fd);
        return;
      }
      if (fd < 0) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        return;
      }
      std::lock_guard lock(mutex_);
      const int number = accepted_++;
      changed_.notify_all();
      threads_.emplace_back([this, fd, number] { Run(fd, number); });
    }
  }
  void Run(int fd, int number) {
    BlockSigpipe();
    {
      Wire wire(fd);
      {
        std::lock_guard lock(mutex_);
        open_.push_back(&wire);
      }
      if (stopping_) wire.Break();
      serve_(number, wire);
      std::lock_guard lock(mutex_);
      open_.remove(&wire);
    }
    std::lock_guard lock(mutex_);
    ++closed_;
    changed_.notify_all();
  }

  const Listener listener_;
  const std::function<void(int, Wire&)> serve_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  int accepted_ = 0, closed_ = 0;   // guarded by mutex_
  std::list<Wire*> open_;           // guarded by mutex_
  std::list<std::jthread> threads_;  // grows under mutex_, cleared when nobody accepts any more
  std::thread acceptor_;
};

// Takes one request off the front of `pending`; reads more as needed. False at the end of the connection.
constexpr std::string_view kBadRequest = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

bool NextRequest(Wire& wire, std::string& pending, const std::function<void(std::string_view)>& note, ServerRequest& request) {
  const auto more = [&] {
    const std::size_t before = pending.size();
    if (!wire.Read(pending)) return false;
    note(std::string_view(pending).substr(before));
    return true;
  };
  std::size_t end = 0;
  while ((end = pending.find("\r\n\r\n")) == std::string::npos)
    if (!more()) return false;
    else if (pending[0] == '\x16') return wire.Write(kBadRequest), false;  // a TLS handshake on a plain port, as Go's server meets it
  const std::string head = pending.substr(0, end + 2);
  std::size_t line_end = head.find("\r\n");
  const std::string first = head.substr(0, line_end);
  const std::size_t a = first.find(' '), b = first.rfind(' ');
  request.method = first.substr(0, a);
  request.target = a == b ? "" : first.substr(a + 1, b - a - 1);
  request.version = first.substr(b + 1);
  for (std::size_t at = line_end + 2; at < head.size(); at = line_end + 2) {
    line_end = head.find("\r\n", at);
    const std::string line = head.substr(at, line_end - at);
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::size_t value = line.find_first_not_of(' ', colon + 1);
    request.headers.emplace_back(Lowered(line.substr(0, colon)), value == std::string::npos ? "" : line.substr(value));
  }
  const std::string length = request.header("content-length");
  const std::size_t total = end + 4 + (length.empty() ? 0 : std::stoul(length));
  while (pending.size() < total)
    if (!more()) return false;
  request.body = pending.substr(end + 4, total - end - 4);
  request.raw = pending.substr(0, total);
  pending.erase(0, total);
  return true;
}

std::string Base64(std::string_view text) {
  std::string out(4 * ((text.size() + 2) / 3) + 1, '\0');
  out.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                                      reinterpret_cast<const unsigned char*>(text.data()),
                                                      static_cast<int>(text.size()))));
  return out;
}

}  // namespace

struct FaultServer::Impl {
  Impl(Handler h, ServerOptions o) : handler(std::move(h)), options(std::move(o)) {
    if (options.tls) SetUpTls(*options.tls);
    threads.emplace(options.address, [this](int number, Wire& wire) { Serve(number, wire); });
    threads->on_stop = [this] {
      std::lock_guard lock(mutex);
      for (const auto& gate : gates) gate->Wake();
    };
    threads->Start();
  }
  ~Impl() {
    threads->Stop();
    SSL_CTX_free(ctx);
  }

  void SetUpTls(const ServerTls& tls) {
    if (tls.handshake != ServerTls::Handshake::kGood) return;
    ctx = SSL_CTX_new(TLS_server_method());
    // Weak keys and old versions are what some tests want to offer.
    SSL_CTX_set_security_level(ctx, 0);
    Must(SSL_CTX_use_certificate_chain_file(ctx, tls.leaf.cert_file.c_str()) == 1 &&
             SSL_CTX_use_PrivateKey_file(ctx, tls.leaf.key_file.c_str(), SSL_FILETYPE_PEM) == 1,
         "certificate");
    if (tls.only_tls11) {
      SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
      SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
    }
    if (!tls.client_ca.empty()) {
      Must(SSL_CTX_load_verify_file(ctx, tls.client_ca.c_str()) == 1, "client CA");
      SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    }
    SSL_CTX_set_alpn_select_cb(ctx, [](SSL*, const unsigned char** out, unsigned char* n, const unsigned char* in, unsigned len,
                                       void* h2) {
      static constexpr unsigned char kBoth[] = "\x02h2\x08http/1.1";
      const unsigned skip = h2 ? 0 : 3;
      return SSL_select_next_proto(const_cast<unsigned char**>(out), n, kBoth + skip, sizeof kBoth - 1 - skip, in, len) ==
                     OPENSSL_NPN_NEGOTIATED
                 ? SSL_TLSEXT_ERR_OK
                 : SSL_TLSEXT_ERR_NOACK;
    }, tls.h2 ? this : nullptr);
  }

  void Serve(int number, Wire& wire) {
    using Handshake = ServerTls::Handshake;
    if (options.tls) {
      switch (options.tls->handshake) {
        case Handshake::kGood:
          if (!wire.StartTls(ctx)) return;
          break;
        case Handshake::kPlainText: break;
        case Handshake::kStall: return WaitForPeer(wire);
        case Handshake::kReset: {
          std::string hello;
          wire.Read(hello);
          return wire.Reset();
        }
      }
    }
    const bool speaks_plain = options.tls && options.tls->handshake == Handshake::kPlainText;
    if (speaks_plain) {
      std::string hello;
      wire.Read(hello);
      wire.Write(kBadRequest);
      return wire.Bye();
    }
    if (wire.h2()) return ServeH2(number, wire);
    std::string pending;
    for (int n = 0;; ++n) {
      ServerRequest request;
      request.connection = number;
      request.number = n;
      request.tls = ctx != nullptr;
      if (!NextRequest(wire, pending, [this](std::string_view t) { Note(t); }, request)) return;
      Record(request);
      if (!Play(handler(request), wire, request.method == "HEAD")) return;
    }
  }

  // The preface and what came with it count as one request; the reply is frames.
  void ServeH2(int number, Wire& wire) {
    ServerRequest request;
    request.connection = number;
    request.tls = true;
    request.method = "PRI";
    // Preface, SETTINGS, WINDOW_UPDATE, then a HEADERS frame (type 1) somewhere behind them.
    const auto has_headers = [&] {
      for (std::size_t at = 24; at + 9 <= request.raw.size();) {
        const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(request.raw[at + i]); };
        if (byte(3) == 1) return true;
        at += 9 + (byte(0) << 16 | byte(1) << 8 | byte(2));
      }
      return false;
    };
    while (!has_headers())
      if (!wire.Read(request.raw)) return;
    Note(request.raw);
    Record(request);
    if (Play(handler(request), wire, false)) WaitForPeer(wire);
  }

  // Runs the script. False when the connection is over.
  bool Play(const Reply& reply, Wire& wire, bool head) {
    bool first = true;
    std::string unsent;  // neighbours leave in one piece
    for (const Step& step : reply.steps()) {
      const bool hidden = head && reply.hide_body_for_head_ && !first;
      first = false;
      if (hidden && (step.kind == Step::Kind::kSend || step.kind == Step::Kind::kEndless)) continue;
      if (step.kind == Step::Kind::kSend) {
        unsent += step.text;
        continue;
      }
      if (!wire.Write(unsent)) return false;
      unsent.clear();
      switch (step.kind) {
        case Step::Kind::kSend: break;
        case Step::Kind::kEndless:
          while (wire.Write(step.text)) {}
          return false;
        case Step::Kind::kDrip:
          for (const char c : step.text)
            if (!Pass(*step.gate, step.gate) || !wire.Write({&c, 1})) return false;
          break;
        case Step::Kind::kWait:
          if (!Pass(*step.gate, step.gate)) return false;
          break;
        case Step::Kind::kClose: wire.Bye(); WaitForPeer(wire); return false;
        case Step::Kind::kReset: wire.Reset(); return false;
        case Step::Kind::kSilence: WaitForPeer(wire); return false;
      }
    }
    return wire.Write(unsent);
  }

  bool Pass(Gate& gate, const std::shared_ptr<Gate>& shared) {
    {
      std::lock_guard lock(mutex);
      if (std::find(gates.begin(), gates.end(), shared) == gates.end()) gates.push_back(shared);
    }
    return gate.Wait([this] { return threads->stopping(); });
  }

  // Until the peer or the server goes; what comes is recorded.
  void WaitForPeer(Wire& wire) {
    for (std::string more; wire.Read(more); more.clear()) Note(more);
  }

  void Note(std::string_view text) {
    std::lock_guard lock(mutex);
    received += text;
  }
  void Record(ServerRequest& request) {
    std::lock_guard lock(mutex);
    request.index = static_cast<int>(requests.size());
    requests.push_back(request);
    changed.notify_all();
  }

  const Handler handler;
  const ServerOptions options;
  SSL_CTX* ctx = nullptr;
  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  std::vector<ServerRequest> requests;           // guarded by mutex
  std::string received;                          // guarded by mutex
  std::vector<std::shared_ptr<Gate>> gates;      // guarded by mutex
  std::optional<Threads> threads;
};

FaultServer::FaultServer(Handler handler, ServerOptions options) : impl_(std::make_unique<Impl>(std::move(handler), std::move(options))) {}
FaultServer::~FaultServer() = default;

const std::string& FaultServer::address() const { return impl_->options.address; }
std::uint16_t FaultServer::port() const { return impl_->threads->port(); }
std::string FaultServer::host_port() const { return address() + ":" + std::to_string(port()); }
std::string FaultServer::url(std::string_view target) const {
  return (impl_->options.tls ? "https://" : "http://") + host_port() + std::string(target);
}
std::vector<ServerRequest> FaultServer::requests() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->requests;
}
std::string FaultServer::received() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->received;
}
int FaultServer::connections() const { return impl_->threads->accepted(); }
void FaultServer::AwaitRequests(std::size_t n) const {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait(lock, [&] { return impl_->requests.size() >= n; });
}
void FaultServer::AwaitClosed(int n) const { impl_->threads->AwaitClosed(n); }

// ---- proxy

struct ProxyServer::Impl {
  Impl(std::string c, Mood m) : credentials(std::move(c)), mood(m) {
    threads.emplace("127.0.0.1", [this](int, Wire& wire) { Serve(wire); });
    threads->Start();
  }
  ~Impl() { threads->Stop(); }

  void Serve(Wire& wire) {
    std::string pending;
    ServerRequest request;
    if (!NextRequest(wire, pending, [](std::string_view) {}, request)) return;
    {
      std::lock_guard lock(mutex);
      heads.push_back(request.raw);
    }
    const auto answer = [&](int status, Reply::Fields fields = {}) {
      wire.Write(Reply::Text(status, "", std::move(fields)).steps()[0].text);
      wire.Bye();
    };
    if (mood == Mood::kHang) {
      for (std::string more; wire.Read(more);) more.clear();
      return;
    }
    if (mood == Mood::kBadGateway) return answer(502);
    if (!credentials.empty() && request.header("proxy-authorization") != "Basic " + Base64(credentials))
      return answer(407, {{"Proxy-Authenticate", "Basic realm=\"proxy\""}});
    const bool tunnel = request.method == "CONNECT";
    std::string target = request.target;
    if (!tunnel) target = target.substr(7, target.find('/', 7) - 7);
    const std::size_t colon = target.rfind(':');
    // Names do not resolve here: every one of them is a server of the test.
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(static_cast<std::uint16_t>(std::stoi(target.substr(colon + 1))));
    if (inet_pton(AF_INET, target.substr(0, colon).c_str(), &a.sin_addr) != 1) a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    Wire upstream(fd);
    if (connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) return answer(502);
    if (tunnel) {
      wire.Write("HTTP/1.1 200 Connected\r\n\r\n");
    } else {
      std::string forwarded = request.method + " " + request.target.substr(7 + target.size()) + " HTTP/1.1\r\n";
      for (const auto& [name, value] : request.headers)
        if (!name.starts_with("proxy-")) forwarded += name + ": " + value + "\r\n";
      upstream.Write(forwarded + "\r\n" + request.body);
    }
    Relay(wire, upstream);
  }

  static void Relay(Wire& a, Wire& b) {
    for (;;) {
      pollfd fds[] = {{a.fd(), POLLIN, 0}, {b.fd(), POLLIN, 0}};
      if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
      std::string data;
      if (fds[0].revents && (!a.Read(data) || !b.Write(data))) return;
      data.clear();
      if (fds[1].revents && (!b.Read(data) || !a.Write(data))) return;
    }
  }

  const std::string credentials;
  const Mood mood;
  mutable std::mutex mutex;
  std::vector<std::string> heads;  // guarded by mutex
  std::optional<Threads> threads;
};

ProxyServer::ProxyServer(std::string credentials, Mood mood) : impl_(std::make_unique<Impl>(std::move(credentials), mood)) {}
ProxyServer::~ProxyServer() = default;
std::string ProxyServer::url() const { return "http://127.0.0.1:" + std::to_string(impl_->threads->port()); }
std::string ProxyServer::url_with_credentials() const {
  return "http://" + impl_->credentials + "@127.0.0.1:" + std::to_string(impl_->threads->port());
}
std::vector<std::string> ProxyServer::heads() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->heads;
}

}  // namespace berth::http::testing
