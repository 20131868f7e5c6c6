#include "cloud/acr.h"

#include <algorithm>
#include <array>

#include "cloud/tokens.h"
#include "host/dir.h"
#include "json/document.h"
#include "log/log.h"

namespace berth::cloud {
namespace {

constexpr std::string_view kUser = "00000000-0000-0000-0000-000000000000";
constexpr std::array<std::string_view, 7> kErrorCodes{"invalid_client", "unauthorized_client", "invalid_grant", "invalid_resource",
                                                      "invalid_scope", "invalid_request", "UNAUTHORIZED"};

// Names as in azure.json, where case does not count.
Result<std::string_view> AuthorityOf(std::string_view cloud) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kClouds{{{"", "https://login.microsoftonline.com"},
                                                                                 {"AzurePublicCloud", "https://login.microsoftonline.com"},
                                                                                 {"AzureCloud", "https://login.microsoftonline.com"},
                                                                                 {"AzureChinaCloud", "https://login.chinacloudapi.cn"},
                                                                                 {"AzureUSGovernmentCloud", "https://login.microsoftonline.us"},
                                                                                 {"AzureUSGovernment", "https://login.microsoftonline.us"}}};
  for (const auto& [name, authority] : kClouds)
    if (http::EqualNoCase(name, cloud)) return authority;
  return Error(Reason::kConfig, "cloud " + Quoted(cloud) + " is not known").Next("set AZURE_AUTHORITY_HOST");
}

// A tenant becomes a path of the authority, a client an OAuth parameter: GUIDs or domain names.
bool IsName(std::string_view s) {
  return !s.empty() && s.size() <= 255 && s.front() != '.' && std::all_of(s.begin(), s.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

class Finder {
 public:
  Finder(const task::Context& ctx, const World& world, const ExecRequest& request, const AcrOptions& options)
      : ctx_(ctx), world_(world), request_(request), options_(options) {}

  Result<secret::Secret> Find() {
    if (!options_.config_file.empty()) {
      ASSIGN_OR_RETURN(const auto text, ReadConfig());
      auto parsed = AzureConfig::Parse(text.Reveal());
      if (!parsed) return std::move(parsed).error().Context(Quoted(options_.config_file));
      config_ = *std::move(parsed);
    }
    tenant_ = config_.tenant.empty() ? world_.Env("AZURE_TENANT_ID") : config_.tenant;

    if (!request_.service_account_token.empty()) {
      const std::string client(request_.Annotation("kubernetes.azure.com/acr-client-id"));
      if (const auto tenant = request_.Annotation("kubernetes.azure.com/acr-tenant-id"); !tenant.empty()) tenant_ = tenant;
      if (!client.empty()) return Assert("the service account token", client, request_.service_account_token.Clone());
    }
    return options_.config_file.empty() ? FromEnvironment() : FromConfig();
  }

  const std::string& tenant() const { return tenant_; }

 private:
  Result<secret::Secret> ReadConfig() {
    auto text = host::ReadSmallFile(options_.config_file, 1u << 20);
    if (!text) return Error(Reason::kConfig, text.error().message()).Context(Quoted(options_.config_file));
    return secret::Secret::Take(*text);
  }

  Result<secret::Secret> FromConfig() {
    if (config_.federated) {
      ASSIGN_OR_RETURN(auto assertion, ReadTokenFile(config_.token_file, "aadFederatedTokenFile"));
      return Assert("aadFederatedTokenFile", config_.client, std::move(assertion));
    }
    if (config_.managed_identity) return ManagedIdentity(config_.identity);
    if (!config_.client.empty() && !config_.client_secret.empty()) return ClientSecret("aadClientSecret", config_.client, config_.client_secret);
    return Error(Reason::kConfig, Quoted(options_.config_file) + " names neither a managed identity nor aadClientId with aadClientSecret");
  }

  Result<secret::Secret> FromEnvironment() {
    const std::string client = world_.Env("AZURE_CLIENT_ID"), file = world_.Env("AZURE_FEDERATED_TOKEN_FILE");
    std::string text = world_.Env("AZURE_CLIENT_SECRET");
    const secret::Secret client_secret = secret::Secret::Take(text);
    if (!client_secret.empty()) return ClientSecret("AZURE_CLIENT_SECRET", client, client_secret);
    if (file.empty()) return ManagedIdentity(client);
    ASSIGN_OR_RETURN(auto assertion, ReadTokenFile(file, "AZURE_FEDERATED_TOKEN_FILE"));
    return Assert("AZURE_FEDERATED_TOKEN_FILE", client, std::move(assertion));
  }

  Result<secret::Secret> ClientSecret(std::string_view source, const std::string& client, const secret::Secret& value) {
    return AskAuthority(source, client, [&](const std::string& scope) {
      return Form({{"grant_type", "client_credentials"}, {"client_id", client}, {"scope", scope}, {"client_secret", value.Reveal()}});
    });
  }

  Result<secret::Secret> Assert(std::string_view source, const std::string& client, secret::Secret assertion) {
    return AskAuthority(source, client, [&](const std::string& scope) {
      return Form({{"grant_type", "client_credentials"}, {"client_id", client}, {"scope", scope},
                   {"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, {"client_assertion", assertion.Reveal()}});
    });
  }

  template <class MakeForm>
  Result<secret::Secret> AskAuthority(std::string_view source, const std::string& client, const MakeForm& form) {
    log::Debug("token from the authority", {{"source", source}});
    const std::string with = " is used with " + std::string(source);
    if (!IsName(client)) return Error(Reason::kConfig, (client.empty() ? "no client ID" : "a malformed client ID") + with);
    if (!IsName(tenant_)) return Error(Reason::kConfig, (tenant_.empty() ? "no tenant ID" : "a malformed tenant ID") + with);
    std::string authority = world_.Env("AZURE_AUTHORITY_HOST");
    if (authority.empty()) {
      ASSIGN_OR_RETURN(authority, AuthorityOf(config_.cloud));
    }
    while (authority.ends_with('/')) authority.pop_back();
    Call call{.peer = "Entra ID", .method = http::Method::kPost};
    ASSIGN_OR_RETURN(call.url, ConfiguredUrl(authority + "/" + tenant_ + "/oauth2/v2.0/token", "AZURE_AUTHORITY_HOST"));
    call.headers.Add("Content-Type", "application/x-www-form-urlencoded");
    std::string scope = options_.resource;
    while (scope.ends_with('/')) scope.pop_back();
    call.body = form(scope + "/.default");
    return AccessToken(call);
  }

  Result<secret::Secret> ManagedIdentity(const std::string& identity) {
    log::Debug("token from the managed identity");
    std::string base = world_.Env("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    if (base.empty()) base = "http://169.254.169.254";
    while (base.ends_with('/')) base.pop_back();
    // 404 and 410: the identity is being set up (documented as "retry").
    Call call{.peer = "the instance metadata service", .metadata = true, .also_retry = {404, 410}};
    std::string url = base + "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + http::PercentEncode(options_.resource);
    // A resource ID is "/subscriptions/…", anything else a client ID.
    if (!identity.empty()) url += (identity.starts_with('/') ? "&msi_res_id=" : "&client_id=") + http::PercentEncode(identity);
    ASSIGN_OR_RETURN(call.url, ConfiguredUrl(url, "AZURE_POD_IDENTITY_AUTHORITY_HOST"));
    call.headers.Add("Metadata", "true");
    auto token = AccessToken(call);
    if (!token && token.error().reason() == Reason::kInvalidCredentials)
      return Error(std::move(token).error()).Next("assign the identity to this machine, or name the right one (userAssignedIdentityID, AZURE_CLIENT_ID)");
    return token;
  }

  Result<secret::Secret> AccessToken(const Call& call) {
    ASSIGN_OR_RETURN(const Answer answer, Exchange(ctx_, world_, call));
    if (answer.status != 200) {
      const std::string code = EntraCode(answer.body.Reveal());
      const std::string_view word = KnownWord(answer.body.Reveal(), kErrorCodes);
      std::string text = call.peer + " answers with status " + std::to_string(answer.status);
      if (!word.empty()) text += " and the code " + std::string(word);
      if (!code.empty()) text += " (" + code + ")";
      return Error(answer.status == 400 || answer.status == 401 ? Reason::kInvalidCredentials : Reason::kUnexpectedStatus, std::move(text));
    }
    const auto parse = [&]() -> Result<secret::Secret> {
      ASSIGN_OR_RETURN(const auto document, ParseAnswer(answer.body.Reveal()));
      return SecretField(document.root(), "access_token");
    };
    auto token = parse();
    if (!token) return std::move(token).error().Context("the answer of " + call.peer);
    return token;
  }

  const task::Context& ctx_;
  const World& world_;
  const ExecRequest& request_;
  const AcrOptions& options_;
  AzureConfig config_;
  std::string tenant_;
};

}  // namespace

bool IsAzureRegistry(std::string_view host) {
  const auto dot = host.find('.');
  constexpr std::array<std::string_view, 4> kDomains{"azurecr.io", "azurecr.cn", "azurecr.us", "azurecr.de"};
  return dot != 0 && dot != std::string_view::npos && host.find(':') == std::string_view::npos &&
         std::find(kDomains.begin(), kDomains.end(), host.substr(dot + 1)) != kDomains.end();
}

Result<AzureConfig> AzureConfig::Parse(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(text, Reason::kConfig, {.bytes = 1u << 20, .depth = 16}));
  const json::Value root = document.root();
  if (!root.IsObject()) return Error(Reason::kConfig, "the file is not a JSON object");
  const auto string = [&](std::string_view key) -> Result<std::string> {
    const auto value = root.Find(key);
    if (!value || value->IsNull()) return std::string();
    ASSIGN_OR_RETURN(const auto s, value->AsString());
    return std::string(s);
  };
  const auto boolean = [&](std::string_view key) -> Result<bool> {
    const auto value = root.Find(key);
    if (!value || value->IsNull()) return false;
    return value->AsBool();
  };
  AzureConfig c;
  ASSIGN_OR_RETURN(c.cloud, string("cloud"));
  ASSIGN_OR_RETURN(c.tenant, string("tenantId"));
  ASSIGN_OR_RETURN(c.client, string("aadClientId"));
  ASSIGN_OR_RETURN(c.identity, string("userAssignedIdentityID"));
  ASSIGN_OR_RETURN(c.token_file, string("aadFederatedTokenFile"));
  ASSIGN_OR_RETURN(std::string client_secret, string("aadClientSecret"));
  ASSIGN_OR_RETURN(c.managed_identity, boolean("useManagedIdentityExtension"));
  ASSIGN_OR_RETURN(c.federated, boolean("useFederatedWorkloadIdentityExtension"));
  if (c.federated && c.token_file.empty())
    return Error(Reason::kConfig, "useFederatedWorkloadIdentityExtension is set and aadFederatedTokenFile is not");
  // AKS writes "msi" in place of a service principal.
  c.managed_identity = c.managed_identity || c.client == "msi";
  c.client_secret = secret::Secret::Take(client_secret);
  return c;
}

std::string EntraCode(std::string_view body) {
  constexpr std::string_view kMark = "AADSTS";
  const auto at = body.find(kMark);
  if (at == std::string_view::npos) return {};
  std::size_t end = at + kMark.size();
  while (end < body.size() && end < at + kMark.size() + 10 && body[end] >= '0' && body[end] <= '9') ++end;
  return end == at + kMark.size() ? std::string() : std::string(body.substr(at, end - at));
}

Result<Login> AcrLogin(const task::Context& ctx, const World& world, const ExecRequest& request, const AcrOptions& options) {
  if (!IsAzureRegistry(request.host))
    return Error(Reason::kUsage, Quoted(request.host) + " is not an Azure container registry").Next("narrow matchImages of this provider to *.azurecr.io and its like");
  Finder finder(ctx, world, request, options);
  ASSIGN_OR_RETURN(const auto access, finder.Find());

  Call call{.peer = "the registry " + request.host, .method = http::Method::kPost};
  const std::string base = options.registry_endpoint.empty() ? "https://" + request.host : options.registry_endpoint;
  ASSIGN_OR_RETURN(call.url, ConfiguredUrl(base + "/oauth2/exchange", "--registry-endpoint"));
  call.headers.Add("Content-Type", "application/x-www-form-urlencoded");
  call.body = finder.tenant().empty() ? Form({{"grant_type", "access_token"}, {"service", request.host}, {"access_token", access.Reveal()}})
                                      : Form({{"grant_type", "access_token"}, {"service", request.host}, {"tenant", finder.tenant()},
                                              {"access_token", access.Reveal()}});
  auto body = Ask(ctx, world, call, kErrorCodes);
  if (!body) {
    Error e = std::move(body).error();
    if (e.reason() == Reason::kUnauthorized || e.reason() == Reason::kDenied)
      return std::move(e).Next("give the identity the role AcrPull on this registry");
    return e;
  }
  const auto parse = [&]() -> Result<secret::Secret> {
    ASSIGN_OR_RETURN(const auto document, ParseAnswer(body->Reveal()));
    return SecretField(document.root(), "refresh_token");
  };
  auto refresh = parse();
  if (!refresh) return std::move(refresh).error().Context("the answer of " + call.peer);
  const auto expires = JwtExpiry(refresh->Reveal());
  return Login{CacheKey::kRegistry, {request.host}, std::string(kUser), *std::move(refresh), expires};
}

}  // namespace berth::cloud
