#include "http/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

namespace berth::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// ---- accepted: what goes on the wire, and what may be printed

struct Good {
  std::string text, wire, redacted, origin;
};
void PrintTo(const Good& g, std::ostream* out) { *out << g.text; }
class GoodUrls : public ::testing::TestWithParam<Good> {};

TEST_P(GoodUrls, AreNormal) {
  const auto url = Url::Parse(GetParam().text);
  ASSERT_TRUE(url) << url.error().Text();
  EXPECT_EQ(url->ToWire(), GetParam().wire);
  EXPECT_EQ(url->Redacted(), GetParam().redacted);
  EXPECT_EQ(url->origin().ToString(), GetParam().origin);
  EXPECT_EQ(*Url::Parse(url->ToWire()), *url);
}

INSTANTIATE_TEST_SUITE_P(
    Urls, GoodUrls,
    ::testing::Values(
        Good{"https://registry.example/v2/", "https://registry.example/v2/", "https://registry.example/v2/", "https://registry.example"},
        Good{"HTTPS://Registry.EXAMPLE", "https://registry.example/", "https://registry.example/", "https://registry.example"},
        Good{"https://a:443/x", "https://a/x", "https://a/x", "https://a"},
        Good{"http://a:80", "http://a/", "http://a/", "http://a"},
        Good{"http://a:443/", "http://a:443/", "http://a:443/", "http://a:443"},
        Good{"https://a:65535/", "https://a:65535/", "https://a:65535/", "https://a:65535"},
        Good{"https://a/b?X-Signature=secret", "https://a/b?X-Signature=secret", "https://a/b", "https://a"},
        Good{"https://a?q", "https://a/?q", "https://a/", "https://a"},
        Good{"https://a/?", "https://a/?", "https://a/", "https://a"},
        Good{"https://a/b#fragment?x", "https://a/b", "https://a/b", "https://a"},
        Good{"https://a/../b/./c", "https://a/../b/./c", "https://a/../b/./c", "https://a"},
        Good{"https://a/x y\xc3\xa9?z z", "https://a/x%20y%C3%A9?z%20z", "https://a/x%20y%C3%A9", "https://a"},
        Good{"https://a/%2e%2E/b", "https://a/%2e%2E/b", "https://a/%2e%2E/b", "https://a"},
        Good{"http://127.0.0.1:5000/", "http://127.0.0.1:5000/", "http://127.0.0.1:5000/", "http://127.0.0.1:5000"},
        Good{"https://[::1]:5000/", "https://[::1]:5000/", "https://[::1]:5000/", "https://[::1]:5000"},
        Good{"https://[2001:DB8:0:0::1]", "https://[2001:db8::1]/", "https://[2001:db8::1]/", "https://[2001:db8::1]"},
        Good{"https://under_score.example./", "https://under_score.example./", "https://under_score.example./",
             "https://under_score.example."},
        Good{"https://3com.example/", "https://3com.example/", "https://3com.example/", "https://3com.example"}));

// ---- refused

class BadUrls : public ::testing::TestWithParam<std::string> {};

