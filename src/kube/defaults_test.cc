// Defaulting (kubelet-images 2.1, 2.3), validation (2.2, 8.1, 8.2) and merging.
#include "kube/defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "kube/merge.h"
#include "kube/parse.h"
#include "kube/validate.h"

namespace berth::kube {
namespace {

using json::Tree;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json::Document Read(std::string_view text) {
  auto document = json::Document::Parse(text, Reason::kUsage);
  EXPECT_TRUE(document) << text;
  return *std::move(document);
}
Tree ReadTree(std::string_view text) { return Tree(Read(text).root()); }
const std::string kHash = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Policy {
  std::string image, documented, kubelet;
};
void PrintTo(const Policy& p, std::ostream* out) { *out << p.image; }
class PullPolicies : public ::testing::TestWithParam<Policy> {};
TEST_P(PullPolicies, InBothProfiles) {
  EXPECT_EQ(DefaultPullPolicy(GetParam().image), GetParam().documented);
  EXPECT_EQ(DefaultPullPolicy(GetParam().image, {.digest_beats_latest = false}), GetParam().kubelet);
}
INSTANTIATE_TEST_SUITE_P(Spec21, PullPolicies,
                         ::testing::Values(Policy{"x", "Always", "Always"}, Policy{"x:latest", "Always", "Always"}, Policy{"x:v1", "IfNotPresent", "IfNotPresent"},
                                           Policy{"x" + kHash, "IfNotPresent", "IfNotPresent"}, Policy{"x:latest" + kHash, "IfNotPresent", "Always"}, Policy{"Foo", "IfNotPresent", "IfNotPresent"},
                                           Policy{"$(IMG)", "IfNotPresent", "IfNotPresent"}, Policy{"", "IfNotPresent", "IfNotPresent"}, Policy{"busybox", "Always", "Always"}));

struct Row {
  std::string name, before, after;
};
void PrintTo(const Row& r, std::ostream* out) { *out << r.name; }
std::string NameOf(const ::testing::TestParamInfo<Row>& row) { return row.param.name; }

// What defaulting adds inside one member of a Pod's spec (or of another object), found by its path.
struct Filled {
  std::string name, object;
  std::vector<std::string> path;
  std::string wanted;
};
void PrintTo(const Filled& r, std::ostream* out) { *out << r.name; }
class Defaults : public ::testing::TestWithParam<Filled> {};
TEST_P(Defaults, FillWhatIsAbsent) {
  Tree object = ReadTree(GetParam().object);
  DefaultObject(object);
  const Tree once = object;
  DefaultObject(object);
  EXPECT_EQ(object, once) << "defaulting twice";
  const Tree* at = &object;
  for (const std::string& step : GetParam().path) {
    at = at->IsArray() ? &at->items().at(std::stoul(step)) : at->Find(step);
    ASSERT_NE(at, nullptr) << step;
  }
  EXPECT_EQ(at->Dump(), GetParam().wanted);
}
INSTANTIATE_TEST_SUITE_P(
    Spec23, Defaults,
    ::testing::Values(
        Filled{"TemplateInit",
               R"({"kind":"ReplicationController","spec":{"template":{"spec":{"initContainers":[{"image":"busybox"}]}}}})",
               {"spec", "template", "spec", "initContainers", "0", "imagePullPolicy"},
               "\"Always\""},
        Filled{
            "CronJob",
            R"({"kind":"CronJob","spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"image":"image:v1"}]}}}}}})",
            {"spec", "jobTemplate", "spec", "template", "spec", "containers", "0", "imagePullPolicy"},
            "\"IfNotPresent\""},
        Filled{"Tagged",
               R"({"kind":"Pod","spec":{"containers":[{"image":"image:v1"}]}})",
               {"spec", "containers", "0", "imagePullPolicy"},
               "\"IfNotPresent\""},
        Filled{"Latest",
               R"({"kind":"Pod","spec":{"containers":[{"image":"image:latest"}]}})",
               {"spec", "containers", "0", "imagePullPolicy"},
               "\"Always\""},
        Filled{"Ephemeral",
               R"({"kind":"Pod","spec":{"ephemeralContainers":[{"image":"image"}]}})",
               {"spec", "ephemeralContainers", "0", "imagePullPolicy"},
               "\"Always\""},
        Filled{"PolicyStays",
               R"({"kind":"Pod","spec":{"containers":[{"image":"x:latest","imagePullPolicy":"Never"}]}})",
               {"spec", "containers", "0", "imagePullPolicy"},
               "\"Never\""},
        Filled{"ImageVolumeTagged",
               R"({"kind":"Pod","spec":{"volumes":[{"name":"v","image":{"reference":"image:v1"}}]}})",
               {"spec", "volumes", "0", "image", "pullPolicy"},
               "\"IfNotPresent\""},
        Filled{"ImageVolumeLatest",
               R"({"kind":"Pod","spec":{"volumes":[{"name":"v","image":{"reference":"image:latest"}}]}})",
               {"spec", "volumes", "0", "image", "pullPolicy"},
               "\"Always\""},
        Filled{"ImageVolume",
               R"({"kind":"Pod","spec":{"volumes":[{"name":"v","image":{"reference":"image"}}]}})",
               {"spec", "volumes", "0", "image", "pullPolicy"},
               "\"Always\""},
        Filled{"NoSource",
               R"({"kind":"Pod","spec":{"volumes":[{"name":"v"}]}})",
               {"spec", "volumes", "0"},
               R"({"emptyDir":{},"name":"v"})"},
        Filled{
            "Spec",
            R"({"kind":"Pod","spec":{}})",
            {"spec"},
            R"({"dnsPolicy":"ClusterFirst","enableServiceLinks":true,"restartPolicy":"Always","schedulerName":"default-scheduler",)"
            R"("securityContext":{},"terminationGracePeriodSeconds":30})"},
        Filled{
            "Container",
            R"({"kind":"Pod","spec":{"containers":[{"image":"a:1","ports":[{"containerPort":1}],"resources":{"limits":{"cpu":"1"}}}]}})",
            {"spec", "containers", "0"},
            R"({"image":"a:1","imagePullPolicy":"IfNotPresent","ports":[{"containerPort":1,"protocol":"TCP"}],)"
            R"("resources":{"limits":{"cpu":"1"},"requests":{"cpu":"1"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"})"},
        Filled{"SecretVolume",
               R"({"kind":"Pod","spec":{"volumes":[{"name":"v","secret":{"secretName":"s"}}]}})",
               {"spec", "volumes", "0", "secret"},
               R"({"defaultMode":420,"secretName":"s"})"},
        Filled{
            "FieldRef",
            R"({"kind":"Pod","spec":{"containers":[{"env":[{"name":"a","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]}]}})",
            {"spec", "containers", "0", "env", "0", "valueFrom", "fieldRef", "apiVersion"},
            "\"v1\""},
        Filled{"UnknownStays",
               R"({"kind":"Pod","spec":{"containers":[{"image":"a:1","future":{"x":1}}]}})",
               {"spec", "containers", "0", "future"},
               R"({"x":1})"},
        Filled{"SecretType", R"({"kind":"Secret"})", {"type"}, "\"Opaque\""},
        Filled{"StringData",
               R"({"kind":"Secret","data":{"a":"eA=="},"stringData":{"a":"hi","b":""}})",
               {"data"},
               R"({"a":"aGk=","b":""})"},
        Filled{"Base64InLines", R"({"kind":"Secret","data":{"a":"eA\n==\r\n"}})", {"data"}, R"({"a":"eA=="})"},
        Filled{"Namespace",
               R"({"kind":"Namespace","metadata":{"name":"n"}})",
               {"metadata", "labels"},
               R"({"kubernetes.io/metadata.name":"n"})"}),
    [](const auto& row) { return row.param.name; });

