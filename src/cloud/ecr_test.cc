// Amazon ECR against servers that answer as AWS documents it: ECR, STS, the container endpoint, the metadata service.
#include "cloud/ecr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "bytes/encoding.h"
#include "cloud/aws.h"
#include "cloud/testing/fake_world.h"

namespace berth::cloud {
namespace {

using http::testing::Ca;
using http::testing::FaultServer;
using http::testing::ProxyServer;
using http::testing::Reply;
using http::testing::ServerOptions;
using http::testing::ServerRequest;
using http::testing::ServerTls;
using std::chrono::hours;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using testing::FakeWorld;
using testing::RequestFor;

constexpr std::string_view kHost = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
constexpr std::string_view kImage = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app";
constexpr std::string_view kKey = "AKIAIOSFODNN7EXAMPLE";
constexpr std::string_view kSecret = "canary/secret+key";
constexpr std::string_view kJwt = "eyJhbGciOi.canary-jwt.c2ln";

// ---- hosts

struct Host { std::string host; std::optional<EcrRegistry> expected; bool prefer_fips = false; };
void PrintTo(const Host& h, std::ostream* out) { *out << h.host; }
class Hosts : public ::testing::TestWithParam<Host> {};

TEST_P(Hosts, ChooseTheApi) {
  const auto got = EcrRegistry::FromHost(GetParam().host, GetParam().prefer_fips);
  ASSERT_EQ(got.has_value(), GetParam().expected.has_value());
  if (!got) return;
  EXPECT_EQ(got->region, GetParam().expected->region);
  EXPECT_EQ(got->api_host, GetParam().expected->api_host);
  EXPECT_EQ(got->is_public, GetParam().expected->is_public);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Hosts,
    ::testing::Values(
        Host{"123456789012.dkr.ecr.us-east-1.amazonaws.com", EcrRegistry{"us-east-1", "api.ecr.us-east-1.amazonaws.com", false}},
        Host{"123456789012.dkr.ecr.us-east-1.amazonaws.com", EcrRegistry{"us-east-1", "api.ecr-fips.us-east-1.amazonaws.com", false}, true},
        Host{"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", EcrRegistry{"us-gov-west-1", "api.ecr-fips.us-gov-west-1.amazonaws.com", false}},
        Host{"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", EcrRegistry{"cn-north-1", "api.ecr.cn-north-1.amazonaws.com.cn", false}},
        Host{"123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", EcrRegistry{"eusc-de-east-1", "api.ecr.eusc-de-east-1.amazonaws.eu", false}},
        Host{"123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", EcrRegistry{"us-iso-east-1", "api.ecr.us-iso-east-1.c2s.ic.gov", false}},
        Host{"123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", EcrRegistry{"us-isob-east-1", "api.ecr.us-isob-east-1.sc2s.sgov.gov", false}},
        Host{"123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", EcrRegistry{"eu-isoe-west-1", "api.ecr.eu-isoe-west-1.cloud.adc-e.uk", false}},
        Host{"123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", EcrRegistry{"us-isof-south-1", "api.ecr.us-isof-south-1.csp.hci.ic.gov", false}},
        Host{"123456789012.dkr-ecr.us-west-2.on.aws", EcrRegistry{"us-west-2", "ecr.us-west-2.api.aws", false}},
        Host{"123456789012.dkr-ecr-fips.us-west-2.on.aws", EcrRegistry{"us-west-2", "ecr-fips.us-west-2.api.aws", false}},
        Host{"123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", EcrRegistry{"cn-north-1", "ecr.cn-north-1.api.amazonwebservices.com.cn", false}},
        Host{"public.ecr.aws", EcrRegistry{"us-east-1", "api.ecr-public.us-east-1.amazonaws.com", true}},
        Host{"ecr-public.aws.com", EcrRegistry{"us-east-1", "ecr-public.us-east-1.api.aws", true}},
        Host{"12345678901.dkr.ecr.us-east-1.amazonaws.com", {}}, Host{"1234567890123.dkr.ecr.us-east-1.amazonaws.com", {}},
        Host{"a23456789012.dkr.ecr.us-east-1.amazonaws.com", {}}, Host{"123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example", {}},
        Host{"123456789012.dkr.ecr.us-east-1.evil.example", {}}, Host{"123456789012.dkr.ecr.evil.example/.amazonaws.com", {}},
        Host{"123456789012.dkr.ecr..amazonaws.com", {}}, Host{"123456789012.dkr.ecr.us-east-1.amazonaws.com:5000", {}},
        Host{"123456789012.dkr-ecr.us-east-1.amazonaws.com", {}}, Host{"123456789012.dkr.ecr.us-east-1.on.aws", {}},
        Host{"123456789012.dkr.ecr-slow.us-east-1.amazonaws.com", {}}, Host{"xpublic.ecr.aws", {}}, Host{"docker.io", {}}, Host{"", {}}));

// ---- what servers answer

std::string EcrBody(time::WallTime expires, bool is_public = false) {
  const auto at = std::chrono::duration_cast<std::chrono::milliseconds>(expires.time_since_epoch()).count();
  const std::string item = R"({"authorizationToken":")" + bytes::ToBase64(bytes::AsView("AWS:registry-password")) + R"(","expiresAt":)" +
                           std::to_string(at / 1000) + "." + std::to_string(at % 1000) + R"(,"proxyEndpoint":"https://x"})";
  return R"({"authorizationData":)" + (is_public ? item : "[" + item + "]") + "}";
}

constexpr std::string_view kStsAnswer =
    R"(<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
  <SubjectFromWebIdentityToken>system:serviceaccount:a:b</SubjectFromWebIdentityToken>
  <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn></AssumedRoleUser>
  <Credentials><SessionToken>sts-session==</SessionToken><SecretAccessKey>sts/secret+</SecretAccessKey>
  <Expiration>2026-11-25T15:00:00Z</Expiration><AccessKeyId>ASIAEXAMPLE</AccessKeyId></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>)";

constexpr std::string_view kKeysJson =
    R"({"Code":"Success","LastUpdated":"2026-11-25T14:00:00Z","Type":"AWS-HMAC","AccessKeyId":"ASIAMETADATA",)"
    R"("SecretAccessKey":"metadata/secret","Token":"metadata-session","Expiration":"2026-11-25T20:00:00Z"})";

// AWS behind its own names, with certificates for them.
class Ecr : public ::testing::Test {
 protected:
  Ecr() {
    world_.Trust(ca_);
    world_.Lead("api.ecr.eu-west-1.amazonaws.com", 443, api_);
    world_.Lead("api.ecr-public.us-east-1.amazonaws.com", 443, api_);
    world_.Lead("sts.eu-west-1.amazonaws.com", 443, api_);
    world_.Lead("sts.us-west-2.amazonaws.com", 443, api_);
    world_.Lead("169.254.169.254", 80, local_);
    world_.Lead("169.254.170.2", 80, local_);
    world_.Lead("169.254.170.23", 80, local_);
  }

