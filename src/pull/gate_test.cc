#include "pull/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "json/document.h"
#include "pull/testing/node.h"
#include "verify/testing/signatures.h"

namespace berth::pull {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using http::testing::Reply;
using http::testing::ServerRequest;
using testing::Node;
using testing::Tar;
using verify::testing::PayloadText;
using verify::testing::PutSignatures;
using verify::testing::Sign;
using verify::testing::Signer;
using verify::testing::TagOf;

const std::string kLayer = Tar("a", "x");

// A node whose rules can be changed, and one image, "team/app:v1".
class Guarded : public ::testing::Test {
 protected:
  Guarded() : verifier(verify::Rules(), time::SystemClock()), node({}, {}, &verifier), image(node.registry.PutImage("team/app", "v1", {kLayer})) {}
  void Rules(const std::string& text) {
    const auto documents = yaml::Parse("verification:\n" + text, "test", Reason::kConfig);
    ASSERT_TRUE(documents) << documents.error().Text();
    auto rules = verify::Rules::Parse((*documents)[0], *(*documents)[0].root().Find("verification"),
                                      [&](const std::string&) -> Result<std::string> { return key.pem(); });
    ASSERT_TRUE(rules) << rules.error().Text();
    verifier.Replace(*std::move(rules));
  }
  void Require(const std::string& more = "") { Rules("  rules: [{name: ours, match: ['*'], action: RequireSignature, keys: [{name: k, file: /k}]" + more + "}]\n"); }
  void SignIt() {
    PutSignatures(node.registry, "team/app",
                  {Sign(key, PayloadText(node.Name("team/app"), image.manifest.digest))},
                  TagOf(image.manifest.digest));
  }
  Result<Pulled> Pull(Policy policy = Policy::kIfNotPresent) { return node.Pull(node.Ask("team/app:v1", policy)); }
  Result<> Use() {
    const auto name = node.stores.catalog->FindName(node.Name("team/app:v1"));
    return node.puller->gate().CheckPresent(*reference::Reference::Parse(node.Name("team/app:v1")), (*name)->target);
  }

  Signer key;
  verify::RuleVerifier verifier;
  Node node;
  registry::testing::FakeRegistry::Image image;
};

TEST_F(Guarded, OffLetsEverythingThroughAndAsksNothing) {
  const auto done = Pull();
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_FALSE(done->verdict);
  EXPECT_TRUE(Use());
  EXPECT_EQ(node.registry.Count("GET /v2/team/app/manifests/sha256-"), 0);
}

TEST_F(Guarded, NothingOfAnUnsignedImageIsFetched) {
  Require();
  const auto refused = Pull();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), Reason::kSignature);
  EXPECT_EQ(refused.error().Text(), "the image has no signature (rule \"ours\")");
  EXPECT_THAT(refused.error().next_step(), HasSubstr("cosign sign"));
  EXPECT_EQ(node.registry.Count("GET /v2/team/app/blobs/"), 0);
  EXPECT_FALSE(node.Has("team/app:v1"));
  EXPECT_THAT(*node.stores.catalog->OpenPulls(), IsEmpty());
  const auto entry = *node.stores.catalog->LastOf(node.Name("team/app:v1"));
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->kind, "failed");
  const auto record = *json::Document::Parse(entry->record, Reason::kInternal);
  EXPECT_EQ(*record.root().Find("verification")->Find("cause")->AsString(), "unsigned");
  // A refusal is not remembered: once it is signed, it comes.
  SignIt();
  EXPECT_TRUE(Pull());
}

TEST_F(Guarded, AVerdictIsKeptWithTheImage) {
  Require();
  SignIt();
  const auto done = Pull();
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->verdict->keys, std::vector<std::string>{"k"});
  EXPECT_TRUE(Use());
  node.registry.ClearLog();
  for (const Policy policy : {Policy::kIfNotPresent, Policy::kNever}) EXPECT_TRUE(Pull(policy));
  EXPECT_THAT(node.registry.log(), IsEmpty());
  EXPECT_TRUE(Pull(Policy::kAlways));
  EXPECT_EQ(node.registry.log().size(), 1u) << "one HEAD, and the verdict holds";
  node.Restart();
  EXPECT_TRUE(Use());
  const auto name = *node.stores.catalog->FindName(node.Name("team/app:v1"));
  EXPECT_THAT(*node.puller->gate().Record(*name), HasSubstr("\"verdict\":\"allowed\""));
  // It goes with the last name.
  EXPECT_TRUE(*node.stores.catalog->RemoveName(name->name));
  EXPECT_FALSE(*node.stores.catalog->FindVerdict(verifier.KeyOf(*reference::Reference::Parse(name->name), name->target)));
}

