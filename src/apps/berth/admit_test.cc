// berth admit: what is printed where, and which exit status.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "apps/berth/testing/test_world.h"
#include "json/document.h"
#include "registry/testing/fake_registry.h"

namespace berth::cli {
namespace {

using testing::TestWorld;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Words = std::vector<std::string>;

class AdmitVerb : public ::testing::Test {
 protected:
  AdmitVerb() {
    char folder[] = "/tmp/berth-admit-XXXXXX";
    folder_ = mkdtemp(folder);
  }
  ~AdmitVerb() override { std::filesystem::remove_all(folder_); }
  int Run(Words words, const std::string& input = "") {
    world_ = std::make_unique<TestWorld>(input);
    world_->variables["HOME"] = folder_;
    world_->directory = folder_;
    words.insert(words.begin(), "admit");
    return world_->Run(words);
  }
  std::string File(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name) << text;
    return name;
  }
  std::string out() const { return world_->out(); }
  std::string err() const { return world_->err(); }
  std::string folder_;
  std::unique_ptr<TestWorld> world_;
};

const std::string kPod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: 'x:latest@sha256:" + std::string(64, 'a') + "'}]}\n";

TEST_F(AdmitVerb, PrintsTheObjectAndTheReasons) {
  EXPECT_EQ(Run({}, kPod), 0);
  EXPECT_THAT(out(), AllOf(HasSubstr("imagePullPolicy: IfNotPresent\n"), HasSubstr("  namespace: default\n")));
  EXPECT_THAT(err(), HasSubstr("Pod default/web: spec.containers[0].imagePullPolicy: IfNotPresent (Defaults: a digest is given)\n"));
  const std::string stored = out();
  EXPECT_EQ(Run({"-f", "-"}, stored), 0);
  EXPECT_EQ(out(), stored);
  EXPECT_THAT(err(), IsEmpty());
  EXPECT_EQ(Run({"--profile", "Kubelet", "--defaults", "Policies", "-n", "shop"}, kPod), 0);
  EXPECT_THAT(err(), HasSubstr("Pod shop/web: spec.containers[0].imagePullPolicy: Always (Defaults: the tag is latest (a digest does not count))\n"));
  EXPECT_THAT(out(), Not(HasSubstr("restartPolicy")));
  EXPECT_EQ(Run({"-q", "--always-pull"}, kPod), 0);
  EXPECT_THAT(err(), IsEmpty());
  EXPECT_THAT(out(), HasSubstr("imagePullPolicy: Always\n"));
}

TEST_F(AdmitVerb, ReportsAsJson) {
  File("a.yaml", kPod + "---\n{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: c}]}}\n");
  EXPECT_EQ(Run({"-f", "a.yaml", "-o", "json"}), 2);
  const auto report = json::Document::Parse(out(), Reason::kInternal);
  ASSERT_TRUE(report) << out();
  EXPECT_EQ(report->root().Find("objects")->size(), 2u);
  EXPECT_THAT(err(), IsEmpty());
}

struct StatusRow {
  std::string name;
  Words words;
  std::string input;
  int status;
  std::string says;
};
std::ostream& operator<<(std::ostream& out, const StatusRow& r) { return out << r.name; }
class AdmitStatuses : public AdmitVerb, public ::testing::WithParamInterface<StatusRow> {};
TEST_P(AdmitStatuses, AsDocumented) {
  File("old.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: default}, spec: {containers: [{name: c, image: img}]}}");
  EXPECT_EQ(Run(GetParam().words, GetParam().input), GetParam().status) << err();
  EXPECT_THAT(err(), HasSubstr(GetParam().says));
}
const std::string kList = "apiVersion: config.kubernetes.io/v1\nkind: ResourceList\n";
INSTANTIATE_TEST_SUITE_P(
    All, AdmitStatuses,
    ::testing::Values(
        StatusRow{"unknown_kind", {}, "{apiVersion: x/v1, kind: W, metadata: {name: z}}", 0, "warning: W z: kind \"W\" of \"x/v1\" is not known here"},
        StatusRow{"invalid", {}, "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: x, imagePullPolicy: always}]}}", 2,
                  "error: E-USAGE -:1: The Pod \"a\" is invalid: spec.containers[0].imagePullPolicy: Unsupported value: \"always\""},
        StatusRow{"denied", {},
                  "{apiVersion: v1, kind: ServiceAccount, metadata: {name: s, annotations: {kubernetes.io/enforce-mountable-secrets: 'true'}}}\n---\n"
                  "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {serviceAccountName: s, imagePullSecrets: [{name: x}], containers: [{name: c, image: x}]}}", 8,
                  "error: E-POLICY -:3: pods \"a\" is forbidden: imagePullSecrets[0].name=\"x\" is not allowed"},
        StatusRow{"yaml", {}, "a: [", 2, "E-USAGE"}, StatusRow{"no_file", {"-f", "absent"}, "", 2, "does not exist"},
        StatusRow{"as_without_old", {"--as", "update"}, kPod, 2, "--as update needs --old FILE"}, StatusRow{"old_without_as", {"--old", "old.yaml"}, kPod, 2, "--old FILE is for --as update"},
        StatusRow{"update", {"--as", "update", "--old", "old.yaml", "--defaults", "None"}, "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: default}, spec: {nodeName: node-1, containers: [{name: c, image: img}]}}", 2,
                  "pod updates may not change fields other than"},
        StatusRow{"function", {}, kList + "items: [{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c}]}}]\n", 2, "Pod default/a: The Pod \"a\" is invalid"},
        StatusRow{"function_config", {}, kList + "functionConfig: {kind: ConfigMap, data: {x: v}}\n", 2, "has no setting \"x\""},
        StatusRow{"function_alone", {}, kList + "---\n" + kPod, 2, "a ResourceList stands alone"}, StatusRow{"profile", {"--profile", "x"}, kPod, 2, "Documented, Kubelet"}),
    [](const auto& row) { return row.param.name; });

