// Google's registries against servers that answer as the metadata server, the token endpoint, STS and IAM Credentials are documented.
#include "cloud/gcr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>

#include "bytes/encoding.h"
#include "cloud/testing/fake_world.h"
#include "cloud/tokens.h"
#include "digest/signature.h"
#include "digest/testing/rsa_keys.h"
#include "json/document.h"

namespace berth::cloud {
namespace {

using http::testing::FaultServer;
using http::testing::Reply;
using http::testing::ServerRequest;
using std::chrono::minutes;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using testing::FakeWorld;
using testing::RequestFor;

constexpr std::string_view kImage = "europe-docker.pkg.dev/project/repo/app";
constexpr std::string_view kScopes = "https://www.googleapis.com/auth/devstorage.read_only\nhttps://www.googleapis.com/auth/logging.write\n";

struct Host { std::string host; bool google; };
void PrintTo(const Host& h, std::ostream* out) { *out << h.host; }
class GoogleHosts : public ::testing::TestWithParam<Host> {};
TEST_P(GoogleHosts, AreKnown) { EXPECT_EQ(IsGoogleRegistry(GetParam().host), GetParam().google); }
INSTANTIATE_TEST_SUITE_P(Table, GoogleHosts,
                         ::testing::Values(Host{"gcr.io", true}, Host{"eu.gcr.io", true}, Host{"us-docker.pkg.dev", true}, Host{"europe-west1-docker.pkg.dev", true},
                                           Host{"pkg.dev", false}, Host{".pkg.dev", false}, Host{"a.b.pkg.dev", false}, Host{"evilgcr.io", false},
                                           Host{"gcr.io.evil.example", false}, Host{"us-docker.pkg.dev:5000", false}, Host{"x:y.pkg.dev", false}, Host{"", false}));

class Gcr : public ::testing::Test {
 protected:
  Gcr() { world_.Lead("metadata.google.internal", 80, server_); }

  Reply Answer(const ServerRequest& r) {
    if (override_) return *override_;
    if (r.target.starts_with("/computeMetadata/v1/")) {
      if (r.header("metadata-flavor") != "Google") return Reply::Text(403, "Missing Metadata-Flavor:Google header.");
      const Reply::Fields flavor{{"Metadata-Flavor", flavor_}};
      if (r.target == "/computeMetadata/v1/instance/service-accounts/default/scopes") return Reply::Text(200, scopes_, flavor);
      if (r.target == "/computeMetadata/v1/instance/service-accounts/default/token")
        return Reply::Json(200, R"({"access_token":"ya29.node","expires_in":3600,"token_type":"Bearer"})", flavor);
      return Reply::Text(404, "canary", flavor);
    }
    if (r.target == "/token") return Reply::Json(200, R"({"access_token":"ya29.key","expires_in":3599,"token_type":"Bearer"})");
    if (r.target == "/v1/token")
      return Reply::Json(200, R"({"access_token":"ya29.federated","issued_token_type":"urn:ietf:params:oauth:token-type:access_token",)"
                              R"("token_type":"Bearer","expires_in":3599})");
    if (r.target.ends_with(":generateAccessToken"))
      return Reply::Json(200, R"({"accessToken":"ya29.impersonated","expireTime":"2025-12-18T01:00:00Z"})");
    return Reply::Text(404, "canary");
  }

  std::string KeyFile(std::string_view pem = digest::testing::kRsaPkcs8) {
    json::Writer w;
    w.BeginObject().Key("type").String("service_account").Key("private_key_id").String("kid-1").Key("private_key").String(pem);
    w.Key("client_email").String("pull@project.iam.gserviceaccount.com").Key("token_uri").String(server_.url("/token")).EndObject();
    return world_.File("key.json", w.text());
  }
  Result<Login> Ask(const GcrOptions& options = {}, const ExecRequest& request = RequestFor(kImage)) {
    return GcrLogin(world_.ctx(), world_.world(), request, options);
  }
  GcrOptions Federation() {
    return {.workload_identity_provider = "projects/1/locations/global/workloadIdentityPools/p/providers/q", .sts_endpoint = server_.url(""),
            .iam_endpoint = server_.url("")};
  }

