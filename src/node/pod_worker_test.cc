#include "node/pod_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "node/testing/fake_runtime.h"
#include "node/testing/lab.h"
#include "time/testing/manual_clock.h"

namespace berth::node {
namespace {

using namespace std::chrono_literals;
using testing::PodFrom;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = PodWorker::Work::Kind;

constexpr std::string_view kOne = R"(
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {containers: [{name: web, image: 'reg.test/web:1'}]}
)";

constexpr std::string_view kTwo = R"(
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {containers: [{name: a, image: 'a:1'}, {name: b, image: 'b:1'}]}
)";

// One Pod on a clock that stands still, all its work done in this thread.
class Lab {
 public:
  explicit Lab(std::string_view yaml, std::vector<FoundRun> found = {}) : pod(PodFrom(yaml)) { Begin(std::move(found)); }
  Lab(kube::Pod p, std::vector<FoundRun> found) : pod(std::move(p)) { Begin(std::move(found)); }
  void Begin(std::vector<FoundRun> found) {
    runtime.found = found;
    runtime.OnExit([this](const std::string&) { woken = true; });
    worker = std::make_unique<PodWorker>(pod, found, PodWorker::Options{.jitter = [] { return 0.0; }, .host_ip = "192.0.2.7"},
                                         PodWorker::Parts{runtime, manager, credentials, recorder, sink, clock});
  }

  // Until there is nothing to do now.
  void Settle() {
    for (int i = 0; i < 50 && !step.done; ++i) {
      woken = false;
      step = worker->Sync(task::Context({}, clock));
      if (step.done) return;
      for (const auto& work : step.work) worker->Do(task::Context({}, clock), work);
      if (!woken && step.work.empty() && (!step.next || *step.next > clock.SteadyNow())) return;
    }
    if (!step.done) FAIL() << "it does not come to rest";
  }
  void After(time::Duration d) {
    clock.Advance(d);
    Settle();
  }
  void Change(const std::string& container, const std::string& image) {
    for (auto& c : pod.spec.containers)
      if (c.name == container) c.image = image;
    ++pod.metadata.generation;
    worker->Update(pod);
  }
  void Delete(std::int64_t grace) {
    pod.metadata.deletion_timestamp = clock.WallNow();
    pod.metadata.deletion_grace_period_seconds = grace;
    worker->Update(pod);
    Settle();
  }
  void End(const std::string& container, int code, std::string message = "") {
    runtime.End("uid-1", container, code, std::move(message));
    Settle();
  }
  std::vector<std::string> Events() {
    std::vector<std::string> out;
    for (const auto& e : std::exchange(events, {})) out.push_back(e.type[0] + std::string(" ") + e.reason + ": " + e.message);
    return out;
  }
  // "Waiting ErrImagePull", "Running", "Terminated 3 Error"
  static std::string Show(const kube::ContainerState& s) {
    if (s.waiting) return "Waiting " + s.waiting->reason;
    if (s.running) return "Running";
    if (s.terminated) return "Terminated " + std::to_string(s.terminated->exit_code) + " " + s.terminated->reason;
    return "none";
  }
  const kube::ContainerStatus& Of(const std::string& name) {
    status = worker->status();
    for (const auto* list : {&status.init_container_statuses, &status.container_statuses})
      for (const auto& s : *list)
        if (s.name == name) return s;
    static const kube::ContainerStatus kNone;
    return kNone;
  }
  std::string State(const std::string& name = "web") { return Show(Of(name).state); }
  std::string Message(const std::string& name = "web") { return Of(name).state.waiting ? Of(name).state.waiting->message : ""; }
  std::string Phase() { return worker->status().phase; }

  time::testing::ManualClock clock;
  kube::Pod pod;
  testing::FakeRuntime runtime{clock};
  testing::ScriptedImages images;
  testing::NoCredentials credentials;
  testing::MemorySink sink;
  std::vector<objects::Happening> events;
  Recorder recorder{[this](const objects::Happening& h) -> Result<> { events.push_back(h); return {}; }, "node-7"};
  policy::ImageManager manager{{}, {images, recorder, nullptr, clock}};
  std::unique_ptr<PodWorker> worker;
  PodWorker::Step step;
  bool woken = false;
  kube::PodStatus status;
};

