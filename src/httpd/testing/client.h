// httpd/testing/client.h: a client on one kept connection, plain or TLS, with as little of its own as can be.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace berth::httpd::testing {

class Client {
 public:
  enum class Transport : unsigned char { kPlain, kTls };
  // To 127.0.0.1. `ca_file`: must vouch for the server; "": anybody will do. Aborts when it cannot connect; a handshake that fails
  // leaves it not ok().
  // `self`: shown to a server that asks for a certificate; `priority`: GnuTLS' words for versions and ciphers.
  struct Self { std::string cert_file, key_file; };
  Client(std::uint16_t port, Transport transport, const std::string& ca_file = "", const Self& self = {}, const std::string& priority = "");
  ~Client();
  bool ok() const;
  bool Send(const std::string& bytes);  // at most 16 KiB over TLS
  // Sends the request and reads an answer with a Content-Length; nothing when the connection ends first.
  std::optional<std::string> Ask(const std::string& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::httpd::testing