// ARCHITECTURE 2: with Never nobody is asked, about signatures neither.
TEST_F(Guarded, NeverAsksNobody) {
  ASSERT_TRUE(Pull());
  Require();
  SignIt();
  const int before = node.registry.Count("");
  const auto refused = Pull(Policy::kNever);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), Reason::kSignature);
  EXPECT_EQ(node.registry.Count(""), before);
  ASSERT_TRUE(Pull(Policy::kIfNotPresent));
  EXPECT_TRUE(Pull(Policy::kNever)) << "the verdict is on record now";
}

// B-64: pulled before there were rules; every policy; by digest; used without a pull.
TEST_F(Guarded, WhatIsHerePassesAgainWhenTheRulesChange) {
  ASSERT_TRUE(Pull());
  Require();
  const auto unverified = Use();
  ASSERT_FALSE(unverified);
  EXPECT_EQ(unverified.error().reason(), Reason::kSignature);
  for (const Policy policy : {Policy::kIfNotPresent, Policy::kAlways, Policy::kNever}) {
    const auto refused = Pull(policy);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason(), Reason::kSignature);
  }
  const auto by_digest = node.Pull(node.Ask("team/app@" + image.manifest.digest.ToString()));
  ASSERT_FALSE(by_digest);
  EXPECT_EQ(by_digest.error().reason(), Reason::kSignature);
  EXPECT_FALSE(Use());
  const auto record = *node.stores.catalog->FindImage(image.manifest.digest);
  EXPECT_FALSE(node.puller->gate().CheckPresent(*record));
  SignIt();
  EXPECT_TRUE(Pull());
  EXPECT_TRUE(Use());
  EXPECT_TRUE(node.puller->gate().CheckPresent(*record));
  EXPECT_TRUE(node.Pull(node.Ask("team/app@" + image.manifest.digest.ToString())));
  Require(", signedAfter: 2000-01-01T00:00:00Z");
  EXPECT_FALSE(Use());
  EXPECT_FALSE(Pull());
  Rules("  default: Warn\n");
  EXPECT_TRUE(Use());
  EXPECT_EQ(Pull()->verdict->outcome, verify::Outcome::kWarned);
  Rules("  rules: []\n");
  EXPECT_FALSE(Use());
}

// Found by an audit: rules that changed while the layers came did not stop what came.
TEST_F(Guarded, WhatIsPublishedHasAVerdictOfTheRulesInForce) {
  const std::string require = "  rules: [{name: ours, match: ['*'], action: RequireSignature, keys: [{name: k, file: /k}]";
  struct { const char* what; std::string before, after; bool is_signed, comes; int asked; } const rows[] = {
      {"denied meanwhile", "  default: Allow\n", "  default: Deny\n", true, false, 0},
      {"verified from now on, and unsigned", "", require + "}]\n", false, false, 1},
      {"verified from now on, and signed", "", require + "}]\n", true, true, 1},
      {"the signature is too old now", require + "}]\n", require + ", signedAfter: 2000-01-01T00:00:00Z}]\n", true, false, 2},
      {"the same rules, read again", require + "}]\n", require + "}]\n", true, true, 1},
      {"not verified any more", require + "}]\n", "", true, true, 1},
  };
  const auto put = [&](const std::string& rules) { rules.empty() ? verifier.Replace({}) : Rules(rules); };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    Node fresh({}, {}, &verifier);
    const auto there = fresh.registry.PutImage("team/app", "v1", {kLayer});
    const std::string tag = TagOf(there.manifest.digest);
    if (row.is_signed)
      PutSignatures(fresh.registry, "team/app", {Sign(key, PayloadText(fresh.Name("team/app"), there.manifest.digest))}, tag);
    fresh.registry.On("GET /v2/team/app/blobs/" + there.layers[0].digest.ToString(), [&](const ServerRequest&) {
      put(row.after);
      return Reply::Text(200, kLayer);
    });
    put(row.before);
    const auto done = fresh.Pull(fresh.Ask("team/app:v1"));
    EXPECT_EQ(done.has_value(), row.comes);
    if (!done) {
      EXPECT_EQ(done.error().reason(), Reason::kSignature) << done.error().Text();
    }
    EXPECT_EQ(fresh.Has("team/app:v1"), row.comes);
    EXPECT_THAT(*fresh.stores.catalog->OpenPulls(), IsEmpty());
    const auto name = *reference::Reference::Parse(fresh.Name("team/app:v1"));
    EXPECT_EQ(fresh.puller->gate().CheckPresent(name, there.manifest.digest).has_value(), row.comes);
    EXPECT_EQ(fresh.registry.Count("GET /v2/team/app/manifests/" + tag), row.asked) << "nobody is asked twice for nothing";
  }
}

