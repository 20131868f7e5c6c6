#include "apps/berth/kubectl_print.h"

#include <gtest/gtest.h>

#include "json/tree.h"
#include "kube/parse.h"
#include "yaml/document.h"

namespace berth::cli {
namespace {

using namespace std::chrono_literals;

const time::WallTime kNow{std::chrono::sys_days{std::chrono::year{2026} / 11 / 25} + 14h};

kube::Object ObjectFrom(std::string_view yaml) {
  const auto documents = yaml::Parse(yaml, "test", Reason::kUsage);
  EXPECT_TRUE(documents) << documents.error().Text();
  auto parsed = kube::ParseObject((*documents)[0].root());
  EXPECT_TRUE(parsed) << parsed.error().Text();
  return std::move(parsed->object);
}

struct Duration {
  std::int64_t seconds;
  std::string text;
};
class KubeDurations : public ::testing::TestWithParam<Duration> {};
TEST_P(KubeDurations, AsKubectl) { EXPECT_EQ(HumanDuration(std::chrono::seconds(GetParam().seconds)), GetParam().text); }
INSTANTIATE_TEST_SUITE_P(All, KubeDurations,
                         ::testing::Values(Duration{-2, "<invalid>"}, Duration{0, "0s"}, Duration{1, "1s"}, Duration{70, "70s"},
                                           Duration{119, "119s"}, Duration{120, "2m"}, Duration{130, "2m10s"},
                                           Duration{599, "9m59s"}, Duration{600, "10m"}, Duration{3 * 3600 - 1, "179m"},
                                           Duration{3 * 3600, "3h"}, Duration{4 * 3600 + 60, "4h1m"}, Duration{8 * 3600, "8h"},
                                           Duration{47 * 3600, "47h"}, Duration{48 * 3600, "2d"}, Duration{50 * 3600, "2d2h"},
                                           Duration{8 * 86400, "8d"}, Duration{700 * 86400, "700d"}, Duration{731 * 86400, "2y1d"},
                                           Duration{8LL * 365 * 86400, "8y"}));

struct Row {
  std::string name, spec, status, ready, shows, restarts;
  std::string metadata = "";
};
std::ostream& operator<<(std::ostream& out, const Row& r) { return out << r.name; }
class PodRows : public ::testing::TestWithParam<Row> {};
TEST_P(PodRows, AsKubectl) {
  const auto& p = GetParam();
  const auto object = ObjectFrom("{apiVersion: v1, kind: Pod, metadata: {name: web" + p.metadata + "}, spec: " + p.spec + ", status: " + p.status + "}");
  const PodRow row = SummarizePod(kube::ReadPod(object), kNow);
  EXPECT_EQ(row.ready, p.ready);
  EXPECT_EQ(row.status, p.shows);
  EXPECT_EQ(row.restarts, p.restarts);
}
const std::string kOne = "{containers: [{name: a, image: x}]}";
const std::string kInit = "{initContainers: [{name: i, image: x}, {name: s, image: x, restartPolicy: Always}], containers: [{name: a, image: x}]}";
INSTANTIATE_TEST_SUITE_P(
    All, PodRows,
    ::testing::Values(
        Row{"pending", kOne, "{phase: Pending}", "0/1", "Pending", "0"},
        Row{"running", kOne, "{phase: Running, containerStatuses: [{name: a, ready: true, restartCount: 0, state: {running: {}}}]}", "1/1", "Running", "0"},
        Row{"pull", kOne, "{phase: Pending, containerStatuses: [{name: a, ready: false, restartCount: 0, state: {waiting: {reason: ImagePullBackOff}}}]}", "0/1", "ImagePullBackOff", "0"},
        Row{"crash", kOne,
            "{phase: Running, containerStatuses: [{name: a, ready: false, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, finishedAt: '2026-11-25T13:59:30Z'}}}]}",
            "0/1", "CrashLoopBackOff", "3 (30s ago)"},
        Row{"completed", kOne, "{phase: Succeeded, containerStatuses: [{name: a, ready: false, restartCount: 0, state: {terminated: {exitCode: 0, reason: Completed}}}]}", "0/1", "Completed", "0"},
        Row{"exit code", kOne, "{phase: Failed, containerStatuses: [{name: a, ready: false, restartCount: 0, state: {terminated: {exitCode: 3}}}]}", "0/1", "ExitCode:3", "0"},
        Row{"signal", kOne, "{phase: Failed, containerStatuses: [{name: a, ready: false, restartCount: 0, state: {terminated: {exitCode: 137, signal: 9}}}]}", "0/1", "Signal:9", "0"},
        Row{"terminating", kOne, "{phase: Running, containerStatuses: [{name: a, ready: true, restartCount: 0, state: {running: {}}}]}", "1/1", "Terminating", "0",
            ", deletionTimestamp: '2026-11-25T13:59:00Z'"},
        Row{"deadline", kOne, "{phase: Failed, reason: DeadlineExceeded}", "0/1", "DeadlineExceeded", "0"},
        Row{"init runs", kInit, "{phase: Pending, initContainerStatuses: [{name: i, ready: false, restartCount: 0, state: {running: {}}}, {name: s, ready: false, restartCount: 0, state: {waiting: {reason: PodInitializing}}}], containerStatuses: [{name: a, ready: false, restartCount: 0, state: {waiting: {reason: PodInitializing}}}]}",
            "0/2", "Init:0/2", "0"},
        Row{"init fails", kInit, "{phase: Pending, initContainerStatuses: [{name: i, ready: false, restartCount: 2, state: {waiting: {reason: CrashLoopBackOff}}}]}", "0/2", "Init:CrashLoopBackOff", "2"},
        Row{"init error", kInit, "{phase: Failed, initContainerStatuses: [{name: i, ready: false, restartCount: 0, state: {terminated: {exitCode: 1, reason: Error}}}]}", "0/2", "Init:Error", "0"},
        Row{"init image", kInit, "{phase: Pending, initContainerStatuses: [{name: i, ready: false, restartCount: 0, state: {waiting: {reason: ErrImagePull}}}]}", "0/2", "Init:ErrImagePull", "0"},
        Row{"sidecar", kInit,
            "{phase: Running, conditions: [{type: Initialized, status: 'True'}], initContainerStatuses: [{name: i, ready: true, restartCount: 1, state: {terminated: {exitCode: 0}}}, {name: s, ready: true, started: true, restartCount: 2, state: {running: {}}}], containerStatuses: [{name: a, ready: true, restartCount: 1, state: {running: {}}}]}",
            "2/2", "Running", "3"}),
    [](const auto& row) { std::string n = row.param.name; std::replace(n.begin(), n.end(), ' ', '_'); return n; });

TEST(KubeTable, ColumnsAreThreeApartAndLaterRowsFallIn) {
  KubeTable table;
  table.Row({"NAME", "AGE"});
  table.Row({"a-long-name", "1s"});
  EXPECT_EQ(table.Take(), "NAME          AGE\na-long-name   1s\n");
  table.Row({"b", "2s"});
  EXPECT_EQ(table.Take(), "b             2s\n");
}

TEST(Rows, OfTheOtherKinds) {
  const PrintOptions options{.wide = false, .all_namespaces = false, .now = kNow};
  const std::string meta = "metadata: {name: it, namespace: shop, creationTimestamp: '2026-11-25T13:00:00Z'}";
  using Cells = std::vector<std::string>;
  EXPECT_EQ(RowFor(ObjectFrom("{apiVersion: v1, kind: Secret, " + meta + ", type: kubernetes.io/dockerconfigjson, data: {.dockerconfigjson: e30=}}"), options),
            (Cells{"it", "kubernetes.io/dockerconfigjson", "1", "60m"}));
  EXPECT_EQ(RowFor(ObjectFrom("{apiVersion: v1, kind: Namespace, metadata: {name: it, creationTimestamp: '2026-11-25T13:00:00Z'}, status: {phase: Active}}"), options),
            (Cells{"it", "Active", "60m"}));
  EXPECT_EQ(RowFor(ObjectFrom("{apiVersion: v1, kind: ServiceAccount, " + meta + "}"), options), (Cells{"it", "0", "60m"}));
  EXPECT_EQ(RowFor(ObjectFrom("{apiVersion: v1, kind: Event, " + meta + ", type: Warning, reason: Failed, "
                              "message: 'Error: ErrImagePull', count: 5, firstTimestamp: '2026-11-25T13:56:50Z', lastTimestamp: '2026-11-25T13:59:39Z', involvedObject: {kind: Pod, name: web}}"), options),
            (Cells{"21s", "Warning", "Failed", "pod/web", "Error: ErrImagePull"}));
}

TEST(Describe, APodWithItsEvents) {
  const auto pod = kube::ReadPod(ObjectFrom(R"(
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: node-7, serviceAccountName: default, containers: [{name: c, image: 'reg.test/web:1', command: [sh]}]}
status:
  phase: Pending
  qosClass: BestEffort
  conditions: [{type: Ready, status: 'False'}]
  containerStatuses:
  - {name: c, image: 'reg.test/web:1', imageID: '', ready: false, restartCount: 0, state: {waiting: {reason: ImagePullBackOff, message: m}}}
)"));
  kube::Event event{.type = "Normal", .reason = "Pulling", .message = "Pulling image \"reg.test/web:1\"", .component = "kubelet", .count = 5,
                    .first_timestamp = kNow - 190s, .last_timestamp = kNow - 21s};
  const std::string text = DescribePod(pod, {event}, kNow);
  for (const char* line : {"Name:             web\n", "Namespace:        shop\n", "Node:             node-7\n", "Labels:           app=web\n", "Annotations:      <none>\n",
                           "    Image:          reg.test/web:1\n", "    State:          Waiting\n      Reason:       ImagePullBackOff\n", "    Ready:          False\n",
                           "    Restart Count:  0\n", "  Type   Status \n  Ready  False \n", "QoS Class:        BestEffort\n",
                           "Events:\n  Type    Reason   Age                  From     Message\n  ----    ------   ----                 ----     -------\n"
                           "  Normal  Pulling  21s (x5 over 3m10s)  kubelet  Pulling image \"reg.test/web:1\"\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "\nis not in\n" << text;
  EXPECT_NE(DescribePod(pod, {}, kNow).find("Events:            <none>\n"), std::string::npos);
}

TEST(Names, OfKinds) {
  EXPECT_EQ(KindFor("po"), "Pod");
  EXPECT_EQ(KindFor("Pods"), "Pod");
  EXPECT_EQ(KindFor("sa"), "ServiceAccount");
  EXPECT_EQ(KindFor("deployments"), "");
  EXPECT_EQ(NameFor("ServiceAccount", "x"), "serviceaccount/x");
}

}  // namespace
}  // namespace berth::cli
