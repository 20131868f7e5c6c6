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
#include <openssl/x509.h>

#include <memory>

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

}  // namespace berth::digest
