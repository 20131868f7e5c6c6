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
}

}  // namespace
}  // namespace berth::cli
