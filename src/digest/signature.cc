#include "digest/signature.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

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

Result<std::string> SignRsaSha256(std::string_view pem, bytes::View data) {
  const auto refuse = [](std::string_view why) {
    ERR_clear_error();  // its texts may quote the key
    return Error(Reason::kInvalidCredentials, "the private key " + std::string(why));
  };
  if (pem.size() > 64u << 10) return refuse("is larger than 64 KiB");
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free);
  BERTH_CHECK(bio != nullptr);
  // Without a callback OpenSSL would ask the terminal for the pass phrase of an encrypted key.
  const auto no_phrase = [](char*, int, int, void*) { return -1; };
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_phrase, nullptr),
                                                                &EVP_PKEY_free);
  if (!key) return refuse("is not an unencrypted private key in PEM form");
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) return refuse("is not an RSA key");
  if (EVP_PKEY_get_bits(key.get()) < 2048) return refuse("is an RSA key of less than 2,048 bits");

  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  BERTH_CHECK(context != nullptr);
  std::string out(static_cast<std::size_t>(EVP_PKEY_get_size(key.get())), '\0');
  std::size_t length = out.size();
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &length,
                     reinterpret_cast<const unsigned char*>(data.data()), data.size()) != 1)
    return refuse("cannot sign");
  out.resize(length);
  return out;
}

}  // namespace berth::digest
