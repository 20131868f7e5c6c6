#include "kube/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "kube/quantity.h"
#include "kube/status.h"
#include "kube/timestamp.h"

namespace berth::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

json::Document Read(std::string_view text) {
  auto document = json::Document::Parse(text, Reason::kUsage);
  EXPECT_TRUE(document) << text;
  return *std::move(document);
}
Object Made(std::string_view text) {
  const auto parsed = ParseObject(Read(text).root());
  EXPECT_TRUE(parsed) << parsed.error().Text();
  return (*parsed).object;
}

struct Row {
  std::string name, json, says;
};
void PrintTo(const Row& r, std::ostream* out) { *out << r.name; }
std::string NameOf(const ::testing::TestParamInfo<Row>& row) { return row.param.name; }

class WrongTypes : public ::testing::TestWithParam<Row> {};
TEST_P(WrongTypes, AreCalledWhatTheApiServerCallsThem) {
  const auto parsed = ParseObject(Read(GetParam().json).root());
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message(), GetParam().says);
  EXPECT_EQ(parsed.error().reason(), Reason::kUsage);
}

std::string PodWith(std::string_view spec) { return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":)" + std::string(spec) + "}"; }
std::string Json(std::string_view what) { return "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal " + std::string(what); }

INSTANTIATE_TEST_SUITE_P(
    Rows, WrongTypes,
    ::testing::Values(
        Row{"StringForBool", PodWith(R"({"hostNetwork":"yes"})"), Json("string into Go struct field PodSpec.spec.hostNetwork of type bool")},
        Row{"StringForList", PodWith(R"({"containers":"a"})"), Json("string into Go struct field PodSpec.spec.containers of type []v1.Container")},
        Row{"BoolForText", PodWith(R"({"containers":[{"image":true}]})"), Json("bool into Go struct field Container.spec.containers.image of type string")},
        Row{"NumberForPolicy", PodWith(R"({"containers":[{"imagePullPolicy":1}]})"), Json("number into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy")},
        Row{"NumberForLabel", R"({"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"a":1}}})", Json("number into Go struct field ObjectMeta.metadata.labels of type string")},
        Row{"ListForLabels", R"({"apiVersion":"v1","kind":"Pod","metadata":{"labels":[]}})", Json("array into Go struct field ObjectMeta.metadata.labels of type map[string]string")},
        Row{"FractionForInt", PodWith(R"({"priority":1.5})"), Json("number 1.5 into Go struct field PodSpec.spec.priority of type int32")},
        Row{"TooLargeForInt32", PodWith(R"({"priority":3000000000})"), Json("number 3000000000 into Go struct field PodSpec.spec.priority of type int32")},
        Row{"TextForStruct", PodWith("\"a\""), Json("string into Go struct field Pod.spec of type v1.PodSpec")},
        Row{"ObjectForEnv", PodWith(R"({"containers":[{"env":[{"name":"a","value":{}}]}]})"), Json("object into Go struct field EnvVar.spec.containers.env.value of type string")},
        Row{"ListForLimits", PodWith(R"({"containers":[{"resources":{"limits":[]}}]})"), Json("array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList")},
        Row{"Quantity", PodWith(R"({"containers":[{"resources":{"limits":{"cpu":"1x"}}}]})"),
            "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
        Row{"Base64", R"({"apiVersion":"v1","kind":"Secret","data":{"a":"%"}})", "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data in data[a]"},
        Row{"NoKind", R"({"apiVersion":"v1"})", "Object 'Kind' is missing"}, Row{"NoVersion", R"({"kind":"Pod"})", "Object 'apiVersion' is missing"},
        Row{"OtherKind", R"({"apiVersion":"v1","kind":"Widget"})", "no matches for kind \"Widget\" in version \"v1\""},
        Row{"OtherVersion", R"({"apiVersion":"v2","kind":"Pod"})", "no matches for kind \"Pod\" in version \"v2\""}, Row{"NoObject", "[]", "an object is wanted (apiVersion, kind, metadata, …)"}),
    NameOf);

TEST(Parse, WarnsOfUnknownFieldsAndKeepsThem) {
  const auto document = Read(PodWith(
      R"({"contaners":[],"containers":[{"name":"a","imag":"b","env":[{"nam":"x"}]}],"affinity":{"any":{"thing":1}},"volumes":[{"name":"v","csi":{"x":1}}]})"));
  const auto parsed = ParseObject(document.root());
  ASSERT_TRUE(parsed) << parsed.error().Text();
  std::vector<std::string> messages;
  for (const Mistake& m : (*parsed).unknown) messages.push_back(m.message);
  EXPECT_THAT(messages, ElementsAre(R"(unknown field "spec.containers[0].env[0].nam")", R"(unknown field "spec.containers[0].imag")", R"(unknown field "spec.contaners")"));
  EXPECT_EQ((*parsed).object.json, document.root().Dump());
}