TEST(PodWorker, PullsAndRuns) {
  Lab lab(kOne);
  lab.Settle();
  EXPECT_EQ(lab.State(), "Running");
  EXPECT_EQ(lab.Phase(), "Running");
  EXPECT_THAT(lab.runtime.Calls(), ElementsAre("sandbox", "create web/0 sha256:reg.test/web:1", "start web"));
  EXPECT_THAT(lab.Events(), ElementsAre("N Pulling: Pulling image \"reg.test/web:1\"",
                                        "N Pulled: Successfully pulled image \"reg.test/web:1\" in 0s (0s including waiting). Image size: 1000 bytes.",
                                        "N Created: Container created", "N Started: Container started"));
  EXPECT_EQ(lab.Of("web").image_id, "sha256:reg.test/web:1");
  EXPECT_TRUE(lab.Of("web").ready);
}

TEST(PodWorker, EventsOfContainersNameTheirField) {
  Lab lab(kOne);
  lab.Settle();
  ASSERT_FALSE(lab.events.empty());
  EXPECT_EQ(lab.events.back().about.field_path, "spec.containers{web}");
  EXPECT_EQ(lab.events.back().about.uid, "uid-1");
  EXPECT_EQ(lab.events.back().component, "kubelet");
}

// The ladder as a person sees it: retries of the sync each 10 s (no jitter here), the pull only when its back-off is over.
TEST(PodWorker, PullBackOffAndASecretThatComesLater) {
  Lab lab(kOne);
  lab.images.failures.emplace("reg.test/web:1", Error(Reason::kUnauthorized, "E-AUTH-401 reg.test/web:1: refused"));
  lab.credentials.missing = {"regcred"};
  lab.Settle();
  EXPECT_EQ(lab.State(), "Waiting ErrImagePull");
  EXPECT_EQ(lab.Message(), "E-AUTH-401 reg.test/web:1: refused");
  EXPECT_EQ(lab.Phase(), "Pending");
  EXPECT_THAT(lab.Events(),
              ElementsAre("W FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.",
                          "N Pulling: Pulling image \"reg.test/web:1\"",
                          "W Failed: Failed to pull image \"reg.test/web:1\": E-AUTH-401 reg.test/web:1: refused", "W Failed: Error: ErrImagePull"));
  lab.After(9s);
  EXPECT_EQ(lab.images.pulls.size(), 1u) << "the sync is not due yet";
  lab.After(1s);  // back-off is strict: at 10 s it is over
  EXPECT_EQ(lab.images.pulls.size(), 2u);
  lab.Events();
  lab.After(10s);  // 20 s of back-off now
  EXPECT_EQ(lab.images.pulls.size(), 2u);
  EXPECT_EQ(lab.State(), "Waiting ImagePullBackOff");
  EXPECT_EQ(lab.Message(), "Back-off pulling image \"reg.test/web:1\": ErrImagePull: E-AUTH-401 reg.test/web:1: refused");
  EXPECT_THAT(lab.Events(), ElementsAre(::testing::HasSubstr("FailedToRetrieve"), "N BackOff: Back-off pulling image \"reg.test/web:1\"",
                                        "W Failed: Error: ImagePullBackOff"));
  lab.images.failures.clear();
  lab.credentials.missing.clear();
  lab.After(10s);
  EXPECT_EQ(lab.State(), "Running");
  EXPECT_FALSE(lab.Of("web").last_state.terminated);
  EXPECT_EQ(lab.Of("web").restart_count, 0);
}

