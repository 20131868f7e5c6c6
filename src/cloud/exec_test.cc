#include "cloud/exec.h"

#include <gtest/gtest.h>

#include <ostream>

#include "bytes/base64url.h"
#include "cloud/tokens.h"

namespace berth::cloud {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const time::WallTime kNow{hours(24 * 365 * 56)};

// ---- requests (kubelet-images 7.4)

struct Good { std::string name, text, api_version, host; std::size_t token, annotations; };
void PrintTo(const Good& r, std::ostream* out) { *out << r.name; }
class GoodRequests : public ::testing::TestWithParam<Good> {};

TEST_P(GoodRequests, AreRead) {
  const auto got = ExecRequest::Parse(GetParam().text);
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(got->api_version, "credentialprovider.kubelet.k8s.io/" + GetParam().api_version);
  EXPECT_EQ(got->host, GetParam().host);
  EXPECT_EQ(got->service_account_token.size(), GetParam().token);
  EXPECT_EQ(got->annotations.size(), GetParam().annotations);
}

INSTANTIATE_TEST_SUITE_P(
    Table, GoodRequests,
    ::testing::Values(
        Good{"the kubelet's own", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"test.registry.io/foobar"})" "\n",
             "v1", "test.registry.io", 0, 0},
        Good{"v1beta1", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1",)"
            R"("image":"a.io/b"})", "v1beta1", "a.io", 0, 0},
        Good{"v1alpha1", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1alpha1",)"
            R"("image":"a.io/b"})", "v1alpha1", "a.io", 0, 0},
        Good{"service account", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"a.io/b",)"
                                R"("serviceAccountToken":"abc","serviceAccountAnnotations":{"k":"v","l":""}})", "v1", "a.io", 3, 2},
        Good{"service account before v1", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1",)"
            R"()"
                                          R"("image":"a.io/b","serviceAccountToken":"abc","serviceAccountAnnotations":{"k":"v"}})", "v1beta1", "a.io", 0, 0},
        Good{"nulls", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"a.io/b",)"
                      R"("serviceAccountToken":null,"serviceAccountAnnotations":null})", "v1", "a.io", 0, 0},
        Good{"of a later kubelet", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"a.io/b","new":[1]})", "v1", "a.io", 0, 0},
        Good{"upper case and port", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"A.Io:5000/b/c"})", "v1", "a.io:5000", 0, 0}));

struct Bad { std::string name, text; std::string_view message; };
void PrintTo(const Bad& r, std::ostream* out) { *out << r.name; }
class BadRequests : public ::testing::TestWithParam<Bad> {};

TEST_P(BadRequests, AreRefusedInWords) {
  const auto got = ExecRequest::Parse(GetParam().text);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kUsage);
  EXPECT_NE(got.error().Text().find(GetParam().message), std::string::npos) << got.error().Text();
  EXPECT_EQ(got.error().Text().find("canary"), std::string::npos) << got.error().Text();
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadRequests,
    ::testing::Values(
        Bad{"nothing", "", ""}, Bad{"no JSON", "canary", ""}, Bad{"no object", "[]", "must be an object"},
        Bad{"no kind", R"({"apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"a/b"})", "kind"},
        Bad{"wrong kind", R"({"kind":"WrongKind","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"a/b"})", "\"WrongKind\""},
        Bad{"no apiVersion", R"({"kind":"CredentialProviderRequest","image":"a/b"})", "apiVersion"},
        Bad{"wrong group", R"({"kind":"CredentialProviderRequest","apiVersion":"foobar.kubelet.k8s.io/v1","image":"a/b"})", "\"foobar.kubelet.k8s.io/v1\""},
        Bad{"version to come", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v2",)"
            R"("image":"a/b"})", "not one that this provider speaks"},
        Bad{"short apiVersion", R"({"kind":"CredentialProviderRequest","apiVersion":"v1","image":"a/b"})", "\"v1\""},
        Bad{"no image", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1"})", "image"},
        Bad{"empty image", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":""})", "registry host"},
        Bad{"host with user info", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"u@a.io/b"})", "registry host"},
        Bad{"host with line end", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"a.io\r\n/b"})", "registry host"},
        Bad{"token of another type", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"a/b","serviceAccountToken":["canary"]})", "serviceAccountToken"},
        Bad{"annotation of another type", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"a/b","serviceAccountAnnotations":{"k":1}})", "serviceAccountAnnotations"},
        Bad{"annotations as list", R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":"a/b","serviceAccountAnnotations":["canary"]})", "serviceAccountAnnotations"}));

// ---- responses

struct Life { std::string name; std::optional<time::Duration> life; seconds cached; };
void PrintTo(const Life& r, std::ostream* out) { *out << r.name; }
class Lives : public ::testing::TestWithParam<Life> {};

TEST_P(Lives, AreCachedLessAMargin) {
  const auto& row = GetParam();
  EXPECT_EQ(CacheDuration(row.life ? std::optional(kNow + *row.life) : std::nullopt, kNow), row.cached);
}

INSTANTIATE_TEST_SUITE_P(Table, Lives,
                         ::testing::Values(Life{"unknown", std::nullopt, seconds(0)}, Life{"over", -hours(1), seconds(0)},
                                           Life{"now", hours(0), seconds(0)},
                                           Life{"one second", seconds(1), seconds(0)}, Life{"four minutes", minutes(4), minutes(3)},
                                           Life{"one hour", hours(1), minutes(45)}, Life{"three hours", hours(3), minutes(165)},
                                           Life{"twelve hours", hours(12), minutes(705)}));

