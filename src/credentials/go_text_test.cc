#include "credentials/go_text.h"

#include <gtest/gtest.h>

namespace berth::credentials {
namespace {

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
