#include "registry/challenge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct ChooseRow {
  const char* name;
  std::vector<std::string> lines;
  Scheme scheme;
  const char* realm;
  const char* service;
  std::vector<std::string> scopes;
};

const std::string kRealm8K(8192, 'r'), kService1K(1024, 's');

class Choose : public ::testing::TestWithParam<ChooseRow> {};

TEST_P(Choose, Understood) {
  const ChooseRow& row = GetParam();
  const auto got = ChooseChallenge(row.lines);
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(*got, (Challenge{row.scheme, row.realm, row.service, row.scopes}));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Choose,
    ::testing::Values(
        ChooseRow{"basic", {"Basic realm=\"x\""}, Scheme::kBasic, "", "", {}},
        ChooseRow{"case_of_words", {"bAsIc REALM=x"}, Scheme::kBasic, "", "", {}},
        ChooseRow{"bearer",
                  {"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a/b:pull\""},
                  Scheme::kBearer,
                  "https://a/t",
                  "s",
                  {"repository:a/b:pull"}},
        ChooseRow{"v4_two_lines_bearer_first",
                  {"Basic realm=\"x\"", "Bearer realm=\"https://a/t\""},
                  Scheme::kBearer,
                  "https://a/t",
                  "",
                  {}},
        ChooseRow{"two_in_one_line",
                  {"Basic realm=\"x\", Bearer realm=\"https://a/t\",service=s"},
                  Scheme::kBearer,
                  "https://a/t",
                  "s",
                  {}},
        ChooseRow{"v5_comma_inside_quotes",
                  {"Bearer realm=\"https://a/t\",scope=\"repository:a/b:pull,push\",service=\"s,1\""},
                  Scheme::kBearer,
                  "https://a/t",
                  "s,1",
                  {"repository:a/b:pull"}},
        ChooseRow{"escapes", {R"(Bearer realm="https://a/\t",service="a\"b\\c")"}, Scheme::kBearer, "https://a/t", "a\"b\\c", {}},
        ChooseRow{
            "spaces_around_equals", {"Bearer realm = \"https://a/t\" , service = s"}, Scheme::kBearer, "https://a/t", "s", {}},
        ChooseRow{"empty_elements", {",, ,Basic realm=x,,"}, Scheme::kBasic, "", "", {}},
        ChooseRow{"after_negotiate_with_token68", {"Negotiate YIIabc/+==, Basic realm=x"}, Scheme::kBasic, "", "", {}},
        ChooseRow{"digest_is_passed_over", {"Digest realm=\"x\", nonce=\"1\"", "Basic realm=\"x\""}, Scheme::kBasic, "", "", {}},
        ChooseRow{"broken_line_beside_a_good_one", {"Bearer realm=\"https://a", "Basic realm=x"}, Scheme::kBasic, "", "", {}},
        ChooseRow{"same_realm_twice",
                  {"Bearer realm=\"https://a/t\",service=1", "Bearer realm=\"https://a/t\",service=2"},
                  Scheme::kBearer,
                  "https://a/t",
                  "1",
                  {}},
        ChooseRow{"scopes_sorted_unique_pull_only",
                  {"Bearer realm=\"https://a/t\",scope=\"repository:b:pull,push repository:a:* repository:b:pull "
                   "repository:c:push *\""},
                  Scheme::kBearer,
                  "https://a/t",
                  "",
                  {"*", "repository:a:pull", "repository:b:pull"}},
        ChooseRow{"longest_realm_and_service",
                  {"Bearer realm=" + kRealm8K + ",service=" + kService1K},
                  Scheme::kBearer,
                  kRealm8K.c_str(),
                  kService1K.c_str(),
                  {}},
        ChooseRow{"realm_too_long_beside_basic", {"Bearer realm=" + kRealm8K + "a", "Basic realm=x"}, Scheme::kBasic, "", "", {}},
        ChooseRow{"scope_of_a_name_with_port",
                  {"Bearer realm=\"https://a/t\",scope=\"repository:h:5000/b:push,pull\""},
                  Scheme::kBearer,
                  "https://a/t",
                  "",
                  {"repository:h:5000/b:pull"}}),
    [](const auto& row) { return row.param.name; });

struct RefuseRow {
  const char* name;
  std::vector<std::string> lines;
  Reason reason = Reason::kUnauthorized;
  const char* says = "";
};

class Refuse : public ::testing::TestWithParam<RefuseRow> {};

TEST_P(Refuse, C52) {
  const auto got = ChooseChallenge(GetParam().lines);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), GetParam().reason);
  EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().says));
  EXPECT_THAT(got.error().Text(), Not(HasSubstr("canary")));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Refuse,
    ::testing::Values(
        RefuseRow{"none", {}}, RefuseRow{"empty", {""}}, RefuseRow{"bare_bearer", {"Bearer"}}, RefuseRow{"bare_basic", {"Basic"}},
        RefuseRow{"no_realm", {"Bearer service=\"canary\""}}, RefuseRow{"empty_realm", {"Bearer realm=\"\""}},
        RefuseRow{"unclosed_quote", {"Bearer realm=\"canary"}}, RefuseRow{"lone_escape", {"Bearer realm=\"canary\\"}},
        RefuseRow{"many_commas", {"Bearer " + std::string(50000, ',')}},
        RefuseRow{"many_escapes", {"Bearer realm=\"" + std::string(100000, '\\')}},
        RefuseRow{"many_parameters",
                  {"Bearer " +
                   [] {
                     std::string s;
                     for (int i = 0; i < 9000; ++i) s += "p" + std::to_string(i) + "=1,";
                     return s;
                   }() +
                   "realm=x"}},
        RefuseRow{"long", {"Bearer realm=" + std::string(200000, 'a') + " canary"}},
        RefuseRow{"non_ascii", {"Bearer realm=\"https://a\xc3\xa9/t\""}},
        RefuseRow{"nul", {std::string("Bearer realm=\"a\0b\"", 18)}}, RefuseRow{"negotiate", {"Negotiate"}},
        RefuseRow{"ntlm", {"NTLM TlRMTVNTUAAB"}}, RefuseRow{"unknown", {"Canary realm=\"https://a/t\""}},
        RefuseRow{"parameter_twice", {"Bearer realm=\"https://a\",Realm=\"https://b\""}},
        RefuseRow{"realm_too_long", {"Bearer realm=canary" + kRealm8K}, Reason::kUnauthorized, "realm of more than 8192 bytes"},
        RefuseRow{"service_too_long",
                  {"Bearer realm=\"https://a/t\",service=canary" + kService1K},
                  Reason::kUnauthorized,
                  "service of more than 1024 bytes"},
        RefuseRow{"no_value", {"Bearer realm="}}, RefuseRow{"parameter_first", {"realm=\"x\" Basic"}},
        RefuseRow{"text_after_value", {"Basic realm=\"x\"y"}},
        RefuseRow{"C49_two_realms", {"Bearer realm=\"https://a/t\"", "Bearer realm=\"https://b/t\""}, Reason::kUntrustedRealm}),
    [](const auto& row) { return row.param.name; });

