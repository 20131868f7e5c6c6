// AdmissionReview, bytes in and out: the rows of reliability-security 3.h that need no HTTP.
#include "admission/review.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "admission/testing/fakes.h"
#include "bytes/encoding.h"

namespace berth::admission {
namespace {

using testing::DigestOf;
using testing::FakeFacts;
using testing::FakeRegistry;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Ask {
  std::string group, version = "v1", resource = "pods", kind = "Pod", subresource, operation = "CREATE", object = "null", old = "null";
};
std::string Body(const Ask& a) {
  return R"({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1","kind":{"group":")" + a.group + R"(","version":")" + a.version + R"(","kind":")" + a.kind +
         R"("},"resource":{"group":")" + a.group + R"(","version":")" + a.version + R"(","resource":")" + a.resource + R"("},"subResource":")" + a.subresource + R"(","operation":")" + a.operation +
         R"(","namespace":"shop","name":"web","userInfo":{"username":"x"},"object":)" + a.object + R"(,"oldObject":)" + a.old + "}}";
}
json::Document Parsed(const std::string& text) { return *json::Document::Parse(text, Reason::kInternal); }
std::string PatchOf(const Reply& reply) {
  const auto document = Parsed(reply.body);
  const auto patch = document.root().Find("response")->Find("patch");
  return patch ? *bytes::FromBase64(*patch->AsString()) : "";
}

std::string PodSpec(const std::string& more = "") {
  return R"({"initContainers":[{"name":"i","image":"reg.test/app:v1"}],)"
         R"("containers":[{"name":"c","image":"reg.test/app:v1"}],"ephemeralContainers":[{"name":"e","image":"reg.test/app:v1"}],)"
         R"("volumes":[{"name":"v","image":{"reference":"reg.test/app:v1"}}])" + more + "}";
}
std::string Object(const std::string& api, const std::string& kind, const std::string& before = "", const std::string& after = "",
                   const std::string& spec = PodSpec()) {
  return R"({"apiVersion":")" + api + R"(","kind":")" + kind + R"(","metadata":{"name":"web"},)" + (before.empty() ? "\"spec\":" : before) + spec + after + "}";
}

class Reviews : public ::testing::Test {
 protected:
  Reviews() { registry_.tags["reg.test/app:v1"] = DigestOf('a'); }
  Admission All() {
    return Admission({.always_pull = true, .pin = true, .pinning = {.label = ""}}, {.facts = &facts_, .digests = &cache_});
  }
  FakeFacts facts_;
  FakeRegistry registry_;
  DigestCache cache_{registry_, time::SystemClock()};
  const task::Context ctx_;
};

