// The official aws-signing-test-suite (v4, header signatures): one row a folder, by its name there.
#include "cloud/aws_signature.h"

#include <gtest/gtest.h>

#include <ostream>

namespace berth::cloud {
namespace {

const time::WallTime kWhen = time::WallTime(std::chrono::seconds(1440938160));  // 2015-08-30T12:36:00Z
constexpr std::string_view kLetters = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

struct Vector {
  std::string name, path = "/", query;
  std::string_view signature, signed_headers = "host;x-amz-date";
  std::vector<http::Header> headers = {};
  std::string method = "GET", body, session;
};
void PrintTo(const Vector& v, std::ostream* out) { *out << v.name; }
class Suite : public ::testing::TestWithParam<Vector> {};

TEST_P(Suite, GivesTheSignature) {
  const Vector& v = GetParam();
  AwsRequest request{.method = v.method, .path = v.path, .query = v.query, .body = v.body, .headers = {}, .region = "us-east-1",
                     .service = "service", .when = kWhen};
  request.headers.Add("Host", "example.amazonaws.com");
  request.headers.Add("X-Amz-Date", FormatAmzDate(kWhen));
  for (const auto& h : v.headers) request.headers.Add(h.name, h.value);
  if (!v.session.empty()) request.headers.Add("X-Amz-Security-Token", v.session);
  const AwsKeys keys{"AKIDEXAMPLE", secret::Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), {}};
  EXPECT_EQ(SignAwsRequest(request, keys).Reveal(),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" + std::string(v.signed_headers) +
                ", Signature=" + std::string(v.signature))
      << AwsCanonicalRequest(request);
}

INSTANTIATE_TEST_SUITE_P(
    Official, Suite,
    ::testing::Values(
        Vector{.name = "get-vanilla", .signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
        Vector{.name = "get-vanilla-empty-query-key", .query = "Param1=value1",
               .signature = "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
        Vector{.name = "get-vanilla-query-order-key-case", .query = "Param2=value2&Param1=value1",
               .signature = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
        Vector{.name = "get-vanilla-query-order-encoded", .query = "Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
               .signature = "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
        Vector{.name = "get-vanilla-utf8-query", .query = "ሴ=bar", .signature = "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
        Vector{.name = "get-utf8", .path = "/ሴ", .signature = "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
        Vector{.name = "get-unreserved", .path = "/" + std::string(kLetters),
               .signature = "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
        Vector{.name = "get-space-normalized", .path = "/example space/",
               .signature = "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
        Vector{.name = "get-relative-relative-normalized", .path = "/example1/example2/../..",
               .signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
        Vector{.name = "get-slash-pointless-dot-normalized", .path = "/./example",
               .signature = "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
        Vector{.name = "get-slashes-normalized", .path = "//example//",
               .signature = "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
        Vector{.name = "get-header-key-duplicate", .signature = "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
               .signed_headers = "host;my-header1;x-amz-date",
               .headers = {{"My-Header1", "value2"}, {"My-Header1", "value2"}, {"My-Header1", "value1"}}},
        Vector{.name = "get-header-value-order", .signature = "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
               .signed_headers = "host;my-header1;x-amz-date",
               .headers = {{"My-Header1", "value4"}, {"My-Header1", "value1"}, {"My-Header1", "value3"}, {"My-Header1", "value2"}}},
        Vector{.name = "get-header-value-trim", .signature = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
               .signed_headers = "host;my-header1;my-header2;x-amz-date", .headers = {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}}},
        Vector{.name = "get-vanilla-with-session-token", .signature = "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
               .signed_headers = "host;x-amz-date;x-amz-security-token",
               .session = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"},
        Vector{.name = "post-x-www-form-urlencoded", .signature = "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
               .signed_headers = "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
               .headers = {{"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Length", "13"},
                           {"x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"}},
               .method = "POST", .body = "Param1=value1"}),
    [](const auto& param) {
      std::string name = param.param.name;
      for (char& c : name) c = c == '-' ? '_' : c;
      return name;
    });

TEST(AwsSignature, DatesAreOfTheBasicForm) {
  EXPECT_EQ(FormatAmzDate(kWhen), "20150830T123600Z");
  EXPECT_EQ(FormatAmzDate(time::WallTime(std::chrono::milliseconds(1704070805999))), "20240101T010005Z");
}

}  // namespace
}  // namespace berth::cloud
