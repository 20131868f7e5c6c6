// Kept-alive requests of 2 KiB with answers of 300 bytes, by 8 clients, over plain TCP and TLS 1.3, the handler on the polling
// thread or in a pool. Server and clients have a core each. per_core: requests that one core answers in a second, by the
// processor time of the server's threads. On a virtual machine with 2 cores and a load of 14 (2026-11):
//   plain, inline 60,000; TLS, inline 44,000; TLS, two workers 26,000
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>

#include <atomic>
#include <ctime>
#include <thread>

#include "host/dir.h"
#include "host/listen.h"
#include "http/testing/fault_server.h"
#include "httpd/server.h"

namespace berth::httpd {
namespace {

constexpr int kClients = 8;
constexpr std::uint64_t kRequests = 40'000;

void Pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  (void)::sched_setaffinity(0, sizeof set, &set);
}

double Seconds(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

class Client {
 public:
  Client(std::uint16_t port, bool tls) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int yes = 1;
    (void)::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (::connect(fd_.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) std::abort();
    if (!tls) return;
    gnutls_certificate_allocate_credentials(&trust_);
    gnutls_init(&session_, GNUTLS_CLIENT);
    gnutls_set_default_priority(session_);
    gnutls_credentials_set(session_, GNUTLS_CRD_CERTIFICATE, trust_);
    gnutls_transport_set_int(session_, fd_.get());
    if (gnutls_handshake(session_) < 0) std::abort();
  }
  ~Client() {
    if (session_ != nullptr) gnutls_deinit(session_);
    if (trust_ != nullptr) gnutls_certificate_free_credentials(trust_);
  }
  void Ask(const std::string& request, std::size_t answer_tail) {
    if ((session_ ? gnutls_record_send(session_, request.data(), request.size()) : ::send(fd_.get(), request.data(), request.size(), 0)) < 0)
      std::abort();
    std::string got;
    char room[4096];
    for (;;) {
      const ssize_t n = session_ ? gnutls_record_recv(session_, room, sizeof room) : ::recv(fd_.get(), room, sizeof room, 0);
      if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) continue;
      if (n <= 0) std::abort();
      got.append(room, static_cast<std::size_t>(n));
      const auto head = got.find("\r\n\r\n");
      if (head != got.npos && got.size() == head + 4 + answer_tail) return;
    }
  }

 private:
  host::Fd fd_;
  gnutls_session_t session_ = nullptr;
  gnutls_certificate_credentials_t trust_ = nullptr;
};

void Serve(benchmark::State& state, bool tls, unsigned workers) {
  http::testing::Ca ca;
  const auto leaf = ca.Issue({"127.0.0.1"});
  ServerOptions options{.workers = workers};
  if (tls) options.certificate = *Certificate::Parse(*host::ReadSmallFile(leaf.cert_file, 1 << 20), secret::Secret(*host::ReadSmallFile(leaf.key_file, 1 << 20)));
  Pin(0);
  const std::string answer(300, 'a');
  const auto server = *Server::Start(*host::ListenTcp({.ip = "127.0.0.1"}),
                                     [&](const task::Context&, const Request&) { return Response::Json(200, answer); }, std::move(options));
  Pin(1);
  const std::string request = "POST /mutate HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2048\r\n\r\n" + std::string(2048, 'r');
  double used = 0;
  std::uint64_t asked = 0;
  for (auto _ : state) {
    // The main thread sleeps meanwhile: what is not the clients' time is the server's.
    std::atomic<std::uint64_t> done{0};
    std::atomic<double> clients{0};
    std::vector<std::jthread> threads;
    const double before = Seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < kClients; ++i)
      threads.emplace_back([&] {
        Client client(server->port(), tls);
        while (done++ < kRequests) client.Ask(request, answer.size());
        clients += Seconds(CLOCK_THREAD_CPUTIME_ID);
      });
    threads.clear();
    used += Seconds(CLOCK_PROCESS_CPUTIME_ID) - before - clients;
    asked += done;
  }
  state.counters["per_core"] = static_cast<double>(asked) / used;
  state.SetItemsProcessed(static_cast<std::int64_t>(asked));
}

void BM_PlainInline(benchmark::State& state) { Serve(state, false, 0); }
void BM_TlsInline(benchmark::State& state) { Serve(state, true, 0); }
void BM_TlsWorkers(benchmark::State& state) { Serve(state, true, 2); }
BENCHMARK(BM_PlainInline)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_TlsInline)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_TlsWorkers)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace berth::httpd
