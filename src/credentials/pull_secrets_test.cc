#include "credentials/pull_secrets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "credentials/docker_secret.h"
#include "json/document.h"

namespace berth::credentials {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

Credential Make(std::string user, std::string_view password, std::string email = "") {
  Credential credential;
  credential.username = std::move(user);
  credential.password = secret::Secret(password);
  credential.email = std::move(email);
  return credential;
}

// --- kubelet-images 4.8.3

struct HashCase { const char *user, *password, *email, *hash; };
class Hashes : public testing::TestWithParam<HashCase> {};
TEST_P(Hashes, AreTheKubelets) {
  const auto& c = GetParam();
  EXPECT_EQ(CredentialHash(Make(c.user, c.password, c.email)), c.hash);
}
INSTANTIATE_TEST_SUITE_P(CredentialHash, Hashes, testing::Values(
    HashCase{"user", "password", "", "a55436fc140d516560d072c5fe8700385ce9f41629abf65c1edcbcb39fac691d"},
    HashCase{"ada", "smash", "ada@example.com", "353258b53f5e9a57b059eab3f05312fc35bbeb874f08ce101e7bf0bf46977423"},
    HashCase{"grace", "squash", "grace@example.com", "f949b3837a1eb733a951b6aeda0b3327c09ec50c917de9ca35818e8fbf567e29"},
    HashCase{"rex", "tiny arms", "rex@example.com", "899748fec74c8dd761845fca727f4249b05be275ff24026676fcd4351f656363"},
    HashCase{"a<b", "p&q>", "", "87e9a354844f91d3113fef265b1cdc0188813256a4ea45d27af998a5a1e270eb"},
    HashCase{"", "", "", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}));

TEST(CredentialHash, TokensCountAndTheSourceDoesNot) {
  Credential a = Make("u", "p"), b = Make("u", "p");
  b.source = "elsewhere";
  b.secret = SecretCoordinates{{"1", "n", "s"}};
  EXPECT_EQ(CredentialHash(a), CredentialHash(b));
  b.identity_token = secret::Secret("t");
  EXPECT_NE(CredentialHash(a), CredentialHash(b));
  EXPECT_EQ(ShortHash(Make("user", "password")), "#a55436fc");
  EXPECT_EQ(b.Clone().secret, b.secret);
}

// --- 6.6

constexpr std::string_view kAuth = R"("test.registry.io":{"auth":"dXNlcjpwYXNzd29yZA=="})";
constexpr std::string_view kPair = R"("test.registry.io":{"username":"user","password":"password"})";

PullSecret Secret(std::string_view type, std::string_view json, std::string_view cfg, std::string name = "regcred") {
  PullSecret secret{.coordinates = {{"uid-1", "shop", std::move(name)}}, .type = std::string(type)};
  secret.docker_config_json = secret::Secret(json);
  secret.docker_cfg = secret::Secret(cfg);
  return secret;
}
std::string Json(std::string_view entries) { return R"({"auths":{)" + std::string(entries) + "}}"; }
std::string Cfg(std::string_view entries) { return "{" + std::string(entries) + "}"; }

struct UsableCase { const char* name; std::string type, json, cfg; bool usable; };
class PullSecrets : public testing::TestWithParam<std::tuple<UsableCase, Profile>> {};
TEST_P(PullSecrets, AreUsableWhenTypeAndKeyAgree) {
  const auto& [c, profile] = GetParam();
  std::vector<PullSecret> secrets;
  secrets.push_back(Secret(c.type, c.json, c.cfg));
  EXPECT_EQ(WhyUnusable(secrets[0]).empty(), c.usable);
  const auto ring = ReadPullSecrets(profile, secrets);
  ASSERT_TRUE(ring) << ring.error().Text();
  ASSERT_EQ(ring->has_value(), c.usable);
  if (!c.usable) return;
  const auto found = (*ring)->Find("test.registry.io");
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].secret, (SecretCoordinates{{"uid-1", "shop", "regcred"}}));
  EXPECT_EQ(CredentialHash(found[0]), "a55436fc140d516560d072c5fe8700385ce9f41629abf65c1edcbcb39fac691d");
  EXPECT_EQ(found[0].Describe(), "secret shop/regcred (user)");
}
INSTANTIATE_TEST_SUITE_P(
    Table, PullSecrets,
    testing::Combine(testing::Values(UsableCase{"JsonAuth", "kubernetes.io/dockerconfigjson", Json(kAuth), "", true},
                                     UsableCase{"JsonPair", "kubernetes.io/dockerconfigjson", Json(kPair), "", true},
                                     UsableCase{"CfgAuth", "kubernetes.io/dockercfg", "", Cfg(kAuth), true},
                                     UsableCase{"CfgPair", "kubernetes.io/dockercfg", "", Cfg(kPair), true},
                                     UsableCase{"CfgTypeJsonKey", "kubernetes.io/dockercfg", Json(kAuth), "", false},
                                     UsableCase{"JsonTypeCfgKey", "kubernetes.io/dockerconfigjson", "", Cfg(kAuth), false},
                                     UsableCase{"Opaque", "Opaque", Json(kAuth), Cfg(kAuth), false},
                                     UsableCase{"Empty", "kubernetes.io/dockerconfigjson", "", "", false},
                                     UsableCase{"NoType", "", Json(kAuth), "", false}),
                     testing::Values(Profile::kDocumented, Profile::kKubelet)),
    [](const auto& i) { return std::string(std::get<0>(i.param).name) + std::string(Name(std::get<1>(i.param))); });