TEST_P(BadUrls, AreRefusedAndNotQuoted) {
  const auto url = Url::Parse(GetParam());
  ASSERT_FALSE(url);
  EXPECT_EQ(url.error().reason(), Reason::kUsage);
  if (GetParam().size() > 12) {
    EXPECT_THAT(url.error().Text(), Not(HasSubstr(GetParam())));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Urls, BadUrls,
    ::testing::Values("", "registry.example/v2", "//a/b", "ftp://a/", "file:///etc/passwd", "gopher://a/", "data:text/plain,x",
                      "https:/a", "https://", "https:///x", "https://user@host/", "https://user:password@host/",
                      "https://trusted@evil/", "https://a b/", "https://a\n/", std::string("https://a/\0b", 12), "https://a/\r\nX: y",
                      "https://a\\b/", "https://a/\\evil", "https://a:/", "https://a:0/", "https://a:65536/", "https://a:08/",
                      "https://a:80x/", "https://a:-1/", "https://a:99999999999/", "https://a..b/", "https://.a/", "https://-a/",
                      "https://a-/", "https://a%2eb/", "https://b\xc3\xbc""cher.example/", "https://127.1/", "https://0x7f.1/",
                      "https://0x7f000001/", "https://2130706433/", "https://0177.0.0.1/", "https://127.0.0.1./", "https://1.2.3.4.5/",
                      "https://256.0.0.1/", "https://[::1/", "https://[::1]x/", "https://[fe80::1%eth0]/", "https://[127.0.0.1]/",
                      "https://::1/", "https://[]/", "https://" + std::string(64, 'a') + "/", "https://a/" + std::string(kMaxUrlBytes, 'x'),
                      "\x7fhttps://a/", "https://a/\x7f", " https://a/"));

// ---- Location

struct Hop {
  std::string from, location, to;  // "" = refused
};
void PrintTo(const Hop& h, std::ostream* out) { *out << h.from << " + " << h.location; }
class Locations : public ::testing::TestWithParam<Hop> {};

TEST_P(Locations, Resolve) {
  const auto to = Url::Parse(GetParam().from)->Resolve(GetParam().location);
  if (GetParam().to.empty()) {
    ASSERT_FALSE(to) << to->ToWire();
    EXPECT_EQ(to.error().reason(), Reason::kProtocolError);
  } else {
    ASSERT_TRUE(to) << to.error().Text();
    EXPECT_EQ(to->ToWire(), GetParam().to);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rfc3986AndC43, Locations,
    ::testing::Values(
        Hop{"https://a/b/c/d?q", "g", "https://a/b/c/g"}, Hop{"https://a/b/c/d?q", "./g", "https://a/b/c/g"},
        Hop{"https://a/b/c/d?q", "g/", "https://a/b/c/g/"}, Hop{"https://a/b/c/d?q", "/g", "https://a/g"},
        Hop{"https://a/b/c/d?q", "//g", "https://g/"}, Hop{"https://a/b/c/d?q", "?y", "https://a/b/c/d?y"},
        Hop{"https://a/b/c/d?q", "g?y", "https://a/b/c/g?y"}, Hop{"https://a/b/c/d?q", "#s", "https://a/b/c/d?q"},
        Hop{"https://a/b/c/d?q", "g#s", "https://a/b/c/g"}, Hop{"https://a/b/c/d?q", ".", "https://a/b/c/"},
        Hop{"https://a/b/c/d?q", "..", "https://a/b/"}, Hop{"https://a/b/c/d?q", "../g", "https://a/b/g"},
        Hop{"https://a/b/c/d?q", "../..", "https://a/"}, Hop{"https://a/b/c/d?q", "../../g", "https://a/g"},
        Hop{"https://a/b/c/d?q", "../../../../g", "https://a/g"}, Hop{"https://a/b/c/d?q", "/./g", "https://a/g"},
        Hop{"https://a/b/c/d?q", "/../g", "https://a/g"}, Hop{"https://a/b/c/d?q", "g.", "https://a/b/c/g."},
        Hop{"https://a/b/c/d?q", "..g", "https://a/b/c/..g"}, Hop{"https://a/b/c/d?q", "./g/.", "https://a/b/c/g/"},
        Hop{"https://a/b/c/d?q", "g/../h", "https://a/b/c/h"}, Hop{"https://a/b/c/d?q", "g?y/../x", "https://a/b/c/g?y/../x"},
        Hop{"https://a/b", "https://B.example:8443/x/../y?sig=%2F", "https://b.example:8443/x/../y?sig=%2F"},
        Hop{"https://a/b", "http://a/b", "http://a/b"}, Hop{"https://a/b", "//evil:99/x", "https://evil:99/x"},
        Hop{"https://a:5000/b", "/c d", "https://a:5000/c%20d"}, Hop{"https://a/b", "x/y:z", "https://a/x/y:z"},
        Hop{"https://a/b", "", ""}, Hop{"https://a/b", "file:///etc/passwd", ""}, Hop{"https://a/b", "gopher://a/", ""},
        Hop{"https://a/b", "data:text/html,x", ""}, Hop{"https://a/b", "https://trusted@evil/", ""},
        Hop{"https://a/b", "//trusted@evil/", ""}, Hop{"https://a/b", "https:evil", ""}, Hop{"https://a/b", "///x", ""},
        Hop{"https://a/b", "/\\evil/x", ""}, Hop{"https://a/b", "/x\r\nSet-Cookie: a", ""}, Hop{"https://a/b", "http://", ""},
        Hop{"https://a/b", "javascript:alert(1)", ""}, Hop{"https://a/b", "/" + std::string(200'000, 'x'), ""}));

TEST(Origins, AreEqualInAllThreePartsOrNot) {
  const Origin a = Url::Parse("https://A.example/x")->origin();
  EXPECT_EQ(a, Url::Parse("https://a.example:443/y?z")->origin());
  for (const char* other : {"http://a.example:443/", "https://a.example:444/", "https://b.a.example/", "https://a.example./"})
    EXPECT_NE(a, Url::Parse(other)->origin()) << other;
}

TEST(Loopback, IsKnownInEverySpelling) {
  for (const char* host : {"localhost", "LOCALHOST", "localhost.", "x.localhost", "127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"})
    EXPECT_TRUE(IsLoopback(host)) << host;
  for (const char* host : {"localhost.example", "notlocalhost", "128.0.0.1", "::2", "::", "::ffff:128.0.0.1", ""})
    EXPECT_FALSE(IsLoopback(host)) << host;
}

TEST(PercentEncode, KeepsUnreservedOnly) { EXPECT_EQ(PercentEncode("a-b._~Z9 /:é\n"), "a-b._~Z9%20%2F%3A%C3%A9%0A"); }

}  // namespace
}  // namespace berth::http