  Reply Api(const ServerRequest& r) {
    if (!api_answers_.empty()) {
      Reply next = api_answers_.front();
      api_answers_.erase(api_answers_.begin());
      return next;
    }
    if (r.header("host").starts_with("sts.")) return Reply::Text(200, kStsAnswer, {{"Content-Type", "text/xml"}});
    return Reply::Json(200, EcrBody(world_.clock.WallNow() + hours(12), r.header("host").starts_with("api.ecr-public.")));
  }

  Reply Local(const ServerRequest& r) {
    if (r.target == "/latest/api/token") return r.method == "PUT" ? Reply::Text(200, "imds-session") : Reply::Text(405, "");
    if (r.target.starts_with("/latest/") && r.header("x-aws-ec2-metadata-token") != "imds-session") return Reply::Text(401, "");
    if (r.target == "/latest/meta-data/iam/security-credentials/") return role_.empty() ? Reply::Text(404, "") : Reply::Text(200, role_);
    if (r.target == "/latest/meta-data/iam/security-credentials/node-role") return Reply::Json(200, kKeysJson);
    if (r.target == "/v2/credentials/canary-id" || r.target == "/v1/credentials") {
      if (r.header("authorization") != wanted_authorization_) return Reply::Json(401, R"({"code":"AccessDenied","message":"canary"})");
      return Reply::Json(200, R"({"AccessKeyId":"ASIACONTAINER","SecretAccessKey":"container/secret","Token":"container-session",)"
                              R"("Expiration":"2026-11-25T20:00:00Z"})");
    }
    return Reply::Text(404, "");
  }

