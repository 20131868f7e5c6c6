#include "digest/signature.h"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <memory>
#include <ostream>

#include "bytes/encoding.h"
#include "digest/testing/rsa_keys.h"
#include "digest/testing/signer.h"

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

using testing::Signer;
using Kind = Signer::Kind;
using Scheme = Signer::Scheme;

struct SchemeRow { std::string name; Kind kind; Scheme scheme; std::string_view algorithm; bool good; };
void PrintTo(const SchemeRow& r, std::ostream* out) { *out << r.name; }
class Schemes : public ::testing::TestWithParam<SchemeRow> {};

TEST_P(Schemes, AreThoseOfCosign) {
  const Signer signer(GetParam().kind), other(GetParam().kind);
  const auto key = PublicKey::Parse("\n" + signer.pem() + "\n");
  ASSERT_TRUE(key) << key.error().Text();
  EXPECT_EQ(key->algorithm(), GetParam().algorithm);
  EXPECT_EQ(key->id().size(), 64u);
  const std::string signature = signer.Sign("payload", GetParam().scheme);
  const auto verifies = [&](std::string_view message, std::string_view s) {
    return key->Verifies(bytes::AsView(message), bytes::AsView(s));
  };
  EXPECT_EQ(verifies("payload", signature), GetParam().good);
  EXPECT_FALSE(verifies("payloae", signature));
  EXPECT_FALSE(verifies("payload", signature + std::string(1, '\0')));
  EXPECT_FALSE(verifies("payload", signature.substr(0, signature.size() - 1)));
  EXPECT_FALSE(verifies("payload", ""));
  EXPECT_FALSE(verifies("payload", other.Sign("payload", GetParam().scheme)));
}

INSTANTIATE_TEST_SUITE_P(Table, Schemes,
                         ::testing::Values(SchemeRow{"P-256", Kind::kP256, Scheme::kDefault, "ECDSA P-256", true},
                                           SchemeRow{"P-256 with SHA-384", Kind::kP256, Scheme::kSha384, "ECDSA P-256", false},
                                           SchemeRow{"P-256 with SHA-1", Kind::kP256, Scheme::kSha1, "ECDSA P-256", false},
                                           SchemeRow{"P-384", Kind::kP384, Scheme::kDefault, "ECDSA P-384", true},
                                           SchemeRow{"P-384 with SHA-384", Kind::kP384, Scheme::kSha384, "ECDSA P-384", true},
                                           SchemeRow{"Ed25519", Kind::kEd25519, Scheme::kDefault, "Ed25519", true},
                                           SchemeRow{"RSA", Kind::kRsa2048, Scheme::kDefault, "RSA 2048", true},
                                           SchemeRow{"RSA-PSS", Kind::kRsa2048, Scheme::kPss, "RSA 2048", true},
                                           SchemeRow{"RSA with SHA-1", Kind::kRsa2048, Scheme::kSha1, "RSA 2048", false}),
                         [](const auto& row) {
                           std::string name = row.param.name;
                           std::erase_if(name, [](char c) { return c == ' ' || c == '-'; });
                           return name;
                         });

// ECDSA: (r, s) must be in the one DER form; the same number with a zero in front is another signature.
TEST(PublicKeys, TakeOnlyCanonicalDer) {
  const Signer signer;
  const auto key = *PublicKey::Parse(signer.pem());
  std::string signature = signer.Sign("payload");
  ASSERT_TRUE(key.Verifies(bytes::AsView("payload"), bytes::AsView(signature)));
  const auto length = static_cast<unsigned char>(signature[3]);
  signature.insert(4, 1, '\0');
  signature[3] = static_cast<char>(length + 1);
  signature[1] = static_cast<char>(signature[1] + 1);
  EXPECT_FALSE(key.Verifies(bytes::AsView("payload"), bytes::AsView(signature)));
}

struct UnfitRow { std::string name, pem, message; };
void PrintTo(const UnfitRow& r, std::ostream* out) { *out << r.name; }
class UnfitKeys : public ::testing::TestWithParam<UnfitRow> {};

