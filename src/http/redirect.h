// http/redirect.h: following redirects by our own rules, never by curl's (reliability-security 5.6).
//
// 301, 302, 303, 307 and 308 are followed for GET and HEAD, and the method stays; any other answer, and a redirect
// without Location, is the caller's. When scheme, host or port change, only Accept, Range, If-Range and User-Agent go along:
// no Authorization, Cookie, Referer or other header, no client certificate, no skip_verify; and the address that is connected to must be allowed.
// https to http is kInsecureRedirect (from a registry that is configured as plain, http may lead to http); a sixth hop kTooManyRedirects; a Location that is no http(s) URL kProtocolError; a
// refused address kPolicy.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "http/client.h"

namespace berth::http {

struct Hop {
  int number = 0;  // 1 = the first redirect
  int status = 0;
  const Url& from;
  const Url& to;
  bool crosses = false;  // the origin changes
};

struct RedirectPolicy {
  int max_hops = 5;
  // Which other origins may be visited; empty = any.
  std::vector<Origin> allowed_origins;
  // Holds at other origins. An address range that the first answer itself came from is not refused (a registry on loopback may
  // send to loopback).
  AddressPolicy addresses = AddressPolicy::NoLocal();
  // TLS settings at another origin; null = the CAs of the request, no client certificate, verified.
  std::function<TlsOptions(const Origin&)> tls;
};

// Send(), then follow. `on_hop` sees each hop before it is taken and may refuse it with an error of its own; may be null.
Result<std::unique_ptr<Response>> SendFollowing(Client& client, const task::Context& ctx, const Request& request,
                                                const RedirectPolicy& policy = {},
                                                const std::function<Result<>(const Hop&)>& on_hop = nullptr);

}  // namespace berth::http