  FakeWorld world_;
  std::optional<Reply> override_;
  std::string flavor_ = "Google", scopes_{kScopes};
  FaultServer server_{[this](const ServerRequest& r) { return Answer(r); }};
};

TEST_F(Gcr, MetadataServerOpensAllGoogleRegistries) {
  const auto login = Ask();
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_EQ(login->user, "oauth2accesstoken");
  EXPECT_EQ(login->password.Reveal(), "ya29.node");
  EXPECT_EQ(login->cache_key, CacheKey::kGlobal);
  EXPECT_THAT(login->patterns, ElementsAre("gcr.io", "*.gcr.io", "*.pkg.dev"));
  EXPECT_EQ(CacheDuration(login->expires, world_.clock.WallNow()), minutes(45));
  const auto asked = server_.requests();
  ASSERT_THAT(asked, SizeIs(2));
  for (const auto& r : asked) EXPECT_EQ(r.header("host"), "metadata.google.internal");
}

TEST_F(Gcr, MetadataServerElsewhere) {
  world_.env["GCE_METADATA_HOST"] = server_.host_port();
  ASSERT_TRUE(Ask());
  EXPECT_EQ(server_.requests().at(0).header("host"), server_.host_port());
}

TEST_F(Gcr, WhatIsNotTheMetadataServerIsNotBelieved) {
  flavor_ = "Other";
  const auto login = Ask();
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kPolicy);
  EXPECT_THAT(login.error().Text(), HasSubstr("not Google's metadata server"));
}

TEST_F(Gcr, NodeWithoutStorageScopeIsToldSo) {
  scopes_ = "https://www.googleapis.com/auth/logging.write\n";
  const auto login = Ask();
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kDenied);
  EXPECT_THAT(login.error().next_step(), HasSubstr("devstorage.read_only"));
  EXPECT_THAT(server_.requests(), SizeIs(1));
}

TEST_F(Gcr, NodeWithoutAccountIsToldSo) {
  const auto login = Ask({.service_account = "other"});
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kInvalidCredentials);
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr("\"other\""), Not(HasSubstr("canary"))));
}

TEST_F(Gcr, KeySignsAnAssertion) {
  world_.env["GOOGLE_APPLICATION_CREDENTIALS"] = KeyFile();
  const auto login = Ask({.scope = "scope-1"});
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_EQ(login->password.Reveal(), "ya29.key");
  const ServerRequest r = server_.requests().at(0);
  EXPECT_EQ(r.header("content-type"), "application/x-www-form-urlencoded");
  constexpr std::string_view kStart = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
  ASSERT_TRUE(r.body.starts_with(kStart)) << r.body;
  const std::string jwt = r.body.substr(kStart.size());
  const auto first = jwt.find('.'), second = jwt.rfind('.');
  const auto part = [&](std::size_t begin, std::size_t end) {
    std::string text = jwt.substr(begin, end - begin);
    std::replace(text.begin(), text.end(), '-', '+');
    std::replace(text.begin(), text.end(), '_', '/');
    return bytes::FromBase64(text, bytes::Padding::kOptional).value_or("bad");
  };
  EXPECT_EQ(part(0, first), R"({"alg":"RS256","typ":"JWT","kid":"kid-1"})");
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(world_.clock.WallNow().time_since_epoch()).count();
  EXPECT_EQ(part(first + 1, second), R"({"iss":"pull@project.iam.gserviceaccount.com","scope":"scope-1","aud":")" + server_.url("/token") + R"(","iat":)" +
                                         std::to_string(now) + R"(,"exp":)" + std::to_string(now + 3600) + "}");
  EXPECT_EQ(part(second + 1, jwt.size()),
            *digest::SignRsaSha256(digest::testing::kRsaPkcs8, bytes::AsView(std::string_view(jwt).substr(0, second))));
}

TEST_F(Gcr, KeyOfTheOptionsCountsBeforeTheEnvironment) {
  world_.env["GOOGLE_APPLICATION_CREDENTIALS"] = "/nonexistent";
  ASSERT_TRUE(Ask({.key_file = KeyFile()}));
}

TEST_F(Gcr, RefusedKeyIsNamedAndNotShown) {
  override_ = Reply::Json(400, R"({"error":"invalid_grant","error_description":"canary"})");
  const auto login = Ask({.key_file = KeyFile()});
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kInvalidCredentials);
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr("key.json"), HasSubstr("code invalid_grant"), Not(HasSubstr("canary"))));
}

TEST_F(Gcr, ServiceAccountTokenIsFederated) {
  const auto login = Ask(Federation(), RequestFor(kImage, "k8s.jwt.token"));
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_EQ(login->password.Reveal(), "ya29.federated");
  EXPECT_EQ(server_.requests().at(0).body,
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&audience=%2F%2Fiam.googleapis.com%2Fprojects%2F1%2Flocations%2Fglobal%2F"
            "workloadIdentityPools%2Fp%2Fproviders%2Fq&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fdevstorage.read_only&requested_token_type="
            "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&subject_token=k8s.jwt.token");
}

