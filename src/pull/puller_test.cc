#include "pull/puller.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <functional>
#include <latch>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "codec/testing/window_frame.h"
#include "host/fault.h"
#include "json/document.h"
#include "oci/testing/documents.h"
#include "pull/testing/node.h"
#include "time/testing/manual_clock.h"

namespace berth::pull {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using http::testing::Gate;
using http::testing::Reply;
using http::testing::ServerRequest;
using reclaim::testing::Flip;
using registry::testing::FakeRegistry;
using testing::Login;
using testing::Node;
using testing::Tar;

// Bytes that do not compress and differ by seed.
std::string Noise(std::size_t size, unsigned seed = 1) {
  std::string text(size, '\0');
  for (char& c : text) {
    seed = seed * 1664525u + 1013904223u;
    c = static_cast<char>(seed >> 24);
  }
  return text;
}
const std::string kSmall = Tar("small", "s"), kBase = Tar("base", Noise(300'000, 2)), kBig = Tar("big", Noise(3'000'000, 3));

std::string Blob(const std::string& repository, const oci::Descriptor& d) {
  return "GET /v2/" + repository + "/blobs/" + d.digest.ToString();
}

// Until the first layer of a pull is on its way.
void AwaitFetching(const Puller::Pull& pull) {
  for (;;) {
    const Snapshot now = pull.progress().Take();
    if (!now.layers.empty() && now.layers[0].phase == LayerPhase::kFetching) return;
    ASSERT_TRUE(pull.progress().AwaitChange({}, now.version));
  }
}

// A place in the pull that stops until the test lets go of it.
class PausePoint {
 public:
  explicit PausePoint(const std::string& point) {
    for (const std::string& file : {path_, path_ + ".reached"}) EXPECT_EQ(::mkfifo(file.c_str(), 0600), 0);
    reached_ = host::Fd(::open((path_ + ".reached").c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(host::ConfigureFaults(point + "=pause(" + path_ + ")*1"));
  }
  ~PausePoint() { EXPECT_TRUE(host::ConfigureFaults("")); }
  void AwaitReached() {
    std::byte one;
    EXPECT_TRUE(host::ReadExact(reached_.get(), {&one, 1}));
  }
  void Release() {
    const host::Fd gate(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(host::WriteAll(gate.get(), bytes::AsView(std::string_view("x"))));
    held_.push_back(host::Fd(::dup(gate.get())));  // until we go: the byte must not be lost with the last descriptor
  }

 private:
  reclaim::testing::Folder folder_;
  std::string path_ = folder_.path() + "/pause";
  host::Fd reached_;
  std::vector<host::Fd> held_;
};

std::string Text(const oci::Descriptor& d) {
  return oci::testing::DescriptorText(d.media_type, d.digest.ToString(), std::to_string(d.size));
}
// A manifest that FakeRegistry::PutImage would not write.
void PutManifest(FakeRegistry& registry, const std::string& tag, const std::vector<std::string>& layers, const oci::Descriptor& config) {
  registry.PutManifest("app", oci::testing::ManifestText(layers, Text(config)), std::string(oci::kOciManifest), tag);
}

// As berth rm: rows first, then files.
void Remove(const Node& node, const std::string& name) {
  const auto& stores = node.stores;
  EXPECT_TRUE(*stores.catalog->RemoveName(node.Name(name)));
  const auto gone = *stores.catalog->Forget(*stores.catalog->FindUnreferenced(time::WallTime::max()));
  for (const auto& layer : gone.layers) EXPECT_TRUE(stores.layers->Remove({}, layer));
  for (const auto& blob : gone.blobs) EXPECT_TRUE(stores.content->Remove(blob.digest));
}

// An index of images that are in the registry already; platform "" for none.
oci::Descriptor PutIndex(FakeRegistry& registry, const std::string& repository, const std::string& tag,
                         const std::vector<std::pair<std::string, oci::Descriptor>>& entries) {
  std::vector<std::string> texts;
  for (const auto& [platform, d] : entries) {
    std::string more;
    for (std::size_t at = 0, part = 0; at < platform.size(); ++part) {
      const std::size_t end = std::min(platform.find('/', at), platform.size());
      more += std::string(part == 0 ? R"(,"platform":{")" : R"(,")") + std::array{"os", "architecture", "variant"}.at(part) + R"(":")" +
              platform.substr(at, end - at) + '"';
      at = end + 1;
    }
    if (!more.empty()) more += '}';
    if (d.artifact_type) more += R"(,"artifactType":")" + *d.artifact_type + '"';
    texts.push_back(oci::testing::DescriptorText(d.media_type, d.digest.ToString(), std::to_string(d.size), more));
  }
  return registry.PutManifest(repository, oci::testing::IndexText(texts), std::string(oci::kOciIndex), tag);
}

// A bill of materials, which lies beside images.
oci::Descriptor PutBill(FakeRegistry& registry) {
  return registry.PutManifest(
      "app", R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/spdx+json","config":)" +
                 oci::testing::DescriptorText("application/vnd.oci.empty.v1+json", registry.PutBlob("app", "{}").digest.ToString(), "2") + R"(,"layers":[]})",
      std::string(oci::kOciManifest));
}

// The same image with another platform in its config, as JSON ("" of it: none), and more text in its manifest.
oci::Descriptor PutVariation(FakeRegistry& registry, const std::string& tag, const FakeRegistry::Image& image, const std::string& platform,
                             const std::string& more = "") {
  const std::string repository = "app";
  const auto replaced = [](std::string text, const std::string& from, const std::string& to) {
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  const std::string config = replaced(image.config_bytes, R"("architecture":"amd64","os":"linux",)", platform.empty() ? "" : platform + ",");
  const auto put = registry.PutBlob(repository, config, std::string(oci::kOciConfig));
  std::string manifest = replaced(image.manifest_bytes, image.config.digest.ToString(), put.digest.ToString());
  manifest = replaced(manifest, R"("size":)" + std::to_string(image.config.size), R"("size":)" + std::to_string(put.size));
  if (!more.empty()) manifest.insert(manifest.size() - 1, "," + more);
  return registry.PutManifest(repository, manifest, std::string(oci::kOciManifest), tag);
}

TEST(Puller, AnImageIsFetchedOnceVerifiedAndRecorded) {
  Node node;
  const auto image = node.registry.PutImage("team/app", "v1", {kBase, kSmall});
  auto pull = node.puller->Start({}, node.Ask("team/app:v1"));
  const auto done = pull.Wait({});
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->name, node.Name("team/app:v1"));
  EXPECT_EQ(done->target, image.manifest.digest);
  EXPECT_FALSE(done->was_present);
  EXPECT_EQ(done->fetched_bytes, kBase.size() + kSmall.size());
  EXPECT_EQ(done->credential, "anonymous");
  EXPECT_THAT(done->host, HasSubstr(node.registry.host()));
  ASSERT_THAT(done->images, SizeIs(1));
  EXPECT_EQ(done->images[0].platform, "linux/amd64");
  EXPECT_EQ(done->images[0].config, image.config.digest);
  EXPECT_THAT(done->images[0].names, ElementsAre(node.Name("team/app:v1"), node.Name("team/app@" + image.manifest.digest.ToString())));

  EXPECT_THAT(node.registry.log(), SizeIs(4)) << "manifest, config, two layers";
  EXPECT_THAT(node.registry.violations(), IsEmpty());
  for (const auto& layer : image.layers) EXPECT_TRUE(*node.stores.layers->Find(layer.digest));
  EXPECT_EQ(*node.stores.content->ReadDocument(image.manifest.digest, 1 << 20), image.manifest_bytes);
  EXPECT_EQ(*node.stores.content->ReadDocument(image.config.digest, 1 << 20), image.config_bytes);
  EXPECT_THAT(*node.stores.catalog->OpenPulls(), IsEmpty());
  EXPECT_THAT(*node.stores.content->Partials(), IsEmpty());
  EXPECT_EQ(node.stores.leases->size(), 0u);

  const Snapshot last = pull.progress().Take();
  EXPECT_EQ(last.phase, Phase::kEnded);
  EXPECT_EQ(last.current_bytes(), last.total_bytes());
  EXPECT_EQ(last.total_bytes(), kBase.size() + kSmall.size());
  EXPECT_EQ(last.layers[0].phase, LayerPhase::kDone);

  const auto entry = *node.stores.catalog->LastOf(done->name);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->kind, "pulled");
  const auto record = json::Document::Parse(entry->record, Reason::kInternal);
  ASSERT_TRUE(record) << entry->record;
  EXPECT_EQ(static_cast<std::uint64_t>(*(*record->root().Get("bytes_fetched")).AsInt64()), done->fetched_bytes);
  EXPECT_THAT(entry->record, HasSubstr("manifest v1"));
}

TEST(Puller, AnImageWithoutLayersIsOne) {
  Node node;
  node.registry.PutImage("app", "1", {});
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_TRUE(node.Has("app:1"));
}

TEST(Puller, ACheckThatFailedIsOnRecordUntilOneSucceeds) {
  Node node;
  node.registry.PutImage("app", "1", {kSmall});
  ASSERT_TRUE(node.Pull(node.Ask("app:1")));
  const auto last = [&] { return **node.stores.catalog->LastOf(node.Name("app:1")); };
  const auto first = last();
  ASSERT_TRUE(node.Pull(node.Ask("app:1", Policy::kAlways))->was_present);
  EXPECT_EQ(last().id, first.id) << "nothing new";

  node.registry.On("", [](const auto&) { return http::testing::Reply::Text(404, ""); }, 2);  // HEAD, then GET
  EXPECT_EQ(node.Pull(node.Ask("app:1", Policy::kAlways)).error().reason(), Reason::kNotFound);
  EXPECT_EQ(last().kind, "failed");
  EXPECT_THAT(last().record, HasSubstr("E-MANIFEST-404"));
  EXPECT_EQ((*node.stores.catalog->LastOf(node.Name("app:1"), "pulled"))->id, first.id);

  ASSERT_TRUE(node.Pull(node.Ask("app:1", Policy::kAlways))->was_present);
  EXPECT_EQ(last().kind, "pulled");
  EXPECT_THAT(last().record, HasSubstr(R"("bytes_fetched":0)"));
}

TEST(Puller, ByDigestTheNameIsTheDigest) {
  Node node;
  const auto image = node.registry.PutImage("app", "", {kSmall});
  const std::string name = "app@" + image.manifest.digest.ToString();
  ASSERT_TRUE(node.Pull(node.Ask(name)));
  EXPECT_FALSE((*node.stores.catalog->FindName(node.Name(name)))->implied);
  EXPECT_TRUE(node.Pull(node.Ask(name))->was_present);
}

// --- policies

struct PolicyCase {
  const char* name;
  Policy policy;
  bool present, moved;
  std::optional<Reason> error;
  bool was_present, new_digest;
  int heads, gets;
};
class PolicyTest : public ::testing::TestWithParam<PolicyCase> {};

TEST_P(PolicyTest, DecidesWhatIsAskedOfTheRegistry) {
  const PolicyCase& c = GetParam();
  Node node;
  const auto old = node.registry.PutImage("app", "1", {kBase});
  ASSERT_TRUE(!c.present || node.Pull(node.Ask("app:1")));
  const auto now = c.moved ? node.registry.PutImage("app", "1", {kBase, kSmall}) : old;
  node.registry.ClearLog();
  const auto done = node.Pull(node.Ask("app:1", c.policy));
  EXPECT_EQ(node.registry.Count("HEAD"), c.heads);
  EXPECT_EQ(node.registry.Count("GET"), c.gets) << ::testing::PrintToString(node.registry.log());
  if (c.error) {
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().reason(), *c.error);
    EXPECT_FALSE(done.error().next_step().empty());
    return;
  }
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->was_present, c.was_present);
  EXPECT_EQ(done->target, (c.new_digest ? now : old).manifest.digest);
  EXPECT_EQ((*node.stores.catalog->FindName(node.Name("app:1")))->target, done->target);
  EXPECT_THAT(done->images, SizeIs(1));
}
INSTANTIATE_TEST_SUITE_P(Rows, PolicyTest,
    ::testing::Values(PolicyCase{"NeverAbsent", Policy::kNever, false, false, Reason::kNever, false, false, 0, 0},
                      PolicyCase{"NeverPresent", Policy::kNever, true, true, {}, true, false, 0, 0},
                      PolicyCase{"IfNotPresentAbsent", Policy::kIfNotPresent, false, false, {}, false, true, 0, 3},
                      PolicyCase{"IfNotPresentPresent", Policy::kIfNotPresent, true, true, {}, true, false, 0, 0},
                      PolicyCase{"AlwaysAbsent", Policy::kAlways, false, false, {}, false, true, 0, 3},
                      PolicyCase{"AlwaysSame", Policy::kAlways, true, false, {}, true, false, 1, 0},
                      PolicyCase{"AlwaysMoved", Policy::kAlways, true, true, {}, false, true, 1, 3}),
    [](const auto& row) { return row.param.name; });

// --- removed while somebody else is asked

TEST(Puller, WhatIsRemovedWhileTheRegistryIsAskedIsFetched) {
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kSmall});
  ASSERT_TRUE(node.Pull(node.Ask("app:1")));
  node.registry.On("HEAD", [&](const ServerRequest&) {
    Remove(node, "app:1");
    return Reply::Text(200, image.manifest_bytes, {{"Content-Type", image.manifest.media_type},
                                                   {"Docker-Content-Digest", image.manifest.digest.ToString()}});
  }, 1);
  const auto done = node.Pull(node.Ask("app:1", Policy::kAlways));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_FALSE(done->was_present);
  EXPECT_THAT(done->images, SizeIs(1));
  EXPECT_TRUE(node.Has("app:1"));
  EXPECT_TRUE(*node.stores.layers->Find(image.layers[0].digest));
  EXPECT_THAT(*node.stores.catalog->OpenPulls(), IsEmpty());
}

