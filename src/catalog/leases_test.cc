#include "catalog/leases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace berth::catalog {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const digest::Digest kA = digest::Digest::Of(bytes::AsView("a"));
const digest::Digest kB = digest::Digest::Of(bytes::AsView("b"));

TEST(Leases, WhatIsLeasedCannotBeClaimed) {
  Leases leases;
  auto lease = *leases.Acquire({}, {kA});
  EXPECT_THAT(leases.ClaimFree({kA, kB}).objects(), ElementsAre(kB));
  auto second = *leases.Acquire({}, {kA});
  lease.Release();
  EXPECT_THAT(leases.ClaimFree({kA}).objects(), IsEmpty()) << "two leases, one given back";
  second.Release();
  EXPECT_THAT(leases.ClaimFree({kA}).objects(), ElementsAre(kA));
  EXPECT_EQ(leases.size(), 0u);
}

TEST(Leases, TwoRemovalsNeverShareAnObject) {
  Leases leases;
  const auto first = leases.ClaimFree({kA});
  EXPECT_THAT(leases.ClaimFree({kA}).objects(), IsEmpty());
  EXPECT_TRUE(leases.claimed(kA));
  EXPECT_FALSE(leases.claimed(kB));
}

TEST(Leases, APullWaitsForTheRemovalToEnd) {
  Leases leases;
  auto claim = leases.ClaimFree({kA});
  bool gone = false;
  std::jthread pull([&] {
    auto lease = leases.Acquire({}, {kA, kB});
    EXPECT_TRUE(lease);
    EXPECT_TRUE(gone) << "the lease was given while the object was being removed";
  });
  gone = true;
  claim.Release();
}

TEST(Leases, AWaitingPullCanBeStopped) {
  Leases leases;
  const auto claim = leases.ClaimFree({kA});
  std::stop_source stop;
  std::jthread pull([&] { EXPECT_TRUE(leases.Acquire(task::Context(stop.get_token()), {kA}).error().cancelled()); });
  stop.request_stop();
  pull.join();
  EXPECT_EQ(leases.size(), 0u);
}

}  // namespace
}  // namespace berth::catalog
