// A pull secret of either type is read or refused, and linted; secret bytes reach neither the error nor a finding nor a report.
#include <cstdlib>
#include <string>

#include "credentials/docker_secret.h"
#include "credentials/lint.h"
#include "credentials/pull_secrets.h"

namespace {

constexpr std::string_view kCanary = "hunter2canary";

// The canary as a value; as a part of a key or of another member's name it is no secret.
bool OnlyAsValue(std::string_view text) {
  for (auto at = text.find(kCanary); at != text.npos; at = text.find(kCanary, at + 1)) {
    const auto end = at + kCanary.size();
    if (at == 0 || text[at - 1] != '"' || end >= text.size() || text[end] != '"') return false;
    const auto next = text.find_first_not_of(" \t\r\n", end + 1);
    if (next == text.npos || text[next] == ':') return false;
    const auto before = text.find_last_not_of(" \t\r\n", at - 2);
    if (at < 2 || before == text.npos || text[before] != ':') return false;
  }
  return text.find('\\') == text.npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::credentials;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const bool secret_value = OnlyAsValue(text);
  const auto check = [&](const std::string& shown) {
    if (secret_value && shown.find(kCanary) != std::string::npos) std::abort();
  };
  for (const auto profile : {Profile::kDocumented, Profile::kKubelet}) {
    for (const bool json : {true, false}) {
      std::vector<PullSecret> secrets(1);
      secrets[0].coordinates = {{"uid", "shop", "regcred"}};
      secrets[0].type = json ? kDockerConfigJsonType : kDockerCfgType;
      (json ? secrets[0].docker_config_json : secrets[0].docker_cfg) = berth::secret::Secret(text);
      const auto ring = ReadPullSecrets(profile, secrets);
      if (!ring) check(ring.error().Text() + ring.error().next_step());
      else if (ring->has_value()) {
        for (const auto* repository : {"reg.test/team/app", "docker.io/library/x", "[::1]:5000/a"}) {
          std::vector<MatchReport> reports;
          (*ring)->Explain(repository, reports);
          std::size_t matched = 0;
          for (const auto& r : reports) {
            matched += r.verdict == MatchReport::Verdict::kMatched ? 1 : 0;
            check(r.source + r.pattern + r.hash + r.reason);
          }
          const auto found = (*ring)->Find(repository);
          if (matched != found.size()) std::abort();
          for (const auto& credential : found)
            if (!credential.secret || CredentialHash(credential).size() != 64) std::abort();
        }
      }
      // A credsStore's and a helper's name are no secrets.
      if (text.find("cred") == text.npos && text.find("Cred") == text.npos && text.find("CRED") == text.npos)
        check(LintJson("f", LintDockerConfig(text, json ? FileFormat::kConfigJson : FileFormat::kDockerCfg, profile)));
    }
  }
  (void)CheckDockerSecret(text);
  return 0;
}