// Allows everything, asks each time.
class AskingVerifier final : public verify::Verifier {
 public:
  bool enabled() const override { return true; }
  std::optional<verify::Verdict> Decide(const reference::Reference&, const digest::Digest*) const override { return std::nullopt; }
  Result<verify::Verdict> Verify(const task::Context&, const verify::Subject&, registry::Repository&) const override {
    if (asked) std::exchange(asked, nullptr)();
    return verify::Verdict{.outcome = verify::Outcome::kAllowed};
  }
  bool Holds(const verify::Verdict&, const reference::Reference&) const override { return false; }
  bool MayRefuse(const reference::Reference&) const override { return true; }
  std::string KeyOf(const reference::Reference&, const digest::Digest& digest) const override { return digest.ToString(); }

  mutable std::function<void()> asked;  // once
};

TEST(Puller, WhatIsRemovedWhileItIsVerifiedIsFetched) {
  const AskingVerifier verifier;
  Node node({}, {}, &verifier);
  const auto image = node.registry.PutImage("app", "1", {kSmall});
  for (const Policy policy : {Policy::kIfNotPresent, Policy::kAlways}) {
    ASSERT_TRUE(node.Pull(node.Ask("app:1", policy)));
    EXPECT_TRUE(node.Pull(node.Ask("app:1", policy))->was_present);
    verifier.asked = [&] { Remove(node, "app:1"); };
    const auto done = node.Pull(node.Ask("app:1", policy));
    ASSERT_TRUE(done) << done.error().Text();
    EXPECT_FALSE(done->was_present);
    EXPECT_THAT(done->images, SizeIs(1));
    EXPECT_TRUE(done->verdict);
    EXPECT_TRUE(node.Has("app:1"));
    EXPECT_TRUE(*node.stores.layers->Find(image.layers[0].digest));
  }
}

// --- platforms

class PlatformTest : public ::testing::Test {
 protected:
  PlatformTest() {
    amd_ = node_.registry.PutImage("app", "", {kBase, Tar("arch", "amd64")}, "amd64");
    arm_ = node_.registry.PutImage("app", "", {kBase, Tar("arch", "arm")}, "arm");
    PutIndex(node_.registry, "app", "1", {{"linux/arm/v7", arm_.manifest}, {"linux/amd64", amd_.manifest}});
  }
  Request Ask(std::vector<std::string> platforms, const std::string& name = "app:1") {
    Request request = node_.Ask(name);
    for (const auto& p : platforms) request.platforms.push_back(*oci::Platform::Parse(p));
    return request;
  }
  Node node_;
  FakeRegistry::Image amd_, arm_;
};

TEST_F(PlatformTest, TheHostsIsTheDefault) {
  const auto done = node_.Pull(Ask({}));
  ASSERT_TRUE(done) << done.error().Text();
  ASSERT_THAT(done->images, SizeIs(1));
  EXPECT_EQ(done->images[0].manifest, amd_.manifest.digest);
  EXPECT_EQ(node_.registry.Count("GET /v2/app/manifests/" + arm_.manifest.digest.ToString()), 0);
}

TEST_F(PlatformTest, AnotherIsChosenByNameAndKeepsTheIndexesVariant) {
  const auto done = node_.Pull(Ask({"linux/arm/v7"}));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->images[0].manifest, arm_.manifest.digest);
  EXPECT_EQ(done->images[0].platform, "linux/arm/v7");
}

TEST_F(PlatformTest, ASecondOneJoinsTheFirst) {
  ASSERT_TRUE(node_.Pull(Ask({"linux/amd64"})));
  const auto done = node_.Pull(Ask({"linux/arm/v7"}));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->reused_bytes, kBase.size());
  EXPECT_THAT((*node_.stores.catalog->FindName(node_.Name("app:1")))->images, ElementsAre(amd_.manifest.digest, arm_.manifest.digest));
  EXPECT_TRUE(node_.Pull(Ask({"linux/arm/v7", "linux/amd64"}))->was_present);
}

// Found by an audit: what came first stayed the answer, whatever fits better.
TEST_F(PlatformTest, WhatIsHereIsNoAnswerWhereTheIndexHasABetterOne) {
  const auto put = [&](const char* arch) { return node_.registry.PutImage("app", "", {kBase, Tar("arch", arch)}, arch).manifest; };
  const auto old = put("386"), arm64 = put("arm64"), no_image = node_.registry.PutBlob("app", "{}");
  PutIndex(node_.registry, "app", "two", {{"linux/386", old}, {"linux/amd64", amd_.manifest}});
  PutIndex(node_.registry, "app", "arms", {{"linux/arm/v7", arm_.manifest}, {"linux/arm64", arm64}});
  const auto inner = PutIndex(node_.registry, "app", "", {{"linux/amd64", amd_.manifest}, {"linux/386", old}});
  PutIndex(node_.registry, "app", "nested", {{"", inner}});
  PutIndex(node_.registry, "app", "unnamed", {{"", amd_.manifest}, {"", old}});
  PutIndex(node_.registry, "app", "only", {{"linux/386", old}, {"linux/s390x", no_image}, {"", no_image}});
  node_.registry.Tag("app", "alone", old.digest);
  auto bill = PutBill(node_.registry);
  PutIndex(node_.registry, "app", "unknown", {{"unknown/unknown", bill}, {"linux/386", old}});
  bill.artifact_type = "application/spdx+json";
  PutIndex(node_.registry, "app", "artifact", {{"linux/amd64", bill}, {"linux/386", old}});
  const std::string never = "E-NEVER the image is not here and the policy is Never";
  struct Row { std::string tag; const char* first; std::string then; digest::Digest better; };
  for (const Row& row : {Row{"two", "linux/386", "linux/amd64", amd_.manifest.digest}, Row{"arms", "linux/arm/v7", "linux/arm64", arm64.digest},
                         Row{"nested", "linux/386", "linux/amd64", amd_.manifest.digest}, Row{"unnamed", "linux/386", "linux/amd64", amd_.manifest.digest},
                         Row{"unknown", "linux/386", "linux/amd64", old.digest},
                         Row{"artifact", "linux/386", "linux/amd64", old.digest}, Row{"only", "linux/386", "linux/amd64", old.digest}, Row{"alone", "linux/386", "linux/amd64", old.digest}}) {
    for (const Policy policy : {Policy::kIfNotPresent, Policy::kAlways}) {
      SCOPED_TRACE(row.tag + " " + std::string(Name(policy)));
      const bool same = row.better == old.digest;
      const auto ask = [&](const Policy how) {
        Request request = Ask({row.then}, "app:" + row.tag);
        request.policy = how;
        return node_.Pull(std::move(request));
      };
      ASSERT_TRUE(node_.Pull(Ask({row.first}, "app:" + row.tag)));
      const auto offline = ask(Policy::kNever);
      ASSERT_EQ(offline.has_value(), same);
      if (!offline) {
        EXPECT_EQ(std::string(offline.error().info().code) + " " + offline.error().Text(), never);
      }
      for (const bool present : {same, true}) {
        const auto done = ask(policy);
        ASSERT_TRUE(done) << done.error().Text();
        EXPECT_EQ(done->was_present, present);
        ASSERT_THAT(done->images, SizeIs(1));
        EXPECT_EQ(done->images[0].manifest, row.better);
      }
      EXPECT_TRUE(node_.Pull(Ask({row.first}, "app:" + row.tag))->was_present);
      ASSERT_TRUE(node_.stores.catalog->RemoveName(node_.Name("app:" + row.tag)));
    }
  }
}