struct Waiting {
  std::string name, image, policy;
  std::optional<StartFailure> failure;
  std::string state, message, event;
};
std::ostream& operator<<(std::ostream& out, const Waiting& w) { return out << w.name; }
class WaitingReasons : public ::testing::TestWithParam<Waiting> {};
TEST_P(WaitingReasons, AsTheKubeletSaysThem) {
  const auto& p = GetParam();
  kube::Pod pod = PodFrom(kOne);
  pod.spec.containers[0].image = p.image;
  pod.spec.containers[0].image_pull_policy = p.policy;
  Lab lab(pod, {});
  if (p.failure) lab.runtime.failures.emplace("web", *p.failure);
  lab.images.failures.emplace("reg.test/down:1", Error(Reason::kRefused, "RegistryUnavailable: E-REFUSED reg.test/down:1: refused"));
  lab.Settle();
  EXPECT_EQ(lab.State(), p.state);
  EXPECT_EQ(lab.Message(), p.message);
  EXPECT_EQ(lab.Events().back(), p.event);
  EXPECT_EQ(lab.Phase(), p.failure && p.failure->stage == StartFailure::Stage::kRun ? "Running" : "Pending");
}
INSTANTIATE_TEST_SUITE_P(
    All, WaitingReasons,
    ::testing::Values(
        Waiting{"never", "reg.test/web:1", "Never", {}, "Waiting ErrImageNeverPull",
                "Container image \"reg.test/web:1\" is not present with pull policy of Never", "W Failed: Error: ErrImageNeverPull"},
        Waiting{"bad name", "FAILED_IMAGE", "Always", {}, "Waiting InvalidImageName",
                "Failed to apply default image tag \"FAILED_IMAGE\": couldn't parse image name \"FAILED_IMAGE\": invalid reference format: repository name (library/FAILED_IMAGE) must be lowercase",
                "W Failed: Error: InvalidImageName"},
        Waiting{"registry down", "reg.test/down:1", "Always", {}, "Waiting RegistryUnavailable",
                "image pull failed for reg.test/down:1 because the registry is unavailable: E-REFUSED reg.test/down:1: refused",
                "W Failed: Error: RegistryUnavailable"},
        Waiting{"config", "reg.test/web:1", "Always", StartFailure{StartFailure::Stage::kConfig, "secret \"db\" not found"},
                "Waiting CreateContainerConfigError", "secret \"db\" not found", "W Failed: Error: secret \"db\" not found"},
        Waiting{"create", "reg.test/web:1", "Always", StartFailure{StartFailure::Stage::kCreate, "no cgroup"}, "Waiting CreateContainerError",
                "no cgroup", "W Failed: Error: no cgroup"},
        Waiting{"run", "reg.test/web:1", "Always", StartFailure{StartFailure::Stage::kRun, "exec /x: no such file"}, "Waiting RunContainerError",
                "exec /x: no such file", "W Failed: Error: exec /x: no such file"}),
    [](const auto& row) { std::string n = row.param.name; std::ranges::replace(n, ' ', '_'); return n; });

TEST(PodWorker, CrashLoop) {
  Lab lab(kOne);
  lab.Settle();
  lab.Events();
  lab.After(1s);
  lab.End("web", 3, "boom");
  // The first restart is immediate.
  EXPECT_EQ(lab.State(), "Running");
  EXPECT_EQ(lab.Of("web").restart_count, 1);
  EXPECT_EQ(Lab::Show({.waiting = {}, .running = {}, .terminated = lab.Of("web").last_state.terminated}), "Terminated 3 Error");
  EXPECT_EQ(lab.Of("web").last_state.terminated->message, "boom");
  lab.Events();
  lab.End("web", 3);
  EXPECT_EQ(lab.State(), "Waiting CrashLoopBackOff");
  EXPECT_EQ(lab.Message(), "back-off 10s restarting failed container=web pod=web_shop(uid-1)");
  EXPECT_EQ(lab.Phase(), "Running");
  EXPECT_THAT(lab.Events(), ElementsAre("W BackOff: Back-off restarting failed container web in pod web_shop(uid-1)"));
  lab.After(10s);
  EXPECT_EQ(lab.State(), "Running");
  // The ladder, then the cap.
  for (const char* delay : {"20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"}) {
    lab.End("web", 1);
    EXPECT_EQ(lab.Message(), std::string("back-off ") + delay + " restarting failed container=web pod=web_shop(uid-1)");
    for (int i = 0; i < 40 && lab.State() != "Running"; ++i) lab.After(10s);
    ASSERT_EQ(lab.State(), "Running");
  }
  // Ten minutes of running (and a moment), and all is forgotten.
  lab.After(10min + 1s);
  lab.End("web", 1);
  EXPECT_EQ(lab.State(), "Running");
  lab.End("web", 1);
  EXPECT_EQ(lab.Message(), "back-off 10s restarting failed container=web pod=web_shop(uid-1)");
}

struct Restart {
  std::string name, policy;
  int exit_code;
  std::string state, phase;
};
std::ostream& operator<<(std::ostream& out, const Restart& r) { return out << r.name; }
class RestartPolicies : public ::testing::TestWithParam<Restart> {};
TEST_P(RestartPolicies, DecideWhatFollows) {
  kube::Pod pod = PodFrom(kOne);
  pod.spec.restart_policy = GetParam().policy;
  Lab lab(pod, {});
  lab.Settle();
  lab.End("web", GetParam().exit_code);
  EXPECT_EQ(lab.State(), GetParam().state);
  EXPECT_EQ(lab.Phase(), GetParam().phase);
  EXPECT_EQ(lab.runtime.sandboxes(), GetParam().phase == "Running" ? 1u : 0u);
}
INSTANTIATE_TEST_SUITE_P(All, RestartPolicies,
                         ::testing::Values(Restart{"always_0", "Always", 0, "Running", "Running"}, Restart{"always_1", "Always", 1, "Running", "Running"},
                                           Restart{"failure_0", "OnFailure", 0, "Terminated 0 Completed", "Succeeded"},
                                           Restart{"failure_1", "OnFailure", 1, "Running", "Running"},
                                           Restart{"never_0", "Never", 0, "Terminated 0 Completed", "Succeeded"},
                                           Restart{"never_1", "Never", 1, "Terminated 1 Error", "Failed"}),
                         [](const auto& row) { return row.param.name; });

