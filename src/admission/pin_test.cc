// Tags become digests, through a registry made of a map and a clock that the test turns.
#include "admission/pin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <thread>

#include "admission/admission.h"
#include "admission/testing/fakes.h"
#include "time/testing/manual_clock.h"

namespace berth::admission {
namespace {

using testing::DigestOf;
using testing::FakeFacts;
using testing::FakeRegistry;
using testing::Yaml;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class Pinning : public ::testing::Test {
 protected:
  Pinning() {
    registry_.tags = {{"reg.test/app:v1", DigestOf('a')}, {"reg.test/app:latest", DigestOf('b')}, {"docker.io/library/busybox:1", DigestOf('c')}, {"reg.test/tool:v1", DigestOf('d')}};
    facts_.labels["shop"] = {{"berth.dev/pin-images", "Enforce"}};
    facts_.labels["try"] = {{"berth.dev/pin-images", "DryRun"}};
    facts_.labels["typo"] = {{"berth.dev/pin-images", "enforce"}};
    facts_.labels["kube-system"] = {{"berth.dev/pin-images", "Enforce"}};
  }
  Outcome Admit(const std::string& object, const std::string& old = "", const std::string& ns = "shop", const std::string& subresource = "") {
    json::Tree before;
    Request request{.subresource = subresource, .ns = ns};
    if (!old.empty()) {
      before = Yaml(old);
      request.operation = Request::Operation::kUpdate;
      request.old = &before;
    }
    const Admission plugin({.pin = true, .pinning = options_}, {.facts = &facts_, .digests = &cache_});
    return plugin.Admit(task::Context(std::stop_token(), clock_), Yaml(object), request);
  }
  static std::string Pod(const std::string& spec, const std::string& annotations = "") {
    return "{apiVersion: v1, kind: Pod, metadata: {name: web" + (annotations.empty() ? "" : ", annotations: {" + annotations + "}") + "}, spec: " + spec + "}";
  }
  FakeRegistry registry_;
  FakeFacts facts_;
  time::testing::ManualClock clock_;
  DigestCache cache_{registry_, clock_};
  PinOptions options_;
};

TEST_F(Pinning, WritesTheDigestAndKeepsTheName) {
  const Outcome out = Admit(Pod("{imagePullSecrets: [{name: ''}, {name: regcred}], initContainers: [{name: init, image: busybox:1}], containers: [{name: app, image: 'reg.test/app:v1'}, "
                                "{name: same, image: 'reg.test/app:v1'}, {name: done, image: 'reg.test/app@" + DigestOf('e') + "'}], volumes: [{name: data, image: {reference: reg.test/app}}]}"));
  ASSERT_FALSE(out.denied) << out.denied->message;
  EXPECT_EQ(PatchJson(out.changes),
            R"([{"op":"replace","path":"/spec/initContainers/0/image","value":"busybox:1@)" + DigestOf('c') + R"("},)"
            R"({"op":"add","path":"/metadata/annotations","value":{"pinned-from.berth.dev/app":"reg.test/app:v1",)"
            R"("pinned-from.berth.dev/init":"busybox:1",)"
            R"("pinned-from.berth.dev/same":"reg.test/app:v1","pinned-volume.berth.dev/data":"reg.test/app"}},)"
            R"({"op":"replace","path":"/spec/containers/0/image","value":"reg.test/app:v1@)" + DigestOf('a') + R"("},)"
            R"({"op":"replace","path":"/spec/containers/1/image","value":"reg.test/app:v1@)" + DigestOf('a') + R"("},)"
            R"({"op":"replace","path":"/spec/volumes/0/image/reference","value":"reg.test/app@)" + DigestOf('b') + R"("}])");
  EXPECT_THAT(registry_.asked, UnorderedElementsAre("docker.io/library/busybox:1 shop regcred", "reg.test/app:v1 shop regcred", "reg.test/app:latest shop regcred"));
  EXPECT_THAT(out.warnings, IsEmpty());
  EXPECT_THAT(Admit(out.object.Dump()).changes, IsEmpty()) << "admitting twice changes nothing";
}

TEST_F(Pinning, OfTemplatesAnnotatesTheTemplate) {
  const Outcome out = Admit("{apiVersion: batch/v1, kind: CronJob, metadata: {name: c}, spec: {jobTemplate: {spec: {template: {metadata: {labels: {a: b}}, spec: {containers: [{name: app, image: 'reg.test/app:v1'}]}}}}}}");
  ASSERT_FALSE(out.denied);
  EXPECT_THAT(PatchJson(out.changes), HasSubstr(R"("path":"/spec/jobTemplate/spec/template/metadata/annotations",)"
                                                R"("value":{"pinned-from.berth.dev/app":"reg.test/app:v1"})"));
}

struct NotPinnedRow {
  std::string name, ns, spec, annotations, warning;
};
std::ostream& operator<<(std::ostream& out, const NotPinnedRow& r) { return out << r.name; }
class NotPinned : public Pinning, public ::testing::WithParamInterface<NotPinnedRow> {};
TEST_P(NotPinned, AndNobodyIsAsked) {
  options_.exempt_images = {"registry.test", "*.corp.test/base"};
  const Outcome out = Admit(Pod(GetParam().spec, GetParam().annotations), "", GetParam().ns);
  EXPECT_FALSE(out.denied);
  EXPECT_THAT(out.changes, IsEmpty());
  EXPECT_THAT(registry_.asked, IsEmpty());
  EXPECT_EQ(out.warnings.size(), GetParam().warning.empty() ? 0u : 1u);
  for (const auto& warning : out.warnings) EXPECT_THAT(warning, HasSubstr(GetParam().warning));
}
const std::string kApp = "{containers: [{name: app, image: 'reg.test/app:v1'}]}";
INSTANTIATE_TEST_SUITE_P(All, NotPinned,
                         ::testing::Values(NotPinnedRow{"no_label", "other", kApp, "", ""}, NotPinnedRow{"exempt_namespace", "kube-system", kApp, "", ""},
                                           NotPinnedRow{"mirror", "shop", kApp, "kubernetes.io/config.mirror: x", ""},
                                           NotPinnedRow{"exempt_registry", "shop", "{containers: [{name: a, image: 'registry.test/pause:3'}]}", "", ""},
                                           NotPinnedRow{"exempt_pattern", "shop", "{containers: [{name: a, image: 'eu.corp.test/base/os:1'}]}", "", ""},
                                           NotPinnedRow{"no_name", "shop", "{containers: [{name: a, image: 'Foo'}]}", "", "spec.containers[0].image: \"Foo\" is no image name"},
                                           NotPinnedRow{"no_image", "shop", "{containers: [{name: a}]}", "", ""}, NotPinnedRow{"no_spec", "shop", "null", "", ""}),
                         [](const auto& row) { return row.param.name; });

TEST_F(Pinning, InADryRunSaysWhatWouldBe) {
  const Outcome out = Admit(Pod("{containers: [{name: app, image: 'reg.test/app:v1'}, {name: Bad, image: 'reg.test/gone:1'}]}"), "", "try");
  EXPECT_FALSE(out.denied);
  EXPECT_THAT(out.changes, IsEmpty());
  EXPECT_THAT(out.warnings, ElementsAre("spec.containers[0].image: \"reg.test/app:v1\" would become \"reg.test/app:v1@" + DigestOf('a') + "\" (dry run)",
                                        "spec.containers[1].image: \"reg.test/gone:1\" cannot be resolved to a digest: no such tag (dry run)"));
  options_.dry_run = true;
  EXPECT_THAT(Admit(Pod(kApp)).warnings, SizeIs(1));
}

TEST_F(Pinning, RefusesALabelThatItDoesNotKnow) {
  const Outcome out = Admit(Pod(kApp), "", "typo");
  ASSERT_TRUE(out.denied);
  EXPECT_THAT(out.denied->message, HasSubstr("label berth.dev/pin-images is \"enforce\", supported values: \"Enforce\", \"DryRun\""));
}

struct FailureRow {
  std::string name;
  bool down;
  OnFailure unavailable, unresolved;
  std::string denied, warning;
  Reason cause;
};
std::ostream& operator<<(std::ostream& out, const FailureRow& r) { return out << r.name; }
class Failures : public Pinning, public ::testing::WithParamInterface<FailureRow> {};
TEST_P(Failures, AreRefusedOrLetThroughAsConfigured) {
  const FailureRow& r = GetParam();
  registry_.down = r.down;
  options_.unavailable = r.unavailable;
  options_.unresolved = r.unresolved;
  const Outcome out = Admit(Pod("{containers: [{name: app, image: 'reg.test/gone:1'}]}"));
  EXPECT_THAT(out.changes, IsEmpty());
  ASSERT_EQ(out.denied.has_value(), !r.denied.empty());
  if (out.denied) {
    EXPECT_EQ(out.denied->message, "pods \"web\" is forbidden: spec.containers[0].image: \"reg.test/gone:1\" cannot be resolved to a digest: " + r.denied);
    EXPECT_EQ(out.ToError().reason(), r.cause);
  } else {
    EXPECT_THAT(out.warnings, ElementsAre(HasSubstr(r.warning)));
  }
}
INSTANTIATE_TEST_SUITE_P(
    All, Failures,
    ::testing::Values(FailureRow{"down_refuse", true, OnFailure::kRefuse, OnFailure::kAllow, "connection refused; start it", "", Reason::kRefused},
                      FailureRow{"down_allow", true, OnFailure::kAllow, OnFailure::kRefuse, "", "connection refused; start it; the tag stays", Reason::kRefused},
                      FailureRow{"gone_refuse", false, OnFailure::kAllow, OnFailure::kRefuse, "no such tag", "", Reason::kNotFound},
                      FailureRow{"gone_allow", false, OnFailure::kRefuse, OnFailure::kAllow, "", "no such tag; the tag stays", Reason::kNotFound}),
    [](const auto& row) { return row.param.name; });

TEST_F(Pinning, AsksOnlyTheRegistriesThatAreNamed) {  // H-09
  options_.registries = {"reg.test", "docker.io"};
  EXPECT_FALSE(Admit(Pod("{containers: [{name: a, image: 'reg.test/app:v1'}, {name: b, image: 'busybox:1'}]}")).denied);
  registry_.asked.clear();
  for (const char* image : {"169.254.169.254/latest/meta-data:v1", "localhost:5000/x:v1", "[::1]:80/x:v1", "evil-reg.test/x:v1", "10.0.0.1:6443/api:v1"}) {
    const Outcome out = Admit(Pod("{containers: [{name: a, image: '" + std::string(image) + "'}]}"));
    ASSERT_TRUE(out.denied) << image;
    EXPECT_THAT(out.denied->message, HasSubstr("is not among the registries that admission may ask")) << image;
    EXPECT_EQ(out.ToError().reason(), Reason::kPolicy);
  }
  EXPECT_THAT(registry_.asked, IsEmpty());
}

TEST_F(Pinning, RefusesNamesThatCannotBeNoted) {  // H-04
  const Outcome out = Admit(Pod("{containers: [{name: a, image: 'reg.test/app:v1'}, {name: a, image: 'reg.test/app:v1'}, {name: 'A/b', image: 'reg.test/app:v1'}, {image: 'reg.test/app:v1'}]}"));
  ASSERT_TRUE(out.denied);
  EXPECT_EQ(out.denied->code, 422);
  EXPECT_THAT(out.denied->message, HasSubstr("spec.containers[0].name: Duplicate value: \"a\", spec.containers[1].name: Duplicate value: \"a\", spec.containers[2].name: Invalid value: \"A/b\""));
  EXPECT_THAT(out.denied->message, HasSubstr("spec.containers[3].name: Required value"));
  EXPECT_THAT(registry_.asked, IsEmpty());
}

TEST_F(Pinning, OfAThousandContainersIsOneLookUp) {  // H-04
  std::string list;
  for (int i = 0; i < 1000; ++i) list += "{name: c" + std::to_string(i) + ", image: 'reg.test/app:v1'}, ";
  const Outcome out = Admit(Pod("{containers: [" + list + "]}"));
  ASSERT_FALSE(out.denied);
  EXPECT_EQ(Patch(out.changes).size(), 1001u);
  EXPECT_THAT(registry_.asked, SizeIs(1));
  EXPECT_THAT(Admit(out.object.Dump()).changes, IsEmpty());
  std::string many;
  for (int i = 0; i < 65; ++i) many += "{name: c" + std::to_string(i) + ", image: 'reg.test/app:" + std::to_string(i) + "'}, ";
  const Outcome refused = Admit(Pod("{containers: [" + many + "]}"));
  ASSERT_TRUE(refused.denied);
  EXPECT_THAT(refused.denied->message, HasSubstr("65 different images to pin, 64 at most"));
}

TEST_F(Pinning, OnAnUpdateLooksAtWhatChanged) {
  const Outcome first = Admit(Pod("{containers: [{name: app, image: 'reg.test/app:v1'}, {name: tool, image: 'reg.test/tool:v1'}]}"));
  registry_.tags["reg.test/app:v1"] = DigestOf('f');
  clock_.Advance(std::chrono::hours(2));
  registry_.asked.clear();
  // The same manifest again: no roll-out.
  const Outcome again = Admit(Pod("{containers: [{name: app, image: 'reg.test/app:v1'}, {name: tool, image: 'reg.test/tool:v1'}]}"), first.object.Dump());
  EXPECT_EQ(again.object.Dump(), first.object.Dump());
  EXPECT_THAT(registry_.asked, IsEmpty());
  // Stored before pinning was asked for: stays.
  const std::string plain = Pod("{containers: [{name: app, image: 'reg.test/app:v1'}]}");
  EXPECT_THAT(Admit(plain, plain).changes, IsEmpty());
  // Another tag.
  const Outcome moved = Admit(Pod("{containers: [{name: app, image: 'reg.test/app:latest'}, {name: tool, image: 'reg.test/tool:v1'}]}"), first.object.Dump());
  EXPECT_THAT(moved.object.Dump(), HasSubstr("reg.test/app:latest@" + DigestOf('b')));
  EXPECT_THAT(registry_.asked, ElementsAre("reg.test/app:latest shop"));
  // The predecessor was somebody else's image, whatever its annotation says.
  const std::string forged = Pod("{containers: [{name: app, image: 'evil.test/app@" + DigestOf('9') + "'}]}", "pinned-from.berth.dev/app: 'reg.test/app:v1'");
  EXPECT_THAT(Admit(plain, forged).object.Dump(), HasSubstr("reg.test/app:v1@" + DigestOf('f')));
}

TEST_F(Pinning, OfEphemeralContainers) {
  const std::string before = Pod("{containers: [{name: app, image: 'reg.test/app:v1'}], ephemeralContainers: [{name: d, image: 'reg.test/tool:v1'}]}");
  const Outcome out = Admit(Pod("{containers: [{name: app, image: 'reg.test/app:v1'}], ephemeralContainers: [{name: d, image: 'reg.test/tool:v1'}, {name: e, image: 'reg.test/tool:v1'}]}"), before, "shop",
                            "ephemeralcontainers");
  EXPECT_EQ(PatchJson(out.changes), R"([{"op":"replace","path":"/spec/ephemeralContainers/1/image","value":"reg.test/tool:v1@)" + DigestOf('d') + R"("}])");
  EXPECT_THAT(Admit(Pod(kApp), Pod("{containers: [{name: app, image: x}]}"), "shop", "resize").changes, IsEmpty());
}

TEST_F(Pinning, RewritesThePolicyOnDemand) {
  const Outcome out = Admit(Pod("{containers: [{name: app, image: reg.test/app, imagePullPolicy: Always}]}", "berth.dev/pinned-pull-policy: IfNotPresent"));
  EXPECT_THAT(PatchJson(out.changes), HasSubstr(R"({"op":"replace","path":"/spec/containers/0/imagePullPolicy","value":"IfNotPresent"})"));
}

TEST_F(Pinning, DeniesWhenTheLabelCannotBeRead) {
  facts_.broken = true;
  const Outcome out = Admit(Pod(kApp));
  ASSERT_TRUE(out.denied);
  EXPECT_EQ(out.denied->code, 500);
}

// ---- the cache

class Cache : public ::testing::Test {
 protected:
  Result<Resolution> Ask(const std::string& image, const std::string& ns = "shop", std::vector<std::string> secrets = {}) {
    const std::vector<Lookup> lookups{{*reference::Reference::Parse(image), ns, std::move(secrets)}};
    return cache_.Resolve(task::Context(std::stop_token(), clock_), lookups)[0];
  }
  FakeRegistry registry_;
  time::testing::ManualClock clock_;
  DigestCache cache_{registry_, clock_, {.entries = 3}};
};

TEST_F(Cache, KeepsAnAnswerForItsTime) {
  registry_.tags["reg.test/a:1"] = DigestOf('a');
  EXPECT_EQ(Ask("reg.test/a:1")->digest.ToString(), DigestOf('a'));
  registry_.tags["reg.test/a:1"] = DigestOf('b');
  clock_.Advance(std::chrono::seconds(299));
  EXPECT_EQ(Ask("reg.test/a:1")->digest.ToString(), DigestOf('a'));
  EXPECT_THAT(registry_.asked, SizeIs(1));
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(Ask("reg.test/a:1")->digest.ToString(), DigestOf('b'));
}

TEST_F(Cache, KeepsARefusalForTenSeconds) {
  EXPECT_EQ(Ask("reg.test/a:1").error().reason(), Reason::kNotFound);
  registry_.tags["reg.test/a:1"] = DigestOf('a');
  clock_.Advance(std::chrono::seconds(9));
  EXPECT_FALSE(Ask("reg.test/a:1"));
  EXPECT_THAT(registry_.asked, SizeIs(1));
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_TRUE(Ask("reg.test/a:1"));
}

TEST_F(Cache, UsesAnOldDigestWhileTheRegistryIsDown) {
  registry_.tags["reg.test/a:1"] = DigestOf('a');
  ASSERT_TRUE(Ask("reg.test/a:1"));
  registry_.down = true;
  clock_.Advance(std::chrono::minutes(10));
  for (int i = 0; i < 3; ++i) {
    const auto old = Ask("reg.test/a:1");
    ASSERT_TRUE(old);
    EXPECT_EQ(old->age, std::chrono::minutes(10));
  }
  EXPECT_THAT(registry_.asked, SizeIs(2)) << "the failure is remembered, too";
  clock_.Advance(std::chrono::minutes(50));
  EXPECT_EQ(Ask("reg.test/a:1").error().reason(), Reason::kRefused);
  // A tag that is gone is gone.
  registry_.down = false;
  clock_.Advance(std::chrono::seconds(10));
  ASSERT_TRUE(Ask("reg.test/a:1"));
  registry_.tags.clear();
  clock_.Advance(std::chrono::minutes(6));
  EXPECT_EQ(Ask("reg.test/a:1").error().reason(), Reason::kNotFound);
  registry_.down = true;
  clock_.Advance(std::chrono::seconds(10));
  EXPECT_FALSE(Ask("reg.test/a:1"));
}

TEST_F(Cache, TellsNobodyWhatOthersMaySee) {
  registry_.tags["reg.test/a:1"] = DigestOf('a');
  ASSERT_TRUE(Ask("reg.test/a:1", "shop", {"regcred"}));
  ASSERT_TRUE(Ask("reg.test/a:1", "shop", {"regcred"}));
  ASSERT_TRUE(Ask("reg.test/a:1", "shop"));
  ASSERT_TRUE(Ask("reg.test/a:1", "evil", {"regcred"}));
  EXPECT_THAT(registry_.asked, ElementsAre("reg.test/a:1 shop regcred", "reg.test/a:1 shop", "reg.test/a:1 evil regcred"));
  ASSERT_TRUE(Ask("reg.test/a:1", "more"));
  EXPECT_EQ(cache_.size(), 3u) << "bounded";
}

// Look-ups that wait until the test lets them go.
class Gate {
 public:
  Result<digest::Digest> Pass(const task::Context& ctx) {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    if (!changed_.wait(lock, ctx.stop(), [&] { return open_; })) return Error(Reason::kCanceled, "stopped");
    return *digest::Digest::Parse(DigestOf('a'));
  }
  void Await(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= n; });
  }
  void Open() {
    { std::lock_guard lock(mutex_); open_ = true; }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool open_ = false;
  int waiting_ = 0;
};

TEST(CacheFlights, ServeManyAskersAndOutliveThem) {  // H-10
  Gate gate;
  FakeRegistry registry;
  registry.special["reg.test/a:1"] = [&](const task::Context& ctx) { return gate.Pass(ctx); };
  const time::testing::ManualClock clock;
  DigestCache cache(registry, clock, {.lookups = 1});
  const std::vector<Lookup> a{{*reference::Reference::Parse("reg.test/a:1"), "shop", {}}}, b{{*reference::Reference::Parse("reg.test/b:1"), "shop", {}}};
  std::stop_source leave;
  std::vector<std::jthread> askers;
  std::atomic<int> cancelled = 0;
  for (int i = 0; i < 8; ++i)
    askers.emplace_back([&] {
      if (!cache.Resolve(task::Context(leave.get_token(), clock), a)[0]) ++cancelled;
    });
  gate.Await(1);
  const auto busy = cache.Resolve(task::Context(std::stop_token(), clock), b)[0];
  EXPECT_EQ(busy.error().reason(), Reason::kUnavailable);
  EXPECT_THAT(busy.error().message(), HasSubstr("limit: lookups"));
  leave.request_stop();
  askers.clear();
  EXPECT_EQ(cancelled, 8);
  gate.Open();
  EXPECT_TRUE(cache.Resolve(task::Context(std::stop_token(), clock), a)[0]);
  EXPECT_THAT(registry.asked, ElementsAre("reg.test/a:1 shop"));
}

TEST(CacheFlights, EndWithTheCache) {
  Gate gate;
  FakeRegistry registry;
  registry.special["reg.test/a:1"] = [&](const task::Context& ctx) { return gate.Pass(ctx); };
  const time::testing::ManualClock clock;
  const std::vector<Lookup> a{{*reference::Reference::Parse("reg.test/a:1"), "shop", {}}};
  {
    DigestCache cache(registry, clock);
    std::stop_source leave;
    std::jthread asker([&] { (void)cache.Resolve(task::Context(leave.get_token(), clock), a); });
    gate.Await(1);
    leave.request_stop();
  }
  EXPECT_THAT(registry.asked, SizeIs(1));
}

}  // namespace
}  // namespace berth::admission