TEST_F(PlatformTest, AllOfThem) {
  Request request = node_.Ask("app:1");
  request.all_platforms = true;
  const auto done = node_.Pull(std::move(request));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_THAT(done->images, SizeIs(2));
  EXPECT_EQ(node_.registry.Count(Blob("app", amd_.layers[0])), 1) << "the shared layer once";
}

// What "all" is, the kept index tells as well as the registry.
TEST_F(PlatformTest, AllOfThemAreKnownFromWhatIsKept) {
  const auto all = [&](Policy policy, const std::string& name) {
    Request request = node_.Ask(name, policy);
    request.all_platforms = true;
    node_.registry.ClearLog();
    return node_.Pull(std::move(request));
  };
  const auto never = [&](const std::string& name) {
    const auto done = all(Policy::kNever, name);
    EXPECT_EQ(node_.registry.log().size(), 0u) << name;
    return done ? std::to_string(done->images.size()) + " here" : std::string(done.error().info().code) + " " + done.error().Text();
  };
  PutIndex(node_.registry, "app", "nested", {{"", PutIndex(node_.registry, "app", "", {{"linux/arm/v7", arm_.manifest}, {"linux/amd64", amd_.manifest}})}});
  PutIndex(node_.registry, "app", "unnamed", {{"", arm_.manifest}, {"linux/amd64", amd_.manifest}});
  node_.registry.Tag("app", "alone", amd_.manifest.digest);
  const std::string some = "E-NEVER not every image of the index is known to be here, and the policy is Never";
  struct Row { const char* name; std::string part; const char* whole; };
  for (const Row& row : {Row{"app:1", some, "2 here"}, Row{"app:nested", some, "2 here"}, Row{"app:unnamed", some, "2 here"}, Row{"app:alone", "1 here", "1 here"}}) {
    EXPECT_THAT(never(row.name), HasSubstr("E-NEVER the image is not here")) << row.name;
    ASSERT_TRUE(node_.Pull(Ask({"linux/amd64"}, row.name)));
    EXPECT_EQ(never(row.name), row.part) << row.name;
    ASSERT_TRUE(all(Policy::kIfNotPresent, row.name)) << row.name;
    EXPECT_EQ(never(row.name), row.whole) << row.name;
    EXPECT_TRUE(all(Policy::kIfNotPresent, row.name)->was_present) << row.name;
    EXPECT_EQ(node_.registry.log().size(), 0u) << ::testing::PrintToString(node_.registry.log());
    EXPECT_TRUE(all(Policy::kAlways, row.name)->was_present) << row.name;
    EXPECT_EQ(node_.registry.Count("GET"), 0) << row.name;
  }
}

TEST_F(PlatformTest, NoMatchSaysWhatThereIs) {
  const auto done = node_.Pull(Ask({"linux/s390x"}));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kNoMatch);
  EXPECT_THAT(done.error().Text(), HasSubstr("linux/s390x"));
  EXPECT_THAT(done.error().Text(), HasSubstr("linux/arm/v7, linux/amd64"));
  EXPECT_THAT(done.error().next_step(), HasSubstr("--platform"));
  EXPECT_EQ(node_.registry.Count("GET /v2/app/blobs"), 0);
  EXPECT_FALSE(node_.Has("app:1"));
}

TEST_F(PlatformTest, ALoneManifestOfAnotherPlatformIsRefusedBeforeItsLayers) {
  node_.registry.Tag("app", "arm", arm_.manifest.digest);
  const auto done = node_.Pull(Ask({}, "app:arm"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kNoMatch);
  EXPECT_THAT(done.error().next_step(), HasSubstr("--platform linux/arm/v7"));
  EXPECT_EQ(node_.registry.Count(Blob("app", arm_.layers[1])), 0);
  EXPECT_TRUE(node_.Pull(Ask({"linux/arm/v7"}, "app:arm")));
}

TEST_F(PlatformTest, TheConfigHasTheLastWord) {
  PutIndex(node_.registry, "app", "lie", {{"linux/amd64", arm_.manifest}});
  const auto done = node_.Pull(Ask({}, "app:lie"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kNoMatch);
}

TEST_F(PlatformTest, AnEntryWithoutAPlatformIsLookedAt) {
  PutIndex(node_.registry, "app", "bare", {{"", arm_.manifest}, {"", amd_.manifest}});
  const auto done = node_.Pull(Ask({}, "app:bare"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->images[0].manifest, amd_.manifest.digest);
}

// Found by an audit: what was accepted is recorded so that it is found again, whatever its documents leave open.
struct OpenPlatform { const char* name; std::string config, entry; };
void PrintTo(const OpenPlatform& row, std::ostream* out) { *out << row.name; }
class OpenPlatforms : public PlatformTest, public ::testing::WithParamInterface<OpenPlatform> {};
TEST_P(OpenPlatforms, AreThoseOfTheHostThatTookTheImage) {
  const auto manifest = PutVariation(node_.registry, "x", amd_, GetParam().config);
  if (GetParam().entry != "-") PutIndex(node_.registry, "app", "x", {{GetParam().entry, manifest}});
  const auto done = node_.Pull(Ask({}, "app:x"));
  ASSERT_TRUE(done) << done.error().Text();
  ASSERT_THAT(done->images, SizeIs(1));
  EXPECT_EQ(done->images[0].platform, "linux/amd64");
  const auto again = node_.Pull(node_.Ask("app:x", Policy::kNever));
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_TRUE(again->was_present);
}
INSTANTIATE_TEST_SUITE_P(All, OpenPlatforms, ::testing::Values(
    OpenPlatform{"NoArchitecture", R"("os":"linux")", "-"}, OpenPlatform{"NoOs", R"("architecture":"amd64")", "-"}, OpenPlatform{"Nothing", "", "-"},
    OpenPlatform{"AVariant", R"("os":"linux","architecture":"amd64","variant":"v3")", "-"}, OpenPlatform{"OtherSpelling", R"("os":"Linux","architecture":"x86_64")", "-"},
    OpenPlatform{"AnEntryWithoutOs", R"("os":"linux","architecture":"amd64")", "/amd64"}, OpenPlatform{"AnEntryWithNothing", "", ""}),
    [](const auto& row) { return row.param.name; });

TEST_F(PlatformTest, EachOneAskedForIsFound) {
  const auto nested = PutIndex(node_.registry, "app", "", {{"linux/arm/v7", arm_.manifest}, {"linux/amd64", amd_.manifest}});
  struct Row { const char* tag; std::vector<std::pair<std::string, oci::Descriptor>> entries; };
  for (const Row& row : {Row{"unnamed", {{"", amd_.manifest}, {"", arm_.manifest}}}, Row{"nested", {{"", nested}}}}) {
    PutIndex(node_.registry, "app", row.tag, row.entries);
    const auto done = node_.Pull(Ask({"linux/amd64", "linux/arm/v7"}, "app:" + std::string(row.tag)));
    ASSERT_TRUE(done) << row.tag << ": " << done.error().Text();
    ASSERT_THAT(done->images, SizeIs(2)) << row.tag;
    EXPECT_EQ(done->images[0].manifest, amd_.manifest.digest);
    EXPECT_EQ(done->images[1].manifest, arm_.manifest.digest);
  }
  const auto none = node_.Pull(Ask({"linux/amd64", "linux/s390x"}, "app:nested"));
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().Text(), HasSubstr("linux/s390x; there are: linux/arm/v7, linux/amd64"));
}

TEST_F(PlatformTest, AnArtifactBesideTheImagesIsPassedOver) {
  const auto artifact = PutBill(node_.registry);
  auto named = artifact;
  named.artifact_type = "application/spdx+json";
  PutIndex(node_.registry, "app", "bom", {{"", artifact}, {"linux/arm/v7", arm_.manifest}});
  const auto other = node_.Pull(Ask({}, "app:bom"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().reason(), Reason::kNoMatch) << other.error().Text();
  EXPECT_THAT(other.error().Text(), HasSubstr("there are: linux/arm/v7"));
  Request all = node_.Ask("app:bom");
  all.all_platforms = true;
  const auto done = node_.Pull(std::move(all));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_THAT(done->images, SizeIs(1));
  PutIndex(node_.registry, "app", "unknown", {{"unknown/unknown", artifact}, {"linux/arm/v7", arm_.manifest}});
  Request unknown = node_.Ask("app:unknown");
  unknown.all_platforms = true;
  const auto known = node_.Pull(std::move(unknown));
  ASSERT_TRUE(known) << known.error().Text();
  EXPECT_THAT(known->images, SizeIs(1));
  PutIndex(node_.registry, "app", "named", {{"linux/amd64", named}, {"linux/amd64", amd_.manifest}});
  const auto beside = node_.Pull(Ask({}, "app:named"));
  ASSERT_TRUE(beside) << beside.error().Text();
  EXPECT_EQ(beside->images[0].manifest, amd_.manifest.digest);
  auto like_an_image = artifact;  // which a descriptor of an image may say, too
  like_an_image.artifact_type = std::string(oci::kOciConfig);
  PutIndex(node_.registry, "app", "odd", {{"linux/amd64", like_an_image}, {"linux/amd64", amd_.manifest}});
  EXPECT_EQ(node_.Pull(Ask({}, "app:odd")).error().reason(), Reason::kUnsupported);
  PutIndex(node_.registry, "app", "artifacts", {{"linux/amd64", named}, {"linux/arm64", named}});
  EXPECT_EQ(node_.Pull(Ask({}, "app:artifacts")).error().reason(), Reason::kUnsupported) << "not: there are linux/amd64, …";
  EXPECT_EQ(node_.Pull(Ask({"linux/s390x"}, "app:artifacts")).error().reason(), Reason::kNoMatch);
  PutIndex(node_.registry, "app", "promised", {{"linux/amd64", artifact}, {"linux/amd64", amd_.manifest}});
  EXPECT_FALSE(node_.Pull(Ask({}, "app:promised"))) << "nothing says that it is no image";
  PutIndex(node_.registry, "app", "alone", {{"", artifact}});
  const auto alone = node_.Pull(Ask({}, "app:alone"));
  ASSERT_FALSE(alone);
  EXPECT_EQ(alone.error().reason(), Reason::kUnsupported) << "then it is worth telling that there is one";
}

TEST(Puller, OnlyTheDocumentsOfTheImageAreKeptAndTheyHaveALimit) {
  PullerOptions options;
  options.documents_bytes = 100'000;
  Node node(options);
  const auto image = node.registry.PutImage("app", "", {kSmall});
  const std::string big = R"("annotations":{"a":")" + std::string(60'000, 'x') + "\"}";
  std::vector<std::pair<std::string, oci::Descriptor>> entries;
  for (int i = 0; i < 5; ++i)
    entries.emplace_back("", PutVariation(node.registry, "", image, R"("os":"linux","architecture":"s390x")",
                                          big + R"(,"n":)" + std::to_string(i)));
  const auto passed_over = entries;
  entries.emplace_back("", image.manifest);
  PutIndex(node.registry, "app", "1", entries);
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->images[0].manifest, image.manifest.digest);
  for (const auto& [platform, entry] : passed_over) EXPECT_FALSE(*node.stores.content->Size(entry.digest)) << "nothing of it stays";

  PutIndex(node.registry, "app", "2", {{"linux/s390x", passed_over[0].second}, {"linux/s390x", passed_over[1].second}});
  Request all = node.Ask("app:2");
  all.all_platforms = true;
  const auto refused = node.Pull(std::move(all));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), Reason::kLimitExceeded);
  EXPECT_THAT(refused.error().Text(), HasSubstr("limit documents_bytes"));
}

