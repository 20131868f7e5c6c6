#include "cloud/aws.h"

#include <algorithm>
#include <array>

#include "bytes/text.h"
#include "cloud/tokens.h"
#include "host/dir.h"
#include "log/log.h"

namespace berth::cloud {
namespace {

constexpr std::size_t kMaxFileBytes = 1u << 20;

bool IsTrue(const World& world, std::string_view name) { return bytes::Lower(world.Env(name)) == "true"; }

// A key ID stands in a header and in our messages' neighbourhood: it must look like one.
Result<AwsKeys> CheckedKeys(std::string_view id, std::string_view secret, std::string_view session, const std::string& where) {
  const bool id_fits = !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  });
  if (!id_fits || secret.empty() || !IsVisible(secret) || !IsVisible(session))
    return Error(Reason::kInvalidCredentials, where + ": the access key, secret key or session token is missing or malformed");
  return AwsKeys{std::string(id), secret::Secret(secret), secret::Secret(session)};
}

class Finder {
 public:
  Finder(const task::Context& ctx, const World& world, const ExecRequest& request, std::string_view region)
      : ctx_(ctx), world_(world), request_(request), region_(region) {}

  Result<AwsKeys> Find() {
    using Source = Result<std::optional<AwsKeys>> (Finder::*)();
    constexpr std::array<std::pair<std::string_view, Source>, 5> kSources{{{"service account token", &Finder::ServiceAccount},
                                                                          {"environment", &Finder::Environment},
                                                                          {"web identity token file", &Finder::WebIdentityFile},
                                                                          {"shared files", &Finder::SharedFiles},
                                                                          {"container endpoint", &Finder::Container}}};
    for (const auto& [name, source] : kSources) {
      auto keys = (this->*source)();
      if (!keys) return std::move(keys).error().Context("AWS keys from the " + std::string(name));
      if (!*keys) continue;
      log::Debug("AWS keys found", {{"source", name}});
      return *std::move(*keys);
    }
    auto keys = Metadata();
    if (!keys) return std::move(keys).error().Context("AWS keys from the instance metadata service, after no other source had any");
    log::Debug("AWS keys found", {{"source", "instance metadata"}});
    return keys;
  }

 private:
  Result<std::optional<AwsKeys>> ServiceAccount() {
    if (request_.service_account_token.empty()) return std::optional<AwsKeys>();
    std::string role(request_.Annotation("eks.amazonaws.com/ecr-role-arn"));
    if (role.empty()) role = world_.Env("AWS_ECR_ROLE_ARN");
    if (role.empty()) return std::optional<AwsKeys>();  // the node's own identity, as EKS documents it
    return AssumeRole(role, request_.service_account_token, "");
  }

  Result<std::optional<AwsKeys>> Environment() {
    const secret::Secret id(world_.Env("AWS_ACCESS_KEY_ID")), secret(world_.Env("AWS_SECRET_ACCESS_KEY")), session(world_.Env("AWS_SESSION_TOKEN"));
    if (id.empty() && secret.empty()) return std::optional<AwsKeys>();
    return CheckedKeys(id.Reveal(), secret.Reveal(), session.Reveal(), "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN");
  }

  Result<std::optional<AwsKeys>> WebIdentityFile() {
    const std::string file = world_.Env("AWS_WEB_IDENTITY_TOKEN_FILE"), role = world_.Env("AWS_ROLE_ARN");
    if (file.empty()) return std::optional<AwsKeys>();
    if (role.empty()) return Error(Reason::kConfig, "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not");
    ASSIGN_OR_RETURN(const auto token, ReadTokenFile(file, "AWS_WEB_IDENTITY_TOKEN_FILE"));
    return AssumeRole(role, token, world_.Env("AWS_ROLE_SESSION_NAME"));
  }

