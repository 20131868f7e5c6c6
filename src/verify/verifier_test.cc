#include "verify/verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <functional>
#include <ostream>

#include "host/testing/scratch.h"
#include "http/client.h"
#include "time/testing/manual_clock.h"
#include "verify/testing/signatures.h"

namespace berth::verify {
namespace {

using http::testing::Reply;
using http::testing::ServerRequest;
using ::testing::ElementsAre;
using testing::EnvelopeBundle;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MessageBundle;
using testing::PayloadText;
using testing::PutBundle;
using testing::PutFallbackIndex;
using testing::PutSignatures;
using testing::ReferrersIndex;
using testing::Sign;
using testing::Signer;
using testing::StatementText;
using testing::TagOf;

// One image, "team/app:v1", in a registry; the keys "release" and "ci".
class Lab {
 public:
  Lab() : image(registry.PutImage("team/app", "v1", {"layer"})) {
    registry::ClientOptions options;
    options.hosts.plain_http = {registry.host()};
    options.retry.rounds = 1;
    options.retry.base = options.retry.cap = std::chrono::milliseconds(1);
    client_ = std::make_unique<registry::Client>(
        http_, time::SystemClock(), [] { return 0.5; }, options);
  }
  std::string name() const { return registry.host() + "/team/app"; }
  const digest::Digest& digest() const { return image.manifest.digest; }

  Rules Read(const std::string& text) const {
    const auto documents = yaml::Parse(text, "test", Reason::kConfig);
    BERTH_CHECK(documents.has_value());
    auto rules =
        Rules::Parse((*documents)[0], *(*documents)[0].root().Find("verification"),
                     [&](const std::string& path) -> Result<std::string> { return path == "/release" ? release.pem() : ci.pem(); });
    if (!rules) BERTH_CHECK(rules.error().Text().empty());
    return *std::move(rules);
  }
  // One rule for everything.
  Rules Require(const std::string& more = "", const std::string& key_more = "", const std::string& action = "RequireSignature") const {
    return Read("verification:\n  rules:\n  - {name: ours, match: ['*'], action: " + action + ", keys: [{name: release, file: /release" +
                key_more + "}, {name: ci, file: /ci}]" + more + "}\n");
  }
  Verdict Ask(Rules rules, const std::string& tail = ":v1") {
    const RuleVerifier verifier(std::move(rules), clock, limit, signatures);
    const auto reference = *reference::Reference::Parse(name() + tail);
    const auto repository = client_->Open(reference, {});
    auto verdict = verifier.Verify(task::Context(std::stop_token(), clock),
                                   {reference, digest(), image.manifest.media_type, image.manifest.size}, *repository);
    BERTH_CHECK(verdict.has_value());
    // What is recorded is what was found.
    const auto again = Verdict::FromJson(verdict->ToJson());
    EXPECT_TRUE(again);
    EXPECT_EQ(again->ToJson(), verdict->ToJson());
    EXPECT_EQ(verdict->admitted(), verifier.Holds(*verdict, reference));
    return *std::move(verdict);
  }

  registry::testing::FakeRegistry registry;
  registry::testing::FakeRegistry::Image image;
  Signer release, ci{Signer::Kind::kEd25519}, stranger;
  time::testing::ManualClock clock;
  time::Duration limit = std::chrono::seconds(60);
  SignatureLimits signatures;

