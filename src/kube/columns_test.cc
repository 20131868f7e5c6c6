#include "kube/columns.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "json/tree.h"
#include "kube/parse.h"
#include "yaml/document.h"

namespace berth::kube {
namespace {

using namespace std::chrono_literals;

const time::WallTime kNow{std::chrono::sys_days{std::chrono::year{2026} / 11 / 25} + 14h};

Object ObjectFrom(std::string_view yaml) {
  const auto documents = yaml::Parse(yaml, "test", Reason::kUsage);
  EXPECT_TRUE(documents) << documents.error().Text();
  auto parsed = ParseObject((*documents)[0].root());
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
  const PodRow row = SummarizePod(ReadPod(object), kNow);
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


TEST(Names, AsKubectlPrintsThem) { EXPECT_EQ(NameFor("ServiceAccount", "x"), "serviceaccount/x"); }

struct KindCells {
  std::string object, cells;
};
std::ostream& operator<<(std::ostream& out, const KindCells& r) { return out << r.object; }
class Columns : public ::testing::TestWithParam<KindCells> {};
TEST_P(Columns, OfEveryKind) {
  const Object object = ObjectFrom(GetParam().object);
  const auto columns = ColumnsOf(object.kind);
  const auto cells = CellsOf(object, kNow);
  ASSERT_EQ(cells.size(), columns.size());
  std::string text;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    EXPECT_EQ(cells[i].IsString(), columns[i].type != "integer") << columns[i].name;
    text += (i == 0 ? "" : " ") + cells[i].Dump();
  }
  EXPECT_EQ(text, GetParam().cells);
}
const std::string kMeta = "metadata: {name: it, creationTimestamp: '2026-11-25T13:00:00Z'}";
INSTANTIATE_TEST_SUITE_P(
    All, Columns,
    ::testing::Values(
        KindCells{"{apiVersion: v1, kind: Pod, " + kMeta + ", spec: {nodeName: node-1, containers: [{name: a, image: x}]}, status: {phase: Pending, podIP: 10.0.0.1}}",
                  R"("it" "0/1" "Pending" "0" "60m" "10.0.0.1" "node-1" "<none>" "<none>")"},
        KindCells{"{apiVersion: v1, kind: Secret, " + kMeta + ", type: Opaque, data: {a: e30=, b: e30=}}", R"("it" "Opaque" 2 "60m")"},
        KindCells{"{apiVersion: v1, kind: ConfigMap, " + kMeta + ", data: {a: b}, binaryData: {c: e30=}}", R"("it" 2 "60m")"},
        KindCells{"{apiVersion: v1, kind: ServiceAccount, " + kMeta + ", secrets: [{name: s}]}", R"("it" 1 "60m")"},
        KindCells{"{apiVersion: v1, kind: Namespace, " + kMeta + ", status: {phase: Active}}", R"("it" "Active" "60m")"},
        KindCells{"{apiVersion: v1, kind: Event, " + kMeta + ", type: Warning, reason: Failed, message: 'm ', count: 5, source: {component: kubelet, host: node-1}, "
                  "firstTimestamp: '2026-11-25T13:56:50Z', lastTimestamp: '2026-11-25T13:59:39Z', involvedObject: {kind: Pod, name: web, fieldPath: 'spec.containers{c}'}}",
                  R"("21s" "Warning" "Failed" "pod/web" "spec.containers{c}" "kubelet, node-1" "m" "3m10s" 5 "it")"},
        KindCells{"{apiVersion: v1, kind: Node, " + kMeta + ", spec: {unschedulable: true}, status: {conditions: [{type: Ready, status: 'True'}], "
                  "addresses: [{type: InternalIP, address: 10.0.0.2}], nodeInfo: {kubeletVersion: v1, osImage: Debian, kernelVersion: '6', containerRuntimeVersion: crun}}}",
                  R"("it" "Ready,SchedulingDisabled" "<none>" "60m" "v1" "10.0.0.2" "<none>" "Debian" "6" "crun")"}));

}  // namespace
}  // namespace berth::kube
