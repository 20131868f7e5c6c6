#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <functional>

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
}

struct DockerLimitCase { const char* name; std::string text; DockerConfigLimits limits; const char* says; };
class DockerLimits : public testing::TestWithParam<DockerLimitCase> {};
TEST_P(DockerLimits, AreNamed) {
  const auto got = ParseDockerConfig(GetParam().text, FileFormat::kConfigJson, Profile::kDocumented, "test", GetParam().limits);
  ASSERT_EQ(got.has_value(), GetParam().says == nullptr);
  if (got) return;
  EXPECT_EQ(got.error().reason(), Reason::kLimitExceeded);
  EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().says));
}
const std::string kHuge = "{\"a\":\"" + std::string(1u << 20, 'x') + "\"}";
INSTANTIATE_TEST_SUITE_P(Table, DockerLimits, testing::Values(
    DockerLimitCase{"Bytes", kHuge, {}, "a docker config file larger than 1048576 bytes (limit docker_config_bytes)"},
    DockerLimitCase{"MoreBytes", kHuge, {.bytes = 2u << 20}, nullptr},
    DockerLimitCase{"FewerBytes", "{\"auths\":{}}", {.bytes = 5}, "larger than 5 bytes (limit docker_config_bytes)"},
    DockerLimitCase{"Depth", "{\"a\":" + std::string(32, '[') + std::string(32, ']') + "}", {}, "nested deeper than 32 levels (limit docker_config_depth)"},
    DockerLimitCase{"MoreDepth", "{\"a\":" + std::string(32, '[') + std::string(32, ']') + "}", {.depth = 33}, nullptr}),
  [](const auto& i) { return i.param.name; });

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

TEST_F(NodeConfigTest, ALargerFileIsPassedOverUnlessItMayBe) {
  const std::string large = R"({"auths":{"a.io":{"username":"u","password":"p"}},"x":")" + std::string(1u << 20, 'x') + "\"}";
  Write("a/config.json", large.c_str());
  EXPECT_TRUE(NodeConfig(Options(), clock_).Get()->empty());
  auto options = Options();
  options.limits.bytes = 2u << 20;
  EXPECT_THAT(NodeConfig(options, clock_).Get()->Find("a.io/x"), SizeIs(1));
  const auto refused = ReadDockerConfig((root_ / "a/config.json").string());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().Text(), HasSubstr("larger than 1048576 bytes (limit docker_config_bytes)"));
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

TEST_F(NodeConfigTest, AnErrorOfTheMachineIsForgottenAndWhatWasKnownIsNot) {
  const auto break_it = [&] { std::filesystem::create_symlink("/proc/self/mem", root_ / "a/config.json"); };  // EIO
  const auto mend_it = [&](const char* text) {
    std::filesystem::remove(root_ / "a/config.json");
    Write("a/config.json", text);
  };
  NodeConfig node(Options(), clock_);
  break_it();
  EXPECT_TRUE(node.Get()->empty());
  mend_it(R"({"auths":{"a.io":{"username":"u","password":"p"}}})");
  EXPECT_THAT(node.Get()->Find("a.io/x"), SizeIs(1));
  std::filesystem::remove(root_ / "a/config.json");
  break_it();
  clock_.Advance(std::chrono::minutes(5));
  EXPECT_THAT(node.Get()->Find("a.io/x"), SizeIs(1));
  mend_it("{}");
  EXPECT_TRUE(node.Get()->empty());
}

TEST_F(NodeConfigTest, TooManyOpenFilesSayNothingAboutTheNextTime) {
  Write("a/config.json", R"({"auths":{"a.io":{"username":"u","password":"p"}}})");
  NodeConfig node(Options(), clock_);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const auto full = [&] {
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    const auto found = node.Get()->Find("a.io/x").size();
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    return found;
  };
  EXPECT_EQ(full(), 0u);
  EXPECT_THAT(node.Get()->Find("a.io/x"), SizeIs(1));
  clock_.Advance(std::chrono::minutes(5));
  EXPECT_EQ(full(), 1u);
}

// What is wrong with a path stays wrong until somebody mends it: as if the file were malformed.
struct WrongPath { const char* name; std::function<void(const std::filesystem::path& folder)> make; };
void PrintTo(const WrongPath& row, std::ostream* out) { *out << row.name; }
class WrongPaths : public NodeConfigTest, public testing::WithParamInterface<WrongPath> {};
TEST_P(WrongPaths, AreKeptAsNothing) {
  const auto path = root_ / "a/config.json";
  Write("a/config.json", R"({"auths":{"a.io":{"username":"u","password":"p"}}})");
  NodeConfig node(Options(), clock_);
  EXPECT_THAT(node.Get()->Find("a.io/x"), SizeIs(1));
  std::filesystem::remove_all(root_ / "a");
  std::filesystem::create_directory(root_ / "a");
  GetParam().make(root_ / "a");
  clock_.Advance(std::chrono::minutes(5));
  EXPECT_TRUE(node.Get()->empty());  // not the old answer
  std::filesystem::remove_all(root_ / "a");
  std::filesystem::create_directory(root_ / "a");
  Write("a/config.json", R"({"auths":{"a.io":{"username":"u","password":"p"}}})");
  EXPECT_TRUE(node.Get()->empty());  // it is not read again at each look
  clock_.Advance(std::chrono::minutes(5));
  EXPECT_THAT(node.Get()->Find("a.io/x"), SizeIs(1));
}
INSTANTIATE_TEST_SUITE_P(All, WrongPaths, testing::Values(
    WrongPath{"directory", [](const auto& folder) { std::filesystem::create_directory(folder / "config.json"); }},
    WrongPath{"loop", [](const auto& folder) { std::filesystem::create_symlink("config.json", folder / "config.json"); }},
    WrongPath{"through_a_file", [](const auto& folder) { std::filesystem::create_symlink("/proc/self/status/x", folder / "config.json"); }},
    WrongPath{"name_too_long", [](const auto& folder) { std::filesystem::create_symlink(std::string(300, 'x'), folder / "config.json"); }}),
    [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace berth::credentials
