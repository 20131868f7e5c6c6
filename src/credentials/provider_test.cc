// kubelet-images 7.4 to 7.6 and reliability-security 3.d, rows D-16 to D-28. Plug-ins are small scripts; they block on FIFOs only.
#include "credentials/provider.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "credentials/provider_cache.h"
#include "credentials/provider_response.h"
#include "credentials/redact.h"
#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::credentials {
namespace {

using namespace std::literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using time::testing::ManualClock;
using Verdict = MatchReport::Verdict;

constexpr std::string_view kV1 = "credentialprovider.kubelet.k8s.io/v1";

// --- environment, 7.4

struct EnvCase {
  const char* name;
  std::vector<std::string> base;
  std::vector<std::pair<std::string, std::string>> env;
  std::vector<std::string> want;
};
class Environment : public testing::TestWithParam<EnvCase> {};
TEST_P(Environment, IsMerged) {
  std::vector<ProviderSpec::Variable> env;
  for (const auto& [name, value] : GetParam().env) env.push_back({name, secret::Secret(value)});
  EXPECT_EQ(MergeEnvironment(GetParam().base, env), GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(Table, Environment, testing::Values(
    EnvCase{"Both", {"HOME=/root", "PATH=/bin"}, {{"KEY", "1"}}, {"HOME=/root", "PATH=/bin", "KEY=1"}},
    EnvCase{"NoBase", {}, {{"KEY", "1"}}, {"KEY=1"}}, EnvCase{"NoEnv", {"HOME=/root"}, {}, {"HOME=/root"}}, EnvCase{"Neither", {}, {}, {}},
    EnvCase{"TheLastWins", {"KEY=1111", "PATH=/bin"}, {{"KEY", "123"}}, {"PATH=/bin", "KEY=123"}},
    EnvCase{"NoPrefixOfAName", {"KEY2=1"}, {{"KEY", "2"}}, {"KEY2=1", "KEY=2"}}),
    [](const auto& i) { return i.param.name; });

// --- request and response, 7.4

TEST(ProviderRequest, IsOneLine) {
  EXPECT_EQ(EncodeProviderRequest({.image = "test.registry.io/foobar"}).Reveal(),
            R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"test.registry.io/foobar"})" "\n");
  const secret::Secret token("to\"ken");
  const ProviderRequest beta{.version = ExecVersion::kV1Beta1, .image = "i", .token = &token, .annotations = {{"k", "v"}, {"a", "<"}}};
  EXPECT_EQ(EncodeProviderRequest(beta).Reveal(),
            R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1","image":"i",)"
            R"("serviceAccountToken":"to\"ken","serviceAccountAnnotations":{"a":"\u003c","k":"v"}})" "\n");
}

std::string Response(std::string_view version, std::string_view rest) {
  return R"({"kind":"CredentialProviderResponse","apiVersion":")" + std::string(version) + "\"" + (rest.empty() ? "" : ",") + std::string(rest) + "}";
}
std::string Good(std::string_view pattern = "test.registry.io", std::string_view type = "Registry", std::string_view more = R"(,"cacheDuration":"1m")",
                 std::string_view password = "password") {
  return Response(kV1, R"("cacheKeyType":")" + std::string(type) + "\"" + std::string(more) + R"(,"auth":{")" + std::string(pattern) +
                           R"(":{"username":"user","password":")" + std::string(password) + R"("}})");
}

TEST(ProviderResponse, DecodesInEveryVersion) {
  for (const auto version : {ExecVersion::kV1, ExecVersion::kV1Beta1, ExecVersion::kV1Alpha1}) {
    const auto got = ParseProviderResponse(
        Response(Name(version), R"("cacheKeyType":"Registry","cacheDuration":"1m",)"
                                R"("auth":{"*.registry.io":{"username":"user","password":"password"}})"), version);
    ASSERT_TRUE(got) << got.error().Text();
    EXPECT_EQ(got->key_type, CacheKeyType::kRegistry);
    EXPECT_EQ(got->cache, std::optional<time::Duration>(1min));
    ASSERT_THAT(got->entries, SizeIs(1));
    EXPECT_EQ(got->entries[0].pattern, "*.registry.io");
    EXPECT_EQ(got->entries[0].username, "user");
    EXPECT_EQ(got->entries[0].password.Reveal(), "password");
  }
  for (const char* empty : {R"("cacheKeyType":"Image")", R"("cacheKeyType":"Image","auth":null,"cacheDuration":null)", R"("cacheKeyType":"Global","auth":{})"}) {
    const auto got = ParseProviderResponse(Response(kV1, empty), ExecVersion::kV1);
    ASSERT_TRUE(got) << empty;
    EXPECT_THAT(got->entries, IsEmpty());
    EXPECT_FALSE(got->cache);
  }
  EXPECT_EQ(ParseProviderResponse(Good("p", "Image", R"(,"cacheDuration":"-5m")"), ExecVersion::kV1)->cache, std::optional<time::Duration>(-5min));
}

