// The pure rules: headers, addresses, proxies, waiting, stalling.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <ostream>

#include "http/address.h"
#include "http/headers.h"
#include "http/proxy.h"
#include "http/retry.h"
#include "http/stall.h"

namespace berth::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

TEST(Headers, AreFoundWithoutCaseAndKeptInOrder) {
  Headers h{{"Content-Type", "a"}, {"WWW-Authenticate", "x"}, {"www-authenticate", "y"}};
  EXPECT_EQ(h.Get("content-TYPE"), "a");
  EXPECT_THAT(h.All("WWW-AUTHENTICATE"), ElementsAre("x", "y"));
  EXPECT_EQ(h.Find("Content-Typ"), nullptr);
  EXPECT_EQ(h.Get("missing"), "");
  h.Set("www-Authenticate", "z");
  EXPECT_THAT(h.All("www-authenticate"), ElementsAre("z"));
  EXPECT_EQ(h.size(), 2u);
}

// ---- addresses

TEST(NoLocal, RefusesThisHostLinkLocalAndMetadata) {
  const AddressPolicy policy = AddressPolicy::NoLocal();
  for (const char* refused : {"127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "169.254.170.2", "224.0.0.1", "239.255.255.255",
                              "255.255.255.255", "100.100.100.200", "192.0.0.192", "::", "::1", "fe80::1", "febf::1", "ff02::1",
                              "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254",
                              "2002:7f00:1::", "localhost", ""})
    EXPECT_FALSE(policy.Allows(refused)) << refused;
  for (const char* allowed : {"10.0.0.1", "192.168.1.1", "172.16.0.1", "8.8.8.8", "128.0.0.1", "169.253.255.255", "100.100.100.201",
                              "2001:db8::1", "fec0::1", "fd00::1", "::2", "::ffff:8.8.8.8"})
    EXPECT_TRUE(policy.Allows(allowed)) << allowed;
  EXPECT_TRUE(AddressPolicy().Allows("127.0.0.1"));
}

