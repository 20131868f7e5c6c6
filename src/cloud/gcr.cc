#include "cloud/gcr.h"

#include <algorithm>
#include <array>

#include "bytes/base64url.h"
#include "cloud/tokens.h"
#include "digest/signature.h"
#include "host/dir.h"
#include "json/document.h"
#include "log/log.h"

namespace berth::cloud {
namespace {

constexpr std::string_view kPatterns[] = {"gcr.io", "*.gcr.io", "*.pkg.dev"};
constexpr std::array<std::string_view, 8> kErrorCodes{"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope",
                                                      "invalid_target", "invalid_request", "PERMISSION_DENIED", "NOT_FOUND"};

struct Token {
  secret::Secret value;
  std::optional<time::WallTime> expires;
};

Result<Token> ParseToken(std::string_view text, time::WallTime now, const std::string& peer) {
  const auto parse = [&]() -> Result<Token> {
    ASSIGN_OR_RETURN(const auto document, ParseAnswer(text));
    ASSIGN_OR_RETURN(auto value, SecretField(document.root(), "access_token"));
    return Token{std::move(value), ExpiresIn(document.root(), now)};
  };
  auto token = parse();
  if (!token) return std::move(token).error().Context("the answer of " + peer);
  return token;
}

class Finder {
 public:
  Finder(const task::Context& ctx, const World& world, const ExecRequest& request, const GcrOptions& options)
      : ctx_(ctx), world_(world), request_(request), options_(options) {}

  Result<Token> Find() {
    if (!request_.service_account_token.empty() && !options_.workload_identity_provider.empty()) return Federated();
    const std::string variable = world_.Env("GOOGLE_APPLICATION_CREDENTIALS");
    if (!options_.key_file.empty()) return FromKey(options_.key_file);
    if (!variable.empty()) return FromKey(variable);
    return Metadata();
  }

