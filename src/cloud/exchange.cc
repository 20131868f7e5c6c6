#include "cloud/exchange.h"

#include <memory>

#include "cloud/tokens.h"
#include "host/dir.h"
#include "http/retry.h"
#include "log/log.h"

namespace berth::cloud {
namespace {

constexpr int kTries = 3;
constexpr std::size_t kMaxAnswerBytes = 1u << 20;
constexpr time::Duration kLongestWait = std::chrono::seconds(10);

// The metadata services are a hop away: what does not answer soon is not there.
http::Limits LimitsFor(const Call& call) {
  using std::chrono::seconds;
  if (call.metadata) return {.connect = seconds(2), .tls = seconds(2), .headers = seconds(5), .stall_window = seconds(5)};
  return {.connect = seconds(5), .tls = seconds(5), .headers = seconds(15), .stall_window = seconds(10)};
}

Error BadStatus(const Call& call, int status, std::string_view word = "") {
  const Reason reason = status == 401   ? Reason::kUnauthorized
                        : status == 403 ? Reason::kDenied
                        : status == 404 ? Reason::kNotFound
                        : status == 429 ? Reason::kRateLimited
                        : status == 400 ? Reason::kInvalidCredentials
                        : status >= 500 ? Reason::kServerError
                                        : Reason::kUnexpectedStatus;
  return Error(reason, call.peer + " answers with status " + std::to_string(status) + (word.empty() ? "" : " and the code " + std::string(word)));
}

Result<Answer> Once(const task::Context& ctx, const World& world, const Call& call) {
  http::Request request;
  request.method = call.method;
  request.url = call.url;
  request.headers = call.headers;
  if (call.authorization) request.authorization = call.authorization->Clone();
  request.body = call.body.Clone();
  request.limits = LimitsFor(call);
  request.allow_plain_http = true;  // Exchange() has judged it
  request.tls = world.tls;
  request.overrides = world.overrides;
  if (call.metadata) request.proxies = std::make_shared<http::ProxyRules>();
  ASSIGN_OR_RETURN(const auto response, world.client->Send(ctx, request));
  ASSIGN_OR_RETURN(std::string body, http::ReadAll(*response, kMaxAnswerBytes, "the answer of " + call.peer));
  return Answer{response->status(), response->headers(), secret::Secret::Take(body)};
}

}  // namespace

Result<Answer> Exchange(const task::Context& ctx, const World& world, const Call& call) {
  if (!call.url.https() && !call.metadata && !http::IsLoopback(call.url.host))
    return Error(Reason::kPlainHttp, call.peer + " would be asked over plain HTTP at " + call.url.Redacted()).Next("use an https:// URL");
  for (int tries = 1;; ++tries) {
    auto answer = Once(ctx, world, call);
    time::Duration wait = http::RetryDelay(tries - 1, std::chrono::milliseconds(500), kLongestWait, world.random());
    if (answer) {
      const int status = answer->status;
      bool again = status == 429 || status >= 500 || (status == 400 && !KnownWord(answer->body.Reveal(), call.retry_codes).empty());
      for (const int other : call.also_retry) again = again || status == other;
      if (!again) return answer;
      if (const std::string* after = answer->headers.Find("Retry-After"))
        wait = std::max(wait, http::ParseRetryAfter(*after, ctx.clock().WallNow(), kLongestWait).value_or(time::Duration::zero()));
      answer = BadStatus(call, status, KnownWord(answer->body.Reveal(), call.retry_codes)).Retryable(true);
    } else {
      answer = std::move(answer).error().Context(call.peer);
    }
    if (tries == kTries || answer.error().cancelled() || !answer.error().transient()) return answer;
    if (ctx.deadline() && ctx.clock().SteadyNow() + wait >= *ctx.deadline()) return answer;
    log::Debug("asking again", {{"peer", call.peer}, {"tries", tries}, {"error", answer.error()}});
    RETURN_IF_ERROR(ctx.Sleep(wait));
  }
}

std::string_view KnownWord(std::string_view body, std::span<const std::string_view> words) {
  for (const std::string_view word : words)
    if (body.find(word) != std::string_view::npos) return word;
  return {};
}

Result<secret::Secret> Ask(const task::Context& ctx, const World& world, const Call& call, std::span<const std::string_view> words) {
  ASSIGN_OR_RETURN(Answer answer, Exchange(ctx, world, call));
  if (answer.status != 200) return BadStatus(call, answer.status, KnownWord(answer.body.Reveal(), words));
  return std::move(answer.body);
}

Result<http::Url> ConfiguredUrl(std::string_view text, std::string_view what) {
  auto url = http::Url::Parse(text);
  if (!url) return Error(Reason::kConfig, std::string(what) + " is not an http or https URL");
  return url;
}

Result<secret::Secret> ReadTokenFile(std::string_view path, std::string_view what) {
  auto text = host::ReadSmallFile(path, 64u << 10);
  if (!text) return Error(Reason::kConfig, text.error().message()).Context(std::string(what) + " " + Quoted(path));
  secret::Secret token(Trimmed(*text));
  secret::Secret::Wipe(*text);
  if (token.empty() || !IsVisible(token.Reveal()))
    return Error(Reason::kConfig, std::string(what) + " " + Quoted(path) + " does not hold one token");
  return token;
}

}  // namespace berth::cloud
