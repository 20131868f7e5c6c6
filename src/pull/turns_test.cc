#include "pull/turns.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace berth::pull {
namespace {

constexpr std::chrono::seconds kMinute(60);

class TurnsTest : public ::testing::Test {
 protected:
  std::shared_ptr<Turns::Turn> Begun() {
    auto turn = std::make_shared<Turns::Turn>(turns_, [this](const std::string& why) { told_ = why; });
    EXPECT_TRUE(turn->Begin({}));
    return turn;
  }
  // Somebody who cannot wait any more: sees whether there is room.
  bool Room() {
    std::stop_source stop;
    stop.request_stop();
    Turns::Turn turn(turns_);
    return turn.Begin(task::Context(stop.get_token())).has_value();
  }
  std::stop_token Stopped() {
    stop_.request_stop();
    return stop_.get_token();
  }

  std::stop_source stop_;
  std::string told_;
  Turns turns_{1};
};

TEST_F(TurnsTest, OneAtATimeUntilItEnds) {
  auto turn = Begun();
  EXPECT_FALSE(Room());
  EXPECT_EQ(turns_.at_work(), 1u);
  EXPECT_EQ(turns_.waiting(), 0u) << "who gave up waits no more";
  turn->End();
  turn->End();
  EXPECT_TRUE(Room());
  EXPECT_EQ(turns_.at_work(), 0u);
}

TEST_F(TurnsTest, AWaitOnItsOwnThreadMakesRoom) {
  auto turn = Begun();
  turn->GiveBack(kMinute, "for a minute");
  EXPECT_EQ(told_, "for a minute");
  EXPECT_TRUE(Room());
  ASSERT_TRUE(turn->TakeAgain({}));
  EXPECT_EQ(told_, "");
  EXPECT_FALSE(Room());
}

TEST_F(TurnsTest, WhoComesBackGoesBeforeThoseWhoCameLater) {
  auto first = Begun();
  first->GiveBack(kMinute, "");
  auto second = Begun();
  std::vector<std::string> order;
  std::jthread late([&, third = std::make_shared<Turns::Turn>(turns_)] {
    EXPECT_TRUE(third->Begin({}));
    order.push_back("third");
    third->End();
  });
  while (turns_.waiting() < 1) std::this_thread::yield();
  std::jthread back([&] {
    EXPECT_TRUE(first->TakeAgain({}));
    order.push_back("first");
    first->End();
  });
  while (turns_.waiting() < 2) std::this_thread::yield();
  second->End();
  back.join();
  late.join();
  EXPECT_EQ(order, (std::vector<std::string>{"first", "third"}));
}

TEST_F(TurnsTest, AWaitThatIsCancelledDoesNotWaitForItsTurn) {
  auto turn = Begun();
  turn->GiveBack(kMinute, "");
  auto other = Begun();
  EXPECT_TRUE(turn->TakeAgain(task::Context(Stopped())).error().cancelled());
  turn->End();
  EXPECT_EQ(turns_.waiting(), 0u);
}

TEST_F(TurnsTest, ItIsAtWorkWhileAnyOfItsPiecesIs) {
  auto turn = Begun();
  Turns::Work one(turns_), two(turns_);
  one.Join(turn);
  two.Join(turn);
  one.GiveBack(kMinute, "one");
  EXPECT_FALSE(Room()) << "its own thread moves";
  turn->Await(2);
  EXPECT_FALSE(Room()) << "and so does the other piece";
  two.GiveBack(kMinute, "two");
  EXPECT_EQ(told_, "two");
  EXPECT_TRUE(Room());
  ASSERT_TRUE(one.TakeAgain({}));
  EXPECT_FALSE(Room());
  ASSERT_TRUE(two.TakeAgain({}));
  EXPECT_EQ(told_, "");
  ASSERT_TRUE(turn->GoOn({}));
  turn->End();
}

TEST_F(TurnsTest, APieceGoesOnForWhoeverIsAtWork) {
  auto first = Begun();
  Turns::Work shared(turns_), own(turns_);
  shared.Join(first);
  first->Await(1);
  shared.GiveBack(kMinute, "shared");
  auto second = Begun();  // wants the same piece, and has another one
  shared.Join(second);
  EXPECT_EQ(told_, "shared") << "a late one learns of it";
  own.Join(second);
  second->Await(2);
  EXPECT_FALSE(Room());
  ASSERT_TRUE(shared.TakeAgain({})) << "the second is at work, though it is the first that began it";
  EXPECT_EQ(turns_.waiting(), 1u) << "the first";
  second->End();
  ASSERT_TRUE(first->GoOn({}));
  first->End();
}

TEST_F(TurnsTest, APieceWaitsForATurnAndCanBeCancelled) {
  auto turn = Begun();
  Turns::Work work(turns_);
  work.Join(turn);
  turn->Await(1);
  work.GiveBack(kMinute, "");
  auto other = Begun();
  EXPECT_TRUE(work.TakeAgain(task::Context(Stopped())).error().cancelled());
  std::jthread end([&] { other->End(); });
  EXPECT_TRUE(turn->GoOn({}));
}

TEST_F(TurnsTest, WhoOthersMayWaitForGoesOnAtOnce) {
  auto turn = Begun();
  turn->GiveBack(kMinute, "for a minute");
  auto other = Begun();
  turn->GoOnAtOnce();
  EXPECT_EQ(turns_.at_work(), 2u);
  EXPECT_EQ(told_, "");
  other->End();
  EXPECT_FALSE(Room()) << "it counts";
  turn->End();
  EXPECT_TRUE(Room());
}

TEST_F(TurnsTest, APieceOthersMayWaitForNeedsNoTurn) {
  auto turn = Begun();
  Turns::Work piece(turns_);
  piece.Join(turn);
  turn->Await(1);
  piece.GiveBack(kMinute, "for a minute");
  auto other = Begun();
  piece.GoOnAtOnce();
  EXPECT_EQ(turns_.at_work(), 1u);
  EXPECT_EQ(turns_.waiting(), 1u) << "its turn still comes in its order";
  other->End();
  EXPECT_EQ(turns_.at_work(), 1u);
  ASSERT_TRUE(turn->GoOn({}));
}

TEST_F(TurnsTest, AnEndedOneIsInNobodysWay) {
  auto turn = Begun();
  Turns::Work work(turns_);
  work.Join(turn);
  turn->Await(1);
  work.GiveBack(kMinute, "");
  turn->End();
  auto other = Begun();
  work.Join(other);
  other->Await(1);
  ASSERT_TRUE(work.TakeAgain({}));
  EXPECT_EQ(turns_.at_work(), 1u);
  EXPECT_EQ(turns_.waiting(), 0u);
}

}  // namespace
}  // namespace berth::pull