 private:
  http::Client http_;
  std::unique_ptr<registry::Client> client_;
};

TEST(Verifier, ASignatureUnderTheTagLetsTheImageThrough) {
  Lab lab;
  PutSignatures(lab.registry, "team/app", {Sign(lab.release, PayloadText(lab.name(), lab.digest()))}, TagOf(lab.digest()));
  const Verdict v = lab.Ask(lab.Require());
  EXPECT_EQ(v.outcome, Outcome::kAllowed) << v.reason;
  EXPECT_EQ(v.rule, "ours");
  EXPECT_THAT(v.keys, ElementsAre("release"));
  ASSERT_EQ(v.signatures.size(), 1u);
  EXPECT_EQ(v.signatures[0].where, "tag " + TagOf(lab.digest()) + ", layer 1");
  EXPECT_EQ(v.reason + v.next, "");
  EXPECT_EQ(lab.registry.Count("GET /v2/team/app/referrers/"), 0) << "nothing is asked that need not be";
  EXPECT_THAT(lab.registry.violations(), IsEmpty());
}

TEST(Verifier, HowManySignaturesAreLookedAtIsALimit) {
  Lab lab;
  const auto payload = [&](int i) { return PayloadText(lab.name(), lab.digest(), R"({"n":)" + std::to_string(i) + "}"); };
  PutSignatures(lab.registry, "team/app", {Sign(lab.stranger, payload(0)), Sign(lab.stranger, payload(1)), Sign(lab.release, payload(2))},
                TagOf(lab.digest()));
  EXPECT_EQ(lab.Ask(lab.Require()).outcome, Outcome::kAllowed);
  lab.signatures = {.count = 2};
  EXPECT_THAT(lab.Ask(lab.Require()).reason, HasSubstr("more than 2 signatures for this image (limit signatures)"));
  lab.signatures = {.bytes = 600};
  EXPECT_THAT(lab.Ask(lab.Require()).reason, HasSubstr("more than 600 bytes in all (limit signature_bytes)"));
}

TEST(Verifier, AReferrerLetsTheImageThrough) {
  for (const bool api : {false, true})
    for (const bool bundle : {false, true}) {
      Lab lab;
      const auto manifest =
          bundle ? PutBundle(lab.registry, "team/app", EnvelopeBundle(lab.ci, StatementText(lab.digest(), lab.name())), lab.digest())
                 : PutSignatures(lab.registry, "team/app", {Sign(lab.ci, PayloadText(lab.name(), lab.digest()))}, "",
                                 R"(,"artifactType":")" + std::string(kCosignArtifactType) + R"(")" + testing::SubjectText(lab.digest()));
      const std::string type(bundle ? testing::kBundle : kCosignArtifactType);
      if (api)
        lab.registry.On("GET /v2/team/app/referrers/" + lab.digest().ToString(), [=](const ServerRequest&) {
          return Reply::Text(200, ReferrersIndex({{manifest, type}}), {{"Content-Type", std::string(oci::kOciIndex)}});
        });
      else
        PutFallbackIndex(lab.registry, "team/app", lab.digest(), {{manifest, type}});
      const Verdict v = lab.Ask(lab.Require());
      EXPECT_EQ(v.outcome, Outcome::kAllowed) << v.reason << api << bundle;
      EXPECT_THAT(v.keys, ElementsAre("ci"));
    }
}

TEST(Verifier, AMessageSignatureIsOverTheManifest) {
  Lab lab;
  PutFallbackIndex(lab.registry, "team/app", lab.digest(),
                   {{PutBundle(lab.registry, "team/app", MessageBundle(lab.ci, lab.image.manifest_bytes), lab.digest()),
                     std::string(testing::kBundle)}});
  EXPECT_EQ(lab.Ask(lab.Require(", identity: Any")).outcome, Outcome::kAllowed);
  EXPECT_EQ(lab.Ask(lab.Require()).cause, Cause::kWrongIdentity) << "it names no repository";
}

// --- matrix rows B-61 to B-63, 101 to 104: every way not to be signed

struct Row {
  std::string name;
  std::function<void(Lab&)> put;
  Cause cause;
  std::string reason, rule = {}, key = {}, tail = ":v1";
};
void PrintTo(const Row& r, std::ostream* out) { *out << r.name; }
class Denied : public ::testing::TestWithParam<Row> {};

TEST_P(Denied, WithItsCauseAndOneNextStep) {
  const Row& row = GetParam();
  Lab lab;
  row.put(lab);
  const Verdict v = lab.Ask(lab.Require(row.rule, row.key), row.tail);
  EXPECT_EQ(v.outcome, Outcome::kDenied);
  EXPECT_EQ(Name(v.cause), Name(row.cause)) << v.reason;
  EXPECT_THAT(v.reason, HasSubstr(row.reason));
  EXPECT_THAT(v.reason, HasSubstr("(rule \"ours\")"));
  EXPECT_NE(v.next, "");
  EXPECT_EQ(v.Refusal().reason(), Reason::kSignature);
  // The same under Warn is let through, and says so.
  const Verdict warned = lab.Ask(lab.Require(row.rule, row.key, "Warn"), row.tail);
  EXPECT_EQ(warned.outcome, Outcome::kWarned);
  EXPECT_EQ(warned.cause, row.cause);
}

void PutTag(Lab& lab, const std::vector<testing::Signature>& signatures) {
  PutSignatures(lab.registry, "team/app", signatures, TagOf(lab.digest()));
}
void PutAttached(Lab& lab, const std::string& bundle, std::optional<digest::Digest> subject = std::nullopt) {
  PutFallbackIndex(lab.registry, "team/app", lab.digest(),
                   {{PutBundle(lab.registry, "team/app", bundle, subject.value_or(lab.digest())), std::string(testing::kBundle)}});
}
const digest::Digest kOther = digest::Digest::Of(bytes::AsView("other"));
Reply Broken(const ServerRequest&) { return Reply::Text(503, "down"); }

INSTANTIATE_TEST_SUITE_P(
    Table, Denied,
    ::testing::Values(
        Row{"unsigned", [](Lab&) {}, Cause::kUnsigned, "the image has no signature"},
        Row{"signatures of another kind only",
            [](Lab& lab) { const std::string layer = testing::DescriptorOf(lab.registry.PutBlob("team/app", "x"));
              lab.registry.PutManifest("team/app", oci::testing::ManifestText({layer}), std::string(oci::kOciManifest), TagOf(lab.digest()));
            },
            Cause::kUnsigned, "no signature"},
        Row{"another key", [](Lab& lab) { PutTag(lab, {Sign(lab.stranger, PayloadText(lab.name(), lab.digest()))}); },
            Cause::kWrongKey, "not by a key of the rule"},
        Row{"another key in a bundle",
            [](Lab& lab) { PutAttached(lab, EnvelopeBundle(lab.stranger, StatementText(lab.digest(), lab.name()))); },
            Cause::kWrongKey, "not by a key"},
        Row{"payload changed after signing",
            [](Lab& lab) {
              auto good = Sign(lab.release, PayloadText(lab.name(), lab.digest()));
              PutTag(lab, {{good.first + " ", good.second}});
            },
            Cause::kWrongKey, "not by a key of the rule"},
        Row{"signature of another image", [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), kOther))}); },
            Cause::kWrongDigest,
            "the signature of key \"release\" is for another image: " + kOther.ToString()},
        Row{"bundle of another image", [](Lab& lab) { PutAttached(lab, EnvelopeBundle(lab.ci, StatementText(kOther, lab.name()))); },
            Cause::kWrongDigest, "is for another image"},
        Row{"referrer of another subject",
            [](Lab& lab) { PutAttached(lab, EnvelopeBundle(lab.ci, StatementText(lab.digest(), lab.name())), kOther); },
            Cause::kWrongDigest, "says that it belongs to"},
        Row{"message bundle of another image", [](Lab& lab) { PutAttached(lab, MessageBundle(lab.ci, "{}")); },
            Cause::kWrongDigest, "for another image", ", identity: Any"},
        Row{"another repository",
            [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText(lab.registry.host() + "/team/other", lab.digest()))}); },
            Cause::kWrongIdentity, "/team/other\""},
        Row{"another registry", [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText("reg.example/team/app", lab.digest()))}); },
            Cause::kWrongIdentity, "is for \"reg.example/team/app\""},
        Row{"no name in the signature", [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText("", lab.digest()))}); },
            Cause::kWrongIdentity, "names no repository"},
        Row{"no name in the bundle", [](Lab& lab) { PutAttached(lab, EnvelopeBundle(lab.ci, StatementText(lab.digest()))); },
            Cause::kWrongIdentity, "names no repository"},
        Row{"another tag", [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText(lab.name() + ":v0", lab.digest()))}); },
            Cause::kWrongIdentity, "wants the same tag", ", identity: Exact"},
        Row{"an attestation is no signature",
            [](Lab& lab) { PutAttached(lab, EnvelopeBundle(lab.ci, StatementText(lab.digest(), lab.name(), "https://slsa.dev/provenance/v1"))); },
            Cause::kUnsigned, "no signature"},
        Row{"key out of date", [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest()))}); },
            Cause::kOutOfDate,
            "key \"release\" was valid until 1999-01-01T00:00:00Z", "", ", notAfter: 1999-01-01T00:00:00Z"},
        Row{"key not valid yet", [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest()))}); },
            Cause::kOutOfDate,
            "is not valid before 2200-01-01T00:00:00Z", "", ", notBefore: 2200-01-01T00:00:00Z"},
        Row{"made in the future",
            [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest(), R"({"timestamp":7258118400})"))}); },
            Cause::kOutOfDate, "was made in the future"},
        Row{"too old",
            [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest(), R"({"timestamp":946684799})"))}); },
            Cause::kOutOfDate,
            "was made before 2000-01-01T00:00:00Z", ", signedAfter: 2000-01-01T00:00:00Z"},
        Row{"no time", [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest()))}); }, Cause::kOutOfDate,
            "does not say when it was made", ", signedAfter: 2000-01-01T00:00:00Z"},
        Row{"one key of two",
            [](Lab& lab) {
              PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest())),
                           Sign(lab.release, PayloadText(lab.name(), lab.digest(), "{}"))});
            },
            Cause::kTooFewKeys, "1 of the 2 keys wanted", ", threshold: 2"},
        Row{"signature no base64", [](Lab& lab) { PutTag(lab, {{PayloadText(lab.name(), lab.digest()), "%%%"}}); },
            Cause::kMalformed, "is no base64"},
        Row{"payload garbled", [](Lab& lab) { PutTag(lab, {Sign(lab.release, "{\"critical\":7}")}); }, Cause::kMalformed, "is no object"},
        Row{"payload of another type",
            [](Lab& lab) { PutTag(lab, {Sign(lab.release, R"({"critical":{"type":"atomic container signature"}})")}); },
            Cause::kMalformed, "another type"},
        Row{"payload with an unknown condition",
            [](Lab& lab) {
              std::string payload = PayloadText(lab.name(), lab.digest());
              payload.insert(payload.find("\"identity\""), R"("unless":"friday",)");
              PutTag(lab, {Sign(lab.release, payload)});
            },
            Cause::kMalformed, "a member that we do not know"},
        Row{"payload gone",
            [](Lab& lab) {
              const std::string payload = PayloadText(lab.name(), lab.digest());
              PutTag(lab, {Sign(lab.release, payload)});
              lab.registry.Remove("team/app", digest::Digest::Of(bytes::AsView(payload)));
            },
            Cause::kMalformed, "does not have"},
        Row{"payload replaced",
            [](Lab& lab) {
              const std::string payload = PayloadText(lab.name(), lab.digest());
              PutTag(lab, {Sign(lab.release, payload)});
              lab.registry.Corrupt("team/app", digest::Digest::Of(bytes::AsView(payload)), std::string(payload.size(), 'x'));
            },
            Cause::kMalformed, "sent other bytes"},
        Row{"payload of 100 KiB", [](Lab& lab) { PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest(), R"({"x":")" + std::string(100'000, 'x') + R"("})"))}); },
            Cause::kMalformed, "larger than 64 KiB"},
        Row{"bundle garbled", [](Lab& lab) { PutAttached(lab, "{}"); }, Cause::kMalformed, ""},
        Row{"bundle of 2 MiB", [](Lab& lab) { PutAttached(lab, std::string(2u << 20, ' ')); }, Cause::kMalformed, "larger than 1 MiB"},
        Row{"65 signatures",
            [](Lab& lab) {
              std::vector<testing::Signature> many;
              for (int i = 0; i < 65; ++i)
                many.push_back(Sign(lab.release, PayloadText(lab.name(), lab.digest(), R"({"n":)" + std::to_string(i) + "}")));
              PutTag(lab, many);
            },
            Cause::kMalformed, "more than 64 signatures for this image (limit signatures)"},
        Row{"10,000 signatures",
            [](Lab& lab) {
              const std::string layer = oci::testing::DescriptorText(kSimpleSigningType);
              lab.registry.PutManifest("team/app", oci::testing::ManifestText(std::vector<std::string>(10'000, layer)),
                                       std::string(oci::kOciManifest), TagOf(lab.digest()));
            },
            Cause::kMalformed, ""},
        Row{"4 MiB of bundles",
            [](Lab& lab) {
              std::vector<std::pair<oci::Descriptor, std::string>> entries;
              for (int i = 0; i < 5; ++i)
                entries.emplace_back(PutBundle(lab.registry, "team/app", std::to_string(i) + std::string(1'000'000, ' '), lab.digest()),
                                     std::string(testing::kBundle));
              PutFallbackIndex(lab.registry, "team/app", lab.digest(), entries);
            },
            Cause::kMalformed, ""},
        Row{"endless pages",
            [](Lab& lab) {
              lab.registry.On("GET /v2/team/app/referrers/", [n = std::make_shared<std::atomic<int>>()](const ServerRequest& r) {
                return Reply::Text(200, ReferrersIndex({}), {{"Content-Type", std::string(oci::kOciIndex)},
                                                             {"Link", "<" + r.path() + "?n=" + std::to_string(++*n) + ">; rel=\"next\""}});
              });
            },
            Cause::kMalformed, "more than 10 pages"},
        Row{"a page elsewhere",
            [](Lab& lab) {
              lab.registry.On("GET /v2/team/app/referrers/", [](const ServerRequest&) {
                return Reply::Text(200, ReferrersIndex({}), {{"Content-Type", std::string(oci::kOciIndex)},
                                                             {"Link", "<http://127.0.0.2:1/v2/x?n=1>; rel=\"next\""}});
              });
            },
            Cause::kUnreachable, "leads to another place"},
        Row{"registry down", [](Lab& lab) { lab.registry.On("", Broken); }, Cause::kUnreachable, "its signatures cannot be looked at"},
        Row{"tag cannot be asked", [](Lab& lab) { lab.registry.On("GET /v2/team/app/manifests/", Broken); },
            Cause::kUnreachable, "its signatures cannot be looked at"},
        Row{"payload cannot be asked",
            [](Lab& lab) {
              PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest()))});
              lab.registry.On("GET /v2/team/app/blobs/", Broken);
            },
            Cause::kUnreachable, "its signatures cannot be looked at"},
        Row{"access denied", [](Lab& lab) { lab.registry.RequireBasic("alice", "secret"); },
            Cause::kUnreachable, "its signatures cannot be looked at"}),
    [](const auto& row) {
      std::string name = row.param.name;
      std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
      return name;
    });