TEST(PullSecrets, WhyOneDoesNotCount) {
  EXPECT_EQ(WhyUnusable(Secret("Opaque", "{}", "")), R"(type is "Opaque", not kubernetes.io/dockerconfigjson)");
  EXPECT_EQ(WhyUnusable(Secret("kubernetes.io/dockercfg", "{}", "")), "type kubernetes.io/dockercfg needs the key .dockercfg, it has .dockerconfigjson");
  EXPECT_EQ(WhyUnusable(Secret("kubernetes.io/dockerconfigjson", "", "")),
            "type kubernetes.io/dockerconfigjson needs the key .dockerconfigjson, which is missing or empty");
}

TEST(PullSecrets, OneKeyKeepsTheOrderOfTheListAndKeysAreSorted) {
  std::vector<PullSecret> secrets;
  secrets.push_back(Secret(kDockerConfigJsonType, R"({"auths":{"a.io":{"username":"b","password":"1"}}})", "", "second"));
  secrets.push_back(Secret(kDockerCfgType, "", R"({"a.io":{"username":"a","password":"1"},"a.io/x":{"username":"x","password":"1"}})", "first"));
  const auto ring = ReadPullSecrets(Profile::kKubelet, secrets);
  ASSERT_TRUE(ring);
  std::vector<std::string> users;
  for (const auto& credential : (*ring)->Find("a.io/x/y")) users.push_back(credential.username);
  EXPECT_THAT(users, ElementsAre("x", "b", "a"));
}

TEST(PullSecrets, AMalformedOneFailsAllAndIsNamedWithoutItsValue) {
  std::vector<PullSecret> secrets;
  secrets.push_back(Secret(kDockerConfigJsonType, Json(kPair), ""));
  secrets.push_back(Secret(kDockerConfigJsonType, R"({"auths":{"b.io":{"auth":"hunter2"}}})", "", "broken"));
  const auto ring = ReadPullSecrets(Profile::kKubelet, secrets);
  ASSERT_FALSE(ring);
  EXPECT_EQ(ring.error().reason(), Reason::kInvalidCredentials);
  EXPECT_THAT(ring.error().Text(), HasSubstr("secret shop/broken"));
  EXPECT_THAT(ring.error().Text(), Not(HasSubstr("hunter2")));
  secrets[1].type = "Opaque";
  EXPECT_TRUE(ReadPullSecrets(Profile::kKubelet, secrets)) << "one that is not usable is not read";
}

