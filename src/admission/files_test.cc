// Files and the KRM function.
#include "admission/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "admission/testing/fakes.h"

namespace berth::admission {
namespace {

using testing::DigestOf;
using testing::FakeRegistry;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Files : public ::testing::Test {
 protected:
  Files() { settings_.digests = [this] { return &cache_; }; }
  std::vector<Admitted> Admit(const std::string& text, const std::string& old = "") {
    documents_ = *yaml::Parse(text, "f.yaml", Reason::kUsage);
    std::vector<yaml::Document> before;
    if (!old.empty()) before = *yaml::Parse(old, "old.yaml", Reason::kUsage);
    return AdmitDocuments({}, documents_, "f.yaml", settings_, facts_, old.empty() ? nullptr : &before);
  }
  Result<FunctionReply> Function(const std::string& text) {
    documents_ = *yaml::Parse(text, "-", Reason::kUsage);
    FileFacts facts;
    return RunFunction({}, documents_.front(), settings_, facts);
  }
  FakeRegistry registry_;
  DigestCache cache_{registry_, time::SystemClock()};
  Settings settings_{.options = FileOptions(true), .ns = "default", .digests = {}};
  FileFacts facts_;
  std::vector<yaml::Document> documents_;
};

constexpr std::string_view kAccount = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: builder, namespace: shop}, imagePullSecrets: [{name: regcred}]}\n---\n";

TEST_F(Files, BecomeWhatWouldBeStored) {
  const auto out = Admit(std::string(kAccount) + "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec:\n  serviceAccountName: builder\n  containers:\n  - {name: c, image: 'x:v1'}\n");
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0].Title(), "ServiceAccount shop/builder");
  EXPECT_FALSE(out[1].outcome.denied);
  EXPECT_EQ(out[1].line, 3);
  EXPECT_THAT(out[1].outcome.warnings, IsEmpty());
  std::vector<std::string> said;
  for (const Change& c : out[1].outcome.changes) said.push_back(Describe(c));
  EXPECT_THAT(said, ::testing::Contains("spec.containers[0].imagePullPolicy: IfNotPresent (Defaults: the tag is v1, not latest)"));
  EXPECT_THAT(said, ::testing::Contains("spec.restartPolicy: Always (Defaults: what Kubernetes fills in)"));
  EXPECT_THAT(said, ::testing::Contains("spec.imagePullSecrets: [{\"name\":\"regcred\"}] (ServiceAccount: the Pod lists none, so it has those of its service account builder)"));
  EXPECT_EQ(ToYaml(std::span(out).subspan(1)),
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  containers:\n  - image: x:v1\n    imagePullPolicy: IfNotPresent\n    name: c\n    resources: {}\n"
            "    terminationMessagePath: /dev/termination-log\n    terminationMessagePolicy: File\n  dnsPolicy: ClusterFirst\n  enableServiceLinks: true\n  imagePullSecrets:\n  - name: regcred\n"
            "  restartPolicy: Always\n  schedulerName: default-scheduler\n  securityContext: {}\n  serviceAccount: builder\n  serviceAccountName: builder\n  terminationGracePeriodSeconds: 30\n");
  EXPECT_THAT(Admit(ToYaml(out))[1].outcome.changes, IsEmpty());
}

TEST_F(Files, OfManyKinds) {
  const auto out = Admit("{apiVersion: v1, kind: List, items: [{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {template: {spec: {containers: [{name: c, image: x}]}}}}, "
                         "{apiVersion: example.com/v1, kind: Widget, metadata: {name: w}, spec: {containers: [{image: x}]}}]}\n---\n{apiVersion: extensions/v1beta1, kind: Deployment, metadata: {name: old}}\n---\n"
                         "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {serviceAccountName: absent, containers: [{name: c}]}}\n---\n{a: b}\n");
  ASSERT_EQ(out.size(), 5u);
  EXPECT_EQ(out[0].Title(), "Deployment default/d");
  EXPECT_THAT(PatchJson(out[0].outcome.changes), HasSubstr(R"({"op":"add","path":"/metadata/namespace","value":"default"})"));
  EXPECT_THAT(out[1].outcome.warnings, ElementsAre("kind \"Widget\" of \"example.com/v1\" is not known here: it passes unchanged"));
  EXPECT_THAT(out[1].outcome.changes, IsEmpty());
  EXPECT_THAT(out[2].outcome.warnings, ElementsAre(HasSubstr("\"extensions/v1beta1\" is not known here")));
  ASSERT_TRUE(out[3].outcome.denied);
  EXPECT_EQ(out[3].outcome.ToError().message(), "The Pod \"p\" is invalid: spec.containers[0].image: Required value");
  EXPECT_THAT(out[3].outcome.warnings, ElementsAre("service account default/absent is not in these files: its imagePullSecrets are not known"));
  EXPECT_THAT(out[4].outcome.denied->message, HasSubstr("no Kubernetes object"));
  const std::string yaml = ToYaml(out);
  EXPECT_THAT(yaml, AllOf(HasSubstr("kind: Widget"), Not(HasSubstr("name: p\n")), Not(HasSubstr("a: b"))));
  const auto report = json::Document::Parse(ToJson(out), Reason::kInternal);
  ASSERT_TRUE(report);
  const json::Value objects = *report->root().Find("objects");
  EXPECT_EQ(objects.size(), 5u);
  EXPECT_FALSE(*objects.at(3).Find("allowed")->AsBool());
  EXPECT_FALSE(objects.at(3).Find("object"));
  EXPECT_EQ(*objects.at(3).Find("status")->Find("code")->AsInt64(), 422);
}

