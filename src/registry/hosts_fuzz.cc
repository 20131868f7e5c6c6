// A hosts.toml of any content: an error names the file, and what is accepted can be asked.
#include <string_view>

#include "registry/hosts.h"
#include "result/result.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const registry::HostsDirectory directory{"/d", {"hosts.toml"}, std::string(reinterpret_cast<const char*>(data), size)};
  const auto hosts = registry::ParseHosts("reg.test:5000", directory, {});
  if (!hosts) {
    BERTH_CHECK(hosts.error().reason() == Reason::kConfig && hosts.error().message().starts_with("/d/hosts.toml:"));
    return 0;
  }
  BERTH_CHECK(!hosts->empty());
  for (const registry::HostEndpoint& e : *hosts) {
    BERTH_CHECK(!e.base.query && !e.base.path.ends_with('/') && (e.base.path.empty() || e.base.path[0] == '/'));
    BERTH_CHECK(!e.base.host.empty() && e.base.port != 0);
    BERTH_CHECK(e.mirror == (e.ns == "reg.test:5000") && e.mirror == !e.ns.empty());
    BERTH_CHECK(e.tls.client_cert.empty() == e.tls.client_key.empty());
    for (const std::string& path : e.tls.ca_paths) BERTH_CHECK(path.starts_with('/'));
    for (const http::Header& header : e.headers)
      for (const char c : header.name + header.value) BERTH_CHECK(c != '\r' && c != '\n' && c != '\0');
    BERTH_CHECK(!e.dial_timeout || *e.dial_timeout > time::Duration(0));
  }
  const auto again = registry::ParseHosts("reg.test:5000", directory, {});
  BERTH_CHECK(again && *again == *hosts);
  return 0;
}