TEST(Parse, NullsAreAbsent) {
  const Pod pod = ReadPod(Made(
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","labels":null,"creationTimestamp":null},"spec":{"containers":[null,{"name":"a","env":null}],"volumes":null}})"));
  EXPECT_FALSE(pod.metadata.creation_timestamp);
  ASSERT_EQ(pod.spec.containers.size(), 2u);
  EXPECT_EQ(pod.spec.containers[1].name, "a");
}

TEST(Parse, ReadsAPodWhole) {
  const Pod pod = ReadPod(Made(
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"u","resourceVersion":"7","generation":3,"labels":{"a":"b"},
    "annotations":{"c":"d"},"finalizers":["x/y"],"creationTimestamp":"2026-11-25T13:58:12Z","deletionGracePeriodSeconds":5,"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"o","uid":"q","controller":true}]},
    "spec":{"hostNetwork":true,"restartPolicy":"OnFailure","imagePullSecrets":[{"name":"s"},{}],"serviceAccountName":"sa","terminationGracePeriodSeconds":7,"nodeSelector":{"k":"v"},
      "securityContext":{"runAsUser":5,"fsGroup":6,"supplementalGroups":[1,2],"sysctls":[{"name":"a","value":"b"}]},"tolerations":[{"key":"k","operator":"Exists"}],"hostAliases":[{"ip":"1.2.3.4","hostnames":["h"]}],"dnsConfig":{"nameservers":["9.9.9.9"],"options":[{"name":"ndots","value":"2"}]},
      "initContainers":[{"name":"i","image":"im","restartPolicy":"Always"}],"ephemeralContainers":[{"name":"e","image":"x","targetContainerName":"c"}],
      "containers":[{"name":"c","image":"img:1","imagePullPolicy":"Never","command":["a"],"args":["b","c"],"workingDir":"/w","stdin":true,"tty":true,
        "env":[{"name":"A","value":"1"},{"name":"B","valueFrom":{"secretKeyRef":{"name":"s","key":"k","optional":true}}},{"name":"C","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}],
        "envFrom":[{"prefix":"P_","configMapRef":{"name":"m"}}],"ports":[{"name":"http","containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":1,"memory":"1Gi"}},
        "volumeMounts":[{"name":"v","mountPath":"/m","subPath":"s","readOnly":true,"mountPropagation":"HostToContainer"}],"livenessProbe":{"exec":{"command":["x"]}},
        "lifecycle":{"preStop":{"exec":{"command":["bye"]}},"postStart":{"sleep":{"seconds":3}}},"securityContext":{"privileged":true,"capabilities":{"add":["NET_ADMIN"],"drop":["ALL"]},"seccompProfile":{"type":"RuntimeDefault"}}}],
      "volumes":[{"name":"v","emptyDir":{"medium":"Memory","sizeLimit":"1Mi"}},{"name":"h","hostPath":{"path":"/p","type":"Directory"}},{"name":"i","image":{"reference":"r","pullPolicy":"Always"}},
        {"name":"s","secret":{"secretName":"sec","defaultMode":256,"items":[{"key":"k","path":"p","mode":288}]}},{"name":"pr",
"projected":{"sources":[{"configMap":{"name":"cm"}},{"serviceAccountToken":{"path":"token","expirationSeconds":600}},{"downwardAPI":{"items":[{"path":"d","fieldRef":{"fieldPath":"metadata.labels"}}]}}]}},{"name":"n","nfs":{"server":"s"}}]},
    "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}],"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-11-25T13:58:12Z"}],
      "containerStatuses":[{"name":"c","image":"img:1","imageID":"sha","restartCount":2,"ready":true,"state":{"waiting":{"reason":"ImagePullBackOff","message":"m"}},"lastState":{"terminated":{"exitCode":1,"reason":"Error","finishedAt":"2026-11-25T13:58:12Z"}},
        "volumeMounts":[{"name":"i","mountPath":"/i","volumeStatus":{"image":{"imageRef":"ref"}}}]}]}})"));
  EXPECT_EQ(pod.metadata.ns, "n");
  EXPECT_EQ(pod.metadata.generation, 3);
  EXPECT_EQ(FormatTime(*pod.metadata.creation_timestamp), "2026-11-25T13:58:12Z");
  EXPECT_TRUE(pod.metadata.owner_references[0].controller);
  EXPECT_TRUE(pod.spec.host_network);
  EXPECT_THAT(pod.spec.image_pull_secrets, ElementsAre("s", ""));
  EXPECT_EQ(pod.spec.termination_grace_period_seconds, 7);
  EXPECT_EQ(pod.spec.security_context.fs_group, 6);
  EXPECT_THAT(pod.spec.security_context.supplemental_groups, ElementsAre(1, 2));
  EXPECT_EQ(pod.spec.init_containers[0].restart_policy, "Always");
  EXPECT_EQ(pod.spec.ephemeral_containers[0].target_container_name, "c");
  EXPECT_EQ(pod.spec.dns_config.options[0].second, "2");
  const Container& c = pod.spec.containers[0];
  EXPECT_THAT(c.args, ElementsAre("b", "c"));
  EXPECT_TRUE(c.in && c.tty && c.has_liveness_probe && !c.has_startup_probe);
  EXPECT_TRUE(c.env[1].secret_key->optional);
  EXPECT_EQ(c.env[2].field->field_path, "metadata.name");
  EXPECT_EQ(c.env_from[0].config_map, "m");
  EXPECT_EQ(c.resources.limits.at("cpu"), "1");
  EXPECT_EQ(c.volume_mounts[0].mount_propagation, "HostToContainer");
  EXPECT_THAT(c.pre_stop->exec, ElementsAre("bye"));
  EXPECT_EQ(c.post_start->sleep_seconds, 3);
  EXPECT_TRUE(*c.security_context->privileged);
  EXPECT_EQ(c.security_context->seccomp->type, "RuntimeDefault");
  using Kind = Volume::Kind;
  std::vector<Kind> kinds;
  for (const Volume& v : pod.spec.volumes) kinds.push_back(v.kind);
  EXPECT_THAT(kinds, ElementsAre(Kind::kEmptyDir, Kind::kHostPath, Kind::kImage, Kind::kFiles, Kind::kFiles, Kind::kUnsupported));
  EXPECT_EQ(pod.spec.volumes[3].default_mode, 256);
  EXPECT_EQ(*pod.spec.volumes[3].files[0].items[0].mode, 288);
  ASSERT_EQ(pod.spec.volumes[4].files.size(), 3u);
  EXPECT_EQ(pod.spec.volumes[4].files[1].expiration_seconds, 600);
  EXPECT_EQ(pod.spec.volumes[5].source, "nfs");
  const ContainerStatus& s = pod.status.container_statuses[0];
  EXPECT_EQ(s.state.waiting->reason, "ImagePullBackOff");
  EXPECT_EQ(s.last_state.terminated->exit_code, 1);
  EXPECT_EQ(s.volume_mounts[0].image_ref, "ref");
  EXPECT_TRUE(pod.status.conditions[0].last_transition_time);
}

TEST(Parse, ReadsTheOthers) {
  const Secret secret = ReadSecret(Made(R"({"apiVersion":"v1","kind":"Secret","type":"Opaque","data":{"a":"aGk=","b":"aG\nk="},"stringData":{"c":"plain"}})"));
  EXPECT_EQ(secret.data.at("a").Reveal(), "hi");
  EXPECT_EQ(secret.data.at("b").Reveal(), "hi");
  EXPECT_EQ(secret.data.at("c").Reveal(), "plain");
  const ServiceAccount account = ReadServiceAccount(Made(
      R"({"apiVersion":"v1","kind":"ServiceAccount","imagePullSecrets":[{"name":"a"},{"name":"b"}],"automountServiceAccountToken":false})"));
  EXPECT_THAT(account.image_pull_secrets, ElementsAre("a", "b"));
  EXPECT_EQ(account.automount_service_account_token, false);
  EXPECT_EQ(ReadConfigMap(Made(R"({"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"},"binaryData":{"c":"/w=="}})")).binary_data.at("c"), "\xff");
  const Event event = ReadEvent(Made(
      R"({"apiVersion":"v1","kind":"Event","involvedObject":{"kind":"Pod","name":"p"},"type":"Warning",)"
            R"("reason":"Failed","message":"m","count":4,"source":{"component":"kubelet"},"lastTimestamp":"2026-11-25T13:58:12Z"})"));
  EXPECT_EQ(event.count, 4);
  EXPECT_EQ(event.involved.name, "p");
  EXPECT_EQ(ReadNode(Made(R"({"apiVersion":"v1","kind":"Node","status":{"capacity":{"cpu":"2"},"images":[{"names":["a"],"sizeBytes":5}]}})")).images[0].size_bytes, 5);
  EXPECT_EQ(ReadNamespace(Made(R"({"apiVersion":"v1","kind":"Namespace","status":{"phase":"Active"}})")).phase, "Active");
}

TEST(Parse, OpensLists) {
  const auto list = Read(R"({"apiVersion":"v1","kind":"List","items":[{"kind":"Pod"},{"kind":"Secret"}]})");
  EXPECT_EQ(Items(list.root()).size(), 2u);
  EXPECT_EQ(Items(Read(R"({"kind":"Pod"})").root()).size(), 1u);
}

struct Amount {
  std::string text;
  std::optional<std::int64_t> milli, whole;
};
class Quantities : public ::testing::TestWithParam<Amount> {};
TEST_P(Quantities, Read) {
  EXPECT_EQ(Milli(GetParam().text), GetParam().milli);
  EXPECT_EQ(Whole(GetParam().text), GetParam().whole);
  EXPECT_EQ(IsQuantity(GetParam().text), GetParam().milli.has_value());
}
INSTANTIATE_TEST_SUITE_P(Rows, Quantities,
                         ::testing::Values(Amount{"1", 1000, 1}, Amount{"500m", 500, 1}, Amount{"1.5", 1500, 2},
                                           Amount{"1Ki", 1'024'000, 1024}, Amount{"1Gi", 1'073'741'824'000, 1'073'741'824},
                                           Amount{"1e3", 1'000'000, 1000},
                                           Amount{"1E", std::numeric_limits<std::int64_t>::max(), 1'000'000'000'000'000'000},
                                           Amount{"100n", 1, 1}, Amount{"-1", -1000, -1}, Amount{".5", 500, 1},
                                           Amount{"5.", 5000, 5}, Amount{"", {}, {}}, Amount{"m", {}, {}},
                                           Amount{"1x", {}, {}}, Amount{"1 ", {}, {}}, Amount{"1.2.3", {}, {}},
                                           Amount{"1e", {}, {}}, Amount{"0", 0, 0}));

TEST(Timestamp, ReadsRfc3339) {
  for (const char* text : {"2026-11-25T13:58:12Z", "2026-11-25T14:58:12+01:00", "2026-11-25T08:28:12.000-05:30"}) {
    ASSERT_TRUE(ParseTime(text)) << text;
    EXPECT_EQ(FormatTime(*ParseTime(text)), "2026-11-25T13:58:12Z") << text;
  }
  EXPECT_EQ((*ParseTime("1970-01-01T00:00:00.123456789Z")).time_since_epoch().count(), 123456789);
  for (const char* text : {"", "2026-11-25", "2026-11-25T13:58:12", "2026-13-25T13:58:12Z", "2026-02-30T13:58:12Z", "2026-11-25T24:00:00Z", "9999-01-01T00:00:00Z", "2026-11-25T13:58:12.Z", "2026-11-25 13:58:12Z", "2026-11-25T13:58:12Zx"})
    EXPECT_FALSE(ParseTime(text)) << text;
}

TEST(Status, SpeaksAsKubectlPrints) {
  const FieldErrors one{{FieldError::Type::kRequired, "spec.containers[0].image", "", ""}};
  FieldErrors two = one;
  two.push_back({FieldError::Type::kDuplicate, "spec.containers[1].name", "\"a\"", ""});
  EXPECT_EQ(Status::Invalid("Pod", "x", one).ForPeople(), "The Pod \"x\" is invalid: spec.containers[0].image: Required value");
  EXPECT_EQ(Status::Invalid("Pod", "x", one).message, "Pod \"x\" is invalid: spec.containers[0].image: Required value");
  EXPECT_EQ(Status::Invalid("Pod", "x", two).ForPeople(),
            "The Pod \"x\" is invalid: \n* spec.containers[0].image: Required value\n* spec.containers[1].name: Duplicate value: \"a\"");
  EXPECT_EQ(Status::Invalid("Pod", "x", two).message, "Pod \"x\" is invalid: [spec.containers[0].image: Required value, spec.containers[1].name: Duplicate value: \"a\"]");
  EXPECT_EQ(Status::NotFound("pods", "x").ForPeople(), "Error from server (NotFound): pods \"x\" not found");
  EXPECT_EQ(Status::NotFound("pods", "x").Json(),
            R"({"apiVersion":"v1","code":404,"details":{"kind":"pods","name":"x"},"kind":"Status","message":"pods \"x\" not found","metadata":{},"reason":"NotFound","status":"Failure"})");
  EXPECT_EQ(Status::Modified("pods", "x").message,
            "Operation cannot be fulfilled on pods \"x\": the object has been modified; please apply your changes to the latest version and try again");
  EXPECT_EQ(Status::AlreadyExists("pods", "x").ToError().reason(), Reason::kConflict);
  EXPECT_EQ(Status::Internal(Error(Reason::kIo, "disk")).code, 500);
}

}  // namespace
}  // namespace berth::kube