TEST(ScopesFor, TheRegistrysOwnNameForTheRepositoryWins) {
  EXPECT_THAT(ScopesFor(Challenge{}, "a/b"), ElementsAre("repository:a/b:pull"));
  EXPECT_THAT(ScopesFor(Challenge{.scopes = {"*"}}, "a/b"), ElementsAre("*", "repository:a/b:pull"));
  EXPECT_THAT(ScopesFor(Challenge{.scopes = {"repository:cache/a/b:pull"}}, "a/b"), ElementsAre("repository:cache/a/b:pull"));
}

struct RealmRow {
  const char* name;
  http::Origin registry;
  const char* realm;
  std::vector<std::string> trusted;
  bool good;
  bool any_address = true;
};

class RealmCheck : public ::testing::TestWithParam<RealmRow> {};

TEST_P(RealmCheck, Rows) {
  const RealmRow& row = GetParam();
  const auto got = CheckRealm(row.registry, row.realm, row.trusted);
  ASSERT_EQ(got.has_value(), row.good) << (got ? "" : got.error().Text());
  if (got) EXPECT_EQ(got->any_address, row.any_address);
  else EXPECT_EQ(got.error().reason(), Reason::kUntrustedRealm);
}

const http::Origin kReg{"https", "reg.example.com", 443}, kHub{"https", "registry-1.docker.io", 443},
    kPlain{"http", "reg.example.com", 80}, kIp{"https", "192.0.2.1", 443}, kSingle{"https", "registry", 5000},
    kUk{"https", "a.co.uk", 443};