  Result<Login> Ask(const ExecRequest& request = RequestFor(kImage)) { return EcrLogin(world_.ctx(), world_.world(), request); }

  // The key that signed the last ECR call, after its signature was made again from what the server received.
  std::string Signer(const secret::Secret& key, std::string_view service = "ecr", std::string_view region = "eu-west-1") {
    const auto all = api_.requests();
    if (all.empty()) return "nobody asked";
    const ServerRequest r = all.back();
    const std::string authorization = r.header("authorization");
    const std::string id = authorization.substr(28, authorization.find('/') == std::string::npos ? 0 : authorization.find("/2") - 28);
    AwsRequest again{.method = r.method, .path = r.target, .query = "", .body = r.body, .headers = {}, .region = region, .service = service,
                     .when = world_.clock.WallNow()};
    for (const std::string name : {"host", "content-type", "x-amz-target", "x-amz-date", "x-amz-security-token"})
      if (r.has(name)) again.headers.Add(name, r.header(name));
    const auto expected = SignAwsRequest(again, {id, key.Clone(), {}});
    return authorization == expected.Reveal() ? id : "bad signature: " + authorization;
  }

  Ca ca_;
  FakeWorld world_;
  std::vector<Reply> api_answers_;
  std::string role_ = "node-role", wanted_authorization_;
  FaultServer api_{[this](const ServerRequest& r) { return Api(r); },
                   ServerOptions{.tls = ServerTls{.leaf = ca_.Issue({"*.ecr.eu-west-1.amazonaws.com", "api.ecr.eu-west-1.amazonaws.com", "api.ecr-public.us-east-1.amazonaws.com",
                                                                     "sts.eu-west-1.amazonaws.com", "sts.us-west-2.amazonaws.com"})}}};
  FaultServer local_{[this](const ServerRequest& r) { return Local(r); }};
};

void UseKeys(FakeWorld& world, bool session = false) {
  world.env["AWS_ACCESS_KEY_ID"] = kKey;
  world.env["AWS_SECRET_ACCESS_KEY"] = kSecret;
  if (session) world.env["AWS_SESSION_TOKEN"] = "session-token";
}

TEST_F(Ecr, PrivateRegistryIsOpenedForTwelveHours) {
  UseKeys(world_, true);
  const auto login = Ask();
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_EQ(login->user, "AWS");
  EXPECT_EQ(login->password.Reveal(), "registry-password");
  EXPECT_THAT(login->patterns, ElementsAre(kHost));
  EXPECT_EQ(login->cache_key, CacheKey::kRegistry);
  EXPECT_EQ(CacheDuration(login->expires, world_.clock.WallNow()), seconds(12 * 3600 - 15 * 60));
  EXPECT_EQ(Signer(secret::Secret(kSecret)), kKey);
  const ServerRequest r = api_.requests().at(0);
  EXPECT_EQ(r.method, "POST");
  EXPECT_EQ(r.target, "/");
  EXPECT_EQ(r.header("host"), "api.ecr.eu-west-1.amazonaws.com");
  EXPECT_EQ(r.header("content-type"), "application/x-amz-json-1.1");
  EXPECT_EQ(r.header("x-amz-target"), "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken");
  EXPECT_EQ(r.header("x-amz-security-token"), "session-token");
  EXPECT_EQ(r.body, "{}");
  EXPECT_THAT(local_.requests(), SizeIs(0));
}

TEST_F(Ecr, PublicRegistryHasAnApiOfItsOwn) {
  UseKeys(world_);
  const auto login = Ask(RequestFor("public.ecr.aws/docker/library/redis"));
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_EQ(login->password.Reveal(), "registry-password");
  EXPECT_THAT(login->patterns, ElementsAre("public.ecr.aws"));
  EXPECT_EQ(api_.requests().at(0).header("x-amz-target"), "SpencerFrontendService.GetAuthorizationToken");
  EXPECT_EQ(Signer(secret::Secret(kSecret), "ecr-public", "us-east-1"), kKey);
}

TEST_F(Ecr, OtherRegistriesAreRefusedBeforeAnyoneIsAsked) {
  UseKeys(world_);
  const auto login = Ask(RequestFor("docker.io/library/redis"));
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kUsage);
  EXPECT_THAT(api_.requests(), SizeIs(0));
}

// ---- where keys come from