struct LieCase { const char* name; std::string text, error; };
class Lies : public testing::TestWithParam<LieCase> {};
TEST_P(Lies, AreRefusedAndNotQuoted) {
  const auto got = ParseProviderResponse(GetParam().text, ExecVersion::kV1);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kProtocolError);
  EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().error));
  EXPECT_THAT(got.error().Text() + got.error().next_step(), Not(HasSubstr("hunter2")));
}
constexpr std::string_view kDecode = "error decoding credential provider plugin response from stdout";
INSTANTIATE_TEST_SUITE_P(Table, Lies, testing::Values(
    LieCase{"Nothing", "", "error reading GVK from response: no output"}, LieCase{"Text", "hunter2", "error reading GVK from response: "},
    LieCase{"NoKind", R"({"apiVersion":"credentialprovider.kubelet.k8s.io/v1"})", "error reading GVK from response: "},
    LieCase{"NoVersion", R"({"kind":"CredentialProviderResponse","auth":{"a":{"password":"hunter2"}}})", "error reading GVK from response: "},
    LieCase{"TwoDocuments", Good() + Good(), "error reading GVK from response: "}, LieCase{"DuplicateKey", R"({"hunter2":1,"hunter2":2})", "error reading GVK"},
    LieCase{"OtherVersion", Response("credentialprovider.kubelet.k8s.io/v1beta1", R"("cacheKeyType":"Image")"),
            "apiVersion from credential plugin response did not match expected apiVersion:credentialprovider.kubelet.k8s.io/v1, actual "
            "apiVersion:credentialprovider.kubelet.k8s.io/v1beta1"},
    LieCase{"OtherGroup", Response("foobar.kubelet.k8s.io/v1", R"("cacheKeyType":"Image")"), "actual apiVersion:another"},
    LieCase{"SecretVersion", Response("credentialprovider.kubelet.k8s.io/hunter2", ""), "actual apiVersion:another"},
    LieCase{"WrongKind", R"({"kind":"WrongKind","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image"})", std::string(kDecode)},
    LieCase{"UnknownField", Response(kV1, R"("cacheKeyType":"Image","hunter2":"hunter2")"), std::string(kDecode)},
    LieCase{"UnknownInAuth", Response(kV1, R"("cacheKeyType":"Image","auth":{"a":{"hunter2":"x"}})"), std::string(kDecode)},
    LieCase{"PasswordNumber", Response(kV1, R"("cacheKeyType":"Image","auth":{"a":{"password":1}})"), std::string(kDecode)},
    LieCase{"AuthList", Response(kV1, R"("cacheKeyType":"Image","auth":[])"), std::string(kDecode)},
    LieCase{"Duration1e300", Response(kV1, R"("cacheKeyType":"Image","cacheDuration":"1e300s")"), std::string(kDecode)},
    LieCase{"DurationNumber", Response(kV1, R"("cacheKeyType":"Image","cacheDuration":60)"), std::string(kDecode)},
    LieCase{"KeyType", Response(kV1, R"("cacheKeyType":"hunter2")"), "credential provider plugin did not return a valid cacheKeyType"},
    LieCase{"NoKeyType", Response(kV1, ""), "credential provider plugin did not return a valid cacheKeyType: none"}),
    [](const auto& i) { return i.param.name; });

// --- cache, 7.6

TEST(ProviderCacheKeys, AreTheKubeletsBytes) {
  EXPECT_EQ(CacheKey("registry.io/image", ""), "\x00\x11registry.io/image\x00\x00"s);
  EXPECT_EQ(CacheKey("image1", ""), "\x00\x06image1\x00\x00"s);
  const ServiceAccountCoordinates account{{"service-account-uid", "namespace", "service-account"}};
  const std::string head = "\x00\x09namespace\x00\x0fservice-account\x00\x13service-account-uid"s;
  EXPECT_EQ(ServiceAccountKey(account, {}, ""), head + "\0\0\0\0"s);
  const std::string one = "\x00\x16" "domain.io/annotation-1\x00\x06value1"s;
  EXPECT_EQ(ServiceAccountKey(account, {{"domain.io/annotation-1", "value1"}}, ""), head + "\0\0\0\x01"s + one);
  const std::string two = "\0\0\0\x02"s + one + "\x00\x16" "domain.io/annotation-2\x00\x06value2"s;
  EXPECT_EQ(ServiceAccountKey(account, {{"domain.io/annotation-2", "value2"}, {"domain.io/annotation-1", "value1"}}, ""), head + two);
  const std::string hash = "sha256:" + std::string(64, 'f');
  EXPECT_EQ(ServiceAccountKey(account, {}, hash), head + "\0\0\0\0\0\x05token\0\x47"s + hash);
  EXPECT_EQ(ServiceAccountKey({}, {{"a", "b"}}, hash), "") << "outside of service account mode";
  const std::string key = ServiceAccountKey(account, {{"domain.io/annotation-1", "value1"}}, "");
  EXPECT_EQ(CacheKey("registry.io/image", key), "\x00\x11registry.io/image\x00"s + static_cast<char>(key.size()) + key);
}