TEST_F(Files, AsAnUpdate) {
  const std::string pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: 'x:v1'}]}}";
  settings_.options.always_pull = true;
  const auto stored = ToYaml(Admit(pod));
  EXPECT_THAT(stored, HasSubstr("imagePullPolicy: Always"));
  EXPECT_THAT(PatchJson(Admit(stored, stored)[0].outcome.changes), "[]");
  const auto alone = Admit(pod, "{apiVersion: v1, kind: Pod, metadata: {name: other}}");
  EXPECT_THAT(alone[0].outcome.warnings, ElementsAre("no old object of this name is given: it is created"));
}

TEST_F(Files, HideSecretsInReports) {
  const auto out = Admit("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: canary}}");
  for (const Change& c : out[0].outcome.changes) EXPECT_THAT(Describe(c), AllOf(Not(HasSubstr("canary")), Not(HasSubstr("Y2FuYXJ5"))));
}

// ---- KRM

const std::string kItems =
    "items:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata:\n    name: d\n    annotations: {internal.config.kubernetes.io/path: app/d.yaml, internal.config.kubernetes.io/index: '2'}\n"
    "  spec: {template: {spec: {containers: [{name: c, image: 'reg.test/app:v1'}]}}}\n- {apiVersion: example.com/v1, kind: Widget, metadata: {name: w}}\n";

TEST_F(Files, TheFunctionChangesItemsAndSaysSo) {
  registry_.tags["reg.test/app:v1"] = DigestOf('a');
  const auto reply = Function("apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nfunctionConfig: {apiVersion: v1, kind: ConfigMap, data: {pin: 'true'}}\n" + kItems +
                              "results: [{message: before, severity: info}]\n");
  ASSERT_TRUE(reply) << reply.error().Text();
  EXPECT_FALSE(reply->error);
  const auto out = *yaml::Parse(reply->text, "out", Reason::kInternal);
  const json::Value list = out[0].root();
  EXPECT_EQ(*list.Find("items")->at(0).Find("spec")->Find("template")->Find("spec")->Find("containers")->at(0).Find("image")->AsString(), "reg.test/app:v1@" + DigestOf('a'));
  EXPECT_FALSE(list.Find("items")->at(0).Find("spec")->Find("template")->Find("spec")->Find("restartPolicy")) << "policies only, files stay readable";
  const json::Value results = *list.Find("results");
  EXPECT_EQ(results.at(0).Dump(), R"({"message":"before","severity":"info"})");
  EXPECT_EQ(results.at(1).Dump(),
            R"({"field":{"path":"spec.template.spec.containers[0].imagePullPolicy","proposedValue":"IfNotPresent"},)"
            R"("file":{"index":2,"path":"app/d.yaml"},"message":"Defaults: the tag is v1, not latest",)"
            R"("resourceRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d","namespace":"default"},"severity":"info"})");
  EXPECT_EQ(*results.at(results.size() - 1).Find("severity")->AsString(), "warning");
}

TEST_F(Files, TheFunctionDeniesAndLeavesTheItem) {
  const auto reply = Function("apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nfunctionConfig: {apiVersion: v1, kind: ConfigMap, data: {pin: 'true', defaults: None}}\n" + kItems);
  ASSERT_TRUE(reply);
  ASSERT_TRUE(reply->error);
  EXPECT_EQ(reply->error->reason(), Reason::kNotFound);
  EXPECT_THAT(reply->text, AllOf(HasSubstr("image: reg.test/app:v1\n"), HasSubstr("severity: error")));
}

struct FunctionRow {
  std::string name, text, says;
};
std::ostream& operator<<(std::ostream& out, const FunctionRow& r) { return out << r.name; }
class BadFunctions : public Files, public ::testing::WithParamInterface<FunctionRow> {};
TEST_P(BadFunctions, AreRefused) {
  const auto reply = Function(GetParam().text);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().reason(), Reason::kUsage);
  EXPECT_THAT(reply.error().message(), HasSubstr(GetParam().says));
}
const std::string kHead = "{apiVersion: config.kubernetes.io/v1, kind: ResourceList, ";
INSTANTIATE_TEST_SUITE_P(All, BadFunctions,
                         ::testing::Values(FunctionRow{"kind", "{apiVersion: v1, kind: List}", "ResourceList of config.kubernetes.io/v1"},
                                           FunctionRow{"version", "{apiVersion: config.kubernetes.io/v1alpha1, kind: ResourceList}", "ResourceList of config.kubernetes.io/v1"},
                                           FunctionRow{"items", kHead + "items: {}}", "items must be a list"},
                                           FunctionRow{"config_kind", kHead + "functionConfig: {kind: Secret}}", "must be a ConfigMap"},
                                           FunctionRow{"setting", kHead + "functionConfig: {kind: ConfigMap, data: {pinn: 'true'}}}", "no setting \"pinn\""},
                                           FunctionRow{"flag", kHead + "functionConfig: {kind: ConfigMap, data: {pin: 'yes'}}}", "pin is \"yes\", one of true, false is wanted"},
                                           FunctionRow{"type", kHead + "functionConfig: {kind: ConfigMap, data: {pin: true}}}", "must be a string"},
                                           FunctionRow{"profile", kHead + "functionConfig: {kind: ConfigMap, data: {profile: kubelet}}}", "one of Documented, Kubelet"}),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace berth::admission
