// Azure Container Registry against servers that answer as Entra ID, the instance metadata service and a registry are documented.
#include "cloud/acr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "cloud/testing/fake_world.h"
#include "bytes/base64url.h"
#include "cloud/tokens.h"

namespace berth::cloud {
namespace {

using http::testing::Ca;
using http::testing::FaultServer;
using http::testing::Reply;
using http::testing::ServerOptions;
using http::testing::ServerRequest;
using http::testing::ServerTls;
using std::chrono::minutes;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using testing::FakeWorld;
using testing::RequestFor;

constexpr std::string_view kImage = "team.azurecr.io/app";
constexpr std::string_view kTenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
constexpr std::string_view kClient = "11111111-2222-3333-4444-555555555555";

struct Host { std::string host; bool azure; };
void PrintTo(const Host& h, std::ostream* out) { *out << h.host; }
class AzureHosts : public ::testing::TestWithParam<Host> {};
TEST_P(AzureHosts, AreKnown) { EXPECT_EQ(IsAzureRegistry(GetParam().host), GetParam().azure); }
INSTANTIATE_TEST_SUITE_P(Table, AzureHosts,
                         ::testing::Values(Host{"team.azurecr.io", true}, Host{"team-abc123.azurecr.io", true}, Host{"team.azurecr.cn", true},
                                           Host{"team.azurecr.us", true}, Host{"team.azurecr.de", true}, Host{"azurecr.io", false}, Host{".azurecr.io", false},
                                           Host{"a.b.azurecr.io", false}, Host{"team.azurecr.io.evil.example", false}, Host{"team.azurecr.io:443", false},
                                           Host{"x:1.azurecr.io", false}, Host{"teamazurecr.io", false}, Host{"", false}));

const std::vector<std::string> kNames{"team.azurecr.io", "login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn"};

class Acr : public ::testing::Test {
 protected:
  Acr() {
    world_.Trust(ca_);
    for (const std::string& host : kNames) world_.Lead(host, 443, cloud_);
    world_.Lead("169.254.169.254", 80, imds_);
  }

  std::string Refresh() {
    const auto until = world_.clock.WallNow() + std::chrono::hours(3);
    const auto exp = std::chrono::duration_cast<std::chrono::seconds>(until.time_since_epoch()).count();
    return "e30." + bytes::ToBase64Url(bytes::AsView(R"({"exp":)" + std::to_string(exp) + "}")) + ".c2ln";
  }

  Reply Cloud(const ServerRequest& r) {
    if (r.header("host") == "team.azurecr.io") {
      if (exchange_) return *exchange_;
      if (r.method == "POST" && r.target == "/oauth2/exchange") return Reply::Json(200, R"({"refresh_token":")" + Refresh() + R"("})");
      return Reply::Text(404, "");
    }
    if (token_) return *token_;
    return r.method == "POST" && r.target == "/" + std::string(kTenant) + "/oauth2/v2.0/token"
               ? Reply::Json(200, R"({"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"entra-token"})")
               : Reply::Json(400, R"({"error":"invalid_request","error_description":"AADSTS90002: canary"})");
  }
  Reply Imds(const ServerRequest& r) {
    if (!imds_answers_.empty()) {
      Reply next = imds_answers_.front();
      imds_answers_.erase(imds_answers_.begin());
      return next;
    }
    if (r.header("metadata") != "true") return Reply::Json(400, R"({"error":"bad_request_102"})");
    return Reply::Json(200, R"({"access_token":"imds-token","client_id":"x","expires_in":"86399","expires_on":"1764096399",)"
                            R"("resource":"r","token_type":"Bearer"})");
  }

  Result<Login> Ask(const AcrOptions& options = {}, const ExecRequest& request = RequestFor(kImage)) {
    return AcrLogin(world_.ctx(), world_.world(), request, options);
  }
  AcrOptions Config(std::string_view json) { return {.config_file = world_.File("azure.json", json)}; }

