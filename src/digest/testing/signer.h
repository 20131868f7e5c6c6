// digest/testing/signer.h: fresh key pairs that sign, for tests of what checks signatures.
#pragma once

#include <memory>
#include <string>
#include <string_view>

struct evp_pkey_st;

namespace berth::digest::testing {

class Signer {
 public:
  enum class Kind { kP256, kP384, kP521, kSecp256k1, kEd25519, kEd448, kRsa2048, kRsa1024 };
  explicit Signer(Kind kind = Kind::kP256);

  const std::string& pem() const { return pem_; }  // of the public key
  std::string private_pem() const;
  enum class Scheme { kDefault, kSha384, kPss, kSha1 };  // kDefault: SHA-256, of Ed25519 none; RSA: PKCS #1 v1.5
  std::string Sign(std::string_view message, Scheme scheme = Scheme::kDefault) const;

 private:
  std::shared_ptr<evp_pkey_st> key_;
  std::string pem_;
};

}  // namespace berth::digest::testing