TEST(ProviderCache, ExpiresAndPurges) {
  ManualClock clock;
  const auto entries = std::make_shared<const std::vector<ProviderResponse::Entry>>();
  ProviderCache cache;
  const auto start = clock.SteadyNow();
  EXPECT_EQ(cache.Find("image1", "", start), nullptr);
  cache.Store(CacheKey("image1", ""), entries, start + 1min);
  EXPECT_EQ(cache.Find("image1", "", start + 1s), entries);
  EXPECT_EQ(cache.Find("image1", "", start + 1min), entries) << "strictly later";
  EXPECT_EQ(cache.Find("image1", "", start + 1min + 1ns), nullptr);
  cache.Store(CacheKey("image2", ""), entries, start);
  EXPECT_EQ(cache.Find("image2", "", start + 2min), nullptr);
  cache.Store(CacheKey("image3", ""), entries, start + 2min);
  EXPECT_EQ(cache.size(), 3u);
  EXPECT_EQ(cache.Find("other", "", start + 18min), nullptr);
  EXPECT_EQ(cache.size(), 0u) << "purged at the look-up of another image";
}

TEST(ProviderCache, IsBounded) {
  const auto entries = std::make_shared<const std::vector<ProviderResponse::Entry>>();
  ProviderCache cache;
  for (std::size_t i = 0; i <= ProviderCache::kMost; ++i)
    cache.Store(CacheKey("i" + std::to_string(i), ""), entries, time::SteadyTime(1h + std::chrono::seconds(i)));
  EXPECT_EQ(cache.size(), ProviderCache::kMost);
  EXPECT_FALSE(cache.Has(CacheKey("i0", ""))) << "the one that would have gone first";
}

// --- words of a plug-in

struct RedactCase { const char* name; std::vector<const char*> secrets; const char *text, *want; };
class Redacts : public testing::TestWithParam<RedactCase> {};
TEST_P(Redacts, WhatIsOrLooksSecret) {
  Redactor redactor;
  for (const char* secret : GetParam().secrets) redactor.Add(secret);
  EXPECT_EQ(redactor.Apply(GetParam().text), GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(Table, Redacts, testing::Values(
    RedactCase{"Plain", {}, "dial tcp 10.0.0.1:443: connection refused", "dial tcp 10.0.0.1:443: connection refused"},
    RedactCase{"Known", {"hunter2"}, "bad password hunter2 and hunter2x", "bad password [redacted] and [redacted]x"},
    RedactCase{"PartOfAnother", {"abc", "xabcx"}, "xabcx abc", "[redacted] [redacted]"},
    RedactCase{"CutAtTheStart", {"hunter2secret"}, "2secret said no", "[redacted] said no"},
    RedactCase{"Short", {"ab"}, "ab", "ab"},
    RedactCase{"Jwt", {}, "token eyJhbGciOiJSUzI1NiIsImtpZCI6.eyJpc3MiOiJrdWJlcm5ldGVzL3.c2lnbmF0dXJlLi4uLi4uLi4uLi40 no",
               "token [redacted].[redacted].[redacted] no"},
    RedactCase{"Hex", {}, "key 0123456789abcdef0123456789abcdef!", "key [redacted]!"},
    RedactCase{"LongWord", {}, "no-such-file-or-directory-or-anything", "no-such-file-or-directory-or-anything"}),
    [](const auto& i) { return i.param.name; });
TEST(Redacts, KeepsTheLastWordsAndCutsAfterwards) {
  Redactor redactor;
  redactor.Add("hunter2secret");
  const std::string text = std::string(300, '.') + "hunter2secret" + std::string(250, '.');
  const auto got = redactor.Apply(text);
  EXPECT_EQ(got.size(), 256u);
  EXPECT_THAT(got, Not(HasSubstr("cret")));
  redactor.AddWordsOf("{\"a\":\"swordfish\"}");
  EXPECT_EQ(redactor.Apply("swordfish"), "[redacted]");
}

// --- programs

class FakeTokens : public TokenSource {
 public:
  Result<Account> FindAccount(const task::Context&, const std::string& namespace_name, const std::string& name) override {
    if (missing) return Error(Reason::kNotFound, "serviceaccount " + namespace_name + "/" + name + " not found");
    return Account{"sa-uid", annotations};
  }
  Result<secret::Secret> Token(const task::Context&, const PodIdentity& pod, const std::string& uid, const std::string& audience) override {
    if (failing) return Error(Reason::kUnavailable, "failed to get token");
    asked = pod.namespace_name + "/" + pod.name + "/" + pod.uid + " " + pod.service_account + "/" + uid + " " + audience;
    return token.Clone();
  }
  bool missing = false, failing = false;
  std::map<std::string, std::string> annotations;
  secret::Secret token{"mock-token"};
  std::string asked;
};

class ProviderTest : public testing::Test {
 protected:
  ProviderTest() {
    BERTH_CHECK(scratch_.dir().MakeDir("bin", 0755).has_value());
    bin_ = *scratch_.dir().OpenDir("bin");
  }
  void Script(std::string_view body, const char* name = "plugin") {
    const std::string text = "#!/bin/sh\ncd '" + scratch_.path() + "' || exit 99\n" + std::string(body);
    ASSERT_TRUE(bin_.WriteDurably(name, bytes::AsView(text), 0755));
  }
  // Notes the call, then prints `response`.
  void Answer(std::string_view response, const char* name = "plugin") {
    Script("cat > request\necho run >> runs\ncat <<'END'\n" + std::string(response) + "\nEND\n", name);
  }
  void Config(std::string_view images = R"("*.registry.io")", std::string_view more = "", std::string_view cache = "1h", const char* name = "plugin",
              const char* file = "config.json") {
    const std::string text = R"({"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig",)"
                             R"("providers":[{"name":")" + std::string(name) +
                             R"(","matchImages":[)" + std::string(images) + R"(],"defaultCacheDuration":")" + std::string(cache) +
                             R"(","apiVersion":"credentialprovider.kubelet.k8s.io/v1")" + std::string(more) + "}]}";
    ASSERT_TRUE(scratch_.dir().WriteDurably(file, bytes::AsView(text), 0600));
  }
  static std::string Token(std::string_view type, bool require = true, std::string_view more = "") {
    return R"(,"tokenAttributes":{"serviceAccountTokenAudience":"registry","cacheType":")" + std::string(type) + R"(","requireServiceAccount":)" +
           (require ? "true" : "false") + std::string(more) + "}";
  }
  ProviderOptions Options() const {
    return {.config = scratch_.path("config.json"), .bin_dir = scratch_.path("bin"), .rules = {.profile = Profile::kKubelet},
            .environment = {"PATH=/usr/bin:/bin", "HOME=" + scratch_.path()}};
  }
  ProviderSet& Set() {
    if (!set_) {
      auto set = ProviderSet::Load(Options(), clock_, &tokens_);
      if (!set) ADD_FAILURE() << set.error().Text();
      set_ = *std::move(set);
    }
    return *set_;
  }
  task::Context Ctx() const { return task::Context({}, clock_); }
  ProviderSet::Found Find(const std::string& repository = "test.registry.io/foo/bar", Detail detail = Detail::kNo) {
    auto found = Set().Find(Ctx(), repository, pod_, detail);
    if (!found) ADD_FAILURE() << found.error().Text();
    return *std::move(found);
  }
  std::vector<std::string> Users(const std::string& repository = "test.registry.io/foo/bar") {
    std::vector<std::string> users;
    for (const auto& c : Find(repository).keyring.Find(repository)) users.push_back(c.username + ":" + std::string(c.password.Reveal()));
    return users;
  }
  // The one report of a failure.
  std::string Failure() {
    const auto found = Find();
    EXPECT_TRUE(found.keyring.empty());
    EXPECT_THAT(found.reports, SizeIs(1));
    if (found.reports.empty()) return "none";
    EXPECT_EQ(found.reports[0].verdict, Verdict::kFailed);
    EXPECT_EQ(found.reports[0].source, "plug-in plugin");
    return found.reports[0].reason;
  }
  std::string Read(std::string_view name) {
    const auto text = scratch_.dir().ReadSmall(name, 1 << 20);
    return text ? *text : "";
  }
  std::size_t Runs() { return Read("runs").size() / 4; }
  void Fifo(const char* name) { ASSERT_EQ(::mkfifo(scratch_.path(name).c_str(), 0600), 0); }

  host::testing::Scratch scratch_;
  host::Dir bin_;
  ManualClock clock_;
  FakeTokens tokens_;
  PodIdentity pod_;
  std::unique_ptr<ProviderSet> set_;
};

