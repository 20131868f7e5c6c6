// digest/x509.h: certificates of our own making: an authority, and servers and clients that it vouches for.
//
// Keys are those of MakeEcKey (signature.h), signatures SHA-256, serial numbers 127 random bits (RFC 5280 4.1.2.2). Everything is
// PEM; private keys are the caller's to keep in a secret::Secret. Texts of errors never hold keys. Safe for concurrent use.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"

namespace berth::digest {

std::string GenerateToken();  // 64 hex digits: 256 random bits, to be kept secret

// Times are seconds since 1970.
struct Validity {
  std::int64_t not_before = 0, not_after = 0;
};

// A certificate that signs others (CA:TRUE, path length 0, keyCertSign), signed by its own key.
Result<std::string> MakeAuthority(std::string_view key_pem, const std::string& common_name, Validity validity);

struct LeafNames {
  std::string common_name;
  std::vector<std::string> dns;  // "localhost"
  std::vector<std::string> ips;  // "127.0.0.1", "::1"
  // Told apart; the first is the common name, too, as far as X.520 lets it be that long.
  static LeafNames Of(std::span<const std::string> names);
};
enum class Purpose : unsigned char { kServer, kClient };
// For whoever has the key `key_pem`, signed by the authority. kUsage when a name is none or the authority's key does not fit its
// certificate.
Result<std::string> Issue(std::string_view authority_pem, std::string_view authority_key_pem, std::string_view key_pem,
                          const LeafNames& names, Validity validity, Purpose purpose = Purpose::kServer);

// What is in a certificate; kUsage when it is none. `names` as in LeafNames, sorted, IPs in OpenSSL's spelling.
struct CertificateFacts {
  Validity validity;
  std::vector<std::string> names;
};
Result<CertificateFacts> ReadCertificate(std::string_view pem);
// Whether `authority_pem` signed `pem`.
bool SignedBy(std::string_view pem, std::string_view authority_pem);

}  // namespace berth::digest
