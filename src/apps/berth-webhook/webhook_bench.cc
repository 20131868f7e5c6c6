// Reviews over kept-alive TLS 1.3 by 4 clients, as the API server keeps its connections: AlwaysPullImages on the polling thread, and pinning
// from the cache through workers. Server and clients have a core each. per_core: reviews that one core answers in a second, by the
// processor time of the server's threads; p50_us and p99_us: as the clients see them, all of them asking without a pause.
#include <benchmark/benchmark.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <mutex>
#include <thread>

#include "apps/berth-webhook/service.h"
#include "host/listen.h"
#include "httpd/testing/authority.h"
#include "httpd/server.h"
#include "httpd/testing/client.h"

namespace berth::webhook {
namespace {

constexpr int kClients = 4;
constexpr std::uint64_t kRequests = 20'000;

class Fixed final : public admission::Resolver {
 public:
  Result<digest::Digest> Resolve(const task::Context&, const admission::Lookup&) override {
    return *digest::Digest::Parse("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
  }
};

void RunOn(int core) {
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

// A Pod of two containers with what an API server fills in: 3 KiB.
std::string Request() {
  const auto container = [](const std::string& name) {
    return R"({"name":")" + name + R"(","image":"registry.example/team/)" + name + R"(:v1.4.2","imagePullPolicy":"IfNotPresent","args":["--listen=:8080","--log=json"],)"
           R"("ports":[{"name":"http","containerPort":8080,"protocol":"TCP"}],)"
           R"("env":[{"name":"POD_IP","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"status.podIP"}}},)"
           R"({"name":"LEVEL","value":"info"}],"resources":{"limits":{"cpu":"500m","memory":"512Mi"},"requests":{"cpu":"100m","memory":"128Mi"}},)"
           R"("volumeMounts":[{"name":"token","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],)"
           R"("livenessProbe":{"httpGet":{"path":"/healthz","port":8080,"scheme":"HTTP"},)"
           R"("timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},)"
           R"("terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"})";
  };
  const std::string body =
      R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002",)"
      R"("kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},)"
      R"("name":"web-1","namespace":"shop","operation":"CREATE",)"
      R"("userInfo":{"username":"system:serviceaccount:kube-system:replicaset-controller","groups":["system:serviceaccounts","system:authenticated"]},)"
      R"("object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-1","namespace":"shop","labels":{"app":"web"},"ownerReferences":[{"apiVersion":"apps/v1",)"
      R"("kind":"ReplicaSet","name":"web","uid":"9d1","controller":true,"blockOwnerDeletion":true}]},"spec":{"restartPolicy":"Always","terminationGracePeriodSeconds":30,)"
      R"("dnsPolicy":"ClusterFirst","serviceAccountName":"web","imagePullSecrets":[{"name":"regcred"}],"volumes":[{"name":"token","projected":{"defaultMode":420,)"
      R"("sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}}]}}],"initContainers":[)" + container("migrate") + R"(],"containers":[)" +
      container("web") + "," + container("proxy") + R"(]},"status":{}},"oldObject":null,"dryRun":false,"options":{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}})";
  return "POST /mutate?timeout=10s HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

void Run(benchmark::State& state, const admission::Options& options, unsigned workers) {
  Fixed resolver;
  admission::DigestCache digests(resolver, time::SystemClock());
  const admission::Admission admission(options, {.digests = &digests});
  metrics::Registry metrics;
  Service service(admission, admission, metrics, {.workers = workers});
  const auto now = time::SystemClock().WallNow();
  const auto authority = httpd::testing::MakeAuthority("bench", now, std::chrono::hours(24));
  const auto leaf = httpd::testing::Issue(authority, {"127.0.0.1"}, digest::Purpose::kServer, now, std::chrono::hours(24));
  RunOn(0);
  const auto server = *httpd::Server::Start(*host::ListenTcp({.ip = "127.0.0.1"}),
                                            [&](const task::Context& ctx, const httpd::Request& r) { return service.Answer(ctx, r); },
                                            {.workers = workers,
                                             .certificate = *httpd::Certificate::Parse(leaf.certificate_pem, leaf.key_pem)});
  RunOn(1);
  const std::string request = Request();
  std::vector<double> times;
  std::mutex mutex;
  double used = 0;
  std::uint64_t asked = 0;
  for (auto _ : state) {
    std::atomic<std::uint64_t> done{0};
    std::atomic<double> clients{0};
    std::vector<std::jthread> threads;
    const double before = Seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < kClients; ++i)
      threads.emplace_back([&] {
        httpd::testing::Client client(server->port(), httpd::testing::Client::Transport::kTls);
        std::vector<double> own;
        while (done++ < kRequests) {
          const double began = Seconds(CLOCK_MONOTONIC);
          const auto answer = client.Ask(request);
          if (!answer || answer->find("\"JSONPatch\"") == std::string::npos) std::abort();
          own.push_back(Seconds(CLOCK_MONOTONIC) - began);
        }
        clients += Seconds(CLOCK_THREAD_CPUTIME_ID);
        std::lock_guard lock(mutex);
        times.insert(times.end(), own.begin(), own.end());
      });
    threads.clear();
    used += Seconds(CLOCK_PROCESS_CPUTIME_ID) - before - clients;
    asked += done;
  }
  std::ranges::sort(times);
  state.counters["per_core"] = static_cast<double>(asked) / used;
  state.counters["p50_us"] = times[times.size() / 2] * 1e6;
  state.counters["p99_us"] = times[times.size() * 99 / 100] * 1e6;
  state.SetItemsProcessed(static_cast<std::int64_t>(asked));
  state.SetLabel(std::to_string(request.size()) + " bytes");
}

void BM_AlwaysPull(benchmark::State& state) { Run(state, {.always_pull = true, .judge = false}, 0); }
void BM_PinFromCache(benchmark::State& state) { Run(state, {.pin = true, .pinning = {.label = ""}, .judge = false}, 4); }
BENCHMARK(BM_AlwaysPull)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PinFromCache)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace berth::webhook
