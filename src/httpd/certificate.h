// httpd/certificate.h: what a TLS server shows: a chain and its private key, checked to belong together.
#pragma once

#include <memory>
#include <string_view>

#include "result/result.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::httpd {

// An immutable value; copies share it. Safe for concurrent use.
class Certificate {
 public:
  // PEM: the leaf first, then its issuers (at most 16); a key of any kind GnuTLS reads, not encrypted. kConfig says what is wrong;
  // neither is quoted.
  static Result<Certificate> Parse(std::string_view chain_pem, const secret::Secret& key_pem);
  time::WallTime not_after() const;  // of the leaf

  struct Parts;
  const Parts& parts() const { return *parts_; }

 private:
  explicit Certificate(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const Parts> parts_;
};

}  // namespace berth::httpd