TEST(Verifier, AGoodSignatureCountsBesideBadOnes) {
  Lab lab;
  PutTag(lab, {{PayloadText(lab.name(), lab.digest()), "%%%"},
               Sign(lab.stranger, PayloadText(lab.name(), lab.digest(), "{}")),
               Sign(lab.release, PayloadText(lab.name(), lab.digest()))});
  const Verdict v = lab.Ask(lab.Require());
  EXPECT_EQ(v.outcome, Outcome::kAllowed) << v.reason;
  EXPECT_EQ(v.signatures.size(), 3u);
}

TEST(Verifier, ASourceThatFailsDoesNotHideTheOther) {
  Lab lab;
  PutAttached(lab, EnvelopeBundle(lab.ci, StatementText(lab.digest(), lab.name())));
  lab.registry.On("GET /v2/team/app/manifests/" + TagOf(lab.digest()), Broken);
  EXPECT_EQ(lab.Ask(lab.Require()).outcome, Outcome::kAllowed);
}

TEST(Verifier, PagesOfReferrersAreFollowed) {
  Lab lab;
  const auto manifest = PutBundle(lab.registry, "team/app", EnvelopeBundle(lab.ci, StatementText(lab.digest(), lab.name())), lab.digest());
  lab.registry.On("GET /v2/team/app/referrers/", [manifest, digest = lab.digest().ToString()](const ServerRequest& r) {
    const bool first = r.target.find("last=") == std::string::npos;
    Reply::Fields fields{{"Content-Type", std::string(oci::kOciIndex)}};
    if (first) fields.emplace_back("Link", "</v2/team/app/referrers/" + digest + "?last=a&n=1>; rel=\"next\"");
    return Reply::Text(200, first ? ReferrersIndex({}) : ReferrersIndex({{manifest, ""}}), fields);
  });
  EXPECT_EQ(lab.Ask(lab.Require()).outcome, Outcome::kAllowed);
  EXPECT_EQ(lab.registry.Count("GET /v2/team/app/referrers/"), 2);
}

