#include "result/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

namespace berth::result {
namespace {

TEST(Reason, EveryRowHasADistinctCodeAndAnExitStatus) {
  std::set<std::string_view> codes;
  for (int i = 0; i <= static_cast<int>(Reason::kMissing); ++i) {
    const auto& row = Describe(static_cast<Reason>(i));
    EXPECT_EQ(static_cast<int>(row.reason), i);
    EXPECT_TRUE(row.code.starts_with("E-")) << row.code;
    EXPECT_TRUE(codes.insert(row.code).second) << row.code << " is used twice";
    EXPECT_EQ(FindByCode(row.code), &row);
    EXPECT_GT(row.exit_status, 0);
    EXPECT_FALSE(row.exit_status >= 125 && row.exit_status <= 127) << "shells use " << row.exit_status;
  }
  EXPECT_EQ(FindByCode("E-NOSUCH"), nullptr);
}

Result<int> Half(int n) {
  if (n % 2 != 0) return Error(Reason::kUsage, "odd");
  return n / 2;
}
Result<int> Quarter(int n) {
  ASSIGN_OR_RETURN(int half, Half(n));
  return Half(half);
}

TEST(Result, CarriesValueOrError) {
  EXPECT_EQ(*Quarter(8), 2);
  const auto bad = Quarter(6);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().reason(), Reason::kUsage);
}

TEST(ResultDeathTest, DereferencingAnErrorDies) { EXPECT_DEATH((void)*Half(1), "dereferenced"); }

TEST(Error, TextReadsFromTheOutside) {
  const Error e = Error(Reason::kDigestMismatch, "bytes differ").Context("layer 3 of 7").Context("pull of a/b:c");
  EXPECT_EQ(e.Text(), "pull of a/b:c: layer 3 of 7: bytes differ");
  EXPECT_TRUE(e.transient());
  EXPECT_FALSE(Error(e).Retryable(false).transient());
}

TEST(Error, FullDiskIsItsOwnReason) {
  EXPECT_EQ(FromErrno(ENOSPC, "write").reason(), Reason::kNoSpace);
  EXPECT_EQ(FromErrno(EDQUOT, "write").reason(), Reason::kNoSpace);
  EXPECT_EQ(FromErrno(EIO, "write").reason(), Reason::kIo);
}

struct QuotedCase { std::string_view name, raw, want; };
class QuotedTest : public testing::TestWithParam<QuotedCase> {};
TEST_P(QuotedTest, IsOneSafeLine) { EXPECT_EQ(Quoted(GetParam().raw), GetParam().want); }
INSTANTIATE_TEST_SUITE_P(Text, QuotedTest, testing::Values(
    QuotedCase{"Plain", "a b", "\"a b\""},
    QuotedCase{"Newline", "a\nb", "\"a\\x0ab\""},
    QuotedCase{"Escape", "\x1b[31m", "\"\\x1b[31m\""},
    QuotedCase{"QuoteAndBackslash", "\"\\", "\"\\\"\\\\\""},
    QuotedCase{"Utf8Stays", "\xc3\xa4", "\"\xc3\xa4\""},
    QuotedCase{"LoneByte", "\xff", "\"\\xff\""},
    QuotedCase{"OverlongIsNotUtf8", "\xc0\xaf", "\"\\xc0\\xaf\""},
    QuotedCase{"C1ControlsAreControls", "\xc2\x9b", "\"\\xc2\\x9b\""}),
  [](const auto& i) { return std::string(i.param.name); });

TEST(Quoted, CutsLongNames) { EXPECT_LE(Quoted(std::string(100000, 'a')).size(), 270u); }

}  // namespace
}  // namespace berth::result
