#include "node/image_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>

#include "host/fault.h"
#include "host/testing/scratch.h"
#include "policy/image_manager.h"
#include "pull/testing/node.h"
#include "time/testing/manual_clock.h"

namespace berth::node {
namespace {

using pull::testing::Login;
using pull::testing::Tar;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

struct NoEvents final : policy::EventSink {
  void Emit(const policy::ObjectRef&, const policy::Event&) override {}
};
struct NoCredentials final : policy::CredentialSource {
  Result<std::vector<policy::PullCredential>> Find(const task::Context&, const std::string&) override {
    return std::vector<policy::PullCredential>();
  }
};

class ImageServiceTest : public ::testing::Test {
 protected:
  std::string Ref(const std::string& image) {
    const auto ref = service_.ImageRef({}, image);
    return ref ? *ref : "error: " + ref.error().Text();
  }
  std::string Name(const std::string& name) { return node_.Name(name); }

  pull::testing::Node node_;
  ImageService service_{*node_.puller, *node_.stores.catalog, *node_.stores.leases, *node_.stores.layers, *oci::Platform::Parse("linux/amd64")};
};

TEST_F(ImageServiceTest, APulledImageIsPresentByEveryName) {
  const auto image = node_.registry.PutImage("app", "1", {Tar("a", "x")});
  const std::string id = image.config.digest.ToString();
  EXPECT_EQ(Ref(Name("app:1")), "");
  const auto pulled = service_.Pull({}, Name("app:1"), nullptr, {});
  ASSERT_TRUE(pulled) << pulled.error().Text();
  EXPECT_EQ(*pulled, id) << "4.10: the id is what a pull returns";
  for (const auto& name : {Name("app:1"), Name("app@") + image.manifest.digest.ToString(), id, id.substr(7)}) EXPECT_EQ(Ref(name), id) << name;
  EXPECT_EQ(Ref(Name("app:2")), "");
  EXPECT_EQ(Ref("sha256:" + std::string(64, 'a')), "");
  EXPECT_THAT(Ref(Name("App:1")), StartsWith("error: "));
  EXPECT_EQ(*service_.Size({}, id), service_.Find(id)->size);
  EXPECT_EQ(service_.Size({}, "sha256:" + std::string(64, 'a')).error().reason(), Reason::kNotFound);
}

// Found by an audit: such an image was here, and no Pod could be started from it.
TEST_F(ImageServiceTest, AnIdOfAnotherAlgorithmIsAnIdToo) {
  node_.registry.PutImage("app", "1", {Tar("a", "x")});
  auto image = *service_.Find(*service_.Pull({}, Name("app:1"), nullptr, {}));
  for (const auto algorithm : {digest::Algorithm::kSha384, digest::Algorithm::kSha512}) {
    const std::string name(digest::Name(algorithm));
    image.config = digest::Digest::Of(bytes::AsView("config"), algorithm);
    image.manifest = digest::Digest::Of(bytes::AsView(name));
    ASSERT_TRUE(node_.stores.catalog->PublishImage({.name = Name(name + ":1"), .implied_name = {}, .target = image.manifest, .media_type = "m",
                                                    .documents = {}, .images = {image}, .pull = {}, .journal = ""}));
    const std::string id = image.config.ToString();
    for (const auto& text : {Name(name + ":1"), id, image.config.Hex()}) {
      EXPECT_EQ(Ref(text), id) << text;
      EXPECT_EQ(*service_.KnownId(text), id) << text;
    }
    const auto found = service_.Find(id);
    ASSERT_TRUE(found) << found.error().Text();
    EXPECT_EQ(found->manifest, image.manifest);
    EXPECT_TRUE(service_.Size({}, id));
    EXPECT_EQ(Ref(name + ":" + std::string(image.config.Hex().size(), 'a')), "");
  }
}

// What garbage collection asks of every Pod: the collector has claimed the image before.
TEST_F(ImageServiceTest, AClaimedImageIsAbsentAndStillKnown) {
  node_.registry.PutImage("app", "1", {Tar("a", "x")});
  const std::string id = *service_.Pull({}, Name("app:1"), nullptr, {});
  {
    const auto claim = node_.stores.leases->ClaimFree({service_.Find(id)->manifest});
    ASSERT_THAT(claim.objects(), SizeIs(1));
    EXPECT_EQ(Ref(Name("app:1")), "");
    EXPECT_EQ(*service_.KnownId(Name("app:1")), id);
    EXPECT_EQ(*service_.KnownId(id), id);
  }
  EXPECT_EQ(*service_.KnownId(Name("app:2")), "");
  EXPECT_FALSE(service_.KnownId(Name("App:1")));
}

// Layers that list no parent directories of what they add are mounted by a variant of their own.
TEST_F(ImageServiceTest, AnImageWithLayersThatWereFittedIsPresent) {
  const std::string base = tar::testing::Builder().Dir("usr").Dir("usr/share").Mode(0711).File("usr/share/old", "o").Finish();
  const auto image = node_.registry.PutImage("app", "1", {base, Tar("usr/share/new", "n")});
  const auto id = service_.Pull({}, Name("app:1"), nullptr, {});
  ASSERT_TRUE(id) << id.error().Text();
  const auto record = service_.Find(*id);
  ASSERT_TRUE(record);
  ASSERT_THAT(record->layers, SizeIs(2));
  ASSERT_NE(record->layers[1].variant, "") << "or this tests nothing";
  EXPECT_EQ(Ref(Name("app:1")), *id);
  ASSERT_TRUE(*node_.stores.layers->RemoveVariant(record->layers[1].blob, record->layers[1].variant));
  EXPECT_EQ(Ref(Name("app:1")), "") << "its file is gone, so it has to be pulled";
  ASSERT_TRUE(service_.Pull({}, Name("app:1"), nullptr, {}));
  EXPECT_EQ(Ref(Name("app:1")), *id);
}

TEST_F(ImageServiceTest, AnImageThatLostALayerIsAbsentAndIsMadeWhole) {
  const auto image = node_.registry.PutImage("app", "1", {Tar("a", "x"), Tar("b", "y")});
  const auto id = service_.Pull({}, Name("app:1"), nullptr, {});
  ASSERT_TRUE(id);
  ASSERT_TRUE(*node_.stores.layers->Remove({}, image.layers[0].digest));
  EXPECT_EQ(Ref(Name("app:1")), "");
  ASSERT_TRUE(service_.Pull({}, Name("app:1"), nullptr, {}));
  EXPECT_EQ(Ref(Name("app:1")), *id);
}

TEST_F(ImageServiceTest, OneCredentialIsTriedAtATimeAndNotShown) {
  node_.registry.PutImage("app", "1", {Tar("a", "x")});
  node_.registry.RequireBasic("alice", "right-canary");
  const auto wrong = Login("alice", "wrong-canary"), right = Login("alice", "right-canary");
  for (const auto* credential : {static_cast<const credentials::Credential*>(nullptr), &wrong}) {
    const auto refused = service_.Pull({}, Name("app:1"), credential, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason(), Reason::kUnauthorized);
    EXPECT_THAT(refused.error().Text(), StartsWith("E-AUTH-401 "));
    EXPECT_THAT(refused.error().Text(), HasSubstr(Name("app")));
    EXPECT_THAT(refused.error().Text(), ::testing::Not(HasSubstr("canary")));
  }
  EXPECT_TRUE(service_.Pull({}, Name("app:1"), &right, {}));
}

TEST_F(ImageServiceTest, AnImageOfAnotherPlatformIsNone) {
  node_.registry.PutImage("app", "1", {Tar("a", "x")}, "arm64");
  const auto pulled = service_.Pull({}, Name("app:1"), nullptr, {});
  ASSERT_FALSE(pulled);
  EXPECT_THAT(pulled.error().Text(), StartsWith("E-PLATFORM "));
  EXPECT_EQ(Ref(Name("app:1")), "");
}

// However often a Pod is looked at, its registry hears of it once per back-off period.
TEST_F(ImageServiceTest, P13_OneRequestPerBackOffPeriod) {
  NoEvents events;
  NoCredentials anonymous;
  time::testing::ManualClock clock;
  policy::ImageManager manager({}, {service_, events, nullptr, clock});
  const policy::Request request{.object = {"shop", "web", "pod", ""}, .pod_uid = "pod", .image = Name("app:1"), .policy = policy::PullPolicy::kIfNotPresent};
  int asked = 0;
  for (const int seconds : {10, 20, 40, 80, 160, 300, 300}) {
    EXPECT_EQ(manager.EnsureImageExists({}, request, anonymous).reason, "ErrImagePull");
    EXPECT_EQ(node_.registry.Count(""), ++asked) << "a tag that is not there is one request";
    for (int i = 0; i < 9; ++i) {
      EXPECT_EQ(manager.EnsureImageExists({}, request, anonymous).reason, "ImagePullBackOff");
      clock.Advance(std::chrono::milliseconds(seconds * 100));
    }
    EXPECT_EQ(node_.registry.Count(""), asked);
    clock.Advance(std::chrono::milliseconds(seconds * 100));
  }
}

// Allows everything, and nothing any more when a pull has ended.
struct ChangedMeanwhile final : verify::Verifier, pull::Observer {
  bool enabled() const override { return true; }
  std::optional<verify::Verdict> Decide(const reference::Reference&, const digest::Digest*) const override {
    return verify::Verdict{.outcome = denies ? verify::Outcome::kDenied : verify::Outcome::kAllowed, .reason = "no more"};
  }
  Result<verify::Verdict> Verify(const task::Context&, const verify::Subject& s, registry::Repository&) const override {
    return *Decide(s.name, &s.digest);
  }
  bool Holds(const verify::Verdict&, const reference::Reference&) const override { return !denies; }
  bool MayRefuse(const reference::Reference&) const override { return true; }
  std::string KeyOf(const reference::Reference& name, const digest::Digest&) const override { return name.Canonical(); }
  void OnAttempt(const registry::Attempt&) override {}
  void OnLayer(std::uint64_t, double) override {}
  void OnPull(std::string_view, const pull::Pulled&, const Error*) override { denies = true; }
  std::atomic<bool> denies{false};
};

// Found by an audit: the container that the pull starts was started.
TEST(ImageService, RulesThatChangeDuringAPullAreHeeded) {
  ChangedMeanwhile rules;
  pull::testing::Node node({.observer = &rules}, {}, &rules);
  ImageService service(*node.puller, *node.stores.catalog, *node.stores.leases, *node.stores.layers, *oci::Platform::Parse("linux/amd64"));
  node.registry.PutImage("app", "1", {Tar("a", "x")});
  const auto pulled = service.Pull({}, node.Name("app:1"), nullptr, {});
  ASSERT_FALSE(pulled);
  EXPECT_EQ(pulled.error().reason(), Reason::kSignature);
  EXPECT_EQ(pulled.error().Text(), "SignatureValidationFailed: E-VERIFY " + node.Name("app:1") + ": no more");
}

TEST_F(ImageServiceTest, ACancelledPullSaysSo) {
  node_.registry.PutImage("app", "1", {Tar("a", "x")});
  std::stop_source stop;
  stop.request_stop();
  const auto pulled = service_.Pull(task::Context(stop.get_token()), Name("app:1"), nullptr, {});
  ASSERT_FALSE(pulled);
  EXPECT_TRUE(pulled.error().cancelled());
}

// The pull ends while its image is being published: cancelled, or with an error after the image is visible.
TEST_F(ImageServiceTest, APullThatIsCancelledWhileItPublishesHasAskedBefore) {
  const std::string id = node_.registry.PutImage("app", "1", {Tar("a", "x")}).config.digest.ToString();
  std::stop_source stop;
  std::latch asked(1), returned(1);
  std::vector<std::string> ids;
  bool visible = true;
  {
    std::jthread pod([&] {
      const auto pulled = service_.Pull(task::Context(stop.get_token()), Name("app:1"), nullptr, [&](const auto& coming) {
        ids = coming;
        visible = node_.Has("app:1");
        asked.count_down();
        returned.wait();
        return Result<std::shared_ptr<const void>>(nullptr);
      });
      if (ids.empty()) asked.count_down();
      EXPECT_TRUE(!pulled && pulled.error().cancelled());
      returned.count_down();
    });
    asked.wait();
    stop.request_stop();
  }
  node_.puller.reset();
  EXPECT_EQ(ids, std::vector{id});
  EXPECT_FALSE(visible);
  EXPECT_TRUE(node_.Has("app:1")) << "or this tests nothing";
}

TEST_F(ImageServiceTest, AnImageWhosePullFailedAfterItWasVisibleIsNotAPreloadedOne) {
  const auto image = node_.registry.PutImage("app", "1", {Tar("a", "x")});
  const std::string id = image.config.digest.ToString();
  NoEvents events;
  NoCredentials anonymous;
  const host::testing::Scratch scratch;
  const time::testing::ManualClock clock;
  const auto records = *policy::Records::Open(scratch.dir(), {}, clock);
  policy::ImageManager manager({}, {service_, events, records.get(), clock});
  ASSERT_TRUE(host::ConfigureFaults("image.recorded=error(EIO)*1"));
  const auto failed = manager.EnsureImageExists(
      {}, {.object = {}, .pod_uid = "pod", .image = Name("app:1"), .policy = policy::PullPolicy::kIfNotPresent}, anonymous);
  ASSERT_TRUE(host::ConfigureFaults(""));
  EXPECT_EQ(failed.reason, "ErrImagePull");
  EXPECT_EQ(records->intents_on_disk(), 0u);
  for (const auto& name : {Name("app:1"), Name("app@") + image.manifest.digest.ToString(), id}) {
    EXPECT_EQ(Ref(name), id) << "or this tests nothing";
    EXPECT_TRUE(records->MustAttemptPull(name, id, [] { return std::vector<policy::AccessCredential>(); }).must_pull) << name;
  }
}

struct TextRow { const char* name; Reason reason; std::string text, want; };
void PrintTo(const TextRow& row, std::ostream* out) { *out << row.name; }
class CriTexts : public ::testing::TestWithParam<TextRow> {};
TEST_P(CriTexts, FitIntoAnEvent) {
  const std::string got = CriText(Error(GetParam().reason, GetParam().text), "reg.test/app:1");
  EXPECT_EQ(got, GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(Table, CriTexts, ::testing::Values(
    TextRow{"NamesTheImage", Reason::kUnauthorized, "no", "E-AUTH-401 reg.test/app:1: no"},
    TextRow{"NotTwice", Reason::kUnauthorized, "reg.test/app:1 is private", "E-AUTH-401 reg.test/app:1 is private"},
    TextRow{"Unreachable", Reason::kRefused, "x", "RegistryUnavailable: E-REFUSED reg.test/app:1: x"},
    TextRow{"Dns", Reason::kDns, "x", "RegistryUnavailable: E-DNS reg.test/app:1: x"},
    TextRow{"ServerError", Reason::kServerError, "x", "RegistryUnavailable: E-5XX reg.test/app:1: x"}),
    [](const auto& row) { return row.param.name; });
TEST(CriText, IsCutAtACharacter) {
  std::string text;
  while (text.size() < 2000) text += "\u00e9";
  for (const char* pad : {"", "x"}) {
    const std::string got = CriText(Error(Reason::kIo, pad + text), "i");
    EXPECT_LE(got.size(), 900u);
    EXPECT_GE(got.size(), 898u);
    EXPECT_THAT(got, EndsWith("\u00e9..."));
  }
}

}  // namespace
}  // namespace berth::node
