#include "registry/session.h"

#include <algorithm>
#include <array>
#include <utility>

#include "http/redirect.h"
#include "http/retry.h"
#include "json/document.h"
#include "registry/warning.h"

namespace berth::registry {
namespace {

constexpr std::array<std::string_view, 14> kCodes{
    "BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED",
    "UNSUPPORTED", "TOOMANYREQUESTS"};

// Did the host, as opposed to one answer of it, fail? Then it is not worth a time-out per layer.
bool Unreachable(Reason reason) {
  switch (reason) {
    case Reason::kDns: case Reason::kRefused: case Reason::kUnavailable: case Reason::kTimeout: case Reason::kTls:
    case Reason::kTlsCa: case Reason::kTlsName: case Reason::kTlsExpired: case Reason::kHttpOnHttps: return true;
    default: return false;
  }
}

// No answer, or none in HTTP.
bool NoHttp(Reason reason) {
  return reason == Reason::kConnectionReset || reason == Reason::kUnexpectedEof || reason == Reason::kProtocolError;
}

std::string OfFirstError(std::string_view body, std::string_view member) {
  const auto document = json::Document::Parse(body, Reason::kProtocolError, {.bytes = 64u << 10, .depth = 16, .values = 4096});
  if (!document) return "";
  const auto errors = document->root().Find("errors");
  if (!errors || errors->size() == 0 || !errors->IsArray()) return "";
  const auto text = errors->at(0).Find(member);
  return text && text->IsString() ? std::string(*text->AsString()) : "";
}

}  // namespace

std::string ErrorCodeOf(std::string_view body) {
  const std::string text = OfFirstError(body, "code");
  if (text.empty()) return "";
  for (const std::string_view known : kCodes)
    if (known == text) return std::string(known);
  return "other";
}

Record& Record::operator=(Record&& o) noexcept {
  if (this == &o) return *this;
  Finish("");
  sink_ = std::exchange(o.sink_, nullptr);
  clock_ = o.clock_;
  start_ = o.start_;
  attempt_ = std::move(o.attempt_);
  return *this;
}

void Record::Finish(std::string next) {
  const AttemptSink* sink = std::exchange(sink_, nullptr);
  if (!sink) return;
  attempt_.next = std::move(next);
  attempt_.took = std::chrono::duration_cast<std::chrono::milliseconds>(clock_->SteadyNow() - start_);
  (*sink)(attempt_);
}

Host::Host(Session& session, HostEndpoint the_endpoint)
    : endpoint(std::move(the_endpoint)),
      id(endpoint.base.Redacted() + (endpoint.ns.empty() ? "" : "?ns=" + endpoint.ns)),
      auth(session, *this, [&session, this] { return session.ForMirror(*this); }),
      engine_(session.engine) {}

http::Url Host::Base() const {
  http::Url base = endpoint.base;
  if (endpoint.plain_fallback && engine_.memory.Plain(id)) base.scheme = "http";
  return base;
}

Session::Session(Engine& the_engine, const reference::Reference& the_reference, std::vector<credentials::Credential> the_credentials,
                 AttemptSink sink)
    : engine(the_engine), reference(the_reference), name(reference.Repository()), credentials(std::move(the_credentials)),
      sink_(std::move(sink)) {}

std::vector<credentials::Credential> Session::ForMirror(const Host& host) const {
  if (!host.endpoint.mirror || !engine.options.mirror_credentials) return {};
  return engine.options.mirror_credentials(host.endpoint.base.Authority() + "/" + std::string(reference.path()));
}

Result<std::vector<Host*>> Session::Hosts() {
  std::lock_guard lock(mutex_);
  if (hosts_.empty() && !hosts_error_) {
    auto endpoints = HostsFor(reference.domain(), engine.options.hosts);
    if (endpoints) {
      for (HostEndpoint& endpoint : *endpoints) hosts_.push_back(std::make_unique<Host>(*this, std::move(endpoint)));
    } else {
      hosts_error_ = std::move(endpoints).error();
      if (sink_) sink_({.what = "hosts", .reason = hosts_error_->reason()});
    }
  }
  if (hosts_error_) return *hosts_error_;
  std::vector<Host*> all;
  for (const auto& host : hosts_) all.push_back(host.get());
  return all;
}

time::Duration Session::ConnectLimit(const Host& host) const {
  if (host.endpoint.dial_timeout) return *host.endpoint.dial_timeout;
  const time::Duration whole = engine.options.http.connect, each = engine.options.mirror_connect;
  std::lock_guard lock(mutex_);
  if (hosts_.empty() || &host == hosts_.back().get()) return whole;
  return std::min({whole, each, 3 * each / static_cast<std::int64_t>(hosts_.size() - 1)});
}

Record Session::Begin(const task::Context& ctx, const Host& host, std::string at, http::Method method, std::string what,
                      std::string credential) const {
  return Record(sink_, ctx,
                Attempt{.host = std::move(at), .mirror = host.endpoint.mirror, .method = std::string(http::ToString(method)),
                        .what = std::move(what), .credential = std::move(credential)});
}

void Session::Contributed(const digest::Digest& digest, const Host& host) {
  std::lock_guard lock(mutex_);
  contributors_[digest].insert(host.id);
}

std::set<std::string> Session::TakeContributors(const digest::Digest& digest) {
  std::lock_guard lock(mutex_);
  auto node = contributors_.extract(digest);
  return node ? std::move(node.mapped()) : std::set<std::string>();
}

bool Session::HoldOff(const Host& host, time::SteadyTime until, time::Duration wait, const Error& told) {
  std::stop_source over(std::nostopstate);
  {
    std::lock_guard lock(mutex_);
    Hold& hold = holds_.try_emplace(&host, Hold{.until = until, .wait = wait, .told = told}).first->second;
    if (hold.spent) return false;
    const bool asked = std::exchange(hold.asked, false);
    hold.told = told;
    hold.until = asked ? until : std::max(hold.until, until);
    hold.wait = wait;
    // Answers to what was asked before the others knew to wait begin no period.
    if (wait > time::Duration::zero() && (asked || hold.periods == 0)) ++hold.periods;
    if (hold.periods < engine.options.retry.rounds) return true;
    hold.spent = true;
    over = hold.over;
  }
  over.request_stop();
  return false;
}

int Session::Round(const Host& host) const {
  std::lock_guard lock(mutex_);
  const auto found = holds_.find(&host);
  if (found == holds_.end()) return 0;
  return std::max(0, found->second.periods - (found->second.asked ? 0 : 1));
}

Session::Held Session::HeldOff(const Host& host, time::SteadyTime now) {
  std::lock_guard lock(mutex_);
  const auto found = holds_.find(&host);
  if (found == holds_.end()) return {};
  Hold& hold = found->second;
  if (hold.spent) return {.until = now, .over = {}, .told = hold.told, .spent = true};
  if (hold.until > now) return {hold.until, hold.over.get_token(), hold.told};
  hold.asked = true;
  hold.until = now + hold.wait;  // should no answer ever come
  return {};
}

void Session::Answered(const Host& host) {
  std::stop_source over(std::nostopstate);
  {
    std::lock_guard lock(mutex_);
    const auto found = holds_.find(&host);
    if (found == holds_.end() || found->second.spent) return;
    if (!found->second.asked) {
      found->second.periods = 1;  // this one, which goes on
      return;
    }
    over = std::move(found->second.over);
    holds_.erase(found);
  }
  over.request_stop();
}

std::vector<std::string> Session::NewWarnings(const std::string& place, const http::Response& response, const secret::Secret* sent) {
  std::vector<std::string> texts = ParseWarnings(response.headers().All("Warning"));
  if (texts.empty()) return texts;
  const std::string_view header = sent != nullptr ? sent->Reveal() : "";
  const std::string_view token = header.substr(header.rfind(' ') + 1);
  std::erase_if(texts, [&](const std::string& text) {
    if (!token.empty() && text.find(token) != text.npos) return true;
    return std::ranges::any_of(credentials, [&](const credentials::Credential& c) {
      return std::ranges::any_of(std::array{c.password.Reveal(), c.identity_token.Reveal(), c.registry_token.Reveal()},
                                 [&](std::string_view secret) { return !secret.empty() && text.find(secret) != text.npos; });
    });
  });
  std::lock_guard lock(mutex_);
  std::erase_if(texts, [&](const std::string& text) {
    return warnings_.size() == kMostWarnings || !warnings_.emplace(place, text).second;
  });
  return texts;
}

void Session::Worked(const credentials::Credential& credential) {
  std::lock_guard lock(mutex_);
  used_ = &credential;
}

const credentials::Credential* Session::used() const {
  std::lock_guard lock(mutex_);
  return used_;
}

Tried<std::unique_ptr<http::Response>> Session::Exchange(const task::Context& ctx, Host& host, const Ask& ask) {
  for (;;) {
    auto authorization = host.auth.Prepare(ctx);
    if (!authorization) {
      Error error = std::move(authorization).error();
      if (Unreachable(error.reason()) && ctx.Check()) engine.memory.MarkDead(host.id, engine.options.retry.dead_for);
      return {std::move(error), Record()};
    }
    http::Request request;
    request.method = ask.method;
    request.url = host.Base();
    request.url.path += "/" + reference.path() + "/" + ask.path;
    if (!ask.query.empty()) request.url.query = ask.query;
    if (!host.endpoint.ns.empty() && ("&" + ask.query).find("&ns=") == std::string::npos)
      request.url.query = (ask.query.empty() ? "" : ask.query + "&") + "ns=" + http::PercentEncode(host.endpoint.ns);
    for (const http::Header& header : host.endpoint.headers) {
      if (http::EqualNoCase(header.name, "Authorization")) request.authorization = secret::Secret(header.value);
      else request.headers.Add(header.name, header.value);
    }
    if (!ask.accept.empty()) request.headers.Set("Accept", ask.accept);
    if (ask.from) request.headers.Set("Range", "bytes=" + std::to_string(*ask.from) + "-");
    if (authorization->header) request.authorization = authorization->header->Clone();
    request.tls = host.endpoint.tls;
    request.limits = engine.options.http;
    request.limits.connect = ConnectLimit(host);
    request.overrides = engine.options.overrides;
    request.allow_plain_http = !request.url.https();

    Record record = Begin(ctx, host, host.Name(), ask.method, ask.what, authorization->description);
    bool elsewhere = false;
    http::RedirectPolicy policy;
    policy.max_hops = engine.options.redirects;
    auto sent = http::SendFollowing(engine.http, ctx, request, policy, [&](const http::Hop& hop) -> Result<> {
      const std::string to = hop.to.origin().ToString();
      elsewhere = hop.to.origin() != request.url.origin();
      record.attempt().status = hop.status;
      record.Finish("redirect to " + to);
      record = Begin(ctx, host, to, ask.method, ask.what, elsewhere ? "" : authorization->description);
      return {};
    });
    if (!sent) {
      Error error = std::move(sent).error();
      record.attempt().reason = error.reason();
      if (error.reason() == Reason::kTimeout && error.message().ends_with("(connect)"))
        record.attempt().limit = "connect timeout " + std::to_string(std::chrono::ceil<std::chrono::seconds>(request.limits.connect).count()) + " s";
      const auto& roots = engine.options.hosts.roots;
      if (error.reason() == Reason::kTlsCa && !elsewhere && !roots.empty() && !error.message().starts_with("the certificate of the proxy"))
        (void)std::move(error).Next("put the certificate of its CA into " + roots.front() + "/" + std::string(reference.domain()) +
                                      "/ca.crt (name it as ca where a hosts.toml is), or into the system's store");
      if (error.reason() == Reason::kHttpOnHttps && host.endpoint.plain_fallback && !elsewhere && request.url.https()) {
        engine.memory.SetPlain(host.id, true);
        record.Finish("plain HTTP, as this host allows");
        continue;
      }
      // A server that was plain and now wants TLS may just close, or answer with an alert: the next try begins with TLS.
      if (NoHttp(error.reason()) && host.endpoint.plain_fallback && !elsewhere && !request.url.https())
        engine.memory.SetPlain(host.id, false);
      if (Unreachable(error.reason()) && !elsewhere && ctx.Check()) engine.memory.MarkDead(host.id, engine.options.retry.dead_for);
      return {std::move(error), std::move(record)};
    }
    http::Response& response = **sent;
    const int status = response.status();
    record.attempt().status = status;
    record.attempt().warnings = NewWarnings(record.attempt().host, response, request.authorization ? &*request.authorization : nullptr);
    engine.memory.MarkAlive(host.id);
    if (status == 200 || status == 203 || status == 206) {
      Answered(host);
      host.auth.Accepted(response, *authorization);
      return {*std::move(sent), std::move(record)};
    }
    std::string& code = record.attempt().registry_code;
    bool expired = false;  // the message is looked at, and goes nowhere
    if (ask.method != http::Method::kHead)
      if (const auto body = http::ReadAll(response, engine.options.error_body_bytes, "error answer")) {
        record.attempt().bytes = body->size();
        code = ErrorCodeOf(*body);
        expired = status == 403 && OfFirstError(*body, "message").find("expired") != std::string::npos;
      }
    if ((status == 401 || status == 403) && !response.foreign()) {
      auto next = host.auth.Refused(response, *authorization, expired);
      record.attempt().reason = status == 401 ? Reason::kUnauthorized : Reason::kDenied;
      if (!next) return {std::move(next).error(), std::move(record)};
      record.Finish(*std::move(next));
      continue;
    }
    Error error = StatusError(ctx, host, ask, response, code);
    // Others of them say 400 to plain requests. The error names what was spoken so far.
    if (status == 400 && host.endpoint.plain_fallback && !elsewhere) engine.memory.SetPlain(host.id, false);
    record.attempt().reason = error.reason();
    return {std::move(error), std::move(record)};
  }
}

Error Session::StatusError(const task::Context& ctx, const Host& host, const Ask& ask, const http::Response& response,
                           const std::string& code) const {
  const int status = response.status();
  const bool blob = ask.path.starts_with("blobs/");
  const std::string place = response.foreign() ? response.url().origin().ToString() + ", where " + host.Name() + " redirects to,"
                                               : host.Name();
  const std::string answer = " (" + std::to_string(status) + ")";
  const auto asked_to_wait = [&](Error error) {
    const std::string* value = response.headers().Find("Retry-After");
    const auto wait = value ? http::ParseRetryAfter(*value, ctx.clock().WallNow(), engine.options.retry.retry_after_cap) : std::nullopt;
    return wait ? std::move(error).RetryAfter(std::chrono::ceil<std::chrono::milliseconds>(*wait)) : std::move(error);
  };
  switch (status) {
    case 404: case 410:
      if (code == "NAME_UNKNOWN")
        return Error(Reason::kRepositoryNotFound, place + " has no repository " + Quoted(reference.path()) + answer)
            .Next("check the name; some registries also answer this when access is not allowed");
      if (blob)
        return Error(Reason::kBlobNotFound, place + " does not have " + ask.what + " of " + Quoted(reference.path()) + answer)
            .Next("the image is incomplete there: push it again");
      return Error(Reason::kNotFound, place + " has no " + ask.what + " of " + Quoted(reference.path()) + answer)
          .Next("check the tag or digest; some registries also answer this when access is not allowed");
    case 401:
      return Error(Reason::kUnauthorized, place + " asks for credentials, which are never given to another origin" + answer);
    case 403:  // of storage: a signed URL that is too old; asking the registry again makes a new one
      return Error(Reason::kDenied, place + " denies access to " + ask.what + answer).Retryable(true);
    case 416: return Error(Reason::kRange, place + " has no such part of " + ask.what + answer);
    case 408: return Error(Reason::kTimeout, place + " did not get our request in time" + answer);
    case 429:
      return asked_to_wait(Error(Reason::kRateLimited, place + " limits the rate of requests" + answer)
                               .Next("wait, use credentials with a higher limit, or set up a mirror"));
    case 400:
      if (response.foreign())
        return Error(Reason::kUnexpectedStatus, place + " refuses the address it was given" + answer).Retryable(true);
      if (!response.url().https() && code.empty())  // so do servers of TLS that get a plain request
        return Error(Reason::kUnexpectedStatus, place + " gave an answer that no registry gives" + answer)
            .Next("if it speaks TLS by now, write https:// for it in hosts.toml or take it out of plainHttp");
      break;
    default: break;
  }
  if (status == 501 || status == 505) return Error(Reason::kServerError, place + " does not implement this" + answer).Retryable(false);
  if (status >= 500)
    return asked_to_wait(
        Error(Reason::kServerError, place + " failed" + answer).Next("try again later; ask the registry's operator"));
  if (status < 300) return Error(Reason::kProtocolError, place + " answered without content" + answer);
  return Error(Reason::kUnexpectedStatus, place + " gave an answer that no registry gives" + answer);
}

}  // namespace berth::registry