TEST(Verifier, NamesAreComparedAsNames) {
  const auto with = [](const std::string& reference, const std::string& rule, const std::string& tail = ":v1") {
    Lab lab;
    std::string text = reference;
    if (const auto at = text.find("HOST"); at != text.npos) text.replace(at, 4, lab.registry.host());
    if (const auto at = text.find("ZEROS"); at != text.npos) text.replace(at, 5, lab.registry.host()).insert(text.find(':') + 1, "00");
    if (const auto at = text.find("DIGEST"); at != text.npos) text.replace(at, 6, lab.digest().ToString());
    PutTag(lab, {Sign(lab.release, PayloadText(text, lab.digest()))});
    return lab.Ask(lab.Require(rule), tail).outcome;
  };
  EXPECT_EQ(with("HOST/team/app:other", ""), Outcome::kAllowed) << "Repository does not look at the tag";
  EXPECT_EQ(with("HOST/team/app:v1", ", identity: Exact"), Outcome::kAllowed);
  EXPECT_EQ(with("HOST/team/app", ", identity: Exact"), Outcome::kDenied);
  EXPECT_EQ(with("HOST/team/app@DIGEST", ", identity: Exact"), Outcome::kAllowed);
  EXPECT_EQ(with("ZEROS/team/app:v1", ""), Outcome::kAllowed) << "the same registry";
  EXPECT_EQ(with("index.docker.io/library/busybox", ", signedAs: [docker.io/library]"), Outcome::kAllowed);
  EXPECT_EQ(with("busybox", ", signedAs: [docker.io/library]"), Outcome::kAllowed);
  EXPECT_EQ(with("registry-1.docker.io:443/library/busybox", ", signedAs: [Index.docker.io/library]"), Outcome::kAllowed);
  EXPECT_EQ(with("REG.example:443/golden/app", ", signedAs: [reg.example/golden]"), Outcome::kAllowed);
  EXPECT_EQ(with("reg.example/golden/app", ", signedAs: [reg.example/golden]"), Outcome::kAllowed);
  EXPECT_EQ(with("reg.example/golden-not/app", ", signedAs: [reg.example/golden]"), Outcome::kDenied);
  EXPECT_EQ(with("whatever it is", ", identity: Any"), Outcome::kAllowed);
}

