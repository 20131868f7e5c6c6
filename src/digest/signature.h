// digest/signature.h: the ways in which protocols make us prove that we hold a key: HMAC, RS256, ES256; and signatures of others,
// checked.
//
// Signing needs the key in the clear: the caller keeps it in a secret::Secret and hands a view. Nothing here keeps or prints it.
// Pure and safe for concurrent use.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "bytes/bytes.h"
#include "result/result.h"

struct evp_pkey_st;

namespace berth::digest {

// RFC 2104 with SHA-256; keys of any length.
std::array<std::byte, 32> HmacSha256(bytes::View key, bytes::View data);

// RSASSA-PKCS1-v1_5 with SHA-256 ("RS256" of RFC 7518 3.3): the raw signature, as long as the modulus. `pem` is a private key
// without a pass phrase, PKCS#1 or PKCS#8. kInvalidCredentials when it is no such key, not RSA, or shorter than 2,048 bits
// (RFC 7518 forbids those).
Result<std::string> SignRsaSha256(std::string_view pem, bytes::View data);

// ECDSA on P-256 with SHA-256 ("ES256" of RFC 7518 3.4).
// A new key: PEM, PKCS#8, without a pass phrase.
std::string MakeEcKey();
// The raw signature, R and S, 64 bytes. kInvalidCredentials when `pem` is no such key.
Result<std::string> SignEcSha256(std::string_view pem, bytes::View data);
// What others need to check it. `pem` and `der` are SubjectPublicKeyInfo; x and y are 32 bytes each.
struct EcPublicKey {
  std::string pem, der, x, y;
};
Result<EcPublicKey> PublicKeyOf(std::string_view pem);

// A public key that signatures are checked with: ECDSA on P-256 or P-384, Ed25519, RSA of 2,048 to 8,192 bits. Cheap to copy.
class PublicKey {
 public:
  // One "PUBLIC KEY" block (RFC 7468 13), nothing beside it but white space. kConfig when it is anything else, a private key, a
  // certificate, another algorithm or curve, or too short; the error begins with "the public key".
  static Result<PublicKey> Parse(std::string_view pem);

  const std::string& algorithm() const { return algorithm_; }  // "ECDSA P-256", "Ed25519", "RSA 3072"
  const std::string& id() const { return id_; }                // hex SHA-256 of its DER form: the same for every spelling of it
  // By the schemes that cosign makes: ECDSA (strict DER) with SHA-256, on P-384 also SHA-384; Ed25519; RSASSA-PKCS1-v1_5 and
  // RSASSA-PSS (MGF1 and message SHA-256). Hashes `message` itself.
  bool Verifies(bytes::View message, bytes::View signature) const;

 private:
  PublicKey(std::shared_ptr<evp_pkey_st> key, std::string algorithm, std::string id)
      : key_(std::move(key)), algorithm_(std::move(algorithm)), id_(std::move(id)) {}
  std::shared_ptr<evp_pkey_st> key_;
  std::string algorithm_, id_;
};

}  // namespace berth::digest