TEST(Puller, AnImageOfManyLayersTakesAFewThreadsAtATime) {
  PullerOptions options;
  options.layers = 1;
  Node node(options);
  std::vector<std::string> layers;
  for (int i = 0; i < 120; ++i) layers.push_back(Tar("file" + std::to_string(i), "x"));
  const auto image = node.registry.PutImage("app", "1", layers);
  const auto gate = std::make_shared<Gate>();
  node.registry.On("GET /v2/app/blobs/" + image.layers[0].digest.ToString(), [gate, bytes = layers[0]](const ServerRequest&) {
    return Reply::Head(200, bytes.size()).WaitFor(gate).Send(bytes);
  }, 1);
  const auto threads = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}); };
  const auto before = threads();
  auto pull = node.puller->Start({}, node.Ask("app:1"));
  gate->AwaitWaiters(1);
  EXPECT_LT(threads() - before, 60);
  gate->Open();
  const auto done = pull.Wait({});
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_THAT(done->images[0].layers, SizeIs(120));
}

TEST_F(PlatformTest, NestedIndexesAreFollowedToALimit) {
  auto inner = PutIndex(node_.registry, "app", "d1", {{"linux/amd64", amd_.manifest}});
  for (int depth = 2; depth <= 5; ++depth) inner = PutIndex(node_.registry, "app", "d" + std::to_string(depth), {{"", inner}});
  const auto four = node_.Pull(Ask({}, "app:d4"));
  ASSERT_TRUE(four) << four.error().Text();
  EXPECT_EQ(four->images[0].manifest, amd_.manifest.digest);
  const auto five = node_.Pull(Ask({}, "app:d5"));
  ASSERT_FALSE(five);
  EXPECT_EQ(five.error().reason(), Reason::kLimitExceeded);
  EXPECT_THAT(five.error().Text(), HasSubstr("index_depth"));
}

TEST(Puller, AnIndexLeadsToALimitedNumberOfDocuments) {
  PullerOptions options;
  options.documents = 3;
  Node node(options);
  std::vector<std::pair<std::string, oci::Descriptor>> entries;
  for (int i = 0; i < 5; ++i) entries.emplace_back("", node.registry.PutImage("app", "", {Tar("n", std::to_string(i))}, "arm64").manifest);
  PutIndex(node.registry, "app", "1", entries);
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kLimitExceeded);
  EXPECT_THAT(done.error().Text(), HasSubstr("limit documents"));
}

// --- what the bytes are

TEST(Puller, WrongBytesAreFetchedOnceMoreFromZero) {
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kBase});
  std::string wrong = kBase;
  wrong[1000] ^= 1;
  node.registry.On(Blob("app", image.layers[0]), [&](const ServerRequest&) { return Reply::Text(200, wrong); }, 1);
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(node.registry.Count(Blob("app", image.layers[0])), 2);
  EXPECT_EQ(done->resumed_bytes, 0u);
}

TEST(Puller, BytesThatStayWrongFailThePullAndLeaveNothing) {
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kBase});
  std::string wrong = kBase;
  wrong[1000] ^= 1;
  node.registry.Corrupt("app", image.layers[0].digest, wrong);
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kDigestMismatch);
  EXPECT_THAT(done.error().Text(), HasSubstr("layer " + image.layers[0].digest.Short() + " (1 of 1)"));
  EXPECT_EQ(node.registry.Count(Blob("app", image.layers[0])), 2);
  EXPECT_THAT(*node.stores.content->Partials(), IsEmpty());
  EXPECT_FALSE(node.Has("app:1"));
  EXPECT_FALSE(*node.stores.layers->Find(image.layers[0].digest));
  const auto entry = *node.stores.catalog->LastOf(node.Name("app:1"));
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->kind, "failed");
  EXPECT_THAT(entry->record, HasSubstr("E-DIGEST"));
}

TEST(Puller, ALyingMirrorIsLeftForTheOrigin) {
  Node node;
  FakeRegistry mirror;
  const auto image = node.registry.PutImage("app", "1", {kBase});
  mirror.PutImage("app", "1", {kBase});
  std::string wrong = kBase;
  wrong[1000] ^= 1;
  mirror.Corrupt("app", image.layers[0].digest, wrong);
  const std::string folder = node.hosts.path() + "/" + node.registry.host();
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/hosts.toml") << "server = \"" << node.registry.url("") << "\"\n[host.\"" << mirror.url("") << "\"]\n";
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(mirror.Count(Blob("app", image.layers[0])), 1);
  EXPECT_EQ(node.registry.Count(Blob("app", image.layers[0])), 1);
  EXPECT_EQ(node.registry.Count("GET /v2/app/manifests/"), 0) << "the mirror had that";
}

TEST(Puller, ADiffIdThatIsNotTheLayersIsTheImagesFault) {
  Node node;
  const auto layer = node.registry.PutBlob("app", kBase);
  const auto config = node.registry.PutBlob("app", oci::testing::ConfigText(), std::string(oci::kOciConfig));
  PutManifest(node.registry, "1", {Text(layer)}, config);
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kDigestMismatch);
  EXPECT_FALSE(done.error().transient()) << "the same bytes again would not help";
  EXPECT_EQ(node.registry.Count(Blob("app", layer)), 1);
  EXPECT_FALSE(node.Has("app:1"));
  EXPECT_FALSE(*node.stores.layers->Find(layer.digest));
  EXPECT_THAT(*node.stores.content->Partials(), IsEmpty());
}