TEST(Verifier, UnreachableMayBeAWarning) {
  Lab lab;
  lab.registry.On("", Broken);
  const Verdict v = lab.Ask(lab.Require(", whenUnreachable: Warn"));
  EXPECT_EQ(v.outcome, Outcome::kWarned);
  ASSERT_TRUE(v.until) << "for the time being only";
  EXPECT_EQ(*v.until, lab.clock.WallNow() + std::chrono::hours(1));
  Lab answered;
  EXPECT_EQ(answered.Ask(answered.Require(", whenUnreachable: Warn")).outcome, Outcome::kDenied) << "unsigned is an answer";
}

TEST(Verifier, SeveralKeysMayBeWanted) {
  Lab lab;
  PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest()))});
  PutAttached(lab, EnvelopeBundle(lab.ci, StatementText(lab.digest(), lab.name())));
  const Verdict v = lab.Ask(lab.Require(", threshold: 2"));
  EXPECT_EQ(v.outcome, Outcome::kAllowed) << v.reason;
  EXPECT_THAT(v.keys, ElementsAre("ci", "release"));
}

TEST(Verifier, AVerdictEndsWithItsKeyAndWithItsRule) {
  Lab lab;
  PutTag(lab, {Sign(lab.release, PayloadText(lab.name(), lab.digest()))});
  const auto until = lab.clock.WallNow() + std::chrono::hours(1);
  const std::string key_more = ", notAfter: '" + std::string("2199-01-01T00:00:00Z") + "'";
  RuleVerifier verifier(lab.Require("", key_more), lab.clock);
  const auto name = *reference::Reference::Parse(lab.name() + ":v1");
  Verdict v = lab.Ask(lab.Require("", key_more));
  ASSERT_TRUE(v.until);
  EXPECT_TRUE(verifier.Holds(v, name));
  v.until = until;
  EXPECT_TRUE(verifier.Holds(v, name));
  lab.clock.Advance(std::chrono::hours(1));
  EXPECT_FALSE(verifier.Holds(v, name));
  v.until.reset();
  EXPECT_TRUE(verifier.Holds(v, name));
  verifier.Replace(lab.Require(", identity: Any", key_more));
  EXPECT_FALSE(verifier.Holds(v, name));
  verifier.Replace(Rules());
  EXPECT_FALSE(verifier.Holds(v, name));
}

