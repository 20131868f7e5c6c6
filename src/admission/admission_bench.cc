// Reviews a second on one core: AlwaysPullImages, and pinning from the cache. BERTH_BENCH_REVIEW names a file with a review to use instead.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "admission/review.h"
#include "yaml/document.h"

namespace berth::admission {
namespace {

constexpr std::string_view kDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

class Fixed final : public Resolver {
 public:
  Result<digest::Digest> Resolve(const task::Context&, const Lookup&) override { return *digest::Digest::Parse(kDigest); }
};

// What an API server sends for a Pod of a Deployment: an init container and a sidecar, probes, a token volume, managed fields.
constexpr std::string_view kContainer = R"(
    image: registry.example/team/NAME:v1.4.2
    imagePullPolicy: IfNotPresent
    args: ["--listen=:8080", "--log=json"]
    ports: [{name: http, containerPort: 8080, protocol: TCP}]
    env:
    - {name: POD_IP, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: status.podIP}}}
    - {name: LEVEL, value: info}
    - {name: REGION, value: eu-central-1}
    resources: {limits: {cpu: 500m, memory: 512Mi}, requests: {cpu: 100m, memory: 128Mi}}
    volumeMounts:
    - {name: kube-api-access-x7k2p, readOnly: true, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}
    - {name: config, mountPath: /etc/app}
    livenessProbe:
      {httpGet: {path: /healthz, port: 8080, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
    readinessProbe:
      {httpGet: {path: /readyz, port: 8080, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
)";
std::string Container(const std::string& name) {
  std::string text(kContainer);
  text.replace(text.find("NAME"), 4, name);
  return "  - name: " + name + text;
}
constexpr std::string_view kHead = R"(
kind: Pod
apiVersion: v1
metadata:
  name: web-6d4cf56db6-8xk2p
  generateName: web-6d4cf56db6-
  namespace: shop
  labels: {app: web, pod-template-hash: 6d4cf56db6, team: shop}
  annotations: {prometheus.io/scrape: "true"}
  ownerReferences:
  - {apiVersion: apps/v1, kind: ReplicaSet, name: web-6d4cf56db6, uid: 9d1, controller: true, blockOwnerDeletion: true}
  managedFields:
  - manager: kube-controller-manager
    operation: Update
    apiVersion: v1
    time: "2026-01-01T00:00:00Z"
    fieldsType: FieldsV1
    fieldsV1:
      f:metadata: {f:generateName: {}, f:labels: {".": {}, f:app: {}, f:pod-template-hash: {}}, f:ownerReferences: {".": {}, "k:{9d1}": {}}}
      f:spec:
        f:containers: {"k:{web}": {".": {}, f:image: {}, f:imagePullPolicy: {}, f:name: {}, f:ports: {".": {}, f:protocol: {}}, f:resources: {}}}
        f:dnsPolicy: {}
        f:restartPolicy: {}
        f:schedulerName: {}
status: {}
spec:
  restartPolicy: Always
  terminationGracePeriodSeconds: 30
  dnsPolicy: ClusterFirst
  serviceAccountName: web
  serviceAccount: web
  securityContext: {fsGroup: 1000}
  imagePullSecrets: [{name: regcred}]
  schedulerName: default-scheduler
  tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]
  priority: 0
  enableServiceLinks: true
  preemptionPolicy: PreemptLowerPriority
  volumes:
  - name: kube-api-access-x7k2p
    projected:
      defaultMode: 420
      sources:
      - serviceAccountToken: {expirationSeconds: 3607, path: token}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
  - {name: config, configMap: {name: web, defaultMode: 420}}
)";
constexpr std::string_view kEnvelope = R"({
  "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
    "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
    "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
    "requestKind": {"group": "", "version": "v1", "kind": "Pod"}, "requestResource": {"group": "", "version": "v1", "resource": "pods"},
    "name": "web-6d4cf56db6-8xk2p", "namespace": "shop", "operation": "CREATE",
    "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "1f7a",
      "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]},
    "object": null, "oldObject": null, "dryRun": false, "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}}})";

const std::string& Review_() {
  static const std::string review = [] {
    if (const char* file = std::getenv("BERTH_BENCH_REVIEW")) {
      std::ifstream in(file);
      return std::string(std::istreambuf_iterator<char>(in), {});
    }
    const std::string pod = std::string(kHead) + "  initContainers:\n" + Container("migrate") + "  containers:\n" + Container("web") + Container("proxy");
    json::Tree whole((*yaml::Parse(kEnvelope, "envelope", Reason::kInternal))[0].root());
    whole["request"]["object"] = json::Tree((*yaml::Parse(pod, "pod", Reason::kInternal))[0].root());
    return whole.Dump();
  }();
  return review;
}

void Run(benchmark::State& state, const Admission& admission) {
  const task::Context ctx;
  for (auto _ : state) {
    const Reply reply = Review(ctx, Review_(), admission);
    if (!reply.allowed || !reply.changed) return state.SkipWithError(reply.body.c_str());
  }
  state.SetItemsProcessed(state.iterations());
  state.SetLabel(std::to_string(Review_().size()) + " bytes");
}

void BM_AlwaysPull(benchmark::State& state) { Run(state, Admission({.always_pull = true, .judge = false}, {})); }
void BM_PinFromCache(benchmark::State& state) {
  Fixed resolver;
  DigestCache cache(resolver, time::SystemClock());
  Run(state, Admission({.pin = true, .pinning = {.label = ""}, .judge = false}, {.digests = &cache}));
}
void BM_Parse(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(json::Document::Parse(Review_(), Reason::kUsage, ReviewOptions().limits));
  state.SetItemsProcessed(state.iterations());
}
void BM_Tree(benchmark::State& state) {
  const auto document = json::Document::Parse(Review_(), Reason::kUsage, ReviewOptions().limits);
  for (auto _ : state) benchmark::DoNotOptimize(json::Tree(document->root()));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_AlwaysPull)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_PinFromCache)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_Parse)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_Tree)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace berth::admission