constexpr std::string_view kInit = R"(
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  initContainers:
  - {name: first, image: 'i:1'}
  - {name: side, image: 'i:1', restartPolicy: Always}
  - {name: second, image: 'i:1'}
  containers: [{name: web, image: 'i:1'}, {name: more, image: 'i:1'}]
)";

TEST(PodWorker, InitContainersComeInOrderAndSidecarsStay) {
  Lab lab(kInit);
  lab.Settle();
  EXPECT_EQ(lab.State("first"), "Running");
  EXPECT_EQ(lab.State("side"), "Waiting PodInitializing");
  EXPECT_EQ(lab.State("web"), "Waiting PodInitializing");
  EXPECT_EQ(lab.Phase(), "Pending");
  lab.End("first", 0);
  EXPECT_EQ(lab.State("first"), "Terminated 0 Completed");
  EXPECT_EQ(lab.State("side"), "Running");
  EXPECT_EQ(lab.State("second"), "Running");
  EXPECT_EQ(lab.State("web"), "Waiting PodInitializing");
  lab.runtime.TakeCalls();
  lab.End("second", 0);
  EXPECT_EQ(lab.State("web"), "Running");
  EXPECT_EQ(lab.State("more"), "Running");
  EXPECT_EQ(lab.Phase(), "Running");
  // A sidecar that ends comes back, the init containers do not.
  lab.runtime.TakeCalls();
  lab.End("side", 1);
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("create side/1 sha256:i:1", "start side"));
}

TEST(PodWorker, AnInitContainerThatFailsIsTriedAgainOrFailsThePod) {
  Lab lab(kInit);
  lab.Settle();
  lab.End("first", 2);
  EXPECT_EQ(lab.State("first"), "Running");
  lab.End("first", 2);
  EXPECT_EQ(lab.State("first"), "Waiting CrashLoopBackOff");
  EXPECT_EQ(lab.Phase(), "Pending");

  kube::Pod pod = PodFrom(kInit);
  pod.spec.restart_policy = "Never";
  Lab never(pod, {});
  never.Settle();
  never.End("first", 2);
  EXPECT_EQ(never.Phase(), "Failed");
  EXPECT_EQ(never.runtime.sandboxes(), 0u);
}

TEST(PodWorker, SidecarsEndAfterTheOthersAndThePodSucceeds) {
  kube::Pod pod = PodFrom(kInit);
  pod.spec.restart_policy = "Never";
  Lab lab(pod, {});
  lab.runtime.ends_on_stop = {"side"};
  lab.Settle();
  lab.End("first", 0);
  lab.End("second", 0);
  lab.End("web", 0);
  EXPECT_EQ(lab.Phase(), "Running");
  lab.End("more", 0);
  EXPECT_EQ(lab.Phase(), "Succeeded");
  EXPECT_EQ(lab.runtime.live(), 0u);
  EXPECT_EQ(lab.runtime.sandboxes(), 0u);
  EXPECT_EQ(lab.sink.removed, 0) << "the object stays until somebody deletes it";
}

TEST(PodWorker, DeletionStopsWithGraceThenKills) {
  Lab lab(kOne);
  lab.Settle();
  lab.runtime.TakeCalls();
  lab.Events();
  lab.Delete(30);
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("stop web"));
  EXPECT_THAT(lab.Events(), ElementsAre("N Killing: Stopping container web"));
  lab.After(29s);
  EXPECT_THAT(lab.runtime.TakeCalls(), IsEmpty());
  lab.After(1s);
  lab.Settle();
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("kill web", "stop sandbox", "tear down"));
  EXPECT_TRUE(lab.step.done);
  EXPECT_EQ(lab.sink.removed, 1);
  EXPECT_EQ(lab.sink.statuses.back().phase, "Failed");
  EXPECT_EQ(lab.sink.statuses.back().container_statuses[0].state.terminated->exit_code, 137);
}

