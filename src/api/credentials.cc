#include "api/credentials.h"

#include <algorithm>
#include <array>
#include <optional>

#include "bytes/text.h"

namespace berth::api {
namespace {

constexpr std::size_t kCredentialBytes = 64u << 10;
constexpr int kCredentials = 64;

Error Usage(std::string text) { return Error(Reason::kUsage, std::move(text)); }

}  // namespace

Result<std::vector<credentials::Credential>> TakeCredentials(google::protobuf::RepeatedPtrField<v1::Credential>& message) {
  std::vector<credentials::Credential> taken;
  std::optional<Error> wrong;
  for (auto& from : message) {
    credentials::Credential c;
    c.username = from.username();
    c.password = secret::Secret::Take(*from.mutable_password());
    c.identity_token = secret::Secret::Take(*from.mutable_identity_token());
    c.registry_token = secret::Secret::Take(*from.mutable_registry_token());
    c.source = from.source().empty() ? "request" : from.source();
    c.pattern = from.pattern();
    const std::size_t size = c.username.size() + c.password.size() + c.identity_token.size() + c.registry_token.size() +
                             c.source.size() + c.pattern.size();
    // A password may be a whole document with its lines (Google's _json_key): it is sent in base64.
    const auto lines =
        std::to_array<std::string_view>({c.username, c.identity_token.Reveal(), c.registry_token.Reveal(), c.source, c.pattern});
    if (size > kCredentialBytes) wrong = Usage("a credential is longer than " + std::to_string(kCredentialBytes) + " bytes");
    else if (std::ranges::any_of(lines, bytes::HasControls))
      wrong = Usage("the user name, a token, the source or the pattern of a credential holds control characters");
    else if (c.empty()) wrong = Usage("a credential has neither password nor token");
    taken.push_back(std::move(c));
  }
  if (taken.size() > kCredentials) wrong = Usage("more than " + std::to_string(kCredentials) + " credentials");
  if (wrong) return std::move(*wrong).Next("correct where the credential comes from");
  return taken;
}

}  // namespace berth::api