TEST_F(Ecr, ServiceAccountTokenAssumesTheAnnotatedRole) {
  UseKeys(world_);  // weaker
  const auto login = Ask(RequestFor(kImage, kJwt, {{"eks.amazonaws.com/ecr-role-arn", "arn:aws:iam::123456789012:role/pull"}}));
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_EQ(Signer(secret::Secret("sts/secret+")), "ASIAEXAMPLE");
  const ServerRequest sts = api_.requests().at(0);
  EXPECT_EQ(sts.header("host"), "sts.eu-west-1.amazonaws.com");
  EXPECT_EQ(sts.body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fpull&"
                      "RoleSessionName=berth-credential-ecr&WebIdentityToken=" + std::string(kJwt));
  EXPECT_FALSE(sts.has("authorization"));
  EXPECT_EQ(api_.requests().at(1).header("x-amz-security-token"), "sts-session==");
}

TEST_F(Ecr, RoleOfTheEnvironmentServesAccountsWithoutAnnotation) {
  world_.env["AWS_ECR_ROLE_ARN"] = "arn:aws:iam::1:role/default";
  ASSERT_TRUE(Ask(RequestFor(kImage, kJwt)));
  EXPECT_THAT(api_.requests().at(0).body, HasSubstr("role%2Fdefault"));
}

TEST_F(Ecr, TokenWithoutARoleLeavesTheNodesIdentity) {
  UseKeys(world_);
  ASSERT_TRUE(Ask(RequestFor(kImage, kJwt)));
  EXPECT_EQ(Signer(secret::Secret(kSecret)), kKey);
}

TEST_F(Ecr, WebIdentityFile) {
  world_.env["AWS_WEB_IDENTITY_TOKEN_FILE"] = world_.File("token", std::string(kJwt) + "\n");
  world_.env["AWS_ROLE_ARN"] = "arn:aws:iam::1:role/node";
  world_.env["AWS_ROLE_SESSION_NAME"] = "node-7";
  world_.env["AWS_REGION"] = "us-west-2";
  ASSERT_TRUE(Ask());
  EXPECT_EQ(api_.requests().at(0).header("host"), "sts.us-west-2.amazonaws.com");
  EXPECT_THAT(api_.requests().at(0).body, AllOf(HasSubstr("RoleSessionName=node-7"), HasSubstr("WebIdentityToken=" + std::string(kJwt))));
  EXPECT_EQ(Signer(secret::Secret("sts/secret+")), "ASIAEXAMPLE");
}

TEST_F(Ecr, SharedFileOfTheHomeFolder) {
  world_.env["HOME"] = world_.folder();
  world_.File(".aws/credentials", "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key=file/secret\n");
  world_.File(".aws/config", "[default]\nregion = eu-west-1\naws_access_key_id = AKIAOTHER\naws_secret_access_key = other\n");
  ASSERT_TRUE(Ask());
  EXPECT_EQ(Signer(secret::Secret("file/secret")), "AKIAFILE");
}

TEST_F(Ecr, ProfileWithARole) {
  world_.env["AWS_PROFILE"] = "pull";
  world_.env["AWS_CONFIG_FILE"] = world_.File("config", "[profile pull]\nrole_arn = arn:aws:iam::1:role/p\nrole_session_name = s-1\nweb_identity_token_file = " +
                                                            world_.File("token", kJwt) + "\n");
  ASSERT_TRUE(Ask());
  EXPECT_THAT(api_.requests().at(0).body, AllOf(HasSubstr("role%2Fp"), HasSubstr("RoleSessionName=s-1")));
}

