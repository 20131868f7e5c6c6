#include "digest/signature.h"

#include <gtest/gtest.h>

#include <ostream>

#include "bytes/encoding.h"
#include "digest/testing/rsa_keys.h"

namespace berth::digest {
namespace {

std::string Times(std::size_t n, char c) { return std::string(n, c); }
std::string Raw(std::string_view hex) { return *bytes::FromHex(hex); }

// RFC 4231 section 4.
struct MacRow { std::string name, key, data; std::string_view mac; };
void PrintTo(const MacRow& r, std::ostream* out) { *out << r.name; }
class Mac : public ::testing::TestWithParam<MacRow> {};

TEST_P(Mac, IsTheOneOfTheRfc) {
  const MacRow& row = GetParam();
  EXPECT_EQ(bytes::ToHex(HmacSha256(bytes::AsView(row.key), bytes::AsView(row.data))), row.mac);
}

INSTANTIATE_TEST_SUITE_P(
    Rfc4231, Mac,
    ::testing::Values(
        MacRow{"case 1", Times(20, '\x0b'), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        MacRow{"case 2", "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        MacRow{"case 3", Times(20, '\xaa'), Times(50, '\xdd'), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
        MacRow{"case 4", Raw("0102030405060708090a0b0c0d0e0f10111213141516171819"), Times(50, '\xcd'),
               "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
        MacRow{"case 6", Times(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First",
               "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
        MacRow{"case 7", Times(131, '\xaa'),
               "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed "
               "before being used by the HMAC algorithm.",
               "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
        MacRow{"empty key, empty data", "", "", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"}));

TEST(Sign, IsWhatTheOpensslProgramMakes) {
  for (const auto key : {testing::kRsaPkcs8, testing::kRsaPkcs1}) {
    const auto got = SignRsaSha256(key, bytes::AsView("header.claims"));
    ASSERT_TRUE(got) << got.error().Text();
    EXPECT_EQ(bytes::ToHex(bytes::AsView(*got)), testing::kSignatureHex);
  }
}

struct BadKey { std::string name; std::string_view pem, message; };
void PrintTo(const BadKey& r, std::ostream* out) { *out << r.name; }
class BadKeys : public ::testing::TestWithParam<BadKey> {};

TEST_P(BadKeys, AreRefusedWithoutQuotingThem) {
  const auto got = SignRsaSha256(GetParam().pem, bytes::AsView("x"));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kInvalidCredentials);
  EXPECT_EQ(got.error().Text(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadKeys,
    ::testing::Values(BadKey{"nothing", "", "the private key is not an unencrypted private key in PEM form"},
                      BadKey{"text", "hunter2canary", "the private key is not an unencrypted private key in PEM form"},
                      BadKey{"cut", testing::kRsaPkcs8.substr(0, 600), "the private key is not an unencrypted private key in PEM form"},
                      BadKey{"pass phrase", testing::kRsaEncrypted, "the private key is not an unencrypted private key in PEM form"},
                      BadKey{"elliptic curve", testing::kEllipticCurve, "the private key is not an RSA key"},
                      BadKey{"short", testing::kRsaSmall, "the private key is an RSA key of less than 2,048 bits"}));

}  // namespace
}  // namespace berth::digest
