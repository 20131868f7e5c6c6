#include "credentials/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "json/document.h"

namespace berth::credentials {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::vector<std::string> Lint(std::string_view text, Profile profile = Profile::kKubelet, FileFormat format = FileFormat::kConfigJson) {
  std::vector<std::string> lines;
  for (const auto& f : LintDockerConfig(text, format, profile))
    lines.push_back(std::to_string(f.line) + " " + f.place + " " + std::string(Name(f.severity)) + ": " + f.message);
  return lines;
}

// product 4.5(f)
constexpr std::string_view kExample = R"({
  "auths": {
    "good.example": {"auth": "Zm9vOmJhcg=="},
    "*registry.example": {"auth": "Zm9vOmJhcg=="},
    "registry.example/team/": {
      "auth": "Zm9vOmJhcg=="},
    "registry.example/team": {"username": "hunter2",
      "password": "{\"hunter2\""},
    "Registry.example": {"auth": "Zm9vOmJhcg=="},
    "r2.example": {
      "auth": "Zm9vOmJhcg==",

      "identitytoken": "hunter2"}},
  "credsStore": "desktop"
})";

TEST(Lint, TheExampleOfTheDesign) {
  EXPECT_THAT(Lint(kExample),
              ElementsAre(R"(4 auths["*registry.example"] warning: also matches evilregistry.example; write "*.registry.example" or "registry.example")",
                          R"(7 auths["registry.example/team"] warning: byte prefix: also sent to registry.example/teammate/…; write "registry.example/team/")",
                          R"(9 auths["Registry.example"] warning: case-sensitive: does not match registry.example)",
                          R"(13 auths["r2.example"].identitytoken error: ignored by the kubelet)",
                          R"(14 credsStore: "desktop" error: ignored by the kubelet; use a credential provider plug-in)"));
  const auto documented = Lint(kExample, Profile::kDocumented);
  EXPECT_THAT(documented, testing::Contains(HasSubstr("7 auths[\"registry.example/team\"] note: profile Kubelet: byte prefix")));
  EXPECT_THAT(documented, testing::Contains(HasSubstr("identitytoken note: profile Kubelet")));
}

