#include "digest/signature.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <memory>

#include "bytes/encoding.h"
#include "digest/digest.h"

namespace berth::digest {

std::array<std::byte, 32> HmacSha256(bytes::View key, bytes::View data) {
  std::array<std::byte, 32> out{};
  unsigned length = 0;
  // A null key would mean "the key of the last call".
  static constexpr std::byte kNone{};
  const unsigned char* made = HMAC(EVP_sha256(), key.empty() ? &kNone : key.data(), static_cast<int>(key.size()),
                                   reinterpret_cast<const unsigned char*>(data.data()), data.size(),
                                   reinterpret_cast<unsigned char*>(out.data()), &length);
  BERTH_CHECK(made != nullptr && length == out.size());
  return out;
}

namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Error Refuse(std::string_view why) {
  ERR_clear_error();  // its texts may quote the key
  return Error(Reason::kInvalidCredentials, "the private key " + std::string(why));
}

Result<Key> ReadKey(std::string_view pem) {
  if (pem.size() > 64u << 10) return Refuse("is larger than 64 KiB");
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free);
  BERTH_CHECK(bio != nullptr);
  // Without a callback OpenSSL would ask the terminal for the pass phrase of an encrypted key.
  const auto no_phrase = [](char*, int, int, void*) { return -1; };
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_phrase, nullptr), &EVP_PKEY_free);
  if (!key) return Refuse("is not an unencrypted private key in PEM form");
  return key;
}

Result<Key> ReadEcKey(std::string_view pem) {
  ASSIGN_OR_RETURN(Key key, ReadKey(pem));
  char group[32] = {};
  std::size_t length = 0;
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_EC || EVP_PKEY_get_group_name(key.get(), group, sizeof group, &length) != 1 ||
      std::string_view(group, length) != SN_X9_62_prime256v1)
    return Refuse("is not an EC key on P-256");
  return key;
}

// With SHA-256, as the key's kind has it.
Result<std::string> Sign(EVP_PKEY* key, bytes::View data) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  BERTH_CHECK(context != nullptr);
  std::string out(static_cast<std::size_t>(EVP_PKEY_get_size(key)), '\0');
  std::size_t length = out.size();
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &length,
                     reinterpret_cast<const unsigned char*>(data.data()), data.size()) != 1)
    return Refuse("cannot sign");
  out.resize(length);
  return out;
}

// What `write` puts into a memory BIO.
template <class Write>
std::string Written(Write write) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_secmem()), &BIO_free);
  BERTH_CHECK(bio != nullptr && write(bio.get()) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

}  // namespace

Result<std::string> SignRsaSha256(std::string_view pem, bytes::View data) {
  ASSIGN_OR_RETURN(const Key key, ReadKey(pem));
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) return Refuse("is not an RSA key");
  if (EVP_PKEY_get_bits(key.get()) < 2048) return Refuse("is an RSA key of less than 2,048 bits");
  return Sign(key.get(), data);
}

std::string MakeEcKey() {
  const Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  BERTH_CHECK(key != nullptr);
  return Written([&](BIO* bio) { return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
}

Result<std::string> SignEcSha256(std::string_view pem, bytes::View data) {
  ASSIGN_OR_RETURN(const Key key, ReadEcKey(pem));
  ASSIGN_OR_RETURN(const std::string der, Sign(key.get(), data));
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> parts(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())),
                                                                    &ECDSA_SIG_free);
  BERTH_CHECK(parts != nullptr);
  std::string out(64, '\0');
  auto* raw = reinterpret_cast<unsigned char*>(out.data());
  BERTH_CHECK(BN_bn2binpad(ECDSA_SIG_get0_r(parts.get()), raw, 32) == 32 &&
              BN_bn2binpad(ECDSA_SIG_get0_s(parts.get()), raw + 32, 32) == 32);
  return out;
}

Result<EcPublicKey> PublicKeyOf(std::string_view pem) {
  ASSIGN_OR_RETURN(const Key key, ReadEcKey(pem));
  unsigned char point[65] = {};
  std::size_t length = 0;
  if (EVP_PKEY_get_octet_string_param(key.get(), OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &length) != 1 ||
      length != sizeof point || point[0] != 4)
    return Refuse("has no public half");
  const auto* bytes = reinterpret_cast<const char*>(point);
  return EcPublicKey{.pem = Written([&](BIO* bio) { return PEM_write_bio_PUBKEY(bio, key.get()); }),
                     .der = Written([&](BIO* bio) { return i2d_PUBKEY_bio(bio, key.get()); }),
                     .x = std::string(bytes + 1, 32),
                     .y = std::string(bytes + 33, 32)};
}

