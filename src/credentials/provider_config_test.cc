#include "credentials/provider_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "digest/digest.h"
#include "host/testing/scratch.h"

namespace berth::credentials {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

constexpr std::string_view kValid =
    R"("name":"foobar","matchImages":["foobar.registry.io"],"defaultCacheDuration":"1m","apiVersion":"credentialprovider.kubelet.k8s.io/v1")";

std::string Document(std::string_view providers, std::string_view version = "v1") {
  return R"({"apiVersion":"kubelet.config.k8s.io/)" + std::string(version) + R"(","kind":"CredentialProviderConfig","providers":[)" +
         std::string(providers) + "]}";
}
Result<std::vector<ProviderSpec>> Parse(std::string_view text, ProviderConfigRules rules = {}) {
  ASSIGN_OR_RETURN(const auto document, ParseJsonDocument(text));
  return ParseProviderConfig(document.root(), rules);
}
std::string Provider(std::string_view name, std::string_view images, std::string_view cache, std::string_view version,
                     std::string_view more = "") {
  return R"({"name":")" + std::string(name) + R"(","matchImages":)" + std::string(images) +
         (cache.empty() ? "" : R"(,"defaultCacheDuration":")" + std::string(cache) + "\"") + R"(,"apiVersion":")" + std::string(version) + "\"" +
         std::string(more) + "}";
}
std::string WithToken(std::string_view attributes, std::string_view version = "v1") {
  return Provider("foobar", R"(["foobar.registry.io"])", "1m", "credentialprovider.kubelet.k8s.io/" + std::string(version),
                  R"(,"tokenAttributes":{)" + std::string(attributes) + "}");
}

// --- kubelet-images 7.3

constexpr std::string_view kExec = "credentialprovider.kubelet.k8s.io/v1";
constexpr std::string_view kImages = R"(["foobar.registry.io"])";
constexpr std::string_view kNamePart =
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or "
    "'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

