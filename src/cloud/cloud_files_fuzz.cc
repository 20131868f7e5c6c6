// Files and answers of the clouds are read or refused; what was read cannot break a header, and no error quotes a secret.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cloud/acr.h"
#include "cloud/aws.h"
#include "cloud/ecr.h"
#include "cloud/gcr.h"
#include "cloud/tokens.h"

namespace {

using namespace berth;

void Demand(bool holds) {
  if (!holds) std::abort();
}

template <class T>
bool Quotes(const Result<T>& got) {
  return !got && (got.error().Text() + got.error().next_step()).find("hunter2canary") != std::string::npos;
}

void CheckKeys(const Result<cloud::AwsKeys>& keys) {
  if (!keys) return Demand(keys.error().reason() == Reason::kTokenError || keys.error().reason() == Reason::kLimitExceeded);
  Demand(!keys->id.empty() && keys->id.find_first_of("/, =\r\n") == std::string::npos);
  Demand(!keys->secret.empty() && cloud::IsVisible(keys->secret.Reveal()) && cloud::IsVisible(keys->session.Reveal()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0] % 8) {
    case 0:
    case 1: {
      const auto profile = cloud::ParseAwsProfile(text, static_cast<cloud::AwsFile>(data[0] % 8), "default");
      Demand(!Quotes(profile) && (profile || profile.error().Text().starts_with("line ")));
      if (profile && *profile)
        for (const auto& [key, value] : **profile) {
          Demand(key.find_first_of("ABC=\n") == std::string::npos);
          Demand(value.find('\n') == std::string::npos);
        }
      break;
    }
    case 2:
      if (const auto key = cloud::GoogleKey::Parse(text)) {
        Demand(key->token_uri.scheme == "https" || key->token_uri.scheme == "http");
        if (const auto signed_text = cloud::GoogleAssertion(*key, "scope", {})) Demand(cloud::IsVisible(signed_text->Reveal()));
      }
      break;
    case 3:
      if (const auto config = cloud::AzureConfig::Parse(text)) Demand(!config->federated || !config->token_file.empty());
      break;
    case 4: {
      const auto keys = cloud::ParseStsResponse(text);
      Demand(!Quotes(keys));
      CheckKeys(keys);
      break;
    }
    case 5:
      CheckKeys(cloud::ParseAwsKeys(text));
      break;
    case 6:
      if (const auto login = cloud::ParseEcrToken(text))
        Demand(!login->user.empty() && !login->password.empty() && cloud::IsVisible(login->password.Reveal()));
      break;
    case 7: {
      (void)cloud::JwtExpiry(text);
      (void)cloud::ParseTimestamp(text);
      const std::string code = cloud::EntraCode(text);
      Demand(code.empty() || (code.size() > 6 && code.size() <= 16));
      if (const auto registry = cloud::EcrRegistry::FromHost(text)) Demand(registry->api_host.find_first_of("/@:?#%") == std::string::npos);
      break;
    }
  }
  return 0;
}