// H-01: what of each resource is changed: p: policies, d: digests; i c e v: where.
struct CoverRow {
  std::string name;
  Ask ask;
  std::string want;
};
std::ostream& operator<<(std::ostream& out, const CoverRow& r) { return out << r.name; }
class Covered : public Reviews, public ::testing::WithParamInterface<CoverRow> {};
TEST_P(Covered, AsListed) {
  const Reply reply = Review(ctx_, Body(GetParam().ask), All());
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_TRUE(reply.allowed) << reply.body;
  EXPECT_EQ(reply.uid, "u-1");
  const std::string patch = PatchOf(reply);
  std::string got;
  const auto count = [&](char what, const char* list, const char* member) {
    const std::string place = std::string("/") + list + "/0/" + member + "\"";
    if (patch.find(place) != std::string::npos) got += what, got += list[0] == 'v' ? 'v' : list[0];
  };
  for (const char* list : {"initContainers", "containers", "ephemeralContainers"}) count('p', list, "imagePullPolicy");
  count('p', "volumes", "image/pullPolicy");
  for (const char* list : {"initContainers", "containers", "ephemeralContainers"}) count('d', list, "image");
  count('d', "volumes", "image/reference");
  EXPECT_EQ(got, GetParam().want) << patch;
}
const std::string kPod = Object("v1", "Pod"), kOther = Object("v1", "Pod", "", "", R"({"containers":[{"name":"c","image":"reg.test/old:v1"}]})");
const std::string kTemplate = "\"spec\":{\"template\":{\"spec\":";
INSTANTIATE_TEST_SUITE_P(
    H01, Covered,
    ::testing::Values(
        CoverRow{"create", {.object = kPod}, "pipcpepvdidcdedv"}, CoverRow{"update", {.operation = "UPDATE", .object = kPod, .old = kOther}, "pipcpepvdidcdedv"},
        CoverRow{"update_same", {.operation = "UPDATE", .object = kPod, .old = kPod}, ""},
        CoverRow{"ephemeral", {.subresource = "ephemeralcontainers", .operation = "UPDATE", .object = kPod, .old = kOther}, "pede"},
        CoverRow{"resize", {.subresource = "resize", .operation = "UPDATE", .object = kPod, .old = kPod}, ""},
        CoverRow{"status", {.subresource = "status", .operation = "UPDATE", .object = kPod, .old = kPod}, ""},
        CoverRow{"binding", {.subresource = "binding", .object = R"({"apiVersion":"v1","kind":"Binding"})"}, ""},
        CoverRow{"exec", {.subresource = "exec", .operation = "CONNECT", .object = R"({"apiVersion":"v1","kind":"PodExecOptions"})"}, ""},
        CoverRow{"delete", {.operation = "DELETE", .old = kPod}, ""}, CoverRow{"another", {.resource = "foos", .kind = "Foo", .object = "[]"}, ""},
        CoverRow{"podtemplates", {.resource = "podtemplates", .kind = "PodTemplate", .object = Object("v1", "PodTemplate", "\"template\":{\"spec\":", "}")}, "didcdedv"},
        CoverRow{"rc", {.resource = "replicationcontrollers", .kind = "ReplicationController", .object = Object("v1", "ReplicationController", kTemplate, "}}")}, "didcdedv"},
        CoverRow{"deployments", {.group = "apps", .resource = "deployments", .kind = "Deployment", .object = Object("apps/v1", "Deployment", kTemplate, "}}")}, "didcdedv"},
        CoverRow{"statefulsets", {.group = "apps", .resource = "statefulsets", .kind = "StatefulSet", .object = Object("apps/v1", "StatefulSet", kTemplate, "}}")}, "didcdedv"},
        CoverRow{"daemonsets", {.group = "apps", .resource = "daemonsets", .kind = "DaemonSet", .object = Object("apps/v1", "DaemonSet", kTemplate, "}}")}, "didcdedv"},
        CoverRow{"replicasets", {.group = "apps", .resource = "replicasets", .kind = "ReplicaSet", .object = Object("apps/v1", "ReplicaSet", kTemplate, "}}")}, "didcdedv"},
        CoverRow{"jobs", {.group = "batch", .resource = "jobs", .kind = "Job", .object = Object("batch/v1", "Job", kTemplate, "}}")}, "didcdedv"},
        CoverRow{"cronjobs",
                 {.group = "batch", .resource = "cronjobs", .kind = "CronJob", .object = Object("batch/v1", "CronJob", "\"spec\":{\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":", "}}}}")},
                 "didcdedv"},
        CoverRow{"scale", {.group = "apps", .resource = "deployments", .kind = "Scale", .subresource = "scale", .operation = "UPDATE", .object = "{}", .old = "{}"}, ""}),
    [](const auto& row) { return row.param.name; });

TEST_F(Reviews, AreIdempotent) {  // H-04
  const Reply first = Review(ctx_, Body({.object = kPod}), All());
  const json::Document document = Parsed(PatchOf(first));
  EXPECT_EQ(document.root().size(), 9u) << "4 policies, 4 digests, the annotations as one";
  const Outcome out = All().Admit(ctx_, json::Tree(Parsed(kPod).root()), {.ns = "shop"});
  const Reply second = Review(ctx_, Body({.object = out.object.Dump()}), All());
  EXPECT_TRUE(second.allowed);
  EXPECT_FALSE(second.changed);
  EXPECT_EQ(second.body, R"({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u-1","allowed":true}})");
}

