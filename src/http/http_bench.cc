// A body over loopback against a bare recv() loop of the same rooms, small requests on a kept connection, new TLS connections,
// and the time from a stop request to the return of a waiting Read().
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "http/client.h"
#include "http/testing/fault_server.h"

namespace berth::http {
namespace {

using testing::FaultServer;
using testing::Reply;
using testing::ServerRequest;

constexpr std::size_t kBody = 256u << 20;
constexpr std::size_t kRoom = 1u << 20;

Request To(const FaultServer& server, const std::string& ca = "") {
  Request r{.url = *Url::Parse(server.url("/"))};
  r.allow_plain_http = true;
  if (!ca.empty()) r.tls.ca_paths = {ca};
  return r;
}

FaultServer::Handler Big() {
  static const std::string kBytes(kBody, 'x');
  return [](const ServerRequest&) { return Reply::Text(200, kBytes); };
}

void Download(benchmark::State& state, const FaultServer& server, const std::string& ca) {
  Client client;
  std::string room(kRoom, '\0');
  for (auto _ : state) {
    const auto response = client.Send({}, To(server, ca));
    while (*(*response)->Read(std::as_writable_bytes(std::span(room))) > 0) {}
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(kBody));
}

void BM_Plain(benchmark::State& state) { Download(state, FaultServer(Big()), ""); }
void BM_Tls(benchmark::State& state) {
  testing::Ca ca;
  Download(state, FaultServer(Big(), {.tls = testing::ServerTls{.leaf = ca.Issue({"127.0.0.1"}), .client_ca = ""}}), ca.file());
}

void BM_BareRecv(benchmark::State& state) {
  const FaultServer server(Big());
  std::string room(kRoom, '\0');
  for (auto _ : state) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(server.port());
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) std::abort();
    send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
    for (std::size_t got = 0; got < kBody;) got += static_cast<std::size_t>(recv(fd, room.data(), room.size(), 0));
    close(fd);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(kBody));
}

void BM_SmallOnKeptConnection(benchmark::State& state) {
  const FaultServer server([](const ServerRequest&) { return Reply::Text(200, "{}"); });
  Client client;
  for (auto _ : state) benchmark::DoNotOptimize(client.Send({}, To(server)));
}

void BM_NewTlsConnection(benchmark::State& state) {
  testing::Ca ca;
  const FaultServer server([](const ServerRequest&) { return Reply::Text(200, "{}"); },
                           {.tls = testing::ServerTls{.leaf = ca.Issue({"127.0.0.1"}), .client_ca = ""}});
  Client client;
  for (auto _ : state) {
    benchmark::DoNotOptimize(client.Send({}, To(server, ca.file())));
    client.DropIdle();
  }
}

void BM_Cancel(benchmark::State& state) {
  const FaultServer server([](const ServerRequest&) { return Reply::Head(200, 10).StaySilent(); });
  Client client;
  for (auto _ : state) {
    std::stop_source stop;
    const auto response = client.Send(task::Context(stop.get_token()), To(server));
    std::chrono::steady_clock::time_point asked;
    std::jthread canceller([&] {
      usleep(2000);  // the reader is in its wait by then
      asked = std::chrono::steady_clock::now();
      stop.request_stop();
    });
    std::byte room{};
    benchmark::DoNotOptimize((*response)->Read({&room, 1}));
    const auto returned = std::chrono::steady_clock::now();
    canceller.join();
    state.SetIterationTime(std::chrono::duration<double>(returned - asked).count());
  }
}

BENCHMARK(BM_BareRecv)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(BM_Plain)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(BM_Tls)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(BM_SmallOnKeptConnection)->UseRealTime();
BENCHMARK(BM_NewTlsConnection)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(BM_Cancel)->Unit(benchmark::kMicrosecond)->UseManualTime();

}  // namespace
}  // namespace berth::http