// ---- validation

std::vector<std::string> Texts(const FieldErrors& errors) {
  std::vector<std::string> out;
  for (const FieldError& e : errors) out.push_back(e.Text());
  return out;
}
std::string Defaulted(std::string_view text) {
  Tree object = ReadTree(text);
  DefaultObject(object);
  return object.Dump();
}
std::string PodWith(std::string_view spec) {
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","namespace":"default"},"spec":)" + std::string(spec) +
         "}";
}
std::string C(std::string_view more) { return PodWith(R"({"containers":[{"name":"a","image":"i:1",)" + std::string(more) + "}]}"); }
std::string V(std::string_view volume) { return PodWith(R"({"containers":[{"name":"a","image":"i:1"}],"volumes":[)" + std::string(volume) + "]}"); }
std::string SecretWith(std::string_view type, std::string_view data) {
  return R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"default"},"type":")" + std::string(type) + R"(","data":)" + std::string(data) + "}";
}
constexpr const char* kLabel =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
constexpr const char* kSubdomain =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

class Validation : public ::testing::TestWithParam<Row> {};
TEST_P(Validation, SaysWhatTheApiServerSays) {
  const auto document = Read(Defaulted(GetParam().before));
  const std::vector<std::string> texts = Texts(Validate(document.root()));
  if (GetParam().after.empty()) EXPECT_THAT(texts, IsEmpty());
  else EXPECT_THAT(texts, ElementsAre(GetParam().after));
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Validation,
    ::testing::Values(
        Row{"Fine", C(R"("env":[{"name":"A.b-c","value":"1"}])"), ""},
        Row{"NoContainers", PodWith("{}"), "spec.containers: Required value"},
        Row{"NoName",
            R"({"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"default"},"spec":{"containers":[{"name":"a","image":"i"}]}})",
            "metadata.name: Required value: name or generateName is required"},
        Row{"BadName",
            R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"X_","namespace":"default"},"spec":{"containers":[{"name":"a","image":"i"}]}})",
            std::string("metadata.name: Invalid value: \"X_\": ") + kSubdomain},
        Row{"NoImage", PodWith(R"({"containers":[{"name":"a"}]})"), "spec.containers[0].image: Required value"},
        Row{"SpaceInImage", PodWith(R"({"containers":[{"name":"a","image":" i"}]})"),
            "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace"},
        Row{"AnyReference", PodWith(R"({"containers":[{"name":"a","image":"FOO//"}]})"), ""},
        Row{"ContainerName", PodWith(R"({"containers":[{"name":"A","image":"i"}]})"),
            std::string("spec.containers[0].name: Invalid value: \"A\": ") + kLabel},
        Row{"NoContainerName", PodWith(R"({"containers":[{"image":"i"}]})"), "spec.containers[0].name: Required value"},
        Row{"TwoOfAName", PodWith(R"({"containers":[{"name":"a","image":"i"},{"name":"a","image":"i"}]})"),
            "spec.containers[1].name: Duplicate value: \"a\""},
        Row{"InitOfAName",
            PodWith(R"({"containers":[{"name":"a","image":"i"}],"initContainers":[{"name":"a","image":"i"}]})"),
            "spec.initContainers[0].name: Duplicate value: \"a\""},
        Row{"LowerCasePolicy", C(R"("imagePullPolicy":"always")"),
            R"(spec.containers[0].imagePullPolicy: Unsupported value: "always": supported values: "Always", "IfNotPresent", "Never")"},
        Row{"RestartPolicy", PodWith(R"({"restartPolicy":"x","containers":[{"name":"a","image":"i"}]})"),
            R"(spec.restartPolicy: Unsupported value: "x": supported values: "Always", "OnFailure", "Never")"},
        Row{"EmptySecretName", PodWith(R"({"imagePullSecrets":[{}],"containers":[{"name":"a","image":"i"}]})"), ""},
        Row{"MountNotFound", C(R"("volumeMounts":[{"name":"v","mountPath":"/a"}])"),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\""},
        Row{"MountTwice",
            PodWith(
                R"({"volumes":[{"name":"v"}],"containers":[{"name":"a","image":"i","volumeMounts":[{"name":"v","mountPath":"/a"},{"name":"v","mountPath":"/a"}]}]})"),
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique"},
        Row{"SubPathUp",
            PodWith(
                R"({"volumes":[{"name":"v"}],"containers":[{"name":"a","image":"i","volumeMounts":[{"name":"v","mountPath":"/a","subPath":"b/../.."}]}]})"),
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"b/../..\": must not contain '..'"},
        Row{"SubPathAbsolute",
            PodWith(
                R"({"volumes":[{"name":"v"}],"containers":[{"name":"a","image":"i","volumeMounts":[{"name":"v","mountPath":"/a","subPath":"/b"}]}]})"),
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"/b\": must be a relative path"},
        Row{"TwoSources", V(R"({"name":"v","emptyDir":{},"image":{"reference":"r"}})"),
            "spec.volumes[0].image: Forbidden: may not specify more than 1 volume type"},
        Row{"NoReference", V(R"({"name":"v","image":{}})"), "spec.volumes[0].image.reference: Required value"},
        Row{"VolumePolicy", V(R"({"name":"v","image":{"reference":"r","pullPolicy":"x"}})"),
            R"(spec.volumes[0].image.pullPolicy: Unsupported value: "x": supported values: "Always", "IfNotPresent", "Never")"},
        Row{"VolumeTwice", V(R"({"name":"v"},{"name":"v"})"), "spec.volumes[1].name: Duplicate value: \"v\""},
        Row{"HostPath", V(R"({"name":"v","hostPath":{"path":"/a/../b"}})"),
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"},
        Row{"SecretNameMissing", V(R"({"name":"v","secret":{}})"), "spec.volumes[0].secret.secretName: Required value"},
        Row{"Mode", V(R"({"name":"v","secret":{"secretName":"s","defaultMode":1000}})"),
            "spec.volumes[0].secret.defaultMode: Invalid value: 1000: must be a number between 0 and 0777 (octal), both "
            "inclusive"},
        Row{"Port", C(R"("ports":[{"containerPort":70000}])"),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"},
        Row{"Protocol", C(R"("ports":[{"containerPort":1,"protocol":"x"}])"),
            R"(spec.containers[0].ports[0].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP")"},
        Row{"EnvBoth", C(R"("env":[{"name":"A","value":"1","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}])"),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"},
        Row{"EnvName", C(R"("env":[{"name":"a=b"}])"),
            "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of "
            "printable ASCII characters other than '='"},
        Row{"RequestOverLimit", C(R"("resources":{"limits":{"cpu":"1"},"requests":{"cpu":"2"}})"),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"},
        Row{"Deadline", PodWith(R"({"activeDeadlineSeconds":0,"containers":[{"name":"a","image":"i"}]})"),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"},
        Row{"InitLifecycle",
            PodWith(
                R"({"containers":[{"name":"a","image":"i"}],"initContainers":[{"name":"b","image":"i","lifecycle":{}}]})"),
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always"},
        Row{"LabelValue",
            R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"default","labels":{"a":"b c"}}})",
            "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric "
            "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
            "'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"},
        Row{"ConfigKey",
            R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"default"},"data":{"a/b":""}})",
            "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
            "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"},
        Row{"DockerConfigMissing", SecretWith("kubernetes.io/dockerconfigjson", "{}"),
            "data[.dockerconfigjson]: Required value"},
        Row{"DockerCfgMissing", SecretWith("kubernetes.io/dockercfg", R"({".dockerconfigjson":"e30="})"),
            "data[.dockercfg]: Required value"},
        Row{"DockerConfigList", SecretWith("kubernetes.io/dockerconfigjson", R"({".dockerconfigjson":"W10="})"),
            "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": json: cannot unmarshal array into Go "
            "value of type map[string]interface {}"},
        Row{"DockerConfigText", SecretWith("kubernetes.io/dockerconfigjson", R"({".dockerconfigjson":"Ingi"})"),
            "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": json: cannot unmarshal string into Go "
            "value of type map[string]interface {}"},
        Row{"DockerConfigBroken", SecretWith("kubernetes.io/dockerconfigjson", R"({".dockerconfigjson":"e2E="})"),
            "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": it is not valid JSON"},
        Row{"DockerConfigEmpty", SecretWith("kubernetes.io/dockerconfigjson", R"({".dockerconfigjson":"e30="})"), ""},
        Row{"DockerConfigNull", SecretWith("kubernetes.io/dockerconfigjson", R"({".dockerconfigjson":"bnVsbA=="})"), ""},
        Row{"OpaqueDocker", SecretWith("Opaque", R"({".dockerconfigjson":"e2E="})"), ""},
        Row{"NamespaceName", R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a.b"}})",
            std::string("metadata.name: Invalid value: \"a.b\": ") + kLabel}),
    NameOf);

