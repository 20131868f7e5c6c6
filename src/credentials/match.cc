#include "credentials/match.h"

#include <algorithm>
#include <vector>

#include "bytes/encoding.h"
#include "bytes/text.h"
#include "reference/reference.h"
#include "result/result.h"

namespace berth::credentials {
namespace {

using std::string_view_literals::operator""sv;

struct HostAndPath {
  std::string host;  // with port, without user info
  std::string path;  // decoded
};

bool IsDigits(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}
// ":", ":80" or nothing.
bool IsOptionalPort(std::string_view text) { return text.empty() || (text[0] == ':' && IsDigits(text.substr(1))); }

// Which bytes a host may hold, as Go's URL parser sees it; '[' and ']' only around an IPv6 address.
bool IsHostByte(char c) {
  const auto u = static_cast<unsigned char>(c);
  return u >= 0x80 || (u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z') || (u >= '0' && u <= '9') ||
         "-_.~!$&'()*+,;=:<>\""sv.find(c) != std::string_view::npos;
}

// "host[:port][/path]" as a URL's: kubelet-images 6.3 steps 2 and 3.
std::optional<HostAndPath> ParseUrl(std::string_view rest) {
  if (bytes::HasControls(rest)) return std::nullopt;
  rest = rest.substr(0, rest.find('#'));
  rest = rest.substr(0, rest.find('?'));
  const auto slash = rest.find('/');
  std::string_view host = rest.substr(0, slash);
  const std::string_view path = slash == rest.npos ? ""sv : rest.substr(slash);
  if (const auto at = host.rfind('@'); at != host.npos) host = host.substr(at + 1);
  std::string_view name = host;
  if (host.starts_with('[')) {
    const auto end = host.rfind(']');
    if (end == host.npos || !IsOptionalPort(host.substr(end + 1))) return std::nullopt;
    name = host.substr(1, end - 1);
  } else if (const auto colon = host.rfind(':'); colon != host.npos && !IsOptionalPort(host.substr(colon))) {
    return std::nullopt;
  }
  if (!std::ranges::all_of(name, IsHostByte)) return std::nullopt;
  auto decoded = bytes::PercentDecoded(path);
  if (!decoded) return std::nullopt;
  return HostAndPath{std::string(host), *std::move(decoded)};
}

struct HostAndPort {
  std::string_view host, port;
};
// The last colon divides; brackets go only when there is a port (kubelet-images 6.4).
HostAndPort SplitPort(std::string_view host) {
  const auto colon = host.rfind(':');
  if (colon == host.npos) return {host, ""};
  const std::string_view name = host.substr(0, colon), port = host.substr(colon + 1);
  if (name.starts_with('[')) return name.ends_with(']') ? HostAndPort{name.substr(1, name.size() - 2), port} : HostAndPort{host, ""};
  if (name.find(':') != name.npos) return {host, ""};
  return {name, port};
}

std::vector<std::string_view> Labels(std::string_view host) {
  std::vector<std::string_view> labels;
  for (;;) {
    const auto dot = host.find('.');
    labels.push_back(host.substr(0, dot));
    if (dot == host.npos) return labels;
    host.remove_prefix(dot + 1);
  }
}

std::string_view SchemeOf(std::string_view config_key) {
  for (const auto scheme : {"https://"sv, "http://"sv})
    if (config_key.starts_with(scheme)) return scheme;
  return {};
}

bool MatchesAsKubelet(std::string_view key, std::string_view repository) {
  const auto pattern = ParseUrl(key), target = ParseUrl(repository);
  if (!pattern || !target) return false;
  const HostAndPort want = SplitPort(pattern->host), have = SplitPort(target->host);
  if (want.port != have.port || !target->path.starts_with(pattern->path)) return false;
  const auto wanted = Labels(want.host), given = Labels(have.host);
  return wanted.size() == given.size() && std::ranges::equal(wanted, given, Glob);
}

bool MatchesAsDocumented(std::string_view key, std::string_view repository) {
  const auto divide = [](std::string_view text) {
    const auto slash = text.find('/');
    return std::pair(text.substr(0, slash), slash == text.npos ? ""sv : text.substr(slash + 1));
  };
  const auto [pattern, prefix] = divide(key);
  const auto [domain, path] = divide(repository);
  // A character class may hold a colon: the port is what follows the last one behind it.
  const auto bracket = pattern.rfind(']');
  const auto colon = pattern.rfind(':');
  const bool ported = colon != pattern.npos && (bracket == pattern.npos || colon > bracket) && IsDigits(pattern.substr(colon + 1));
  const HostAndPort have = SplitPort(domain);
  std::string_view host_pattern = ported ? pattern.substr(0, colon) : pattern;
  if ((ported ? pattern.substr(colon + 1) : ""sv) != have.port) return false;
  // An IPv6 address in brackets is itself, never a class of characters.
  const bool literal = host_pattern.starts_with('[') && host_pattern.ends_with(']') && host_pattern.find(':') != host_pattern.npos;
  if (literal) {
    if (host_pattern.substr(1, host_pattern.size() - 2) != have.host && host_pattern != have.host) return false;
  } else if (!Glob(host_pattern, have.host) && !(reference::IsHub(host_pattern) && reference::IsHub(have.host))) {
    return false;
  }
  std::string_view segments = prefix;
  while (segments.ends_with('/')) segments.remove_suffix(1);
  return segments.empty() || path == segments || (path.starts_with(segments) && path[segments.size()] == '/');
}

std::string PortText(std::string_view port) { return port.empty() ? "none" : std::string(port.substr(0, 32)); }

}  // namespace

std::string WhyNot(Profile profile, std::string_view config_key, std::string_view repository) {
  const bool kubelet = profile == Profile::kKubelet;
  const auto key = IndexKey(profile, config_key);
  if (!key) {
    const auto odd = config_key.find_first_of(" \\[]%^|`{}");
    return odd == config_key.npos ? "never matches: it is no host and path"
                                  : "never matches: " + Quoted(config_key.substr(odd, 1)) + " is not allowed in a host" +
                                        (kubelet && "\\[]^"sv.find(config_key[odd]) != ""sv.npos ? " (the docs say it is)" : "");
  }
  if (Matches(profile, *key, repository)) return "";
  const auto divide = [&](std::string_view text) {
    const auto slash = text.find('/');
    return std::pair(SplitPort(text.substr(0, slash)), slash == text.npos ? ""sv : text.substr(slash));
  };
  const auto [want, prefix] = divide(*key);
  const auto [have, path] = divide(repository);
  const std::string host_only(want.host), image_host(have.host);
  if (!Matches(profile, host_only, image_host + "/x")) {
    if (Matches(profile, bytes::Lower(host_only), bytes::Lower(image_host) + "/x")) return "hosts are compared with their case: " + Quoted(host_only);
    if (kubelet && config_key.find('?') != config_key.npos) return "never matches: \"?\" starts a query (the docs say it is a wildcard)";
    const auto labels = Labels(want.host).size(), given = Labels(have.host).size();
    if (kubelet && labels != given)
      return std::to_string(labels) + (labels == 1 ? " host label" : " host labels") + ", image has " + std::to_string(given);
    return "host " + Quoted(host_only) + " does not match " + Quoted(image_host);
  }
  if (want.port != have.port) return "port: entry has " + PortText(want.port) + ", image has " + PortText(have.port);
  if (prefix.find('*') != prefix.npos) return "path " + Quoted(prefix) + ": \"*\" is a wildcard in hosts only";
  return "path " + Quoted(prefix) + (kubelet ? " is not a prefix of " : " does not lead to ") + Quoted(path);
}

std::string_view Name(Profile profile) { return profile == Profile::kKubelet ? "Kubelet" : "Documented"; }

bool Glob(std::string_view pattern, std::string_view text) {
  // One backtrack point suffices: a later '*' takes over from an earlier one, as '/' is never crossed by either.
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  // Reads one element at `p`: whether it takes `c`; moves `next` behind it. False for malformed ones, too.
  const auto takes = [&](char c, std::size_t& next) {
    if (pattern[p] == '?') return next = p + 1, c != '/';
    if (pattern[p] == '\\') {
      if (p + 1 >= pattern.size()) return false;
      return next = p + 2, pattern[p + 1] == c;
    }
    if (pattern[p] != '[') return next = p + 1, pattern[p] == c;
    std::size_t i = p + 1;
    const bool negated = i < pattern.size() && pattern[i] == '^';
    if (negated) ++i;
    bool hit = false;
    for (bool first = true; i < pattern.size() && (first || pattern[i] != ']'); first = false) {
      const auto one = [&]() -> std::optional<unsigned char> {
        if (i < pattern.size() && pattern[i] == '\\') ++i;
        if (i >= pattern.size()) return std::nullopt;
        return static_cast<unsigned char>(pattern[i++]);
      };
      const auto low = one();
      if (!low) return false;
      unsigned char high = *low;
      if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
        ++i;
        const auto end = one();
        if (!end) return false;
        high = *end;
      }
      const auto u = static_cast<unsigned char>(c);
      hit = hit || (*low <= u && u <= high);
    }
    if (i >= pattern.size()) return false;  // no closing bracket
    next = i + 1;
    return hit != negated && c != '/';
  };
  while (t < text.size()) {
    std::size_t next = 0;
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      resume = t;
    } else if (p < pattern.size() && takes(text[t], next)) {
      p = next;
      ++t;
    } else if (star != std::string_view::npos && text[resume] != '/') {
      p = star;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::optional<std::string> IndexKey(Profile profile, std::string_view config_key) {
  config_key.remove_prefix(SchemeOf(config_key).size());
  std::optional<HostAndPath> url;
  if (profile == Profile::kKubelet) {
    url = ParseUrl(config_key);
  } else if (std::ranges::none_of(config_key, [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; })) {
    const auto slash = config_key.find('/');
    std::string_view host = config_key.substr(0, slash);
    if (const auto at = host.rfind('@'); at != host.npos) host = host.substr(at + 1);
    url = HostAndPath{std::string(host), slash == config_key.npos ? "" : std::string(config_key.substr(slash))};
  }
  if (!url) return std::nullopt;
  if (url->path.starts_with("/v1/") || url->path.starts_with("/v2/")) url->path.erase(0, 3);
  return url->path == "/" ? url->host : url->host + url->path;
}

std::string WithoutUserInfo(std::string_view config_key) {
  const auto at = config_key.rfind('@');
  if (at == config_key.npos) return std::string(config_key);
  return std::string(SchemeOf(config_key)).append(config_key.substr(at + 1));
}

bool Matches(Profile profile, std::string_view key, std::string_view repository) {
  return profile == Profile::kKubelet ? MatchesAsKubelet(key, repository) : MatchesAsDocumented(key, repository);
}

bool IsDefaultRegistry(std::string_view repository) {
  const auto slash = repository.find('/');
  const std::string_view first = repository.substr(0, slash);
  if (first.empty()) return false;
  if (slash == repository.npos || first == "docker.io" || first == "index.docker.io") return true;
  return first.find_first_of(".:") == first.npos;
}

}  // namespace berth::credentials
