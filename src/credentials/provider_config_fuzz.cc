// A CredentialProviderConfig is read or refused; values of variables never reach the error; what was read is valid.
#include <cstdlib>
#include <string>

#include "credentials/provider_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::credentials;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto document = ParseJsonDocument(text);
  if (!document) return 0;
  for (const auto profile : {Profile::kDocumented, Profile::kKubelet}) {
    const auto specs = ParseProviderConfig(document->root(), {.profile = profile});
    if (!specs) {
      if (specs.error().Text().empty() || specs.error().reason() != berth::Reason::kConfig) std::abort();
      // The seeds have this value in `env`, and nowhere else.
      if (text.find("\"value\":\"hunter2canary\"") != text.npos && text.find("hunter2canary") == text.rfind("hunter2canary") &&
          specs.error().Text().find("hunter2canary") != std::string::npos)
        std::abort();
      continue;
    }
    if (specs->empty()) std::abort();
    for (const auto& spec : *specs) {
      if (spec.name.empty() || spec.name.find('/') != spec.name.npos) std::abort();
      if (spec.match_images.empty() || spec.default_cache.count() < 0) std::abort();
      if (!(spec == spec.Clone())) std::abort();
      for (const auto& pattern : spec.match_images) (void)Matches(profile, pattern, "test.registry.io/foo/bar");
    }
  }
  return 0;
}
