#include "layer/window_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <random>
#include <thread>
#include <vector>

namespace berth::layer {
namespace {

const task::Context kForever;

task::Context Now() { return kForever.WithTimeout(std::chrono::nanoseconds(0)); }
bool Fits(WindowBudget::Share& share, std::uint64_t units) { return share.Grow(Now(), units).has_value(); }

struct Step { int who; std::uint64_t units; bool given; };
struct Story { const char* name; std::uint64_t units, most; std::vector<Step> steps; };
class Stories : public ::testing::TestWithParam<Story> {};

// Nobody waits: what is not given at once is refused.
TEST_P(Stories, AreGivenWhatIsSafe) {
  WindowBudget budget(GetParam().units, GetParam().most);
  std::deque<WindowBudget::Share> shares;
  for (int i = 0; i < 8; ++i) shares.emplace_back(budget);
  for (std::size_t i = 0; i < GetParam().steps.size(); ++i) {
    const Step& step = GetParam().steps[i];
    auto& share = shares[static_cast<std::size_t>(step.who)];
    if (step.units == 0) share.Release();
    else EXPECT_EQ(Fits(share, step.units), step.given) << "step " << i;
  }
  for (auto& share : shares) share.Release();
  EXPECT_EQ(budget.free(), GetParam().units);
  EXPECT_EQ(budget.waiting(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Budgets, Stories, ::testing::Values(
    Story{"two_of_the_largest", 256, 128, {{0, 128, true}, {1, 128, true}, {2, 1, false}, {0, 0, true}, {2, 1, true}}},
    Story{"many_small_ones", 256, 128, {{0, 8, true}, {1, 8, true}, {2, 8, true}, {3, 8, true}, {4, 8, true}, {5, 8, true}, {6, 8, true}, {7, 8, true}}},
    Story{"the_fourth_could_lock_all_up", 256, 128, {{0, 64, true}, {1, 64, true}, {2, 64, true}, {3, 64, false}, {0, 128, true}, {3, 1, false}}},
    Story{"three_grow_one_after_the_other", 256, 128, {{0, 64, true}, {1, 64, true}, {2, 64, true}, {0, 128, true}, {1, 65, false},
                                                       {0, 0, true}, {1, 128, true}, {2, 128, true}}},
    Story{"a_budget_for_one", 128, 128, {{0, 1, true}, {1, 1, false}, {0, 128, true}, {0, 0, true}, {1, 128, true}}},
    Story{"less_is_no_change", 256, 128, {{0, 64, true}, {0, 10, true}, {1, 128, true}, {2, 65, false}, {2, 64, true}}}),
  [](const auto& i) { return i.param.name; });

TEST(WindowBudget, WhoHoldsSomeGoesBeforeNewcomers) {
  WindowBudget budget(190, 100);
  WindowBudget::Share first(budget), second(budget), third(budget), fourth(budget);
  ASSERT_TRUE(first.Grow(kForever, 80) && second.Grow(kForever, 100));  // 10 are free
  std::atomic<int> turn = 0;
  int grown = 0, came = 0;
  std::jthread grows([&] { EXPECT_TRUE(first.Grow(kForever, 100)); grown = ++turn; first.Release(); });
  while (budget.waiting() < 1) std::this_thread::yield();
  EXPECT_FALSE(Fits(third, 5)) << "there is room, but somebody who holds some waits";
  std::jthread comes([&] { EXPECT_TRUE(third.Grow(kForever, 95)); came = ++turn; third.Release(); });
  while (budget.waiting() < 2) std::this_thread::yield();
  second.Release();
  grows.join();
  comes.join();
  EXPECT_LT(grown, came);
}

TEST(WindowBudget, WhoIsStoppedKeepsWhatItHas) {
  WindowBudget budget(100, 100);
  WindowBudget::Share share(budget), other(budget);
  ASSERT_TRUE(share.Grow(kForever, 50));
  std::stop_source stop;
  std::jthread waits([&] {
    const auto refused = other.Grow(task::Context(stop.get_token()), 60);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason(), Reason::kCanceled);
  });
  while (budget.waiting() < 1) std::this_thread::yield();
  stop.request_stop();
  waits.join();
  EXPECT_EQ(other.units(), 0u);
  EXPECT_EQ(share.units(), 50u);
  EXPECT_EQ(budget.waiting(), 0u);
  EXPECT_EQ(Fits(other, 60), false);
}

// Whatever they want in whatever order, all come to their end.
TEST(WindowBudget, NobodyWaitsForEver) {
  for (const std::uint64_t units : {100u, 150u, 250u}) {
    WindowBudget budget(units, 100);
    std::atomic<std::uint64_t> held = 0, done = 0;
    {
      std::vector<std::jthread> layers;
      for (unsigned seed = 0; seed < 8; ++seed)
        layers.emplace_back([&, seed] {
          std::mt19937 random(seed);
          for (int i = 0; i < 200; ++i) {
            WindowBudget::Share share(budget);
            for (std::uint64_t want = 0; want < 100;) {
              want = std::min<std::uint64_t>(100, want + 1 + random() % 60);
              const std::uint64_t before = share.units();
              ASSERT_TRUE(share.Grow(kForever, want));
              ASSERT_LE(held += want - before, units);
              if (random() % 4 == 0) break;
              std::this_thread::yield();
            }
            held -= share.units();
          }
          ++done;
        });
    }
    EXPECT_EQ(done, 8u);
    EXPECT_EQ(budget.free(), units);
  }
}

}  // namespace
}  // namespace berth::layer