TEST(Verifier, RulesDecideAloneWhereTheyCan) {
  Lab lab;
  const auto decide = [&](const std::string& rules, bool with_digest = true) {
    const RuleVerifier verifier(lab.Read("verification:\n" + rules), lab.clock);
    return verifier.Decide(*reference::Reference::Parse("reg.example/a/b:1"), with_digest ? &lab.digest() : nullptr);
  };
  const std::string digest = lab.digest().ToString();
  EXPECT_EQ(decide("  rules: []\n", false)->cause, Cause::kNoRule);
  EXPECT_EQ(decide("  rules: [{match: [reg.example], action: Deny}]\n", false)->cause, Cause::kDeniedByRule);
  EXPECT_EQ(decide("  rules: [{match: [reg.example], action: Allow}]\n", false), std::nullopt);
  EXPECT_EQ(decide("  rules: [{match: [reg.example], action: Allow}]\n")->outcome, Outcome::kAllowed);
  EXPECT_EQ(decide("  default: Warn\n")->outcome, Outcome::kWarned);
  EXPECT_EQ(decide("  default: Allow\n")->outcome, Outcome::kAllowed);
  EXPECT_EQ(decide("  rules: [{match: [reg.example], action: Allow, digests: ['" + digest + "']}]\n")->outcome, Outcome::kAllowed);
  EXPECT_EQ(decide("  rules: [{match: [reg.example], action: Allow, digests: ['" + kOther.ToString() + "']}]\n")->cause,
            Cause::kDigestNotListed);
  EXPECT_EQ(decide("  rules: [{match: [reg.example], action: RequireSignature, keys: [{file: /ci}]}]\n"), std::nullopt);
  EXPECT_EQ(
      decide("  rules: [{match: [reg.example], action: RequireSignature, keys: [{file: /ci}], digests: ['" + kOther.ToString() + "']}]\n")
          ->cause,
      Cause::kDigestNotListed);
  EXPECT_EQ(RuleVerifier(Rules(), lab.clock).Decide(*reference::Reference::Parse("a"), nullptr)->outcome, Outcome::kAllowed);
}