struct InvalidCase { const char* name; std::string providers, error; bool gate = true; };
class Invalid : public testing::TestWithParam<InvalidCase> {};
TEST_P(Invalid, IsRefusedWithTheKubeletsWords) {
  const auto got = Parse(Document(GetParam().providers), {.profile = Profile::kKubelet, .service_account_tokens = GetParam().gate});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kConfig);
  EXPECT_EQ(got.error().message(), "failed to validate credential provider config: " + GetParam().error);
}
const std::string kSa = R"("serviceAccountTokenAudience":"audience","cacheType":"ServiceAccount","requireServiceAccount":true)";
INSTANTIATE_TEST_SUITE_P(Table, Invalid, testing::Values(
    InvalidCase{"NoProviders", "", "providers: Required value: at least 1 item in plugins is required"},
    InvalidCase{"NameWithSlashes", Provider("foo/../bar", kImages, "1m", kExec), R"(providers.name: Invalid value: "foo/../bar": provider name cannot contain '/')"},
    InvalidCase{"NameWithSpaces", Provider("foo bar", kImages, "1m", kExec), R"(providers.name: Invalid value: "foo bar": provider name cannot contain spaces)"},
    InvalidCase{"NameDot", Provider(".", kImages, "1m", kExec), R"(providers.name: Invalid value: ".": provider name cannot be '.')"},
    InvalidCase{"NameDots", Provider("..", kImages, "1m", kExec), R"(providers.name: Invalid value: "..": provider name cannot be '..')"},
    InvalidCase{"NameEmpty", Provider("", kImages, "1m", kExec), "providers.name: Required value"},
    InvalidCase{"Duplicate", Provider("foobar", kImages, "1m", kExec) + "," + Provider("foobar", kImages, "1m", kExec), R"(providers.name: Duplicate value: "foobar")"},
    InvalidCase{"NoVersion", Provider("foobar", kImages, "1m", ""), "providers.apiVersion: Required value"},
    InvalidCase{"WrongVersion", Provider("foobar", kImages, "1m", "credentialprovider.kubelet.k8s.io/v1alpha0"),
                R"(providers.apiVersion: Unsupported value: "credentialprovider.kubelet.k8s.io/v1alpha0": supported values: "credentialprovider.kubelet.k8s.io/v1", )"
                R"("credentialprovider.kubelet.k8s.io/v1alpha1", "credentialprovider.kubelet.k8s.io/v1beta1")"},
    InvalidCase{"NoImages", Provider("foobar", "[]", "1m", kExec), "providers.matchImages: Required value: at least 1 item in matchImages is required"},
    InvalidCase{"BadImage", Provider("foobar", R"(["%invalid%"])", "1m", kExec),
                R"(providers.matchImages: Invalid value: "%invalid%": match image is invalid: parse "https://%invalid%": invalid URL escape "%in")"},
    InvalidCase{"NoCache", Provider("foobar", kImages, "", kExec), "providers.defaultCacheDuration: Required value"},
    InvalidCase{"NegativeCache", Provider("foobar", kImages, "-1m", kExec),
                R"(providers.defaultCacheDuration: Invalid value: "-1m0s": must be greater than or equal to 0)"},
    InvalidCase{"GateOff", WithToken(kSa),
                "providers.tokenAttributes: Forbidden: tokenAttributes is not supported when KubeletServiceAccountTokenForCredentialProviders feature gate is disabled", false},
    InvalidCase{"NoAudience", WithToken(R"("cacheType":"Token","requireServiceAccount":true)"), "providers.tokenAttributes.serviceAccountTokenAudience: Required value"},
    InvalidCase{"NoRequire", WithToken(R"("serviceAccountTokenAudience":"a","cacheType":"Token")"), "providers.tokenAttributes.requireServiceAccount: Required value"},
    InvalidCase{"ExecNotV1", WithToken(kSa, "v1beta1"),
                "providers.tokenAttributes: Forbidden: tokenAttributes is only supported for credentialprovider.kubelet.k8s.io/v1 API version"},
    InvalidCase{"RequiredKeysWithoutAccount",
                WithToken(R"("serviceAccountTokenAudience":"a","cacheType":"Token","requireServiceAccount":false,)"
                          R"("requiredServiceAccountAnnotationKeys":["a/b"])"),
                "providers.tokenAttributes.requiredServiceAccountAnnotationKeys: Forbidden: requireServiceAccount cannot be false when "
                "requiredServiceAccountAnnotationKeys is set"},
    InvalidCase{"BadRequiredKey", WithToken(kSa + R"(,"requiredServiceAccountAnnotationKeys":["cantendwithadash-"])"),
                R"(providers.tokenAttributes.requiredServiceAccountAnnotationKeys: Invalid value: "cantendwithadash-": )" + std::string(kNamePart)},
    InvalidCase{"BadOptionalKey", WithToken(kSa + R"(,"optionalServiceAccountAnnotationKeys":["cantendwithadash-"])"),
                R"(providers.tokenAttributes.optionalServiceAccountAnnotationKeys: Invalid value: "cantendwithadash-": )" + std::string(kNamePart)},
    InvalidCase{"KeyTwice", WithToken(kSa + R"(,"requiredServiceAccountAnnotationKeys":["now-with-dashes/simple","now-with-dashes/simple"])"),
                R"(providers.tokenAttributes.requiredServiceAccountAnnotationKeys: Duplicate value: "now-with-dashes/simple")"},
    InvalidCase{"OptionalKeyTwice", WithToken(kSa + R"(,"optionalServiceAccountAnnotationKeys":["now-with-dashes/simple","now-with-dashes/simple"])"),
                R"(providers.tokenAttributes.optionalServiceAccountAnnotationKeys: Duplicate value: "now-with-dashes/simple")"},
    InvalidCase{"KeyInBoth", WithToken(kSa + R"(,"requiredServiceAccountAnnotationKeys":["now-with-dashes/simple-1","now-with-dashes/simple-2"],)"
                                             R"("optionalServiceAccountAnnotationKeys":["now-with-dashes/simple-2","now-with-dashes/simple-3"])"),
                R"(providers.tokenAttributes: Invalid value: ["now-with-dashes/simple-2"]: annotation keys cannot be both required and optional)"},
    InvalidCase{"NoCacheType", WithToken(R"("serviceAccountTokenAudience":"a","requireServiceAccount":true)"),
                "providers.tokenAttributes.cacheType: Required value: cacheType is required to be set when tokenAttributes is specified. Supported values are: "
                "ServiceAccount, Token"},
    InvalidCase{"WrongCacheType", WithToken(R"("serviceAccountTokenAudience":"a","cacheType":"invalid-cache-type","requireServiceAccount":true)"),
                R"(providers.tokenAttributes.cacheType: Unsupported value: "invalid-cache-type": supported values: "ServiceAccount", "Token")"},
    InvalidCase{"Several", Provider("a b", "[]", "1m", kExec),
                R"([providers.name: Invalid value: "a b": provider name cannot contain spaces, providers.matchImages: Required value: at least 1 item in matchImages is required])"}),
    [](const auto& i) { return i.param.name; });

// --- reading vectors

struct UnreadableCase { const char* name; std::string text, error; };
class Unreadable : public testing::TestWithParam<UnreadableCase> {};
TEST_P(Unreadable, IsRefused) {
  const auto got = Parse(GetParam().text);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kConfig);
  EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().error));
  EXPECT_THAT(got.error().Text(), Not(HasSubstr("hunter2")));
}
INSTANTIATE_TEST_SUITE_P(Table, Unreadable, testing::Values(
    UnreadableCase{"WrongKind", R"({"kind":"WrongKind","apiVersion":"kubelet.config.k8s.io/v1alpha1"})",
                   R"(no kind "WrongKind" is registered for version "kubelet.config.k8s.io/v1alpha1")"},
    UnreadableCase{"WrongGroup", R"({"kind":"CredentialProviderConfig","apiVersion":"foobar/v1alpha1"})",
                   R"(no kind "CredentialProviderConfig" is registered for version "foobar/v1alpha1")"},
    UnreadableCase{"UnknownField", Document("{" + std::string(kValid) + R"(,"unknownField":"hunter2"})"),
                   R"(strict decoding error: unknown field "providers[0].unknownField")"},
    UnreadableCase{"TokenInAlpha", Document("{" + std::string(kValid) + R"(,"tokenAttributes":{}})", "v1alpha1"),
                   R"(strict decoding error: unknown field "providers[0].tokenAttributes")"},
    UnreadableCase{"TokenInBeta", Document("{" + std::string(kValid) + R"(,"tokenAttributes":{}})", "v1beta1"),
                   R"(strict decoding error: unknown field "providers[0].tokenAttributes")"},
    UnreadableCase{"OtherCase", Document("{" + std::string(kValid) + R"(,"Args":[]})"), R"(unknown field "providers[0].Args")"},
    UnreadableCase{"TopLevel", R"({"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","x":1})", R"(unknown field "x")"},
    UnreadableCase{"EnvValue", Document("{" + std::string(kValid) + R"(,"env":[{"name":"A","value":["hunter2"]}]})"), "$.providers[0].env[0].value"},
    UnreadableCase{"EnvName", Document("{" + std::string(kValid) + R"(,"env":[{"name":"A=B","value":"hunter2"}]})"), "providers[0].env[0]"},
    UnreadableCase{"Duration", Document(R"({"name":"a","defaultCacheDuration":"hunter2"})"), "providers[0].defaultCacheDuration is no duration"},
    UnreadableCase{"DurationNumber", Document(R"({"name":"a","defaultCacheDuration":60})"), "defaultCacheDuration"},
    UnreadableCase{"Empty", "", "not valid JSON"}, UnreadableCase{"List", "[]", "must be an object"},
    UnreadableCase{"ProviderIsText", Document(R"("hunter2")"), "providers[0] must be an object"},
    UnreadableCase{"DuplicateMember", R"({"kind":"a","kind":"b"})", "kind"}),
    [](const auto& i) { return i.param.name; });

