#include "digest/testing/signer.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "result/result.h"

namespace berth::digest::testing {
namespace {

EVP_PKEY* Make(Signer::Kind kind) {
  using Kind = Signer::Kind;
  switch (kind) {
    case Kind::kP256: return EVP_EC_gen("P-256");
    case Kind::kP384: return EVP_EC_gen("P-384");
    case Kind::kP521: return EVP_EC_gen("P-521");
    case Kind::kSecp256k1: return EVP_EC_gen("secp256k1");
    case Kind::kEd25519: return EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    case Kind::kEd448: return EVP_PKEY_Q_keygen(nullptr, nullptr, "ED448");
    case Kind::kRsa2048: return EVP_RSA_gen(2048);
    case Kind::kRsa1024: return EVP_RSA_gen(1024);
  }
  return nullptr;
}

template <class Write>
std::string Pem(const Write& write) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), &BIO_free);
  BERTH_CHECK(bio != nullptr && write(bio.get()) == 1);
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(length));
}

}  // namespace

Signer::Signer(Kind kind) : key_(Make(kind), &EVP_PKEY_free) {
  BERTH_CHECK(key_ != nullptr);
  pem_ = Pem([&](BIO* bio) { return PEM_write_bio_PUBKEY(bio, key_.get()); });
}

std::string Signer::private_pem() const {
  return Pem([&](BIO* bio) { return PEM_write_bio_PrivateKey(bio, key_.get(), nullptr, nullptr, 0, nullptr, nullptr); });
}

std::string Signer::Sign(std::string_view message, Scheme scheme) const {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  const int id = EVP_PKEY_get_base_id(key_.get());
  const EVP_MD* hash = id == EVP_PKEY_ED25519 || id == EVP_PKEY_ED448 ? nullptr
                       : scheme == Scheme::kSha384                    ? EVP_sha384()
                       : scheme == Scheme::kSha1                      ? EVP_sha1()
                                                                      : EVP_sha256();
  EVP_PKEY_CTX* parameters = nullptr;
  BERTH_CHECK(EVP_DigestSignInit(context.get(), &parameters, hash, nullptr, key_.get()) == 1);
  if (scheme == Scheme::kPss)
    BERTH_CHECK(EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1 &&
                EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) == 1);
  const auto* data = reinterpret_cast<const unsigned char*>(message.data());
  std::size_t length = 0;
  BERTH_CHECK(EVP_DigestSign(context.get(), nullptr, &length, data, message.size()) == 1);
  std::string out(length, '\0');
  BERTH_CHECK(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &length, data, message.size()) == 1);
  out.resize(length);
  return out;
}

}  // namespace berth::digest::testing
