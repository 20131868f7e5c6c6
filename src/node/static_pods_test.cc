#include "node/static_pods.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace berth::node {
namespace {

TEST(StaticPods, NameUidAndAnnotations) {
  const StaticPodOptions options{.folder = "/etc/pods", .node = "node-7", .defaults = {}};
  const std::string text = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c, image: x}]}}";
  const auto pod = ReadStaticPod(text, "/etc/pods/web.yaml", options);
  ASSERT_TRUE(pod) << pod.error().Text();
  EXPECT_EQ(pod->metadata.name, "web-node-7");
  EXPECT_EQ(pod->metadata.ns, "default");
  EXPECT_EQ(pod->metadata.uid.size(), 32u);
  EXPECT_EQ(pod->metadata.annotations.at("kubernetes.io/config.hash"), pod->metadata.uid);
  EXPECT_EQ(pod->metadata.annotations.at("kubernetes.io/config.source"), "file");
  EXPECT_NE(ReadStaticPod(text + " ", "/etc/pods/web.yaml", options)->metadata.uid, pod->metadata.uid) << "changed contents are another Pod";
}

struct Refused {
  std::string name, text, says;
};
std::ostream& operator<<(std::ostream& out, const Refused& r) { return out << r.name; }
class StaticRefusals : public ::testing::TestWithParam<Refused> {};
TEST_P(StaticRefusals, InKubernetesWords) {
  const auto pod = ReadStaticPod(GetParam().text, "f", {.folder = "/", .node = "n", .defaults = {}});
  ASSERT_FALSE(pod);
  EXPECT_NE(pod.error().Text().find(GetParam().says), std::string::npos) << pod.error().Text();
}
INSTANTIATE_TEST_SUITE_P(
    All, StaticRefusals,
    ::testing::Values(
        Refused{"account", "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {serviceAccountName: x, containers: [{name: c, image: x}]}}",
                "static pods may not reference serviceaccounts"},
        Refused{"secret", "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {imagePullSecrets: [{name: x}], containers: [{name: c, image: x}]}}",
                "static pods may not reference secrets"},
        Refused{"kind", "{apiVersion: v1, kind: Secret, metadata: {name: a}}", "a Pod of apiVersion v1 is wanted"},
        Refused{"two", "{apiVersion: v1, kind: Pod}\n---\n{apiVersion: v1, kind: Pod}", "one Pod per file is wanted, not 2"},
        Refused{"no containers", "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}", "spec.containers"}),
    [](const auto& row) { std::string n = row.param.name; std::ranges::replace(n, ' ', '_'); return n; });

}  // namespace
}  // namespace berth::node