TEST(Puller, OneLayerUnderTwoDiffIdsIsRefusedAlsoWhenItIsHere) {
  Node node;
  node.registry.PutImage("app", "good", {kBase});
  ASSERT_TRUE(node.Pull(node.Ask("app:good")));
  const auto layer = node.registry.PutBlob("app", kBase);
  const auto config = node.registry.PutBlob("app", oci::testing::ConfigText(), std::string(oci::kOciConfig));
  PutManifest(node.registry, "bad", {Text(layer)}, config);
  const auto done = node.Pull(node.Ask("app:bad"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kDigestMismatch);
  EXPECT_FALSE(node.Has("app:bad"));
}

// Found by an audit: what is here already was not measured against the manifest.
struct HereCase { const char* name; bool unpacked; KeepBlobs keep; };
void PrintTo(const HereCase& c, std::ostream* out) { *out << c.name; }
class LayerHereTest : public ::testing::TestWithParam<HereCase> {};
TEST_P(LayerHereTest, ItsWrongSizeIsRefused) {
  PullerOptions options;
  options.keep_blobs = GetParam().keep;
  Node node(options);
  const auto good = node.registry.PutImage("app", "good", {kBase});
  ASSERT_TRUE(node.Pull(node.Ask("app:good")));
  for (const char* kind : {".meta", ".data"})
    if (!GetParam().unpacked) std::filesystem::remove(node.stores.LayerFile(good.layers[0].digest, kind));
  for (const int off : {-1, 1}) {
    oci::Descriptor layer = good.layers[0];
    layer.size = kBase.size() + off;
    PutManifest(node.registry, "bad", {Text(layer)}, good.config);
    const auto done = node.Pull(node.Ask("app:bad"));
    ASSERT_FALSE(done) << off;
    EXPECT_EQ(done.error().reason(), Reason::kSizeMismatch) << done.error().Text();
    EXPECT_FALSE(done.error().transient());
    EXPECT_THAT(done.error().Text(), HasSubstr("the manifest says " + std::to_string(kBase.size() + off)));
    EXPECT_FALSE(node.Has("app:bad"));
    EXPECT_EQ((*node.stores.catalog->FindLayer(good.layers[0].digest))->compressed_bytes, kBase.size());
  }
  EXPECT_TRUE(node.Pull(node.Ask("app:good")));
}
INSTANTIATE_TEST_SUITE_P(Rows, LayerHereTest, ::testing::Values(HereCase{"Unpacked", true, KeepBlobs::kNever},
    HereCase{"UnpackedAndKept", true, KeepBlobs::kAlways}, HereCase{"Kept", false, KeepBlobs::kAlways}),
    [](const auto& row) { return row.param.name; });

// Found by an audit: the config was called a liar for naming its diff IDs by another algorithm.
TEST(Puller, ALayerThatIsHereUnderAnotherAlgorithmIsNotTheConfigsLie) {
  const auto sha512 = digest::Digest::Of(bytes::AsView(kBase), digest::Algorithm::kSha512).ToString();
  for (const bool other_first : {false, true}) {
    Node node;
    node.registry.PutImage("app", "usual", {kBase});
    const auto layer = node.registry.PutBlob("app", kBase);
    const std::string text = oci::testing::ConfigText("{}", oci::testing::List({'"' + sha512 + '"'}));
    const auto config = node.registry.PutBlob("app", text, std::string(oci::kOciConfig));
    PutManifest(node.registry, "other", {Text(layer)}, config);
    const std::string first = other_first ? "app:other" : "app:usual", second = other_first ? "app:usual" : "app:other";
    ASSERT_TRUE(node.Pull(node.Ask(first)));
    const auto done = node.Pull(node.Ask(second));
    ASSERT_FALSE(done) << second;
    EXPECT_EQ(done.error().reason(), Reason::kUnsupported) << done.error().Text();
    EXPECT_THAT(done.error().Text(), HasSubstr(other_first ? "the layer is here with a sha512 diff ID, the config has a sha256 one"
                                                           : "the layer is here with a sha256 diff ID, the config has a sha512 one"));
    EXPECT_THAT(done.error().next_step(), HasSubstr("berth rm"));
    EXPECT_FALSE(node.Has(second));
  }
}

TEST(Puller, AnArchiveThatIsNoneFailsItsImageOnly) {
  Node node;
  node.registry.PutImage("bad", "1", {Noise(100'000)});
  const auto done = node.Pull(node.Ask("bad:1"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kInvalidLayer) << done.error().Text();
  EXPECT_THAT(*node.stores.content->Partials(), IsEmpty()) << "no use in bytes that will never work";
  node.registry.PutImage("good", "1", {kSmall});
  EXPECT_TRUE(node.Pull(node.Ask("good:1")));
}

TEST(Puller, LimitsOfLayersAndDocuments) {
  layer::UnpackOptions unpack;
  unpack.build.entries = 2;
  PullerOptions options;
  options.limits.layers = 2;
  Node node(options, unpack);
  node.registry.PutImage("entries", "1", {tar::testing::Builder().File("a").File("b").File("c").Finish()});
  const auto entries = node.Pull(node.Ask("entries:1"));
  ASSERT_FALSE(entries);
  EXPECT_EQ(entries.error().reason(), Reason::kLimitExceeded) << entries.error().Text();
  const auto image = node.registry.PutImage("layers", "1", {kSmall, kBase, kBig});
  const auto layers = node.Pull(node.Ask("layers:1"));
  ASSERT_FALSE(layers);
  EXPECT_EQ(layers.error().reason(), Reason::kLimitExceeded);
  EXPECT_EQ(node.registry.Count("GET /v2/layers/blobs"), 0);
}

TEST(Puller, WhatCannotFitIsRefusedBeforeItFillsTheDisk) {
  Node node;
  const std::uint64_t huge = 60ull << 30;
  const std::size_t count = node.stores.root.FreeSpace()->free_bytes / huge + 1;
  std::vector<std::string> layers, diffs;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string digest = digest::Digest::Of(bytes::AsView(std::to_string(i))).ToString();
    layers.push_back(oci::testing::DescriptorText(oci::testing::kLayerGzip, digest, std::to_string(huge)));
    diffs.push_back('"' + digest + '"');
  }
  const auto config = node.registry.PutBlob("app", oci::testing::ConfigText("{}", oci::testing::List(diffs)), std::string(oci::kOciConfig));
  PutManifest(node.registry, "1", layers, config);
  node.registry.ClearLog();
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kNoSpace) << done.error().Text();
  EXPECT_EQ(node.registry.Count("GET"), 2) << "manifest and config";
  // What is here already needs no space.
  for (std::size_t i = 0; i < count; ++i) {
    const std::string file = node.stores.folder.path() + "/ingest/sha256-" + digest::Digest::Of(bytes::AsView(std::to_string(i))).Hex();
    std::ofstream{file};
    std::filesystem::resize_file(file, huge - 1);  // a hole
  }
  const auto rest = node.Pull(node.Ask("app:1"));
  ASSERT_FALSE(rest);
  EXPECT_EQ(rest.error().reason(), Reason::kBlobNotFound) << rest.error().Text();
}

// ramfs, tmpfs of size=0: nothing is known, which is not nothing.
TEST(Puller, AFileSystemThatSaysNoSizesIsNotFull) {
  Node node;
  node.stores.root = *host::Dir::Open("/proc");  // is such a one
  ASSERT_EQ(node.stores.root.FreeSpace()->total_bytes, 0u);
  node.registry.PutImage("app", "1", {kSmall});
  const auto done = node.Pull(node.Ask("app:1"));
  EXPECT_TRUE(done) << done.error().Text();
}

TEST(Puller, SomeSpaceIsKept) {
  PullerOptions options;
  options.reserve_bytes = 1ull << 60;
  Node node(options);
  const auto image = node.registry.PutImage("app", "1", {kSmall});
  ASSERT_TRUE((*node.stores.content->Resume(image.layers[0].digest, image.layers[0].size))->Append(bytes::AsView(kSmall.substr(0, 1000))));
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kNoSpace);
  EXPECT_THAT(done.error().Text(), HasSubstr("1152921504606846976 of these are kept (limit reserve_bytes)"));
  EXPECT_THAT(*node.stores.content->Partials(), SizeIs(1)) << "refused before anything came";
}

// A partial that is as long as its layer stands for room: nothing more is needed then.
TEST(Puller, WhatDoesNotFitAsksOnceForRoom) {
  struct Row {
    const char* what;
    bool made, fails;
  };
  for (const auto& row :
       {Row{"room is made", true, false}, Row{"there is nothing to give", false, false}, Row{"it cannot be made", false, true}}) {
    SCOPED_TRACE(row.what);
    std::string partial;
    std::vector<std::uint64_t> wanted;
    PullerOptions options;
    options.reserve_bytes = 1ull << 60;
    options.free_space = [&](const task::Context&, std::uint64_t bytes) -> Result<std::uint64_t> {
      wanted.push_back(bytes);
      if (row.fails) return Error(Reason::kIo, "the disk is broken");
      if (!row.made) return std::uint64_t{0};
      std::ofstream{partial};
      std::filesystem::resize_file(partial, bytes);  // a hole
      return bytes;
    };
    Node node(options);
    const auto image = node.registry.PutImage("app", "1", {kSmall});
    partial = node.stores.folder.path() + "/ingest/sha256-" + image.layers[0].digest.Hex();
    const auto done = node.Pull(node.Ask("app:1"));
    EXPECT_EQ(done.has_value(), row.made);
    if (!done) {
      EXPECT_EQ(done.error().reason(), Reason::kNoSpace) << done.error().Text();
    }
    EXPECT_THAT(wanted, ElementsAre(kSmall.size()));
  }
}

TEST(Puller, ALayerThatFillsTheDiskIsTriedOnceMoreWhenThatMadeRoom) {
  struct Row {
    const char* what;
    std::string fault;
    std::uint64_t freed;
    int tries;
    bool works;
  };
  for (const auto& row :
       {Row{"room is made", "ingest.half=error(ENOSPC)*1", 1, 2, true}, Row{"too little", "ingest.half=error(ENOSPC)", 1, 2, false},
        Row{"none", "ingest.half=error(ENOSPC)*1", 0, 1, false}, Row{"another error", "ingest.half=error(EIO)*1", 1, 1, false}}) {
    SCOPED_TRACE(row.what);
    int asked = 0;
    PullerOptions options;
    options.free_space = [&](const task::Context&, std::uint64_t) -> Result<std::uint64_t> { return ++asked, row.freed; };
    Node node(options);
    const auto image = node.registry.PutImage("app", "1", {kBig});
    ASSERT_TRUE(host::ConfigureFaults(row.fault));
    auto pull = node.puller->Start({}, node.Ask("app:1"));
    const auto done = pull.Wait({});
    ASSERT_TRUE(host::ConfigureFaults(""));
    EXPECT_EQ(done.has_value(), row.works);
    EXPECT_EQ(node.registry.Count(Blob("app", image.layers[0])), row.tries);
    EXPECT_EQ(asked, row.fault.find("ENOSPC") != std::string::npos ? 1 : 0);
    if (row.works) {
      EXPECT_EQ(pull.progress().Take().layers[0].current, kBig.size()) << "bytes count once";
    } else if (asked > 0) {
      EXPECT_EQ(done.error().reason(), Reason::kNoSpace) << done.error().Text();
    }
  }
}

// --- ends and resumption

TEST(Puller, ACancelledPullIsResumedByTheNext) {
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kBig});
  {
    PausePoint half("ingest.half");
    auto pull = std::make_unique<Puller::Pull>(node.puller->Start({}, node.Ask("app:1")));
    half.AwaitReached();
    pull.reset();  // nobody waits any more
  }
  // Comes while the first is being stopped, and begins when that has ended.
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_GE(done->resumed_bytes, kBig.size() / 2);
  EXPECT_EQ(done->resumed_bytes + done->fetched_bytes, kBig.size());
  EXPECT_EQ(node.registry.Count(Blob("app", image.layers[0])), 2);
  EXPECT_TRUE(node.Has("app:1"));
  EXPECT_EQ((*node.stores.catalog->LastOf(node.Name("app:1")))->kind, "pulled");
}

TEST(Puller, APullThatBrokeIsResumedAfterARestart) {
  Node node;
  node.registry.PutImage("app", "1", {kBig});
  ASSERT_TRUE(host::ConfigureFaults("ingest.half=error(EIO)*1"));
  const auto broken = node.Pull(node.Ask("app:1"));
  ASSERT_TRUE(host::ConfigureFaults(""));
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().reason(), Reason::kIo);
  node.Restart();
  auto pull = node.puller->Start({}, node.Ask("app:1"));
  const auto done = pull.Wait({});
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_GE(done->resumed_bytes, kBig.size() / 2);
  EXPECT_EQ(pull.progress().Take().layers[0].resumed_from, done->resumed_bytes);
}

TEST(Puller, APartialThatWentBadCostsADownloadNotTheRegistrysName) {
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kBig});
  ASSERT_TRUE(host::ConfigureFaults("ingest.half=error(EIO)*1"));
  ASSERT_FALSE(node.Pull(node.Ask("app:1")));
  ASSERT_TRUE(host::ConfigureFaults(""));
  {
    std::fstream partial(node.stores.folder.path() + "/ingest/sha256-" + image.layers[0].digest.Hex(), std::ios::in | std::ios::out);
    partial.seekp(100'000);
    partial << "zeroed by the power cut";
  }
  // Wrong once more: the damaged partial did not count.
  std::string wrong = kBig;
  wrong[1000] ^= 1;
  int asked = 0;
  node.registry.On(Blob("app", image.layers[0]), [&](const ServerRequest& r) {
    return ++asked == 2 ? Reply::Text(200, wrong) : Reply::Ranged(r, kBig);
  });
  const auto done = node.Pull(node.Ask("app:1"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(asked, 3);
}

TEST(Puller, TheFirstFailureEndsTheOtherLayers) {
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kBig, kSmall});
  const auto never = std::make_shared<Gate>();
  node.registry.On(Blob("app", image.layers[0]), [never](const ServerRequest&) {
    return Reply::Head(200, kBig.size()).Send(kBig.substr(0, 1000)).WaitFor(never);
  });
  node.registry.Remove("app", image.layers[1].digest);
  const auto done = node.Pull(node.Ask("app:1"));  // would hang if it waited for the large one first
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().reason(), Reason::kBlobNotFound);
  EXPECT_THAT(done.error().Text(), HasSubstr("(2 of 2)"));
}