// 7.6, "provider vectors"
struct VectorCase { const char *image, *pattern, *type, *key; };
TEST_F(ProviderTest, GivesWhatThePluginSaid) {
  for (const auto& c : {VectorCase{"test.registry.io/foo/bar", "test.registry.io", "Registry", "test.registry.io"},
                        {"test.registry.io/foo/bar", "test.registry.io/foo/bar", "Image", "test.registry.io/foo/bar"},
                        {"test.registry.io:8080/foo", "*.registry.io:8080", "Registry", "*.registry.io:8080"},
                        {"foo.bar.registry.io/foo/bar", "*.*.registry.io", "Image", "*.*.registry.io"}}) {
    set_.reset();
    Config("\"" + std::string(c.pattern) + "\"");
    Answer(Good(c.key, c.type));
    const auto found = Find(c.image);
    const auto got = found.keyring.Find(c.image);
    ASSERT_THAT(got, SizeIs(1)) << c.image;
    EXPECT_EQ(got[0].username, "user");
    EXPECT_EQ(got[0].password.Reveal(), "password");
    EXPECT_EQ(got[0].Describe(), "plug-in plugin (user)");
    EXPECT_FALSE(got[0].service_account);
    EXPECT_EQ(Read("request"), R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":")" +
                                   std::string(c.image) + "\"}\n");
  }
}

TEST_F(ProviderTest, NoPatternNoRun) {
  Config(R"("other.io")");
  Answer(Good());
  const auto found = Find("test.registry.io/foo", Detail::kYes);
  EXPECT_TRUE(found.keyring.empty());
  EXPECT_EQ(Runs(), 0u);
  ASSERT_THAT(found.reports, SizeIs(1));
  EXPECT_EQ(found.reports[0].reason, "2 host labels, image has 3");
  EXPECT_EQ(found.reports[0].pattern, "other.io");
}

TEST_F(ProviderTest, TheReturnedPatternsAreMatchedAgain) {
  Config();
  Answer(Good("other.registry.io", "Global"));
  EXPECT_THAT(Users(), IsEmpty());
  const auto found = Find("test.registry.io/foo/bar", Detail::kYes);
  ASSERT_THAT(found.reports, SizeIs(1));
  EXPECT_EQ(found.reports[0].verdict, Verdict::kNoMatch);
  EXPECT_EQ(found.reports[0].reason, R"(host "other.registry.io" does not match "test.registry.io")");
}