TEST_F(Ecr, ContainerEndpointByRelativeUri) {
  world_.env["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/v2/credentials/canary-id";
  world_.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "https://ignored.example/";
  ASSERT_TRUE(Ask());
  EXPECT_EQ(local_.requests().at(0).header("host"), "169.254.170.2");
  EXPECT_EQ(Signer(secret::Secret("container/secret")), "ASIACONTAINER");
  EXPECT_EQ(api_.requests().at(0).header("x-amz-security-token"), "container-session");
}

TEST_F(Ecr, PodIdentityAgentWithATokenFile) {
  world_.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://169.254.170.23/v1/credentials";
  world_.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "not this one";
  world_.env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = world_.File("token", "pod identity\n");
  wanted_authorization_ = "pod identity";
  const auto login = Ask();
  ASSERT_TRUE(login) << login.error().Text();
}

TEST_F(Ecr, ContainerEndpointOnLoopbackWithAToken) {
  world_.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = local_.url("/v1/credentials");
  world_.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = wanted_authorization_ = "Basic abc";
  ASSERT_TRUE(Ask());
}

TEST_F(Ecr, InstanceMetadataIsAskedWithASession) {
  const auto login = Ask();
  ASSERT_TRUE(login) << login.error().Text();
  const auto asked = local_.requests();
  ASSERT_THAT(asked, SizeIs(3));
  EXPECT_EQ(asked[0].method, "PUT");
  EXPECT_EQ(asked[0].header("host"), "169.254.169.254");
  EXPECT_EQ(asked[0].header("x-aws-ec2-metadata-token-ttl-seconds"), "300");
  EXPECT_EQ(Signer(secret::Secret("metadata/secret")), "ASIAMETADATA");
  EXPECT_EQ(api_.requests().at(0).header("x-amz-security-token"), "metadata-session");
}

TEST_F(Ecr, InstanceMetadataElsewhere) {
  world_.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = local_.url("/");
  ASSERT_TRUE(Ask());
  EXPECT_EQ(local_.requests().at(0).header("host"), local_.host_port());
}

TEST_F(Ecr, EndpointsOfTheEnvironmentReplaceTheUsualOnes) {
  UseKeys(world_);
  FaultServer own([this](const ServerRequest& r) { return Api(r); });
  world_.env["AWS_ENDPOINT_URL"] = own.url("/");
  ASSERT_TRUE(Ask());
  EXPECT_THAT(own.requests(), SizeIs(1));
  world_.env["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true";
  ASSERT_TRUE(Ask());
  EXPECT_THAT(own.requests(), SizeIs(1));
  EXPECT_THAT(api_.requests(), SizeIs(1));
}

TEST(EcrProxy, CarriesTheApiAndNeverTheMetadata) {
  Ca ca;
  const auto leaf = ca.Issue({"api.ecr.eu-west-1.amazonaws.com"});
  FaultServer api([](const ServerRequest&) { return Reply::Json(200, EcrBody(time::WallTime(hours(500000)))); },
                  ServerOptions{.tls = ServerTls{.leaf = leaf}});
  FaultServer local([](const ServerRequest& r) {
    return r.method == "PUT" ? Reply::Text(200, "s") : r.target.ends_with("/") ? Reply::Text(200, "role") : Reply::Json(200, kKeysJson);
  });
  ProxyServer proxy;
  FakeWorld world({.proxies = std::make_shared<http::ProxyRules>(*http::ProxyRules::Make(proxy.url(), proxy.url(), ""))});
  world.Trust(ca);
  world.Lead("api.ecr.eu-west-1.amazonaws.com", 443, api);
  world.Lead("169.254.169.254", 80, local);
  const auto login = EcrLogin(world.ctx(), world.world(), RequestFor(kImage));
  ASSERT_TRUE(login) << login.error().Text();
  ASSERT_THAT(proxy.heads(), SizeIs(1));
  EXPECT_THAT(proxy.heads()[0], HasSubstr("CONNECT "));
  EXPECT_THAT(local.requests(), SizeIs(3));
}

// ---- what goes wrong

struct Failure {
  std::string name;
  std::map<std::string, std::string, std::less<>> env;
  Reason reason;
  std::string_view text;
};
void PrintTo(const Failure& f, std::ostream* out) { *out << f.name; }
class Failures : public Ecr, public ::testing::WithParamInterface<Failure> {};

TEST_P(Failures, SayWhatIsWrongAndNoSecret) {
  world_.File("empty", "");
  world_.File("credentials", "[default]\naws_access_key_id = AKIA\n[process]\ncredential_process = /canary\n[role]\nrole_arn = arn\n[bare]\n");
  world_.File("broken", "[default]\ncanary\n");
  role_ = "";
  for (auto [key, value] : GetParam().env) {
    if (value.starts_with("FILE:")) value = world_.folder() + "/" + value.substr(5);
    world_.env[key] = value;
  }
  const auto login = Ask();
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), GetParam().reason) << login.error().Text();
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr(std::string(GetParam().text)), Not(HasSubstr("canary"))));
  EXPECT_THAT(login.error().next_step(), Not(HasSubstr("canary")));
  EXPECT_THAT(api_.requests(), SizeIs(0));
}

