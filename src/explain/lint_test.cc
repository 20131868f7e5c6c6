#include "explain/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::explain {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Pod(const std::string& container, const std::string& more = "") {
  return "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec:\n" + more + "  containers:\n  - {name: web, " + container + "}\n";
}
std::string Secret(const std::string& ns, const std::string& type, const std::string& auths) {
  return "apiVersion: v1\nkind: Secret\nmetadata: {name: regcred, namespace: " + ns + "}\ntype: " + type + "\nstringData:\n  .dockerconfigjson: '{\"auths\":{" + auths + "}}'\n---\n";
}
const std::string kType = "kubernetes.io/dockerconfigjson", kGood = R"("reg.test":{"username":"alice","password":"pass-canary"})";
const std::string kListed = "  imagePullSecrets: [{name: regcred}]\n";

struct Row {
  std::string name, yaml;
  std::vector<std::string> rules;
  int line = 0;  // of the first finding
  credentials::Profile profile = credentials::Profile::kDocumented;
};
void PrintTo(const Row& r, std::ostream* out) { *out << r.name; }
class LintRules : public ::testing::TestWithParam<Row> {};

TEST_P(LintRules, Find) {
  const auto findings = LintObjects(GetParam().yaml, "pod.yaml", "default", GetParam().profile);
  ASSERT_TRUE(findings) << findings.error().Text();
  std::vector<std::string> rules;
  for (const auto& f : *findings) rules.push_back(f.rule);
  EXPECT_EQ(rules, GetParam().rules) << LintText(*findings);
  if (GetParam().line != 0 && !findings->empty()) {
    EXPECT_EQ(findings->front().line, GetParam().line);
  }
  EXPECT_THAT(LintText(*findings) + LintJson(*findings), Not(HasSubstr("canary")));
}

const std::string kDigest = "@sha256:" + std::string(64, 'a');
INSTANTIATE_TEST_SUITE_P(
    Rules, LintRules,
    ::testing::Values(
        Row{"good", Pod("image: 'reg.test/app:1'"), {}}, Row{"invalid_image_name", Pod("image: 'Reg.test/App:1'"), {"invalid-image-name"}, 6},
        Row{"unknown_policy", Pod("image: 'a:1', imagePullPolicy: Sometimes"), {"unknown-policy"}, 6},
        Row{"latest_if_not_present", Pod("image: 'a:latest', imagePullPolicy: IfNotPresent"), {"latest-if-not-present"}, 6},
        Row{"bare_if_not_present", Pod("image: a, imagePullPolicy: IfNotPresent"), {"latest-if-not-present"}}, Row{"no_tag", Pod("image: a"), {"no-tag"}, 6},
        Row{"profiles_differ", Pod("image: 'a:latest" + kDigest + "'"), {"profiles-differ"}},
        Row{"profiles_agree_when_given", Pod("image: 'a:latest" + kDigest + "', imagePullPolicy: IfNotPresent"), {}},
        Row{"never", Pod("image: 'a:1', imagePullPolicy: Never"), {"never-needs-preload"}},
        Row{"digest_always", Pod("image: 'a" + kDigest + "', imagePullPolicy: Always"), {"digest-always"}},
        Row{"secret_not_here", Pod("image: 'reg.test/a:1'", kListed), {"pull-secret-not-here"}, 5},
        Row{"secret_here", Secret("shop", kType, kGood) + Pod("image: 'reg.test/a:1'", kListed), {}},
        Row{"never_with_secret", Secret("shop", kType, kGood) + Pod("image: 'reg.test/a:1', imagePullPolicy: Never", kListed), {"never-needs-preload", "never-with-secrets"}},
        Row{"secret_elsewhere", Secret("billing", kType, kGood) + Pod("image: 'reg.test/a:1'", kListed), {"pull-secret-other-namespace"}},
        Row{"secret_of_another_type", Secret("shop", "Opaque", kGood) + Pod("image: 'reg.test/a:1'", kListed), {"secret-type", "pull-secret-not-a-pull-secret"}, 4},
        Row{"secret_malformed", Secret("shop", kType, R"("x":{"auth":"pass-canary"})"), {"secret-malformed"}},
        Row{"secret_over_broad", Secret("shop", kType, R"("*reg.test":{"username":"alice","password":"pass-canary"})"), {"docker-config"}},
        Row{"secret_no_match", Secret("shop", kType, R"("reg.test:5000":{"username":"alice","password":"pass-canary"})") + Pod("image: 'reg.test/a:1'", kListed), {"pull-secret-no-match"}},
        Row{"account_dropped", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: shop}\nimagePullSecrets: [{name: ci}]\n---\n" + Secret("shop", kType, kGood) +
                                   Pod("image: 'reg.test/a:1'", kListed), {"account-secrets-dropped"}},
        Row{"deployment", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  template:\n    spec:\n      containers:\n      - {name: a, image: a}\n", {"no-tag"}, 8},
        Row{"init_and_volume", Pod("image: 'a:1'", "  initContainers: [{name: i, image: b}]\n  volumes: [{name: v, image: {reference: c}}]\n"), {"no-tag", "no-tag"}, 5}),
    [](const auto& row) { return row.param.name; });

TEST(Lint, CountsAndStatuses) {
  using Severity = credentials::LintFinding::Severity;
  const auto status = [](std::vector<Severity> all) {
    std::vector<Finding> findings;
    for (const auto s : all) findings.push_back({.file = "f", .severity = s});
    return LintStatus(findings);
  };
  EXPECT_EQ(status({}), 0);
  EXPECT_EQ(status({Severity::kNote}), 0);
  EXPECT_EQ(status({Severity::kNote, Severity::kWarning}), 20);
  EXPECT_EQ(status({Severity::kWarning, Severity::kError}), 21);
  const auto findings = *LintObjects(Pod("image: a"), "pod.yaml", "default", credentials::Profile::kDocumented);
  EXPECT_EQ(LintText(findings).substr(0, 10), "pod.yaml:6");
  EXPECT_THAT(LintText(findings), AllOf(HasSubstr("Pod shop/web spec.containers[0].image"), HasSubstr("warning  \"a\" means :latest"), HasSubstr("[no-tag]"), HasSubstr("1 warning, 0 errors\n")));
  EXPECT_THAT(LintJson(findings), HasSubstr(R"("rule":"no-tag")"));
}

TEST(Lint, RefusesWhatIsNoObject) {
  for (const char* text : {"[1, 2]", "kind: Pod\nspec: 7\n", "a: b: c", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: 3}\n"})
    EXPECT_EQ(LintObjects(text, "f", "default", credentials::Profile::kDocumented).error().reason(), Reason::kUsage) << text;
}

}  // namespace
}  // namespace berth::explain