TEST(ProviderConfig, EverythingIsRead) {
  for (const char* version : {"v1", "v1beta1", "v1alpha1"}) {
    const auto got = Parse(Document("{" + std::string(kValid) + R"(,"args":["--v=5"],"env":[{"name":"KEY","value":"hunter2"}]})", version));
    ASSERT_TRUE(got) << got.error().Text();
    ASSERT_THAT(*got, SizeIs(1));
    const ProviderSpec& spec = got->front();
    EXPECT_EQ(spec.name, "foobar");
    EXPECT_THAT(spec.match_images, ElementsAre("foobar.registry.io"));
    EXPECT_EQ(spec.default_cache, std::chrono::minutes(1));
    EXPECT_EQ(spec.version, ExecVersion::kV1);
    EXPECT_THAT(spec.args, ElementsAre("--v=5"));
    EXPECT_EQ(spec.env.at(0).value.Reveal(), "hunter2");
    EXPECT_TRUE(spec == spec.Clone());
  }
  const auto token = Parse(Document(WithToken(
      kSa + R"(,"requiredServiceAccountAnnotationKeys":["Domain.io/A"],"optionalServiceAccountAnnotationKeys":["b"])")));
  ASSERT_TRUE(token) << token.error().Text();
  EXPECT_EQ(token->front().token->audience, "audience");
  EXPECT_TRUE(token->front().token->require_service_account);
  EXPECT_THAT(token->front().token->required_annotations, ElementsAre("Domain.io/A"));
  const auto zero = Parse(Document(Provider("a", kImages, "0s", "credentialprovider.kubelet.k8s.io/v1beta1")));
  ASSERT_TRUE(zero);
  EXPECT_EQ(zero->front().version, ExecVersion::kV1Beta1);
}