TEST_F(ProviderTest, AGlobalAnswerForAllHostsStaysWithinMatchImages) {  // D-23
  Config();
  Answer(Good("*.*.io", "Global"));
  EXPECT_THAT(Users(), ElementsAre("user:password"));
  EXPECT_THAT(Users("a.evil.io/x"), IsEmpty());
  EXPECT_THAT(Users("b.registry.io/x"), ElementsAre("user:password"));
  EXPECT_EQ(Runs(), 1u);
}

TEST_F(ProviderTest, NothingForTheImageIsNoFailure) {
  Config();
  Answer(Response(kV1, R"("cacheKeyType":"Image","auth":null)"));
  const auto found = Find("test.registry.io/foo/bar", Detail::kYes);
  ASSERT_THAT(found.reports, SizeIs(1));
  EXPECT_EQ(found.reports[0].verdict, Verdict::kSkipped);
  EXPECT_EQ(found.reports[0].reason, "it has no credentials for this image");
  EXPECT_THAT(Find().reports, IsEmpty());
}

TEST_F(ProviderTest, ExplainCanLeaveItAlone) {
  Config();
  Answer(Good());
  const auto found = Set().Find(Ctx(), "test.registry.io/a", {}, Detail::kYes, AskPlugins::kNo);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->reports.at(0).reason, "not run");
  EXPECT_EQ(Runs(), 0u);
}

// D-16, D-25
TEST_F(ProviderTest, WhatThePluginSees) {
  Config(R"("*.registry.io")", R"(,"args":["--flag","a b"],"env":[{"name":"KEY","value":"v"},{"name":"PATH","value":"/bin:/usr/bin"}])");
  Script("env | grep -v '^PWD\\|^OLDPWD\\|^_=\\|^SHLVL' | sort > seen\necho \"$#:$1:$2\" >> seen\nls /proc/self/fd | wc -l >> fds\ncat <<'END'\n" + Good() + "\nEND\n");
  EXPECT_THAT(Users(), ElementsAre("user:password")) << "its input unread";
  EXPECT_EQ(Read("seen"), "HOME=" + scratch_.path() + "\nKEY=v\nPATH=/bin:/usr/bin\n2:--flag:a b\n");
}

struct CachedCase { const char* type; const char* mode; };
class Cached : public ProviderTest, public testing::WithParamInterface<CachedCase> {};
TEST_P(Cached, TheSecondCallDoesNotRunIt) {
  const std::string mode = GetParam().mode;
  Config(R"("*.registry.io")", mode.empty() ? "" : Token(mode));
  Answer(Good("*.registry.io", GetParam().type));
  pod_ = {"shop", "web", "pod-uid", "builder"};
  EXPECT_THAT(Users(), SizeIs(1));
  EXPECT_THAT(Users(), SizeIs(1));
  EXPECT_EQ(Runs(), 1u);
  EXPECT_EQ(Set().counters().hits, 1u);
  // Another image of the registry, another registry.
  Users("test.registry.io/other");
  EXPECT_EQ(Runs(), GetParam().type == "Image"sv ? 2u : 1u);
  Users("b.registry.io/other");
  EXPECT_EQ(Runs(), GetParam().type == "Image"sv ? 3u : GetParam().type == "Registry"sv ? 2u : 1u);
  // A new token of the same account.
  const auto before = Runs();
  tokens_.token = secret::Secret("mock-token-2");
  Users();
  EXPECT_EQ(Runs(), before + (mode == "Token" ? 1u : 0u));
  // Another account.
  pod_.service_account = "other";
  Users();
  EXPECT_EQ(Runs(), before + (mode.empty() ? 0u : mode == "Token" ? 2u : 1u));
}
INSTANTIATE_TEST_SUITE_P(Table, Cached, testing::Values(CachedCase{"Image", ""}, CachedCase{"Registry", ""}, CachedCase{"Global", ""},
                                                        CachedCase{"Image", "ServiceAccount"}, CachedCase{"Registry", "ServiceAccount"},
                                                        CachedCase{"Global", "ServiceAccount"}, CachedCase{"Image", "Token"},
                                                        CachedCase{"Registry", "Token"}, CachedCase{"Global", "Token"}),
                         [](const auto& i) { return std::string(i.param.type) + (*i.param.mode ? i.param.mode : "Plain"); });

struct KeepCase { const char *name, *answer, *fallback; std::size_t runs_at_once, runs_after_2m, runs_after_2h; };
class Keeps : public ProviderTest, public testing::WithParamInterface<KeepCase> {};
TEST_P(Keeps, ForAsLongAsItSaid) {  // D-22
  const auto& c = GetParam();
  Config(R"("*.registry.io")", "", c.fallback);
  Answer(Good("*.registry.io", "Registry", *c.answer ? R"(,"cacheDuration":")" + std::string(c.answer) + "\"" : ""));
  EXPECT_THAT(Users(), SizeIs(1)) << "used whether it is kept or not";
  Users();
  EXPECT_EQ(Runs(), c.runs_at_once);
  clock_.Advance(2min);
  Users();
  EXPECT_EQ(Runs(), c.runs_after_2m);
  clock_.Advance(2h);
  Users();
  EXPECT_EQ(Runs(), c.runs_after_2h);
}
INSTANTIATE_TEST_SUITE_P(Table, Keeps, testing::Values(
    KeepCase{"Minute", "1m", "1h", 1, 2, 3}, KeepCase{"Zero", "0s", "1h", 2, 3, 4}, KeepCase{"Negative", "-5m", "1h", 2, 3, 4},
    KeepCase{"Default", "", "1h", 1, 1, 2}, KeepCase{"DefaultZero", "", "0s", 2, 3, 4}, KeepCase{"Century", "1000000h", "0s", 1, 1, 1}),
    [](const auto& i) { return i.param.name; });

