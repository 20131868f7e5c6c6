// http/proxy.h: which proxy a URL goes through, by the rules of Go programs (product 3.10).
//
// HTTPS_PROXY for https, HTTP_PROXY for http, upper case before lower case, the first that is not empty; ALL_PROXY is ignored.
// NO_PROXY: a comma-separated list of
//   *                     everything            10.0.0.0/8, fd00::/8     addresses in the range, any port
//   192.0.2.1[:port]      that address          corp.example[:port]      it and everything below it
//   .corp.example[:port], *.corp.example[:port] everything below it, not itself
// "localhost" and loopback addresses never go through a proxy. Without a scheme a proxy is http; http, https, socks5
// and socks5h are known. Names are not resolved to match ranges, as in Go.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/url.h"
#include "result/result.h"
#include "secret/secret.h"

namespace berth::http {

struct Proxy {
  std::string scheme = "http";  // http, https, socks5, socks5h
  std::string host;
  std::uint16_t port = 0;
  std::string user;             // decoded
  secret::Secret password;      // decoded; reaches the proxy only

  // kConfig when it is not a proxy address; the text is not quoted, it may hold a password.
  static Result<Proxy> Parse(std::string_view text);
  std::string ToString() const;  // scheme://host:port
};

class ProxyRules {
 public:
  using GetEnv = std::function<std::optional<std::string>(std::string_view name)>;

  ProxyRules() = default;  // no proxy
  static Result<ProxyRules> FromEnvironment(const GetEnv& get);
  // The same from values ("" = unset): for a proxy configured per registry.
  static Result<ProxyRules> Make(std::string_view https_proxy, std::string_view http_proxy, std::string_view no_proxy);

  // nullptr = straight. Points into *this.
  const Proxy* For(const Url& url) const;

 private:
  struct Exception {
    enum class Kind : std::uint8_t { kAll, kRange, kAddress, kDomain } kind;
    std::string text;      // address bytes, or ".domain"
    unsigned bits = 0;     // of a range
    std::string port;      // "" = any
    bool itself = false;   // the domain matches too
  };
  bool Straight(const Url& url) const;

  std::optional<Proxy> https_, http_;
  std::vector<Exception> exceptions_;
};

}  // namespace berth::http
