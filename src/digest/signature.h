// digest/signature.h: the ways in which protocols make us prove that we hold a key: HMAC, RS256, ES256.
//
// All need the key in the clear: the caller keeps it in a secret::Secret and hands a view. Nothing here keeps or prints it.
// Pure and safe for concurrent use.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "bytes/bytes.h"
#include "result/result.h"

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

}  // namespace berth::digest
