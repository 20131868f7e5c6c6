// cloud/exchange.h: one question to one cloud endpoint, asked again while that may help.
//
// Rules, for every call:
// - HTTPS, or plain HTTP to loopback, or (Call::metadata) to a metadata address. Anything else is kPlainHttp before a byte is sent.
// - Metadata calls never go through a proxy, whatever the environment says; others follow HTTPS_PROXY and NO_PROXY.
// - No redirect is followed: the endpoints have none, and a credential must not travel.
// - Connection faults, 429 and 5xx are tried again, 3 times in all (Retry-After is obeyed up to 10 s), within the Context's deadline.
// - Answers are at most 1 MiB. No byte of one becomes part of an error; KnownWord() translates error codes of the clouds.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "http/client.h"
#include "result/result.h"
#include "secret/secret.h"
#include "task/context.h"

namespace berth::cloud {

// What a provider sees of the machine. Everything is borrowed.
struct World {
  http::Client* client = nullptr;
  std::function<std::optional<std::string>(std::string_view)> env;
  std::function<double()> random;                // uniform in [0, 1): jitter
  http::TlsOptions tls;                          // further CAs
  std::vector<http::ResolveOverride> overrides;  // tests: the clouds' names lead to loopback

  std::string Env(std::string_view name) const { return env(name).value_or(""); }  // "" = unset or empty
};

struct Call {
  std::string peer;  // for errors: "the instance metadata service"
  http::Method method = http::Method::kGet;
  http::Url url;
  http::Headers headers;
  std::optional<secret::Secret> authorization;
  secret::Secret body;
  bool metadata = false;
  std::vector<int> also_retry;  // further statuses that mean "not yet"
  std::span<const std::string_view> retry_codes;  // error codes that mean it in the body of a 400
};

struct Answer {
  int status = 0;
  http::Headers headers;
  secret::Secret body;
};

// Any final answer. Errors: those of http::Client::Send, kServerError (5xx) and kRateLimited (429) when the last try brought one.
Result<Answer> Exchange(const task::Context& ctx, const World& world, const Call& call);

// As above, but 200 is the only good answer. `words` are error codes that the peer is known to use; the first that its body
// holds is part of the error. kUnauthorized, kDenied, kNotFound, kInvalidCredentials (400), kUnexpectedStatus.
Result<secret::Secret> Ask(const task::Context& ctx, const World& world, const Call& call, std::span<const std::string_view> words = {});

// The first of `words` that `body` holds, or "".
std::string_view KnownWord(std::string_view body, std::span<const std::string_view> words);

// A URL from configuration: `what` ("AWS_ENDPOINT_URL_STS") names it in the error.
Result<http::Url> ConfiguredUrl(std::string_view text, std::string_view what);

// A file that holds a token: trimmed, not empty, at most 64 KiB.
Result<secret::Secret> ReadTokenFile(std::string_view path, std::string_view what);

}  // namespace berth::cloud