TEST(Response, IsWhatTheKubeletDecodes) {
  auto request = ExecRequest::Parse(R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1",)"
                                    R"("image":"gcr.io/b"})");
  ASSERT_TRUE(request);
  const Login login{CacheKey::kGlobal, {"gcr.io", "*.gcr.io"}, "user", secret::Secret("p\"w"), kNow + hours(1)};
  EXPECT_EQ(RenderResponse(*request, login, kNow).Reveal(),
            R"({"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1","cacheKeyType":"Global",)"
            R"("cacheDuration":"2700s",)"
            R"("auth":{"gcr.io":{"username":"user","password":"p\"w"},"*.gcr.io":{"username":"user","password":"p\"w"}}})" "\n");
}

// ---- tokens.h

TEST(Tokens, Base64UrlHasNoPadding) {
  EXPECT_EQ(bytes::ToBase64Url(bytes::AsView("")), "");
  EXPECT_EQ(bytes::ToBase64Url(bytes::AsView("f")), "Zg");
  EXPECT_EQ(bytes::ToBase64Url(bytes::AsView("\xfb\xff\xfe")), "-__-");
}

struct Stamp { std::string text; std::optional<std::int64_t> seconds; };
void PrintTo(const Stamp& r, std::ostream* out) { *out << r.text; }
class Stamps : public ::testing::TestWithParam<Stamp> {};

TEST_P(Stamps, AreSecondsOrNothing) {
  const auto got = ParseTimestamp(GetParam().text);
  ASSERT_EQ(got.has_value(), GetParam().seconds.has_value());
  if (got) {
    EXPECT_EQ(*got, time::WallTime(seconds(*GetParam().seconds)));
  }
}

INSTANTIATE_TEST_SUITE_P(Table, Stamps,
                         ::testing::Values(Stamp{"2015-08-30T12:36:00Z", 1440938160}, Stamp{"2015-08-30T12:36:00.123456789Z", 1440938160},
                                           Stamp{"2015-08-30T12:36:00+00:00", 1440938160}, Stamp{"1970-01-01T00:00:00Z", 0},
                                           Stamp{"2015-08-30T12:36:00", {}}, Stamp{"2015-02-30T12:36:00Z", {}}, Stamp{"2015-08-30T24:00:00Z", {}},
                                           Stamp{"2015-08-30T12:36:00.Z", {}}, Stamp{"2015-08-30T12:36:00+01:00", {}}, Stamp{"20150830T123600Z", {}},
                                           Stamp{"", {}}, Stamp{"xxxx-xx-xxTxx:xx:xxZ", {}}));

struct Jwt { std::string name, token; std::optional<std::int64_t> seconds; };
void PrintTo(const Jwt& r, std::ostream* out) { *out << r.name; }
class Jwts : public ::testing::TestWithParam<Jwt> {};

TEST_P(Jwts, SayHowLongTheyLive) {
  const auto got = JwtExpiry(GetParam().token);
  ASSERT_EQ(got.has_value(), GetParam().seconds.has_value());
  if (got) {
    EXPECT_EQ(*got, time::WallTime(seconds(*GetParam().seconds)));
  }
}

std::string Token(std::string_view claims) { return "e30." + bytes::ToBase64Url(bytes::AsView(claims)) + ".c2ln"; }

INSTANTIATE_TEST_SUITE_P(Table, Jwts,
                         ::testing::Values(Jwt{"plain", Token(R"({"exp":1440938160})"), 1440938160}, Jwt{"fraction", Token(R"({"exp":1440938160.9})"), 1440938160},
                                           Jwt{"none", Token("{}"), {}}, Jwt{"text", Token(R"({"exp":"1440938160"})"), {}}, Jwt{"negative", Token(R"({"exp":-1})"), {}},
                                           Jwt{"absurd", Token(R"({"exp":1e300})"), {}},
                                           Jwt{"after 2262", Token(R"({"exp":9604167399})"), 9'223'372'036}, Jwt{"opaque", "abc", {}}, Jwt{"two parts", "a.b", {}},
                                           Jwt{"no base64", "a.!!.c", {}}, Jwt{"no JSON", Token("exp"), {}}));

struct In { std::string json; std::optional<std::int64_t> seconds; };
void PrintTo(const In& r, std::ostream* out) { *out << r.json; }
class Ins : public ::testing::TestWithParam<In> {};

TEST_P(Ins, CountFromNow) {
  const auto document = json::Document::Parse(GetParam().json, Reason::kTokenError);
  ASSERT_TRUE(document);
  const auto got = ExpiresIn(document->root(), kNow);
  ASSERT_EQ(got.has_value(), GetParam().seconds.has_value());
  if (got) {
    EXPECT_EQ(*got, kNow + seconds(*GetParam().seconds));
  }
}

INSTANTIATE_TEST_SUITE_P(Table, Ins,
                         ::testing::Values(In{R"({"expires_in":3599})", 3599}, In{R"({"expires_in":"86399"})", 86399}, In{R"({"expires_in":0})", 0},
                                           In{"{}", {}}, In{R"({"expires_in":-1})", {}}, In{R"({"expires_in":"1h"})", {}}, In{R"({"expires_in":1e18})", {}},
                                           In{R"({"expires_in":null})", {}}, In{R"({"expires_in":"99999999999"})", {}}));

TEST(Tokens, FormsAreEncoded) {
  EXPECT_EQ(Form({{"a", "b c&d=e+/"}, {"f", ""}}).Reveal(), "a=b%20c%26d%3De%2B%2F&f=");
}

}  // namespace
}  // namespace berth::cloud