// 7.5 step 2, 7.6
TEST_F(ProviderTest, AccountModeCarriesTokenAnnotationsAndCoordinates) {
  Config(R"("*.registry.io")", Token("ServiceAccount", true, R"(,"requiredServiceAccountAnnotationKeys":["domain.io/id"],)"
                                                             R"("optionalServiceAccountAnnotationKeys":["a.io/x","a.io/y"])"));
  Answer(Good());
  pod_ = {"shop", "web", "pod-uid", "builder"};
  tokens_.annotations = {{"domain.io/id", "7"}, {"a.io/x", "1"}, {"unasked", "z"}};
  const auto got = Find().keyring.Find("test.registry.io/foo/bar");
  ASSERT_THAT(got, SizeIs(1));
  EXPECT_EQ(got[0].service_account, (ServiceAccountCoordinates{{"sa-uid", "shop", "builder"}}));
  EXPECT_EQ(tokens_.asked, "shop/web/pod-uid builder/sa-uid registry");
  EXPECT_THAT(Read("request"), HasSubstr(R"("serviceAccountToken":"mock-token","serviceAccountAnnotations":{"a.io/x":"1","domain.io/id":"7"}})"));
}

TEST_F(ProviderTest, AccountModeWithoutAnAccount) {
  Config(R"("*.registry.io")", Token("ServiceAccount"));
  Answer(Good());
  auto found = Find("test.registry.io/foo/bar", Detail::kYes);
  EXPECT_EQ(found.reports.at(0).verdict, Verdict::kSkipped);
  EXPECT_EQ(found.reports.at(0).reason, "Service account name is empty");
  EXPECT_THAT(Find().reports, IsEmpty());
  set_.reset();
  Config(R"("*.registry.io")", Token("ServiceAccount", false));
  const auto got = Find().keyring.Find("test.registry.io/foo/bar");
  ASSERT_THAT(got, SizeIs(1));
  EXPECT_FALSE(got[0].service_account);
  EXPECT_THAT(Read("request"), Not(HasSubstr("serviceAccount")));
}

TEST_F(ProviderTest, AccountModeFailures) {
  Config(R"("*.registry.io")", Token("ServiceAccount", true, R"(,"requiredServiceAccountAnnotationKeys":["domain.io/identity-id"])"));
  Answer(Good("test.registry.io", "Registry", "", "mock-token"));
  pod_ = {"shop", "web", "pod-uid", "builder"};
  EXPECT_EQ(Find("test.registry.io/foo/bar", Detail::kYes).reports.at(0).reason, "required annotation domain.io/identity-id not found");
  tokens_.annotations = {{"domain.io/identity-id", "1"}};
  tokens_.failing = true;
  EXPECT_EQ(Failure(), "failed to get service account token: failed to get token");
  tokens_.failing = false;
  tokens_.missing = true;
  EXPECT_THAT(Failure(), HasSubstr("failed to get service account: "));
  tokens_.missing = false;
  EXPECT_EQ(Runs(), 0u);
  EXPECT_THAT(Failure(), HasSubstr("returned the service account token as the password which is not allowed when service account cache type is not set to 'Token'"));
  set_.reset();
  Config(R"("*.registry.io")", Token("Token"));
  EXPECT_THAT(Users(), ElementsAre("user:mock-token"));
}

// --- misbehaviour