TEST(PodWorker, DeletionWithAHook) {
  kube::Pod pod = PodFrom(kOne);
  pod.spec.containers[0].pre_stop = kube::LifecycleHandler{.exec = {"/drain"}};
  Lab lab(pod, {});
  lab.runtime.ends_on_stop = {"web"};
  lab.Settle();
  lab.runtime.TakeCalls();
  lab.Delete(30);
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("exec web /drain", "stop web", "stop sandbox", "tear down"));
  EXPECT_TRUE(lab.step.done);

  Lab bad(pod, {});
  bad.runtime.hooks["/drain"] = 1;
  bad.runtime.ends_on_stop = {"web"};
  bad.Settle();
  bad.Events();
  bad.Delete(30);
  EXPECT_THAT(bad.Events(), ElementsAre("N Killing: Stopping container web", "W FailedPreStopHook: PreStopHook failed"));
  EXPECT_TRUE(bad.step.done);
}

TEST(PodWorker, DeletionWithoutGraceKillsAtOnceAndASecondOneShortensIt) {
  Lab lab(kOne);
  lab.Settle();
  lab.runtime.TakeCalls();
  lab.Delete(0);
  lab.Settle();
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("kill web", "stop sandbox", "tear down"));

  Lab again(kOne);
  again.Settle();
  again.Delete(300);
  again.runtime.TakeCalls();
  again.Delete(1);
  again.After(1s);
  again.Settle();
  EXPECT_THAT(again.runtime.TakeCalls(), ElementsAre("kill web", "stop sandbox", "tear down"));
}

TEST(PodWorker, DeletionStopsThePull) {
  Lab lab(kOne);
  lab.images.held = {"reg.test/web:1"};
  lab.step = lab.worker->Sync(task::Context({}, lab.clock));
  ASSERT_EQ(lab.step.work.size(), 1u);
  std::jthread puller([&] { lab.worker->Do(task::Context({}, lab.clock), lab.step.work[0]); });
  lab.images.AwaitPulls(1);
  lab.pod.metadata.deletion_timestamp = lab.clock.WallNow();
  lab.pod.metadata.deletion_grace_period_seconds = 30;
  lab.worker->Update(lab.pod);
  PodWorker::Step step = lab.worker->Sync(task::Context({}, lab.clock));
  EXPECT_TRUE(step.done || step.work.empty());
  puller.join();
  EXPECT_TRUE(lab.images.was_cancelled);
  if (!step.done) lab.Settle();
  EXPECT_TRUE(step.done || lab.step.done);
  for (const auto& e : lab.Events()) EXPECT_EQ(e.find("Failed"), e.npos) << "a pull that was stopped has not failed";
}

TEST(PodWorker, ActiveDeadline) {
  kube::Pod pod = PodFrom(kOne);
  pod.spec.active_deadline_seconds = 60;
  Lab lab(pod, {});
  lab.runtime.ends_on_stop = {"web"};
  lab.Settle();
  EXPECT_EQ(*lab.step.next - lab.clock.SteadyNow(), time::Duration(60s));
  lab.Events();
  lab.After(60s);
  EXPECT_EQ(lab.Phase(), "Failed");
  EXPECT_EQ(lab.worker->status().reason, "DeadlineExceeded");
  EXPECT_EQ(lab.worker->status().message, kDeadlineMessage);
  EXPECT_EQ(lab.Events().front(), "N DeadlineExceeded: Pod was active on the node longer than the specified deadline");
  EXPECT_EQ(lab.runtime.live(), 0u);
}

TEST(PodWorker, VolumesAndSandboxThatFailAreTriedAgain) {
  Lab lab(kOne);
  lab.runtime.set_up = Error(Reason::kNotFound, "MountVolume.SetUp failed for volume \"cfg\" : configmap \"cfg\" not found");
  lab.Settle();
  EXPECT_EQ(lab.State(), "Waiting ContainerCreating");
  EXPECT_THAT(lab.Events(), ElementsAre("W FailedMount: MountVolume.SetUp failed for volume \"cfg\" : configmap \"cfg\" not found"));
  lab.runtime.set_up.reset();
  lab.runtime.sandbox = Error(Reason::kIo, "no namespaces");
  lab.After(10s);
  EXPECT_THAT(lab.Events(), ElementsAre("W FailedCreatePodSandBox: Failed to create pod sandbox: no namespaces"));
  lab.runtime.sandbox.reset();
  lab.After(10s);
  EXPECT_EQ(lab.State(), "Running");
}