TEST_F(AdmitVerb, PinsThroughTheRegistryWithTheObjectsOwnSecret) {
  registry::testing::FakeRegistry registry;
  const std::string digest = registry.PutImage("team/app", "v1", {"layer"}).manifest.digest.ToString();
  registry.RequireBasic("alice", "canary");
  const std::string secret = "{apiVersion: v1, kind: Secret, metadata: {name: regcred}, type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: '{\"auths\":{\"" + registry.host() +
                             "\":{\"username\":\"alice\",\"password\":\"canary\"}}}'}}\n";
  const std::string pod = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {SECRETS, containers: [{name: c, image: '" + registry.host() + "/team/app:v1'}]}}\n";
  const auto with = [&](const std::string& secrets) { return std::string(pod).replace(pod.find("SECRETS"), 7, secrets); };
  EXPECT_EQ(Run({"--pin"}, secret + "---\n" + with("imagePullSecrets: [{name: regcred}]")), 0) << err();
  EXPECT_THAT(out(), AllOf(HasSubstr("/team/app:v1@" + digest), HasSubstr("pinned-from.berth.dev/c: " + registry.host() + "/team/app:v1")));
  EXPECT_THAT(err(), Not(HasSubstr("canary")));
  EXPECT_EQ(Run({"--pin"}, with("hostNetwork: false")), 4);
  EXPECT_THAT(err(), HasSubstr("cannot be resolved to a digest"));
  EXPECT_THAT(out(), IsEmpty());
  File("auth.json", "{\"auths\":{\"" + registry.host() + "\":{\"username\":\"alice\",\"password\":\"canary\"}}}");
  EXPECT_EQ(Run({"--pin", "--authfile", "auth.json"}, with("hostNetwork: false")), 0) << err();
  // One password is for one registry, and sent to nobody else.
  const std::string two = with("hostNetwork: false") + "---\n{apiVersion: v1, kind: Pod, metadata: {name: other}, spec: {containers: [{name: c, image: other.test/x:1}]}}\n";
  registry.ClearLog();
  for (const std::string& objects : {two, kList + "functionConfig: {kind: ConfigMap, data: {pin: 'true'}}\nitems: [{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, "
                                          "spec: {template: {spec: {containers: [{name: a, image: other.test/x:1}, {name: b, image: img}]}}}}]\n"}) {
    EXPECT_EQ(Run({"--pin", "--creds", "alice:canary"}, objects), 2);
    EXPECT_THAT(err(), HasSubstr("--creds is for one registry; the images are of "));
    EXPECT_THAT(err(), Not(HasSubstr("canary")));
  }
  EXPECT_THAT(registry.log(), IsEmpty());
  EXPECT_EQ(Run({"--pin", "--creds", "alice:canary"}, with("hostNetwork: false")), 0) << err();
  // A function that asks for it by itself.
  EXPECT_EQ(Run({"--authfile", "auth.json"}, kList + "functionConfig: {kind: ConfigMap, data: {pin: 'true'}}\nitems:\n- " + with("hostNetwork: false")), 0) << err();
  EXPECT_THAT(out(), AllOf(HasSubstr("kind: ResourceList"), HasSubstr("/team/app:v1@" + digest), HasSubstr("severity: info")));
}

}  // namespace
}  // namespace berth::cli