INSTANTIATE_TEST_SUITE_P(
    Table, Failures,
    ::testing::Values(
        Failure{"half a pair", {{"AWS_ACCESS_KEY_ID", "AKIA"}}, Reason::kInvalidCredentials, "from the environment"},
        Failure{"key with a line end", {{"AWS_ACCESS_KEY_ID", "AKIA\r\ncanary"}, {"AWS_SECRET_ACCESS_KEY", "canary"}}, Reason::kInvalidCredentials, "malformed"},
        Failure{"secret with a blank", {{"AWS_ACCESS_KEY_ID", "AKIA"}, {"AWS_SECRET_ACCESS_KEY", "can ary canary"}}, Reason::kInvalidCredentials, "malformed"},
        Failure{"token file without a role", {{"AWS_WEB_IDENTITY_TOKEN_FILE", "/x"}}, Reason::kConfig, "AWS_ROLE_ARN is not"},
        Failure{"token file missing", {{"AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent"}, {"AWS_ROLE_ARN", "a"}}, Reason::kConfig, "\"/nonexistent\""},
        Failure{"token file empty", {{"AWS_WEB_IDENTITY_TOKEN_FILE", "FILE:empty"}, {"AWS_ROLE_ARN", "a"}}, Reason::kConfig, "does not hold one token"},
        Failure{"no such profile", {{"AWS_PROFILE", "other"}}, Reason::kConfig, "profile \"other\""},
        Failure{"half a profile", {{"AWS_SHARED_CREDENTIALS_FILE", "FILE:credentials"}}, Reason::kInvalidCredentials, "profile \"default\""},
        Failure{"profile with a process", {{"AWS_SHARED_CREDENTIALS_FILE", "FILE:credentials"}, {"AWS_PROFILE", "process"}}, Reason::kUnsupported, "credential_process"},
        Failure{"profile with a chained role", {{"AWS_SHARED_CREDENTIALS_FILE", "FILE:credentials"}, {"AWS_PROFILE", "role"}}, Reason::kUnsupported, "without web_identity_token_file"},
        Failure{"profile without keys", {{"AWS_SHARED_CREDENTIALS_FILE", "FILE:credentials"}, {"AWS_PROFILE", "bare"}}, Reason::kConfig, "holds no keys"},
        Failure{"broken file", {{"AWS_SHARED_CREDENTIALS_FILE", "FILE:broken"}}, Reason::kConfig, "line 2 is not key = value"},
        Failure{"container over plain HTTP", {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/x"}}, Reason::kPlainHttp, "192.0.2.1"},
        Failure{"container URL", {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "ftp://canary/"}}, Reason::kConfig, "AWS_CONTAINER_CREDENTIALS_FULL_URI"},
        Failure{"container path", {{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@canary.example/"}}, Reason::kConfig, "begin with /"},
        Failure{"container token with a line end", {{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x"}, {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "a\r\ncanary"}}, Reason::kConfig, "line end"},
        Failure{"container refuses", {{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/canary-id"}, {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "wrong"}},
                Reason::kUnauthorized, "status 401 and the code AccessDenied"},
        Failure{"metadata switched off", {{"AWS_EC2_METADATA_DISABLED", "TRUE"}}, Reason::kInvalidCredentials, "AWS_EC2_METADATA_DISABLED"},
        Failure{"no role", {}, Reason::kInvalidCredentials, "no IAM role"}));

struct ApiFault {
  std::string name;
  std::vector<Reply> answers;
  Reason reason;
  std::string_view text;
  std::size_t asked;
};
void PrintTo(const ApiFault& f, std::ostream* out) { *out << f.name; }
class ApiFaults : public Ecr, public ::testing::WithParamInterface<ApiFault> {};

TEST_P(ApiFaults, AreExplainedWithoutTheBody) {
  UseKeys(world_);
  api_answers_ = GetParam().answers;
  const auto login = Ask();
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), GetParam().reason) << login.error().Text();
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr(std::string(GetParam().text)), Not(HasSubstr("canary"))));
  EXPECT_THAT(api_.requests(), SizeIs(GetParam().asked));
}

INSTANTIATE_TEST_SUITE_P(
    Table, ApiFaults,
    ::testing::Values(
        ApiFault{"expired", {Reply::Json(400, R"({"__type":"ExpiredTokenException","message":"canary"})")}, Reason::kInvalidCredentials, "code ExpiredToken", 1},
        ApiFault{"denied", {Reply::Json(400, R"({"__type":"AccessDeniedException","Message":"canary"})")}, Reason::kInvalidCredentials, "code AccessDenied", 1},
        ApiFault{"unknown word", {Reply::Json(400, R"({"__type":"canary"})")}, Reason::kInvalidCredentials, "status 400", 1},
        ApiFault{"forbidden", {Reply::Text(403, "canary")}, Reason::kDenied, "status 403", 1},
        ApiFault{"redirect", {Reply::Redirect(307, "https://evil.example/canary")}, Reason::kUnexpectedStatus, "status 307", 1},
        ApiFault{"5xx for ever", {Reply::Text(500, "canary"), Reply::Text(502, ""), Reply::Text(503, "")}, Reason::kServerError, "status 503", 3},
        ApiFault{"throttled for ever", {Reply::Text(429, ""), Reply::Text(429, ""), Reply::Text(429, "")}, Reason::kRateLimited, "status 429", 3},
        ApiFault{"no JSON", {Reply::Text(200, "canary")}, Reason::kTokenError, "Amazon ECR", 1},
        ApiFault{"empty list", {Reply::Json(200, R"({"authorizationData":[]})")}, Reason::kTokenError, "empty", 1},
        ApiFault{"no base64", {Reply::Json(200, R"({"authorizationData":[{"authorizationToken":"canary!"}]})")}, Reason::kTokenError, "base64", 1},
        ApiFault{"no pair", {Reply::Json(200, R"({"authorizationData":[{"authorizationToken":"Y2FuYXJ5"}]})")}, Reason::kTokenError, "user:password", 1},
        ApiFault{"too large", {Reply::Text(200, std::string((1u << 20) + 1, 'x'))}, Reason::kLimitExceeded, "Amazon ECR", 1}));

TEST_F(Ecr, FaultsThatPassArePassedOver) {
  UseKeys(world_);
  api_answers_ = {Reply::Text(503, "", {{"Retry-After", "3"}}), Reply::Json(400, R"({"__type":"ThrottlingException"})")};
  ASSERT_TRUE(Ask());
  EXPECT_THAT(world_.clock.sleeps(), ElementsAre(seconds(3), ::testing::Le(seconds(1))));
}

TEST_F(Ecr, StsRefusalNamesTheRole) {
  api_answers_ = {Reply::Text(403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>canary</Message></Error></ErrorResponse>")};
  const auto login = Ask(RequestFor(kImage, kJwt, {{"eks.amazonaws.com/ecr-role-arn", "arn:aws:iam::1:role/pull"}}));
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kDenied);
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr("role \"arn:aws:iam::1:role/pull\""), HasSubstr("code AccessDenied"), Not(HasSubstr("canary"))));
}

TEST_F(Ecr, PathOfTheContainerEndpointIsNotShown) {
  FaultServer cut([](const ServerRequest&) { return Reply::Reset(); });
  world_.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = cut.url("/v2/credentials/canary-id");
  const auto login = Ask();
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kConnectionReset);
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr("from the container endpoint"), HasSubstr("was reset"), Not(HasSubstr("canary"))));
}

TEST_F(Ecr, TheDeadlineEndsIt) {
  UseKeys(world_);
  api_answers_ = {Reply::Text(503, "")};
  const auto ctx = world_.ctx().WithTimeout(std::chrono::milliseconds(100));  // less than the first wait
  const auto login = EcrLogin(ctx, world_.world(), RequestFor(kImage));
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kServerError);
  EXPECT_THAT(api_.requests(), SizeIs(1));
}

