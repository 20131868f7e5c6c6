// digest/signature.h: the two ways in which cloud protocols make us prove that we hold a key.
//
// Both need the key in the clear: the caller keeps it in a secret::Secret and hands a view. Nothing here keeps or prints it.
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

}  // namespace berth::digest