  Ca ca_;
  FakeWorld world_;
  std::optional<Reply> exchange_, token_;
  std::vector<Reply> imds_answers_;
  FaultServer cloud_{[this](const ServerRequest& r) { return Cloud(r); },
                     ServerOptions{.tls = ServerTls{.leaf = ca_.Issue(kNames)}}};
  FaultServer imds_{[this](const ServerRequest& r) { return Imds(r); }};
};

TEST_F(Acr, ManagedIdentityOfTheMachine) {
  const auto login = Ask();
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_EQ(login->user, "00000000-0000-0000-0000-000000000000");
  EXPECT_EQ(login->password.Reveal(), Refresh());
  EXPECT_EQ(login->cache_key, CacheKey::kRegistry);
  EXPECT_THAT(login->patterns, ElementsAre("team.azurecr.io"));
  EXPECT_EQ(CacheDuration(login->expires, world_.clock.WallNow()), minutes(165));
  EXPECT_EQ(imds_.requests().at(0).target, "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fcontainerregistry.azure.net");
  const ServerRequest r = cloud_.requests().at(0);
  EXPECT_EQ(r.body, "grant_type=access_token&service=team.azurecr.io&access_token=imds-token");
  EXPECT_EQ(r.header("content-type"), "application/x-www-form-urlencoded");
}

TEST_F(Acr, ManagedIdentityByClient) {
  world_.env["AZURE_CLIENT_ID"] = kClient;
  world_.env["AZURE_TENANT_ID"] = kTenant;
  ASSERT_TRUE(Ask());
  EXPECT_THAT(imds_.requests().at(0).target, HasSubstr("&client_id=" + std::string(kClient)));
  EXPECT_THAT(cloud_.requests().at(0).body, HasSubstr("&tenant=" + std::string(kTenant) + "&"));
}

TEST_F(Acr, ManagedIdentityOfTheConfigByResource) {
  ASSERT_TRUE(Ask(Config(R"({"useManagedIdentityExtension":true,"userAssignedIdentityID":"/subscriptions/s/x","aadClientId":"msi","tenantId":"t"})")));
  EXPECT_THAT(imds_.requests().at(0).target, HasSubstr("&msi_res_id=%2Fsubscriptions%2Fs%2Fx"));
}

TEST_F(Acr, MetadataServiceElsewhereAndForAnotherAudience) {
  world_.env["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = imds_.url("/");
  ASSERT_TRUE(Ask({.resource = "https://management.azure.com/"}));
  EXPECT_EQ(imds_.requests().at(0).header("host"), imds_.host_port());
  EXPECT_THAT(imds_.requests().at(0).target, HasSubstr("resource=https%3A%2F%2Fmanagement.azure.com%2F"));
}

TEST_F(Acr, IdentityThatIsBeingSetUpIsWaitedFor) {
  imds_answers_ = {Reply::Text(404, ""), Reply::Text(410, "")};
  ASSERT_TRUE(Ask());
  EXPECT_THAT(imds_.requests(), SizeIs(3));
}

TEST_F(Acr, MsiInPlaceOfAServicePrincipal) {
  ASSERT_TRUE(Ask(Config(R"({"aadClientId":"msi","aadClientSecret":"msi","tenantId":"t"})")));
  EXPECT_THAT(imds_.requests(), SizeIs(1));
}

TEST_F(Acr, ServicePrincipalOfTheConfig) {
  const auto login = Ask(Config(R"({"cloud":"AzurePublicCloud","tenantId":")" + std::string(kTenant) + R"(","aadClientId":")" + std::string(kClient) +
                                R"(","aadClientSecret":"canary~se.cret","subscriptionId":"s","useInstanceMetadata":true,"vmType":"vmss"})"));
  ASSERT_TRUE(login) << login.error().Text();
  const ServerRequest r = cloud_.requests().at(0);
  EXPECT_EQ(r.header("host"), "login.microsoftonline.com");
  EXPECT_EQ(r.body, "grant_type=client_credentials&client_id=" + std::string(kClient) +
                        "&scope=https%3A%2F%2Fcontainerregistry.azure.net%2F.default&client_secret=canary~se.cret");
  EXPECT_EQ(cloud_.requests().at(1).body,
            "grant_type=access_token&service=team.azurecr.io&tenant=" + std::string(kTenant) + "&access_token=entra-token");
  EXPECT_THAT(imds_.requests(), SizeIs(0));
}

TEST_F(Acr, SecretOfTheEnvironmentInTheGovernmentCloud) {
  world_.env = {{"AZURE_CLIENT_ID", std::string(kClient)}, {"AZURE_TENANT_ID", std::string(kTenant)}, {"AZURE_CLIENT_SECRET", "s"},
                {"AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"}};
  ASSERT_TRUE(Ask());
  EXPECT_EQ(cloud_.requests().at(0).header("host"), "login.microsoftonline.us");
}

TEST_F(Acr, CloudOfTheConfigChoosesTheAuthority) {
  ASSERT_TRUE(Ask(Config(R"({"cloud":"AZURECHINACLOUD","tenantId":")" + std::string(kTenant) + R"(","aadClientId":"c","aadClientSecret":"s"})")));
  EXPECT_EQ(cloud_.requests().at(0).header("host"), "login.chinacloudapi.cn");
}

TEST_F(Acr, FederatedTokenOfTheEnvironment) {
  world_.env = {{"AZURE_CLIENT_ID", std::string(kClient)}, {"AZURE_TENANT_ID", std::string(kTenant)},
                {"AZURE_FEDERATED_TOKEN_FILE", world_.File("token", "k8s.jwt.token\n")}};
  ASSERT_TRUE(Ask());
  EXPECT_EQ(cloud_.requests().at(0).body,
            "grant_type=client_credentials&client_id=" + std::string(kClient) + "&scope=https%3A%2F%2Fcontainerregistry.azure.net%2F.default&client_assertion_type="
            "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=k8s.jwt.token");
}

TEST_F(Acr, FederatedTokenOfTheConfig) {
  ASSERT_TRUE(Ask(Config(R"({"useFederatedWorkloadIdentityExtension":true,"aadFederatedTokenFile":")" + world_.File("token", "k8s.jwt.token") +
                         R"(","tenantId":")" + std::string(kTenant) + R"(","aadClientId":"c"})")));
  EXPECT_THAT(cloud_.requests().at(0).body, HasSubstr("client_assertion=k8s.jwt.token"));
}

TEST_F(Acr, ServiceAccountTokenOfThePod) {
  const auto login = Ask({}, RequestFor(kImage, "pod.jwt.token", {{"kubernetes.azure.com/acr-client-id", std::string(kClient)},
                                                                  {"kubernetes.azure.com/acr-tenant-id", std::string(kTenant)}}));
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_THAT(cloud_.requests().at(0).body, AllOf(HasSubstr("client_assertion=pod.jwt.token"), HasSubstr("client_id=" + std::string(kClient))));
  EXPECT_THAT(cloud_.requests().at(1).body, HasSubstr("&tenant=" + std::string(kTenant)));
  EXPECT_THAT(imds_.requests(), SizeIs(0));
}

TEST_F(Acr, RegistryElsewhere) {
  FaultServer gateway([](const ServerRequest&) { return Reply::Json(200, R"({"refresh_token":"opaque"})"); });
  const auto login = Ask({.registry_endpoint = gateway.url("")});
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_EQ(gateway.requests().at(0).target, "/oauth2/exchange");
  EXPECT_FALSE(login->expires);  // opaque: not cached
}

TEST_F(Acr, RefusedExchangeNamesTheRole) {
  exchange_ = Reply::Json(401, R"({"errors":[{"code":"UNAUTHORIZED","message":"canary"}]})");
  const auto login = Ask();
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kUnauthorized);
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr("team.azurecr.io"), HasSubstr("status 401"), Not(HasSubstr("canary"))));
  EXPECT_THAT(login.error().next_step(), HasSubstr("AcrPull"));
}

