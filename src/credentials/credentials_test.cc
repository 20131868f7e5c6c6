#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "credentials/docker_config.h"
#include "credentials/node_config.h"
#include "time/testing/manual_clock.h"

namespace berth::credentials {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

struct AuthCase { const char *auth, *user, *password; };
TEST(DecodeAuth, Vectors) {
  for (const auto& [auth, user, password] : {AuthCase{"Zm9vOmJhcg==", "foo", "bar"}, {"Zm9vOmJhcg", "foo", "bar"}, {"Zm9vOm\nJhcg==\n", "foo", "bar"},
                                             {"Zm9vOmE6Yg==", "foo", "a:b"}, {"Zm9vOgo=", "foo", "\n"}}) {
    const auto got = DecodeAuth(auth);
    ASSERT_TRUE(got) << auth;
    EXPECT_EQ(got->username, user);
    EXPECT_EQ(got->password.Reveal(), password);
  }
  for (const char* bad : {"cGFudHM=", "Zm9vOmJhcg== ", "pants", "Zm9v OmJhcg==", "====", "Zm9vOmJhcg="}) {
    const auto got = DecodeAuth(bad);
    ASSERT_FALSE(got) << bad;
    EXPECT_EQ(got.error().reason(), Reason::kInvalidCredentials);
    EXPECT_THAT(got.error().Text(), Not(HasSubstr(bad)));
  }
}

TEST(EncodeEntry, AsKubectlWritesIt) {
  EXPECT_EQ(EncodeEntry("foo", secret::Secret("bar"), "foo@example.com").Reveal(),
            R"({"username":"foo","password":"bar","email":"foo@example.com","auth":"Zm9vOmJhcg=="})");
  EXPECT_EQ(EncodeEntry("foo", secret::Secret(), "").Reveal(), R"({"username":"foo","auth":"Zm9vOg=="})");
}

Result<DockerConfig> Parse(std::string_view text, Profile profile = Profile::kDocumented, FileFormat format = FileFormat::kConfigJson) {
  return ParseDockerConfig(text, format, profile, "test");
}

TEST(DockerConfig, ReadsBothFormats) {
  const auto config = Parse(
      R"({"auths":{"a.io":{"username":"foo","password":"bar","email":"e"},"b.io":{"username":"foo","password":"bar","auth":"cGluZzpwb25n"},
                               "c.io":{"x":1},"d.io":null},"HttpHeaders":{"A":"b"},"credsStore":"pass","credHelpers":{"e.io":"ecr"}})");
  ASSERT_TRUE(config) << config.error().Text();
  ASSERT_THAT(config->entries, SizeIs(4));
  EXPECT_EQ(config->entries[0].credential.username, "foo");
  EXPECT_EQ(config->entries[1].credential.username, "ping") << "auth overrides";
  EXPECT_EQ(config->entries[1].credential.password.Reveal(), "pong");
  EXPECT_TRUE(config->entries[2].credential.empty());
  EXPECT_EQ(config->credential_store, "pass");
  EXPECT_EQ(config->credential_helpers.at(0).second, "ecr");
  EXPECT_THAT(Parse(R"({"a.io":{"auth":"Zm9vOmJhcg"}})", Profile::kDocumented, FileFormat::kDockerCfg)->entries, SizeIs(1));
  EXPECT_THAT(Parse("{}")->entries, IsEmpty());
  EXPECT_THAT(Parse(R"({"Auths":{"a.io":{"Username":"foo"}}})")->entries, SizeIs(1)) << "names in any case";
}

TEST(DockerConfig, TokensAreUnknownToTheKubelet) {
  constexpr std::string_view text = R"({"auths":{"a.io":{"identitytoken":"t","registrytoken":"r"}}})";
  EXPECT_EQ(Parse(text)->entries[0].credential.identity_token.Reveal(), "t");
  EXPECT_TRUE(Parse(text, Profile::kKubelet)->entries[0].credential.empty());
}