INSTANTIATE_TEST_SUITE_P(
    C49, RealmCheck,
    ::testing::Values(RealmRow{"same", kReg, "https://reg.example.com/token", {}, true},
                      RealmRow{"other_port_same_host", kReg, "https://reg.example.com:5001/t", {}, true},
                      RealmRow{"hub", kHub, "https://auth.docker.io/token", {}, true, false},
                      RealmRow{"sibling", kReg, "https://auth.example.com/t", {}, true, false},
                      RealmRow{"parent", kReg, "https://example.com/t", {}, true, false},
                      RealmRow{"other_domain", kReg, "https://example.org/t", {}, false},
                      RealmRow{"looks_alike", kReg, "https://reg.example.com.evil.net/t", {}, false},
                      RealmRow{"suffix_only", kReg, "https://com/t", {}, false},
                      RealmRow{"public_suffix_of_two_labels", kUk, "https://b.co.uk/t", {}, false},
                      RealmRow{"private_suffix", {"https", "a.github.io", 443}, "https://b.github.io/t", {}, false},
                      RealmRow{"downgrade", kReg, "http://reg.example.com/t", {}, false},
                      RealmRow{"plain_registry", kPlain, "http://reg.example.com/t", {}, true},
                      RealmRow{"upgrade", kPlain, "https://auth.example.com/t", {}, true, false},
                      RealmRow{"downgrade_listed", kReg, "http://auth.test/t", {"auth.test"}, false},
                      RealmRow{"user_info", kReg, "https://a@reg.example.com/t", {}, false},
                      RealmRow{"relative", kReg, "/token", {}, false}, RealmRow{"file", kReg, "file:///etc/passwd", {}, false},
                      RealmRow{"fragment", kReg, "https://reg.example.com/t#x", {}, false},
                      RealmRow{"empty", kReg, "", {}, false}, RealmRow{"ip_same", kIp, "https://192.0.2.1/t", {}, true},
                      RealmRow{"ip_other", kIp, "https://192.0.2.2/t", {}, false},
                      RealmRow{"ip_for_a_name", kReg, "https://192.0.2.1/t", {}, false},
                      RealmRow{"ip_other_port", kIp, "https://192.0.2.1:444/t", {}, false},
                      RealmRow{"single_same", kSingle, "https://registry:5000/t", {}, true},
                      RealmRow{"single_other_port", kSingle, "https://registry/t", {}, false},
                      RealmRow{"single_other", kSingle, "https://auth:5000/t", {}, false},
                      RealmRow{"listed", kReg, "https://auth.test/t", {"auth.test"}, true},
                      RealmRow{"listed_with_port", kReg, "https://auth.test:99/t", {"auth.test:99"}, true},
                      RealmRow{"listed_other_port", kReg, "https://auth.test:98/t", {"auth.test:99"}, false},
                      RealmRow{"listed_pair", kReg, "https://auth.test/t", {"reg.example.com=auth.test"}, true},
                      RealmRow{"pair_of_another_registry", kReg, "https://auth.test/t", {"reg.example.org=auth.test"}, false},
                      RealmRow{"pair_with_registry_port", kSingle, "https://auth.test/t", {"registry:5000 = auth.test"}, true},
                      RealmRow{"ip_listed", kReg, "https://192.0.2.1/t", {"192.0.2.1"}, true},
                      RealmRow{"built_in", {"https", "lscr.io", 443}, "https://ghcr.io/token", {}, true},
                      RealmRow{"built_in_scaleway", {"https", "rg.fr-par.scw.cloud", 443}, "https://api.scaleway.com/registry-internal/v1/token", {}, true},
                      RealmRow{"built_in_for_another", {"https", "rg.fr-par.scw.cloud.example.com", 443}, "https://api.scaleway.com/t", {}, false}),
    [](const auto& row) { return row.param.name; });

TEST(CheckRealm, TellsTheLineToAdd) {
  const auto got = CheckRealm(kSingle, "https://auth.test:5001/t?secret=canary", {});
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().next_step(), HasSubstr("\"registry:5000=auth.test:5001\""));
  EXPECT_THAT(got.error().Text(), Not(HasSubstr("canary")));
  const std::vector<std::string> line{"registry:5000=auth.test:5001"};
  EXPECT_TRUE(CheckRealm(kSingle, "https://auth.test:5001/t", line));
}

}  // namespace
}  // namespace berth::registry
