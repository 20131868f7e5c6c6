#include "explain/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "json/document.h"

namespace berth::explain {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Kind = credentials::MatchReport::Verdict;

const time::WallTime kNow = time::WallTime(std::chrono::sys_days(std::chrono::year(2026) / 11 / 25)) + std::chrono::hours(6);

// product 4.5 (a)
Facts InBackOff() {
  Facts f;
  f.image = "reg.test:5712/team/app:v1";
  f.ns = "shop", f.pod = "web", f.container = "web", f.node = "node-7", f.platform = "linux/amd64";
  f.reference = *reference::Reference::Parse(f.image);
  f.present.state = PresenceFacts::State::kAbsent;
  f.entries = {{.verdict = Kind::kMatched, .source = "secret shop/regcred", .pattern = "reg.test:5712", .username = "alice", .hash = "#9f3c1a70"},
               {.verdict = Kind::kMatched, .source = "config.json /root/.docker/config.json", .pattern = "*.test:5712", .username = "ci", .hash = "#11c0de42"},
               {.verdict = Kind::kNoMatch, .source = "secret shop/regcred", .pattern = "reg.test", .reason = "port: entry has none, image has 5712"},
               {.verdict = Kind::kMissing, .source = "secret shop/old-cred", .reason = "listed"}};
  f.notes = {"service account \"default\" also lists shop/ci-cred; ignored because the Pod lists its own secrets"};
  f.hosts = {{.origin = "https://reg.test:5712"}};
  f.network = {{.origin = "https://reg.test:5712", .address = "127.0.0.1", .dns = std::chrono::microseconds(300), .tcp = std::chrono::microseconds(100),
                .tls_version = "TLSv1.3", .subject = "O = two words, CN = localhost", .not_after = kNow + std::chrono::hours(24 * 29 + 1), .http_version = 20}};
  for (const char* who : {"secret shop/regcred (alice)", "config.json /root/.docker/config.json (ci)"})
    f.attempts.push_back({.host = "https://reg.test:5712", .method = "HEAD", .what = "manifest v1", .credential = who, .status = 401, .reason = Reason::kUnauthorized,
                          .took = std::chrono::milliseconds(3)});
  f.failure = Error(Reason::kUnauthorized, "https://reg.test:5712 refuses 2 credentials for \"team/app\" (401)");
  f.backoff = policy::Backoff::State{.failures = 5,
                                     .delay = std::chrono::seconds(160),
                                     .last_failure = kNow,
                                     .next = kNow + std::chrono::seconds(160),
                                     .remaining = std::chrono::seconds(140)};
  return f;
}

TEST(Report, TellsAPodInBackOffStepByStep) {
  const std::string text = ToText(MakeReport(InBackOff()), kNow);
  EXPECT_THAT(text, AllOf(HasSubstr("shop/web · container web · reg.test:5712/team/app:v1 · node node-7\n"), HasSubstr("CANNOT PULL  the registry rejected both matching credentials (401)"),
                          HasSubstr("E-AUTH-401\n"), HasSubstr(" 1 name      reg.test:5712 / team/app : v1      host has a port; tag given; no digest"),
                          HasSubstr(" 2 policy    IfNotPresent"), HasSubstr(" 3 present   no"), HasSubstr(" 4 creds     2 of 4 entries match; tried in this order")));
  EXPECT_THAT(text, AllOf(::testing::ContainsRegex("#1 +secret shop/regcred +reg.test:5712 +alice  #9f3c1a70  401"), HasSubstr("no    secret shop/regcred"), HasSubstr("port: entry has none, image has 5712"), HasSubstr("note"),
                          HasSubstr(" 5 hosts     https://reg.test:5712"),
                          HasSubstr(" 6 network   dns 127.0.0.1 0.3ms · tcp 0.1ms · TLSv1.3 O=two words, CN=localhost, valid 29 days · HTTP/2 · no proxy"), HasSubstr(" 7 registry"),
                          HasSubstr(" 8 retry     attempt 5 failed "), HasSubstr("back-off 160s"), HasSubstr("(in 2m20s)")));
  // Exactly one NEXT, the last thing said, its command on a line of its own.
  EXPECT_EQ(text.find("NEXT"), text.rfind("NEXT"));
  EXPECT_THAT(text, ::testing::EndsWith("\n      berth creds test -n shop --username alice --password-stdin reg.test:5712/team/app:v1\n"));
}

TEST(Report, TellsWhatARegistryWantsItsUsersToKnow) {
  Facts f = InBackOff();
  f.attempts[0].warnings = {"moves \x1b[31mon\nMonday"};
  f.attempts[1].limit = "connect timeout 3 s";
  const std::string text = ToText(MakeReport(f), kNow);
  EXPECT_THAT(text, AllOf(HasSubstr("warning: https://reg.test:5712 says \"moves \\x1b[31mon\\x0aMonday\"\n"), HasSubstr("3.0ms  connect timeout 3 s\n")));
  EXPECT_THAT(ToJson(MakeReport(f)), AllOf(HasSubstr(R"("limit":"","warnings":["moves \u001b[31mon\nMonday"])"),
                                             HasSubstr(R"("limit":"connect timeout 3 s","warnings":[])")));
}

TEST(Report, NoLineIsLongerThan140ColumnsExceptACommand) {
  Facts f = InBackOff();
  f.image = "reg.test:5712/" + std::string(200, 'a') + ":v1";
  f.reference = *reference::Reference::Parse(f.image);
  f.entries[2].pattern = std::string(300, 'p');
  f.entries[2].reason = std::string(300, 'r') + "é";
  f.notes.push_back(std::string(500, 'n'));
  f.waiting_message = std::string(300, 'w');
  const std::string text = ToText(MakeReport(f), kNow);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    if (!line.starts_with("      berth ")) {
      EXPECT_LE(std::ranges::count_if(line, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }), 140) << line;
    }
    EXPECT_FALSE(line.ends_with(' ')) << line;
    at = end + 1;
  }
}

