#include "apiserver/api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apiserver/openapi_protobuf.h"
#include "apiserver/testing/lab.h"
#include "json/document.h"
#include "time/testing/manual_clock.h"

namespace berth::apiserver {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::Client;
using testing::Lab;

const std::string kPods = "/api/v1/namespaces/default/pods";
const std::string kJson = "application/json";
const std::string kTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const std::string kStrategic = "application/strategic-merge-patch+json", kMerge = "application/merge-patch+json", kSteps = "application/json-patch+json";

std::string Pod(const std::string& name, const std::string& more = "", const std::string& meta = "") {
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + name + "\"" + meta + R"(},"spec":{"containers":[{"name":"c","image":"i:1"}])" + more + "}}";
}
std::string Secret(const std::string& name) { return R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":")" + name + R"("},"data":{"a":"eA=="}})"; }

json::Tree Read(const std::string& text) {
  const auto document = json::Document::Parse(text, Reason::kUsage, {.bytes = 64u << 20, .depth = 64, .values = 500'000});
  EXPECT_TRUE(document) << text;
  return document ? json::Tree(document->root()) : json::Tree();
}

class ApiTest : public ::testing::Test {
 protected:
  httpd::Response Send(const std::string& method, const std::string& target, const std::string& body = "",
                       const std::string& type = kJson) {
    return lab_.Call(method, target, body, {{"Content-Type", type}});
  }
  json::Tree Get(const std::string& target, const std::string& accept = kJson) {
    return Read(lab_.Call("GET", target, "", {{"Accept", accept}}).body);
  }
  void Make(const std::string& name, const std::string& more = "", const std::string& meta = "") {
    ASSERT_EQ(Send("POST", kPods, Pod(name, more, meta)).status, 201);
  }
  time::testing::ManualClock clock_;
  Lab lab_{clock_};
};

// ---- refusals: code, reason and words

struct Refusal {
  std::string name, method, target, body, type;
  int code;
  std::string reason, message;
};
std::ostream& operator<<(std::ostream& out, const Refusal& r) { return out << r.name; }
class Refusals : public ApiTest, public ::testing::WithParamInterface<Refusal> {};
TEST_P(Refusals, AreKubernetesOwn) {
  Make("web");
  const Refusal& row = GetParam();
  const auto reply = Send(row.method, row.target, row.body, row.type);
  EXPECT_EQ(reply.status, row.code);
  const json::Tree status = Read(reply.body);
  EXPECT_EQ(status.Text("kind"), "Status");
  EXPECT_EQ(status.Text("apiVersion"), "v1");
  EXPECT_EQ(status.Text("status"), "Failure");
  EXPECT_EQ(status.Text("reason"), row.reason);
  EXPECT_THAT(std::string(status.Text("message")), HasSubstr(row.message));
  EXPECT_EQ(status.Find("code")->Dump(), std::to_string(row.code));
}
const std::string kWeb = kPods + "/web", kSecrets = "/api/v1/namespaces/default/secrets";
INSTANTIATE_TEST_SUITE_P(
    All, Refusals,
    ::testing::Values(
        Refusal{"no_path", "GET", "/nothing", "", kJson, 404, "NotFound", "the server could not find the requested resource"},
        Refusal{"no_resource", "GET", "/api/v1/deployments", "", kJson, 404, "NotFound", "the server could not find the requested resource"},
        Refusal{"no_group", "GET", "/apis/apps/v1", "", kJson, 404, "NotFound", "the server could not find"},
        Refusal{"no_swagger", "GET", "/swagger-2.0.0.pb-v1", "", kJson, 404, "NotFound", "the server could not find"},
        Refusal{"no_exec", "POST", kWeb + "/exec", "", kJson, 404, "NotFound", "the server could not find"},
        Refusal{"no_pod", "GET", kPods + "/x", "", kJson, 404, "NotFound", "pods \"x\" not found"},
        Refusal{"namespaced_without", "GET", "/api/v1/pods/web", "", kJson, 404, "NotFound", "the server could not find"},
        Refusal{"no_method", "POST", kWeb, Pod("web"), kJson, 405, "MethodNotAllowed", "the server does not allow this method on the requested resource"},
        Refusal{"nodes_are_read_only", "PATCH", "/api/v1/nodes/node-7", "{}", kMerge, 405, "MethodNotAllowed", "the server does not allow"},
        Refusal{"status_is_read_only", "PUT", kWeb + "/status", Pod("web"), kJson, 405, "MethodNotAllowed", "the server does not allow"},
        Refusal{"namespaces_one_by_one", "DELETE", "/api/v1/namespaces", "", kJson, 405, "MethodNotAllowed", "the server does not allow"},
        Refusal{"discovery_only_reads", "POST", "/api", "", kJson, 405, "MethodNotAllowed", "the server does not allow"},
        Refusal{"exists", "POST", kPods, Pod("web"), kJson, 409, "AlreadyExists", "pods \"web\" already exists"},
        Refusal{"no_json", "POST", kPods, "{", kJson, 400, "BadRequest", "the object provided is unrecognized (must be of type Pod)"},
        Refusal{"no_object", "POST", kPods, "[]", kJson, 400, "BadRequest", "must be of type Pod"},
        Refusal{"other_kind", "POST", kPods, Secret("s"), kJson, 400, "BadRequest", "Secret in version \"v1\" cannot be handled as a Pod"},
        Refusal{"other_version", "POST", kPods, R"({"apiVersion":"v2","kind":"Pod"})", kJson, 400, "BadRequest",
                "the API version in the data (v2) does not match the expected API version (v1)"},
        Refusal{"wrong_type", "POST", kPods, Pod("x", R"(,"hostNetwork":"yes")"), kJson, 400, "BadRequest",
                "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"},
        Refusal{"other_namespace", "POST", kPods, Pod("x", "", R"(,"namespace":"shop")"), kJson, 400, "BadRequest",
                "the namespace of the provided object does not match the namespace sent on the request"},
        Refusal{"no_namespace", "POST", "/api/v1/pods", Pod("x"), kJson, 400, "BadRequest", "an empty namespace may not be set during creation"},
        Refusal{"missing_namespace", "POST", "/api/v1/namespaces/shop/pods", Pod("x"), kJson, 404, "NotFound", "namespaces \"shop\" not found"},
        Refusal{"yaml", "POST", kPods, "kind: Pod", "application/yaml", 415, "UnsupportedMediaType", "accepted media types include: application/json"},
        Refusal{"invalid", "POST", kPods, R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"},"spec":{"containers":[]}})", kJson, 422, "Invalid",
                "Pod \"x\" is invalid: spec.containers: Required value"},
        Refusal{"strict", "POST", kPods + "?fieldValidation=Strict", Pod("x", R"(,"contaners":[])"), kJson, 400, "BadRequest",
                "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.contaners\""},
        Refusal{"odd_validation", "POST", kPods + "?fieldValidation=Hard", Pod("x"), kJson, 422, "Invalid", "fieldValidation: Unsupported value: \"Hard\""},
        Refusal{"odd_dry_run", "POST", kPods + "?dryRun=Some", Pod("x"), kJson, 422, "Invalid", "dryRun: Unsupported value: \"Some\""},
        Refusal{"other_name", "PUT", kWeb, Pod("x"), kJson, 400, "BadRequest", "the name of the object (x) does not match the name on the URL (web)"},
        Refusal{"put_nothing", "PUT", kPods + "/x", Pod("x"), kJson, 404, "NotFound", "pods \"x\" not found"},
        Refusal{"conflict", "PUT", kWeb, Pod("web", "", R"(,"resourceVersion":"1")"), kJson, 409, "Conflict",
                "Operation cannot be fulfilled on pods \"web\": the object has been modified; please apply your changes to the latest version and try again"},
        Refusal{"patch_conflict", "PATCH", kWeb, R"({"metadata":{"resourceVersion":"1","labels":{"a":"b"}}})", kMerge, 409, "Conflict", "the object has been modified"},
        Refusal{"immutable", "PATCH", kWeb, R"({"spec":{"restartPolicy":"Never"}})", kMerge, 422, "Invalid", "pod updates may not change fields other than"},
        Refusal{"renamed", "PATCH", kWeb, R"({"metadata":{"name":"x"}})", kMerge, 400, "BadRequest", "does not match the name on the URL"},
        Refusal{"patch_other_kind", "PATCH", kWeb, R"({"kind":"Secret"})", kMerge, 400, "BadRequest", ""},
        Refusal{"patch_no_json", "PATCH", kWeb, "x", kMerge, 400, "BadRequest", "error decoding patch"},
        Refusal{"patch_strict", "PATCH", kWeb + "?fieldValidation=Strict", R"({"spec":{"contaners":[]}})", kMerge, 400, "BadRequest", "strict decoding error: unknown field \"spec.contaners\""},
        Refusal{"patch_does_not_fit", "PATCH", kWeb, R"([{"op":"test","path":"/spec/x","value":1}])", kSteps, 422, "Invalid", "the server rejected our request due to an error in our request"},
        Refusal{"server_side_apply", "PATCH", kWeb + "?fieldManager=kubectl", "a: b", "application/apply-patch+yaml", 415, "UnsupportedMediaType", "use kubectl apply without --server-side"},
        Refusal{"patch_type", "PATCH", kWeb, "{}", kJson, 415, "UnsupportedMediaType", "application/strategic-merge-patch+json"},
        Refusal{"delete_nothing", "DELETE", kPods + "/x", "", kJson, 404, "NotFound", "pods \"x\" not found"},
        Refusal{"delete_other", "DELETE", kWeb, R"({"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"u"}})", kJson, 409, "Conflict", "Precondition failed: UID in precondition: u"},
        Refusal{"delete_odd_preconditions", "DELETE", kWeb, R"({"preconditions":"x"})", kJson, 400, "BadRequest", "the field \"preconditions\" has another type"},
        Refusal{"delete_odd", "DELETE", kWeb, R"({"propagationPolicy":"Never"})", kJson, 422, "Invalid", "propagationPolicy: Unsupported value"},
        Refusal{"delete_what", "DELETE", kWeb, R"({"kind":"Pod"})", kJson, 400, "BadRequest", "no DeleteOptions"},
        Refusal{"kept_namespace", "DELETE", "/api/v1/namespaces/default", "", kJson, 403, "Forbidden", "this namespace may not be deleted"},
        Refusal{"odd_label_selector", "GET", kPods + "?labelSelector=a%3D%3D%3Db", "", kJson, 400, "BadRequest", "unable to parse requirement"},
        Refusal{"odd_field_selector", "GET", kPods + "?fieldSelector=spec.image%3Dx", "", kJson, 400, "BadRequest", "field label not supported: spec.image"},
        Refusal{"odd_limit", "GET", kPods + "?limit=-1", "", kJson, 400, "BadRequest", "invalid parameter \"limit\""},
        Refusal{"odd_continue", "GET", kPods + "?continue=xx", "", kJson, 400, "BadRequest", "continue key is not valid"},
        Refusal{"future", "GET", kPods + "?resourceVersion=999999", "", kJson, 504, "Timeout", "Too large resource version: 999999"},
        Refusal{"past", "GET", kPods + "?resourceVersion=1&resourceVersionMatch=Exact", "", kJson, 410, "Expired", "too old"},
        Refusal{"watch_list", "GET", kPods + "?watch=1&sendInitialEvents=true", "", kJson, 422, "Invalid", "sendInitialEvents is forbidden for watch"},
        Refusal{"log_of_nothing", "GET", kPods + "/x/log", "", kJson, 404, "NotFound", "pods \"x\" not found"},
        Refusal{"log_of_no_container", "GET", kWeb + "/log?container=none", "", kJson, 400, "BadRequest", "container none is not valid for pod web"},
        Refusal{"log_odd_tail", "GET", kWeb + "/log?tailLines=x", "", kJson, 422, "Invalid", "tailLines: Invalid value: x: must be greater than or equal to 0"}),
    [](const auto& row) { return row.param.name; });

TEST_F(ApiTest, NoProtobuf) {
  EXPECT_EQ(lab_.Call("GET", kPods, "", {{"Accept", "application/vnd.kubernetes.protobuf"}}).status, 406);
  EXPECT_EQ(lab_.Call("GET", kPods, "", {{"Accept", "application/vnd.kubernetes.protobuf,application/json"}}).status, 200);
}

// ---- who may ask

TEST_F(ApiTest, OnlyTheTokenMay) {
  const auto ask = [&](std::string path, httpd::Fields fields, std::string method = "GET") {
    return lab_.api->Handle({}, {.method = std::move(method), .path = std::move(path), .fields = std::move(fields)});
  };
  EXPECT_EQ(ask(kPods, {{"Authorization", "Bearer secret-token"}}).status, 200);
  for (const char* wrong : {"Bearer secret-tokem", "Bearer secret-token2", "Bearer ", "Basic c2VjcmV0LXRva2Vu", "secret-token"}) {
    const auto reply = ask(kPods, {{"Authorization", wrong}});
    EXPECT_EQ(reply.status, 401) << wrong;
    EXPECT_EQ(Read(reply.body).Text("message"), "Unauthorized");
    EXPECT_THAT(reply.body, Not(HasSubstr("token")));
  }
  EXPECT_EQ(Read(ask(kPods, {}).body).Text("message"),
            "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"");
  EXPECT_EQ(Read(ask(kPods + "/web/log", {}).body).Text("message"),
            "pods \"web\" is forbidden: User \"system:anonymous\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"default\"");
  EXPECT_EQ(Read(ask("/api/v1/nodes", {}).body).Text("message"),
            "nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API group \"\" at the cluster scope");
  EXPECT_EQ(Read(ask("/api", {}).body).Text("message"), "forbidden: User \"system:anonymous\" cannot get path \"/api\"");
  EXPECT_EQ(ask("/api", {}).status, 403);
  for (const char* open : {"/version", "/healthz", "/livez", "/readyz"}) EXPECT_EQ(ask(open, {}).status, 200) << open;
}

// ---- discovery

TEST_F(ApiTest, SaysWhatThereIs) {
  EXPECT_EQ(Get("/api").Text("kind"), "APIVersions");
  EXPECT_EQ(Get("/apis").Dump(), R"({"apiVersion":"v1","groups":[],"kind":"APIGroupList"})");
  EXPECT_EQ(Get("/version").Text("gitVersion"), "v1.36.0+berth.test");
  EXPECT_EQ(Get("/version").Text("minor"), "36");
  std::string names;
  const json::Tree core = Get("/api/v1");
  for (const auto& r : core.Find("resources")->items()) names += std::string(r.Text("name")) + " ";
  EXPECT_EQ(names, "configmaps events namespaces namespaces/status nodes nodes/status pods pods/ephemeralcontainers pods/log pods/status secrets serviceaccounts ");
  const std::string url(Get("/openapi/v3").Find("paths")->Find("api/v1")->Text("serverRelativeURL"));
  const json::Tree document = Get(url);
  const json::Tree& schemas = *document.Find("components")->Find("schemas");
  const json::Tree& containers = *schemas.Find("io.k8s.api.core.v1.PodSpec")->Find("properties")->Find("containers");
  EXPECT_EQ(containers.Text("x-kubernetes-patch-merge-key"), "name");
  const auto leads_somewhere = [](const json::Tree& from, std::string_view ref, const json::Tree& to) {
    const std::string text = from.Dump();
    int n = 0;
    for (auto at = text.find(ref); at != text.npos; at = text.find(ref, at + 1), ++n) {
      const auto begin = at + ref.size();
      EXPECT_NE(to.Find(text.substr(begin, text.find('"', begin) - begin)), nullptr);
    }
    EXPECT_GT(n, 100);
  };
  leads_somewhere(document, "\"#/components/schemas/", schemas);
  const json::Tree v2 = Get("/openapi/v2");
  const json::Tree& definitions = *v2.Find("definitions");
  EXPECT_EQ(definitions.members().size(), schemas.members().size());
  leads_somewhere(v2, "\"#/definitions/", definitions);
  for (const auto& [name, type] : definitions.members()) EXPECT_FALSE(type.Find("properties")->members().empty()) << name;  // kubectl takes no others
}

TEST_F(ApiTest, OpenApiV2IsProtobufForThoseWhoAskForIt) {
  const auto answer = lab_.Call("GET", "/openapi/v2", "", {{"Accept", std::string(kAcceptsOpenApiProtobuf)}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.fields.front().second, kOpenApiProtobuf);
  EXPECT_EQ(answer.body, OpenApiProtobuf(Get("/openapi/v2")));
}

// ---- objects

TEST_F(ApiTest, AWatchThatIsNotWantedIsNone) {
  ASSERT_EQ(Send("POST", kPods, Pod("web")).status, 201);
  EXPECT_EQ(Get(kWeb + "?watch=false").Text("kind"), "Pod");
  EXPECT_EQ(Get(kPods + "?watch=0").Text("kind"), "PodList");
}

TEST_F(ApiTest, CreatesWithDefaultsAndWarnings) {
  const auto reply = Send("POST", kPods + "?fieldManager=kubectl-create", Pod("web", R"(,"contaners":"a\"b")"));
  EXPECT_EQ(reply.status, 201);
  EXPECT_THAT(reply.fields, ::testing::Contains(std::pair<std::string, std::string>("Warning", R"(299 - "unknown field \"spec.contaners\"")")));
  const json::Tree pod = Read(reply.body);
  EXPECT_EQ(pod.Find("spec")->Text("restartPolicy"), "Always");
  EXPECT_EQ(pod.Find("metadata")->Text("namespace"), "default");
  EXPECT_EQ(pod.Find("status")->Text("phase"), "Pending");
  EXPECT_EQ(Get(kPods + "/web").Dump(), pod.Dump());
  EXPECT_EQ(Get(kPods + "/web/status").Dump(), pod.Dump());
}

TEST_F(ApiTest, ADryRunWritesNothing) {
  EXPECT_EQ(Send("POST", kPods + "?dryRun=All", Pod("web")).status, 201);
  EXPECT_EQ(Send("GET", kPods + "/web").status, 404);
  Make("web");
  const std::string before = Get(kPods + "/web").Dump();
  EXPECT_THAT(Send("PATCH", kPods + "/web?dryRun=All", R"({"metadata":{"labels":{"a":"b"}}})", kMerge).body, HasSubstr(R"("labels":{"a":"b"})"));
  EXPECT_EQ(Send("DELETE", kPods + "/web", R"({"dryRun":["All"]})").status, 200);
  EXPECT_EQ(Send("DELETE", kPods + "/web?dryRun=All").status, 200);
  EXPECT_EQ(Get(kPods + "/web").Dump(), before);
}

TEST_F(ApiTest, PatchesTheThreeWays) {
  Make("web");
  EXPECT_EQ(Send("PATCH", kPods + "/web", R"({"spec":{"containers":[{"name":"c","image":"i:2"}]}})", kStrategic).status, 200);
  EXPECT_EQ(Send("PATCH", kPods + "/web", R"({"metadata":{"labels":{"a":"b"}}})", kMerge + "; charset=utf-8").status, 200);
  EXPECT_EQ(Send("PATCH", kPods + "/web", R"([{"op":"add","path":"/metadata/labels/c","value":"d"}])", kSteps).status, 200);
  const json::Tree pod = Get(kPods + "/web");
  EXPECT_EQ(pod.Find("metadata")->Find("labels")->Dump(), R"({"a":"b","c":"d"})");
  EXPECT_EQ(pod.Find("spec")->Find("containers")->items()[0].Text("image"), "i:2");
}

TEST_F(ApiTest, AttachesASecretToAnAccount) {
  const std::string account = "/api/v1/namespaces/default/serviceaccounts/default";
  EXPECT_EQ(Send("PATCH", account, R"({"imagePullSecrets":[{"name":"a"}]})", kStrategic).status, 200);
  EXPECT_EQ(Send("PATCH", account, R"({"imagePullSecrets":[{"name":"b"}]})", kStrategic).status, 200);
  EXPECT_EQ(Get(account).Find("imagePullSecrets")->Dump(), R"([{"name":"b"}])") << "the list of an account is one";
  Make("web");
  EXPECT_EQ(Get(kPods + "/web").Find("spec")->Find("imagePullSecrets")->Dump(), R"([{"name":"b"}])");
  json::Tree whole = Get(account);
  whole.Erase("imagePullSecrets");
  EXPECT_EQ(Send("PUT", account, whole.Dump()).status, 200);
  EXPECT_EQ(Send("PUT", account, whole.Dump()).status, 409) << "its version is an old one now";
}

TEST_F(ApiTest, EphemeralContainersHaveTheirOwnDoor) {
  Make("web");
  const std::string patch = R"({"spec":{"ephemeralContainers":[{"name":"debug","image":"i","targetContainerName":"c"}]}})";
  EXPECT_EQ(Send("PATCH", kPods + "/web", patch, kStrategic).status, 422);
  EXPECT_EQ(Send("PATCH", kPods + "/web/ephemeralcontainers", patch, kStrategic).status, 200);
  EXPECT_EQ(Get(kPods + "/web").Find("spec")->Find("ephemeralContainers")->items().size(), 1u);
}

TEST_F(ApiTest, DeletesWithGraceAndAtOnce) {
  Make("web");
  const json::Tree marked = Read(
      Send(
          "DELETE", kPods + "/web",
          R"({"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":5,"propagationPolicy":"Background"})")
          .body);
  EXPECT_EQ(marked.Find("metadata")->Find("deletionGracePeriodSeconds")->Dump(), "5");
  EXPECT_EQ(Read(Send("DELETE", kPods + "/web?gracePeriodSeconds=0").body).Text("kind"), "Pod");
  EXPECT_EQ(Send("GET", kPods + "/web").status, 404);
  ASSERT_EQ(Send("POST", kSecrets, Secret("s")).status, 201);
  const json::Tree gone = Read(Send("DELETE", kSecrets + "/s").body);
  EXPECT_EQ(gone.Text("status"), "Success");
  EXPECT_EQ(gone.Find("details")->Text("kind"), "secrets");
  EXPECT_EQ(gone.Find("details")->Text("name"), "s");
}

TEST_F(ApiTest, DeletesACollection) {
  Make("a", "", R"(,"labels":{"app":"x"})");
  Make("b", "", R"(,"labels":{"app":"y"})");
  const auto reply = Send("DELETE", kPods + "?labelSelector=app%3Dx&gracePeriodSeconds=0");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(Read(reply.body).Find("items")->items().size(), 1u);
  EXPECT_EQ(Get(kPods).Find("items")->items().size(), 1u);
}

// ---- lists

TEST_F(ApiTest, ListsInPages) {
  for (const char* name : {"a", "b", "c", "d", "e"}) Make(name);
  std::string names, next;
  int pages = 0;
  std::string version;
  do {
    const json::Tree list = Get(kPods + "?limit=2" + (next.empty() ? "" : "&continue=" + next));
    EXPECT_EQ(list.Text("kind"), "PodList");
    for (const auto& item : list.Find("items")->items()) names += item.Find("metadata")->Text("name");
    const json::Tree& meta = *list.Find("metadata");
    if (pages++ == 0) {
      version = meta.Text("resourceVersion");
      EXPECT_EQ(meta.Find("remainingItemCount")->Dump(), "3");
      Make("bb");  // behind the page: comes with the next
    }
    EXPECT_EQ(meta.Text("resourceVersion"), version);
    next.clear();
    for (const char c : meta.Text("continue")) next += c == '=' ? "%3D" : c == '+' ? "%2B" : c == '/' ? "%2F" : std::string(1, c);
  } while (!next.empty());
  EXPECT_EQ(names, "abbbcde");
  EXPECT_EQ(pages, 3);
}

TEST(ApiLimits, AListThatIsTooLargeIsCutOrRefused) {
  time::testing::ManualClock clock;
  Lab lab(clock, {.node_name = "n"}, {.list_bytes = 1500});
  for (const char* name : {"a", "b", "c", "d"}) ASSERT_EQ(lab.Call("POST", kPods, Pod(name)).status, 201);
  EXPECT_EQ(lab.Call("GET", kPods).status, 413);
  const json::Tree page = Read(lab.Call("GET", kPods + "?limit=500").body);
  EXPECT_LT(page.Find("items")->items().size(), 4u);
  EXPECT_NE(page.Find("metadata")->Text("continue"), "");
}

TEST_F(ApiTest, SelectsByLabelsAndFields) {
  Make("a", "", R"(,"labels":{"app":"x"})");
  Make("b", "", R"(,"labels":{"app":"y"})");
  const auto count = [&](const std::string& query) { return Get(kPods + "?" + query).Find("items")->items().size(); };
  EXPECT_EQ(count("labelSelector=app%3Dx"), 1u);
  EXPECT_EQ(count("labelSelector=app"), 2u);
  EXPECT_EQ(count("fieldSelector=metadata.name%3Db"), 1u);
  EXPECT_EQ(count("fieldSelector=spec.nodeName%3Dnode-7,status.phase%21%3DRunning"), 2u);
  EXPECT_EQ(count("fieldSelector=metadata.name%3Db,status.phase%3DRunning"), 0u);
}

TEST_F(ApiTest, PrintsTables) {
  Make("web");
  const json::Tree table = Get(kPods, kTable);
  EXPECT_EQ(table.Text("kind"), "Table");
  EXPECT_EQ(table.Text("apiVersion"), "meta.k8s.io/v1");
  EXPECT_EQ(table.Find("columnDefinitions")->items().size(), 9u);
  const json::Tree& row = table.Find("rows")->items()[0];
  EXPECT_EQ(row.Find("cells")->Dump(), R"(["web","0/1","Pending","0","0s","<none>","node-7","<none>","<none>"])");
  EXPECT_EQ(row.Find("object")->Text("kind"), "PartialObjectMetadata");
  EXPECT_EQ(row.Find("object")->Find("metadata")->Text("name"), "web");
  EXPECT_EQ(row.Find("object")->Find("spec"), nullptr);
  EXPECT_EQ(Get(kPods + "/web?includeObject=Object", kTable).Find("rows")->items()[0].Find("object")->Text("kind"), "Pod");
  EXPECT_EQ(Get(kPods + "/web?includeObject=None", kTable).Find("rows")->items()[0].Find("object"), nullptr);
  EXPECT_EQ(Get(kPods, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").Text("kind"), "PartialObjectMetadataList");
}

// ---- logs

TEST_F(ApiTest, GivesLogs) {
  Make("web");
  const auto reply = lab_.Call("GET", kPods + "/web/log?container=c&tailLines=3&limitBytes=100&timestamps=true&follow=true&sinceSeconds=10");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(Client(reply.stream).All(), "hello\n");
  EXPECT_EQ(lab_.asked.container, "c");
  EXPECT_EQ(lab_.asked.options.tail, 3);
  EXPECT_EQ(lab_.asked.options.limit_bytes, 100);
  EXPECT_TRUE(lab_.asked.options.timestamps);
  EXPECT_TRUE(lab_.asked.options.follow);
  EXPECT_EQ(lab_.asked.options.since, clock_.WallNow() - std::chrono::seconds(10));
}

TEST(ApiLimits, OfLogsAtOnce) {
  time::testing::ManualClock clock;
  Lab lab(clock, {.node_name = "n"}, {.logs = 1});
  ASSERT_EQ(lab.Call("POST", kPods, Pod("web")).status, 201);
  lab.log = std::string(4u << 20, 'x');  // more than fits between us and a client that does not read
  auto first = lab.Call("GET", kPods + "/web/log");
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(lab.Call("GET", kPods + "/web/log").status, 429);
  EXPECT_EQ(Client(first.stream).All().size(), lab.log.size());
}

}  // namespace
}  // namespace berth::apiserver
