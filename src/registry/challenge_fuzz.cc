// Lines of WWW-Authenticate, one per line of the input. What is understood keeps the promises of registry/challenge.h;
// cutting a line never makes more of it answerable than its own parameters; a realm that passes belongs to the registry.
// Linear: the same again and again costs as much more and nothing beyond, in allocations; and 64 KiB of it, which is what http lets through, end
// long before a fuzzer's time-out.
#include <algorithm>
#include <string_view>

#include "registry/challenge.h"
#include "result/result.h"
#include "result/testing/heap.h"

namespace {

using berth::registry::ChooseChallenge;

struct Cost {
  std::size_t times, bytes;
};
Cost CostOf(const std::vector<std::string>& lines) {
  const berth::result::testing::HeapWatch heap;
  (void)ChooseChallenge(lines);
  return {heap.times(), heap.bytes()};
}
// Of one line that holds `line` many times, with commas between.
void CheckLinear(const std::string& line) {
  constexpr std::size_t kAll = 64u << 10;
  const auto repeated = [&](std::size_t bytes) {
    std::string all = line;
    while (all.size() < bytes) all.append(",").append(line);
    return all;
  };
  // An allocation per element of at least two bytes; vectors that grow by doubling, of elements of at most 64 bytes.
  for (const std::string& text : {line, repeated(std::min(kAll, 16 * line.size())), line.size() % 64 == 63 ? repeated(kAll) : line}) {
    const auto [times, bytes] = CostOf({text});
    BERTH_CHECK(times <= 3 * text.size() + 64 && bytes <= 256 * text.size() + 8192);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::registry;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    lines.emplace_back(line);
  }
  if (!lines.empty()) CheckLinear(lines[0]);
  const auto challenge = ChooseChallenge(lines);
  if (!challenge) {
    BERTH_CHECK(challenge.error().reason() == berth::Reason::kUnauthorized || challenge.error().reason() == berth::Reason::kUntrustedRealm);
    return 0;
  }
  BERTH_CHECK((challenge->scheme == Scheme::kBearer) == !challenge->realm.empty());
  BERTH_CHECK(challenge->realm.size() <= 8192 && challenge->service.size() <= 1024);
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
