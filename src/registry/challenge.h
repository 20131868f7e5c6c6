// registry/challenge.h: what a registry wants from us (WWW-Authenticate), and where we may go to fetch it.
//
// Pure functions over text from outside: linear time, bounded by the header limit of `http`. Nothing of the text
// reaches an error except through Quoted() and never a parameter that could be a secret.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "http/url.h"
#include "result/result.h"

namespace berth::registry {

enum class Scheme : std::uint8_t { kBasic, kBearer };

struct Challenge {
  Scheme scheme = Scheme::kBasic;
  std::string realm;                // of Bearer: the token endpoint as written; CheckRealm decides on it
  std::string service;
  std::vector<std::string> scopes;  // sorted, unique; repository scopes reduced to "pull": we never ask for more

  friend bool operator==(const Challenge&, const Challenge&) = default;
};

// The challenge to answer among all WWW-Authenticate lines: Bearer before Basic, everything else (Digest, Negotiate,
// NTLM) is never answered. A line may hold several challenges (RFC 9110 11.6.1); a comma inside quotes belongs to the
// value. A malformed line (unclosed quote, control or non-ASCII bytes, a parameter twice) is dropped as a whole, a Bearer
// challenge with a realm of more than 8 KiB or a service of more than 1 KiB by itself.
// kUnauthorized when nothing answerable is left, kUntrustedRealm when two Bearer challenges name different realms.
Result<Challenge> ChooseChallenge(std::span<const std::string> lines);

// The scopes to ask for: those of the challenge when it names a repository, else "repository:<path>:pull" besides them.
std::vector<std::string> ScopesFor(const Challenge& challenge, std::string_view repository_path);

struct Realm {
  http::Url url;
  // The same host, or listed: it may be at any address. Otherwise only the shared domain speaks for it, and a name in
  // there that leads to this machine or to a metadata service is a trap (C-51).
  bool any_address = false;
};

// May the credentials for `registry` be shown to the token endpoint `realm`? reliability-security 5.6:
//   same host and port; or both under one registrable domain (public suffix list of libpsl), never for IP literals and
//   single-label names; or listed: "auth.example" (for every registry) or "registry.example=auth.example" (for one),
//   each with a port where it is not the scheme's. Pairs known from public registries are built in.
// The realm must be absolute, without user info and fragment, and https when the registry is https.
// kUntrustedRealm; Next() is the exact line to add to `trustedRealms`. Checked again for every token request: a token
// request follows no redirect. Anonymous requests obey the same rule: the registry must not steer us around the network.
Result<Realm> CheckRealm(const http::Origin& registry, std::string_view realm, std::span<const std::string> trusted);

}  // namespace berth::registry