TEST_F(Acr, RefusedSecretIsExplainedByItsCode) {
  world_.env = {{"AZURE_CLIENT_ID", std::string(kClient)}, {"AZURE_TENANT_ID", std::string(kTenant)}, {"AZURE_CLIENT_SECRET", "canary"}};
  token_ = Reply::Json(401, R"({"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret. canary"})");
  const auto login = Ask();
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kInvalidCredentials);
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr("invalid_client"), HasSubstr("(AADSTS7000215)"), Not(HasSubstr("canary"))));
}

TEST_F(Acr, MachineWithoutIdentityIsToldSo) {
  imds_answers_ = {Reply::Json(400, R"({"error":"invalid_request","error_description":"Identity not found"})")};
  const auto login = Ask();
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kInvalidCredentials);
  EXPECT_THAT(login.error().next_step(), HasSubstr("assign the identity"));
}

TEST_F(Acr, AnswersThatAreNoTokensAreRefused) {
  for (const std::string_view body : {"canary", "{}", R"({"refresh_token":""})", R"({"refresh_token":"a\ncanary"})", R"({"refresh_token":null})"}) {
    exchange_ = Reply::Json(200, body);
    const auto login = Ask();
    ASSERT_FALSE(login) << body;
    EXPECT_EQ(login.error().reason(), Reason::kTokenError);
    EXPECT_THAT(login.error().Text(), Not(HasSubstr("canary")));
  }
}

