// kubelet-images 5.2, 5.3, 5.5. Nothing here sleeps: a pull holds its slot until the test lets it go, and the test waits
// until the queue says that it is as it should be.
#include "policy/pull_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <thread>

namespace berth::policy {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

class Bench {
 public:
  explicit Bench(PullQueue::Options options) : queue(options) {}
  ~Bench() {
    for (auto& [name, pull] : pulls_) pull->thread.request_stop();
    LetGoOfAll();
  }

  // A thread that enters and holds its slot until LetGo(name).
  void Begin(const std::string& name, const std::string& pod) {
    const auto before = queue.counters().entered;
    auto& pull = *pulls_.emplace(name, std::make_unique<Pull>()).first->second;
    pull.thread = std::jthread([this, name, pod, &pull](std::stop_token stop) {
      auto slot = queue.Enter(task::Context(stop), {pod, name});
      std::unique_lock lock(mutex_);
      (slot ? running : failed).push_back(name);
      changed_.notify_all();
      if (slot) changed_.wait(lock, [&] { return pull.let_go; });
      std::erase(running, name);
      if (slot) slot->Release();
      pull.done = true;
      changed_.notify_all();
    });
    while (queue.counters().entered == before) std::this_thread::yield();
  }
  void LetGo(const std::string& name) {
    std::unique_lock lock(mutex_);
    auto& pull = *pulls_.at(name);
    pull.let_go = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return pull.done; });
  }
  void Cancel(const std::string& name) {
    auto& pull = *pulls_.at(name);
    pull.thread.request_stop();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return pull.done; });
  }
  std::vector<std::string> Running(std::size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return running.size() == n; });
    return running;
  }

  PullQueue queue;
  std::vector<std::string> running, failed;  // guarded by mutex_

 private:
  struct Pull {
    bool let_go = false, done = false;
    std::jthread thread;
  };
  void LetGoOfAll() {
    {
      std::lock_guard lock(mutex_);
      for (auto& [name, pull] : pulls_) pull->let_go = true;
    }
    changed_.notify_all();
    pulls_.clear();
  }
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, std::unique_ptr<Pull>> pulls_;
};

TEST(PullQueue, SerialInOrderOfArrival) {
  Bench b({});
  for (const char* name : {"a", "b", "c"}) b.Begin(name, name);
  EXPECT_THAT(b.Running(1), ElementsAre("a"));
  EXPECT_EQ(b.queue.counters().queued, 2u);
  b.LetGo("a");
  EXPECT_THAT(b.Running(1), ElementsAre("b"));
  b.LetGo("b");
  EXPECT_THAT(b.Running(1), ElementsAre("c"));
  b.LetGo("c");
  EXPECT_EQ(b.queue.counters().peak_running, 1u);
  EXPECT_EQ(b.queue.counters().granted, 3u);
}

TEST(PullQueue, SerialQueuesTenAndBlocksTheRest) {
  Bench b({});
  for (int i = 0; i < 14; ++i) b.Begin("p" + std::to_string(i), "pod" + std::to_string(i));
  b.Running(1);
  const auto c = b.queue.counters();
  EXPECT_EQ(c.running, 1u);
  EXPECT_EQ(c.queued, 10u);
  EXPECT_EQ(c.blocked, 3u);
  const auto items = b.queue.Snapshot();
  ASSERT_EQ(items.size(), 14u);
  for (std::size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(items[i].request.image, "p" + std::to_string(i));
    EXPECT_EQ(items[i].stage, i == 0 ? PullQueue::Stage::kRunning : i <= 10 ? PullQueue::Stage::kQueued : PullQueue::Stage::kBlocked) << i;
  }
}

TEST(PullQueue, ParallelUpToTheLimit) {
  Bench b({.serial = false, .limit = 5});
  for (const char* name : {"a", "b", "c", "d", "e", "f", "g"}) b.Begin(name, name);
  EXPECT_THAT(b.Running(5), UnorderedElementsAre("a", "b", "c", "d", "e"));
  EXPECT_EQ(b.queue.counters().queued, 2u);
  b.LetGo("c");
  EXPECT_THAT(b.Running(5), UnorderedElementsAre("a", "b", "d", "e", "f"));
  b.LetGo("a");
  EXPECT_THAT(b.Running(5), UnorderedElementsAre("b", "d", "e", "f", "g"));
  EXPECT_EQ(b.queue.counters().peak_running, 5u);
  EXPECT_EQ(b.queue.counters().granted, 7u);
}

class Unlimited : public testing::TestWithParam<std::optional<std::int64_t>> {};
TEST_P(Unlimited, AllAtOnce) {
  Bench b({.serial = false, .limit = GetParam()});
  for (int i = 0; i < 40; ++i) b.Begin("p" + std::to_string(i), "pod" + std::to_string(i));
  EXPECT_EQ(b.Running(40).size(), 40u);
}
INSTANTIATE_TEST_SUITE_P(Table, Unlimited, testing::Values(std::nullopt, 0, -1));

TEST(PullQueue, OnePullForAPodAtATimeWithoutHoldingUpOthers) {
  Bench b({.serial = false, .limit = 3});
  b.Begin("a1", "a");
  b.Begin("a2", "a");
  b.Begin("b1", "b");
  EXPECT_THAT(b.Running(2), UnorderedElementsAre("a1", "b1"));
  EXPECT_EQ(b.queue.counters().queued, 1u);
  b.LetGo("a1");
  EXPECT_THAT(b.Running(2), UnorderedElementsAre("a2", "b1"));
}

TEST(PullQueue, ACancelledRequestIsWithdrawn) {
  Bench b({});
  for (const char* name : {"a", "b", "c"}) b.Begin(name, name);
  b.Running(1);
  b.Cancel("b");
  EXPECT_THAT(b.failed, ElementsAre("b"));
  EXPECT_EQ(b.queue.counters().withdrawn, 1u);
  EXPECT_EQ(b.queue.counters().queued, 1u);
  b.LetGo("a");
  EXPECT_THAT(b.Running(1), ElementsAre("c"));
}

TEST(PullQueue, CancelledBeforeEnteringNeverEnters) {
  PullQueue queue({});
  std::stop_source stop;
  stop.request_stop();
  const auto slot = queue.Enter(task::Context(stop.get_token()), {"pod", "x"});
  ASSERT_FALSE(slot);
  EXPECT_TRUE(slot.error().cancelled());
  EXPECT_EQ(queue.counters().entered, 0u);
}

TEST(PullQueue, ADeadlineEndsTheWait) {
  PullQueue queue({});
  const auto held = queue.Enter(task::Context(), {"a", "x"});
  const auto late = queue.Enter(task::Context().WithTimeout(std::chrono::microseconds(50)), {"b", "x"});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().reason(), Reason::kTimeout);
}

}  // namespace
}  // namespace berth::policy