TEST(Verifier, ProgramsJudgeBesideKeys) {
  Lab lab;
  host::testing::Scratch scratch;
  ASSERT_TRUE(scratch.dir().MakeDir("v", 0755));
  const auto write = [&](const std::string& script) {
    std::ofstream(scratch.path("v/judge")) << "#!/bin/sh\n" << script << "\n";
    ASSERT_EQ(::chmod(scratch.path("v/judge").c_str(), 0755), 0);
  };
  const auto rules = [&](const std::string& keys) {
    return lab.Read("verification:\n  programs: {dir: " + scratch.path("v") +
                    "}\n  rules:\n  - {name: ours, match: ['*'], action: RequireSignature, programs: true" + keys + "}\n");
  };
  EXPECT_EQ(lab.Ask(rules("")).cause, Cause::kProgramFailed) << "an empty folder";
  write("exit 0");
  const Verdict good = lab.Ask(rules(""));
  EXPECT_EQ(good.outcome, Outcome::kAllowed) << good.reason;
  EXPECT_THAT(good.programs, ElementsAre("judge"));
  EXPECT_EQ(lab.Ask(rules(", keys: [{file: /ci}]")).cause, Cause::kUnsigned) << "both must agree";
  write("echo too new; exit 1");
  const Verdict bad = lab.Ask(rules(""));
  EXPECT_EQ(bad.cause, Cause::kProgramRefused);
  EXPECT_EQ(bad.reason, "verifier \"judge\" refuses it: \"too new\" (rule \"ours\")");
  EXPECT_FALSE(RuleVerifier(rules(""), lab.clock).Holds(good, *reference::Reference::Parse(lab.name() + ":v1")))
      << "the program is another one now";
}

