// A hosts.toml of any content: an error names the file, and what is accepted can be asked.
#include <cstdlib>
#include <string_view>

#include "registry/hosts.h"

namespace {
void Require(bool truth) {
  if (!truth) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const registry::HostsDirectory directory{"/d", {"hosts.toml"}, std::string(reinterpret_cast<const char*>(data), size)};
  const auto hosts = registry::ParseHosts("reg.test:5000", directory, {});
  if (!hosts) {
    Require(hosts.error().reason() == Reason::kConfig && hosts.error().message().starts_with("/d/hosts.toml:"));
    return 0;
  }
  Require(!hosts->empty());
  for (const registry::HostEndpoint& e : *hosts) {
    Require(!e.base.query && !e.base.path.ends_with('/') && (e.base.path.empty() || e.base.path[0] == '/'));
    Require(!e.base.host.empty() && e.base.port != 0);
    Require(e.mirror == (e.ns == "reg.test:5000") && e.mirror == !e.ns.empty());
    Require(e.tls.client_cert.empty() == e.tls.client_key.empty());
    for (const std::string& path : e.tls.ca_paths) Require(path.starts_with('/'));
    for (const http::Header& header : e.headers)
      for (const char c : header.name + header.value) Require(c != '\r' && c != '\n' && c != '\0');
    Require(!e.dial_timeout || *e.dial_timeout > time::Duration(0));
  }
  const auto again = registry::ParseHosts("reg.test:5000", directory, {});
  Require(again && *again == *hosts);
  return 0;
}
