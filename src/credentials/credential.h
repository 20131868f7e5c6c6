// credentials/credential.h: one way to prove oneself to a registry, and where it came from.
//
// A Credential is bound by its finder to the repositories it may be shown to; the registry client tries a list of
// them in order. Exactly one of these is set: user name with password, an identity (refresh) token, a ready registry
// token. None of the secrets can be printed; describe() names the source, the pattern and the user, never more.
// Move-only, because its secrets are.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "secret/secret.h"

namespace berth::credentials {

// Which object gave the credential: what the node's access records remember (kubelet-images 4.8.5).
struct Coordinates {
  std::string uid, namespace_name, name;
  friend bool operator==(const Coordinates&, const Coordinates&) = default;
};
struct SecretCoordinates : Coordinates {};
struct ServiceAccountCoordinates : Coordinates {};

struct Credential {
  std::string username;
  secret::Secret password;
  secret::Secret identity_token;  // sent to the token endpoint as a refresh token
  secret::Secret registry_token;  // sent as "Bearer" as it is

  // Where it came from, for explain: "command line", "config.json /var/lib/kubelet/config.json", "secret shop/regcred".
  std::string source;
  std::string pattern;  // the key that matched, without user info; "" when given directly
  std::string email;    // told to no registry; part of CredentialHash()
  // At most one is set; neither: a credential of the node, which all its Pods may use.
  std::optional<SecretCoordinates> secret;
  std::optional<ServiceAccountCoordinates> service_account;  // of a plug-in that was given its token

  bool empty() const { return password.empty() && identity_token.empty() && registry_token.empty(); }
  Credential Clone() const {
    return {username, password.Clone(), identity_token.Clone(), registry_token.Clone(), source, pattern, email, secret, service_account};
  }
  // "secret shop/regcred (alice)", "anonymous" when empty.
  std::string Describe() const {
    if (empty()) return "anonymous";
    return username.empty() ? source : source + " (" + username + ")";
  }
};

// By which access records know a pull secret's contents again: lower-case hex of SHA-256 over the entry as the kubelet
// writes it to JSON (user name, password, email, identity and registry token; empty ones left out). Unsalted, as the kubelet's
// (its records must stay readable): keep it where only root reads. kubelet-images 4.8.3.
std::string CredentialHash(const Credential& credential);
// The first 8 digits with '#', to tell two credentials of one user apart on a screen: "#9f3c1a70".
std::string ShortHash(const Credential& credential);

}  // namespace berth::credentials