struct UnreadableRow {
  std::string name, body;
  int status;
  std::string says;
};
std::ostream& operator<<(std::ostream& out, const UnreadableRow& r) { return out << r.name; }
class Unreadable : public Reviews, public ::testing::WithParamInterface<UnreadableRow> {};
TEST_P(Unreadable, GetsNoVerdict) {
  const Reply reply = Review(ctx_, GetParam().body, All());
  EXPECT_EQ(reply.status, GetParam().status);
  EXPECT_FALSE(reply.allowed);
  EXPECT_THAT(reply.body, AllOf(HasSubstr("\"kind\":\"Status\""), HasSubstr(GetParam().says), Not(HasSubstr("canary"))));
}
std::string Without(std::string text, const std::string& part, const std::string& instead = "") {
  const auto at = text.find(part);
  EXPECT_NE(at, text.npos) << part;
  return text.replace(at, part.size(), instead);
}
const std::string kTwice = R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c","image":"canary","imag\u0065":"y"}]}})";
std::string Many() {
  std::string text = "[";
  for (int i = 0; i < 550'000; ++i) text += "0,";
  return text + "0]";
}
const std::string kReview = Body({.object = kPod});
INSTANTIATE_TEST_SUITE_P(
    H05H06, Unreadable,
    ::testing::Values(
        UnreadableRow{"empty", "", 400, "not valid JSON"}, UnreadableRow{"gzip", "\x1f\x8b\b canary", 400, "not valid JSON"},
        UnreadableRow{"large", std::string(9u << 20, ' '), 413, "larger than 8388608 bytes"}, UnreadableRow{"deep", std::string(100, '['), 413, "deeper than 64"},
        UnreadableRow{"many", Many(), 413, "more than 500000 values"},
        UnreadableRow{"image_twice", Body({.object = R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c","image":"canary","image":"y"}]}})"}), 400, ".image is there twice"},
        UnreadableRow{"image_twice_escaped", Body({.object = kTwice}), 400, ".image is there twice"},
        UnreadableRow{"object_twice", Without(kReview, "\"oldObject\"", "\"object\""), 400, "$.request.object is there twice"},
        UnreadableRow{"version", Without(kReview, "admission.k8s.io/v1", "admission.k8s.io/v1beta1"), 400, "AdmissionReview of admission.k8s.io/v1 is wanted"},
        UnreadableRow{"kind", Without(kReview, "AdmissionReview", "ConversionReview"), 400, "is wanted"},
        UnreadableRow{"array", "[]", 400, "is wanted"}, UnreadableRow{"no_request", R"({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"})", 400, "$.request is missing"},
        UnreadableRow{"request_null", R"({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null})", 400, "$.request must be an object"},
        UnreadableRow{"no_uid", Without(kReview, "\"uid\":\"u-1\",", ""), 400, "$.request.uid"}, UnreadableRow{"uid_type", Without(kReview, "\"u-1\"", "1"), 400, "$.request.uid must be a string"},
        UnreadableRow{"uid_long", Without(kReview, "u-1", std::string(300, 'u')), 400, "$.request.uid"},
        UnreadableRow{"operation", Without(kReview, "\"CREATE\"", "\"Create\""), 400, "$.request.operation"},
        UnreadableRow{"no_resource", Without(kReview, "\"resource\":\"pods\"", "\"resource\":\"\""), 400, "names no resource"},
        UnreadableRow{"kind_type", Without(kReview, "\"kind\":{\"group\":\"\",\"version\":\"v1\",\"kind\":\"Pod\"}", "\"kind\":\"Pod\""), 400, "$.request.kind must be an object"}),
    [](const auto& row) { return row.param.name; });

struct DeniedRow {
  std::string name;
  Ask ask;
  std::string says;
  int code = 400;
};
std::ostream& operator<<(std::ostream& out, const DeniedRow& r) { return out << r.name; }
class DeniedReviews : public Reviews, public ::testing::WithParamInterface<DeniedRow> {};
TEST_P(DeniedReviews, SayWhy) {
  const Reply reply = Review(ctx_, Body(GetParam().ask), All());
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_FALSE(reply.allowed);
  const json::Document answer = Parsed(reply.body);
  const json::Value response = *answer.root().Find("response");
  EXPECT_EQ(*response.Find("uid")->AsString(), "u-1");
  EXPECT_FALSE(response.Find("patch"));
  EXPECT_EQ(*response.Find("status")->Find("code")->AsInt64(), GetParam().code);
  EXPECT_THAT(std::string(*response.Find("status")->Find("message")->AsString()), HasSubstr(GetParam().says));
}
const std::string kConverted = "Resource was marked with kind Pod but was unable to be converted";
INSTANTIATE_TEST_SUITE_P(
    All, DeniedReviews,
    ::testing::Values(DeniedRow{"not_a_pod", {.object = R"({"apiVersion":"v1","kind":"Service"})"}, kConverted}, DeniedRow{"null", {.object = "null"}, kConverted},
                      DeniedRow{"no_kind", {.object = "{}"}, kConverted}, DeniedRow{"kind_differs", {.kind = "Deployment", .object = kPod}, kConverted},
                      DeniedRow{"old_missing", {.operation = "UPDATE", .object = kPod}, kConverted},
                      DeniedRow{"version", {.version = "v2", .object = kPod}, "version \"v2\" of pods is not understood"},
                      DeniedRow{"containers", {.object = R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":{"name":"c"}}})"}, kConverted},
                      DeniedRow{"container", {.object = R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":["c"]}})"}, kConverted},
                      DeniedRow{"image", {.object = R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c","image":1}]}})"}, kConverted},
                      DeniedRow{"volume", {.object = R"({"apiVersion":"v1","kind":"Pod","spec":{"volumes":[{"name":"v","image":"x"}]}})"}, kConverted},
                      DeniedRow{"annotations", {.object = R"({"apiVersion":"v1","kind":"Pod","metadata":{"annotations":[]},"spec":{}})"}, kConverted},
                      DeniedRow{"unresolved", {.object = Object("v1", "Pod", "", "", R"({"containers":[{"name":"c","image":"reg.test/gone:1"}]})")},
                                "pods \"web\" is forbidden: spec.containers[0].image: \"reg.test/gone:1\" cannot be resolved to a digest: no such tag", 403}),
    [](const auto& row) { return row.param.name; });