TEST(Puller, NothingOfAPullStaysOnAFullDisk) {
  for (const bool writing : {true, false}) {  // the partial of the layer that does not fail
    PullerOptions options;
    options.layers = writing ? 2 : 1;
    Node node(options);
    const auto image = node.registry.PutImage("app", "1", {kBig, kSmall});
    const auto never = std::make_shared<Gate>();
    if (writing) {
      node.registry.On(Blob("app", image.layers[0]), [never](const ServerRequest&) {
        return Reply::Head(200, kBig.size()).Send(kBig.substr(0, 1000)).WaitFor(never);
      });
      node.registry.On(Blob("app", image.layers[1]), [never](const ServerRequest&) {
        never->AwaitWaiters(1);
        return Reply::Text(200, kSmall);
      });
    } else {
      auto begun = *node.stores.content->Resume(image.layers[1].digest, image.layers[1].size);
      ASSERT_TRUE(begun->Append(bytes::AsView(kSmall.substr(0, 1000))));
    }
    ASSERT_TRUE(host::ConfigureFaults("blob.complete=error(ENOSPC)"));
    const auto done = node.Pull(node.Ask("app:1"));
    ASSERT_TRUE(host::ConfigureFaults(""));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().reason(), Reason::kNoSpace) << done.error().Text();
    node.puller.reset();  // the job that was stopped has ended
    EXPECT_THAT(*node.stores.content->Partials(), IsEmpty()) << writing;
  }
}

TEST(Puller, CancellingEndsAPullWhereverItHangs) {
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kBig});
  for (const std::string& at : {std::string("GET /v2/app/manifests"), Blob("app", image.config), Blob("app", image.layers[0])}) {
    node.registry.On(at, [](const ServerRequest&) { return Reply::Silence(); }, 1);
    node.registry.ClearLog();
    const std::size_t before = node.registry.server().requests().size();
    std::stop_source stop;
    {
      auto pull = node.puller->Start({}, node.Ask("app:1"));
      std::size_t more = at.find("manifests") != at.npos ? 1 : at.find(image.config.digest.ToString()) != at.npos ? 2 : 3;
      node.registry.server().AwaitRequests(before + more);
      stop.request_stop();
      EXPECT_TRUE(pull.Wait(task::Context(stop.get_token())).error().cancelled());
    }
    // The slot is free again once it has ended: a pull of something else gets through even if there is only one.
  }
  EXPECT_TRUE(node.Pull(node.Ask("app:1")));
}

TEST(Puller, ItsEndStopsAndAwaitsAllPulls) {
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kBig});
  PausePoint half("ingest.half");
  auto pull = node.puller->Start({}, node.Ask("app:1"));
  half.AwaitReached();
  node.puller.reset();
  EXPECT_TRUE(pull.Wait({}).error().cancelled());
  EXPECT_THAT(*node.stores.content->Partials(), SizeIs(1));
}

// --- many at once

TEST(Puller, SixtyFourPullersShareOneDownload) {  // F-01
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kBase, kSmall});
  std::latch ready(64);
  std::vector<std::jthread> threads;
  std::atomic<int> good{0};
  const auto gate = std::make_shared<Gate>();
  node.registry.On("GET /v2/app/manifests/1", [&](const ServerRequest&) {
    ready.wait();
    return Reply::Text(200, image.manifest_bytes, {{"Content-Type", image.manifest.media_type}});
  });
  for (int i = 0; i < 64; ++i)
    threads.emplace_back([&] {
      auto pull = node.puller->Start({}, node.Ask("app:1"));
      ready.count_down();
      const auto done = pull.Wait({});
      good += done && done->images.at(0).config == image.config.digest ? 1 : 0;
    });
  threads.clear();
  EXPECT_EQ(good, 64);
  EXPECT_THAT(node.registry.log(), SizeIs(4));
}

TEST(Puller, ImagesShareTheirLayersAlsoWhileTheyAreOnTheirWay) {  // F-02
  PullerOptions options;
  options.layers = 1;
  Node node(options);
  constexpr int kImages = 8;
  std::vector<FakeRegistry::Image> images;
  for (int i = 0; i < kImages; ++i)
    images.push_back(node.registry.PutImage("app", std::to_string(i), {kBase, kBig, Tar("own", std::to_string(i))}));
  std::vector<Puller::Pull> pulls;
  for (int i = 0; i < kImages; ++i) pulls.push_back(node.puller->Start({}, node.Ask("app:" + std::to_string(i))));
  for (auto& pull : pulls) {
    const auto done = pull.Wait({});
    ASSERT_TRUE(done) << done.error().Text();
  }
  for (const auto& shared : {images[0].layers[0], images[0].layers[1]}) EXPECT_EQ(node.registry.Count(Blob("app", shared)), 1);
  EXPECT_EQ(node.stores.catalog->Measure()->layers, 2u + kImages);
}

TEST(Puller, WhoLeavesFailsNobodyAndALateOneSeesHowFarItIs) {  // F-03
  Node node;
  node.registry.PutImage("app", "1", {kBig});
  node.registry.PutImage("app", "2", {kBig, kSmall});
  PausePoint half("ingest.half");
  auto first = std::make_unique<Puller::Pull>(node.puller->Start({}, node.Ask("app:1")));
  half.AwaitReached();
  auto second = node.puller->Start({}, node.Ask("app:2"));
  std::uint64_t seen = 0;
  AwaitFetching(second);
  seen = second.progress().Take().layers[0].current;
  EXPECT_GE(seen, kBig.size() / 2) << "it joined in the middle";
  first.reset();
  half.Release();
  const auto done = second.Wait({});
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->resumed_bytes, 0u) << "the work went on, it was not begun again";
  EXPECT_FALSE(node.Has("app:1"));
}

TEST(Puller, WhoWantsToKnowIsAskedBeforeAnythingIsVisible) {
  Node node;
  const auto image = node.registry.PutImage("app", "1", {kSmall});
  int asked = 0, let_go = 0;
  std::optional<Error> no = Error(Reason::kIo, "no record");
  const auto ask = [&](Policy policy) {
    Request request = node.Ask("app:1", policy);
    request.before_publish = [&](const std::vector<std::string>& ids) -> Result<std::shared_ptr<const void>> {
      ++asked;
      EXPECT_THAT(ids, ElementsAre(image.config.digest.ToString()));
      EXPECT_FALSE(node.Has("app:1"));
      if (no) return *no;
      return std::shared_ptr<const void>(&node, [&](const void*) {
        ++let_go;
        EXPECT_TRUE(node.Has("app:1"));
      });
    };
    return node.Pull(std::move(request));
  };
  const auto refused = ask(Policy::kAlways);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().Text(), HasSubstr("no record"));
  EXPECT_FALSE(node.Has("app:1"));
  no.reset();
  ASSERT_TRUE(ask(Policy::kAlways));
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(let_go, 1);
  for (const auto policy : {Policy::kAlways, Policy::kIfNotPresent}) EXPECT_TRUE(ask(policy)->was_present);
  EXPECT_EQ(asked, 2) << "nothing was published";
}

TEST(Puller, WhoWantsToKnowJoinsNobodyWhoDoesNot) {
  Node node;
  node.registry.PutImage("app", "1", {kBig});
  std::atomic<int> asked = 0;
  PausePoint half("ingest.half");
  auto other = node.puller->Start({}, node.Ask("app:1"));
  half.AwaitReached();
  Request request = node.Ask("app:1");
  request.before_publish = [&](auto&) { ++asked; return Result<std::shared_ptr<const void>>(nullptr); };
  auto ours = node.puller->Start({}, std::move(request));
  AwaitFetching(ours);
  half.Release();
  for (auto* pull : {&other, &ours}) EXPECT_TRUE(pull->Wait({}));
  EXPECT_EQ(asked, 1);
}

TEST(Puller, PullsWaitForTheirTurn) {
  PullerOptions options;
  options.pulls = 1;
  Node node(options);
  node.registry.PutImage("app", "1", {kBig});
  node.registry.PutImage("app", "2", {kSmall});
  PausePoint half("ingest.half");
  auto first = node.puller->Start({}, node.Ask("app:1"));
  half.AwaitReached();
  auto second = node.puller->Start({}, node.Ask("app:2"));
  EXPECT_EQ(node.puller->running(), 1u);
  EXPECT_EQ(second.progress().Take().phase, Phase::kQueued);
  half.Release();
  EXPECT_TRUE(first.Wait({}));
  EXPECT_TRUE(second.Wait({}));
}

// Whoever has memory that others wait for gets on, though all slots are taken by those others.
TEST(Puller, AZstdWindowIsNeverHeldByOneWhoWaitsForThoseWhoWantOne) {
  time::testing::ManualClock clock;
  const task::Context ctx(std::stop_token(), clock);
  Node node({.pulls = 1, .layers = 1}, {}, nullptr, clock);
  std::vector<oci::Descriptor> layers;
  std::vector<std::string> texts, diffs;
  for (unsigned i = 0; i < 3; ++i) {  // two windows of 128 MiB are all that there is
    const std::string tar = Tar("f" + std::to_string(i), Noise(100'000, i + 20)), bytes = codec::testing::WindowFrame(27, tar);
    layers.push_back(node.registry.PutBlob("app", bytes, "application/vnd.oci.image.layer.v1.tar+zstd"));
    texts.push_back(Text(layers.back()));
    diffs.push_back('"' + digest::Digest::Of(bytes::AsView(tar)).ToString() + '"');
    const auto cut = [bytes](const ServerRequest& r) { return Reply::Ranged(r, bytes).CutBodyAfter(bytes.size() / 2); };
    node.registry.On(Blob("app", layers.back()), cut, 1);
  }
  const std::string config = oci::testing::ConfigText("{}", oci::testing::List(diffs));
  PutManifest(node.registry, "1", texts, node.registry.PutBlob("app", config, std::string(oci::kOciConfig)));
  auto pull = node.puller->Start(ctx, node.Ask("app:1"));
  clock.AwaitSleeps(2);  // two were cut and sit out a back-off, each with a window
  while (std::ranges::any_of(layers, [&](const auto& l) { return node.registry.Count(Blob("app", l)) == 0; })) std::this_thread::yield();
  const std::jthread hands([&](std::stop_token stop) {
    for (; !stop.stop_requested(); std::this_thread::yield()) clock.Advance(std::chrono::milliseconds(1));
  });
  const auto done = pull.Wait(ctx);
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->fetched_bytes, layers[0].size + layers[1].size + layers[2].size);
}

TEST(Puller, ALayerThatAnotherPullDropsAfterItWasCountedAsHereIsBroughtAgain) {
  Node node;
  node.registry.PutImage("app", "1", {kBase});
  const auto image = node.registry.PutImage("app", "2", {kBase, kSmall});
  ASSERT_TRUE(node.Pull(node.Ask("app:1")));
  std::latch started(1);
  std::optional<Puller::Pull> pull;
  node.registry.On(Blob("app", image.layers[1]), [&](const ServerRequest&) {
    started.wait();
    for (;;) {
      const Snapshot now = pull->progress().Take();
      if (now.layers.size() == 2 && now.layers[0].phase == LayerPhase::kPresent) break;
      EXPECT_TRUE(pull->progress().AwaitChange({}, now.version));
    }
    EXPECT_TRUE(*node.stores.layers->Remove({}, image.layers[0].digest));  // it was damaged
    return Reply::Text(200, kSmall);
  }, 1);
  pull.emplace(node.puller->Start({}, node.Ask("app:2")));
  started.count_down();
  const auto done = pull->Wait({});
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->reused_bytes, 0u);
  for (const auto& layer : image.layers) EXPECT_TRUE(node.stores.layers->Verify({}, layer.digest, layer::Depth::kData));
}