struct LintCase { const char* name; std::string entry, kubelet, documented; };
class LintTable : public testing::TestWithParam<LintCase> {};
TEST_P(LintTable, FindsIt) {
  const std::string text = "{\"auths\":{" + GetParam().entry + "}}";
  for (const auto profile : {Profile::kKubelet, Profile::kDocumented}) {
    const auto got = Lint(text, profile);
    const std::string& want = profile == Profile::kKubelet ? GetParam().kubelet : GetParam().documented;
    if (want.empty()) EXPECT_THAT(got, IsEmpty()) << Name(profile);
    else EXPECT_THAT(got, ElementsAre(HasSubstr(want))) << Name(profile);
    for (const auto& line : got) EXPECT_THAT(line, Not(HasSubstr("hunter2")));
  }
}
#define AUTH "{\"auth\":\"Zm9vOmJhcg==\"}"
INSTANTIATE_TEST_SUITE_P(Table, LintTable, testing::Values(
    LintCase{"Fine", R"("r.io":)" AUTH, "", ""}, LintCase{"FineGlob", R"("*.r.io":)" AUTH, "", ""}, LintCase{"Hub", R"("https://index.docker.io/v1/":)" AUTH, "", ""},
    LintCase{"HubWithoutSlash", R"("https://index.docker.io/v1":)" AUTH, R"(warning: only images below /v1 match; write "https://index.docker.io/v1/")",
             R"(warning: only images below /v1 match)"},
    LintCase{"Class", R"("my[0-9].io":)" AUTH, R"(error: never matches: "[" is not allowed in a host (the docs say it is))", "note: profile Kubelet: never matches"},
    LintCase{"Question", R"("my?.io":)" AUTH, R"(error: "?" starts a query)", R"(note: profile Kubelet: "?" starts a query)"},
    LintCase{"Star", R"("*":)" AUTH, "warning: matches names without a dot only", "warning: matches every registry"},
    LintCase{"StarInPath", R"("r.io/*/x":)" AUTH, R"(warning: "*" in a path is no wildcard)", R"(warning: "*" in a path is no wildcard)"},
    LintCase{"NoHost", R"("a b":)" AUTH, R"(error: never matches: " ")", R"(error: never matches: " ")"},
    LintCase{"EmptyKey", R"("":)" AUTH, "error: names no registry", "error: names no registry"},
    LintCase{"SameRegistry", R"("https://r.io":)" AUTH R"(,"r.io":)" AUTH, R"(["r.io"] warning: the same registry as "https://r.io"; both are tried)",
             R"(["r.io"] warning: the same registry as "https://r.io")"},
    LintCase{"BadAuth", R"("r.io":{"auth":"hunter2"})", "auth error: not base64; the whole file is refused", "auth error: not base64"},
    LintCase{"NoColon", R"("r.io":{"auth":"cGFudHM="})", "must be formatted as base64(username:password); the whole file", "must be formatted"},
    LintCase{"NotText", R"("r.io":{"auth":"Zm9vOmJhcg==","email":false})", "email error: must be a string", "email error: must be a string"},
    LintCase{"NotObject", R"("r.io":"hunter2")", "error: must be an object", "error: must be an object"},
    LintCase{"Empty", R"("r.io":{})", "warning: has no user name and no password", "warning: has no user name and no password"},
    LintCase{"Null", R"("r.io":null)", "warning: has no user name and no password", "warning: has no user name and no password"},
    LintCase{"NoPassword", R"("r.io":{"username":"u"})", "warning: has no password", "warning: has no password"},
    LintCase{"TwoUsers", R"("r.io":{"username":"other","password":"p","auth":"Zm9vOmJhcg=="})", "auth warning: names another user than username, and wins",
             "auth warning: names another user"}),
    [](const auto& i) { return i.param.name; });

TEST(Lint, WholeFiles) {
  EXPECT_THAT(Lint("{}"), IsEmpty());
  EXPECT_THAT(Lint("{\n\"auths\":{\n\"a\":{\"auth\" \"hunter2\"}}}"), ElementsAre(testing::AllOf(HasSubstr("3  error: not valid JSON"), Not(HasSubstr("hunter2")))));
  EXPECT_THAT(Lint("[]"), ElementsAre("1  error: must be an object"));
  EXPECT_THAT(Lint(""), ElementsAre(HasSubstr("1  error: ")));
  EXPECT_THAT(Lint(R"({"auths":[]})"), ElementsAre("1 auths error: must be an object"));
  EXPECT_THAT(Lint(R"({"r.io":)" AUTH "}"), ElementsAre(HasSubstr("is it a .dockercfg?")));
  EXPECT_THAT(Lint("{\n\"Reg.io\":" AUTH "}", Profile::kKubelet, FileFormat::kDockerCfg), ElementsAre(R"(2 ["Reg.io"] warning: case-sensitive: does not match reg.io)"));
  EXPECT_THAT(Lint("{\"auths\":{},\n\"credHelpers\":{\n\"gcr.io\":\"gcr\"}}"),
              ElementsAre(R"(3 credHelpers["gcr.io"] error: ignored by the kubelet; use a credential provider plug-in)"));
}

TEST(Lint, AsJson) {
  const auto json = LintJson("config.json", LintDockerConfig(kExample, FileFormat::kConfigJson, Profile::kKubelet));
  const auto document = json::Document::Parse(json, Reason::kUsage);
  ASSERT_TRUE(document);
  EXPECT_EQ(*document->root().Find("warnings")->AsInt64(), 3);
  EXPECT_EQ(*document->root().Find("errors")->AsInt64(), 2);
  EXPECT_EQ(document->root().Find("findings")->size(), 5u);
  EXPECT_EQ(*document->root().Find("findings")->at(0).Find("line")->AsInt64(), 4);
}

}  // namespace
}  // namespace berth::credentials