  Result<std::optional<AwsKeys>> SharedFiles() {
    const std::string chosen = world_.Env("AWS_PROFILE"), profile = chosen.empty() ? "default" : chosen;
    AwsProfile all;
    bool found = false;
    for (const auto& [kind, variable, usual] : {std::tuple{AwsFile::kCredentials, "AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials"},
                                                std::tuple{AwsFile::kConfig, "AWS_CONFIG_FILE", "/.aws/config"}}) {
      std::string path = world_.Env(variable);
      const std::string home = world_.Env("HOME");
      if (path.empty() && home.empty()) continue;
      if (path.empty()) path = home + usual;
      auto text = host::ReadSmallFile(path, kMaxFileBytes);
      if (!text) {
        if (text.error().reason() == Reason::kMissing) continue;  // also when the variable names it: as the SDKs
        return Error(Reason::kConfig, text.error().message()).Context(Quoted(path));
      }
      auto parsed = ParseAwsProfile(*text, kind, profile);
      secret::Secret::Wipe(*text);
      if (!parsed) return std::move(parsed).error().Context(Quoted(path));
      if (!*parsed) continue;
      found = true;
      for (auto& [key, value] : **parsed) all.emplace(key, std::move(value));  // the credentials file wins
    }
    auto keys = FromProfile(all, profile, found, !chosen.empty());
    for (auto& [key, value] : all) secret::Secret::Wipe(value);
    return keys;
  }

  Result<std::optional<AwsKeys>> FromProfile(const AwsProfile& all, const std::string& profile, bool found, bool chosen) {
    const auto get = [&](std::string_view key) {
      const auto at = all.find(key);
      return at == all.end() ? std::string_view() : std::string_view(at->second);
    };
    const std::string where = "profile " + Quoted(profile);
    if (!found && chosen) return Error(Reason::kConfig, where + " of AWS_PROFILE is in neither the credentials nor the config file");
    if (!get("role_arn").empty()) {
      const std::string file(get("web_identity_token_file"));
      if (file.empty()) return Error(Reason::kUnsupported, where + " has role_arn without web_identity_token_file");
      ASSIGN_OR_RETURN(const auto token, ReadTokenFile(file, "web_identity_token_file"));
      return AssumeRole(std::string(get("role_arn")), token, std::string(get("role_session_name")));
    }
    if (!get("aws_access_key_id").empty() || !get("aws_secret_access_key").empty())
      return CheckedKeys(get("aws_access_key_id"), get("aws_secret_access_key"), get("aws_session_token"), where);
    for (const std::string_view key : {"credential_process", "sso_session", "sso_start_url"})
      if (!get(key).empty()) return Error(Reason::kUnsupported, where + " needs " + std::string(key) + ", which is not for nodes");
    if (chosen) return Error(Reason::kConfig, where + " of AWS_PROFILE holds no keys");
    return std::optional<AwsKeys>();
  }