TEST(PodWorker, ARestartOfTheDaemonTakesOverWhatRuns) {
  kube::Pod pod = PodFrom(kOne);
  kube::ContainerStatus before{.name = "web", .image = "reg.test/web:1", .image_id = "sha256:old", .container_id = "berth://web2"};
  before.state.running = kube::ContainerState::Running{};
  before.last_state.terminated = kube::ContainerState::Terminated{.exit_code = 9, .reason = "Error"};
  before.restart_count = 2;
  pod.status.container_statuses = {before};
  Lab lab(pod, {{{"uid-1", "web", 2}, {.kind = RunState::Kind::kRunning, .container_id = "berth://web2"}}});
  (void)lab.runtime.StartSandbox({}, pod);
  lab.runtime.TakeCalls();
  lab.Settle();
  EXPECT_THAT(lab.runtime.TakeCalls(), IsEmpty());
  EXPECT_EQ(lab.State(), "Running");
  EXPECT_EQ(lab.Of("web").restart_count, 2);
  EXPECT_EQ(lab.Of("web").image_id, "sha256:old");
  EXPECT_EQ(lab.Of("web").last_state.terminated->exit_code, 9);
  lab.End("web", 1);
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("create web/3 sha256:reg.test/web:1", "start web"));
}

TEST(PodWorker, AfterARebootTheSandboxIsNewAndContainersStartAgain) {
  kube::Pod pod = PodFrom(kInit);
  kube::ContainerStatus ran{.name = "web", .image = "i:1", .image_id = "sha256:i:1"};
  ran.state.running = kube::ContainerState::Running{};
  kube::ContainerStatus init{.name = "first", .image = "i:1", .image_id = "sha256:i:1"};
  init.state.terminated = kube::ContainerState::Terminated{.exit_code = 0};
  pod.status.container_statuses = {ran};
  pod.status.init_container_statuses = {init};
  Lab lab(pod, {});
  lab.Settle();
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("sandbox", "create first/1 sha256:i:1", "start first"));
  EXPECT_EQ(lab.Events().front(), "N SandboxChanged: Pod sandbox changed, it will be killed and re-created.");
}

TEST(PodWorker, AChangedImageReplacesTheContainer) {
  Lab lab(kOne);
  lab.runtime.ends_on_stop = {"web"};
  lab.Settle();
  lab.Events();
  lab.runtime.TakeCalls();
  lab.pod.spec.containers[0].image = "reg.test/web:2";
  lab.pod.metadata.generation = 2;
  lab.worker->Update(lab.pod);
  lab.Settle();
  EXPECT_EQ(lab.Events().front(), "N Killing: Container web definition changed, will be restarted");
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("stop web", "create web/1 sha256:reg.test/web:2", "start web"));
}

TEST(PodWorker, OneFailingContainerDoesNotHoldUpTheNext) {
  Lab lab(R"(
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {containers: [{name: bad, image: 'bad:1'}, {name: web, image: 'good:1'}]}
)");
  lab.images.failures.emplace("bad:1", Error(Reason::kNotFound, "E-NOTFOUND bad:1: no such tag"));
  lab.Settle();
  EXPECT_EQ(lab.State("bad"), "Waiting ErrImagePull");
  EXPECT_EQ(lab.State("web"), "Running");
  EXPECT_EQ(lab.Phase(), "Pending") << "a container was never started";
}

constexpr std::string_view kVolume = R"(
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  containers:
  - {name: web, image: 'good:1'}
  - {name: data, image: 'good:1', volumeMounts: [{name: model, mountPath: /m}]}
  volumes: [{name: model, image: {reference: 'model:1'}}]
)";

TEST(PodWorker, AnImageVolumeThatFailsKeepsOnlyItsContainersWaiting) {
  Lab lab(kVolume);
  lab.images.failures.emplace("model:1", Error(Reason::kNotFound, "E-NOTFOUND model:1: no such tag"));
  lab.Settle();
  EXPECT_EQ(lab.State("web"), "Running");
  EXPECT_EQ(lab.State("data"), "Waiting ErrImagePull");
}

TEST(PodWorker, APostStartHookThatFailsEndsTheContainer) {
  kube::Pod pod = PodFrom(kOne);
  pod.spec.containers[0].post_start = kube::LifecycleHandler{.exec = {"/warm"}};
  Lab lab(pod, {});
  lab.runtime.hooks["/warm"] = 1;
  for (int i = 0; i < 4; ++i) {  // the hook ends it, which starts it again: no rest to wait for
    lab.step = lab.worker->Sync(task::Context({}, lab.clock));
    for (const auto& work : lab.step.work) lab.worker->Do(task::Context({}, lab.clock), work);
  }
  const auto events = lab.Events();
  EXPECT_THAT(events, ::testing::Contains("W FailedPostStartHook: PostStartHook failed"));
  EXPECT_THAT(lab.runtime.Calls(), ::testing::Contains("kill web"));
}