 private:
  Result<Token> Federated() {
    log::Debug("token from workload identity federation");
    Call call{.peer = "the Google Security Token Service", .method = http::Method::kPost};
    ASSIGN_OR_RETURN(call.url, ConfiguredUrl(options_.sts_endpoint + "/v1/token", "--sts-endpoint"));
    call.headers.Add("Content-Type", "application/x-www-form-urlencoded");
    std::string email(request_.Annotation("iam.gke.io/gcp-service-account"));
    if (email.empty()) email = options_.impersonate;
    // The IAM Credentials API itself wants the broad scope; what it makes has the narrow one.
    constexpr std::string_view kBroad = "https://www.googleapis.com/auth/cloud-platform";
    call.body = Form({{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"},
                      {"audience", "//iam.googleapis.com/" + options_.workload_identity_provider},
                      {"scope", email.empty() ? std::string_view(options_.scope) : kBroad},
                      {"requested_token_type", "urn:ietf:params:oauth:token-type:access_token"},
                      {"subject_token_type", "urn:ietf:params:oauth:token-type:jwt"},
                      {"subject_token", request_.service_account_token.Reveal()}});
    ASSIGN_OR_RETURN(const auto body, Ask(ctx_, world_, call, kErrorCodes));
    ASSIGN_OR_RETURN(Token token, ParseToken(body.Reveal(), ctx_.clock().WallNow(), call.peer));
    if (email.empty()) return token;

    Call become{.peer = "the Google IAM Credentials API", .method = http::Method::kPost};
    ASSIGN_OR_RETURN(become.url, ConfiguredUrl(options_.iam_endpoint + "/v1/projects/-/serviceAccounts/" + http::PercentEncode(email) +
                                                   ":generateAccessToken", "--iam-endpoint"));
    become.headers.Add("Content-Type", "application/json");
    become.authorization = secret::Secret("Bearer " + std::string(token.value.Reveal()));
    json::Writer w;
    w.BeginObject().Key("scope").BeginArray().String(options_.scope).EndArray().Key("lifetime").String("3600s").EndObject();
    become.body = secret::Secret(w.text());
    auto made = Ask(ctx_, world_, become, kErrorCodes);
    if (!made) return std::move(made).error().Context("service account " + Quoted(email));
    ASSIGN_OR_RETURN(const auto document, ParseAnswer(made->Reveal()));
    ASSIGN_OR_RETURN(auto value, SecretField(document.root(), "accessToken"));
    const auto until = document.root().Find("expireTime");
    return Token{std::move(value), until ? ParseTimestamp(until->AsString().value_or("")) : std::nullopt};
  }

  Result<Token> FromKey(const std::string& path) {
    log::Debug("token from a service account key");
    const std::string place = "service account key " + Quoted(path);
    auto text = host::ReadSmallFile(path, 64u << 10);
    if (!text) return Error(Reason::kConfig, text.error().message()).Context(place);
    const secret::Secret held = secret::Secret::Take(*text);
    auto key = GoogleKey::Parse(held.Reveal());
    if (!key) return std::move(key).error().Context(place);
    auto assertion = GoogleAssertion(*key, options_.scope, ctx_.clock().WallNow());
    if (!assertion) return std::move(assertion).error().Context(place);
    Call call{.peer = "the token endpoint of Google", .method = http::Method::kPost, .url = key->token_uri};
    call.headers.Add("Content-Type", "application/x-www-form-urlencoded");
    call.body = Form({{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"}, {"assertion", assertion->Reveal()}});
    auto body = Ask(ctx_, world_, call, kErrorCodes);
    if (!body) {
      Error e = std::move(body).error().Context(place);
      if (e.reason() == Reason::kInvalidCredentials)
        return std::move(e).Next("check that the key was not deleted, that its account is enabled and that this node's clock is right");
      return e;
    }
    return ParseToken(body->Reveal(), ctx_.clock().WallNow(), call.peer);
  }

  // Every true answer says Metadata-Flavor: Google; without it something else answers in its place.
  Result<secret::Secret> AskMetadata(std::string_view item) {
    std::string host = world_.Env("GCE_METADATA_HOST");
    if (host.empty()) host = "metadata.google.internal";
    Call call{.peer = "the metadata server", .metadata = true};
    ASSIGN_OR_RETURN(call.url, ConfiguredUrl("http://" + host + "/computeMetadata/v1/instance/service-accounts/" +
                                                 http::PercentEncode(options_.service_account) + "/" + std::string(item), "GCE_METADATA_HOST"));
    call.headers.Add("Metadata-Flavor", "Google");
    ASSIGN_OR_RETURN(Answer answer, Exchange(ctx_, world_, call));
    if (answer.headers.Get("Metadata-Flavor") != "Google")
      return Error(Reason::kPolicy, "what answers at " + call.url.Redacted() + " is not Google's metadata server");
    if (answer.status == 404)
      return Error(Reason::kInvalidCredentials, "this node has no service account " + Quoted(options_.service_account))
          .Next("attach a service account that may read the registry to the node");
    if (answer.status != 200)
      return Error(Reason::kUnexpectedStatus, "the metadata server answers with status " + std::to_string(answer.status));
    return std::move(answer.body);
  }

  Result<Token> Metadata() {
    log::Debug("token from the metadata server");
    ASSIGN_OR_RETURN(const auto scopes, AskMetadata("scopes"));
    constexpr std::array<std::string_view, 2> kEnough{"https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/devstorage."};
    if (KnownWord(scopes.Reveal(), kEnough).empty())
      return Error(Reason::kDenied, "the access scopes of this node let it read no registry")
          .Next("give the node the scope https://www.googleapis.com/auth/devstorage.read_only or cloud-platform");
    ASSIGN_OR_RETURN(const auto body, AskMetadata("token"));
    return ParseToken(body.Reveal(), ctx_.clock().WallNow(), "the metadata server");
  }

  const task::Context& ctx_;
  const World& world_;
  const ExecRequest& request_;
  const GcrOptions& options_;
};

}  // namespace

bool IsGoogleRegistry(std::string_view host) {
  const auto below = [&](std::string_view domain) {  // exactly one label, as the patterns match
    if (!host.ends_with(domain)) return false;
    const std::string_view label = host.substr(0, host.size() - domain.size());
    return !label.empty() && label.find('.') == std::string_view::npos && label.find(':') == std::string_view::npos;
  };
  return host == "gcr.io" || below(".gcr.io") || below(".pkg.dev");
}

Result<GoogleKey> GoogleKey::Parse(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(text, Reason::kConfig, {.bytes = 64u << 10, .depth = 4, .values = 256}));
  const auto field = [root = document.root()](std::string_view name) -> Result<std::string_view> {
    ASSIGN_OR_RETURN(const json::Value value, root.Get(name));
    return value.AsString();
  };
  ASSIGN_OR_RETURN(const auto type, field("type"));
  if (type != "service_account")
    return Error(Reason::kUnsupported, "the file is of type " + Quoted(type) + ", not service_account");
  GoogleKey key;
  ASSIGN_OR_RETURN(key.email, field("client_email"));
  ASSIGN_OR_RETURN(const auto pem, field("private_key"));
  key.private_key = secret::Secret(pem);
  if (document.root().Find("private_key_id")) {
    ASSIGN_OR_RETURN(key.key_id, field("private_key_id"));
  }
  ASSIGN_OR_RETURN(const auto uri, field("token_uri"));
  ASSIGN_OR_RETURN(key.token_uri, ConfiguredUrl(uri, "token_uri"));
  return key;
}

Result<secret::Secret> GoogleAssertion(const GoogleKey& key, std::string_view scope, time::WallTime now) {
  const std::int64_t issued = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  json::Writer header, claims;
  header.BeginObject().Key("alg").String("RS256").Key("typ").String("JWT");
  if (!key.key_id.empty()) header.Key("kid").String(key.key_id);
  header.EndObject();
  claims.BeginObject().Key("iss").String(key.email).Key("scope").String(scope).Key("aud").String(key.token_uri.ToWire());
  claims.Key("iat").Int(issued).Key("exp").Int(issued + 3600).EndObject();
  std::string signed_part = bytes::ToBase64Url(bytes::AsView(header.text())) + "." + bytes::ToBase64Url(bytes::AsView(claims.text()));
  ASSIGN_OR_RETURN(const std::string signature, digest::SignRsaSha256(key.private_key.Reveal(), bytes::AsView(signed_part)));
  return secret::Secret(signed_part + "." + bytes::ToBase64Url(bytes::AsView(signature)));
}

Result<Login> GcrLogin(const task::Context& ctx, const World& world, const ExecRequest& request, const GcrOptions& options) {
  if (!IsGoogleRegistry(request.host))
    return Error(Reason::kUsage, Quoted(request.host) + " is not a Google registry").Next("narrow matchImages of this provider to gcr.io, *.gcr.io, *.pkg.dev");
  ASSIGN_OR_RETURN(Token token, Finder(ctx, world, request, options).Find());
  return Login{CacheKey::kGlobal, {std::begin(kPatterns), std::end(kPatterns)}, "oauth2accesstoken", std::move(token.value), token.expires};
}

}  // namespace berth::cloud