  Result<std::optional<AwsKeys>> Container() {
    const std::string relative = world_.Env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), full = world_.Env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (relative.empty() && full.empty()) return std::optional<AwsKeys>();
    Call call{.peer = "the container credentials endpoint"};
    if (!relative.empty()) {
      if (relative[0] != '/') return Error(Reason::kConfig, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /");
      ASSIGN_OR_RETURN(call.url, ConfiguredUrl("http://169.254.170.2" + relative, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"));
    } else {
      ASSIGN_OR_RETURN(call.url, ConfiguredUrl(full, "AWS_CONTAINER_CREDENTIALS_FULL_URI"));
    }
    // ECS, the EKS Pod Identity agent, and loopback; elsewhere only https may carry keys.
    constexpr std::array<std::string_view, 3> kHosts{"169.254.170.2", "169.254.170.23", "fd00:ec2::23"};
    const bool known = std::find(kHosts.begin(), kHosts.end(), call.url.host) != kHosts.end() || http::IsLoopback(call.url.host);
    if (!call.url.https() && !known)
      return Error(Reason::kPlainHttp, "AWS_CONTAINER_CREDENTIALS_FULL_URI: host " + Quoted(call.url.host) + " may not be asked over plain HTTP");
    call.metadata = known;
    if (const std::string file = world_.Env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !file.empty()) {
      ASSIGN_OR_RETURN(call.authorization, ReadTokenFileLine(file));
    } else if (std::string token = world_.Env("AWS_CONTAINER_AUTHORIZATION_TOKEN"); !token.empty()) {
      call.authorization = secret::Secret::Take(token);
    }
    if (call.authorization && call.authorization->Reveal().find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos)
      return Error(Reason::kConfig, "the container authorization token holds a line end");
    auto body = Ask(ctx_, world_, call, AwsErrorCodes());
    if (!body) {
      // The path is as good as a password on ECS.
      const Error& e = body.error();
      return Error(e.reason(), e.message().find(call.url.path) == std::string::npos || call.url.path == "/" ? e.message() : call.peer + " cannot be reached");
    }
    ASSIGN_OR_RETURN(auto keys, ParseAwsKeys(body->Reveal()));
    return std::optional<AwsKeys>(std::move(keys));
  }

  // An authorization value may hold a blank ("Basic …"), unlike other tokens.
  Result<secret::Secret> ReadTokenFileLine(const std::string& path) {
    auto text = host::ReadSmallFile(path, 64u << 10);
    if (!text) return Error(Reason::kConfig, text.error().message()).Context("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE " + Quoted(path));
    secret::Secret token(Trimmed(*text));
    secret::Secret::Wipe(*text);
    if (token.empty()) return Error(Reason::kConfig, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE " + Quoted(path) + " is empty");
    return token;
  }

  Result<AwsKeys> Metadata() {
    if (IsTrue(world_, "AWS_EC2_METADATA_DISABLED"))
      return Error(Reason::kInvalidCredentials, "AWS_EC2_METADATA_DISABLED is set").Next("configure one of the sources of docs/credential-plugins.md");
    std::string base = world_.Env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (base.empty()) base = bytes::Lower(world_.Env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")) == "ipv6" ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
    while (base.ends_with('/')) base.pop_back();
    const auto call = [&](std::string_view path) -> Result<Call> {
      Call c{.peer = "the instance metadata service", .metadata = true};
      ASSIGN_OR_RETURN(c.url, ConfiguredUrl(base + std::string(path), "AWS_EC2_METADATA_SERVICE_ENDPOINT"));
      return c;
    };
    ASSIGN_OR_RETURN(Call ask, call("/latest/api/token"));
    ask.method = http::Method::kPut;
    ask.headers.Add("X-aws-ec2-metadata-token-ttl-seconds", "300");
    auto session = Ask(ctx_, world_, ask);
    if (!session)
      return Error(std::move(session).error())
          .Next("on EC2: enable IMDSv2 and, where the kubelet runs in a container, a hop limit of 2; elsewhere: configure another source of keys");
    if (session->empty() || !IsVisible(session->Reveal())) return Error(Reason::kTokenError, "the instance metadata service gave no session token");

    constexpr std::string_view kPath = "/latest/meta-data/iam/security-credentials/";
    ASSIGN_OR_RETURN(ask, call(kPath));
    ask.headers.Add("X-aws-ec2-metadata-token", session->Reveal());
    auto roles = Ask(ctx_, world_, ask);
    if (!roles) {
      if (roles.error().reason() != Reason::kNotFound) return std::move(roles).error();
      return Error(Reason::kInvalidCredentials, "this instance has no IAM role").Next("attach an instance profile that may pull from ECR");
    }
    const std::string_view role = Trimmed(roles->Reveal().substr(0, roles->Reveal().find('\n')));
    if (role.empty() || role.size() > 256) return Error(Reason::kTokenError, "the instance metadata service named no role");
    ASSIGN_OR_RETURN(ask, call(std::string(kPath) + http::PercentEncode(role)));
    ask.headers.Add("X-aws-ec2-metadata-token", session->Reveal());
    ASSIGN_OR_RETURN(const auto body, Ask(ctx_, world_, ask));
    return ParseAwsKeys(body.Reveal());
  }

  Result<std::optional<AwsKeys>> AssumeRole(const std::string& role, const secret::Secret& token, std::string session_name) {
    if (session_name.empty()) session_name = "berth-credential-ecr";
    std::string region = world_.Env("AWS_REGION");
    if (region.empty()) region = world_.Env("AWS_DEFAULT_REGION");
    if (region.empty()) region = region_;
    if (!IsAwsRegion(region)) return Error(Reason::kConfig, "AWS_REGION is not a region name");
    const bool fips = IsTrue(world_, "AWS_USE_FIPS_ENDPOINT") && !region.starts_with("us-gov-");  // there every endpoint is one
    Call call{.peer = "AWS STS", .method = http::Method::kPost, .retry_codes = AwsRetryCodes()};
    ASSIGN_OR_RETURN(call.url, AwsEndpoint(world_, "STS", "https://sts" + std::string(fips ? "-fips." : ".") + region + "." + std::string(AwsDnsSuffix(region)) + "/"));
    call.headers.Add("Content-Type", "application/x-www-form-urlencoded");
    call.body = Form({{"Action", "AssumeRoleWithWebIdentity"}, {"Version", "2011-06-15"}, {"RoleArn", role},
                      {"RoleSessionName", session_name}, {"WebIdentityToken", token.Reveal()}});
    auto body = Ask(ctx_, world_, call, AwsErrorCodes());
    if (!body) return std::move(body).error().Context("role " + Quoted(role));
    ASSIGN_OR_RETURN(auto keys, ParseStsResponse(body->Reveal()));
    return std::optional<AwsKeys>(std::move(keys));
  }

  const task::Context& ctx_;
  const World& world_;
  const ExecRequest& request_;
  const std::string region_;
};

}  // namespace

Result<AwsKeys> FindAwsKeys(const task::Context& ctx, const World& world, const ExecRequest& request, std::string_view region) {
  return Finder(ctx, world, request, region).Find();
}

Result<std::optional<AwsProfile>> ParseAwsProfile(std::string_view text, AwsFile kind, std::string_view profile) {
  std::optional<AwsProfile> out;
  bool in_section = false, inside = false;
  int number = 0;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++number;
    const bool indented = line.starts_with(' ') || line.starts_with('\t');
    line = Trimmed(line);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    const auto refuse = [&](std::string_view why) {
      return Error(Reason::kConfig, "line " + std::to_string(number) + " " + std::string(why));
    };
    if (line[0] == '[') {
      const auto end = line.find(']');
      const std::string_view after = end == std::string_view::npos ? "" : Trimmed(line.substr(end + 1));
      if (end == std::string_view::npos || (!after.empty() && after[0] != '#' && after[0] != ';')) return refuse("is not a section");
      std::string_view name = Trimmed(line.substr(1, end - 1));
      in_section = true;
      inside = name == profile;
      if (kind == AwsFile::kConfig && name != "default") {
        inside = name.starts_with("profile") && name.size() > 7 && (name[7] == ' ' || name[7] == '\t') && Trimmed(name.substr(7)) == profile;
      }
      if (inside && !out) out.emplace();
      continue;
    }
    if (!in_section) return refuse("stands before the first section");
    if (indented) continue;
    const auto equals = line.find('=');
    if (equals == std::string_view::npos || equals == 0) return refuse("is not key = value");
    if (inside) (*out)[bytes::Lower(Trimmed(line.substr(0, equals)))] = std::string(Trimmed(line.substr(equals + 1)));
  }
  return out;
}

Result<AwsKeys> ParseStsResponse(std::string_view xml) {
  const auto between = [](std::string_view text, const std::string& name) -> std::string_view {
    const auto begin = text.find("<" + name + ">");
    if (begin == std::string_view::npos) return {};
    text.remove_prefix(begin + name.size() + 2);
    const auto end = text.find("</" + name + ">");
    return end == std::string_view::npos ? std::string_view() : Trimmed(text.substr(0, end));
  };
  const std::string_view credentials = between(xml, "Credentials");
  const std::string_view id = between(credentials, "AccessKeyId"), secret = between(credentials, "SecretAccessKey"),
                         session = between(credentials, "SessionToken");
  // Base64 and letters: markup or an entity in one of them means that this is not what it should be.
  for (const std::string_view value : {id, secret, session})
    if (value.empty() || value.find_first_of("<>&") != std::string_view::npos)
      return Error(Reason::kTokenError, "the answer of AWS STS holds no credentials");
  auto keys = CheckedKeys(id, secret, session, "the answer of AWS STS");
  if (!keys) return Error(Reason::kTokenError, keys.error().message());
  return keys;
}

Result<AwsKeys> ParseAwsKeys(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, ParseAnswer(text));
  const json::Value root = document.root();
  // The metadata service says "Success"; the container endpoint says nothing.
  if (const auto code = root.Find("Code"); code && code->AsString().value_or("") != "Success")
    return Error(Reason::kTokenError, "the answer says that the credentials could not be made").Next("check the instance's role and its trust policy");
  ASSIGN_OR_RETURN(const auto id, SecretField(root, "AccessKeyId"));
  ASSIGN_OR_RETURN(const auto secret, SecretField(root, "SecretAccessKey"));
  secret::Secret session;
  if (const auto token = root.Find("Token"); token && !token->IsNull()) {
    ASSIGN_OR_RETURN(session, SecretField(root, "Token"));
  }
  auto keys = CheckedKeys(id.Reveal(), secret.Reveal(), session.Reveal(), "the answer");
  if (!keys) return Error(Reason::kTokenError, keys.error().message());
  return keys;
}

bool IsAwsRegion(std::string_view region) {
  return !region.empty() && region.size() <= 32 && region.front() != '-' && region.back() != '-' &&
         std::all_of(region.begin(), region.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

std::string_view AwsDnsSuffix(std::string_view region) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kPartitions{{
      {"cn-", "amazonaws.com.cn"}, {"eusc-", "amazonaws.eu"}, {"us-iso-", "c2s.ic.gov"},
      {"us-isob-", "sc2s.sgov.gov"}, {"eu-isoe-", "cloud.adc-e.uk"}, {"us-isof-", "csp.hci.ic.gov"}}};
  for (const auto& [prefix, suffix] : kPartitions)
    if (region.starts_with(prefix)) return suffix;
  return "amazonaws.com";
}

Result<http::Url> AwsEndpoint(const World& world, std::string_view service, const std::string& fallback) {
  if (!IsTrue(world, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) {
    for (const std::string& name : {"AWS_ENDPOINT_URL_" + std::string(service), std::string("AWS_ENDPOINT_URL")})
      if (const std::string url = world.Env(name); !url.empty()) return ConfiguredUrl(url, name);
  }
  return ConfiguredUrl(fallback, "the endpoint of AWS " + std::string(service));
}

std::span<const std::string_view> AwsErrorCodes() {
  static constexpr std::array<std::string_view, 16> kCodes{
      "AccessDenied", "ExpiredToken", "InvalidIdentityToken", "IDPRejectedClaim", "IDPCommunicationError", "InvalidClientTokenId",
      "UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "RequestExpired",
      "RequestTimeTooSkewed", "RegionDisabledException", "OptInRequired", "ThrottlingException", "InvalidParameterException"};
  return kCodes;
}

std::span<const std::string_view> AwsRetryCodes() {
  static constexpr std::array<std::string_view, 3> kCodes{"Throttling", "IDPCommunicationError", "RequestLimitExceeded"};
  return kCodes;
}

}  // namespace berth::cloud
