#include "node/pod_status.h"

#include <gtest/gtest.h>

#include "kube/write.h"
#include "node/testing/lab.h"

namespace berth::node {
namespace {

using testing::PodFrom;
using Kind = RunState::Kind;

constexpr time::WallTime kNow{std::chrono::hours(24 * 365 * 56)};

struct Qos {
  std::string name, resources, want;
};
std::ostream& operator<<(std::ostream& out, const Qos& q) { return out << q.name; }
class QosClasses : public ::testing::TestWithParam<Qos> {};
TEST_P(QosClasses, ByRequestsAndLimits) {
  const auto pod = PodFrom("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i, resources: " +
                           GetParam().resources + "}]}}");
  EXPECT_EQ(QosClass(pod.spec), GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(
    All, QosClasses,
    ::testing::Values(Qos{"none", "{}", "BestEffort"}, Qos{"limits_alone", "{limits: {cpu: 1, memory: 1Gi}}", "Guaranteed"},
                      Qos{"equal", "{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1000m, memory: 1024Mi}}", "Guaranteed"},
                      Qos{"less", "{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}", "Burstable"},
                      Qos{"one", "{limits: {memory: 1Gi}}", "Burstable"}, Qos{"request", "{requests: {cpu: 10m}}", "Burstable"},
                      Qos{"zero", "{requests: {cpu: 0}}", "BestEffort"}),
    [](const auto& row) { return row.param.name; });

// One letter per container: w waiting, b waiting after it ended with 1, r running, 0 and 1 ended with that, n ended with 0 for a new image.
struct Phases {
  std::string policy, init, main, want;
};
std::ostream& operator<<(std::ostream& out, const Phases& p) { return out << p.policy << "_" << p.init << "_" << p.main; }
class PhaseOf : public ::testing::TestWithParam<Phases> {};
TEST_P(PhaseOf, AsTheKubelet) {
  const auto& p = GetParam();
  kube::Pod pod;
  pod.spec.restart_policy = p.policy;
  PodFacts facts;
  const auto add = [&](std::vector<kube::Container>& list, char state, const std::string& name) {
    kube::Container c;
    c.name = name;
    list.push_back(c);
    ContainerFacts& f = facts.containers[name];
    if (state == 'w') return;
    f.run = RunState{.kind = state == 'r' ? Kind::kRunning : Kind::kExited, .container_id = "", .started_at = {}, .finished_at = {},
                     .exit_code = state == '1' || state == 'b' ? 1 : 0};
    f.replaced = state == 'n';
    if (state == 'b') f.waiting = kube::ContainerState::Waiting{"CrashLoopBackOff", ""};
  };
  for (std::size_t i = 0; i < p.init.size(); ++i) add(pod.spec.init_containers, p.init[i], "i" + std::to_string(i));
  for (std::size_t i = 0; i < p.main.size(); ++i) add(pod.spec.containers, p.main[i], "m" + std::to_string(i));
  EXPECT_EQ(MakeStatus(pod, facts, {}, kNow).phase, p.want);
}
INSTANTIATE_TEST_SUITE_P(
    All, PhaseOf,
    ::testing::Values(Phases{"Always", "", "w", "Pending"}, Phases{"Always", "", "r", "Running"}, Phases{"Always", "", "rw", "Pending"},
                      Phases{"Always", "", "0", "Running"}, Phases{"Always", "", "1", "Running"}, Phases{"Always", "", "b", "Running"},
                      Phases{"Always", "r", "w", "Pending"}, Phases{"Always", "0", "w", "Pending"}, Phases{"Always", "0", "r", "Running"},
                      Phases{"Always", "b", "w", "Pending"}, Phases{"Never", "1", "w", "Failed"}, Phases{"OnFailure", "", "00", "Succeeded"},
                      Phases{"OnFailure", "", "01", "Running"}, Phases{"OnFailure", "", "0r", "Running"}, Phases{"Never", "", "00", "Succeeded"},
                      Phases{"Never", "", "01", "Failed"}, Phases{"Never", "", "1r", "Running"}, Phases{"Never", "", "n", "Running"}, Phases{"Never", "", "1n", "Running"},
                      Phases{"OnFailure", "", "0n", "Running"}),
    [](const auto& row) { return row.param.policy + "_" + row.param.init + "_" + row.param.main; });

std::string Show(const kube::PodStatus& status) {
  std::string out;
  for (const auto& c : status.conditions)
    out += c.type + "=" + c.status + (c.reason.empty() ? "" : " " + c.reason) + (c.message.empty() ? "" : " " + c.message) + "\n";
  return out;
}

TEST(Conditions, WhileItIsBeingCreated) {
  const auto pod = PodFrom("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {initContainers: [{name: i, image: x}], containers: [{name: a, image: x}, {name: b, image: x}]}}");
  EXPECT_EQ(Show(MakeStatus(pod, {}, {}, kNow)),
            "PodReadyToStartContainers=False\n"
            "Initialized=False ContainersNotInitialized containers with incomplete status: [i]\n"
            "Ready=False ContainersNotReady containers with unready status: [a b]\n"
            "ContainersReady=False ContainersNotReady containers with unready status: [a b]\n"
            "PodScheduled=True\n");
}

TEST(Conditions, RunningAndDone) {
  kube::Pod pod = PodFrom("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {restartPolicy: Never, containers: [{name: a, image: x}]}}");
  PodFacts facts{.sandbox = true};
  facts.containers["a"].run = RunState{.kind = Kind::kRunning};
  const auto running = MakeStatus(pod, facts, {}, kNow);
  EXPECT_EQ(Show(running), "PodReadyToStartContainers=True\nInitialized=True\nReady=True\nContainersReady=True\nPodScheduled=True\n");
  facts.containers["a"].run = RunState{.kind = Kind::kExited};
  facts.sandbox = false;
  const auto done = MakeStatus(pod, facts, running, kNow + std::chrono::hours(1));
  EXPECT_EQ(Show(done), "PodReadyToStartContainers=False\nInitialized=True PodCompleted\nReady=False PodCompleted\nContainersReady=False PodCompleted\nPodScheduled=True\n");
  // What did not change keeps its time.
  EXPECT_EQ(done.conditions[4].last_transition_time, kNow);
  EXPECT_EQ(done.conditions[2].last_transition_time, kNow + std::chrono::hours(1));
}

TEST(WriteStatus, HasWhatTheApiShows) {
  kube::Pod pod = PodFrom("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, image: x}]}}");
  PodFacts facts{.sandbox = true, .host_ip = "192.0.2.1", .start_time = kNow};
  facts.containers["a"].waiting = kube::ContainerState::Waiting{"ErrImagePull", "no"};
  const std::string json = kube::WriteStatus(MakeStatus(pod, facts, {}, kNow)).Dump();
  EXPECT_NE(
      json.find(
          R"("containerStatuses":[{"image":"x","imageID":"","lastState":{},"name":"a","ready":false,)"
                      R"("restartCount":0,"started":false,"state":{"waiting":{"message":"no","reason":"ErrImagePull"}}}])"),
      json.npos)
      << json;
  EXPECT_NE(json.find(R"("hostIP":"192.0.2.1","hostIPs":[{"ip":"192.0.2.1"}],"phase":"Pending","qosClass":"BestEffort")"), json.npos) << json;
}

}  // namespace
}  // namespace berth::node
