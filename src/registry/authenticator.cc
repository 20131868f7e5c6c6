#include "registry/authenticator.h"

#include <algorithm>

#include "bytes/encoding.h"
#include "host/fault.h"
#include "http/retry.h"
#include "json/document.h"
#include "registry/session.h"

namespace berth::registry {
namespace {

std::string GiveCredentials(const Host& host, const reference::Reference& image) {
  if (host.endpoint.mirror) return "give the mirror's host an entry in the node's config.json, or let the mirror serve anonymous users";
  return "give credentials for " + std::string(image.domain()) + ": berth pull --creds USER or --authfile FILE; in a Pod, an imagePullSecret";
}

bool FitsHeader(std::string_view token) {
  return std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

secret::Secret BearerHeader(std::string_view token) {
  std::string text = "Bearer ";
  text += token;
  return secret::Secret::Take(text);
}

secret::Secret BasicHeader(const credentials::Credential& credential) {
  std::string pair = credential.username + ":";
  pair += credential.password.Reveal();
  std::string encoded = bytes::ToBase64(bytes::AsView(pair));
  std::string text = "Basic " + encoded;
  secret::Secret::Wipe(pair);
  secret::Secret::Wipe(encoded);
  return secret::Secret::Take(text);
}

// The refresh token of a credential: set as such, or a password without a user name or with Docker's "<token>".
std::string_view RefreshToken(const credentials::Credential& credential) {
  if (!credential.identity_token.empty()) return credential.identity_token.Reveal();
  if (credential.username.empty() || credential.username == "<token>") return credential.password.Reveal();
  return {};
}

bool HasPassword(const credentials::Credential& credential) {
  return !credential.username.empty() && credential.username != "<token>" && !credential.password.empty();
}

std::string Describe(const credentials::Credential* credential) { return credential ? credential->Describe() : "anonymous"; }

// "AWS" is the user name of all logins to ECR, and its answer to HEAD does not say that one is over.
std::string AfterDenied(const credentials::Credential* credential, bool expired) {
  if (credential && (expired || credential->username == "AWS"))
    return "get a new login for " + Describe(credential) + ", which lives for some hours; if it is new, ask the owner of the repository to let it pull";
  return "ask the owner of the repository to let " + Describe(credential) + " pull it";
}

// Does meeting one mean sending the same as for the other?
bool Alike(const Challenge& a, const Challenge& b, std::string_view repository) {
  if (a.scheme == Scheme::kBasic || b.scheme == Scheme::kBasic) return a.scheme == b.scheme;
  return a.realm == b.realm && a.service == b.service && ScopesFor(a, repository) == ScopesFor(b, repository);
}

std::string Times(std::size_t n) { return n == 1 ? "the credential" : "all " + std::to_string(n) + " credentials"; }

// One request to a token service.
class TokenRequest {
 public:
  TokenRequest(Session& session, const Host& host, const Challenge& challenge, const Realm& realm,
               const std::vector<std::string>& scopes, const credentials::Credential* credential, const std::string& address)
      : session_(session), host_(host), challenge_(challenge), realm_(realm), scopes_(scopes), credential_(credential),
        address_(address), place_(realm.url.origin().ToString()) {}

  Result<Token> Run(const task::Context& ctx) const {
    const bool refresh = credential_ && !RefreshToken(*credential_).empty();
    auto answer = Send(ctx, refresh ? http::Method::kPost : http::Method::kGet);
    if (!answer) return Error(std::move(answer).error());
    // Docker's and distribution's clients ask by GET first; services that only know OAuth2 say so with these.
    if (!refresh && credential_ && (answer->status == 404 || answer->status == 405)) {
      answer = Send(ctx, http::Method::kPost);
      if (!answer) return Error(std::move(answer).error());
    }
    if (!Good(answer->status)) return StatusError(*answer);
    return Parse(answer->body);
  }

 private:
  struct Answer {
    int status;
    std::string body;
    std::optional<time::Duration> retry_after;
  };

  static bool Good(int status) { return status == 200 || status == 203; }

  Result<Answer> Send(const task::Context& ctx, http::Method method) const {
    http::Request request;
    request.method = method;
    request.url = realm_.url;
    const HostEndpoint& endpoint = host_.endpoint;
    if (request.url.origin() == host_.Base().origin())
      for (const http::Header& header : endpoint.headers)
        if (!http::EqualNoCase(header.name, "Authorization")) request.headers.Add(header.name, header.value);
    if (request.url.host == endpoint.base.host) request.tls = endpoint.tls;
    else request.tls.ca_paths = endpoint.tls.ca_paths;
    request.limits = session_.engine.options.http;
    request.overrides = session_.engine.options.overrides;
    request.allow_plain_http = !request.url.https();  // CheckRealm has seen that the registry is plain too
    if (!realm_.any_address) {
      request.addresses = http::AddressPolicy::NoLocal();
      if (!address_.empty()) request.addresses.Except(address_);
    }
    std::string fields = "service=" + http::PercentEncode(challenge_.service);
    if (method == http::Method::kGet) {
      for (const std::string& scope : scopes_) fields += "&scope=" + http::PercentEncode(scope);
      fields += "&client_id=berth";
      if (credential_) {
        fields += "&account=" + http::PercentEncode(credential_->username);
        request.authorization = BasicHeader(*credential_);
      }
      std::string& query = request.url.query.emplace(request.url.query.value_or(""));
      query += (query.empty() ? "" : "&") + fields;
    } else {
      request.headers.Set("Content-Type", "application/x-www-form-urlencoded");
      request.body = Form(std::move(fields));
    }
    Record record = session_.Begin(ctx, host_, place_, method, "token", Describe(credential_));
    auto sent = session_.engine.http.Send(ctx, request);
    Result<Answer> answer = sent ? Read(ctx, **sent, record) : Result<Answer>(std::move(sent).error());
    if (answer) return answer;
    Error error = std::move(answer).error();
    if (error.reason() == Reason::kPolicy)
      error = Error(Reason::kUntrustedRealm,
                    "the token service " + place_ + " leads to an address of this machine or its metadata service")
                  .Next("if that is right, add \"" + host_.endpoint.base.Authority() + "=" + realm_.url.Authority() +
                        "\" to trustedRealms");
    record.attempt().reason = error.reason();
    return std::move(error).Context("token for " + session_.name);
  }

  Result<Answer> Read(const task::Context& ctx, http::Response& response, Record& record) const {
    const auto& options = session_.engine.options;
    Answer answer{response.status(), "", std::nullopt};
    record.attempt().status = answer.status;
    if (answer.status >= 300 && answer.status < 400)
      return Error(Reason::kUntrustedRealm, "the token service " + place_ + " redirects, which is not followed with credentials");
    if (!Good(answer.status)) {
      record.attempt().reason = StatusError(answer).reason();
      if (const auto body = http::ReadAll(response, options.error_body_bytes, "error answer"))
        record.attempt().registry_code = ErrorCodeOf(*body);
      if (const std::string* value = response.headers().Find("Retry-After"))
        answer.retry_after = http::ParseRetryAfter(*value, ctx.clock().WallNow(), options.retry.retry_after_cap);
      return answer;
    }
    auto body = http::ReadAll(response, options.token_body_bytes, "token answer");
    if (!body && body.error().reason() == Reason::kLimitExceeded)
      return Error(Reason::kTokenError, "the token service " + place_ + " answered more than " +
                                            std::to_string(options.token_body_bytes) + " bytes (token_body_bytes)");
    if (!body) return Error(std::move(body).error());
    record.attempt().bytes = body->size();
    answer.body = *std::move(body);
    return answer;
  }

  secret::Secret Form(std::string fields) const {
    fields += "&client_id=berth&scope=";
    for (std::size_t i = 0; i < scopes_.size(); ++i) fields += (i ? "%20" : "") + http::PercentEncode(scopes_[i]);
    const auto add = [&](std::string_view prefix, std::string_view value) {
      std::string encoded = http::PercentEncode(value);
      std::string grown;
      grown.reserve(fields.size() + prefix.size() + encoded.size());
      grown.append(fields).append(prefix).append(encoded);
      secret::Secret::Wipe(encoded);
      secret::Secret::Wipe(fields);
      fields = std::move(grown);
    };
    if (const std::string_view refresh = RefreshToken(*credential_); !refresh.empty()) {
      add("&grant_type=refresh_token&refresh_token=", refresh);
    } else {
      add("&grant_type=password&username=", credential_->username);
      add("&password=", credential_->password.Reveal());
    }
    return secret::Secret::Take(fields);
  }

  Error StatusError(const Answer& answer) const {
    const std::string status = " (" + std::to_string(answer.status) + ")";
    const auto after = [&](Error error) {
      if (answer.retry_after) (void)std::move(error).RetryAfter(std::chrono::ceil<std::chrono::milliseconds>(*answer.retry_after));
      return error;
    };
    if (answer.status == 429)
      return after(Error(Reason::kRateLimited, "the token service " + place_ + " limits the rate of requests (429)"));
    if (answer.status >= 500 || answer.status == 408)
      return after(Error(Reason::kTokenError, "the token service " + place_ + " failed" + status).Retryable(true));
    if (answer.status == 401 || answer.status == 403)
      return Error(Reason::kTokenError, credential_ ? "the token service " + place_ + " refuses " + Describe(credential_) + status
                                                    : "the token service " + place_ + " gives no token without credentials" + status)
          .Next(credential_ ? "check user and password of " + Describe(credential_)
                            : GiveCredentials(host_, session_.reference));
    return Error(Reason::kTokenError, "the token service " + place_ + " gives no token" + status);
  }

  Result<Token> Parse(std::string& body) const {
    const auto bad = [&](std::string_view what) {
      return Error(Reason::kTokenError, "the token service " + place_ + " answered " + std::string(what));
    };
    auto document = json::Document::Parse(body, Reason::kTokenError, {.bytes = session_.engine.options.token_body_bytes});
    secret::Secret::Wipe(body);
    if (!document || !document->root().IsObject()) return bad("no JSON object");
    Token token;
    for (const char* field : {"access_token", "token"}) {
      const auto value = document->root().Find(field);
      const auto text = value ? value->AsString() : Result<std::string_view>(bad("no token"));
      if (!text || text->empty()) continue;
      if (text->size() > session_.engine.options.token_bytes) return bad("a token of more than " + std::to_string(session_.engine.options.token_bytes) + " bytes (token_bytes)");
      if (!FitsHeader(*text)) return bad("a token that does not fit into a header");
      token.value = secret::Secret(*text);
      break;
    }
    if (token.value.empty()) return bad("no token");
    double seconds = 60;
    if (const auto expires = document->root().Find("expires_in"); expires && expires->AsDouble()) seconds = *expires->AsDouble();
    // Clamped here only so that it fits; the cache knows what is sensible.
    token.lifetime = std::chrono::seconds(static_cast<std::int64_t>(std::clamp(seconds, 0.0, 1e6)));
    return token;
  }

  Session& session_;
  const Host& host_;
  const Challenge& challenge_;
  const Realm& realm_;
  const std::vector<std::string>& scopes_;
  const credentials::Credential* credential_;
  const std::string& address_;
  const std::string place_;
};

}  // namespace

Authenticator::Authenticator(Session& session, Host& host, std::function<std::vector<credentials::Credential>()> for_mirror)
    : session_(session), host_(host), for_mirror_(std::move(for_mirror)) {}

const Authenticator::Candidates& Authenticator::All() {
  if (!candidates_.empty()) return candidates_;
  if (for_mirror_) own_ = for_mirror_();
  for (const credentials::Credential& credential : host_.endpoint.mirror ? own_ : session_.credentials)
    if (!credential.empty()) candidates_.push_back(&credential);
  if (candidates_.empty()) candidates_.push_back(nullptr);
  return candidates_;
}

bool Authenticator::Advance() {
  if (current_ + 1 >= All().size()) return false;
  ++current_;
  ++turn_;
  refused_ = 0;
  accepted_ = false;
  stale_ = nullptr;
  return true;
}

void Authenticator::AskAnew() {
  session_.engine.tokens.Forget(host_.id, session_.reference.path());
  challenge_.reset();
  remembered_ = hearsay_ = false;
  ++turn_;
}

Error Authenticator::Exhausted(int status, bool expired) {
  session_.engine.tokens.Forget(host_.id, session_.reference.path());
  const std::string place = host_.Name(), answer = " (" + std::to_string(status) + ")";
  const Candidates& all = All();
  if (all[0] == nullptr) {
    exhausted_ = Error(status == 403 ? Reason::kDenied : Reason::kUnauthorized,
                       place + " refuses anonymous access to " + Quoted(session_.reference.path()) + answer)
                     .Next(GiveCredentials(host_, session_.reference));
  } else {
    const std::string last = Describe(all.back());
    exhausted_ = Error(status == 403 ? Reason::kDenied : Reason::kUnauthorized,
                       place + " refuses " + Times(all.size()) + " for " + Quoted(session_.reference.path()) + answer + ": " +
                           (all.size() == 1 ? last : "the last was " + last))
                     .Next(status == 403 ? AfterDenied(all.back(), expired)
                                         : "check user and password of " + last);
  }
  return *exhausted_;
}

Result<Authenticator::Authorization> Authenticator::Prepare(const task::Context& ctx) {
  for (;;) {
    Authorization made;
    Challenge challenge;
    SharedToken stale;
    std::string address;
    {
      std::lock_guard lock(mutex_);
      if (!std::exchange(recalled_, true))
        if (auto met = session_.engine.tokens.Recall(host_.id, session_.reference.path())) {
          challenge_ = std::move(met->challenge);
          address_ = std::move(met->address);
          remembered_ = hearsay_ = true;
        }
      if (exhausted_) return *exhausted_;
      made.turn = turn_;
      if (!challenge_) return made;
      made.credential = All()[current_];
      made.description = Describe(made.credential);
      if (challenge_->scheme == Scheme::kBasic) {
        if (!made.credential) return made;
        if (HasPassword(*made.credential)) {
          made.header = BasicHeader(*made.credential);
          return made;
        }
        if (hearsay_) AskAnew();
        else if (!Advance()) return Exhausted(401);
        continue;
      }
      if (made.credential && !made.credential->registry_token.empty()) {
        if (FitsHeader(made.credential->registry_token.Reveal())) {
          made.header = BearerHeader(made.credential->registry_token.Reveal());
          return made;
        }
        if (hearsay_) AskAnew();
        else if (!Advance()) {
          exhausted_ = Error(Reason::kInvalidCredentials, "the registry token of " + made.description + " does not fit into a header");
          return *exhausted_;
        }
        continue;
      }
      challenge = *challenge_;
      stale = stale_;
      address = address_;
    }
    bool fetched = false;
    auto token = FetchToken(ctx, challenge, made.credential, stale, address, fetched);
    if (token) {
      if (fetched) {
        std::lock_guard lock(mutex_);
        fetched_ = *token;
      }
      made.header = BearerHeader((*token)->Reveal());
      made.token = *std::move(token);
      return made;
    }
    Error error = std::move(token).error();
    std::lock_guard lock(mutex_);
    const bool judged = error.reason() == Reason::kTokenError && !error.transient();  // the credential, by the token service
    if (judged && turn_ != made.turn) continue;
    if ((hearsay_ || (remembered_ && !judged)) && turn_ == made.turn && error.reason() != Reason::kRateLimited && ctx.Check()) {
      // The challenge may be out of date, or of another repository: the host is asked what it wants here. By the next attempt
      // where that is worth waiting for.
      const bool at_once = hearsay_ && !error.transient();
      if (judged) verdict_ = Verdict{*challenge_, 401, error};
      AskAnew();
      if (at_once) continue;
    }
    if (!judged) return error;
    if (Advance()) continue;
    session_.engine.tokens.Forget(host_.id, session_.reference.path());
    exhausted_ = error;
    return error;
  }
}

Result<SharedToken> Authenticator::FetchToken(const task::Context& ctx, const Challenge& challenge,
                                              const credentials::Credential* credential, const SharedToken& stale,
                                              const std::string& address, bool& fetched) const {
  Engine& engine = session_.engine;
  ASSIGN_OR_RETURN(const Realm realm, CheckRealm(host_.Base().origin(), challenge.realm, engine.options.trusted_realms));
  const std::vector<std::string> scopes = ScopesFor(challenge, session_.reference.path());
  const TokenKey key{host_.id, challenge.realm, challenge.service, scopes,
                     credential ? engine.tokens.Identity(*credential) : std::string()};
  return engine.tokens.Get(ctx, key, stale, [&]() -> Result<Token> {
    BERTH_FAULT_IN(ctx, kPullToken);
    fetched = true;
    return TokenRequest(session_, host_, challenge, realm, scopes, credential, address).Run(ctx);
  });
}

Result<std::string> Authenticator::Refused(const http::Response& response, const Authorization& used, bool expired) {
  std::lock_guard lock(mutex_);
  if (used.turn != turn_) return std::string("authenticate again");
  if (exhausted_) return *exhausted_;
  const int status = response.status();
  const auto next_credential = [&](int refusal) -> Result<std::string> {
    if (Advance()) return "next credential: " + Describe(All()[current_]);
    return Exhausted(refusal, expired);
  };
  const auto refused = [&]() -> Result<std::string> {
    if (!hearsay_) return next_credential(status);
    verdict_ = Verdict{*challenge_, status};
    AskAnew();
    return std::string("ask without credentials");
  };
  if (status == 403 && used.token && used.token != fetched_ && refused_ + 1 < session_.engine.options.tokens_per_credential) {
    ++refused_;
    ++turn_;
    stale_ = used.token;
    return std::string("new token");
  }
  if (status == 403 && used.header && !accepted_) {
    if (used.token) session_.engine.tokens.Drop(used.token);
    return refused();
  }
  const auto texts = response.headers().All("WWW-Authenticate");
  const std::vector<std::string> lines(texts.begin(), texts.end());
  auto challenge = ChooseChallenge(lines);
  if (!used.header && verdict_) {
    const Verdict verdict = *std::exchange(verdict_, std::nullopt);
    if (!challenge || Alike(verdict.challenge, *challenge, session_.reference.path())) {
      challenge_ = challenge ? *challenge : verdict.challenge;
      if (challenge) address_ = response.remote_address();
      if (!verdict.error || current_ + 1 < All().size()) return next_credential(verdict.status);
      exhausted_ = verdict.error;
      return *exhausted_;
    }
  }
  // Some answer 403 to whoever is not logged in, and say how to.
  const bool given = !used.header && status == 403 && All()[0] != nullptr;
  if (status == 403 && !(given && challenge))
    return Error(Reason::kDenied, host_.Name() + " denies access to " + Quoted(session_.reference.path()) + " (403)")
        .Next(given ? "check the name: the host did not ask for the credential that was given, " + Describe(All()[0])
                    : AfterDenied(used.credential, expired));
  if (!challenge) {
    if (used.header && hearsay_) return refused();
    exhausted_ = std::move(challenge).error().Context(host_.Name());
    return *exhausted_;
  }
  const bool same = challenge_ == *challenge;
  challenge_ = *std::move(challenge);
  address_ = response.remote_address();
  remembered_ = remembered_ && same;
  if (!used.header) {
    hearsay_ = false;
    if (same || (challenge_->scheme == Scheme::kBasic && All()[current_] == nullptr)) return Exhausted(401);
    ++turn_;
    return std::string("authenticate");
  }
  // What was sent was refused. A token may be too old, a changed challenge may want another one; a password is just wrong.
  ++refused_;
  stale_ = used.token;
  if ((used.token || !same) && refused_ < session_.engine.options.tokens_per_credential) {
    ++turn_;
    return std::string(used.token ? "new token" : "authenticate");
  }
  return refused();
}

void Authenticator::Accepted(const http::Response& response, const Authorization& used) {
  if (!used.header) return;
  {
    std::lock_guard lock(mutex_);
    if (used.turn != turn_) return;
    refused_ = 0;
    accepted_ = true;
    hearsay_ = false;
    if (challenge_ && !std::exchange(remembered_, true))
      session_.engine.tokens.Remember(host_.id, session_.reference.path(), {*challenge_, response.remote_address()});
  }
  if (used.credential) session_.Worked(*used.credential);
}

bool Authenticator::exhausted() {
  std::lock_guard lock(mutex_);
  return exhausted_.has_value();
}

}  // namespace berth::registry