TEST(AddressPolicy, CanBeExtendedAndHasExceptions) {
  AddressPolicy policy = AddressPolicy::NoLocal();
  ASSERT_TRUE(policy.Deny("10.32.0.0/11"));
  EXPECT_FALSE(policy.Allows("10.63.255.255"));
  EXPECT_TRUE(policy.Allows("10.64.0.0"));
  policy.Except("127.0.0.2");
  EXPECT_TRUE(policy.Allows("127.0.0.1"));
  EXPECT_FALSE(policy.Allows("169.254.169.254"));
  for (const char* bad : {"10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "x", "", "::/129", "10.0.0.0/-1", "10.0.0.0/8x"})
    EXPECT_EQ(policy.Deny(bad).error().reason(), Reason::kConfig) << bad;
}

// ---- proxies (product 3.10, and the documented rules of Go's httpproxy)

struct ProxyCase {
  std::string name;
  std::map<std::string, std::string, std::less<>> env;
  std::string url, proxy;  // "" = straight
};
void PrintTo(const ProxyCase& c, std::ostream* out) { *out << c.name; }
class Proxies : public ::testing::TestWithParam<ProxyCase> {};

TEST_P(Proxies, FollowGo) {
  const auto rules = ProxyRules::FromEnvironment([&](std::string_view name) -> std::optional<std::string> {
    const auto it = GetParam().env.find(name);
    return it == GetParam().env.end() ? std::nullopt : std::optional(it->second);
  });
  ASSERT_TRUE(rules) << rules.error().Text();
  const Proxy* proxy = rules->For(*Url::Parse(GetParam().url));
  EXPECT_EQ(proxy ? proxy->ToString() : "", GetParam().proxy);
}

ProxyCase No(std::string no_proxy, std::string url, bool through) {
  return {no_proxy + " " + url, {{"HTTPS_PROXY", "p:1"}, {"HTTP_PROXY", "p:1"}, {"NO_PROXY", no_proxy}}, url, through ? "http://p:1" : ""};
}

INSTANTIATE_TEST_SUITE_P(
    Table, Proxies,
    ::testing::Values(
        ProxyCase{"nothing set", {}, "https://a/", ""},
        ProxyCase{"upper case", {{"HTTPS_PROXY", "http://p:3128"}}, "https://a/", "http://p:3128"},
        ProxyCase{"lower case", {{"https_proxy", "http://p:3128"}}, "https://a/", "http://p:3128"},
        ProxyCase{"upper first", {{"https_proxy", "http://low"}, {"HTTPS_PROXY", "http://up"}}, "https://a/", "http://up:80"},
        ProxyCase{"empty upper", {{"https_proxy", "http://low"}, {"HTTPS_PROXY", ""}}, "https://a/", "http://low:80"},
        ProxyCase{"HTTP_PROXY for http", {{"HTTP_PROXY", "http://p"}}, "http://a/", "http://p:80"},
        ProxyCase{"http_proxy for http", {{"http_proxy", "http://p"}}, "http://a/", "http://p:80"},
        ProxyCase{"not for https", {{"HTTP_PROXY", "http://p"}}, "https://a/", ""},
        ProxyCase{"not for http", {{"HTTPS_PROXY", "http://p"}}, "http://a/", ""},
        ProxyCase{"ALL_PROXY is ignored", {{"ALL_PROXY", "http://p"}, {"all_proxy", "http://p"}}, "https://a/", ""},
        ProxyCase{"no scheme", {{"HTTPS_PROXY", "p.example:8080"}}, "https://a/", "http://p.example:8080"},
        ProxyCase{"https proxy", {{"HTTPS_PROXY", "https://p"}}, "https://a/", "https://p:443"},
        ProxyCase{"https proxy on 80", {{"HTTPS_PROXY", "https://p:80"}}, "https://a/", "https://p:80"},
        ProxyCase{"socks5", {{"HTTPS_PROXY", "socks5://p"}}, "https://a/", "socks5://p:1080"},
        ProxyCase{"socks5h", {{"HTTPS_PROXY", "socks5h://p:9"}}, "https://a/", "socks5h://p:9"},
        ProxyCase{"IPv6 proxy", {{"HTTPS_PROXY", "http://[2001:db8::1]:3128/"}}, "https://a/", "http://[2001:db8::1]:3128"},
        ProxyCase{"credentials", {{"HTTPS_PROXY", "http://u:p%40ss@p:1"}}, "https://a/", "http://p:1"},
        ProxyCase{"localhost is straight", {{"HTTPS_PROXY", "p:1"}}, "https://localhost:5000/", ""},
        ProxyCase{"127/8 is straight", {{"HTTPS_PROXY", "p:1"}}, "https://127.3.2.1/", ""},
        ProxyCase{"::1 is straight", {{"HTTPS_PROXY", "p:1"}}, "https://[::1]:5000/", ""},
        ProxyCase{"no_proxy lower", {{"HTTPS_PROXY", "p:1"}, {"no_proxy", "a"}}, "https://a/", ""},
        ProxyCase{"NO_PROXY first", {{"HTTPS_PROXY", "p:1"}, {"NO_PROXY", "b"}, {"no_proxy", "a"}}, "https://a/", "http://p:1"},
        No("*", "https://a/", false), No("x, *, y", "https://a/", false), No("corp.example", "https://corp.example/", false),
        No("corp.example", "https://r.corp.example/", false), No("corp.example", "https://xcorp.example/", true),
        No(".corp.example", "https://r.corp.example/", false), No(".corp.example", "https://corp.example/", true),
        No("*.corp.example", "https://r.corp.example/", false), No("*.corp.example", "https://corp.example/", true),
        No("CORP.Example", "https://r.corp.EXAMPLE/", false), No(" corp.example , other", "https://corp.example/", false),
        No("corp.example:443", "https://corp.example/", false), No("corp.example:443", "https://corp.example:5000/", true),
        No("corp.example:5000", "https://r.corp.example:5000/", false), No("corp.example:80", "http://corp.example/", false),
        No("10.0.0.0/8", "https://10.1.2.3/", false), No("10.0.0.0/8", "https://10.1.2.3:5000/", false),
        No("10.0.0.0/8", "https://11.1.2.3/", true), No("10.0.0.0/8", "https://ten.example/", true),
        No("192.0.2.128/25", "https://192.0.2.129/", false), No("192.0.2.128/25", "https://192.0.2.127/", true),
        No("fd00::/8", "https://[fd12::1]/", false), No("fd00::/8", "https://[fe12::1]/", true),
        No("192.0.2.1", "https://192.0.2.1:5000/", false), No("192.0.2.1:5000", "https://192.0.2.1:5000/", false),
        No("192.0.2.1:5000", "https://192.0.2.1/", true), No("[2001:db8::1]:443", "https://[2001:db8::1]/", false),
        No("[2001:db8::1]:443", "https://[2001:db8::1]:5000/", true), No("2001:db8::1", "https://[2001:db8::1]/", false),
        No(",, ,", "https://a/", true), No(":80", "https://a/", true), No("b", "https://a/", true)));

TEST(Proxy, CredentialsAreDecodedAndHidden) {
  const auto proxy = Proxy::Parse("http://us%3Aer:p%40ss%2F@proxy.example:3128/");
  ASSERT_TRUE(proxy);
  EXPECT_EQ(proxy->user, "us:er");
  EXPECT_EQ(proxy->password.Reveal(), "p@ss/");
  EXPECT_EQ(proxy->ToString(), "http://proxy.example:3128");
  const auto bad = ProxyRules::Make("http://user:hunter2@bad host:1", "", "");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().reason(), Reason::kConfig);
  EXPECT_THAT(bad.error().Text(), Not(HasSubstr("hunter2")));
  for (const char* text : {"ftp://p", "http://", "http://u:%zz@p", "p:0", "p:99999", "http://p:x", "http://a b"})
    EXPECT_FALSE(Proxy::Parse(text)) << text;
}

// ---- waiting

TEST(RetryDelay, DoublesUpToTheCapAndLosesARandomHalf) {
  EXPECT_EQ(RetryDelay(0, 500ms, 30s, 0), 500ms);
  EXPECT_EQ(RetryDelay(1, 500ms, 30s, 0), 1s);
  EXPECT_EQ(RetryDelay(3, 500ms, 30s, 0.5), 3s);
  EXPECT_EQ(RetryDelay(6, 500ms, 30s, 0), 30s);
  EXPECT_EQ(RetryDelay(1'000'000, 500ms, 30s, 1), 15s);
  EXPECT_EQ(RetryDelay(-5, 500ms, 30s, 0), 500ms);
  EXPECT_EQ(RetryDelay(2, 0ms, 30s, 0), 0ms);
}

struct After {
  std::string value;
  std::optional<time::Duration> wait;
};
void PrintTo(const After& a, std::ostream* out) { *out << a.value; }
class RetryAfter : public ::testing::TestWithParam<After> {};

TEST_P(RetryAfter, IsReadOrIgnored) {
  const time::WallTime now = std::chrono::sys_days(std::chrono::year(1994) / 11 / 6) + 8h + 49min + 7s;
  EXPECT_EQ(ParseRetryAfter(GetParam().value, now), GetParam().wait);
}

INSTANTIATE_TEST_SUITE_P(
    C34AndC35, RetryAfter,
    ::testing::Values(After{"0", 0s}, After{"3", 3s}, After{" 3\t", 3s}, After{"60", 60s}, After{"61", 60s}, After{"999999999", 60s},
                      After{"99999999999999999999999999", 60s}, After{"-5", {}}, After{"soon", {}}, After{"1e9", {}}, After{"", {}},
                      After{"+3", {}}, After{"3.5", {}}, After{"3 s", {}}, After{"Sun, 06 Nov 1994 08:49:37 GMT", 30s},
                      After{"Sunday, 06-Nov-94 08:49:37 GMT", 30s}, After{"Sun Nov  6 08:49:37 1994", 30s},
                      After{"Mon, 07 Nov 1994 08:49:37 GMT", 60s}, After{"Sun, 06 Nov 1994 08:49:00 GMT", 0s},
                      After{"Thu, 01 Jan 1970 00:00:00 GMT", 0s}, After{"Sun, 06 Nov 1994 08:49:37 CET", {}},
                      After{"Sun, 31 Feb 1994 08:49:37 GMT", {}}, After{"Sun, 06 Nov 1994 24:00:00 GMT", {}},
                      After{"Sun, 06 Nov 9999 08:49:37 GMT", {}}, After{"06 Nov 1994 08:49:37 GMT", {}},
                      After{"Sun, 06 Nov 1994 08:49:37 GMT x", {}}, After{"1994-11-06T08:49:37Z", {}}, After{"Sun, ", {}},
                      After{std::string(100'000, '9'), 60s}));

TEST(HttpDate, TwoDigitYearsAreNearTheNow) {
  const auto year_of = [](std::optional<time::WallTime> t) {
    return static_cast<int>(std::chrono::year_month_day(std::chrono::floor<std::chrono::days>(*t)).year());
  };
  const time::WallTime now = std::chrono::sys_days(std::chrono::year(2026) / 1 / 1);
  EXPECT_EQ(year_of(ParseHttpDate("Sunday, 06-Nov-30 08:49:37 GMT", now)), 2030);
  EXPECT_EQ(year_of(ParseHttpDate("Sunday, 06-Nov-76 08:49:37 GMT", now)), 2076);
  EXPECT_EQ(year_of(ParseHttpDate("Sunday, 06-Nov-94 08:49:37 GMT", now)), 1994);
}

// ---- stalling (C-03, C-04)

struct Flow {
  std::string name;
  std::uint64_t bytes;         // … come after every
  time::Duration every;        // … of waiting
  int times;
  bool stalled;
};
void PrintTo(const Flow& f, std::ostream* out) { *out << f.name; }
class Flows : public ::testing::TestWithParam<Flow> {};

TEST_P(Flows, AreJudgedByTheWindow) {
  StallDetector stall(1024, 60s);
  for (int i = 0; i < GetParam().times && !stall.stalled(); ++i) {
    stall.Waited(GetParam().every);
    stall.Got(GetParam().bytes);
  }
  EXPECT_EQ(stall.stalled(), GetParam().stalled);
}

INSTANTIATE_TEST_SUITE_P(C03AndC04, Flows,
                         ::testing::Values(Flow{"10 bytes/s", 10, 1s, 3600, true}, Flow{"1000 bytes/s", 1000, 1s, 3600, true},
                                           Flow{"1100 bytes/s", 1100, 1s, 3600, false}, Flow{"256 KiB/s", 256 << 10, 1s, 3600, false},
                                           Flow{"64 KiB every 30 s", 64 << 10, 30s, 100, false},
                                           Flow{"nothing for 59 s", 0, 1s, 59, false}, Flow{"nothing for 60 s", 0, 1s, 60, true},
                                           Flow{"one long wait", 0, 600s, 1, true}, Flow{"no waiting at all", 0, 0s, 10'000, false}));

TEST(StallDetector, AFastStartDoesNotHideALaterStall) {
  StallDetector stall(1024, 60s);
  stall.Got(1u << 30);
  stall.Waited(1s);
  stall.Got(1u << 30);
  stall.Waited(66s);
  EXPECT_FALSE(stall.stalled());  // the window still holds the last of it
  stall.Waited(4s);
  EXPECT_TRUE(stall.stalled());
}

}  // namespace
}  // namespace berth::http