namespace {

constexpr std::size_t kPublicPemBytes = 16u << 10;
constexpr std::string_view kWhite = " \t\r\n", kBegin = "-----BEGIN PUBLIC KEY-----", kEnd = "-----END PUBLIC KEY-----";

Error Unfit(std::string_view why) {
  ERR_clear_error();
  return Error(Reason::kConfig, "the public key " + std::string(why));
}

Result<std::string> AlgorithmOf(EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_ED25519: return std::string("Ed25519");
    case EVP_PKEY_RSA: {
      const int bits = EVP_PKEY_get_bits(key);
      if (bits < 2048 || bits > 8192) return Unfit("is an RSA key of " + std::to_string(bits) + " bits; wanted are 2,048 to 8,192");
      return "RSA " + std::to_string(bits);
    }
    case EVP_PKEY_EC: {
      std::array<char, 64> name{};
      if (EVP_PKEY_get_group_name(key, name.data(), name.size(), nullptr) != 1) return Unfit("is on a curve without a name");
      const std::string_view curve(name.data());
      if (curve == "prime256v1") return std::string("ECDSA P-256");
      if (curve == "secp384r1") return std::string("ECDSA P-384");
      return Unfit("is on another curve than P-256 and P-384");
    }
    default: return Unfit("is neither ECDSA, Ed25519 nor RSA");
  }
}

bool Check(EVP_PKEY* key, const EVP_MD* hash, bool pss, bytes::View message, bytes::View signature) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  BERTH_CHECK(context != nullptr);
  EVP_PKEY_CTX* parameters = nullptr;
  bool good = EVP_DigestVerifyInit(context.get(), &parameters, hash, nullptr, key) == 1;
  if (good && pss)
    good = EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_AUTO) == 1;
  good = good && EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()), signature.size(),
                                  reinterpret_cast<const unsigned char*>(message.data()), message.size()) == 1;
  ERR_clear_error();
  return good;
}

}  // namespace

Result<PublicKey> PublicKey::Parse(std::string_view pem) {
  if (pem.size() > kPublicPemBytes) return Unfit("is larger than 16 KiB");
  if (pem.find("PRIVATE KEY-----") != pem.npos) return Unfit("is a private key: only its public half belongs here");
  if (pem.find("-----BEGIN CERTIFICATE-----") != pem.npos) return Unfit("is a certificate: take the key out of it (openssl x509 -pubkey -noout)");
  const std::size_t first = pem.find_first_not_of(kWhite), last = pem.find_last_not_of(kWhite);
  const std::string_view block = first == pem.npos ? "" : pem.substr(first, last - first + 1);
  if (!block.starts_with(kBegin) || !block.ends_with(kEnd) || block.find(kEnd) != block.size() - kEnd.size())
    return Unfit("is not one PUBLIC KEY block in PEM form");
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(block.data(), static_cast<int>(block.size())), &BIO_free);
  BERTH_CHECK(bio != nullptr);
  std::shared_ptr<EVP_PKEY> key(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr), &EVP_PKEY_free);
  if (!key) return Unfit("cannot be read");
  ASSIGN_OR_RETURN(std::string algorithm, AlgorithmOf(key.get()));
  unsigned char* der = nullptr;
  const int length = i2d_PUBKEY(key.get(), &der);
  if (length <= 0) return Unfit("cannot be read");
  std::string id = Digest::Of(bytes::View(reinterpret_cast<const std::byte*>(der), static_cast<std::size_t>(length))).Hex();
  OPENSSL_free(der);
  ERR_clear_error();
  return PublicKey(std::move(key), std::move(algorithm), std::move(id));
}

bool PublicKey::Verifies(bytes::View message, bytes::View signature) const {
  EVP_PKEY* key = key_.get();
  if (signature.empty()) return false;
  if (algorithm_ == "Ed25519") return Check(key, nullptr, false, message, signature);
  if (algorithm_.starts_with("RSA"))
    return Check(key, EVP_sha256(), false, message, signature) || Check(key, EVP_sha256(), true, message, signature);
  return Check(key, EVP_sha256(), false, message, signature) ||
         (algorithm_ == "ECDSA P-384" && Check(key, EVP_sha384(), false, message, signature));
}

}  // namespace berth::digest