TEST(Report, ControlCharactersReachNoTerminal) {
  Facts f = InBackOff();
  f.image = "reg.test/\x1b[31mapp";
  f.reference.reset();
  f.failure = reference::Reference::Parse(f.image).error();
  f.network[0].subject = "CN = \x1b]0;x";
  EXPECT_THAT(ToText(MakeReport(f), kNow), Not(HasSubstr("\x1b")));
  EXPECT_THAT(ToJson(MakeReport(f)), Not(HasSubstr("\x1b")));
}

TEST(Report, JsonHasTheDocumentedMembers) {
  const auto document = json::Document::Parse(ToJson(MakeReport(InBackOff())), Reason::kInternal);
  ASSERT_TRUE(document);
  const auto root = document->root();
  for (const char* member : {"image", "pod", "node", "profile", "past", "verdict", "next", "name", "policy", "present", "pull_needed", "credentials", "missing_secrets",
                             "notes", "hosts", "network", "attempts", "resolved", "failure", "retry", "waiting"})
    EXPECT_TRUE(root.Find(member)) << member;
  EXPECT_EQ(*root.Find("verdict")->Find("code")->AsString(), "E-AUTH-401");
  EXPECT_EQ(*root.Find("verdict")->Find("exit_status")->AsInt64(), 4);
  EXPECT_EQ(*root.Find("verdict")->Find("cause")->AsString(), "password-rejected");
  EXPECT_EQ(root.Find("credentials")->size(), 4u);
  EXPECT_EQ(*root.Find("credentials")->at(0).Find("result")->AsString(), "401");
  EXPECT_EQ(*root.Find("retry")->Find("failures")->AsInt64(), 5);
  EXPECT_EQ(*root.Find("network")->at(0).Find("not_after")->AsString(), "2026-12-24T07:00:00Z");
}

struct PolicyRow { std::string image; std::optional<policy::PullPolicy> given; std::string says; };
class PolicyStep : public ::testing::TestWithParam<PolicyRow> {};
TEST_P(PolicyStep, SaysWhy) {
  Facts f;
  f.image = GetParam().image;
  f.reference = *reference::Reference::Parse(f.image);
  f.policy = {.value = GetParam().given.value_or(policy::DefaultPullPolicy(f.profile, f.image)), .given = GetParam().given.has_value(),
              .profiles_differ = policy::ProfilesDiffer(f.image)};
  EXPECT_THAT(ToText(MakeReport(f), kNow), HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(Rows, PolicyStep,
                         ::testing::Values(PolicyRow{"a/b:1", {}, "tag is not \"latest\", so IfNotPresent"}, PolicyRow{"a/b", {}, "the tag is \"latest\", so Always"},
                                           PolicyRow{"a/b:latest@sha256:" + std::string(64, 'a'), {}, "the kubelet decides otherwise"},
                                           PolicyRow{"a/b:1", policy::PullPolicy::kNever, "Never"}));

}  // namespace
}  // namespace berth::explain