// --- why an entry does not match

struct WhyCase { const char *key, *repository, *kubelet, *documented; };
class WhyNotTable : public testing::TestWithParam<WhyCase> {};
TEST_P(WhyNotTable, SaysTheFirstThing) {
  const auto& c = GetParam();
  EXPECT_EQ(WhyNot(Profile::kKubelet, c.key, c.repository), c.kubelet);
  EXPECT_EQ(WhyNot(Profile::kDocumented, c.key, c.repository), c.documented);
}
INSTANTIATE_TEST_SUITE_P(Table, WhyNotTable, testing::Values(
    WhyCase{"reg.test:5712", "reg.test:5712/team/app", "", ""},
    WhyCase{"reg.test", "reg.test:5712/team/app", "port: entry has none, image has 5712", "port: entry has none, image has 5712"},
    WhyCase{"reg.test:443", "reg.test/team/app", "port: entry has 443, image has none", "port: entry has 443, image has none"},
    WhyCase{"reg.test:5712/teamx", "reg.test:5712/team/app", R"(path "/teamx" is not a prefix of "/team/app")",
            R"(path "/teamx" does not lead to "/team/app")"},
    WhyCase{"r.io/team", "r.io/teammate/app", "", R"(path "/team" does not lead to "/teammate/app")"},
    WhyCase{"reg[0-9].test:5712", "reg1.test:5712/a", R"(never matches: "[" is not allowed in a host (the docs say it is))", ""},
    WhyCase{"my?.io", "my1.io/a", R"(never matches: "?" starts a query (the docs say it is a wildcard))", ""},
    WhyCase{"*.dkr.ecr.*.a.example", "reg.test/a", "6 host labels, image has 2", R"(host "*.dkr.ecr.*.a.example" does not match "reg.test")"},
    WhyCase{"*my-registry.io/images", "sub.my-registry.io/images/x", "2 host labels, image has 3", ""},
    WhyCase{"Reg.test", "reg.test/a", R"(hosts are compared with their case: "Reg.test")", R"(hosts are compared with their case: "Reg.test")"},
    WhyCase{"other.test", "reg.test/a", R"(host "other.test" does not match "reg.test")", R"(host "other.test" does not match "reg.test")"},
    WhyCase{"r.io/*/x", "r.io/a/x", R"(path "/*/x": "*" is a wildcard in hosts only)", R"(path "/*/x": "*" is a wildcard in hosts only)"},
    WhyCase{"foo io", "foo/a", R"(never matches: " " is not allowed in a host)", R"(never matches: " " is not allowed in a host)"}));

TEST(Explain, EveryEntryHasItsReport) {
  std::vector<PullSecret> secrets;
  secrets.push_back(Secret(kDockerConfigJsonType, R"({"auths":{"reg.test":{"username":"a","password":"1"},
      "reg.test:5712":{"username":"alice","password":"hunter2"},
      "reg[0-9].test":{"username":"b","password":"1"}}})", ""));
  const auto ring = ReadPullSecrets(Profile::kKubelet, secrets);
  ASSERT_TRUE(ring);
  std::vector<MatchReport> reports;
  (*ring)->Explain("reg.test:5712/team/app", reports);
  ASSERT_THAT(reports, SizeIs(3));
  EXPECT_EQ(reports[0].verdict, MatchReport::Verdict::kMatched);
  EXPECT_EQ(reports[0].source, "secret shop/regcred");
  EXPECT_EQ(reports[0].username, "alice");
  EXPECT_EQ(reports[0].hash.size(), 9u);
  EXPECT_FALSE(reports[0].profiles_differ);
  EXPECT_EQ(reports[1].pattern, "reg.test");
  EXPECT_EQ(reports[1].reason, "port: entry has none, image has 5712");
  EXPECT_EQ(reports[2].verdict, MatchReport::Verdict::kUnusable);
  EXPECT_EQ(Name(reports[2].verdict), "unusable");
}