TEST_F(Guarded, ADeniedNameIsNotAskedFor) {
  Rules("  rules: [{match: ['*'], action: Deny}]\n");
  const auto refused = Pull();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().Text(), HasSubstr("are not allowed on this node"));
  EXPECT_THAT(node.registry.log(), IsEmpty());
}

TEST_F(Guarded, TheTagMayMoveAfterwards) {
  Require();
  SignIt();
  ASSERT_TRUE(Pull());
  node.registry.PutImage("team/app", "v1", {Tar("b", "y")});
  const auto moved = Pull(Policy::kAlways);
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().reason(), Reason::kSignature);
  EXPECT_TRUE(Use()) << "what is here is still what was signed";
}

// Found by an audit: IfNotPresent judges what is here, and what it advised was refused, too.
TEST_F(Guarded, TheStepThatIsAdvisedLeadsToWhatTheTagMeansNow) {
  ASSERT_TRUE(Pull());
  Require();
  image = node.registry.PutImage("team/app", "v1", {Tar("b", "y")});
  SignIt();
  const std::string step = "berth pull --policy Always " + node.Name("team/app:v1");
  EXPECT_EQ(Use().error().next_step(), "pull it again: " + step);
  EXPECT_EQ(Pull(Policy::kNever).error().next_step(), "pull it again: " + step);
  const auto refused = Pull();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().next_step(), AllOf(StartsWith("sign it: cosign sign "),
                                                  EndsWith("; if the tag may mean another image by now: " + step)));
  ASSERT_TRUE(Pull(Policy::kAlways));
  EXPECT_TRUE(Use());
  // A digest means nothing else.
  Require(", signedAfter: 2000-01-01T00:00:00Z");
  const auto by_digest = node.Pull(node.Ask("team/app@" + image.manifest.digest.ToString()));
  ASSERT_FALSE(by_digest);
  EXPECT_THAT(by_digest.error().next_step(), Not(HasSubstr("--policy")));
}

// A child's signature does not bless the index, and an index signature covers its children.
TEST_F(Guarded, WhatIsSignedIsWhatTheNameStandsFor) {
  const auto index = node.registry.PutManifest(
      "team/app",
      oci::testing::IndexText({oci::testing::DescriptorText(
          image.manifest.media_type, image.manifest.digest.ToString(), std::to_string(image.manifest.size),
          R"(,"platform":{"os":"linux","architecture":"amd64"})")}),
      std::string(oci::kOciIndex), "v1");
  Require();
  SignIt();
  EXPECT_FALSE(Pull());
  PutSignatures(node.registry, "team/app", {Sign(key, PayloadText(node.Name("team/app"), index.digest))}, TagOf(index.digest));
  const auto done = Pull();
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->target, index.digest);
  EXPECT_TRUE(Use());
}

TEST_F(Guarded, ARecordThatCannotBeReadCountsForNothing) {
  Require();
  SignIt();
  ASSERT_TRUE(Pull());
  const auto name = *reference::Reference::Parse(node.Name("team/app:v1"));
  ASSERT_TRUE(node.stores.catalog->KeepVerdict({.subject = verifier.KeyOf(name, image.manifest.digest),
                                                .target = image.manifest.digest,
                                                .record = "{\"verdict\":\"allowed\"}"}));
  EXPECT_FALSE(Use());
}

// P21: the verifier's source fails at each of its steps, and nothing comes.
TEST_F(Guarded, NoFailureLetsAnImageThrough) {
  Require();
  SignIt();
  for (const bool payload : {false, true})
    for (const int status : {401, 403, 429, 500, 503, 200}) {

      Node broken({}, {}, &verifier);
      const auto there = broken.registry.PutImage("team/app", "v1", {kLayer});
      PutSignatures(broken.registry, "team/app", {Sign(key, PayloadText(broken.Name("team/app"), there.manifest.digest))}, TagOf(there.manifest.digest));
      const std::string match = payload ? "GET /v2/team/app/blobs/" : "GET /v2/team/app/manifests/" + TagOf(there.manifest.digest);
      broken.registry.On(match, [status](const ServerRequest&) { return Reply::Text(status, "garbage", {{"Retry-After", "0"}}); });
      const auto refused = broken.Pull(broken.Ask("team/app:v1"));
      ASSERT_FALSE(refused) << match << status;
      EXPECT_EQ(refused.error().reason(), Reason::kSignature) << status << refused.error().Text();
      EXPECT_FALSE(broken.Has("team/app:v1"));
    }
}

}  // namespace
}  // namespace berth::pull