TEST_F(Reviews, DenyOnTroubleOfOurOwnUnlessToldOtherwise) {  // H-03
  facts_.broken = true;
  const Admission labelled({.always_pull = true, .pin = true}, {.facts = &facts_, .digests = &cache_});
  const Reply denied = Review(ctx_, Body({.object = kPod}), labelled);
  EXPECT_TRUE(denied.failed);
  EXPECT_FALSE(denied.allowed);
  EXPECT_THAT(denied.body, HasSubstr("\"code\":500"));
  const Reply allowed = Review(ctx_, Body({.object = kPod}), labelled, {.deny_on_error = false});
  EXPECT_TRUE(allowed.failed && allowed.allowed && !allowed.changed);
  EXPECT_THAT(allowed.body, HasSubstr("\"warnings\":[\"berth admitted this unseen: Internal error occurred"));
}

TEST_F(Reviews, GiveUpBeforeTheApiServerDoes) {  // H-03: its time-out less a second is the context's deadline
  registry_.special["reg.test/app:v1"] = [](const task::Context& ctx) -> Result<digest::Digest> {
    (void)ctx.Sleep(std::chrono::hours(1));
    return Error(Reason::kTimeout, "too late");
  };
  const Reply reply = Review(ctx_.WithTimeout(std::chrono::milliseconds(1)), Body({.object = kPod}), All());
  EXPECT_FALSE(reply.allowed);
  EXPECT_THAT(reply.body, HasSubstr("cannot be resolved to a digest: the deadline passed"));
}

TEST_F(Reviews, OnePodNeverGetsTwoDigestsOfOneTag) {  // H-02
  int flips = 0;
  registry_.special["reg.test/app:v1"] = [&](const task::Context&) -> Result<digest::Digest> {
    return *digest::Digest::Parse(DigestOf(flips++ % 2 == 0 ? 'a' : 'b'));
  };
  DigestCache uncached(registry_, time::SystemClock(), {.fresh = {}});
  const Admission pin({.pin = true, .pinning = {.label = ""}}, {.digests = &uncached});
  for (int i = 0; i < 4; ++i) {
    const std::string patch = PatchOf(Review(ctx_, Body({.object = kPod}), pin));
    EXPECT_NE(patch.find(DigestOf('a')) == std::string::npos, patch.find(DigestOf('b')) == std::string::npos) << patch;
  }
}

TEST_F(Reviews, ShowNothingOfTheObjectButNamesAndFields) {  // H-11
  const std::string env = R"({"containers":[{"name":"c","image":"reg.test/gone:1","env":[{"name":"PASSWORD","value":"canary"}],"args":["canary"]}]})";
  EXPECT_THAT(Review(ctx_, Body({.object = Object("v1", "Pod", "", "", env)}), All()).body, Not(HasSubstr("canary")));
  EXPECT_THAT(Review(ctx_, Body({.object = R"({"apiVersion":"v1","kind":"Pod","spec":{"containers":["canary"]}})"}), All()).body, Not(HasSubstr("canary")));
}

TEST_F(Reviews, SendAFewShortWarnings) {
  std::string list;
  for (int i = 0; i < 30; ++i) list += std::string(i == 0 ? "" : ",") + R"({"name":"c)" + std::to_string(i) + R"(","image":"Bad/\u0007)" + std::string(300, 'x') + "\"}";
  const Reply reply = Review(ctx_, Body({.object = Object("v1", "Pod", "", "", "{\"containers\":[" + list + "]}")}), All());
  EXPECT_TRUE(reply.allowed);
  const json::Document answer = Parsed(reply.body);
  const json::Value warnings = *answer.root().Find("response")->Find("warnings");
  ASSERT_EQ(warnings.size(), 20u);
  EXPECT_EQ(*warnings.at(19).AsString(), "and 11 more warnings");
  for (std::size_t i = 0; i < 19; ++i) EXPECT_LE(warnings.at(i).AsString()->size(), 259u);
}

}  // namespace
}  // namespace berth::admission
