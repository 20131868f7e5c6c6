// Kept-alive requests of 2 KiB with answers of 300 bytes, by 8 clients, over plain TCP and TLS 1.3, the handler on the polling
// thread or in a pool. Server and clients have a core each. per_core: requests that one core answers in a second, by the
// processor time of the server's threads. On a virtual machine with 2 cores and a load of 14 (2026-11):
//   plain, inline 60,000; TLS, inline 44,000; TLS, two workers 26,000
#include <benchmark/benchmark.h>
#include <sched.h>

#include <atomic>
#include <ctime>
#include <thread>

#include "host/dir.h"
#include "host/listen.h"
#include "http/testing/fault_server.h"
#include "httpd/server.h"
#include "httpd/testing/client.h"

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

void Serve(benchmark::State& state, bool tls, unsigned workers) {
  http::testing::Ca ca;
  const auto leaf = ca.Issue({"127.0.0.1"});
  ServerOptions options{.workers = workers};
  if (tls)
    options.certificate = *Certificate::Parse(*host::ReadSmallFile(leaf.cert_file, 1 << 20),
                                              secret::Secret(*host::ReadSmallFile(leaf.key_file, 1 << 20)));
  Pin(0);
  const std::string answer(300, 'a');
  const auto server = *Server::Start(*host::ListenTcp({.ip = "127.0.0.1"}),
                                     [&](const task::Context&, const Request&) { return Response::Json(200, answer); }, std::move(options));
  Pin(1);
  const std::string request = "POST /mutate HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2048\r\n\r\n" +
                              std::string(2048, 'r');
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
        testing::Client client(server->port(), tls ? testing::Client::Transport::kTls : testing::Client::Transport::kPlain);
        while (done++ < kRequests)
          if (!client.Ask(request)) std::abort();
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
