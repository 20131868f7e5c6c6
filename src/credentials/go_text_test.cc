#include "credentials/go_text.h"

#include <gtest/gtest.h>

#include <limits>

namespace berth::credentials {
namespace {

struct DurationCase { const char* text; std::int64_t nanos; const char* shown; };
class GoDurations : public testing::TestWithParam<DurationCase> {};
TEST_P(GoDurations, AreReadAndShown) {
  const auto got = ParseGoDuration(GetParam().text);
  ASSERT_TRUE(got) << GetParam().text;
  EXPECT_EQ(got->count(), GetParam().nanos);
  EXPECT_EQ(GoDuration(*got), GetParam().shown);
}
INSTANTIATE_TEST_SUITE_P(GoText, GoDurations, testing::Values(
    DurationCase{"0", 0, "0s"}, DurationCase{"0s", 0, "0s"}, DurationCase{"1m", 60'000'000'000, "1m0s"}, DurationCase{"-1m", -60'000'000'000, "-1m0s"},
    DurationCase{"1h30m", 5'400'000'000'000, "1h30m0s"}, DurationCase{"1.5h", 5'400'000'000'000, "1h30m0s"}, DurationCase{".5s", 500'000'000, "500ms"},
    DurationCase{"1.s", 1'000'000'000, "1s"}, DurationCase{"+5s", 5'000'000'000, "5s"}, DurationCase{"1us", 1000, "1µs"}, DurationCase{"1µs", 1000, "1µs"},
    DurationCase{"1500ns", 1500, "1.5µs"}, DurationCase{"1.5ms", 1'500'000, "1.5ms"}, DurationCase{"12h0m0.1s", 43'200'100'000'000, "12h0m0.1s"},
    DurationCase{"1h0.000000001s", 3'600'000'000'001, "1h0m0.000000001s"},
    DurationCase{"9223372036854775807ns", std::numeric_limits<std::int64_t>::max(), "2562047h47m16.854775807s"},
    DurationCase{"-9223372036854775808ns", std::numeric_limits<std::int64_t>::min(), "-2562047h47m16.854775808s"}));

TEST(GoText, DurationsThatAreNone) {
  for (const char* bad : {"", "3", "-", "s", ".s", "-.s", "1x", "1 m", "m1", "1e300s", "3000000h", "9223372036854775808ns", "99999999999999999999s",
                          "1m-1s", "+-1s", "1..5s", "1.5", "0x1s"})
    EXPECT_FALSE(ParseGoDuration(bad)) << bad;
}

TEST(GoText, JsonStringsAsGoWritesThem) {
  EXPECT_EQ(GoJson("a<b>&\"\\\n\r\t\b\f\x01\x7f"), "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\r\\t\\b\\f\\u0001\x7f\"");
  EXPECT_EQ(GoJson("\u2028\u2029\u00e9"), "\"\\u2028\\u2029\u00e9\"");
  EXPECT_EQ(GoJson("\xff\xc3"), "\"\\ufffd\\ufffd\"");
}

struct UrlCase { const char *url, *problem; };
TEST(GoText, WhyAUrlIsNone) {
  for (const auto& [url, problem] : {
           UrlCase{"https://%invalid%", "invalid URL escape \"%in\""}, {"https://a.io/%zz", "invalid URL escape \"%zz\""},
           {"https://a.io/%", "invalid URL escape \"%\""}, {"https://a b.io", "invalid character \" \" in host name"},
           {"https://a.io:x", "invalid port \":x\" after host"}, {"https://*:*", "invalid port \":*\" after host"},
           {"https://[::1", "missing ']' in host"}, {"https://[r]egistry.io", "invalid port \"egistry.io\" after host"},
           {"https://my[0-9].io", "invalid character \"[\" in host name"}, {"https://my\\*.io", "invalid character \"\\\\\" in host name"},
           {"https://a\nb", "net/url: invalid control character in URL"}, {"https://*.io:5000/a", ""}, {"https://a?.io", ""}, {"https://[::1]:5000/a", ""},
           {"https://*.dkr.ecr.*.amazonaws.com", ""}, {"https://", ""}, {"https://a.io/%62", ""}})
    EXPECT_EQ(GoUrlProblem(url), problem) << url;
}

TEST(GoText, QualifiedNames) {
  for (const char* good : {"simple", "now-with-dashes", "1-starts-with-num", "1234", "simple/simple", "now-with-dashes/simple", "1.2.3.4/5678", "a/A_b.C"})
    EXPECT_EQ(QualifiedNameProblem(good), "") << good;
  EXPECT_EQ(QualifiedNameProblem("cantendwithadash-"),
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
            "'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')");
  for (const char* bad : {"nospecialchars%^=@", "-cantstartwithadash", "only/one/slash", "Example.com/abc", "/simple", "a/", "", "a..b/c"})
    EXPECT_NE(QualifiedNameProblem(bad), "") << bad;
  EXPECT_NE(QualifiedNameProblem(std::string(64, 'a')), "");
  EXPECT_EQ(QualifiedNameProblem(std::string(253, 'a') + "/" + std::string(63, 'b')), "");
  EXPECT_NE(QualifiedNameProblem(std::string(254, 'a') + "/b"), "");
}

}  // namespace
}  // namespace berth::credentials