struct BadScript { const char* name; std::string script; std::vector<std::string> error; };
class Misbehaves : public ProviderTest, public testing::WithParamInterface<BadScript> {};
TEST_P(Misbehaves, AndContributesNothing) {
  Config(R"("*.registry.io")", Token("ServiceAccount") + R"(,"env":[{"name":"KEY","value":"envhunter2"}])");
  pod_ = {"shop", "web", "pod-uid", "builder"};
  tokens_.token = secret::Secret("tokenhunter2");
  Script(GetParam().script);
  const std::string failure = Failure();
  for (const auto& part : GetParam().error) EXPECT_THAT(failure, HasSubstr(part));
  EXPECT_THAT(failure, Not(HasSubstr("hunter2")));
  EXPECT_LT(failure.size(), 1200u);
  EXPECT_EQ(Set().counters().failures, 1u);
}
const std::string kExecing = "error execing credential provider plugin plugin for image test.registry.io/foo/bar: ";
INSTANTIATE_TEST_SUITE_P(Table, Misbehaves, testing::Values(
    BadScript{"Exit3WithAGoodAnswer", "cat <<'END'\n" + Good("test.registry.io", "Image", "", "hunter2") + "\nEND\necho said hunter2 >&2; exit 3",
              {kExecing + "exit status 3: ", "said [redacted]"}},
    BadScript{"Crash", "kill -SEGV $$", {kExecing + "killed by signal 11"}},
    BadScript{"Silent", "exit 0", {"error reading GVK from response: no output"}},
    BadScript{"HugeOutput", "cat /dev/zero", {kExecing, "it wrote more than 1048576 bytes (limit plugin_output_bytes)"}},
    BadScript{"TokenToStderr", "cat >&2; exit 1", {kExecing + "exit status 1: ", "[redacted]"}},
    BadScript{"EnvironmentToStderr", "env >&2; exit 1", {kExecing + "exit status 1: ", "KEY=[redacted]"}},
    BadScript{"StderrFlood", "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1", {"exit status 1: ", "the end"}},
    BadScript{"StderrNewlines", "printf 'a\\nb\\033[31m' >&2; exit 1", {R"(a\x0ab\x1b[31m)"}},
    BadScript{"SecretAsText", "echo 'password hunter2'; echo 'got hunter2' >&2; exit 1", {"got [redacted]"}},
    BadScript{"SecretAsTextWithSuccess", "echo 'password hunter2'", {"error reading GVK from response: not one strict JSON document"}},
    BadScript{"WrongKind", R"(echo '{"kind":"hunter2","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image"}')", {"error decoding"}},
    BadScript{"WrongVersion", R"(echo '{"kind":"CredentialProviderResponse","apiVersion":"hunter2/v1","cacheKeyType":"Image"}')", {"apiVersion from credential plugin"}}),
    [](const auto& i) { return i.param.name; });

// Each limit is the configuration's.
TEST_F(ProviderTest, LimitsAreOptions) {
  Config();
  const auto failure = [&](const PluginLimits& limits) {
    ProviderOptions options = Options();
    options.limits = limits;
    set_ = *ProviderSet::Load(std::move(options), clock_, &tokens_);
    return Failure();
  };
  Script("head -c 3000 /dev/zero");
  EXPECT_THAT(failure({.output_bytes = 2999}), HasSubstr("it wrote more than 2999 bytes (limit plugin_output_bytes)"));
  EXPECT_THAT(failure({.output_bytes = 3000}), HasSubstr("not one strict JSON document"));
  Script("echo 'beginning and end' >&2; exit 1");
  EXPECT_THAT(failure({.error_bytes = 4}), AllOf(HasSubstr("end"), Not(HasSubstr("beginning"))));
}

TEST_F(ProviderTest, GoneReplacedOrMadeUnfit) {  // D-24, D-26
  Config();
  Answer(Good());
  Set();
  ASSERT_TRUE(*bin_.Unlink("plugin"));
  EXPECT_THAT(Failure(), HasSubstr("No such file"));
  ASSERT_TRUE(bin_.WriteDurably("plugin", bytes::AsView("#!/no/such/interpreter\n"), 0755));
  EXPECT_THAT(Failure(), HasSubstr(kExecing));
  ASSERT_TRUE(bin_.WriteDurably("plugin", bytes::AsView("\x7f" "ELF"), 0755));
  EXPECT_THAT(Failure(), HasSubstr(kExecing));
  ASSERT_TRUE(bin_.WriteDurably("plugin", bytes::AsView("#!/bin/sh\n"), 0644));
  EXPECT_THAT(Failure(), HasSubstr("is not executable"));
  ASSERT_EQ(::chmod(scratch_.path("bin/plugin").c_str(), 0777), 0);
  EXPECT_THAT(Failure(), HasSubstr("may be written by everybody"));
  Answer(Good());
  EXPECT_THAT(Users(), SizeIs(1));
}

TEST_F(ProviderTest, OneThatHangsIsKilledAfterAMinute) {  // D-17
  Fifo("never");
  Config();
  // The first ends on SIGTERM, the second has to be killed after the grace.
  for (const char* script : {"cat < never", "trap '' TERM; cat < never; cat < never"}) {
    set_.reset();
    Script(script);
    std::atomic<bool> done = false;
    const std::size_t before = clock_.sleeps().size();
    std::jthread hand([&] {  // every wait for it is a sleep of the clock
      for (std::size_t n = before + 1; !done; ++n) {
        clock_.AwaitSleeps(n);
        if (!done) clock_.Advance(1min);
      }
    });
    EXPECT_THAT(Failure(), HasSubstr(kExecing + "no answer within 1m0s (limit plugin_time)"));
    done = true;
    (void)clock_.SleepUntil({}, clock_.SteadyNow());  // lets the hand go
  }
}

TEST_F(ProviderTest, AChildThatKeepsThePipeEndsWithTheCall) {  // D-18, P25
  Fifo("never");
  Fifo("out");  // of the group: not before that may the plug-in end
  Config();
  Script("cat <<'END'\n" + Good() + "\nEND\nsetsid -f sh -c 'echo > out; exec cat < never'\nhead -c 1 out > /dev/null\n");
  std::atomic<bool> done = false;
  std::jthread hand([&] {
    for (std::size_t n = 1; !done; ++n) {
      clock_.AwaitSleeps(n);
      // Within the minute; more than the 500 ms in which it may still write.
      if (!done) clock_.Advance(1s);
    }
  });
  EXPECT_THAT(Users(), ElementsAre("user:password"));
  done = true;
  (void)clock_.SleepUntil({}, clock_.SteadyNow());
  hand.join();
#ifdef __SANITIZE_THREAD__
  // Not contained: it goes when its FIFO gets a writer.
  const host::Fd writer(::open(scratch_.path("never").c_str(), O_WRONLY | O_CLOEXEC));
  EXPECT_TRUE(writer.valid());
#else
  const host::Fd writer(::open(scratch_.path("never").c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK));
  EXPECT_EQ(errno, ENXIO) << "nobody reads there any more, although it had left the group";
  EXPECT_FALSE(writer.valid());
#endif
}