TEST(DockerConfig, OneBadEntryFailsAllAndNoValueIsQuoted) {
  for (const char* bad : {R"({"auths":{"a.io":{"auth":"hunter2"}}})", R"({"auths":{"a.io":{"email":false}}})", R"({"auths":{"a.io":"hunter2"}})",
                          R"({"auths":["hunter2"]})", R"({"auths":{"a.io":{"password":["hunter2"]}}})", R"(["hunter2"])", R"({"auths":{}} hunter2)",
                          R"({"auths":{"a.io":{"password":"hunter2","password":"x"}}})", "hunter2", "",
                          R"({"auths":{"u:hunter2@a.io":{"email":false}}})", R"({"auths":{"u:hunter2@a.io":{"auth":"?"}}})",
                          R"({"auths":{"u:hunter2@a.io":{},"u:hunter2@a.io":{}}})", R"({"auths":{"u:hunter2@a.io":{"x":1,"x":1}}})",
                          R"({"auths":{"u:hunter2@a.io":{"x":!}}})"}) {
    const auto got = Parse(bad);
    ASSERT_FALSE(got) << bad;
    EXPECT_EQ(got.error().reason(), Reason::kInvalidCredentials);
    EXPECT_THAT(got.error().Text() + got.error().next_step(), Not(HasSubstr("hunter2")));
  }
  EXPECT_EQ(Parse("{\"a\":\"" + std::string(kDockerConfigBytes, 'x') + "\"}").error().reason(), Reason::kLimitExceeded);
}

class NodeConfigTest : public testing::Test {
 protected:
  NodeConfigTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "berth-node-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    for (const char* folder : {"a", "b"}) std::filesystem::create_directory(root_ / folder);
  }
  ~NodeConfigTest() override { std::filesystem::remove_all(root_); }
  void Write(const char* name, const char* text) { std::ofstream(root_ / name) << text; }
  NodeConfigOptions Options() const {
    return {.config_json = {(root_ / "a").string(), (root_ / "b").string()},
            .dockercfg = {(root_ / "a").string()}};
  }

  std::filesystem::path root_;
  time::testing::ManualClock clock_;
};

TEST_F(NodeConfigTest, TheFirstValidFileWins) {
  Write("a/config.json", "broken");
  Write("b/config.json", R"({"auths":{"b.io":{"username":"u","password":"p"}}})");
  Write("a/.dockercfg", R"({"a.io":{"username":"u","password":"p"}})");
  NodeConfig node(Options(), clock_);
  EXPECT_THAT(node.Get()->Find("b.io/x"), SizeIs(1));
  EXPECT_THAT(node.Get()->Find("a.io/x"), IsEmpty());
  EXPECT_EQ(node.Get()->Find("b.io/x")[0].Describe(), "config.json " + (root_ / "b").string() + "/config.json (u)");
}

TEST_F(NodeConfigTest, AnEmptyValidFileStillWinsAndDockercfgIsTheLastResort) {
  Write("a/.dockercfg", R"({"a.io":{"username":"u","password":"p"}})");
  EXPECT_THAT(NodeConfig(Options(), clock_).Get()->Find("a.io/x"), SizeIs(1));
  Write("b/config.json", "{}");
  EXPECT_THAT(NodeConfig(Options(), clock_).Get()->Find("a.io/x"), IsEmpty());
}

TEST_F(NodeConfigTest, ChangesAreSeenAfterFiveMinutesOrReload) {
  NodeConfig node(Options(), clock_);
  EXPECT_TRUE(node.Get()->empty());
  Write("a/config.json", R"({"auths":{"a.io":{"username":"u","password":"p"}}})");
  clock_.Advance(std::chrono::minutes(4));
  EXPECT_TRUE(node.Get()->empty());
  clock_.Advance(std::chrono::minutes(1));
  EXPECT_FALSE(node.Get()->empty());
  Write("a/config.json", "{}");
  node.Reload();
  EXPECT_TRUE(node.Get()->empty());
}

}  // namespace
}  // namespace berth::credentials
