#include "registry/hosts.h"

#include <toml++/toml.h>

#include <algorithm>
#include <chrono>
#include <tuple>

#include "bytes/text.h"
#include "host/dir.h"
#include "time/go_duration.h"

namespace berth::registry {
namespace {

constexpr std::size_t kMaxFileBytes = 1u << 20;
constexpr std::string_view kHub = "docker.io", kHubApi = "registry-1.docker.io", kHubLegacy = "index.docker.io";

// Where the registry `domain` itself is served.
std::string ApiAuthority(std::string_view domain) { return std::string(domain == kHub || domain == kHubLegacy ? kHubApi : domain); }

std::optional<http::Url> UrlOf(std::string_view scheme, std::string_view authority) {
  auto url = http::Url::Parse(std::string(scheme) + "://" + std::string(authority));
  return url ? std::optional(*std::move(url)) : std::nullopt;
}

// "reg.test", "reg.test:443" and "https://reg.test" are one registry; the scheme decides only the default port.
bool ServesRegistry(const http::Url& url, std::string_view domain) {
  const auto own = UrlOf(url.scheme, ApiAuthority(domain));
  if (own && own->host == url.host && own->port == url.port) return true;
  return domain == kHub && (url.host == kHub || url.host == kHubLegacy) && url.port == 443;
}

// Within (0, 1 h].
std::optional<time::Duration> ParseDuration(std::string_view text) {
  const auto parsed = time::ParseGoDuration(text);
  return parsed && *parsed > time::Duration::zero() && *parsed <= std::chrono::hours(1) ? parsed : std::nullopt;
}

// Mirrors name the registry they are asked for; with plain HTTP and TLS settings both, TLS is tried first.
void Complete(HostEndpoint& e, std::string_view domain) {
  e.mirror = !ServesRegistry(e.base, domain);
  e.ns = e.mirror ? std::string(domain) : "";
  if (!e.base.https() && e.base.port != 80 && e.tls != http::TlsOptions{}) {
    e.base.scheme = "https";
    e.plain_fallback = true;
  }
}

Result<HostEndpoint> DefaultHost(std::string_view domain, const http::TlsOptions& tls, const HostsOptions& options) {
  HostEndpoint e;
  const std::string authority = ApiAuthority(domain);
  const bool plain = std::any_of(options.plain_http.begin(), options.plain_http.end(), [&](const std::string& name) {
    const auto listed = UrlOf("http", name), own = UrlOf("http", authority);
    return listed && own && listed->origin() == own->origin();
  });
  auto url = UrlOf(plain ? "http" : "https", authority);
  if (!url) return Error(Reason::kInvalidReference, Quoted(domain) + " is not a host name");
  e.base = *std::move(url);
  e.base.path = "/v2";
  e.tls = tls;
  e.plain_fallback = !plain && http::IsLoopback(e.base.host);
  Complete(e, domain);
  return e;
}

class TomlReader {
 public:
  TomlReader(std::string_view domain, const HostsDirectory& directory, const HostsOptions& options)
      : domain_(domain), directory_(directory), options_(options) {}