TEST(Validation, OfTemplatesAndStaticPods) {
  const auto spec = Read(
      R"({"restartPolicy":"Always","dnsPolicy":"Default","serviceAccountName":"sa","imagePullSecrets":[{"name":""},{"name":"s"}],)"
            R"("containers":[{"name":"a","image":" i","imagePullPolicy":"Never","terminationMessagePolicy":"File"}],
                              "volumes":[{"name":"v","image":{"pullPolicy":"Never"}},{"name":"s","secret":{"secretName":"x"}}]})");
  EXPECT_THAT(Texts(ValidatePodSpec(spec.root(), "spec.template.spec", PodPlace::kTemplate)), IsEmpty());
  EXPECT_THAT(Texts(ValidatePodSpec(spec.root(), "spec", PodPlace::kStatic)),
              ElementsAre("spec.volumes[0].image.reference: Required value", "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace", "spec.serviceAccountName: Forbidden: static pods may not reference serviceaccounts",
                          "spec.imagePullSecrets[1]: Forbidden: static pods may not reference secrets", "spec.volumes[1]: Forbidden: static pods may not reference secrets"));
}

struct Change {
  std::string name, old, now, says;  // says "": allowed
};
void PrintTo(const Change& c, std::ostream* out) { *out << c.name; }
class PodUpdates : public ::testing::TestWithParam<Change> {};
TEST_P(PodUpdates, AsSpecified) {
  const auto old = Read(Defaulted(GetParam().old)), now = Read(Defaulted(GetParam().now));
  const std::vector<std::string> texts = Texts(ValidateUpdate(now.root(), old.root()));
  if (GetParam().says.empty()) EXPECT_THAT(texts, IsEmpty());
  else EXPECT_THAT(texts, ElementsAre(HasSubstr(GetParam().says)));
}
INSTANTIATE_TEST_SUITE_P(
    Spec22, PodUpdates,
    ::testing::Values(
        Change{"Image", PodWith(R"({"containers":[{"name":"a","image":"x:1"}]})"),
               PodWith(R"({"containers":[{"name":"a","image":"x:2"}]})"), ""},
        Change{"PolicyFollowsPut", PodWith(R"({"containers":[{"name":"a","image":"x:1"}]})"),
               PodWith(R"({"containers":[{"name":"a","image":"x:latest"}]})"),
               "spec: Forbidden: pod updates may not change fields other than "
               "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"},
        Change{"NamesTheField", PodWith(R"({"containers":[{"name":"a","image":"x:1"}]})"),
               PodWith(R"({"containers":[{"name":"a","image":"x:1","imagePullPolicy":"Never"}]})"),
               "\n  spec.containers[0].imagePullPolicy\n"},
        Change{"ImageVolume", V(R"({"name":"v","image":{"reference":"r:1"}})"),
               V(R"({"name":"v","image":{"reference":"r:2"}})"), "\n  spec.volumes[0].image.reference\n"},
        Change{"AddContainer", PodWith(R"({"containers":[{"name":"a","image":"x:1"}]})"),
               PodWith(R"({"containers":[{"name":"a","image":"x:1"},{"name":"b","image":"x:1"}]})"),
               "spec.containers: Forbidden: pod updates may not add or remove containers"},
        Change{"Deadline", PodWith(R"({"containers":[{"name":"a","image":"x:1"}]})"),
               PodWith(R"({"activeDeadlineSeconds":5,"containers":[{"name":"a","image":"x:1"}]})"), ""},
        Change{"LongerDeadline", PodWith(R"({"activeDeadlineSeconds":5,"containers":[{"name":"a","image":"x:1"}]})"),
               PodWith(R"({"activeDeadlineSeconds":6,"containers":[{"name":"a","image":"x:1"}]})"),
               "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"},
        Change{"Toleration", PodWith(R"({"tolerations":[{"key":"a"}],"containers":[{"name":"a","image":"x:1"}]})"),
               PodWith(R"({"tolerations":[{"key":"a"},{"key":"b"}],"containers":[{"name":"a","image":"x:1"}]})"), ""},
        Change{"TolerationGone", PodWith(R"({"tolerations":[{"key":"a"}],"containers":[{"name":"a","image":"x:1"}]})"),
               PodWith(R"({"containers":[{"name":"a","image":"x:1"}]})"), "pod updates may not change fields"},
        Change{"Grace", PodWith(R"({"terminationGracePeriodSeconds":-1,"containers":[{"name":"a","image":"x:1"}]})"),
               PodWith(R"({"terminationGracePeriodSeconds":1,"containers":[{"name":"a","image":"x:1"}]})"), ""},
        Change{"SecretType", SecretWith("Opaque", "{}"), SecretWith("example.com/x", "{}"),
               "type: Invalid value: \"example.com/x\": field is immutable"},
        Change{
            "Immutable",
            R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"d"},"immutable":true,"data":{"a":"eA=="}})",
            R"({"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"d"},"immutable":true,"data":{}})",
            "data: Forbidden: field is immutable when `immutable` is set"}),
    [](const auto& row) { return row.param.name; });

