// Lines of WWW-Authenticate, one per line of the input. What is understood keeps the promises of registry/challenge.h;
// cutting a line never makes more of it answerable than its own parameters; a realm that passes belongs to the registry.
#include <algorithm>
#include <string_view>

#include "registry/challenge.h"
#include "result/result.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::registry;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    lines.emplace_back(line);
  }
  const auto challenge = ChooseChallenge(lines);
  if (!challenge) {
    BERTH_CHECK(challenge.error().reason() == berth::Reason::kUnauthorized || challenge.error().reason() == berth::Reason::kUntrustedRealm);
    return 0;
  }
  BERTH_CHECK((challenge->scheme == Scheme::kBearer) == !challenge->realm.empty());
  BERTH_CHECK(challenge->scopes.size() <= 16 && std::is_sorted(challenge->scopes.begin(), challenge->scopes.end()));
  for (const std::string* value : {&challenge->realm, &challenge->service})
    for (const char c : *value) BERTH_CHECK(c >= 0x20 && c <= 0x7e);
  const auto scopes = ScopesFor(*challenge, "a/b");
  BERTH_CHECK(std::is_sorted(scopes.begin(), scopes.end()));
  for (const std::string& scope : scopes) BERTH_CHECK(!scope.starts_with("repository") || scope.ends_with(":pull"));
  BERTH_CHECK(*ChooseChallenge(lines) == *challenge);

  const berth::http::Origin registry{"https", "reg.example.com", 443};
  if (const auto realm = CheckRealm(registry, challenge->realm, {})) {
    const std::string& host = realm->url.host;
    BERTH_CHECK(realm->url.https());
    BERTH_CHECK(host == "example.com" || host.ends_with(".example.com"));
    BERTH_CHECK(!realm->any_address || host == registry.host);
  }
  return 0;
}
