// Defaults, AlwaysPullImages, ServiceAccount, and the patch that says what they did. Vectors: kubelet-images 2.3, 3.2, 3.3.
#include "admission/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "admission/testing/fakes.h"
#include "time/testing/manual_clock.h"

namespace berth::admission {
namespace {

using testing::FakeFacts;
using testing::Yaml;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// ---- pull policies by default

struct PolicyRow {
  std::string image, documented, kubelet, why;
};
std::ostream& operator<<(std::ostream& out, const PolicyRow& r) { return out << r.image; }
class Policies : public ::testing::TestWithParam<PolicyRow> {};
TEST_P(Policies, AreFilledInByTheTagInBothProfiles) {
  for (const bool documented : {true, false}) {
    json::Tree pod = Yaml("{apiVersion: v1, kind: Pod, spec: {containers: [{name: c}], volumes: [{name: v, image: {}}]}}");
    json::Tree& spec = *pod.Find("spec");
    spec.Find("containers")->items()[0]["image"] = json::Tree(GetParam().image);
    (*spec.Find("volumes")->items()[0].Find("image"))["reference"] = json::Tree(GetParam().image);
    const Options options{.fill = Options::Defaults::kPolicies, .defaults = {.digest_beats_latest = documented}};
    const Outcome out = Admission(options, {}).Admit({}, pod, {});
    ASSERT_EQ(out.changes.size(), 2u);
    const std::string want = documented ? GetParam().documented : GetParam().kubelet;
    EXPECT_EQ(out.changes[0].place.field, "spec.containers[0].imagePullPolicy");
    EXPECT_EQ(out.changes[1].place.field, "spec.volumes[0].image.pullPolicy");
    for (const Change& c : out.changes) EXPECT_EQ(c.after->text(), want) << documented;
    if (documented) {
      EXPECT_EQ(out.changes[0].why, GetParam().why);
    }
  }
}
const std::string kHex = "@sha256:" + std::string(64, 'a');
INSTANTIATE_TEST_SUITE_P(Spec21, Policies,
                         ::testing::Values(PolicyRow{"x", "Always", "Always", "no tag means latest"}, PolicyRow{"x:latest", "Always", "Always", "the tag is latest"},
                                           PolicyRow{"host:5000/x", "Always", "Always", "no tag means latest"},
                                           PolicyRow{"x:v1", "IfNotPresent", "IfNotPresent", "the tag is v1, not latest"},
                                           PolicyRow{"x" + kHex, "IfNotPresent", "IfNotPresent", "a digest is given"},
                                           PolicyRow{"x:latest" + kHex, "IfNotPresent", "Always", "a digest is given"},
                                           PolicyRow{"Foo", "IfNotPresent", "IfNotPresent", "the image is no name"},
                                           PolicyRow{"$(IMG)", "IfNotPresent", "IfNotPresent", "the image is no name"},
                                           PolicyRow{"", "IfNotPresent", "IfNotPresent", "the image is no name"}),
                         [](const auto& row) { return "n" + std::to_string(row.index); });

constexpr std::string_view kPodSpec =
    "{initContainers: [{name: i, image: busybox}], containers: [{name: c, image: 'image:v1'}, {name: d, image: 'image:latest', imagePullPolicy: Never}], "
    "ephemeralContainers: [{name: e, image: image}], volumes: [{name: v, image: {reference: 'image:v1'}}, {name: w, image: {reference: image}}, {name: x}]}";
struct KindRow {
  std::string kind, api_version, before, after, path;
};
std::ostream& operator<<(std::ostream& out, const KindRow& r) { return out << r.kind; }
class Kinds : public ::testing::TestWithParam<KindRow> {};
TEST_P(Kinds, HaveTheirTemplatesFilledIn) {
  const KindRow& r = GetParam();
  const json::Tree object = Yaml("{apiVersion: " + r.api_version + ", kind: " + r.kind + ", " + r.before + std::string(kPodSpec) + r.after + "}");
  const Outcome out = Admission({.fill = Options::Defaults::kPolicies}, {}).Admit({}, object, {});
  ASSERT_FALSE(out.denied);
  std::vector<std::string> said;
  for (const Change& c : out.changes) said.push_back(c.place.field.substr(r.path.size()) + " " + std::string(c.after->text()));
  EXPECT_THAT(said, ElementsAre(".initContainers[0].imagePullPolicy Always", ".containers[0].imagePullPolicy IfNotPresent", ".ephemeralContainers[0].imagePullPolicy Always",
                                ".volumes[0].image.pullPolicy IfNotPresent", ".volumes[1].image.pullPolicy Always"));
  EXPECT_TRUE(out.changes.front().place.field.starts_with(r.path));
  EXPECT_THAT(Admission({.fill = Options::Defaults::kPolicies}, {}).Admit({}, out.object, {}).changes, IsEmpty());
  // All defaults: the same policies, and an emptyDir where a volume has no source (2.3).
  const Outcome all = Admission({.fill = Options::Defaults::kAll}, {}).Admit({}, object, {.ns = "shop"});
  EXPECT_THAT(PatchJson(all.changes), HasSubstr("/volumes/2/emptyDir\",\"value\":{}}"));
  EXPECT_EQ(all.object.Find("metadata"), nullptr) << "there was none to put a namespace in";
  EXPECT_THAT(Admission({.fill = Options::Defaults::kAll}, {}).Admit({}, all.object, {.ns = "shop"}).changes, IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(
    All, Kinds,
    ::testing::Values(KindRow{"Pod", "v1", "spec: ", "", "spec"}, KindRow{"PodTemplate", "v1", "template: {spec: ", "}", "template.spec"},
                      KindRow{"ReplicationController", "v1", "spec: {template: {spec: ", "}}", "spec.template.spec"},
                      KindRow{"Deployment", "apps/v1", "spec: {template: {spec: ", "}}", "spec.template.spec"},
                      KindRow{"StatefulSet", "apps/v1", "spec: {template: {spec: ", "}}", "spec.template.spec"},
                      KindRow{"DaemonSet", "apps/v1", "spec: {template: {spec: ", "}}", "spec.template.spec"},
                      KindRow{"ReplicaSet", "apps/v1", "spec: {template: {spec: ", "}}", "spec.template.spec"},
                      KindRow{"Job", "batch/v1", "spec: {template: {spec: ", "}}", "spec.template.spec"},
                      KindRow{"CronJob", "batch/v1", "spec: {jobTemplate: {spec: {template: {spec: ", "}}}}", "spec.jobTemplate.spec.template.spec"}),
    [](const auto& row) { return row.param.kind; });

TEST(Policies, OfAFullReplacementAreFilledInAnew) {  // 2.3, the two PUT rows
  const Options options{.fill = Options::Defaults::kAll, .validate = true};
  const auto update = [&](const std::string& now, const std::string& then) {
    const json::Tree old = Yaml(then);
    return Admission(options, {}).Admit({}, Yaml(now), {.operation = Request::Operation::kUpdate, .ns = "default", .old = &old});
  };
  const std::string pod = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: default}, spec: {containers: [{name: c, ";
  const Outcome stored = Admission(options, {}).Admit({}, Yaml(pod + "image: 'x:v1'}]}}"), {.ns = "default"});
  ASSERT_FALSE(stored.denied) << stored.denied->message;
  const Outcome put = update(pod + "image: 'x:latest'}]}}", stored.object.Dump());
  ASSERT_TRUE(put.denied);
  EXPECT_THAT(put.denied->message, HasSubstr("pod updates may not change fields other than"));
  EXPECT_EQ(put.ToError().reason(), Reason::kUsage);
  const std::string deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: [{name: c, ";
  const Outcome changed = update(deployment + "image: 'x:latest'}]}}}}", deployment + "image: 'x:v1', imagePullPolicy: IfNotPresent}]}}}}");
  ASSERT_FALSE(changed.denied) << changed.denied->message;
  EXPECT_THAT(changed.object.Dump(), HasSubstr("\"imagePullPolicy\":\"Always\""));
}

struct InvalidRow {
  std::string name, object, says;
};
std::ostream& operator<<(std::ostream& out, const InvalidRow& r) { return out << r.name; }
class Invalid : public ::testing::TestWithParam<InvalidRow> {};
TEST_P(Invalid, HasKubernetesWords) {
  const Outcome out = Admission({.fill = Options::Defaults::kAll, .validate = true}, {}).Admit({}, Yaml(GetParam().object), {.ns = "default"});
  ASSERT_TRUE(out.denied);
  EXPECT_THAT(out.denied->message, HasSubstr(GetParam().says));
  EXPECT_THAT(out.denied->code, ::testing::AnyOf(400, 422));
}
// kubelet-images 2.2: what is for Pods only is not said of templates (the last two are of fields that both have).
INSTANTIATE_TEST_SUITE_P(
    Spec22, Invalid,
    ::testing::Values(
        InvalidRow{"lower_case", "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: x, imagePullPolicy: always}]}}",
                   R"(spec.containers[0].imagePullPolicy: Unsupported value: "always": supported values: "Always", "IfNotPresent", "Never")"},
        InvalidRow{"no_image", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: [{name: c}]}}}}",
                   "spec.template.spec.containers[0].image: Required value"},
        InvalidRow{"space", "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: ' x'}]}}", "must not have leading or trailing whitespace"},
        InvalidRow{"reference", "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: x}], volumes: [{name: v, image: {}}]}}",
                   "spec.volumes[0].image.reference: Required value"},
        InvalidRow{"cron", "{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: x, imagePullPolicy: no}]}}}}}}",
                   "CronJob in version \"v1\" cannot be handled as a CronJob: json: cannot unmarshal bool"},
        InvalidRow{"list", "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: {}}}", "unable to be converted"},
        InvalidRow{"nothing", "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: a}, spec: {}}", "spec.template.spec.containers: Required value"}),
    [](const auto& row) { return row.param.name; });

// ---- AlwaysPullImages

struct AlwaysRow {
  std::string name, old, object, documented, kubelet;  // patches
  std::string subresource;
};
std::ostream& operator<<(std::ostream& out, const AlwaysRow& r) { return out << r.name; }
class AlwaysPullImages : public ::testing::TestWithParam<AlwaysRow> {};
TEST_P(AlwaysPullImages, AsSpecified) {
  const AlwaysRow& r = GetParam();
  const auto whole = [](const std::string& spec) { return Yaml("{apiVersion: v1, kind: Pod, metadata: {name: '123'}, spec: " + spec + "}"); };
  for (const bool documented : {true, false}) {
    const Admission plugin({.always_pull = true, .always = {.ephemeral_containers = documented}}, {});
    json::Tree old;
    Request request{.subresource = r.subresource};
    if (!r.old.empty()) {
      old = whole(r.old);
      request.operation = Request::Operation::kUpdate;
      request.old = &old;
    }
    const Outcome out = plugin.Admit({}, whole(r.object), request);
    ASSERT_FALSE(out.denied) << out.denied->message;
    EXPECT_EQ(PatchJson(out.changes), documented ? r.documented : r.kubelet);
    EXPECT_THAT(plugin.Admit({}, out.object, request).changes, IsEmpty());
  }
}
std::string Patches(std::initializer_list<std::pair<const char*, const char*>> operations) {
  std::string out;
  for (const auto& [op, path] : operations)
    out += std::string(out.empty() ? "" : ",") + R"({"op":")" + op + R"(","path":")" + path + R"(","value":"Always"})";
  return "[" + out + "]";
}
const std::string kFour = "[{name: a, image: i}, {name: b, image: i, imagePullPolicy: Never}, {name: c, image: i, imagePullPolicy: IfNotPresent}, {name: d, image: i, imagePullPolicy: Always}]";
INSTANTIATE_TEST_SUITE_P(
    Spec32, AlwaysPullImages,
    ::testing::Values(
        AlwaysRow{"create", "",
                  "{initContainers: " + kFour + ", containers: " + kFour + ", volumes: [{name: v, image: {reference: r, pullPolicy: Never}}, {name: w, image: {reference: r}}, {name: x, emptyDir: {}}]}",
                  Patches({{"add", "/spec/initContainers/0/imagePullPolicy"}, {"replace", "/spec/initContainers/1/imagePullPolicy"}, {"replace", "/spec/initContainers/2/imagePullPolicy"},
                           {"add", "/spec/containers/0/imagePullPolicy"}, {"replace", "/spec/containers/1/imagePullPolicy"}, {"replace", "/spec/containers/2/imagePullPolicy"},
                           {"replace", "/spec/volumes/0/image/pullPolicy"}, {"add", "/spec/volumes/1/image/pullPolicy"}}),
                  Patches({{"add", "/spec/initContainers/0/imagePullPolicy"}, {"replace", "/spec/initContainers/1/imagePullPolicy"}, {"replace", "/spec/initContainers/2/imagePullPolicy"},
                           {"add", "/spec/containers/0/imagePullPolicy"}, {"replace", "/spec/containers/1/imagePullPolicy"}, {"replace", "/spec/containers/2/imagePullPolicy"},
                           {"replace", "/spec/volumes/0/image/pullPolicy"}, {"add", "/spec/volumes/1/image/pullPolicy"}}),
                  ""},
        AlwaysRow{"create_with_ephemeral", "", "{ephemeralContainers: [{name: e, image: x}]}", Patches({{"add", "/spec/ephemeralContainers/0/imagePullPolicy"}}),
                  Patches({{"add", "/spec/ephemeralContainers/0/imagePullPolicy"}}), ""},
        AlwaysRow{"update_annotations", "{containers: [{name: c, image: a, imagePullPolicy: IfNotPresent}]}", "{containers: [{name: c, image: a, imagePullPolicy: IfNotPresent}]}", "[]", "[]", ""},
        AlwaysRow{"update_image", "{containers: [{name: c, image: a}]}", "{containers: [{name: c, image: b}]}", Patches({{"add", "/spec/containers/0/imagePullPolicy"}}),
                  Patches({{"add", "/spec/containers/0/imagePullPolicy"}}), ""},
        AlwaysRow{"update_exchange", "{containers: [{name: c, image: a}, {name: d, image: b}]}", "{containers: [{name: c, image: b}, {name: d, image: a}]}", "[]", "[]", ""},
        AlwaysRow{"update_from_init", "{initContainers: [{name: i, image: b}], containers: [{name: c, image: a}]}", "{initContainers: [{name: i, image: b}], containers: [{name: c, image: b}]}", "[]", "[]", ""},
        AlwaysRow{"update_volume_only", "{containers: [{name: c, image: a}]}", "{containers: [{name: c, image: a}], volumes: [{name: v, image: {reference: new}}]}", "[]", "[]", ""},
        AlwaysRow{"ephemeral_subresource", "{containers: [{name: c, image: a, imagePullPolicy: Never}], ephemeralContainers: [{name: e, image: a, imagePullPolicy: Never}]}",
                  "{containers: [{name: c, image: a, imagePullPolicy: Never}], ephemeralContainers: [{name: e, image: a, imagePullPolicy: Never}, {name: f, image: a, imagePullPolicy: Never}]}",
                  Patches({{"replace", "/spec/ephemeralContainers/1/imagePullPolicy"}}), "[]", "ephemeralcontainers"},
        AlwaysRow{"another_subresource", "", "{containers: [{name: c, image: a}]}", "[]", "[]", "finalizers"}),
    [](const auto& row) { return row.param.name; });

TEST(AlwaysPullImages, IsForPodsOnly) {
  const json::Tree deployment = Yaml("{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{name: c, image: x}]}}}}");
  EXPECT_THAT(Admission({.always_pull = true}, {}).Admit({}, deployment, {}).changes, IsEmpty());
  const json::Tree foo = Yaml("{apiVersion: v1, kind: Foo, spec: {containers: [{name: c, image: x}]}}");
  EXPECT_THAT(Admission({.always_pull = true}, {}).Admit({}, foo, {}).changes, IsEmpty());
}

TEST(AlwaysPullImages, JudgesInOrderAndInKubernetesWords) {
  const Admission judge({.always_pull = true, .mutate = false}, {});
  const json::Tree pod = Yaml("{apiVersion: v1, kind: Pod, metadata: {name: '123'}, spec: {initContainers: " + kFour + ", containers: [{name: x, image: i, imagePullPolicy: Always}], "
                              "ephemeralContainers: [{name: e, image: i, imagePullPolicy: Never}], volumes: [{name: v, image: {reference: r}}]}}");
  const Outcome out = judge.Admit({}, pod, {});
  ASSERT_TRUE(out.denied);
  EXPECT_EQ(out.denied->code, 403);
  EXPECT_EQ(out.denied->message,
            R"([pods "123" is forbidden: spec.initContainers[0].imagePullPolicy: Unsupported value: "": supported values: "Always", )"
            R"(pods "123" is forbidden: spec.initContainers[1].imagePullPolicy: Unsupported value: "Never": supported values: "Always", )"
            R"(pods "123" is forbidden: spec.initContainers[2].imagePullPolicy: Unsupported value: "IfNotPresent": supported values: "Always", )"
            R"(pods "123" is forbidden: spec.ephemeralContainers[0].imagePullPolicy: Unsupported value: "Never": supported values: "Always", )"
            R"(pods "123" is forbidden: spec.volumes[0].image.pullPolicy: Unsupported value: "": supported values: "Always"])");
  EXPECT_THAT(out.changes, IsEmpty());
  EXPECT_EQ(out.ToError().reason(), Reason::kPolicy);
  const Outcome one = judge.Admit({}, Yaml("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: i, imagePullPolicy: Never}]}}"), {});
  ASSERT_TRUE(one.denied);
  EXPECT_EQ(one.denied->message, R"(pods "a" is forbidden: spec.containers[0].imagePullPolicy: Unsupported value: "Never": supported values: "Always")");
}

// ---- ServiceAccount

kube::ServiceAccount Account(const std::string& name, std::vector<std::string> pull, bool enforce = false,
                             std::vector<std::string> secrets = {}) {
  kube::ServiceAccount a;
  a.metadata.name = name;
  a.image_pull_secrets = std::move(pull);
  a.secrets = std::move(secrets);
  if (enforce) a.metadata.annotations["kubernetes.io/enforce-mountable-secrets"] = "true";
  return a;
}

struct AccountRow {
  std::string name, metadata, spec;
  std::string want;    // what is in the spec afterwards, or the denial
  bool denied = false;
  std::string subresource;
  bool update = false;
};
std::ostream& operator<<(std::ostream& out, const AccountRow& r) { return out << r.name; }
class ServiceAccounts : public ::testing::TestWithParam<AccountRow> {};
TEST_P(ServiceAccounts, AsSpecified) {
  const AccountRow& r = GetParam();
  FakeFacts facts;
  facts.accounts["shop/default"] = Account("default", {"foo", "bar"});
  facts.accounts["shop/strict"] = Account("strict", {"foo"}, true, {"own"});
  facts.accounts["shop/none"] = Account("none", {}, true);
  const json::Tree pod = Yaml("{apiVersion: v1, kind: Pod, metadata: {name: p, " + r.metadata + "}, spec: " + r.spec + "}");
  Request request{.subresource = r.subresource, .ns = "shop"};
  if (r.update) request.operation = Request::Operation::kUpdate, request.old = &pod;
  const time::testing::ManualClock clock(time::testing::AutoAdvance::kYes);
  const Outcome out = Admission({.accounts = true}, {.facts = &facts}).Admit(task::Context(std::stop_token(), clock), pod, request);
  ASSERT_EQ(out.denied.has_value(), r.denied) << (out.denied ? out.denied->message : out.object.Dump());
  if (r.denied) {
    EXPECT_EQ(out.denied->message, "pods \"p\" is forbidden: " + r.want);
    EXPECT_EQ(out.denied->code, 403);
  } else {
    EXPECT_EQ(out.object.Find("spec")->Dump(), r.want);
  }
  EXPECT_EQ(facts.accounts["shop/default"].image_pull_secrets, (std::vector<std::string>{"foo", "bar"}));
}
const std::string kMirror = "annotations: {kubernetes.io/config.mirror: x}";
INSTANTIATE_TEST_SUITE_P(
    Spec33, ServiceAccounts,
    ::testing::Values(
        AccountRow{"none_listed", "", "{}", R"({"imagePullSecrets":[{"name":"foo"},{"name":"bar"}],"serviceAccount":"default","serviceAccountName":"default"})"},
        AccountRow{"some_listed", "", "{imagePullSecrets: [{name: foo}], serviceAccountName: default}", R"({"imagePullSecrets":[{"name":"foo"}],"serviceAccountName":"default"})"},
        AccountRow{"empty_name_listed", "", "{imagePullSecrets: [{name: ''}], serviceAccountName: default}", R"({"imagePullSecrets":[{"name":""}],"serviceAccountName":"default"})"},
        AccountRow{"enforced_fine", "", "{imagePullSecrets: [{name: foo}], serviceAccountName: strict}", R"({"imagePullSecrets":[{"name":"foo"}],"serviceAccountName":"strict"})"},
        AccountRow{"enforced_not_listed", "", "{imagePullSecrets: [{name: foo}], serviceAccountName: none}",
                   R"(imagePullSecrets[0].name="foo" is not allowed because service account none does not reference that imagePullSecret)", true},
        AccountRow{"enforced_volume", "", "{serviceAccountName: strict, volumes: [{name: v, secret: {secretName: x}}]}",
                   R"(volume with secret.secretName="x" is not allowed because service account strict does not reference that secret)", true},
        AccountRow{"enforced_env", "", "{serviceAccountName: strict, containers: [{name: c, env: [{name: A, valueFrom: {secretKeyRef: {name: own, key: k}}}, {name: B, valueFrom: {secretKeyRef: {name: x, key: k}}}]}]}",
                   R"(container c with envVar B referencing secret.secretName="x" is not allowed because service account strict does not reference that secret)", true},
        AccountRow{"enforced_ephemeral", "", "{serviceAccountName: strict, ephemeralContainers: [{name: e, envFrom: [{secretRef: {name: x}}]}]}",
                   R"(ephemeral container e with envFrom referencing secret.secretName="x" is not allowed because service account strict does not reference that secret)", true, "ephemeralcontainers", true},
        AccountRow{"missing", "", "{serviceAccountName: nobody}", R"(error looking up service account shop/nobody: serviceaccount "nobody" not found)", true},
        AccountRow{"update", "", "{}", "{}", false, "", true}, AccountRow{"subresource", "", "{}", "{}", false, "binding"},
        AccountRow{"mirror", kMirror, "{}", "{}"},
        AccountRow{"mirror_account", kMirror, "{serviceAccountName: default}", "a mirror pod may not reference service accounts", true},
        AccountRow{"mirror_secret", kMirror, "{volumes: [{name: v, secret: {secretName: x}}]}", "a mirror pod may not reference secrets", true},
        AccountRow{"mirror_token", kMirror, "{volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]}",
                   "a mirror pod may not use ServiceAccountToken volume projections", true}),
    [](const auto& row) { return row.param.name; });

TEST(ServiceAccounts, OfAnotherKindOrNothingAreNotAdmitted) {
  FakeFacts facts;
  const Admission plugin({.accounts = true}, {.facts = &facts});
  EXPECT_THAT(plugin.Admit({}, Yaml("{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: []}}}}"), {.ns = "shop"}).changes, IsEmpty());
  EXPECT_THAT(plugin.Admit({}, json::Tree(), {.ns = "shop"}).changes, IsEmpty());
  EXPECT_EQ(facts.account_reads, 0);
}

struct TriesRow {
  std::string account;
  int misses, reads, sleeps;
  bool admitted;
};
std::ostream& operator<<(std::ostream& out, const TriesRow& r) { return out << r.account << r.misses; }
class Tries : public ::testing::TestWithParam<TriesRow> {};
TEST_P(Tries, TenForTheDefaultAccountOneForOthers) {
  FakeFacts facts;
  facts.accounts["shop/default"] = facts.accounts["shop/own"] = Account("x", {});
  facts.misses = GetParam().misses;
  const time::testing::ManualClock clock(time::testing::AutoAdvance::kYes);
  const Admission plugin({.accounts = true, .account = {.random = [] { return 142; }}, .judge = false}, {.facts = &facts});
  const Outcome out = plugin.Admit(task::Context(std::stop_token(), clock), Yaml("{apiVersion: v1, kind: Pod, spec: {serviceAccountName: " + GetParam().account + "}}"), {.ns = "shop"});
  EXPECT_EQ(!out.denied, GetParam().admitted);
  EXPECT_EQ(facts.account_reads, GetParam().reads);
  EXPECT_EQ(clock.sleeps().size(), static_cast<std::size_t>(GetParam().sleeps));
  for (const auto d : clock.sleeps()) EXPECT_EQ(d, std::chrono::milliseconds(142));
}
INSTANTIATE_TEST_SUITE_P(Spec33, Tries,
                         ::testing::Values(TriesRow{"default", 100, 10, 9, false}, TriesRow{"default", 9, 10, 9, true},
                                           TriesRow{"own", 1, 1, 0, false}, TriesRow{"own", 0, 1, 0, true}),
                         [](const auto& row) { return row.param.account + std::to_string(row.param.misses); });

TEST(ServiceAccounts, ThatCannotBeReadAreOurTrouble) {
  FakeFacts facts;
  facts.broken = true;
  const Outcome out = Admission({.accounts = true}, {.facts = &facts}).Admit({}, Yaml("{apiVersion: v1, kind: Pod, spec: {}}"), {.ns = "shop"});
  ASSERT_TRUE(out.denied);
  EXPECT_EQ(out.denied->code, 500);
}

// ---- the patch

struct PatchRow {
  std::string name, before, after, patch;
};
std::ostream& operator<<(std::ostream& out, const PatchRow& r) { return out << r.name; }
class Patching : public ::testing::TestWithParam<PatchRow> {};
TEST_P(Patching, SaysWhatDiffers) {
  Draft draft(Yaml(GetParam().before));
  draft.Rewrite("Test", "why", [&](json::Tree& t) { t = Yaml(GetParam().after); });
  EXPECT_EQ(PatchJson(draft.changes()), GetParam().patch);
}
INSTANTIATE_TEST_SUITE_P(
    All, Patching,
    ::testing::Values(PatchRow{"same", "{a: 1}", "{a: 1}", "[]"}, PatchRow{"add", "{}", "{a: {b: 1}}", R"([{"op":"add","path":"/a","value":{"b":1}}])"},
                      PatchRow{"remove", "{a: 1, b: 2}", "{b: 2}", R"([{"op":"remove","path":"/a"}])"},
                      PatchRow{"item", "{a: [1, {b: 2}]}", "{a: [1, {b: 3}]}", R"([{"op":"replace","path":"/a/1/b","value":3}])"},
                      PatchRow{"length", "{a: [1]}", "{a: [1, 2]}", R"([{"op":"replace","path":"/a","value":[1,2]}])"},
                      PatchRow{"escapes", "{'a/b~c': {d.e: 1}}", "{'a/b~c': {d.e: 2}}", R"([{"op":"replace","path":"/a~1b~0c/d.e","value":2}])"},
                      PatchRow{"null", "{a: null}", "{a: x}", R"([{"op":"replace","path":"/a","value":"x"}])"}),
    [](const auto& row) { return row.param.name; });

TEST(Patching, IsMinimalOverSeveralChanges) {
  Draft draft(Yaml("{spec: {a: x, b: {c: 1}}}"));
  json::Tree& spec = *draft.object().Find("spec");
  const Place at = Place{}.Member("spec");
  draft.Set(spec, at, "a", json::Tree("y"), "P", "one");
  draft.Set(spec, at, "a", json::Tree("z"), "P", "two");                        // one operation
  draft.Set(spec, at, "n", json::Tree::Object(), "P", "three");
  draft.Set(*spec.Find("n"), at.Member("n"), "k.io/x", json::Tree("v"), "P", "four");  // inside the one before
  draft.Set(spec, at, "t", json::Tree("1"), "P", "five");
  draft.Set(*spec.Find("b"), at.Member("b"), "c", json::Tree(2), "P", "six");
  draft.Set(*spec.Find("b"), at.Member("b"), "c", json::Tree(1), "P", "seven");  // as it was
  EXPECT_EQ(draft.changes().size(), 7u);
  EXPECT_EQ(PatchJson(draft.changes()),
            R"([{"op":"replace","path":"/spec/a","value":"z"},{"op":"add","path":"/spec/n","value":{"k.io/x":"v"}},{"op":"add","path":"/spec/t","value":"1"}])");
  EXPECT_EQ(draft.changes()[3].place.field, "spec.n[k.io/x]");
}

TEST(Patching, ReplacesWhatWasChangedInside) {
  Draft draft(Yaml("{a: {b: 1}}"));
  draft.Set(*draft.object().Find("a"), Place{}.Member("a"), "b", json::Tree(2), "P", "one");
  draft.Set(draft.object(), Place{}, "a", json::Tree::Object(), "P", "two");
  draft.Set(*draft.object().Find("a"), Place{}.Member("a"), "b", json::Tree(3), "P", "three");
  EXPECT_EQ(PatchJson(draft.changes()), R"([{"op":"replace","path":"/a","value":{"b":3}}])");
}

TEST(Patching, HidesSecrets) {
  const Outcome out = Admission({.fill = Options::Defaults::kAll}, {}).Admit({}, Yaml("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: canary}}"), {});
  for (const Change& c : out.changes) {
    EXPECT_EQ(ShowAfter(c).find("canary"), std::string::npos);
    EXPECT_EQ(ShowAfter(c).find("Y2FuYXJ5"), std::string::npos) << "its base64";
    EXPECT_EQ(ShowBefore(c).find("canary"), std::string::npos);
  }
  EXPECT_THAT(out.object.Dump(), HasSubstr("Y2FuYXJ5"));
}

}  // namespace
}  // namespace berth::admission