TEST(Validation, OfEphemeralContainers) {
  const auto with = [](std::string_view list) {
    return Read(Defaulted(
        PodWith(R"({"containers":[{"name":"a","image":"i:1"}],"ephemeralContainers":)" + std::string(list) + "}")));
  };
  const auto old = with(R"([{"name":"e","image":"i:1"}])");
  EXPECT_THAT(
      Texts(ValidateEphemeralUpdate(
          with(
              R"([{"name":"e","image":"i:1"},{"name":"f","image":"i:2","imagePullPolicy":"Never","targetContainerName":"a"}])")
              .root(),
          old.root())),
      IsEmpty());
  EXPECT_THAT(Texts(ValidateEphemeralUpdate(with("[]").root(), old.root())), ElementsAre("spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"));
  EXPECT_THAT(Texts(ValidateEphemeralUpdate(with(R"([{"name":"e","image":"i:2"}])").root(), old.root())), ElementsAre(HasSubstr("existing ephemeral containers \"e\" may not be changed\n")));
}

// ---- merging

struct Three {
  std::string name, last, live, wanted, result;
};
void PrintTo(const Three& t, std::ostream* out) { *out << t.name; }
class Merges : public ::testing::TestWithParam<Three> {};
TEST_P(Merges, ThreeWays) {
  const auto& [name, last, live, wanted, result] = GetParam();
  EXPECT_EQ(MergeApplied(ReadTree(last), ReadTree(live), ReadTree(wanted), "Pod").Dump(), ReadTree(result).Dump());
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Merges,
    ::testing::Values(
        Three{
            "DefaultsStay", R"({"spec":{"containers":[{"name":"a","image":"x:1"}]}})",
            R"({"metadata":{"uid":"u"},"spec":{"nodeName":"n","containers":[{"name":"a","image":"x:1",)"
            R"("imagePullPolicy":"IfNotPresent"}]},"status":{"phase":"Running"}})",
            R"({"spec":{"containers":[{"name":"a","image":"x:latest"}]}})",
            R"({"metadata":{"uid":"u"},"spec":{"nodeName":"n","containers":[{"name":"a","image":"x:latest",)"
            R"("imagePullPolicy":"IfNotPresent"}]},"status":{"phase":"Running"}})"},
        Three{"RemovedGoes", R"({"metadata":{"labels":{"a":"1","b":"1"}}})",
              R"({"metadata":{"labels":{"a":"1","b":"1","c":"others"}}})", R"({"metadata":{"labels":{"b":"2"}}})",
              R"({"metadata":{"labels":{"b":"2","c":"others"}}})"},
        Three{
            "EnvByName",
            R"({"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"1"},{"name":"Y","value":"1"}]}]}})",
            R"({"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"1"},{"name":"Y","value":"1"},{"name":"Z","value":"others"}]}]}})",
            R"({"spec":{"containers":[{"name":"a","env":[{"name":"Y","value":"2"}]}]}})",
            R"({"spec":{"containers":[{"name":"a","env":[{"name":"Y","value":"2"},{"name":"Z","value":"others"}]}]}})"},
        Three{"ArgsReplaced", R"({"spec":{"containers":[{"name":"a","args":["1"]}]}})",
              R"({"spec":{"containers":[{"name":"a","args":["1"]}]}})",
              R"({"spec":{"containers":[{"name":"a","args":["2","3"]}]}})",
              R"({"spec":{"containers":[{"name":"a","args":["2","3"]}]}})"},
        Three{"PortsByNumber", "{}",
              R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"protocol":"TCP"}]}]}})",
              R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"name":"http"}]}]}})",
              R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":80,"name":"http","protocol":"TCP"}]}]}})"},
        Three{"PullSecretsByName", R"({"spec":{"imagePullSecrets":[{"name":"a"}]}})",
              R"({"spec":{"imagePullSecrets":[{"name":"a"},{"name":"account"}]}})",
              R"({"spec":{"imagePullSecrets":[{"name":"b"}]}})",
              R"({"spec":{"imagePullSecrets":[{"name":"b"},{"name":"account"}]}})"},
        Three{"VolumeChangesSource", R"({"spec":{"volumes":[{"name":"v","emptyDir":{}}]}})",
              R"({"spec":{"volumes":[{"name":"v","emptyDir":{}}]}})",
              R"({"spec":{"volumes":[{"name":"v","image":{"reference":"r"}}]}})",
              R"({"spec":{"volumes":[{"name":"v","image":{"reference":"r"}}]}})"},
        Three{"FinalizersByValue", R"({"metadata":{"finalizers":["a/a"]}})", R"({"metadata":{"finalizers":["a/a","b/b"]}})",
              R"({"metadata":{"finalizers":["c/c"]}})", R"({"metadata":{"finalizers":["c/c","b/b"]}})"},
        Three{"StatusIgnored", "{}", R"({"status":{"phase":"Running"}})", R"({"status":{"phase":"Failed"}})",
              R"({"status":{"phase":"Running"}})"},
        Three{"NullRemoves", "{}", R"({"spec":{"nodeName":"n"}})", R"({"spec":{"nodeName":null}})", R"({"spec":{}})"}),
    [](const auto& row) { return row.param.name; });

TEST(Merge, RemembersWhatWasSent) {
  EXPECT_EQ(
      LastApplied(ReadTree(
          R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"old"}},"status":{}})")),
      "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"annotations\":{},\"name\":\"x\"}}\n");
}

}  // namespace
}  // namespace berth::kube
