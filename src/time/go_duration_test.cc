#include "time/go_duration.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace berth::time {
namespace {

struct Row {
  const char* text;
  std::int64_t nanos;
};
constexpr std::int64_t kUs = 1'000, kMs = 1'000'000, kS = 1'000'000'000, kM = 60 * kS, kH = 60 * kM;

class Printed : public testing::TestWithParam<Row> {};
TEST_P(Printed, AndReadBack) {
  EXPECT_EQ(FormatGoDuration(Duration(GetParam().nanos)), GetParam().text);
  const auto back = ParseGoDuration(GetParam().text);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->count(), GetParam().nanos);
}
INSTANTIATE_TEST_SUITE_P(Table, Printed,
                         testing::Values(Row{"0s", 0}, Row{"1ns", 1}, Row{"1.1\u00b5s", 1100}, Row{"2.2ms", 2200 * kUs}, Row{"3.3s", 3300 * kMs},
                                         Row{"4m5s", 4 * kM + 5 * kS}, Row{"4m5.001s", 4 * kM + 5001 * kMs}, Row{"5h6m7.001s", 5 * kH + 6 * kM + 7001 * kMs},
                                         Row{"8m0.000000001s", 8 * kM + 1}, Row{"1h0m0s", kH}, Row{"2m3.5s", 2 * kM + 3500 * kMs}, Row{"412ms", 412 * kMs},
                                         Row{"1.2s", 1200 * kMs}, Row{"-1ns", -1}, Row{"-1.5s", -1500 * kMs},
                                         Row{"2562047h47m16.854775807s", std::numeric_limits<std::int64_t>::max()},
                                         Row{"-2562047h47m16.854775808s", std::numeric_limits<std::int64_t>::min()}));

class Read : public testing::TestWithParam<Row> {};
TEST_P(Read, AsGoDoes) {
  const auto got = ParseGoDuration(GetParam().text);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->count(), GetParam().nanos);
}
INSTANTIATE_TEST_SUITE_P(Table, Read,
                         testing::Values(Row{"0", 0}, Row{"-0", 0}, Row{"5s", 5 * kS}, Row{"+5s", 5 * kS}, Row{"5.s", 5 * kS}, Row{".5s", 500 * kMs},
                                         Row{"1.004s", 1004 * kMs}, Row{"100.00100s", 100 * kS + kMs}, Row{"10us", 10 * kUs}, Row{"12\u00b5s", 12 * kUs},
                                         Row{"12\u03bcs", 12 * kUs}, Row{"10.5s4m", 4 * kM + 10500 * kMs}, Row{"-2m3.4s", -(2 * kM + 3400 * kMs)},
                                         Row{"0.100000000000000000000h", 6 * kM}, Row{"0.3333333333333333333h", 20 * kM},
                                         Row{"9007199254740993ns", 9007199254740993}, Row{"0.830103483285477580700h", 49 * kM + 48372539827LL},
                                         Row{"9223372036854775.807us", std::numeric_limits<std::int64_t>::max()}));

class Refused : public testing::TestWithParam<const char*> {};
TEST_P(Refused, Entirely) { EXPECT_FALSE(ParseGoDuration(GetParam())); }
INSTANTIATE_TEST_SUITE_P(Table, Refused,
                         testing::Values("", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "1S", "1 s", " 1s", "1s ", "1.2.3s", "--1s", "1e3s", "9223372036854775808ns",
                                         "9223372036854775810ns", "3000000h", "9223372036854775.808us", "9223372036854ms775us808ns",
                                         "9223372036854775808ns9223372036854775808ns"));

TEST(TruncateToMillis, TowardsZero) {
  EXPECT_EQ(TruncateToMillis(Duration(1'999'999)).count(), 1'000'000);
  EXPECT_EQ(TruncateToMillis(Duration(-1'999'999)).count(), -1'000'000);
}

}  // namespace
}  // namespace berth::time
