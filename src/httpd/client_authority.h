// httpd/client_authority.h: whom a TLS server lets in: clients that show a certificate of these authorities, meant for clients.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"

namespace berth::httpd {

// An immutable value; copies share it. Safe for concurrent use.
class ClientAuthority {
 public:
  // PEM: at most 64 certificates. `names`: the common names that are let in; empty: all. kConfig says what is wrong.
  static Result<ClientAuthority> Parse(std::string_view pem, std::vector<std::string> names = {});

  struct Parts;
  const Parts& parts() const { return *parts_; }

 private:
  explicit ClientAuthority(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const Parts> parts_;
};

}  // namespace berth::httpd
