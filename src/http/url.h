// http/url.h: http(s) URLs, origins, and where a redirect points.
//
// Parse() is strict, because what it lets through is sent: only http and https; no user info; no control bytes; host
// is a DNS name, a dotted quad (no 0x7f.1, no 2130706433) or a bracketed IPv6 address without a zone; port 1..65535.
// Spaces and bytes above 0x7e in path and query are percent-encoded, a fragment is dropped, dot segments of an absolute
// URL stay (signed URLs cover them). At most kMaxUrlBytes.
//
// A query may be a credential (signed URLs), so Redacted() is the only way to print a Url; ToWire() is for the wire.
// Errors never quote the text: the caller knows where it came from. Sources: reliability-security 5.5, 5.6, C-43.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "result/result.h"

namespace berth::http {

inline constexpr std::size_t kMaxUrlBytes = 16u << 10;

// What a credential is bound to.
struct Origin {
  std::string scheme;
  std::string host;  // lower case; IPv6 without brackets
  std::uint16_t port = 0;

  std::string ToString() const;  // "https://host", with ":port" unless it is the scheme's own
  auto operator<=>(const Origin&) const = default;
};

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; IPv6 without brackets
  std::uint16_t port = 0;
  std::string path = "/";
  std::optional<std::string> query;  // without the '?'

  // kUsage when the text is not such a URL.
  static Result<Url> Parse(std::string_view text);
  // The target of `Location: location` seen from here, RFC 3986 5.2. kProtocolError when it is empty, too long, of
  // another scheme, with user info, or otherwise not a URL. Does not judge https to http: see http/redirect.h.
  Result<Url> Resolve(std::string_view location) const;

  bool https() const { return scheme == "https"; }
  Origin origin() const { return {scheme, host, port}; }
  std::string Authority() const;  // host[:port], brackets around IPv6, no default port
  std::string Redacted() const;   // scheme://host[:port]/path; control-free, the query dropped
  std::string ToWire() const;     // all of it; never for a log or an error

  bool operator==(const Url&) const = default;
};

// The address as four or sixteen bytes if `host` is an IP literal (no brackets), else empty.
std::string AddressBytes(std::string_view host);
// "localhost", *.localhost, 127/8, ::1.
bool IsLoopback(std::string_view host);

// Percent-encodes everything but RFC 3986 unreserved characters: for query values and form fields.
std::string PercentEncode(std::string_view raw);

}  // namespace berth::http