TEST_F(ProviderTest, ManyAskOneRuns) {  // D-27
  Fifo("go");
  Config();
  Script("cat > /dev/null; echo run >> runs; cat go > /dev/null\ncat <<'END'\n" + Good() + "\nEND\n");
  Set();
  std::atomic<int> got = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) threads.emplace_back([&] { got += static_cast<int>(Users().size()); });
    const host::Fd go(::open(scratch_.path("go").c_str(), O_WRONLY | O_CLOEXEC));  // blocks until it runs
    EXPECT_TRUE(go.valid());
  }
  EXPECT_EQ(got, 8);
  EXPECT_EQ(Runs(), 1u);
}

TEST_F(ProviderTest, CancelEndsTheWaitAndTheRun) {
  Fifo("never");
  Fifo("ready");
  Config();
  Script("echo r > ready; cat < never");
  std::stop_source stop;
  std::jthread stopper([&] {
    const host::Fd ready(::open(scratch_.path("ready").c_str(), O_RDONLY | O_CLOEXEC));
    stop.request_stop();
  });
  const auto found = Set().Find(task::Context(stop.get_token()), "test.registry.io/foo/bar", {});
  ASSERT_FALSE(found);
  EXPECT_TRUE(found.error().cancelled());
  set_.reset();  // ends what still runs
}

// --- 7.1

TEST_F(ProviderTest, WhatKeepsItFromLoading) {
  const auto problem = [&](ProviderOptions options) {
    const auto set = ProviderSet::Load(std::move(options), clock_, nullptr);
    return set ? "none" : set.error().Text();
  };
  Config();
  auto options = Options();
  options.bin_dir = scratch_.path("none");
  EXPECT_EQ(problem(options), "plugin binary directory " + scratch_.path("none") + " did not exist");
  EXPECT_EQ(problem(Options()), "plugin binary executable " + scratch_.path("bin/plugin") + " did not exist");
  ASSERT_TRUE(bin_.MakeDir("plugin", 0755));
  EXPECT_THAT(problem(Options()), HasSubstr("error inspecting binary executable " + scratch_.path("bin/plugin") + ": "));
  options = Options();
  options.config = "";
  EXPECT_EQ(problem(options), "credential provider config path is empty");
}

TEST_F(ProviderTest, ReloadTakesEffectAndKeepsAnswersOfTheUnchanged) {
  ASSERT_TRUE(scratch_.dir().MakeDir("config.json", 0700));
  Config(R"("*.registry.io")", "", "1h", "one", "config.json/1.json");
  Answer(Good("*.registry.io"), "one");
  Answer(Good("*.registry.io", "Registry", "", "second"), "two");
  EXPECT_THAT(Users(), ElementsAre("user:password"));
  const std::string hash = Set().hash();
  Config(R"("*.registry.io")", "", "1h", "two", "config.json/2.json");
  EXPECT_THAT(Users(), ElementsAre("user:password")) << "not looked at again yet";
  EXPECT_EQ(Runs(), 1u);
  clock_.Advance(10s);
  EXPECT_THAT(Users(), ElementsAre("user:password", "user:second"));
  EXPECT_EQ(Runs(), 2u) << "the first still knew";
  EXPECT_NE(Set().hash(), hash);
  ASSERT_TRUE(scratch_.dir().WriteDurably("config.json/1.json", bytes::AsView("broken"), 0600));
  EXPECT_FALSE(Set().Reload());
  clock_.Advance(10s);
  EXPECT_THAT(Users(), SizeIs(2)) << "the old stays";
  const auto folder = *scratch_.dir().OpenDir("config.json");
  ASSERT_TRUE(*folder.Unlink("1.json"));
  EXPECT_TRUE(*Set().Reload());
  EXPECT_FALSE(*Set().Reload());
  EXPECT_THAT(Users(), ElementsAre("user:second"));
}

TEST_F(ProviderTest, AReloadDoesNotEndARun) {
  Fifo("go");
  Config();
  Script("cat > /dev/null; cat go > /dev/null\ncat <<'END'\n" + Good() + "\nEND\n");
  Set();
  std::vector<std::string> users;
  std::jthread caller([&] { users = Users(); });
  {
    const host::Fd go(::open(scratch_.path("go").c_str(), O_WRONLY | O_CLOEXEC));  // it runs
    Config(R"("other.io")");
    EXPECT_TRUE(*Set().Reload());
  }
  caller.join();
  EXPECT_THAT(users, ElementsAre("user:password"));
  EXPECT_THAT(Users(), IsEmpty());
}

}  // namespace
}  // namespace berth::credentials
