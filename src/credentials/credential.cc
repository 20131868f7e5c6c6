#include "credentials/credential.h"

#include "bytes/bytes.h"
#include "credentials/go_text.h"
#include "digest/digest.h"

namespace berth::credentials {

std::string CredentialHash(const Credential& credential) {
  std::string entry = "{";
  const auto member = [&](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    entry.append(entry.size() > 1 ? ",\"" : "\"").append(name).append("\":");
    AppendGoJson(entry, value);
  };
  member("username", credential.username);
  member("password", credential.password.Reveal());
  member("email", credential.email);
  member("identitytoken", credential.identity_token.Reveal());
  member("registrytoken", credential.registry_token.Reveal());
  entry += '}';
  std::string hash = digest::Digest::Of(bytes::AsView(entry)).Hex();
  secret::Secret::Wipe(entry);
  return hash;
}

std::string ShortHash(const Credential& credential) { return "#" + CredentialHash(credential).substr(0, 8); }

}  // namespace berth::credentials
