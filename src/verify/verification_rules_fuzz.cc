// The `verification:` section: what is read decides for every name, and fails closed where it says so.
#include <cstdint>
#include <cstdlib>

#include "verify/rules.h"

namespace {
constexpr std::string_view kPem =
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const auto documents = yaml::Parse({reinterpret_cast<const char*>(data), size}, "fuzz", Reason::kConfig, {.bytes = 64u << 10});
  if (!documents) return 0;
  for (const auto& document : *documents) {
    const auto section = document.root().Find("verification");
    if (!section) continue;
    const auto rules = verify::Rules::Parse(
        document, *section, [](const std::string&) -> Result<std::string> { return std::string(kPem); });
    if (!rules) {
      if (rules.error().reason() != Reason::kConfig || !rules.error().message().starts_with("fuzz:")) std::abort();
      continue;
    }
    if (!rules->enabled() || rules->fallback().action == verify::Action::kRequireSignature) std::abort();
    for (const char* name : {"busybox", "registry.example/team/app:v1", "127.0.0.1:5000/a/b", "[::1]:5000/a"}) {
      const auto& rule = rules->Find(*reference::Reference::Parse(name));
      if (rule.hash.size() != 32) std::abort();
      if (rule.action == verify::Action::kRequireSignature && rule.keys.empty() && !rule.programs) std::abort();
      if (rule.threshold > 1 && rule.threshold > rule.keys.size()) std::abort();
    }
    for (const auto& [name, spelling] : std::initializer_list<std::pair<const char*, const char*>>{
             {"busybox", "registry-1.docker.io/library/busybox"}, {"busybox", "Index.docker.io:0443/busybox"},
             {"registry.example/team/app:v1", "REGISTRY.example:443/team/app:v1"}, {"127.0.0.1:5000/a/b", "127.0.0.1:05000/a/b"},
             {"[::1]:5000/a", "[0:0::1]:5000/a"}, {"[fe80::a]/a", "[FE80::A]:443/a"}})
      if (&rules->Find(*reference::Reference::Parse(name)) != &rules->Find(*reference::Reference::Parse(spelling))) std::abort();
  }
  return 0;
}