TEST_P(UnfitKeys, AreRefused) {
  const auto key = PublicKey::Parse(GetParam().pem);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().reason(), Reason::kConfig);
  EXPECT_EQ(key.error().Text(), "the public key " + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Table, UnfitKeys,
    ::testing::Values(UnfitRow{"nothing", "", "is not one PUBLIC KEY block in PEM form"}, UnfitRow{"text", "hello", "is not one PUBLIC KEY block in PEM form"},
                      UnfitRow{"two", Signer().pem() + Signer().pem(), "is not one PUBLIC KEY block in PEM form"},
                      UnfitRow{"text before it", "key:\n" + Signer().pem(), "is not one PUBLIC KEY block in PEM form"},
                      UnfitRow{"cut", "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n", "cannot be read"},
                      UnfitRow{"private", Signer().private_pem(), "is a private key: only its public half belongs here"},
                      UnfitRow{"certificate", "-----BEGIN CERTIFICATE-----\n",
                               "is a certificate: take the key out of it (openssl x509 -pubkey -noout)"},
                      UnfitRow{"P-521", Signer(Kind::kP521).pem(), "is on another curve than P-256 and P-384"},
                      UnfitRow{"secp256k1", Signer(Kind::kSecp256k1).pem(), "is on another curve than P-256 and P-384"},
                      UnfitRow{"Ed448", Signer(Kind::kEd448).pem(), "is neither ECDSA, Ed25519 nor RSA"},
                      UnfitRow{"short RSA", Signer(Kind::kRsa1024).pem(), "is an RSA key of 1024 bits; wanted are 2,048 to 8,192"},
                      UnfitRow{"large", std::string(20'000, ' '), "is larger than 16 KiB"}),
    [](const auto& row) {
      std::string name = row.param.name;
      std::erase_if(name, [](char c) { return c == ' ' || c == '-'; });
      return name;
    });


// ES256: OpenSSL itself checks the signature, by the public half that we hand out.
TEST(SignEc, OpensslAcceptsItByThePublicHalf) {
  const std::string key = MakeEcKey(), data = "header.claims";
  EXPECT_NE(key, MakeEcKey());
  const auto half = PublicKeyOf(key);
  ASSERT_TRUE(half) << half.error().Text();
  EXPECT_EQ(half->x.size(), 32u);
  EXPECT_EQ(half->y.size(), 32u);
  EXPECT_EQ(half->der.substr(half->der.size() - 64), half->x + half->y);
  const auto raw = SignEcSha256(key, bytes::AsView(data));
  ASSERT_TRUE(raw) << raw.error().Text();
  ASSERT_EQ(raw->size(), 64u);

  const auto accepts = [&](const std::string& signature, const std::string& message) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(half->pem.data(), static_cast<int>(half->pem.size())),
                                                        &BIO_free);
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pub(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr),
                                                                  &EVP_PKEY_free);
    const std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> parts(ECDSA_SIG_new(), &ECDSA_SIG_free);
    const auto* at = reinterpret_cast<const unsigned char*>(signature.data());
    ECDSA_SIG_set0(parts.get(), BN_bin2bn(at, 32, nullptr), BN_bin2bn(at + 32, 32, nullptr));
    unsigned char* der = nullptr;
    const int size = i2d_ECDSA_SIG(parts.get(), &der);
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
    EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, pub.get());
    const bool good = EVP_DigestVerify(context.get(), der, static_cast<std::size_t>(size),
                                       reinterpret_cast<const unsigned char*>(message.data()), message.size()) == 1;
    OPENSSL_free(der);
    return good;
  };
  EXPECT_TRUE(accepts(*raw, data));
  EXPECT_FALSE(accepts(*raw, "header.claimz"));
  std::string bent = *raw;
  bent[40] ^= 1;
  EXPECT_FALSE(accepts(bent, data));
}

TEST(SignEc, OtherKeysAreRefused) {
  for (const std::string_view pem : {std::string_view("-----BEGIN canary"), std::string_view(testing::kRsaPkcs8)}) {
    for (const auto& text : {SignEcSha256(pem, bytes::AsView("x")).error().Text(), PublicKeyOf(pem).error().Text()})
      EXPECT_EQ(text, pem.size() < 20 ? "the private key is not an unencrypted private key in PEM form" : "the private key is not an EC key on P-256");
  }
}

}  // namespace
}  // namespace berth::digest
