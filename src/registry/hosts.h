// registry/hosts.h: which hosts serve a registry name, from containerd's hosts.toml and Docker's certs.d.
//
// Layout and meaning are containerd's (runtime-registry 4.5, 4.11), so that a node's existing files work unchanged:
//   <root>/<H_P_ | H:P | H | _default>/hosts.toml     mirrors in file order, then `server`
//   <root>/<...>/*.crt, X.cert + X.key                no hosts.toml: extra CAs and client pairs for the default host
// The first root that has any of these directories wins. Files are read again at every pull; an empty hosts.toml counts
// as absent. A host counts as a mirror when it is not the registry itself (for docker.io: registry-1.docker.io); `server`
// may be one. A host with an http:// URL is spoken to in plain HTTP, after TLS was tried if it has TLS settings.
// Deliberate differences:
// - A file that cannot be parsed is an error (kConfig, "file:line: what"). containerd logs it and silently goes to the
//   upstream, which is how air-gapped nodes leak and rate limits are hit.
// - Without configuration the default host is https. For loopback names (localhost, 127.0.0.0/8, ::1) a server that
//   answers the TLS handshake in plain HTTP is then spoken to in plain HTTP; no other failure and no other host is
//   ever downgraded. Certificates are verified on loopback too. That it is plain is remembered until a plain request is
//   answered by 400 or by nothing that is HTTP.
// - Of several client certificates of a host the first that can be read is used (containerd lets TLS choose).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/client.h"
#include "http/headers.h"
#include "http/url.h"
#include "result/result.h"
#include "time/clock.h"

namespace berth::registry {

struct HostEndpoint {
  http::Url base;               // API root: "https://mirror.example/v2", no trailing slash
  bool mirror = false;          // not the registry itself: gets no credential of the registry
  bool resolve = true;          // may be asked for tags
  bool pull = true;             // may be asked by digest
  bool plain_fallback = false;  // loopback default host: plain HTTP when the server does not speak TLS
  http::TlsOptions tls;
  std::vector<std::pair<std::string, std::string>> clients;  // certificate and key; only where there are several: `tls` has one of them
  http::Headers headers;        // sent with every request to this origin, token requests there included
  std::optional<time::Duration> dial_timeout;
  std::string ns;               // value of the `ns` parameter, "" when it is not sent

  friend bool operator==(const HostEndpoint&, const HostEndpoint&) = default;
};

struct HostsOptions {
  std::vector<std::string> roots{"/etc/berth/certs.d", "/etc/containerd/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d"};
  std::vector<std::string> plain_http;  // "host[:port]": spoken to in plain HTTP when no hosts.toml names it
};

// A directory as the parser sees it; `names` and the text come from disk or from a test.
struct HostsDirectory {
  std::string path;                       // absolute; relative PEM paths are resolved against it
  std::vector<std::string> names;         // all entries, any order
  std::optional<std::string> hosts_toml;  // contents, when there is such a file
};

// Names of the directories to look for, in order.
std::vector<std::string> HostsDirectoryNames(std::string_view domain);

// Pure. `directory` = nullopt: nothing configured. kConfig as above. Never empty.
Result<std::vector<HostEndpoint>> ParseHosts(std::string_view domain, const std::optional<HostsDirectory>& directory,
                                             const HostsOptions& options);

// Looks on disk, then ParseHosts. `domain` is Reference::domain(): "docker.io", "reg.test:5000", "[::1]:5000".
Result<std::vector<HostEndpoint>> HostsFor(std::string_view domain, const HostsOptions& options);

}  // namespace berth::registry
