#include "http/url.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "bytes/text.h"

namespace berth::http {
namespace {

constexpr std::string_view kHexDigits = "0123456789ABCDEF";

bool Digit(char c) { return c >= '0' && c <= '9'; }
bool Letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool HexDigit(char c) { return Digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

Error Bad(std::string_view what) { return Error(Reason::kUsage, "not a URL that berth uses: " + std::string(what)); }

std::uint16_t DefaultPort(std::string_view scheme) { return scheme == "https" ? 443 : 80; }

// What may not be sent as it is becomes %XX; control bytes are refused before.
std::string Escaped(std::string_view raw) {
  std::string out;
  for (const char c : raw) {
    const auto u = static_cast<unsigned char>(c);
    if (u > 0x20 && u < 0x7f) {
      out += c;
    } else {
      out += '%';
      out += kHexDigits[u >> 4];
      out += kHexDigits[u & 15];
    }
  }
  return out;
}

// A name of letters, digits, '-', '_' in labels of 1..63, or a dotted quad. Names that end in a number are addresses to some
// resolvers (127.1, 0x7f000001), so only the strict form passes.
bool GoodHostName(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  std::string_view rest = host.ends_with('.') ? host.substr(0, host.size() - 1) : host;
  std::string_view last;
  for (;;) {
    const std::size_t dot = rest.find('.');
    last = rest.substr(0, dot);
    if (last.empty() || last.size() > 63 || last.front() == '-' || last.back() == '-') return false;
    for (const char c : last)
      if (!Digit(c) && !Letter(c) && c != '-' && c != '_') return false;
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  const bool number = std::all_of(last.begin(), last.end(), Digit) ||
                      (last.size() >= 2 && last[0] == '0' && (last[1] == 'x' || last[1] == 'X') &&
                       std::all_of(last.begin() + 2, last.end(), HexDigit));
  return !number || (!host.ends_with('.') && AddressBytes(host).size() == 4);
}

Result<> ParseAuthority(std::string_view text, Url& url) {
  if (text.find('@') != std::string_view::npos) return Bad("it holds a user name").Next("put credentials where credentials are configured");
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return Bad("the bracket of the address is not closed");
    const std::string bytes = AddressBytes(text.substr(1, end - 1));
    if (bytes.size() != 16) return Bad("no IPv6 address between the brackets");
    std::array<char, INET6_ADDRSTRLEN> canonical{};
    inet_ntop(AF_INET6, bytes.data(), canonical.data(), canonical.size());
    url.host = canonical.data();
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return Bad("something follows the address");
    has_port = !rest.empty();
    if (has_port) port = rest.substr(1);
  } else {
    const std::size_t colon = text.find(':');
    const std::string_view host = text.substr(0, colon);
    has_port = colon != std::string_view::npos;
    if (has_port) port = text.substr(colon + 1);
    if (!GoodHostName(host)) return Bad("the host is neither a DNS name nor an address");
    url.host = bytes::Lower(host);
  }
  url.port = DefaultPort(url.scheme);
  if (!has_port) return {};
  unsigned n = 0;
  const auto r = std::from_chars(port.data(), port.data() + port.size(), n);
  if (r.ec != std::errc() || r.ptr != port.data() + port.size() || n == 0 || n > 65535 || port.front() == '0')
    return Bad("the port is not a number from 1 to 65535");
  url.port = static_cast<std::uint16_t>(n);
  return {};
}

Result<> CheckBytes(std::string_view text) {
  if (text.size() > kMaxUrlBytes) return Bad("longer than " + std::to_string(kMaxUrlBytes) + " bytes");
  for (const char c : text)
    if (bytes::IsControl(c) || c == '\\') return Bad("it holds a control byte or a backslash");
  return {};
}

void SetPathAndQuery(std::string_view text, Url& url) {
  const std::size_t mark = text.find('?');
  url.path = Escaped(text.substr(0, mark));
  url.query.reset();
  if (mark != std::string_view::npos) url.query = Escaped(text.substr(mark + 1));
}

// RFC 3986 5.2.4.
std::string WithoutDots(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t slash = path.find('/', 1);
    const std::string_view segment = path.substr(0, slash);  // with its leading slash
    const bool last = slash == std::string_view::npos;
    if (segment == "/..") {
      const std::size_t parent = out.rfind('/');
      out.erase(parent == std::string::npos ? 0 : parent);
      if (last) out += '/';
    } else if (segment == "/.") {
      if (last) out += '/';
    } else {
      out += segment;
    }
    path.remove_prefix(last ? path.size() : slash);
  }
  return out.empty() ? "/" : out;
}

}  // namespace

std::string Origin::ToString() const { return scheme + "://" + Url{.scheme = scheme, .host = host, .port = port}.Authority(); }

std::string Url::Authority() const {
  std::string out = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != DefaultPort(scheme)) out += ":" + std::to_string(port);
  return out;
}