  Result<std::vector<HostEndpoint>> Read(std::string_view text) {
    toml::table root;
    try {
      root = toml::parse(text);
    } catch (const toml::parse_error& error) {
      // The parser's own words may quote the file, and header tables hold secrets.
      return Fail(error.source().begin, "not valid TOML at column " + std::to_string(error.source().begin.column));
    }
    std::vector<HostEndpoint> hosts;
    if (const toml::node* host = root.get("host")) {
      if (!host->is_table()) return Fail(*host, "\"host\" must be a table of URLs");
      std::vector<std::pair<const toml::key*, const toml::node*>> in_file_order;
      for (const auto& [key, value] : *host->as_table()) in_file_order.emplace_back(&key, &value);
      std::sort(in_file_order.begin(), in_file_order.end(), [](const auto& a, const auto& b) {
        const auto &x = a.first->source().begin, &y = b.first->source().begin;
        return std::pair(x.line, x.column) < std::pair(y.line, y.column);
      });
      for (const auto& [key, value] : in_file_order) {
        if (!value->is_table()) return Fail(*value, "a host must be a table");
        ASSIGN_OR_RETURN(HostEndpoint e, Endpoint(*value, key->str(), *value->as_table()));
        hosts.push_back(std::move(e));
      }
    }
    HostEndpoint last;
    if (const toml::node* server = root.get("server"); server && !(server->is_string() && **server->as_string() == "")) {
      if (!server->is_string()) return Fail(*server, "\"server\" must be a string");
      ASSIGN_OR_RETURN(last, Endpoint(*server, **server->as_string(), root));
    } else {
      ASSIGN_OR_RETURN(last, DefaultHost(domain_, {}, options_));
      const http::Url own = last.base;
      ASSIGN_OR_RETURN(HostEndpoint settings, Endpoint(root, own.scheme + "://" + own.Authority(), root));
      settings.resolve = settings.pull = true;
      settings.plain_fallback |= last.plain_fallback;
      last = std::move(settings);
    }
    // A file that lists the registry itself among the hosts means that place in the order.
    if (std::none_of(hosts.begin(), hosts.end(), [&](const HostEndpoint& e) { return e.base == last.base && e.resolve && e.pull; }))
      hosts.push_back(std::move(last));
    return hosts;
  }

 private:
  Error Fail(const toml::source_position& at, std::string what) const {
    return Error(Reason::kConfig, directory_.path + "/hosts.toml:" + std::to_string(at.line) + ": " + std::move(what))
        .Next("correct or remove the file; it is read again at the next pull");
  }
  Error Fail(const toml::node& node, std::string what) const { return Fail(node.source().begin, std::move(what)); }

  Result<HostEndpoint> Endpoint(const toml::node& at, std::string_view text, const toml::table& table) const {
    HostEndpoint e;
    const std::string with_scheme = text.find("://") == std::string_view::npos ? "https://" + std::string(text) : std::string(text);
    auto url = http::Url::Parse(with_scheme);
    if (!url || url->query) return Fail(at, "a host must be an http or https URL without user and query");
    e.base = *std::move(url);
    ASSIGN_OR_RETURN(const bool override_path, Bool(table, "override_path"));
    while (e.base.path.ends_with('/')) e.base.path.pop_back();
    if (!override_path && !e.base.path.ends_with("/v2")) e.base.path += "/v2";
    ASSIGN_OR_RETURN(e.tls.skip_verify, Bool(table, "skip_verify"));
    RETURN_IF_ERROR(Capabilities(table, e));
    RETURN_IF_ERROR(Ca(table, e.tls));
    RETURN_IF_ERROR(ClientPairs(table, e));
    RETURN_IF_ERROR(HeaderFields(table, e.headers));
    if (const toml::node* dial = table.get("dial_timeout")) {
      e.dial_timeout = dial->is_string() ? ParseDuration(**dial->as_string()) : std::nullopt;
      if (!e.dial_timeout) return Fail(*dial, "\"dial_timeout\" must be a duration like \"3s\" of at most one hour");
    }
    Complete(e, domain_);
    return e;
  }

  Result<bool> Bool(const toml::table& table, std::string_view key) const {
    const toml::node* node = table.get(key);
    if (!node) return false;
    if (!node->is_boolean()) return Fail(*node, "\"" + std::string(key) + "\" must be true or false");
    return **node->as_boolean();
  }

  // A string, or a list of strings; what `wanted` calls it.
  Result<std::vector<std::string>> Strings(const toml::node& node, std::string_view wanted) const {
    if (node.is_string()) return std::vector<std::string>{**node.as_string()};
    std::vector<std::string> all;
    if (!node.is_array()) return Fail(node, std::string(wanted));
    for (const toml::node& one : *node.as_array()) {
      if (!one.is_string()) return Fail(one, std::string(wanted));
      all.push_back(**one.as_string());
    }
    return all;
  }

