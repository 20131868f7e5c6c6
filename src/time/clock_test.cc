#include "time/clock.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace berth::time {
namespace {

struct Row {
  std::int64_t seconds, nanos;
};
class Moments : public testing::TestWithParam<Row> {};
TEST_P(Moments, AreTheNearestThatNanosecondsHold) {
  EXPECT_EQ(FromUnix(GetParam().seconds).time_since_epoch().count(), GetParam().nanos);
}
INSTANTIATE_TEST_SUITE_P(Table, Moments,
                         testing::Values(Row{0, 0}, Row{-1, -1'000'000'000}, Row{1'440'938'160, 1'440'938'160'000'000'000},
                                         Row{9'223'372'036, 9'223'372'036'000'000'000}, Row{9'223'372'037, 9'223'372'036'000'000'000},
                                         Row{253'402'300'799, 9'223'372'036'000'000'000},  // 9999-12-31T23:59:59Z
                                         Row{std::numeric_limits<std::int64_t>::max(), 9'223'372'036'000'000'000},
                                         Row{std::numeric_limits<std::int64_t>::min(), -9'223'372'036'000'000'000}));

}  // namespace
}  // namespace berth::time