std::string Url::Redacted() const { return scheme + "://" + Authority() + path; }
std::string Url::ToWire() const { return Redacted() + (query ? "?" + *query : ""); }

Result<Url> Url::Parse(std::string_view text) {
  RETURN_IF_ERROR(CheckBytes(text));
  text = text.substr(0, text.find('#'));
  Url url;
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos) return Bad("no scheme");
  url.scheme = bytes::Lower(text.substr(0, colon));
  if (url.scheme != "http" && url.scheme != "https") return Bad("the scheme is neither http nor https");
  const std::string_view rest = text.substr(colon + 3);
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  RETURN_IF_ERROR(ParseAuthority(rest.substr(0, end), url));
  SetPathAndQuery(rest.substr(end), url);
  if (url.path.empty()) url.path = "/";
  return url;
}

Result<Url> Url::Resolve(std::string_view location) const {
  const auto refuse = [](const Error& e) {
    return Error(Reason::kProtocolError, "the redirect leads nowhere: " + e.message());
  };
  if (location.empty()) return refuse(Bad("it is empty"));
  if (const auto good = CheckBytes(location); !good) return refuse(good.error());
  location = location.substr(0, location.find('#'));
  // A scheme is letters, digits, "+-." before the first ':' that no '/', '?' precedes.
  const std::size_t stop = location.find_first_of(":/?");
  if (stop != std::string_view::npos && location[stop] == ':') {
    auto absolute = Parse(location);
    if (!absolute) return refuse(absolute.error());
    return absolute;
  }
  if (location.starts_with("//")) {
    auto absolute = Parse(scheme + ":" + std::string(location));
    if (!absolute) return refuse(absolute.error());
    return absolute;
  }
  Url target = *this;
  if (location.empty()) return target;
  if (location.front() == '?') {
    target.query = Escaped(location.substr(1));
    return target;
  }
  const std::size_t mark = location.find('?');
  const std::string_view relative = location.substr(0, mark);
  const std::string merged =
      relative.starts_with('/') ? std::string(relative) : path.substr(0, path.rfind('/') + 1) + std::string(relative);
  SetPathAndQuery(WithoutDots(merged) + std::string(mark == std::string_view::npos ? "" : location.substr(mark)), target);
  if (target.path.size() > kMaxUrlBytes) return refuse(Bad("too long"));
  return target;
}

std::string AddressBytes(std::string_view host) {
  if (host.size() >= INET6_ADDRSTRLEN) return {};
  const std::string text(host);
  std::array<char, 16> bytes{};
  if (inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return {bytes.data(), 4};
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return {bytes.data(), 16};
  return {};
}

bool IsLoopback(std::string_view host) {
  const std::string bytes = AddressBytes(host);
  if (bytes.size() == 4) return bytes[0] == 127;
  if (bytes.size() == 16) {
    if (bytes.starts_with(std::string(10, '\0') + "\xff\xff")) return bytes[12] == 127;
    return bytes == std::string(15, '\0') + '\1';
  }
  const std::string lower = bytes::Lower(host.ends_with('.') ? host.substr(0, host.size() - 1) : host);
  return lower == "localhost" || lower.ends_with(".localhost");
}

std::string PercentEncode(std::string_view raw) {
  std::string out;
  for (const char c : raw) {
    const auto u = static_cast<unsigned char>(c);
    if (Letter(c) || Digit(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      out += '%';
      out += kHexDigits[u >> 4];
      out += kHexDigits[u & 15];
    }
  }
  return out;
}

}  // namespace berth::http