// What is let through with a warning for want of signatures is still for the programs to judge.
TEST(Verifier, ProgramsJudgeWhatIsLetThroughWithAWarning) {
  struct { const char* rule; bool reachable; const char* script; Outcome outcome; Cause cause; bool asked_again; } const rows[] = {
      {"action: RequireSignature, whenUnreachable: Warn", false, "exit 0", Outcome::kWarned, Cause::kUnreachable, true},
      {"action: RequireSignature, whenUnreachable: Warn", false, "exit 1", Outcome::kDenied, Cause::kProgramRefused, true},
      {"action: RequireSignature, whenUnreachable: Warn", false, "kill -9 $$", Outcome::kDenied, Cause::kProgramFailed, true},
      {"action: Warn", false, "exit 0", Outcome::kWarned, Cause::kUnreachable, true},
      {"action: Warn", false, "exit 1", Outcome::kWarned, Cause::kProgramRefused, true},
      {"action: Warn", true, "exit 0", Outcome::kWarned, Cause::kUnsigned, false},
      {"action: Warn", true, "exit 1", Outcome::kWarned, Cause::kProgramRefused, false},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(::testing::Message() << row.rule << (row.reachable ? ", unsigned, " : ", unreachable, ") << row.script);
    Lab lab;
    if (!row.reachable) lab.registry.On("", Broken);
    host::testing::Scratch scratch;
    ASSERT_TRUE(scratch.dir().MakeDir("v", 0755));
    std::ofstream(scratch.path("v/judge")) << "#!/bin/sh\n" << row.script << "\n";
    ASSERT_EQ(::chmod(scratch.path("v/judge").c_str(), 0755), 0);
    const Verdict v = lab.Ask(lab.Read("verification:\n  programs: {dir: " + scratch.path("v") +
                                       "}\n  rules:\n  - {name: ours, match: ['*'], keys: [{file: /ci}], programs: true, " +
                                       row.rule + "}\n"));
    EXPECT_EQ(v.outcome, row.outcome) << v.reason;
    EXPECT_EQ(v.cause, row.cause) << v.reason;
    EXPECT_EQ(v.programs.size(), v.cause == Cause::kProgramRefused || v.cause == Cause::kProgramFailed ? 0u : 1u);
    EXPECT_EQ(v.until, row.asked_again ? std::optional(lab.clock.WallNow() + std::chrono::hours(1)) : std::nullopt);
  }
}

// A program is told the tag: what it said of one is nothing about another with the same digest.
TEST(Verifier, ProgramsJudgeEachTag) {
  Lab lab;
  host::testing::Scratch scratch;
  ASSERT_TRUE(scratch.dir().MakeDir("v", 0755));
  const auto verifier = RuleVerifier(lab.Read("verification:\n  programs: {dir: " + scratch.path("v") +
                                              "}\n  rules:\n  - {name: a, match: ['*/*'], action: RequireSignature, programs: true}\n"), lab.clock);
  const auto digest = digest::Digest::Of({});
  const auto key = [&](const std::string& tag) { return verifier.KeyOf(*reference::Reference::Parse(lab.name() + tag), digest); };
  EXPECT_NE(key(":prod"), key(":dev"));
  EXPECT_EQ(key("@" + digest.ToString()), key(":dev@" + digest.ToString()));
}

TEST(Verifier, StopsWithItsCaller) {
  Lab lab;
  const RuleVerifier verifier(lab.Require(), time::SystemClock());
  std::stop_source stop;
  stop.request_stop();
  http::Client http;
  registry::Client client(http, time::SystemClock(), [] { return 0.5; }, {});
  const auto name = *reference::Reference::Parse(lab.name() + ":v1");
  const auto repository = client.Open(name, {});
  const auto verdict = verifier.Verify(task::Context(stop.get_token()), {name, lab.digest(), "", 0}, *repository);
  ASSERT_FALSE(verdict);
  EXPECT_TRUE(verdict.error().cancelled());
}

TEST(Verdicts, ThatCannotBeReadCountForNothing) {
  for (const char* text :
       {"", "{}", "[]", R"({"verdict":"fine","cause":""})", R"({"verdict":"allowed","cause":"x"})",
        R"({"verdict":"allowed","cause":"","signatures":[{"found":"x"}]})", R"({"verdict":"allowed","cause":"","until":"soon"})"})
    EXPECT_FALSE(Verdict::FromJson(text)) << text;
}

}  // namespace
}  // namespace berth::verify