TEST(Puller, APullForWhichThereIsNoThreadHasEnded) {  // E-16
  std::atomic<bool> none = true;
  PullerOptions options;
  options.spawn = [&](std::function<void()> body) {
    if (none) throw std::system_error(EAGAIN, std::generic_category());
    task::SpawnDetached(std::move(body));
  };
  Node node(options);
  node.registry.PutImage("app", "1", {kSmall});
  auto pull = node.puller->Start({}, node.Ask("app:1"));
  EXPECT_EQ(pull.progress().Take().phase, Phase::kEnded) << "whoever watches it would wait for ever";
  EXPECT_EQ(pull.Wait({}).error().reason(), Reason::kUnavailable);
  none = false;
  EXPECT_TRUE(node.Pull(node.Ask("app:1"))) << "the first one's ticket is still held";
}

// --- whose right it is

// One registry limits our rate and asks for a minute; the clock stands still, so whoever goes on meanwhile needs nothing that waits.
class LimitedTest : public ::testing::Test {
 protected:
  static constexpr std::chrono::seconds kMinute{60};
  LimitedTest() {
    for (unsigned i = 0; i < 4; ++i) layers_.push_back(Tar("layer" + std::to_string(i), Noise(1000, i + 10)));
    image_ = node_.registry.PutImage("a", "1", layers_);
    other_.PutImage("b", "1", {kSmall, kBase});
  }
  void Limit(const std::string& match, const std::string& bytes = "") {
    node_.registry.On(match, [this, bytes](const ServerRequest&) {
      return limited_ ? Reply::Text(429, "", {{"Retry-After", "60"}}) : Reply::Text(200, bytes);
    });
  }
  void LimitLayers() {
    for (std::size_t i = 0; i < layers_.size(); ++i) Limit(Blob("a", image_.layers[i]), layers_[i]);
  }
  Result<Pulled> PullOther() {
    return node_.puller->Start(ctx_, {.reference = *reference::Reference::Parse(other_.host() + "/b:1")}).Wait(ctx_);
  }
  void GoOn() {
    limited_ = false;
    clock_.Advance(kMinute + std::chrono::seconds(1));  // and what jitter adds
  }
  std::string Why() const { return "waiting 60.0 s for http://" + node_.registry.host() + " (429)"; }

  time::testing::ManualClock clock_;
  const task::Context ctx_{std::stop_token(), clock_};
  std::atomic<bool> limited_ = true;
  FakeRegistry other_;
  std::vector<std::string> layers_;
  FakeRegistry::Image image_;
  Node node_{{.pulls = 1, .layers = 4}, {}, nullptr, clock_};
};

TEST_F(LimitedTest, LayersThatWaitHoldNoSlot) {  // C-34, C-35
  LimitLayers();
  auto a = node_.puller->Start(ctx_, node_.Ask("a:1"));
  clock_.AwaitSleeps(4);
  const auto b = PullOther();
  ASSERT_TRUE(b) << b.error().Text();
  EXPECT_THAT(clock_.sleeps(), ::testing::Each(::testing::Ge(kMinute)));
  const Snapshot now = a.progress().Take();
  EXPECT_EQ(now.phase, Phase::kFetching);
  EXPECT_EQ(now.wait, Why());
  ASSERT_THAT(now.layers, SizeIs(4));
  for (const auto& layer : now.layers) EXPECT_EQ(layer.phase, LayerPhase::kWaiting);
  EXPECT_EQ(node_.puller->running(), 0u);
  EXPECT_LE(node_.registry.Count("GET /v2/a/blobs/"), 5) << "the config, and each layer at most once";
  GoOn();
  const auto done = a.Wait(ctx_);
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(a.progress().Take().wait, "");
}

TEST_F(LimitedTest, AManifestThatWaitsHoldsNoSlot) {
  Limit("GET /v2/a/manifests/1", image_.manifest_bytes);
  auto a = node_.puller->Start(ctx_, node_.Ask("a:1"));
  clock_.AwaitSleeps(1);
  EXPECT_EQ(a.progress().Take().wait, Why());
  ASSERT_TRUE(PullOther());
  GoOn();
  const auto done = a.Wait(ctx_);
  ASSERT_TRUE(done) << done.error().Text();
}

TEST_F(LimitedTest, AConfigThatWaitsHoldsNoSlot) {
  Limit(Blob("a", image_.config), image_.config_bytes);
  auto a = node_.puller->Start(ctx_, node_.Ask("a:1"));
  clock_.AwaitSleeps(1);
  const auto b = PullOther();
  ASSERT_TRUE(b) << b.error().Text();
  EXPECT_EQ(a.progress().Take().wait, Why());
  GoOn();
  ASSERT_TRUE(a.Wait(ctx_));
}

TEST_F(LimitedTest, APullThatSharesALayerThatWaitsGoesOnWithIt) {
  LimitLayers();
  node_.registry.PutImage("c", "1", {layers_[0], kSmall});
  auto a = node_.puller->Start(ctx_, node_.Ask("a:1"));
  clock_.AwaitSleeps(4);
  auto c = node_.puller->Start(ctx_, node_.Ask("c:1"));
  for (;;) {  // until its own layer is there and it waits with the other one
    const Snapshot now = c.progress().Take();
    if (now.layers.size() == 2 && now.layers[1].phase == LayerPhase::kDone) break;
    ASSERT_TRUE(c.progress().AwaitChange({}, now.version));
  }
  ASSERT_TRUE(PullOther());
  EXPECT_EQ(c.progress().Take().wait, Why());
  GoOn();
  const auto a_done = a.Wait(ctx_), c_done = c.Wait(ctx_);
  ASSERT_TRUE(a_done) << a_done.error().Text();
  ASSERT_TRUE(c_done) << c_done.error().Text();
}

TEST_F(LimitedTest, CancellingAWaitEndsItAtOnce) {
  LimitLayers();
  {
    auto a = node_.puller->Start(ctx_, node_.Ask("a:1"));
    clock_.AwaitSleeps(4);
  }
  ASSERT_TRUE(PullOther());
  limited_ = false;
  ASSERT_TRUE(node_.puller->Start(ctx_, node_.Ask("a:1")).Wait(ctx_));
}

class PrivateTest : public ::testing::Test {
 protected:
  PrivateTest() {
    node_.registry.RequireBearer("alice", "right");
    image_ = node_.registry.PutImage("app", "1", {kBig});
  }
  Node node_;
  FakeRegistry::Image image_;
};

TEST_F(PrivateTest, NobodyRidesOnAnothersRight) {  // F-13
  PausePoint half("ingest.half");
  auto a = node_.puller->Start({}, node_.Ask("app:1", Policy::kAlways, "alice", "right"));
  half.AwaitReached();
  const auto during = node_.Pull(node_.Ask("app:1", Policy::kAlways, "bob", "wrong"));
  ASSERT_FALSE(during);
  EXPECT_EQ(during.error().info().grpc, result::Code::kUnauthenticated) << during.error().Text();
  const auto anonymous = node_.Pull(node_.Ask("app:1", Policy::kIfNotPresent));
  ASSERT_FALSE(anonymous);
  half.Release();
  const auto done = a.Wait({});
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->credential, "test (alice)");
  const auto after = node_.Pull(node_.Ask("app:1", Policy::kAlways, "bob", "wrong"));
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().info().grpc, result::Code::kUnauthenticated);
  for (const auto& entry : *node_.stores.catalog->Journal(100)) {
    EXPECT_THAT(entry.record, Not(HasSubstr("right")));
    EXPECT_THAT(entry.record, Not(HasSubstr("wrong")));
  }
}

TEST_F(PrivateTest, AnothersFailureIsNoVerdictOnOurs) {  // F-14
  // The job that is under way was begun with a right that is taken away before its blob is asked for.
  PausePoint created("ingest.created");
  auto a = std::make_unique<Puller::Pull>(node_.puller->Start({}, node_.Ask("app:1", Policy::kIfNotPresent, "alice", "right")));
  created.AwaitReached();
  node_.registry.PutImage("app", "2", {kBig});
  auto b = node_.puller->Start({}, node_.Ask("app:2", Policy::kIfNotPresent, "alice", "right"));
  AwaitFetching(b);
  node_.registry.On(Blob("app", image_.layers[0]), [](const ServerRequest&) { return Reply::Text(403, ""); }, 1);
  created.Release();
  const auto first = a->Wait({});
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().reason(), Reason::kDenied) << first.error().Text();
  const auto second = b.Wait({});
  ASSERT_TRUE(second) << second.error().Text();
}

TEST_F(PrivateTest, CredentialsAreTriedInOrder) {
  Request request = node_.Ask("app:1", Policy::kAlways, "bob", "wrong");
  request.credentials.push_back(Login("alice", "right"));
  const auto done = node_.Pull(std::move(request));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->credential, "test (alice)");
}

// --- what is kept, and what is damaged