  Result<> Capabilities(const toml::table& table, HostEndpoint& e) const {
    const toml::node* node = table.get("capabilities");
    if (!node) return {};
    ASSIGN_OR_RETURN(const auto words, Strings(*node, "\"capabilities\" must be a list of words"));
    e.resolve = e.pull = false;
    for (const std::string& word : words) {
      if (word == "pull") e.pull = true;
      else if (word == "resolve") e.resolve = true;
      else if (word != "push" && word != "referrers") return Fail(*node, "unknown capability " + Quoted(word));
    }
    return {};
  }

  std::string Absolute(const std::string& path) const { return path.starts_with('/') ? path : directory_.path + "/" + path; }

  Result<> Ca(const toml::table& table, http::TlsOptions& tls) const {
    const toml::node* node = table.get("ca");
    if (!node) return {};
    ASSIGN_OR_RETURN(const auto paths, Strings(*node, "\"ca\" must be a path or a list of paths"));
    for (const std::string& path : paths) tls.ca_paths.push_back(Absolute(path));
    return {};
  }

  Result<> ClientPairs(const toml::table& table, HostEndpoint& e) const {
    const toml::node* node = table.get("client");
    if (!node) return {};
    static constexpr std::string_view kWanted = "\"client\" must be a path, or a list of paths or [certificate, key] pairs";
    const auto add = [&](const toml::node& one) -> Result<> {
      ASSIGN_OR_RETURN(const auto pair, Strings(one, kWanted));
      if (pair.empty() || pair.size() > 2 || pair[0].empty()) return Fail(one, std::string(kWanted));
      const std::string cert = Absolute(pair[0]), key = pair.back().empty() ? cert : Absolute(pair.back());
      e.clients.push_back({cert, key});
      return {};
    };
    if (const toml::array* list = node->as_array()) {
      for (const toml::node& one : *list) RETURN_IF_ERROR(add(one));
    } else {
      RETURN_IF_ERROR(add(*node));
    }
    if (!e.clients.empty()) std::tie(e.tls.client_cert, e.tls.client_key) = e.clients.front();
    if (e.clients.size() < 2) e.clients.clear();
    return {};
  }

  Result<> HeaderFields(const toml::table& table, http::Headers& headers) const {
    const toml::node* node = table.get("header");
    if (!node) return {};
    if (!node->is_table()) return Fail(*node, "\"header\" must be a table");
    for (const auto& [key, value] : *node->as_table()) {
      ASSIGN_OR_RETURN(const auto values, Strings(value, "a header must be a string or a list of strings"));
      const std::string_view name = key.str();
      if (name.empty() || !std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; }))
        return Fail(value, "not a header name");
      const auto is = [&](std::string_view ours) { return http::EqualNoCase(name, ours); };
      const bool clients = std::ranges::any_of(http::kHeadersOfTheClient, is) && !is("Authorization");
      if (clients || is("Range") || is("Accept")) return Fail(value, "the header " + std::string(name) + " cannot be set here");
      for (const std::string& text : values) {
        if (bytes::HasControls(text)) return Fail(value, "a header value holds control characters");
        headers.Add(name, text);
      }
    }
    return {};
  }

  std::string_view domain_;
  const HostsDirectory& directory_;
  const HostsOptions& options_;
};

