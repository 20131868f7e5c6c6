// An answer of a plug-in is read or refused; what it holds never reaches the error; what was read can be looked up.
#include <cstdlib>
#include <string>

#include "credentials/keyring.h"
#include "credentials/provider_response.h"
#include "credentials/redact.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::credentials;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const berth::secret::Secret token("hunter2canary");
  for (const auto version : {ExecVersion::kV1, ExecVersion::kV1Beta1, ExecVersion::kV1Alpha1}) {
    auto response = ParseProviderResponse(text, version, &token);
    if (!response) {
      if ((response.error().Text() + response.error().next_step()).find("hunter2canary") != std::string::npos) std::abort();
      continue;
    }
    DockerConfig config;
    for (auto& entry : response->entries) {
      if (entry.password == token) std::abort();
      Credential credential;
      credential.username = entry.username;
      config.entries.push_back({entry.pattern, std::move(credential)});
    }
    Keyring ring(Profile::kKubelet);
    ring.Add(std::move(config));
    std::vector<MatchReport> reports;
    ring.Explain("test.registry.io/foo/bar", reports);
    std::size_t matched = 0;
    for (const auto& report : reports) {
      matched += report.verdict == MatchReport::Verdict::kMatched ? 1 : 0;
      if (report.verdict != MatchReport::Verdict::kMatched && report.reason.empty()) std::abort();
    }
    if (matched != ring.Find("test.registry.io/foo/bar").size()) std::abort();
  }
  // The same bytes as a plug-in's last words.
  Redactor redactor;
  redactor.Add("hunter2canary");
  redactor.AddWordsOf(text.substr(0, text.size() / 2));
  const auto words = redactor.Apply(text);
  if (words.size() > 256 || words.find("hunter2canary") != std::string::npos) std::abort();
  return 0;
}
