#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "task/context.h"
#include "task/limiter.h"
#include "time/testing/manual_clock.h"

namespace berth::task {
namespace {

using time::testing::AutoAdvance;
using time::testing::ManualClock;

TEST(Context, StopAndDeadlineHaveTheirOwnReasons) {
  ManualClock clock;
  std::stop_source stop;
  Context ctx = Context(stop.get_token(), clock).WithTimeout(std::chrono::seconds(5));
  EXPECT_TRUE(ctx.Check());
  clock.Advance(std::chrono::seconds(5));
  EXPECT_EQ(ctx.Check().error().reason(), Reason::kTimeout);
  stop.request_stop();
  EXPECT_TRUE(ctx.Check().error().cancelled());
}

TEST(Context, TheEarlierDeadlineCounts) {
  ManualClock clock;
  Context ctx = Context({}, clock).WithTimeout(std::chrono::seconds(2)).WithTimeout(std::chrono::seconds(9));
  EXPECT_EQ(*ctx.deadline() - clock.SteadyNow(), std::chrono::seconds(2));
}

TEST(Context, SleepEndsAtTheDeadline) {
  ManualClock clock(AutoAdvance::kYes);
  Context ctx = Context({}, clock).WithTimeout(std::chrono::seconds(2));
  EXPECT_TRUE(ctx.Sleep(std::chrono::seconds(1)));
  EXPECT_EQ(ctx.Sleep(std::chrono::seconds(5)).error().reason(), Reason::kTimeout);
  EXPECT_EQ(clock.sleeps().back(), std::chrono::seconds(1));
}

TEST(Limiter, NeverMoreThanItsSlots) {
  Limiter limiter(3);
  std::atomic<int> inside{0}, most{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        auto permit = limiter.Acquire(Context());
        ASSERT_TRUE(permit);
        const int now = ++inside;
        int seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {}
        --inside;
      }
    });
  threads.clear();
  EXPECT_LE(most, 3);
  EXPECT_EQ(limiter.free(), 3u);
}

TEST(Limiter, AStoppedWaiterLeavesTheQueue) {
  Limiter limiter(1);
  auto held = *limiter.Acquire(Context());
  std::stop_source stop;
  std::jthread waiter([&] { EXPECT_TRUE(limiter.Acquire(Context(stop.get_token())).error().cancelled()); });
  while (limiter.waiting() == 0) std::this_thread::yield();
  stop.request_stop();
  waiter.join();
  EXPECT_EQ(limiter.waiting(), 0u);
  held.Release();
  EXPECT_TRUE(limiter.Acquire(Context()));
  EXPECT_EQ(limiter.free(), 1u);
}

}  // namespace
}  // namespace berth::task