TEST(Explain, TheDefaultRegistrysKey) {
  std::vector<PullSecret> secrets;
  secrets.push_back(Secret(kDockerConfigJsonType, R"({"auths":{"https://index.docker.io/v1/":{"username":"hub","password":"1"}}})", ""));
  const auto alone = ReadPullSecrets(Profile::kKubelet, secrets);
  std::vector<MatchReport> reports;
  (*alone)->Explain("docker.io/library/x", reports);
  ASSERT_THAT(reports, SizeIs(1));
  EXPECT_EQ(reports[0].reason, "the default registry's key");
  secrets.push_back(Secret(kDockerConfigJsonType, R"({"auths":{"docker.io":{"username":"d","password":"1"}}})", ""));
  const auto both = ReadPullSecrets(Profile::kKubelet, secrets);
  reports.clear();
  (*both)->Explain("docker.io/library/x", reports);
  ASSERT_THAT(reports, SizeIs(2));
  EXPECT_EQ(reports[0].username, "d");
  EXPECT_EQ(reports[1].verdict, MatchReport::Verdict::kNoMatch);
}

// --- 8.3

DockerSecretRequest Request(std::string email) {
  DockerSecretRequest request{.username = "test-user", .email = std::move(email)};
  request.password = secret::Secret("test-password");
  return request;
}

TEST(DockerSecret, AsKubectlWritesIt) {
  const auto with = EncodeDockerSecret(Request("test-user@example.org"));
  ASSERT_TRUE(with);
  EXPECT_EQ(with->Reveal(), R"({"auths":{"https://index.docker.io/v1/":{"username":"test-user","password":"test-password",)"
                            R"("email":"test-user@example.org","auth":"dGVzdC11c2VyOnRlc3QtcGFzc3dvcmQ="}}})");
  EXPECT_EQ(AppendHash("foo", kDockerConfigJsonKey, *with), "foo-548cm7fgdh");
  const auto without = EncodeDockerSecret(Request(""));
  ASSERT_TRUE(without);
  EXPECT_EQ(AppendHash("foo", kDockerConfigJsonKey, *without), "foo-bff5bt4f92");
}

TEST(DockerSecret, HtmlCharactersAreEscapedAndReadBack) {
  DockerSecretRequest request{.server = "r.io", .username = "a<b"};
  request.password = secret::Secret("p&q>");
  const auto text = EncodeDockerSecret(request);
  ASSERT_TRUE(text);
  EXPECT_THAT(std::string(text->Reveal()), HasSubstr(R"("username":"a\u003cb","password":"p\u0026q\u003e")"));
  const auto config = ParseDockerConfig(text->Reveal(), FileFormat::kConfigJson, Profile::kKubelet, "");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->entries[0].credential.password.Reveal(), "p&q>");
}

TEST(DockerSecret, AllThreeAreNeeded) {
  for (int missing = 0; missing < 3; ++missing) {
    DockerSecretRequest request = Request("e");
    if (missing == 0) request.server.clear();
    if (missing == 1) request.username.clear();
    if (missing == 2) request.password = secret::Secret();
    const auto got = EncodeDockerSecret(request);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().message(), "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required");
  }
}

TEST(DockerSecret, AFileIsCheckedBeforeItIsStored) {
  EXPECT_TRUE(CheckDockerSecret(Json(kPair)));
  for (const std::string& bad : {std::string(), std::string("{}"), std::string("[]"), std::string("\"x\""), Json(R"("a":{"auth":"hunter2"})")}) {
    const auto got = CheckDockerSecret(bad);
    ASSERT_FALSE(got) << bad;
    EXPECT_THAT(got.error().Text(), Not(HasSubstr("hunter2")));
  }
}

}  // namespace
}  // namespace berth::credentials