TEST(PodWorker, AnImageThatIsChangedDuringItsPullIsNotStarted) {
  Lab lab(kOne);
  lab.step = lab.worker->Sync(task::Context({}, lab.clock));
  ASSERT_EQ(lab.step.work.size(), 1u);
  lab.Change("web", "reg.test/web:2");
  lab.worker->Do(task::Context({}, lab.clock), lab.step.work[0]);
  lab.Settle();
  EXPECT_THAT(lab.runtime.Calls(), ElementsAre("sandbox", "create web/0 sha256:reg.test/web:2", "start web"));
}

// The pull is over, but another container's hook holds up the round.
TEST(PodWorker, AnImageThatIsChangedAfterItsPullIsNotStarted) {
  kube::Pod pod = PodFrom(kTwo);
  pod.spec.containers[0].pre_stop = kube::LifecycleHandler{.exec = {"/drain"}};
  Lab lab(pod, {});
  lab.runtime.ends_on_stop = {"a"};
  const auto sync = [&] {
    const auto work = lab.worker->Sync(task::Context({}, lab.clock)).work;
    return work.empty() ? PodWorker::Work{} : work[0];
  };
  const auto run = [&](const PodWorker::Work& work) { lab.worker->Do(task::Context({}, lab.clock), work); };
  run(sync());
  const auto pull = sync();
  ASSERT_EQ(pull.image, "b:1");
  lab.Change("a", "a:2");
  const auto hook = sync();
  ASSERT_EQ(hook.kind, Kind::kPreStop);
  run(pull);
  sync();
  lab.Change("b", "b:2");
  run(hook);
  lab.Settle();
  EXPECT_THAT(lab.runtime.Calls(), ElementsAre("sandbox", "create a/0 sha256:a:1", "start a", "exec a /drain", "stop a",
                                               "create b/0 sha256:b:2", "start b", "create a/1 sha256:a:2", "start a"));
}

TEST(PodWorker, EachChangeOfTheImageStopsWithGrace) {
  kube::Pod pod = PodFrom(kOne);
  pod.spec.containers[0].pre_stop = kube::LifecycleHandler{.exec = {"/drain"}};
  Lab lab(pod, {});
  lab.Settle();
  for (const char* image : {"reg.test/web:2", "reg.test/web:3"}) {
    lab.runtime.TakeCalls();
    lab.Change("web", image);
    lab.Settle();
    EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("exec web /drain", "stop web")) << image;
    lab.After(29s);
    EXPECT_THAT(lab.runtime.TakeCalls(), IsEmpty()) << image;
    lab.End("web", 0);
    EXPECT_EQ(lab.State(), "Running");
    lab.After(20min);
  }
  // One that was asked to stop is stopped, whatever is wanted then.
  lab.runtime.TakeCalls();
  lab.Change("web", "reg.test/web:4");
  lab.Settle();
  lab.Change("web", "reg.test/web:3");
  lab.Settle();
  lab.After(30s);
  EXPECT_THAT(lab.runtime.TakeCalls(),
              ElementsAre("exec web /drain", "stop web", "kill web", "create web/3 sha256:reg.test/web:3", "start web"));
}

TEST(PodWorker, ADeletionDuringAChangeOfTheImageShortensTheGrace) {
  Lab lab(kOne);
  lab.Settle();
  lab.Change("web", "reg.test/web:2");
  lab.Settle();
  lab.runtime.TakeCalls();
  lab.Delete(1);
  lab.After(1s);
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("kill web", "stop sandbox", "tear down"));
}

TEST(PodWorker, CrashLoopWithAnImageVolume) {
  Lab lab(kVolume);
  lab.Settle();
  lab.After(1s);
  lab.End("data", 3);
  EXPECT_EQ(lab.State("data"), "Running") << "the first restart is immediate";
  for (const char* delay : {"10s", "20s", "40s"}) {
    lab.End("data", 3);
    EXPECT_EQ(lab.Message("data"), std::string("back-off ") + delay + " restarting failed container=data pod=web_shop(uid-1)");
    for (int i = 0; i < 4 && lab.State("data") != "Running"; ++i) lab.After(10s);
    ASSERT_EQ(lab.State("data"), "Running") << delay;
  }
}

