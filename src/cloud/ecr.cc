#include "cloud/ecr.h"

#include <algorithm>
#include <array>

#include "bytes/encoding.h"
#include "cloud/aws.h"
#include "cloud/tokens.h"

namespace berth::cloud {
namespace {

bool Drop(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

constexpr std::array<std::string_view, 7> kSuffixes{"amazonaws.com", "amazonaws.com.cn", "amazonaws.eu", "c2s.ic.gov",
                                                    "sc2s.sgov.gov", "cloud.adc-e.uk", "csp.hci.ic.gov"};
// Of registries with two stacks, and of the API that belongs to them.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kDualStack{
    {{"on.aws", "api.aws"}, {"on.amazonwebservices.com.cn", "api.amazonwebservices.com.cn"}}};

}  // namespace

std::optional<EcrRegistry> EcrRegistry::FromHost(std::string_view host, bool prefer_fips) {
  if (host == "public.ecr.aws") return EcrRegistry{"us-east-1", "api.ecr-public.us-east-1.amazonaws.com", true};
  if (host == "ecr-public.aws.com") return EcrRegistry{"us-east-1", "ecr-public.us-east-1.api.aws", true};
  if (host.size() < 12 || !std::all_of(host.begin(), host.begin() + 12, [](char c) { return c >= '0' && c <= '9'; })) return {};
  host.remove_prefix(12);
  const bool dual = host.starts_with(".dkr-");
  if (!Drop(host, ".dkr.ecr") && !Drop(host, ".dkr-ecr")) return {};
  const bool fips = Drop(host, "-fips") || prefer_fips;
  if (!Drop(host, ".")) return {};
  const auto dot = host.find('.');
  if (dot == std::string_view::npos || !IsAwsRegion(host.substr(0, dot))) return {};
  const std::string region(host.substr(0, dot));
  const std::string_view suffix = host.substr(dot + 1);
  const std::string service = fips ? "ecr-fips." : "ecr.";
  if (dual) {
    for (const auto& [registry, api] : kDualStack)
      if (suffix == registry) return EcrRegistry{region, service + region + "." + std::string(api), false};
    return {};
  }
  if (std::find(kSuffixes.begin(), kSuffixes.end(), suffix) == kSuffixes.end()) return {};
  return EcrRegistry{region, "api." + service + region + "." + std::string(suffix), false};
}

Result<Login> ParseEcrToken(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, ParseAnswer(text));
  ASSIGN_OR_RETURN(json::Value data, document.root().Get("authorizationData"));
  if (data.IsArray()) {
    if (data.size() == 0) return Error(Reason::kTokenError, "authorizationData is empty");
    data = data.at(0);
  }
  ASSIGN_OR_RETURN(const auto token, SecretField(data, "authorizationToken"));
  auto pair = bytes::FromBase64(token.Reveal());
  const auto colon = pair ? pair->find(':') : std::string::npos;
  if (colon == std::string::npos || colon == 0 || colon + 1 == pair->size())
    return Error(Reason::kTokenError, "authorizationToken is not base64 of user:password");
  Login login;
  login.user = pair->substr(0, colon);
  login.password = secret::Secret(std::string_view(*pair).substr(colon + 1));
  secret::Secret::Wipe(*pair);
  if (!IsVisible(login.user) || !IsVisible(login.password.Reveal()))
    return Error(Reason::kTokenError, "authorizationToken holds blanks or control characters");
  if (const auto expires = data.Find("expiresAt"))
    if (const auto seconds = expires->AsDouble(); seconds && *seconds > 0 && *seconds < 1e10)
      login.expires = time::FromUnix(static_cast<std::int64_t>(*seconds));
  return login;
}

Result<Login> EcrLogin(const task::Context& ctx, const World& world, const ExecRequest& request) {
  const auto registry = EcrRegistry::FromHost(request.host, world.Env("AWS_USE_FIPS_ENDPOINT") == "true");
  if (!registry)
    return Error(Reason::kUsage, Quoted(request.host) + " is not an Amazon ECR registry").Next("narrow matchImages of this provider to ECR hosts");
  ASSIGN_OR_RETURN(const AwsKeys keys, FindAwsKeys(ctx, world, request, registry->region));

  const std::string_view service = registry->is_public ? "ecr-public" : "ecr";
  Call call{.peer = registry->is_public ? "Amazon ECR Public" : "Amazon ECR", .method = http::Method::kPost,
            .retry_codes = AwsRetryCodes()};
  ASSIGN_OR_RETURN(call.url, AwsEndpoint(world, registry->is_public ? "ECR_PUBLIC" : "ECR", "https://" + registry->api_host + "/"));
  constexpr std::string_view kBody = "{}";
  const time::WallTime now = ctx.clock().WallNow();
  call.headers = {{"Content-Type", "application/x-amz-json-1.1"},
                  {"X-Amz-Target", registry->is_public ? "SpencerFrontendService.GetAuthorizationToken"
                                                       : "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"},
                  {"X-Amz-Date", FormatAmzDate(now)}};
  if (!keys.session.empty()) call.headers.Add("X-Amz-Security-Token", keys.session.Reveal());
  AwsRequest to_sign{.method = "POST", .path = call.url.path, .query = call.url.query ? std::string_view(*call.url.query) : "", .body = kBody,
                     .headers = call.headers, .region = registry->region, .service = service, .when = now};
  to_sign.headers.Add("Host", call.url.Authority());
  call.authorization = SignAwsRequest(to_sign, keys);
  call.body = secret::Secret(kBody);

  auto body = Ask(ctx, world, call, AwsErrorCodes());
  if (!body) {
    Error e = std::move(body).error();
    if (e.reason() == Reason::kInvalidCredentials || e.reason() == Reason::kDenied)
      return std::move(e).Next("check that the identity may call " + std::string(service) + ":GetAuthorizationToken and that this node's clock is right");
    return e;
  }
  auto login = ParseEcrToken(body->Reveal());
  if (!login) return std::move(login).error().Context(call.peer);
  login->cache_key = CacheKey::kRegistry;
  login->patterns = {request.host};
  return login;
}

}  // namespace berth::cloud