// Docker's layout: every *.crt is a CA, the first X.cert that has its X.key is the client pair.
Result<http::TlsOptions> DockerLayout(const HostsDirectory& directory) {
  http::TlsOptions tls;
  std::vector<std::string> names = directory.names;
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (name.ends_with(".crt")) tls.ca_paths.push_back(directory.path + "/" + name);
    if (!name.ends_with(".cert") || !tls.client_cert.empty()) continue;
    const std::string key = name.substr(0, name.size() - 5) + ".key";
    if (!std::binary_search(names.begin(), names.end(), key))
      return Error(Reason::kConfig, directory.path + "/" + Quoted(name) + ": there is no " + Quoted(key) + " beside it")
          .Next("a client certificate X.cert needs its key as X.key");
    tls.client_cert = directory.path + "/" + name;
    tls.client_key = directory.path + "/" + key;
  }
  return tls;
}

// Of several the first that can be read; where none can, using the first says why.
void ChooseClient(HostEndpoint& e) {
  const auto readable = [](const std::string& path) { return host::ReadSmallFile(path, kMaxFileBytes).has_value(); };
  const auto chosen = std::ranges::find_if(e.clients, [&](const auto& pair) { return readable(pair.first) && readable(pair.second); });
  if (chosen != e.clients.end()) std::tie(e.tls.client_cert, e.tls.client_key) = *chosen;
}

}  // namespace

std::vector<std::string> HostsDirectoryNames(std::string_view domain) {
  std::vector<std::string> names;
  const std::size_t colon = domain.rfind(':');
  const bool port = colon != std::string_view::npos && colon > 0 && colon + 1 < domain.size() &&
                    domain.find(']', colon) == std::string_view::npos;
  if (port) names.push_back(std::string(domain.substr(0, colon)) + "_" + std::string(domain.substr(colon + 1)) + "_");
  names.emplace_back(domain);
  names.emplace_back("_default");
  return names;
}

Result<std::vector<HostEndpoint>> ParseHosts(std::string_view domain, const std::optional<HostsDirectory>& directory,
                                             const HostsOptions& options) {
  http::TlsOptions tls;
  if (directory) {
    if (directory->hosts_toml && directory->hosts_toml->find_first_not_of(" \t\r\n") != std::string::npos)
      return TomlReader(domain, *directory, options).Read(*directory->hosts_toml);
    ASSIGN_OR_RETURN(tls, DockerLayout(*directory));
  }
  ASSIGN_OR_RETURN(HostEndpoint only, DefaultHost(domain, tls, options));
  std::vector<HostEndpoint> hosts;
  hosts.push_back(std::move(only));
  return hosts;
}

Result<std::vector<HostEndpoint>> HostsFor(std::string_view domain, const HostsOptions& options) {
  // It becomes part of a path. The grammar of references lets nothing else through, but this is not the place to rely on it.
  if (domain.empty() || domain.front() == '.' || domain.find_first_of(std::string_view("/\0", 2)) != std::string_view::npos)
    return Error(Reason::kInvalidReference, Quoted(domain) + " is not a host name");
  const std::vector<std::string> names = HostsDirectoryNames(domain);
  for (const std::string& root : options.roots) {
    for (const std::string& name : names) {
      HostsDirectory directory{.path = root + "/" + name, .names = {}, .hosts_toml = std::nullopt};
      auto dir = host::Dir::Open(directory.path);
      if (!dir && dir.error().reason() == Reason::kMissing) continue;
      if (!dir) return Error(std::move(dir).error()).Context("hosts of " + std::string(domain));
      ASSIGN_OR_RETURN(directory.names, dir->List());
      if (std::binary_search(directory.names.begin(), directory.names.end(), "hosts.toml")) {
        auto text = host::ReadSmallFile(directory.path + "/hosts.toml", kMaxFileBytes);
        if (!text) return Error(Reason::kConfig, directory.path + "/hosts.toml: cannot be read: " + text.error().message());
        directory.hosts_toml = *std::move(text);
      }
      auto hosts = ParseHosts(domain, directory, options);
      if (hosts)
        for (HostEndpoint& host : *hosts) ChooseClient(host);
      return hosts;
    }
  }
  return ParseHosts(domain, std::nullopt, options);
}

}  // namespace berth::registry