struct BadConfig { std::string name, json; std::map<std::string, std::string, std::less<>> env; std::string_view message; };
void PrintTo(const BadConfig& c, std::ostream* out) { *out << c.name; }
class BadConfigs : public Acr, public ::testing::WithParamInterface<BadConfig> {};

TEST_P(BadConfigs, AreRefusedInWords) {
  world_.env = GetParam().env;
  const auto login = Ask(GetParam().json.empty() ? AcrOptions{} : Config(GetParam().json));
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kConfig) << login.error().Text();
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr(std::string(GetParam().message)), Not(HasSubstr("canary"))));
  EXPECT_THAT(cloud_.requests(), SizeIs(0));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadConfigs,
    ::testing::Values(
        BadConfig{"no JSON", "canary", {}, "azure.json"}, BadConfig{"no object", "[]", {}, "azure.json"},
        BadConfig{"wrong type", R"({"aadClientSecret":["canary"]})", {}, "aadClientSecret"},
        BadConfig{"wrong flag", R"({"useManagedIdentityExtension":"canary"})", {}, "useManagedIdentityExtension"},
        BadConfig{"nothing in it", "{}", {}, "neither a managed identity nor"},
        BadConfig{"federation without a file", R"({"useFederatedWorkloadIdentityExtension":true})", {}, "aadFederatedTokenFile is not"},
        BadConfig{"unknown cloud", R"({"cloud":"AzureMoonCloud","tenantId":"t","aadClientId":"c","aadClientSecret":"canary"})", {}, "\"AzureMoonCloud\""},
        BadConfig{"no tenant", R"({"aadClientId":"c","aadClientSecret":"canary"})", {}, "no tenant ID"},
        BadConfig{"tenant with a path", R"({"tenantId":"../x","aadClientId":"c","aadClientSecret":"canary"})", {}, "malformed tenant ID"},
        BadConfig{"no client", "", {{"AZURE_CLIENT_SECRET", "canary"}, {"AZURE_TENANT_ID", "t"}}, "no client ID"},
        BadConfig{"authority", "", {{"AZURE_CLIENT_SECRET", "canary"}, {"AZURE_TENANT_ID", "t"}, {"AZURE_CLIENT_ID", "c"}, {"AZURE_AUTHORITY_HOST", "login"}}, "AZURE_AUTHORITY_HOST"},
        BadConfig{"token file", "", {{"AZURE_FEDERATED_TOKEN_FILE", "/nonexistent"}, {"AZURE_TENANT_ID", "t"}, {"AZURE_CLIENT_ID", "c"}}, "\"/nonexistent\""}));

TEST(Entra, CodesAreDigits) {
  EXPECT_EQ(EntraCode("x AADSTS50034: y"), "AADSTS50034");
  EXPECT_EQ(EntraCode("AADSTS"), "");
  EXPECT_EQ(EntraCode("AADSTSx1"), "");
  EXPECT_EQ(EntraCode("AADSTS12345678901234"), "AADSTS1234567890");
}

}  // namespace
}  // namespace berth::cloud
