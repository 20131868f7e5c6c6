#include "credentials/sources.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::credentials {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using Verdict = MatchReport::Verdict;

class SourcesTest : public testing::TestWithParam<Profile> {
 protected:
  SourcesTest() {
    BERTH_CHECK(scratch_.dir().MakeDir("bin", 0755).has_value());
    helpers_ = {.folders = {scratch_.path("none"), scratch_.path("bin")}, .environment = {"PATH=/usr/bin:/bin"}};
  }
  void Write(const std::string& name, std::string_view text, std::uint32_t mode = 0600) {
    const auto slash = name.find('/');
    const auto dir = slash == name.npos ? host::Dir(*scratch_.dir().Duplicate()) : *scratch_.dir().OpenDir(name.substr(0, slash));
    ASSERT_TRUE(dir.WriteDurably(slash == name.npos ? name : name.substr(slash + 1), bytes::AsView(text), mode));
  }
  void Node(std::string_view text) {
    Write("config.json", text);
    node_.emplace(NodeConfigOptions{.config_json = {scratch_.path()}, .profile = GetParam()}, clock_);
  }
  void Plugin(std::string_view auth, std::string_view images = R"("*.test")") {
    Write("bin/plug", "#!/bin/sh\ncat <<'END'\n" R"({"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","auth":)" +
                          std::string(auth) + "}\nEND\n", 0755);
    Write("plugins.json", R"({"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[{"name":"plug","matchImages":[)" +
                              std::string(images) + R"(],"defaultCacheDuration":"1h","apiVersion":"credentialprovider.kubelet.k8s.io/v1"}]})");
    auto set = ProviderSet::Load({.config = scratch_.path("plugins.json"), .bin_dir = scratch_.path("bin"), .rules = {.profile = GetParam()}},
                                 clock_, nullptr);
    ASSERT_TRUE(set) << set.error().Text();
    plugins_ = *std::move(set);
  }
  void Secret(std::string name, std::string_view text, std::string_view type = kDockerConfigJsonType) {
    PullSecret secret{.coordinates = {{"uid", "shop", std::move(name)}}, .type = std::string(type)};
    secret.docker_config_json = secret::Secret(text);
    secrets_.push_back(std::move(secret));
  }
  Result<Sources::Found> Find(Detail detail = Detail::kNo, AskPlugins ask = AskPlugins::kYes) {
    const Sources sources(GetParam(), {node_ ? &*node_ : nullptr, plugins_.get(), with_helpers_ ? &helpers_ : nullptr});
    return sources.Find(task::Context({}, clock_),
                        {.repository = repository_, .secrets = secrets_, .missing = missing_, .detail = detail, .ask = ask});
  }
  std::vector<std::string> Users() {
    std::vector<std::string> users;
    const auto found = Find();
    if (!found) return {"error: " + found.error().Text()};
    for (const auto& c : found->credentials) users.push_back(c.Describe());
    return users;
  }
  std::string Config() { return "config.json " + scratch_.path("config.json"); }

  host::testing::Scratch scratch_;
  time::testing::ManualClock clock_;
  std::optional<NodeConfig> node_;
  std::unique_ptr<ProviderSet> plugins_;
  HelperOptions helpers_;
  bool with_helpers_ = false;
  std::vector<PullSecret> secrets_;
  std::vector<SecretCoordinates> missing_;
  std::string repository_ = "reg.test/team/app";
};
INSTANTIATE_TEST_SUITE_P(Both, SourcesTest, testing::Values(Profile::kDocumented, Profile::kKubelet),
                         [](const auto& i) { return std::string(Name(i.param)); });

TEST_P(SourcesTest, TheKubeletsOrder) {
  EXPECT_THAT(Users(), IsEmpty()) << "anonymous";
  Plugin(R"({"reg.test":{"username":"p","password":"1"}})");
  EXPECT_THAT(Users(), ElementsAre("plug-in plug (p)"));
  Node(R"({"auths":{"reg.test":{"username":"n","password":"1"},"other.test":{"username":"x","password":"1"}}})");
  EXPECT_THAT(Users(), ElementsAre(Config() + " (n)", "plug-in plug (p)"));
  Secret("a", R"({"auths":{"other.test":{"username":"o","password":"1"}}})");
  EXPECT_THAT(Users(), ElementsAre(Config() + " (n)", "plug-in plug (p)")) << "a secret for another registry";
  Secret("b", R"({"auths":{"reg.test":{"username":"s","password":"1"}}})");
  EXPECT_THAT(Users(), ElementsAre("secret shop/b (s)", Config() + " (n)", "plug-in plug (p)"));
  const auto found = Find();
  EXPECT_TRUE(found->credentials[0].secret);
  EXPECT_FALSE(found->credentials[1].secret || found->credentials[1].service_account);
  EXPECT_THAT(found->reports, IsEmpty()) << "nobody asked";
}

// kubelet-images 6.7: the Hub's key, built in and passed.
TEST_P(SourcesTest, TheDefaultRegistryIsLookedUpPerSource) {
  repository_ = "docker.io/library/ubuntu";
  Node(R"({"auths":{"index.docker.io/v1/":{"username":"built-in","password":"1"}}})");
  EXPECT_THAT(Users(), ElementsAre(HasSubstr("built-in")));
  Secret("other", R"({"auths":{"other.test":{"username":"o","password":"1"}}})");
  EXPECT_THAT(Users(), ElementsAre(HasSubstr("built-in")));
  Secret("hub", R"({"auths":{"index.docker.io/v1/":{"username":"passed","password":"1"}}})");
  EXPECT_THAT(Users(), ElementsAre(HasSubstr("passed"), HasSubstr("built-in")));
}

TEST_P(SourcesTest, AMalformedSecretFailsTheLookUp) {
  Secret("bad", R"({"auths":{"x":{"auth":"hunter2"}}})");
  const auto found = Find(Detail::kYes);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().reason(), Reason::kInvalidCredentials);
  EXPECT_THAT(found.error().Text(), Not(HasSubstr("hunter2")));
}

TEST_P(SourcesTest, ExplainsEveryEntry) {
  Secret("regcred", R"({"auths":{"reg.test":{"username":"alice","password":"hunter2"},"reg.test:5712":{"username":"b","password":"1"}}})");
  Secret("opaque", "{}", "Opaque");
  missing_.push_back({{"", "shop", "old-cred"}});
  Node(R"({"auths":{"reg.test/teamx":{"username":"c","password":"1"},"*.test":{"username":"ci","password":"hunter2"}},"credsStore":"desktop"})");
  Plugin("{}", R"("*.dkr.ecr.*.a.example","*.test")");
  const auto found = Find(Detail::kYes, AskPlugins::kNo);
  ASSERT_TRUE(found) << found.error().Text();
  std::vector<std::string> lines;
  for (const auto& r : found->reports) {
    lines.push_back(std::string(Name(r.verdict)) + " | " + r.source + " | " + r.pattern + " | " + r.username + r.hash + " | " + r.reason);
    EXPECT_THAT(lines.back(), Not(HasSubstr("hunter2")));
  }
  const std::string no_prefix = GetParam() == Profile::kKubelet ? R"(path "/teamx" is not a prefix of "/team/app")" : R"(path "/teamx" does not lead to "/team/app")";
  ASSERT_THAT(found->credentials, SizeIs(2));
  EXPECT_THAT(lines, ElementsAre("matched | secret shop/regcred | reg.test | alice" + ShortHash(found->credentials[0]) + " | ",
                                 "matched | " + Config() + " | *.test | ci" + ShortHash(found->credentials[1]) + " | ",
                                 "no match | secret shop/regcred | reg.test:5712 | b | port: entry has 5712, image has none",
                                 R"(unusable | secret shop/opaque |  |  | type is "Opaque", not kubernetes.io/dockerconfigjson)",
                                 "missing | secret shop/old-cred |  |  | listed in the Pod, not found in namespace shop",
                                 "no match | " + Config() + " | reg.test/teamx | c | " + no_prefix,
                                 "unusable | " + Config() + " | credsStore, credHelpers |  | credential helpers are not used on this node",
                                 "skipped | plug-in plug | *.test |  | not run"));
}

TEST_P(SourcesTest, ProfilesThatDifferAreMarked) {
  repository_ = "sub.my-registry.io/images/x";
  Node(R"({"auths":{"*my-registry.io/images":{"username":"u","password":"1"}}})");
  const auto found = Find(Detail::kYes);
  ASSERT_THAT(found->reports, SizeIs(1));
  EXPECT_TRUE(found->reports[0].profiles_differ);
  EXPECT_EQ(found->reports[0].verdict, GetParam() == Profile::kKubelet ? Verdict::kNoMatch : Verdict::kMatched);
}

TEST_P(SourcesTest, AFailingPluginIsToldOfAndNoMore) {
  Node(R"({"auths":{"reg.test":{"username":"n","password":"1"}}})");
  Plugin("[]");
  const auto found = Find();
  ASSERT_TRUE(found);
  EXPECT_THAT(found->credentials, SizeIs(1));
  ASSERT_THAT(found->reports, SizeIs(1));
  EXPECT_EQ(found->reports[0].verdict, Verdict::kFailed);
}

// --- credential helpers

TEST_P(SourcesTest, HelpersAreOffUnlessAskedFor) {
  Node(R"({"auths":{"reg.test":{"username":"n","password":"1"}},"credHelpers":{"reg.test":"fake"}})");
  Write("bin/docker-credential-fake", "#!/bin/sh\ntouch '" + scratch_.path("ran") + "'\n", 0755);
  EXPECT_THAT(Users(), ElementsAre(HasSubstr("(n)")));
  EXPECT_FALSE(*scratch_.dir().Exists("ran"));
}

struct HelperCase { const char* name; const char *script, *settings; std::vector<std::string> want; const char* failure; };
const HelperCase kHelpers[] = {
    {"Answers", R"(read s; echo "{\"ServerURL\":\"$s\",\"Username\":\"$1 $s\",\"Secret\":\"p\"}")", R"("credHelpers":{"reg.test":"fake"})",
     {"helper fake (get reg.test)"}, ""},
    {"Store", R"(echo '{"ServerURL":"x","Username":"u","Secret":"p"}')", R"("credsStore":"fake")", {"helper fake (u)", "node"}, ""},
    {"StoreKnowsNothing", "echo 'credentials not found in native keychain'; exit 1", R"("credsStore":"fake")", {"node"}, ""},
    {"StoreFails", "echo 'store is locked' >&2; exit 1", R"("credsStore":"fake")", {}, "store is locked"},
    {"StoreIsNotJson", "echo hunter2", R"("credsStore":"fake")", {}, "gave no answer of the form"},
    {"StoreIsMissing", "exit 0", R"("credsStore":"absent")", {}, "there is no program"},
    {"HelperKnowsNothing", "echo 'credentials not found in native keychain'; exit 1", R"("credHelpers":{"reg.test":"fake"})", {}, ""},
    {"HelperFails", "echo 'hunter2 locked'; echo 'no hunter2' >&2; exit 1", R"("credHelpers":{"reg.test":"fake"})", {},
     R"(helper fake failed with exit status 1: "no [redacted]\x0a")"},
    {"OtherHost", "exit 1", R"("credHelpers":{"other.test":"fake"})", {"node"}, ""},
    {"IdentityToken", R"(echo '{"ServerURL":"x","Username":"<token>","Secret":"t"}')", R"("credHelpers":{"https://reg.test":"fake"})", {"helper fake"}, ""},
    {"NotJson", "echo hunter2", R"("credHelpers":{"reg.test":"fake"})", {}, "gave no answer of the form"},
    {"PathAsName", "exit 0", R"("credHelpers":{"reg.test":"../fake"})", {}, R"("../fake" is no name of a credential helper)"},
    {"CommandAsName", "exit 0", R"("credHelpers":{"reg.test":"fake get; id"})", {}, "is no name of a credential helper"},
    {"Missing", "exit 0", R"("credHelpers":{"reg.test":"absent"})", {}, "there is no program"},
    {"TooMuch", "cat /dev/zero", R"("credHelpers":{"reg.test":"fake"})", {}, "it wrote more than"},
};
TEST_P(SourcesTest, HelpersWhenAskedFor) {
  with_helpers_ = true;
  for (const auto& c : kHelpers) {
    Write("bin/docker-credential-fake", "#!/bin/sh\n" + std::string(c.script) + "\n", 0755);
    Node(R"({"auths":{"reg.test":{"username":"n","password":"1"}},)" + std::string(c.settings) + "}");
    auto want = c.want;
    for (auto& w : want)
      if (w == "node") w = Config() + " (n)";
    EXPECT_EQ(Users(), want) << c.name;
    const auto found = Find();
    ASSERT_TRUE(found);
    ASSERT_EQ(found->reports.size(), *c.failure ? 1u : 0u) << c.name;
    if (!*c.failure) continue;
    EXPECT_THAT(found->reports[0].reason, HasSubstr(c.failure)) << c.name;
    EXPECT_THAT(found->reports[0].reason, Not(HasSubstr("hunter2"))) << c.name;
  }
}

TEST_P(SourcesTest, AHelperThatHangsIsGivenUp) {
  with_helpers_ = true;
  ASSERT_EQ(::mkfifo(scratch_.path("never").c_str(), 0600), 0);
  Write("bin/docker-credential-fake", "#!/bin/sh\ncat < '" + scratch_.path("never") + "'\n", 0755);
  Node(R"({"credHelpers":{"reg.test":"fake"}})");
  std::jthread hand([&] { clock_.AwaitSleeps(1); clock_.Advance(std::chrono::seconds(30)); });
  const auto found = Find();
  ASSERT_TRUE(found);
  ASSERT_THAT(found->reports, SizeIs(1));
  EXPECT_EQ(found->reports[0].reason, "helper fake gave no answer within 30s");
}

TEST_P(SourcesTest, TheHubsServerForHelpers) {
  NodeFile file{Keyring(GetParam()), "", "", {{"https://index.docker.io/v1/", "hub"}, {"gcr.io", "gcr"}}};
  EXPECT_EQ(ChooseHelper(file, "docker.io/library/x")->server, "https://index.docker.io/v1/");
  EXPECT_EQ(ChooseHelper(file, "gcr.io/p/x")->name, "gcr");
  EXPECT_FALSE(ChooseHelper(file, "eu.gcr.io/p/x"));
}

}  // namespace
}  // namespace berth::credentials