struct KeepCase {
  const char* name;
  KeepBlobs keep;
  double free_share;
  bool kept;
};
class KeepTest : public ::testing::TestWithParam<KeepCase> {};
TEST_P(KeepTest, CompressedBlobsAreKeptByPolicy) {
  PullerOptions options;
  options.keep_blobs = GetParam().keep;
  options.keep_blobs_free = GetParam().free_share;
  Node node(options);
  const auto image = node.registry.PutImage("app", "1", {kBase});
  ASSERT_TRUE(node.Pull(node.Ask("app:1")));
  EXPECT_EQ(node.stores.content->Size(image.layers[0].digest)->has_value(), GetParam().kept);
  EXPECT_EQ(*node.stores.catalog->HasBlob(image.layers[0].digest), GetParam().kept);
  EXPECT_THAT(*node.stores.content->Partials(), IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(Rows, KeepTest,
    ::testing::Values(KeepCase{"Always", KeepBlobs::kAlways, 1.0, true}, KeepCase{"Never", KeepBlobs::kNever, 0.0, false},
                      KeepCase{"WhileSpaceThereIs", KeepBlobs::kWhileSpace, 0.0, true},
                      KeepCase{"WhileSpaceThereIsNot", KeepBlobs::kWhileSpace, 1.0, false}),
    [](const auto& row) { return row.param.name; });

class DamageTest : public ::testing::Test {
 protected:
  static PullerOptions Keep() {
    PullerOptions options;
    options.keep_blobs = KeepBlobs::kAlways;
    return options;
  }
  DamageTest() : node_(Keep()) {
    image_ = node_.registry.PutImage("app", "1", {kBase, kSmall});
    EXPECT_TRUE(node_.Pull(node_.Ask("app:1")));
    node_.registry.ClearLog();
  }
  std::string File(std::string_view kind) { return node_.stores.LayerFile(image_.layers[0].digest, kind); }
  Node node_;
  FakeRegistry::Image image_;
};

TEST_F(DamageTest, ALostLayerIsUnpackedFromItsKeptBlob) {
  std::filesystem::remove(File(".data"));
  std::filesystem::remove(File(".meta"));
  const auto done = node_.Pull(node_.Ask("app:1"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_FALSE(done->was_present);
  EXPECT_EQ(node_.registry.Count("GET /v2/app/blobs"), 0) << "the config is here as well";
  EXPECT_TRUE(node_.stores.layers->Verify({}, image_.layers[0].digest, layer::Depth::kData));
}

TEST_F(DamageTest, ADamagedLayerIsMadeAnew) {  // E-11
  for (const auto& [kind, size] : {std::pair(".meta", 100), std::pair(".data", 10)}) {
    std::filesystem::resize_file(File(kind), size);
    const auto done = node_.Pull(node_.Ask("app:1"));
    ASSERT_TRUE(done) << done.error().Text();
    EXPECT_TRUE(node_.stores.layers->Verify({}, image_.layers[0].digest, layer::Depth::kData));
  }
}

TEST_F(DamageTest, ALayerWhoseSuperblockIsDamagedIsNotHere) {  // E-11
  for (const Policy policy : {Policy::kIfNotPresent, Policy::kAlways}) {
    Flip(File(".meta"), 1100);
    const auto done = node_.Pull(node_.Ask("app:1", policy));
    ASSERT_TRUE(done) << done.error().Text();
    EXPECT_FALSE(done->was_present);
    EXPECT_TRUE(node_.stores.layers->Verify({}, image_.layers[0].digest, layer::Depth::kData));
    EXPECT_TRUE(node_.Pull(node_.Ask("app:1", policy))->was_present);
  }
}

TEST_F(DamageTest, SeveralDamagedLayersAreAllMadeAnew) {
  Flip(File(".meta"), 1100);
  std::filesystem::remove(node_.stores.LayerFile(image_.layers[1].digest, ".data"));
  const auto done = node_.Pull(node_.Ask("app:1"));
  ASSERT_TRUE(done) << done.error().Text();
  for (const auto& layer : image_.layers) EXPECT_TRUE(node_.stores.layers->Verify({}, layer.digest, layer::Depth::kData));
}

// A layer that needs a variant, on one with metadata of several blocks.
class VariantDamageTest : public DamageTest {
 protected:
  VariantDamageTest() {
    tar::testing::Builder base;
    base.Dir("etc").Mode(0700);
    for (int i = 0; i < 200; ++i) base.File("etc/file-" + std::to_string(i), "x");
    image_ = node_.registry.PutImage("app", "2", {base.Finish(), Tar("etc/more", "y")});
    EXPECT_TRUE(node_.Pull(node_.Ask("app:2")));
    variant_ = (**node_.stores.catalog->FindImage(image_.manifest.digest)).layers[1].variant;
    EXPECT_NE(variant_, "");
    variant_file_ = node_.stores.LayerFile(image_.layers[1].digest, "@" + variant_ + ".meta");
  }
  void Heals() {
    const auto done = node_.Pull(node_.Ask("app:2"));
    ASSERT_TRUE(done) << done.error().Text();
    EXPECT_FALSE(done->was_present);
    EXPECT_EQ((**node_.stores.catalog->FindImage(image_.manifest.digest)).layers[1].variant, variant_);
    for (const auto& layer : image_.layers) EXPECT_TRUE(node_.stores.layers->Verify({}, layer.digest, layer::Depth::kData));
    EXPECT_TRUE(node_.Pull(node_.Ask("app:2"))->was_present);
  }
  std::string variant_, variant_file_;
};

TEST_F(VariantDamageTest, ADamagedVariantIsMadeAnew) {
  Flip(variant_file_, 1100);
  Heals();
  std::filesystem::resize_file(variant_file_, 50);
  Heals();
}

TEST_F(VariantDamageTest, NoVariantIsMadeFromDamagedMetadata) {
  for (const std::streamoff at : {4200, 9000}) {
    Flip(File(".meta"), at);
    ASSERT_FALSE(node_.stores.layers->Verify({}, image_.layers[0].digest, layer::Depth::kMetadata));
    EXPECT_TRUE(node_.Pull(node_.Ask("app:2"))->was_present) << "not looked at";
    std::filesystem::remove(variant_file_);
    Heals();
  }
}

// Found by an audit: what the disk does not give was an error of every pull.
TEST_F(VariantDamageTest, WhatTheDiskDoesNotGiveIsDamageToo) {
  Flip(File(".meta"), 9000);
  std::filesystem::remove(variant_file_);
  const std::string unread = node_.stores.LayerFile(image_.layers[1].digest, "@0123456789abcdef.meta");
  std::filesystem::create_symlink("nowhere", unread);  // kIo, as with a bad sector
  ASSERT_EQ(node_.stores.layers->Verify({}, image_.layers[1].digest, layer::Depth::kMetadata).error().reason(), Reason::kIo);
  Heals();
  EXPECT_FALSE(std::filesystem::is_symlink(unread));
}

// Another pull, which shares the layer, makes it anew.
TEST_F(VariantDamageTest, TheVariantsOfOtherImagesOutliveTheHealingOfTheirLayer) {
  tar::testing::Builder top, private_etc, closed_etc;
  for (int i = 0; i < 200; ++i) top.File("etc/more-" + std::to_string(i), "y");
  const std::string shared_layer = top.Finish();
  private_etc.Dir("etc").Mode(0700);
  closed_etc.Dir("etc").Mode(0711);
  std::vector<std::string> files;
  digest::Digest shared;
  for (const auto& [tag, base] : {std::pair("one:1", private_etc.Finish()), std::pair("two:1", closed_etc.Finish())}) {
    const auto image = node_.registry.PutImage(std::string(tag, 3), "1", {base, shared_layer});
    ASSERT_TRUE(node_.Pull(node_.Ask(tag)));
    shared = image.layers[1].digest;
    const auto variant = (**node_.stores.catalog->FindImage(image.manifest.digest)).layers[1].variant;
    ASSERT_NE(variant, "");
    files.push_back(node_.stores.LayerFile(shared, "@" + variant + ".meta"));
  }
  const std::string meta = node_.stores.LayerFile(shared, ".meta");
  const auto in_the_descriptor = [&] { std::filesystem::resize_file(meta, 100); };
  const auto in_the_metadata = [&] {  // which fitting finds
    Flip(meta, 9000);
    std::filesystem::remove(files[1]);
  };
  for (const auto& harm : std::initializer_list<std::function<void()>>{in_the_descriptor, in_the_metadata}) {
    harm();
    const auto healed = node_.Pull(node_.Ask("two:1"));
    ASSERT_TRUE(healed) << healed.error().Text();
    EXPECT_FALSE(healed->was_present);
    EXPECT_TRUE(node_.stores.layers->Verify({}, shared, layer::Depth::kData));
    for (const auto& file : files) EXPECT_TRUE(std::filesystem::exists(file));
    EXPECT_TRUE(node_.Pull(node_.Ask("one:1"))->was_present);
  }
  // One that is damaged, too, is not worth keeping.
  Flip(files[0], 9000);
  in_the_descriptor();
  ASSERT_TRUE(node_.Pull(node_.Ask("two:1")));
  EXPECT_FALSE(std::filesystem::exists(files[0]));
  EXPECT_FALSE(node_.Pull(node_.Ask("one:1"))->was_present);
  for (const auto& file : files) EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_TRUE(node_.stores.layers->Verify({}, shared, layer::Depth::kData));
}

TEST_F(VariantDamageTest, AVariantThatGoesBeforeItsImageIsPublishedIsMadeAnew) {
  struct Thief final : time::Clock {
    std::function<void()> steal;
    time::SteadyTime SteadyNow() const override { return steal(), time::SystemClock().SteadyNow(); }
    time::WallTime WallNow() const override { return time::SystemClock().WallNow(); }
    bool SleepUntil(std::stop_token stop, time::SteadyTime t) const override { return time::SystemClock().SleepUntil(stop, t); }
  } clock;
  int left = 0;
  clock.steal = [&] {
    if (left > 0 && std::filesystem::remove(variant_file_)) --left;
  };
  std::filesystem::remove(variant_file_);
  left = 1;
  const auto done = node_.puller->Start(task::Context({}, clock), node_.Ask("app:2")).Wait({});
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(left, 0);
  EXPECT_TRUE(*node_.stores.layers->Has(image_.layers[1].digest, variant_));
  std::filesystem::remove(variant_file_);
  left = 100;
  const auto refused = node_.puller->Start(task::Context({}, clock), node_.Ask("app:2")).Wait({});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), Reason::kConflict) << refused.error().Text();
  left = 0;
  Heals();
}

TEST_F(DamageTest, ADamagedKeptBlobIsFetchedAgain) {
  std::filesystem::remove(File(".meta"));
  std::ofstream(node_.stores.folder.path() + "/blobs/sha256/" + image_.layers[0].digest.Hex(), std::ios::in | std::ios::out) << "damage";
  const auto done = node_.Pull(node_.Ask("app:1"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(node_.registry.Count(Blob("app", image_.layers[0])), 1);
  EXPECT_TRUE(node_.stores.content->Verify(image_.layers[0].digest));
}

TEST_F(DamageTest, ADamagedDocumentIsFetchedAgain) {
  const auto other = node_.registry.PutImage("app", "2", {kBase, kSmall, Tar("x", "y")});
  ASSERT_TRUE(node_.Pull(node_.Ask("app:2")));
  std::ofstream(node_.stores.folder.path() + "/blobs/sha256/" + other.config.digest.Hex()) << "damage";
  ASSERT_TRUE(node_.stores.catalog->ForgetDamaged(other.config.digest));
  const auto done = node_.Pull(node_.Ask("app:2"));
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(*node_.stores.content->ReadDocument(other.config.digest, 1 << 20), other.config_bytes);
}

// --- names for people

TEST(Puller, PoliciesHaveKubernetesNames) {
  for (const auto policy : {Policy::kIfNotPresent, Policy::kAlways, Policy::kNever}) EXPECT_EQ(ParsePolicy(Name(policy)), policy);
  for (const char* text : {"", "always", "IfNotPresent ", "if-not-present"}) EXPECT_FALSE(ParsePolicy(text)) << text;
}

}  // namespace
}  // namespace berth::pull
