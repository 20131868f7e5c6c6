#include "task/single_flight.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <latch>
#include <memory>
#include <system_error>
#include <vector>

namespace berth::task {
namespace {

using Flights = SingleFlight<std::string, int>;

TEST(SingleFlight, ManyAskOnceDone) {
  Flights flights;
  std::atomic<int> runs{0}, starters{0};
  std::latch all_joined(16), gate(1);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 16; ++i)
    threads.emplace_back([&] {
      auto ticket = flights.Join("k", {}, [&](const Context&) -> Result<int> { gate.wait(); return ++runs; });
      starters += ticket.started() ? 1 : 0;
      all_joined.count_down();
      EXPECT_EQ(*ticket.Wait({}), 1);
    });
  all_joined.wait();
  gate.count_down();
  threads.clear();
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(starters, 1);
  EXPECT_EQ(flights.size(), 0u);
}

TEST(SingleFlight, ALaterCallerStartsAnew) {
  Flights flights;
  int runs = 0;
  const auto work = [&](const Context&) -> Result<int> { return ++runs; };
  EXPECT_EQ(*flights.Join("k", {}, work).Wait({}), 1);
  EXPECT_EQ(*flights.Join("k", {}, work).Wait({}), 2);
}

TEST(SingleFlight, OneWhoLeavesFailsNobody) {
  Flights flights;
  std::latch gate(1);
  const auto work = [&](const Context& ctx) -> Result<int> {
    gate.wait();
    RETURN_IF_ERROR(ctx.Check());
    return 7;
  };
  auto stays = flights.Join("k", {}, work);
  std::stop_source stop;
  {
    auto leaves = flights.Join("k", {}, work);
    stop.request_stop();
    EXPECT_TRUE(leaves.Wait(Context(stop.get_token())).error().cancelled());
  }
  gate.count_down();
  EXPECT_EQ(*stays.Wait({}), 7);
}

TEST(SingleFlight, TheLastWhoLeavesStopsTheWork) {
  std::atomic<bool> stopped{false};
  {
    Flights flights;
    std::latch running(1);
    {
      auto ticket = flights.Join("k", {}, [&](const Context& ctx) -> Result<int> {
        running.count_down();
        std::mutex mutex;
        std::condition_variable_any wake;
        std::unique_lock lock(mutex);
        wake.wait(lock, ctx.stop(), [] { return false; });
        stopped = true;
        return Error(Reason::kCanceled, "stopped");
      });
      running.wait();
    }
  }
  EXPECT_TRUE(stopped) << "the destructor waits for it";
}

// Work under "k" that everybody has left, and that has not ended yet.
struct Stopping {
  explicit Stopping(Flights& flights) {
    auto leaves = std::make_unique<Flights::Ticket>(flights.Join("k", {}, [this](const Context& ctx) -> Result<int> {
      running.count_down();
      may_end.wait();
      ended = true;
      return ctx.Check().error();
    }));
    running.wait();
    leaves.reset();
  }
  std::latch running{1}, may_end{1};
  std::atomic<bool> ended{false};
};

TEST(SingleFlight, WhoComesWhileTheWorkIsBeingStoppedStartsAnewAfterItsEnd) {
  Flights flights;
  Stopping old(flights);
  auto next = flights.Join("k", {}, [&](const Context& ctx) -> Result<int> {
    RETURN_IF_ERROR(ctx.Check());
    return old.ended ? 2 : -1;
  });
  EXPECT_TRUE(next.started());
  old.may_end.count_down();
  EXPECT_EQ(*next.Wait({}), 2);
}

TEST(SingleFlight, WaitAnyReturnsTheFirstThatEnded) {
  Flights flights;
  std::latch gate(1);
  std::vector<Flights::Ticket> tickets;
  tickets.push_back(flights.Join("slow", {}, [&](const Context&) -> Result<int> { gate.wait(); return 1; }));
  tickets.push_back(flights.Join("fast", {}, [&](const Context&) -> Result<int> { return 2; }));
  EXPECT_EQ(*Flights::WaitAny({}, tickets, {0, 1}), 1u);
  EXPECT_EQ(*tickets[1].Wait({}), 2);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(Flights::WaitAny(Context(stop.get_token()), tickets, {0}).error().cancelled());
  gate.count_down();
  EXPECT_EQ(*Flights::WaitAny({}, tickets, {0}), 0u);
}

TEST(SingleFlight, ErrorsReachEveryWaiter) {
  Flights flights;
  std::latch gate(1);
  const auto work = [&](const Context&) -> Result<int> { gate.wait(); return Error(Reason::kDenied, "no"); };
  auto a = flights.Join("k", {}, work);
  auto b = flights.Join("k", {}, work);
  gate.count_down();
  EXPECT_EQ(a.Wait({}).error().reason(), Reason::kDenied);
  EXPECT_EQ(b.Wait({}).error().reason(), Reason::kDenied);
}

// E-16: as where the service's limit of tasks is reached.
class NoThreads : public ::testing::Test {
 protected:
  bool none_ = false;
  Flights flights_{"test", [this](std::function<void()> body) {
                     if (none_) throw std::system_error(EAGAIN, std::generic_category());
                     SpawnDetached(std::move(body));
                   }};
};

TEST_F(NoThreads, WhoAsksIsToldAndTheKeyStaysFree) {
  const auto held = std::make_shared<int>(1);
  const auto work = [held](const Context&) -> Result<int> { return *held; };
  none_ = true;
  {
    auto ticket = flights_.Join("k", {}, work);
    EXPECT_TRUE(ticket.started());
    EXPECT_TRUE(ticket.refused());
    EXPECT_EQ(flights_.size(), 0u);
    EXPECT_EQ(held.use_count(), 2) << "ours and work's";
    const auto answer = ticket.Wait({});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().reason(), Reason::kUnavailable);
    EXPECT_NE(answer.error().next_step().find("TasksMax"), std::string::npos);
    none_ = false;
    auto next = flights_.Join("k", {}, work);
    EXPECT_FALSE(next.refused());
    EXPECT_EQ(*next.Wait({}), 1) << "not joined to what never ran";
    none_ = true;
  }
  EXPECT_TRUE(flights_.Join("k", {}, work).refused());
}  // and the destructor waits for nobody

TEST_F(NoThreads, WorkThatIsBeingStoppedKeepsItsKey) {
  Stopping old(flights_);
  const auto work = [&](const Context&) -> Result<int> { return old.ended ? 2 : -1; };
  none_ = true;
  EXPECT_TRUE(flights_.Join("k", {}, work).refused());
  EXPECT_EQ(flights_.size(), 1u);
  none_ = false;
  auto next = flights_.Join("k", {}, work);
  old.may_end.count_down();
  EXPECT_EQ(*next.Wait({}), 2) << "after the old one";
}

}  // namespace
}  // namespace berth::task