TEST_F(Gcr, ServiceAccountMayBecomeAGoogleOne) {
  const auto login = Ask(Federation(), RequestFor(kImage, "k8s.jwt.token", {{"iam.gke.io/gcp-service-account", "pull@p.iam.gserviceaccount.com"}}));
  ASSERT_TRUE(login) << login.error().Text();
  EXPECT_EQ(login->password.Reveal(), "ya29.impersonated");
  EXPECT_EQ(login->expires, ParseTimestamp("2025-12-18T01:00:00Z"));
  const ServerRequest r = server_.requests().at(1);
  EXPECT_EQ(r.target, "/v1/projects/-/serviceAccounts/pull%40p.iam.gserviceaccount.com:generateAccessToken");
  EXPECT_EQ(r.header("authorization"), "Bearer ya29.federated");
  EXPECT_EQ(r.body, R"({"scope":["https://www.googleapis.com/auth/devstorage.read_only"],"lifetime":"3600s"})");
}

TEST_F(Gcr, FailedFederationDoesNotFallBackToTheNode) {
  override_ = Reply::Json(400, R"({"error":"invalid_target","error_description":"canary"})");
  const auto login = Ask(Federation(), RequestFor(kImage, "k8s.jwt.token"));
  ASSERT_FALSE(login);
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr("invalid_target"), Not(HasSubstr("canary")), Not(HasSubstr("k8s.jwt"))));
  EXPECT_THAT(server_.requests(), SizeIs(1));
}

TEST_F(Gcr, OtherRegistriesAreRefused) {
  const auto login = Ask({}, RequestFor("docker.io/library/redis"));
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kUsage);
}

TEST_F(Gcr, AnswersThatAreNoTokensAreRefused) {
  for (const std::string_view body : {"canary", "{}", R"({"access_token":""})", R"({"access_token":"a\r\ncanary"})", R"({"access_token":7})"}) {
    override_ = Reply::Json(200, body);
    const auto login = Ask({.key_file = KeyFile()});
    ASSERT_FALSE(login) << body;
    EXPECT_EQ(login.error().reason(), Reason::kTokenError) << login.error().Text();
    EXPECT_THAT(login.error().Text(), Not(HasSubstr("canary")));
  }
}

struct BadKey { std::string name, text; Reason reason; std::string_view message; };
void PrintTo(const BadKey& k, std::ostream* out) { *out << k.name; }
class BadKeys : public ::testing::TestWithParam<BadKey> {};

TEST_P(BadKeys, AreRefusedInWords) {
  FakeWorld world;
  const auto login = GcrLogin(world.ctx(), world.world(), RequestFor(kImage), {.key_file = world.File("key.json", GetParam().text)});
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), GetParam().reason);
  EXPECT_THAT(login.error().Text(), AllOf(HasSubstr("key.json"), HasSubstr(std::string(GetParam().message)), Not(HasSubstr("canary"))));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadKeys,
    ::testing::Values(
        BadKey{"no JSON", "canary", Reason::kConfig, ""}, BadKey{"no type", "{}", Reason::kConfig, "type"},
        BadKey{"user", R"({"type":"authorized_user","refresh_token":"canary"})", Reason::kUnsupported, "\"authorized_user\""},
        BadKey{"no e-mail", R"({"type":"service_account","private_key":"canary","token_uri":"https://x/"})", Reason::kConfig, "client_email"},
        BadKey{"no key", R"({"type":"service_account","client_email":"a","token_uri":"https://x/"})", Reason::kConfig, "private_key"},
        BadKey{"no URI", R"({"type":"service_account","client_email":"a","private_key":"canary"})", Reason::kConfig, "token_uri"},
        BadKey{"bad URI", R"({"type":"service_account","client_email":"a","private_key":"canary","token_uri":"file:///canary"})", Reason::kConfig, "token_uri"},
        BadKey{"bad key", R"({"type":"service_account","client_email":"a","private_key":"canary","token_uri":"https://x/"})", Reason::kInvalidCredentials, "PEM"}));

TEST(GcrKey, IsNotSentOverPlainHttp) {
  FakeWorld world;
  json::Writer w;
  w.BeginObject().Key("type").String("service_account").Key("private_key").String(digest::testing::kRsaPkcs8);
  w.Key("client_email").String("a@b").Key("token_uri").String("http://token.example/").EndObject();
  const auto login = GcrLogin(world.ctx(), world.world(), RequestFor(kImage), {.key_file = world.File("key.json", w.text())});
  ASSERT_FALSE(login);
  EXPECT_EQ(login.error().reason(), Reason::kPlainHttp);
}

}  // namespace
}  // namespace berth::cloud
