#include "node/admission.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "node/static_pods.h"
#include "yaml/document.h"

namespace berth::node {
namespace {

json::Tree TreeFrom(std::string_view yaml) { return json::Tree((*yaml::Parse(yaml, "t", Reason::kUsage))[0].root()); }

struct Admission {
  std::string name, old, pod, want;
};
std::ostream& operator<<(std::ostream& out, const Admission& a) { return out << a.name; }
class AlwaysPull : public ::testing::TestWithParam<Admission> {};
TEST_P(AlwaysPull, SetsPolicies) {
  json::Tree pod = TreeFrom(GetParam().pod);
  if (GetParam().old.empty()) {
    AlwaysPullImages(pod);
  } else {
    const json::Tree old = TreeFrom(GetParam().old);
    AlwaysPullImages(pod, &old);
  }
  EXPECT_EQ(pod.Dump(), TreeFrom(GetParam().want).Dump());
}
// kubelet-images 3.2
INSTANTIATE_TEST_SUITE_P(
    Vectors, AlwaysPull,
    ::testing::Values(
        Admission{"create", "",
                  "{kind: Pod, spec: {containers: [{image: a}, {image: b, imagePullPolicy: Never}], initContainers: [{image: c, imagePullPolicy: IfNotPresent}], volumes: [{name: v, image: {reference: r, pullPolicy: Never}}, {name: w, emptyDir: {}}]}}",
                  "{kind: Pod, spec: {containers: [{image: a, imagePullPolicy: Always}, {image: b, imagePullPolicy: Always}], initContainers: [{image: c, imagePullPolicy: Always}], volumes: [{name: v, image: {reference: r, pullPolicy: Always}}, {name: w, emptyDir: {}}]}}"},
        Admission{"update_annotations", "{kind: Pod, spec: {containers: [{image: a, imagePullPolicy: IfNotPresent}]}}",
                  "{kind: Pod, metadata: {annotations: {x: y}}, spec: {containers: [{image: a, imagePullPolicy: IfNotPresent}]}}",
                  "{kind: Pod, metadata: {annotations: {x: y}}, spec: {containers: [{image: a, imagePullPolicy: IfNotPresent}]}}"},
        Admission{"update_image", "{kind: Pod, spec: {containers: [{image: a}]}}", "{kind: Pod, spec: {containers: [{image: b}]}}",
                  "{kind: Pod, spec: {containers: [{image: b, imagePullPolicy: Always}]}}"},
        Admission{"exchange", "{kind: Pod, spec: {containers: [{image: a}, {image: b}]}}", "{kind: Pod, spec: {containers: [{image: b}, {image: a}]}}",
                  "{kind: Pod, spec: {containers: [{image: b}, {image: a}]}}"},
        Admission{"another_kind", "", "{kind: Secret, spec: {containers: [{image: b}]}}", "{kind: Secret, spec: {containers: [{image: b}]}}"}),
    [](const auto& row) { return row.param.name; });

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