TEST(ProviderConfig, GlobsOfTheDocumentationAreTheDocumentedProfilesOnly) {
  for (const char* pattern : {"my[0-9].io", "my\\\\*.io", "[a-m]y-registry.io"}) {
    const auto text = Document(Provider("a", "[\"" + std::string(pattern) + "\"]", "1m", kExec));
    EXPECT_TRUE(Parse(text, {.profile = Profile::kDocumented})) << pattern;
    EXPECT_FALSE(Parse(text, {.profile = Profile::kKubelet})) << pattern;
  }
  EXPECT_FALSE(Parse(Document(Provider("a", R"(["a b"])", "1m", kExec)), {.profile = Profile::kDocumented}));
}

// --- 7.1

class ProviderConfigFiles : public testing::Test {
 protected:
  void Write(const char* name, std::string_view text) { ASSERT_TRUE(scratch_.dir().WriteDurably(name, bytes::AsView(text), 0600)); }
  Result<ProviderConfigs> Load(std::string path) { return LoadProviderConfigs(path, {}); }
  std::string Failure(std::string path) {
    const auto got = Load(std::move(path));
    return got ? "none" : got.error().Text();
  }
  host::testing::Scratch scratch_;
};

TEST_F(ProviderConfigFiles, AFolderIsReadInOrderOfNames) {
  const std::string b = Document(Provider("b", kImages, "1m", kExec), "v1alpha1"), a = Document(Provider("a", kImages, "1m", kExec), "v1beta1"),
                    c = Document(Provider("c", kImages, "1m", kExec));
  Write("20.json", b);
  Write("10.yaml", a);
  Write("30.yml", c);
  Write("40.txt", "hunter2");
  ASSERT_TRUE(scratch_.dir().MakeDir("50.json", 0700));
  const auto got = Load(scratch_.path());
  ASSERT_TRUE(got) << got.error().Text();
  ASSERT_THAT(got->providers, SizeIs(3));
  EXPECT_EQ(got->providers[0].name + got->providers[1].name + got->providers[2].name, "abc");
  std::string framed;
  for (const auto& text : {a, b, c}) framed += std::string(7, '\0') + static_cast<char>(text.size()) + text;
  ASSERT_LT(std::max({a.size(), b.size(), c.size()}), 256u);
  EXPECT_EQ(got->hash, digest::Digest::Of(bytes::AsView(framed)).ToString());
}

TEST_F(ProviderConfigFiles, Failures) {
  EXPECT_EQ(Failure(""), "credential provider config path is empty");
  EXPECT_THAT(Failure(scratch_.path("none")), HasSubstr("unable to access path \"" + scratch_.path("none") + "\": "));
  EXPECT_EQ(Failure(scratch_.path()), "no configuration files found in directory \"" + scratch_.path() + "\"");
  Write("1.json", Document(Provider("a", kImages, "1m", kExec)));
  Write("2.json", Document(Provider("a", kImages, "1m", kExec)));
  EXPECT_EQ(Failure(scratch_.path()), "duplicate provider name \"a\" found in configuration file(s)");
  Write("2.json", "hunter2");
  EXPECT_THAT(Failure(scratch_.path()), testing::AllOf(HasSubstr("error decoding config \"" + scratch_.path("2.json") + "\": "), Not(HasSubstr("hunter2"))));
  Write("2.json", Document(Provider("b", "[]", "1m", kExec)));
  EXPECT_EQ(Failure(scratch_.path()), "failed to validate credential provider config: providers.matchImages: Required value: at least 1 item in matchImages is required");
  EXPECT_THAT(Failure(scratch_.path("1.json")), "none");
  Write("3.json", Document(Provider("a", kImages, "1m", kExec) + "," + Provider("a", kImages, "1m", kExec)));
  EXPECT_EQ(Failure(scratch_.path("3.json")), "duplicate provider name \"a\" found in configuration file(s)");
}

}  // namespace
}  // namespace berth::credentials
