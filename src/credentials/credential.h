// credentials/credential.h: one way to prove oneself to a registry, and where it came from.
//
// A Credential is bound by its finder to the repositories it may be shown to; the registry client tries a list of
// them in order. Exactly one of these is set: user name with password, an identity (refresh) token, a ready registry
// token. None of the secrets can be printed; describe() names the source, the pattern and the user, never more.
// Move-only, because its secrets are.
#pragma once

#include <string>
#include <vector>

#include "secret/secret.h"

namespace berth::credentials {

struct Credential {
  std::string username;
  secret::Secret password;
  secret::Secret identity_token;  // sent to the token endpoint as a refresh token
  secret::Secret registry_token;  // sent as "Bearer" as it is

  // Where it came from, for explain: "command line", "config.json /var/lib/kubelet/config.json", "secret shop/regcred".
  std::string source;
  std::string pattern;  // the key that matched, without user info; "" when given directly

  bool empty() const { return password.empty() && identity_token.empty() && registry_token.empty(); }
  Credential Clone() const {
    return {username, password.Clone(), identity_token.Clone(), registry_token.Clone(), source, pattern};
  }
  // "secret shop/regcred (alice)", "anonymous" when empty.
  std::string Describe() const {
    if (empty()) return "anonymous";
    return username.empty() ? source : source + " (" + username + ")";
  }
};

}  // namespace berth::credentials
