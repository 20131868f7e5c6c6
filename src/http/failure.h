// http/failure.h: from what libcurl says to what berth says (private to http/).
//
// curl's own message is read to tell cases apart and never copied: it may hold URLs or bytes of the other side.
#pragma once

#include <curl/curl.h>

#include <string>
#include <string_view>

#include "http/client.h"

namespace berth::http {

enum class Phase : std::uint8_t { kConnect, kTls, kHeaders, kBody };

struct Failure {
  CURLcode code = CURLE_OK;
  Phase phase = Phase::kConnect;
  std::string server;       // host[:port] of the URL
  std::string proxy;        // "" = none
  std::string text;         // curl's message
  long verify = 0;          // OpenSSL's verdict on the certificate
  int os_error = 0;
  int connect_status = 0;   // the proxy's answer to CONNECT
  bool chunked = false;

  // The other side is the proxy: no connection yet, or its own TLS or its answer to CONNECT is still to come. (Of a SOCKS proxy curl does
  // not tell when it has opened the way.)
  bool AtProxy() const {
    return !proxy.empty() && connect_status / 100 != 2 &&
           (phase == Phase::kConnect || (phase == Phase::kTls && proxy.starts_with("http")));
  }
  std::string Peer() const { return AtProxy() ? "the proxy " + proxy : server; }
};

Error Explain(const Failure& failure, const Limits& limits);
// Our own clock ran out in the phase of `failure`.
Error TooLate(const Failure& failure, const Limits& limits);

}  // namespace berth::http
