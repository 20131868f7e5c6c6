#include "digest/digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <unordered_set>

namespace berth::digest {
namespace {

constexpr std::string_view kEmpty256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr std::string_view kFormat = "invalid checksum digest format";
constexpr std::string_view kLength = "invalid checksum digest length";
constexpr std::string_view kUnknown = "unsupported digest algorithm";

std::string Repeat(std::size_t n, char c = 'f') { return std::string(n, c); }

struct Row {
  std::string name, text;
  std::string_view error;  // "" = accepted
};

class Parse : public testing::TestWithParam<Row> {};

TEST_P(Parse, GivesTheVerdictOfTheTable) {
  const Row& row = GetParam();
  const Result<Digest> got = Digest::Parse(row.text);
  if (row.error.empty()) {
    ASSERT_TRUE(got) << got.error().Text();
    EXPECT_EQ(got->ToString(), row.text);
    EXPECT_EQ(got->ToString(), std::string(Name(got->algorithm())) + ":" + got->Hex());
    EXPECT_EQ(got->raw().size(), ByteLength(got->algorithm()));
  } else {
    ASSERT_FALSE(got) << row.text;
    EXPECT_EQ(got.error().reason(), Reason::kInvalidDigest);
    EXPECT_EQ(got.error().Text(), row.error);
  }
}

INSTANTIATE_TEST_SUITE_P(
    KubeletImages1_1, Parse,
    testing::Values(
        Row{"sha256", "sha256:" + std::string(kEmpty256), ""}, Row{"sha384", "sha384:" + Repeat(96), ""},
        Row{"sha512", "sha512:" + Repeat(128), ""}, Row{"empty", "", kFormat}, Row{"no_colon", Repeat(64), kFormat},
        Row{"no_algorithm", ":" + Repeat(64), kFormat}, Row{"no_hash", "sha256:", kFormat},
        Row{"digits_63", "sha256:" + Repeat(63), kLength}, Row{"digits_65", "sha256:" + Repeat(65), kLength},
        Row{"digits_32", "sha256:" + Repeat(32), kLength}, Row{"sha512_of_64", "sha512:" + Repeat(64), kLength},
        Row{"upper_hex", "sha256:" + Repeat(64, 'F'), kFormat}, Row{"not_hex", "sha256:" + Repeat(64, 'g'), kFormat},
        Row{"upper_algorithm", "SHA256:" + Repeat(64), kFormat},
        Row{"leading_space", " sha256:" + Repeat(64), kFormat},
        Row{"space_in_hash", "sha256: " + Repeat(63), kFormat},
        Row{"trailing_newline", "sha256:" + Repeat(64) + "\n", kFormat}, Row{"md5", "md5:" + Repeat(32), kUnknown},
        Row{"sha1", "sha1:" + Repeat(40), kUnknown}, Row{"crc32", "crc32:" + Repeat(8), kUnknown},
        Row{"b64", "sha256+b64:" + Repeat(64), kUnknown}, Row{"blake3", "blake3:" + Repeat(64), kUnknown},
        Row{"algorithm_leads_with_separator", "+sha256:" + Repeat(64), kFormat},
        Row{"algorithm_ends_with_separator", "sha256+:" + Repeat(64), kFormat},
        Row{"algorithm_two_separators", "sha256+-b:" + Repeat(64), kFormat},
        Row{"B21_traversal", "sha256:../../../etc/victim", kFormat},
        Row{"B25_query", "sha256:" + Repeat(64) + "?x=", kFormat},
        Row{"B25_fragment", "sha256:" + Repeat(64) + "#", kFormat},
        Row{"B25_escaped_dots", "sha256:%2e%2e" + Repeat(58), kFormat},
        Row{"B25_slash", "sha256:/" + Repeat(63), kFormat}, Row{"B25_crlf", "sha256:" + Repeat(62) + "\r\n", kFormat},
        Row{"B25_nul", "sha256:" + std::string(1, '\0') + Repeat(63), kFormat},
        Row{"two_colons", "sha256:" + Repeat(32) + ":" + Repeat(31), kFormat}),
    [](const auto& row) { return row.param.name; });

TEST(Digest, KnownAnswers) {
  const bytes::View abc = bytes::AsView("abc");
  EXPECT_EQ(Digest::Of({}).Hex(), kEmpty256);
  EXPECT_EQ(Digest::Of(abc).ToString(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Digest::Of(abc, Algorithm::kSha384).Hex(),
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7");
  EXPECT_EQ(Digest::Of(abc, Algorithm::kSha512).Hex(),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
            "454d4423643ce80e2a9ac94fa54ca49f");
  EXPECT_EQ(Digest::Of(abc).Short(), "ba7816bf8f01");
}

TEST(Digest, PiecesHashAsTheWhole) {
  const std::string data(100'003, 'x');
  for (const Algorithm a : {Algorithm::kSha256, Algorithm::kSha384, Algorithm::kSha512}) {
    Hasher hasher(a);
    for (std::string_view rest = data; !rest.empty(); rest = rest.substr(std::min<std::size_t>(997, rest.size()))) {
      hasher.Update(bytes::AsView(rest.substr(0, 997)));
    }
    hasher.Update({});
    Hasher moved = std::move(hasher);
    EXPECT_EQ(moved.Finish(), Digest::Of(bytes::AsView(data), a)) << Name(a);
  }
}

TEST(Digest, EqualityOrderAndHashAgree) {
  const Digest a = Digest::Of(bytes::AsView("a")), again = *Digest::Parse(a.ToString());
  const Digest b = Digest::Of(bytes::AsView("b"));
  const Digest other = Digest::Of(bytes::AsView("a"), Algorithm::kSha512);
  EXPECT_EQ(a, again);
  EXPECT_EQ(std::hash<Digest>()(a), std::hash<Digest>()(again));
  EXPECT_NE(a, b);
  EXPECT_NE(a, other);
  EXPECT_EQ(a < b, a.Hex() < b.Hex());
  EXPECT_LT(a, other);
  const std::unordered_set<Digest> set{a, again, b, other, Digest{}};
  EXPECT_EQ(set.size(), 4u);
}

TEST(Digest, RawOfWrongLengthDies) {
  EXPECT_DEATH((void)Digest::FromRaw(Algorithm::kSha256, bytes::AsView("short")), "");
}

TEST(Hasher, SecondFinishDies) {
  Hasher hasher;
  (void)hasher.Finish();
  EXPECT_DEATH((void)hasher.Finish(), "");
  EXPECT_DEATH(hasher.Update(bytes::AsView("late")), "");
}

}  // namespace
}  // namespace berth::digest
