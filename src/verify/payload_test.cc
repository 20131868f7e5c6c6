#include "verify/payload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "bytes/encoding.h"

namespace berth::verify {
namespace {

using ::testing::HasSubstr;

const std::string kHex(64, 'a'), kDigest = "sha256:" + kHex;

std::string Payload(const std::string& critical, const std::string& optional = R"(,"optional":null)") {
  return R"({"critical":{)" + critical + "}" + optional + "}";
}
const std::string kIdentity = R"("identity":{"docker-reference":"reg.io/team/app"})", kImage = R"("image":{"docker-manifest-digest":")" + kDigest + R"("})",
                  kType = R"("type":"cosign container image signature")", kAll = kIdentity + "," + kImage + "," + kType;

TEST(SimpleSigning, IsRead) {
  const auto plain = ParseSimpleSigning(Payload(kAll));
  ASSERT_TRUE(plain) << plain.error().Text();
  EXPECT_EQ(plain->digest.ToString(), kDigest);
  EXPECT_EQ(plain->reference, "reg.io/team/app");
  EXPECT_FALSE(plain->timestamp);
  const auto timed = ParseSimpleSigning(Payload(kAll, R"(,"optional":{"creator":"x","timestamp":1458239713})"));
  ASSERT_TRUE(timed);
  EXPECT_EQ(timed->timestamp, 1458239713);
  EXPECT_TRUE(ParseSimpleSigning(Payload(kAll, "")));
}

struct BadRow { std::string name, text; };
void PrintTo(const BadRow& r, std::ostream* out) { *out << r.name; }
std::string PlainName(const ::testing::TestParamInfo<BadRow>& row) {
  std::string name = row.param.name;
  std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
  return name;
}
class BadPayloads : public ::testing::TestWithParam<BadRow> {};
TEST_P(BadPayloads, AreRefused) { EXPECT_FALSE(ParseSimpleSigning(GetParam().text)); }
INSTANTIATE_TEST_SUITE_P(
    Table, BadPayloads,
    ::testing::Values(BadRow{"nothing", ""}, BadRow{"no object", "[]"}, BadRow{"bytes behind it", Payload(kAll) + "x"},
                      BadRow{"other type", Payload(kIdentity + "," + kImage + R"(,"type":"atomic container signature")")},
                      BadRow{"no type", Payload(kIdentity + "," + kImage)}, BadRow{"no image", Payload(kIdentity + "," + kType)},
                      BadRow{"no identity", Payload(kImage + "," + kType)},
                      BadRow{"unknown critical", Payload(kAll + R"(,"expires":"2020")")},
                      BadRow{"unknown member", R"({"critical":{)" + kAll + R"(},"Critical":{}})"},
                      BadRow{"other spelling", Payload(kIdentity + R"(,"image":{"Docker-manifest-digest":")" + kDigest + R"("},)" + kType)},
                      BadRow{"digest twice", Payload(kIdentity + R"(,"image":{"docker-manifest-digest":")" + kDigest + R"(","docker-manifest-digest":")" + kDigest + R"("},)" + kType)},
                      BadRow{"short digest", Payload(kIdentity + R"(,"image":{"docker-manifest-digest":"sha256:12"},)" + kType)},
                      BadRow{"upper case digest", Payload(kIdentity + R"(,"image":{"docker-manifest-digest":"sha256:)" + std::string(64, 'A') + R"("},)" + kType)},
                      BadRow{"reference no text", Payload(R"("identity":{"docker-reference":7},)" + kImage + "," + kType)},
                      BadRow{"long reference", Payload(R"("identity":{"docker-reference":")" + std::string(5000, 'a') + R"("},)" + kImage + "," + kType)},
                      BadRow{"time no integer", Payload(kAll, R"(,"optional":{"timestamp":1.5})")},
                      BadRow{"too large", Payload(kAll, R"(,"optional":{"x":")" + std::string(70'000, 'a') + R"("})")}),
    PlainName);

// The examples of the DSSE specification.
TEST(Envelope, ThePreAuthenticationIsThatOfTheSpecification) {
  EXPECT_EQ(PreAuthentication("http://example.com/HelloWorld", "hello world"), "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
  EXPECT_EQ(PreAuthentication("", ""), "DSSEv1 0  0 ");
}

std::string B64(std::string_view text) { return bytes::ToBase64(bytes::AsView(text)); }
std::string BundleText(const std::string& content, const std::string& type = "application/vnd.dev.sigstore.bundle.v0.3+json") {
  return R"({"mediaType":")" + type + R"(","verificationMaterial":{"publicKey":{"hint":"x"}},)" + content + "}";
}
std::string Envelope(const std::string& signatures = R"([{"sig":"c2ln","keyid":""}])") {
  return R"("dsseEnvelope":{"payload":")" + B64("{}") + R"(","payloadType":"application/vnd.in-toto+json","signatures":)" + signatures + "}";
}

TEST(Bundles, AreRead) {
  const auto envelope = ParseBundle(BundleText(Envelope()));
  ASSERT_TRUE(envelope) << envelope.error().Text();
  EXPECT_EQ(envelope->payload, "{}");
  EXPECT_EQ(envelope->signatures, std::vector<std::string>{"sig"});
  const auto message =
      ParseBundle(BundleText(R"("messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":")" +
                                 B64(std::string(32, 'x')) + R"("},"signature":"c2ln"})",
                             "application/vnd.dev.sigstore.bundle+json;version=0.3"));
  ASSERT_TRUE(message) << message.error().Text();
  EXPECT_TRUE(message->message);
  EXPECT_EQ(message->message_digest, std::string(32, 'x'));
}