TEST_F(Ecr, PlainHttpCarriesNothing) {
  UseKeys(world_);
  world_.env["AWS_ENDPOINT_URL_ECR"] = "http://api.ecr.example/";
  const auto login = Ask();
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kPlainHttp);
}

// ---- shared files

struct Profile { std::string name, text; AwsFile kind; std::string profile; std::string expected; };
void PrintTo(const Profile& p, std::ostream* out) { *out << p.name; }
class Profiles : public ::testing::TestWithParam<Profile> {};

TEST_P(Profiles, AreRead) {
  const auto got = ParseAwsProfile(GetParam().text, GetParam().kind, GetParam().profile);
  std::string flat;
  if (!got) flat = got.error().Text();
  else if (!*got) flat = "none";
  else for (const auto& [key, value] : **got) flat += key + "=" + value + ";";
  EXPECT_EQ(flat, GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Profiles,
    ::testing::Values(
        Profile{"plain", "[default]\nA = b\nc=d = e\n", AwsFile::kCredentials, "default", "a=b;c=d = e;"},
        Profile{"comments and blanks", "# x\n\n ; y\n[ default ] # z\r\na = b\r\n  continued = no\n", AwsFile::kCredentials, "default", "a=b;"},
        Profile{"other profile", "[default]\na=1\n[p]\na=2", AwsFile::kCredentials, "p", "a=2;"},
        Profile{"twice", "[p]\na=1\n[q]\na=3\n[p]\nb=2\na=4", AwsFile::kCredentials, "p", "a=4;b=2;"},
        Profile{"config", "[p]\na=1\n[profile p]\na=2\n", AwsFile::kConfig, "p", "a=2;"},
        Profile{"config default", "[default]\na=1\n", AwsFile::kConfig, "default", "a=1;"},
        Profile{"other sections", "[sso-session p]\na=1\n[profilep]\na=2", AwsFile::kConfig, "p", "none"},
        Profile{"none", "", AwsFile::kCredentials, "default", "none"},
        Profile{"empty value", "[default]\na=\n", AwsFile::kCredentials, "default", "a=;"},
        Profile{"before a section", "a=1", AwsFile::kCredentials, "default", "line 1 stands before the first section"},
        Profile{"open section", "[default\n", AwsFile::kCredentials, "default", "line 1 is not a section"},
        Profile{"text", "[default]\na=1\nhunter2\n", AwsFile::kCredentials, "default", "line 3 is not key = value"},
        Profile{"no key", "[default]\n=1\n", AwsFile::kCredentials, "default", "line 2 is not key = value"}));

// ---- answers

struct Sts { std::string name, xml; bool good; };
void PrintTo(const Sts& s, std::ostream* out) { *out << s.name; }
class StsAnswers : public ::testing::TestWithParam<Sts> {};

TEST_P(StsAnswers, AreKeysOrRefused) {
  const auto got = ParseStsResponse(GetParam().xml);
  ASSERT_EQ(got.has_value(), GetParam().good);
  if (got) {
    EXPECT_EQ(got->id, "A");
    EXPECT_EQ(got->secret.Reveal(), "s/+=");
    EXPECT_EQ(got->session.Reveal(), "t");
  } else {
    EXPECT_EQ(got.error().reason(), Reason::kTokenError);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, StsAnswers,
    ::testing::Values(Sts{"good", "<x><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s/+=</SecretAccessKey><SessionToken> t\n</SessionToken></Credentials></x>", true},
                      Sts{"outside", "<AccessKeyId>A</AccessKeyId><SecretAccessKey>s/+=</SecretAccessKey><SessionToken>t</SessionToken>", false},
                      Sts{"no session", "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s/+=</SecretAccessKey></Credentials>", false},
                      Sts{"markup", "<Credentials><AccessKeyId>A<b/></AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken></Credentials>", false},
                      Sts{"entity", "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s&lt;</SecretAccessKey><SessionToken>t</SessionToken></Credentials>", false},
                      Sts{"line end", "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s\r\nx</SecretAccessKey><SessionToken>t</SessionToken></Credentials>", false},
                      Sts{"open", "<Credentials><AccessKeyId>A", false}, Sts{"empty", "", false}));

TEST(AwsKeysJson, FailuresOfTheMetadataServiceAreFailures) {
  EXPECT_TRUE(ParseAwsKeys(kKeysJson));
  EXPECT_FALSE(ParseAwsKeys(R"({"Code":"Failed","AccessKeyId":"A","SecretAccessKey":"s","Token":"t"})"));
  EXPECT_FALSE(ParseAwsKeys(R"({"AccessKeyId":"A"})"));
  EXPECT_FALSE(ParseAwsKeys(R"({"AccessKeyId":"A","SecretAccessKey":"s\r\nx"})"));
  EXPECT_TRUE(ParseAwsKeys(R"({"AccessKeyId":"A","SecretAccessKey":"s","Token":null})"));
}

}  // namespace
}  // namespace berth::cloud
