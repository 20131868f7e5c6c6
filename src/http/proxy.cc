#include "http/proxy.h"

#include <algorithm>
#include <charconv>

#include "bytes/encoding.h"
#include "bytes/text.h"
#include "http/headers.h"

namespace berth::http {
namespace {

std::string_view Trim(std::string_view s) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!s.empty() && space(s.front())) s.remove_prefix(1);
  while (!s.empty() && space(s.back())) s.remove_suffix(1);
  return s;
}

// "host:port", "[v6]:port" as Go's net.SplitHostPort reads them; nothing when there is no port part.
struct HostPort { std::string_view host, port; };
std::optional<HostPort> Split(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return {};
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || end + 1 != colon) return {};
    return HostPort{text.substr(1, end - 1), text.substr(colon + 1)};
  }
  if (text.find(':') != colon || text.find_first_of("[]") != std::string_view::npos) return {};
  return HostPort{text.substr(0, colon), text.substr(colon + 1)};
}

// Addresses as 16 bytes, IPv4 mapped, so that both spellings are equal.
std::string Wide(std::string_view host) {
  std::string bytes = AddressBytes(host);
  return bytes.size() == 4 ? std::string(10, '\0') + "\xff\xff" + bytes : bytes;
}

bool InRange(std::string_view bytes, std::string_view base, unsigned bits) {
  for (unsigned bit = 0; bit < bits; bit += 8) {
    const unsigned mask = (0xff00u >> std::min(8u, bits - bit)) & 0xffu;
    if ((static_cast<unsigned char>(bytes[bit / 8]) ^ static_cast<unsigned char>(base[bit / 8])) & mask) return false;
  }
  return true;
}

}  // namespace

Result<Proxy> Proxy::Parse(std::string_view text) {
  const Error bad = Error(Reason::kConfig, "the proxy is not an address such as http://proxy.example:3128")
                        .Next("correct HTTPS_PROXY or HTTP_PROXY, or the proxy of this registry");
  text = Trim(text);
  Proxy proxy;
  if (const std::size_t colon = text.find("://"); colon != std::string_view::npos) {
    proxy.scheme = bytes::Lower(text.substr(0, colon));
    text.remove_prefix(colon + 3);
  }
  if (proxy.scheme != "http" && proxy.scheme != "https" && proxy.scheme != "socks5" && proxy.scheme != "socks5h") return bad;
  text = text.substr(0, text.find_first_of("/?#"));
  if (const std::size_t at = text.rfind('@'); at != std::string_view::npos) {
    const std::string_view info = text.substr(0, at);
    const std::size_t colon = info.find(':');
    const auto user = bytes::PercentDecoded(info.substr(0, colon));
    auto password = bytes::PercentDecoded(colon == std::string_view::npos ? std::string_view() : info.substr(colon + 1));
    if (!user || !password) return bad;
    proxy.user = *user;
    proxy.password = secret::Secret::Take(*password);
    text.remove_prefix(at + 1);
  }
  // Host and port obey the rules of a URL.
  const bool ported = Split(text).has_value();
  const auto url = Url::Parse("http://" + std::string(text) + "/");
  if (!url) return bad;
  proxy.host = url->host;
  proxy.port = ported ? url->port : proxy.scheme == "https" ? 443 : proxy.scheme == "http" ? 80 : 1080;
  return proxy;
}

std::string Proxy::ToString() const {
  return scheme + "://" + (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
}

Result<ProxyRules> ProxyRules::FromEnvironment(const GetEnv& get) {
  const auto either = [&](std::string_view upper, std::string_view lower) {
    const auto value = get(upper);
    return value && !value->empty() ? *value : get(lower).value_or("");
  };
  return Make(either("HTTPS_PROXY", "https_proxy"), either("HTTP_PROXY", "http_proxy"), either("NO_PROXY", "no_proxy"));
}

Result<ProxyRules> ProxyRules::Make(std::string_view https_proxy, std::string_view http_proxy, std::string_view no_proxy) {
  ProxyRules rules;
  if (!Trim(https_proxy).empty()) {
    ASSIGN_OR_RETURN(rules.https_, Proxy::Parse(https_proxy));
  }
  if (!Trim(http_proxy).empty()) {
    ASSIGN_OR_RETURN(rules.http_, Proxy::Parse(http_proxy));
  }
  while (!no_proxy.empty()) {
    const std::size_t comma = no_proxy.find(',');
    const std::string entry = bytes::Lower(Trim(no_proxy.substr(0, comma)));
    no_proxy.remove_prefix(comma == std::string_view::npos ? no_proxy.size() : comma + 1);
    if (entry.empty()) continue;
    if (entry == "*") {
      rules.exceptions_.push_back({.kind = Exception::Kind::kAll, .text = {}, .port = {}});
      break;
    }
    if (const std::size_t slash = entry.find('/'); slash != std::string::npos) {
      const std::string raw = AddressBytes(std::string_view(entry).substr(0, slash));
      unsigned bits = 0;
      const char* end = entry.data() + entry.size();
      const auto r = std::from_chars(entry.data() + slash + 1, end, bits);
      if (!raw.empty() && r.ec == std::errc() && r.ptr == end && bits <= raw.size() * 8) {
        rules.exceptions_.push_back({.kind = Exception::Kind::kRange,
                                     .text = Wide(std::string_view(entry).substr(0, slash)),
                                     .bits = bits + (raw.size() == 4 ? 96 : 0),
                                     .port = {}});
        continue;
      }
    }
    std::string_view host = entry;
    std::string port;
    if (const auto parts = Split(entry)) {
      host = parts->host;
      port = parts->port;
    } else if (host.starts_with('[') && host.ends_with(']')) {
      host = host.substr(1, host.size() - 2);
    }
    if (host.empty()) continue;
    if (std::string bytes = Wide(host); !bytes.empty()) {
      rules.exceptions_.push_back({.kind = Exception::Kind::kAddress, .text = std::move(bytes), .port = port});
      continue;
    }
    if (host.starts_with("*.")) host.remove_prefix(1);
    const bool itself = host.front() != '.';
    rules.exceptions_.push_back({.kind = Exception::Kind::kDomain,
                                 .text = (itself ? "." : "") + std::string(host),
                                 .port = port,
                                 .itself = itself});
  }
  return rules;
}

bool ProxyRules::Straight(const Url& url) const {
  const std::string bytes = Wide(url.host);
  if (url.host == "localhost" || (!bytes.empty() && IsLoopback(url.host))) return true;
  const std::string port = std::to_string(url.port);
  const std::string& host = url.host;
  for (const Exception& e : exceptions_) {
    const bool port_fits = e.port.empty() || e.port == port;
    switch (e.kind) {
      case Exception::Kind::kAll: return true;
      case Exception::Kind::kRange:
        if (!bytes.empty() && InRange(bytes, e.text, e.bits)) return true;
        break;
      case Exception::Kind::kAddress:
        if (bytes == e.text && port_fits) return true;
        break;
      case Exception::Kind::kDomain:
        if ((host.ends_with(e.text) || (e.itself && host == std::string_view(e.text).substr(1))) && port_fits) return true;
        break;
    }
  }
  return false;
}

const Proxy* ProxyRules::For(const Url& url) const {
  const std::optional<Proxy>& proxy = url.https() ? https_ : http_;
  return proxy && !Straight(url) ? &*proxy : nullptr;
}

}  // namespace berth::http