class Replacements : public ::testing::TestWithParam<std::string> {};
TEST_P(Replacements, AreStartedWhateverTheRestartPolicy) {
  kube::Pod pod = PodFrom(kOne);
  pod.spec.restart_policy = GetParam();
  Lab lab(pod, {});
  lab.images.failures.emplace("reg.test/web:2", Error(Reason::kUnavailable, "E-UNAVAILABLE reg.test: later"));
  lab.Settle();
  lab.Change("web", "reg.test/web:2");
  lab.Settle();
  lab.End("web", 0);
  EXPECT_EQ(lab.State(), "Waiting ErrImagePull");
  EXPECT_EQ(lab.runtime.sandboxes(), 1u);
  lab.images.failures.clear();
  lab.runtime.TakeCalls();
  lab.After(10s);
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("create web/1 sha256:reg.test/web:2", "start web"));
  EXPECT_EQ(lab.State(), "Running");
  for (const auto& status : lab.sink.statuses) EXPECT_THAT(status.phase, ::testing::AnyOf("Pending", "Running"));
  lab.End("web", 0);
  EXPECT_EQ(lab.Phase(), "Succeeded") << "the successor obeys the policy";
}
INSTANTIATE_TEST_SUITE_P(All, Replacements, ::testing::Values("Never", "OnFailure"), [](const auto& row) { return row.param; });

// Between the end of the one and the start of the other the sandbox may go, too.
TEST(PodWorker, AReplacementOutlivesItsSandbox) {
  kube::Pod pod = PodFrom(kOne);
  pod.spec.restart_policy = "Never";
  Lab lab(pod, {});
  lab.Settle();
  lab.Change("web", "reg.test/web:2");
  lab.Settle();
  (void)lab.runtime.StopSandbox({}, pod);
  lab.runtime.TakeCalls();
  lab.End("web", 0);
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("sandbox", "create web/1 sha256:reg.test/web:2", "start web"));
}

TEST(PodWorker, AnImageVolumesPullThatTheDaemonsEndStopsHasNotFailed) {
  kube::Pod pod = PodFrom(kVolume);
  pod.spec.containers.erase(pod.spec.containers.begin());
  Lab lab(pod, {});
  lab.images.held = {"model:1"};
  lab.step = lab.worker->Sync(task::Context({}, lab.clock));
  ASSERT_EQ(lab.step.work.size(), 1u);
  std::stop_source stop;
  std::jthread puller([&] { lab.worker->Do(task::Context(stop.get_token(), lab.clock), lab.step.work[0]); });
  lab.images.AwaitPulls(1);
  stop.request_stop();
  puller.join();
  EXPECT_TRUE(lab.images.was_cancelled);
  EXPECT_TRUE(lab.worker->Sync(task::Context(stop.get_token(), lab.clock)).work.empty());
  EXPECT_THAT(lab.Events(), ElementsAre("N Pulling: Pulling image \"model:1\""));
  EXPECT_EQ(lab.State("data"), "Waiting ContainerCreating");
}

TEST(PodWorker, ANewImageDoesNotWaitForTheOldOnesCrashes) {
  Lab lab(kOne);
  lab.Settle();
  lab.End("web", 1);
  lab.End("web", 1);
  EXPECT_EQ(lab.State(), "Waiting CrashLoopBackOff");
  lab.runtime.TakeCalls();
  lab.Change("web", "reg.test/web:2");
  lab.Settle();
  EXPECT_THAT(lab.runtime.TakeCalls(), ElementsAre("create web/2 sha256:reg.test/web:2", "start web"));
  EXPECT_EQ(lab.State(), "Running");
  EXPECT_EQ(lab.Of("web").restart_count, 2);
  lab.End("web", 1);
  EXPECT_EQ(lab.Message(), "back-off 10s restarting failed container=web pod=web_shop(uid-1)");
}

TEST(PodWorker, LatestRunsForLogs) {
  Lab lab(kOne);
  EXPECT_FALSE(lab.worker->LatestRun("web", false));
  lab.Settle();
  EXPECT_EQ(lab.worker->LatestRun("web", false)->attempt, 0);
  EXPECT_FALSE(lab.worker->LatestRun("web", true));
  lab.End("web", 1);
  EXPECT_EQ(lab.worker->LatestRun("web", false)->attempt, 1);
  EXPECT_EQ(lab.worker->LatestRun("web", true)->attempt, 0);
}

}  // namespace
}  // namespace berth::node