class BadBundles : public ::testing::TestWithParam<BadRow> {};
TEST_P(BadBundles, AreRefused) { EXPECT_FALSE(ParseBundle(GetParam().text)); }
INSTANTIATE_TEST_SUITE_P(
    Table, BadBundles,
    ::testing::Values(
        BadRow{"version 0.1", BundleText(Envelope(), "application/vnd.dev.sigstore.bundle+json;version=0.1")},
        BadRow{"neither", BundleText(R"("messageSignature0":{})")},
        BadRow{"both", BundleText(Envelope() + R"(,"messageSignature":{"signature":"c2ln"})")},
        BadRow{"no signature", BundleText(Envelope("[]"))},
        BadRow{
            "nine signatures",
            BundleText(Envelope(
                R"([{"sig":""},{"sig":""},{"sig":""},{"sig":""},{"sig":""},{"sig":""},{"sig":""},{"sig":""},{"sig":""}])"))},
        BadRow{"no base64", BundleText(Envelope(R"([{"sig":"c2l"}])"))},
        BadRow{"url base64", BundleText(Envelope(R"([{"sig":"__-_"}])"))},
        BadRow{
            "other hash",
            BundleText(
                R"("messageSignature":{"messageDigest":{"algorithm":"SHA2_512","digest":""},"signature":"c2ln"})")},
        BadRow{"too large", BundleText(Envelope()) + std::string(2u << 20, ' ')}),
    PlainName);

TEST(Statements, AreRead) {
  const auto statement = ParseStatement(R"({"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":")" + kHex +
                                        R"(","gitCommit":"x"}},{"digest":{}}],"predicateType":"p","predicate":{}})");
  ASSERT_TRUE(statement) << statement.error().Text();
  EXPECT_EQ(statement->predicate_type, "p");
  ASSERT_EQ(statement->subjects.size(), 2u);
  EXPECT_EQ(statement->subjects[0].name, "a");
  ASSERT_EQ(statement->subjects[0].digests.size(), 1u);
  EXPECT_EQ(statement->subjects[0].digests[0].ToString(), kDigest);
}

class BadStatements : public ::testing::TestWithParam<BadRow> {};
TEST_P(BadStatements, AreRefused) { EXPECT_FALSE(ParseStatement(GetParam().text)); }
INSTANTIATE_TEST_SUITE_P(Table, BadStatements,
                         ::testing::Values(BadRow{"other type", R"({"_type":"x","subject":[{"digest":{}}],"predicateType":"p"})"},
                                           BadRow{"no subject", R"({"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"p"})"},
                                           BadRow{"no digest", R"({"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a"}],"predicateType":"p"})"},
                                           BadRow{"bad digest", R"({"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"12"}}],"predicateType":"p"})"},
                                           BadRow{"no predicate type", R"({"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{}}]})"}),
                         PlainName);

TEST(Manifests, NameTheirSubject) {
  EXPECT_EQ(*SubjectOf("{}"), std::nullopt);
  EXPECT_EQ((*SubjectOf(R"({"subject":{"digest":")" + kDigest + R"("}})"))->ToString(), kDigest);
  EXPECT_FALSE(SubjectOf(R"({"subject":{"digest":"x"}})"));
}

}  // namespace
}  // namespace berth::verify
