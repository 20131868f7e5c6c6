#include "registry/token_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>

#include "time/testing/manual_clock.h"

namespace berth::registry {
namespace {

using std::chrono::seconds;

Token Make(std::string_view text, time::Duration lifetime) { return {secret::Secret(text), lifetime}; }

class TokenCacheTest : public ::testing::Test {
 protected:
  std::string Get(const TokenKey& key, time::Duration lifetime, const SharedToken& stale = nullptr) {
    auto token = cache_.Get(ctx_, key, stale, [&] { return Make("t" + std::to_string(++fetches_), lifetime); });
    last_ = *token;
    return std::string(last_->Reveal());
  }
  time::testing::ManualClock clock_;
  TokenCache cache_{clock_, 3};
  task::Context ctx_{std::stop_token(), clock_};
  int fetches_ = 0;
  SharedToken last_;
};

struct LifeRow {
  const char* name;
  time::Duration announced, lives;
};
class Lifetime : public TokenCacheTest, public ::testing::WithParamInterface<LifeRow> {};

TEST_P(Lifetime, C57ClampedAndTenSecondsShort) {
  EXPECT_EQ(Get({"o", "r", "s", {}, ""}, GetParam().announced), "t1");
  clock_.Advance(GetParam().lives - std::chrono::milliseconds(1));
  clock_.JumpWall(std::chrono::hours(1000));  // C-66: of no importance
  EXPECT_EQ(Get({"o", "r", "s", {}, ""}, GetParam().announced), "t1");
  clock_.Advance(std::chrono::milliseconds(1));
  EXPECT_EQ(Get({"o", "r", "s", {}, ""}, GetParam().announced), "t2");
}
INSTANTIATE_TEST_SUITE_P(Rows, Lifetime,
                         ::testing::Values(LifeRow{"zero", seconds(0), seconds(50)}, LifeRow{"negative", seconds(-5), seconds(50)},
                                           LifeRow{"usual", seconds(300), seconds(290)}, LifeRow{"very_long", seconds(1000000), seconds(3590)}),
                         [](const auto& row) { return row.param.name; });

TEST_F(TokenCacheTest, EveryPartOfTheKeyCounts) {
  const TokenKey keys[] = {{"o", "r", "s", {"a"}, ""}, {"o2", "r", "s", {"a"}, ""}, {"o", "r2", "s", {"a"}, ""},
                           {"o", "r", "s2", {"a"}, ""}, {"o", "r", "s", {"b"}, ""}, {"o", "r", "s", {"a"}, "c"}};
  TokenCache wide(clock_);
  int n = 0;
  for (int round = 0; round < 2; ++round)
    for (const TokenKey& key : keys) ASSERT_TRUE(wide.Get(ctx_, key, nullptr, [&] { ++n; return Make("t", seconds(300)); }));
  EXPECT_EQ(n, 6);
}

TEST_F(TokenCacheTest, ARefusedTokenIsNotGivenAgain) {
  const TokenKey key{"o", "r", "s", {}, ""};
  EXPECT_EQ(Get(key, seconds(300)), "t1");
  const SharedToken first = last_;
  EXPECT_EQ(Get(key, seconds(300), first), "t2");
  EXPECT_EQ(Get(key, seconds(300), first), "t2");
  EXPECT_EQ(Get(key, seconds(300)), "t2");
}

TEST_F(TokenCacheTest, ADroppedTokenIsNotGivenAgain) {
  const TokenKey key{"o", "r", "s", {}, ""}, other{"o", "r", "s2", {}, ""};
  EXPECT_EQ(Get(other, seconds(300)), "t1");
  EXPECT_EQ(Get(key, seconds(300)), "t2");
  const SharedToken dropped = last_;
  cache_.Drop(dropped);
  EXPECT_EQ(dropped->Reveal(), "t2");
  EXPECT_EQ(Get(key, seconds(300)), "t3");
  cache_.Drop(dropped);  // of old: changes nothing
  EXPECT_EQ(Get(key, seconds(300)), "t3");
  EXPECT_EQ(Get(other, seconds(300)), "t1");
}

TEST_F(TokenCacheTest, LeastRecentlyUsedGoes) {
  const auto key = [](const char* realm) { return TokenKey{"o", realm, "s", {}, ""}; };
  for (const char* realm : {"a", "b", "c"}) Get(key(realm), seconds(300));
  Get(key("a"), seconds(300));
  Get(key("d"), seconds(300));  // b goes
  EXPECT_EQ(fetches_, 4);
  Get(key("a"), seconds(300));
  Get(key("c"), seconds(300));
  EXPECT_EQ(fetches_, 4);
  Get(key("b"), seconds(300));
  EXPECT_EQ(fetches_, 5);
}

TEST_F(TokenCacheTest, LargeTokensAreFewer) {
  TokenCache wide(clock_);
  int fetches = 0;
  const auto get = [&](int realm) {
    const auto token = wide.Get(ctx_, TokenKey{"o", std::to_string(realm), "s", {}, ""}, nullptr, [&] {
      ++fetches;
      return Make(std::string(64u << 10, 't'), seconds(300));
    });
    EXPECT_TRUE(token);
  };
  for (int realm = 0; realm < 65; ++realm) get(realm);  // 64 are 4 MiB: the first goes
  get(64);
  get(1);
  EXPECT_EQ(fetches, 65);
  get(0);
  EXPECT_EQ(fetches, 66);
}

TEST_F(TokenCacheTest, ManyAskersOneFetch) {
  const TokenKey key{"o", "r", "s", {}, ""};
  std::latch inside(1), go(1);
  std::atomic<int> fetches = 0, good = 0;
  {
    std::vector<std::jthread> threads;
    const auto ask = [&] {
      const auto token = cache_.Get(ctx_, key, nullptr, [&] {
        if (++fetches == 1) inside.count_down();
        go.wait();
        return Make("t", seconds(300));
      });
      good += token && (*token)->Reveal() == "t";
    };
    threads.emplace_back(ask);
    inside.wait();
    for (int i = 0; i < 7; ++i) threads.emplace_back(ask);
    go.count_down();
  }
  EXPECT_EQ(fetches, 1);
  EXPECT_EQ(good, 8);
}

TEST_F(TokenCacheTest, AFailureIsSharedButNotKept) {
  const TokenKey key{"o", "r", "s", {}, ""};
  const auto failed = cache_.Get(ctx_, key, nullptr, [] { return Result<Token>(Error(Reason::kTokenError, "no")); });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().reason(), Reason::kTokenError);
  EXPECT_EQ(Get(key, seconds(300)), "t1");
}

// A registry may name another service each time: what brought no token takes no room, and no token's place.
struct FailRow {
  const char* name;
  Reason reason;
  int waiters;
};
class Failing : public TokenCacheTest, public ::testing::WithParamInterface<FailRow> {};

TEST_P(Failing, LeavesNothing) {
  const FailRow& row = GetParam();
  const auto key = [](const std::string& service) { return TokenKey{"o", "r", service, {}, ""}; };
  Get(key("a"), seconds(300));
  Get(key("b"), seconds(300));
  for (int i = 0; i < 5; ++i) {
    const TokenKey failing = key("failing" + std::to_string(i));
    std::latch inside(1), go(1);
    std::vector<std::jthread> threads;
    const auto ask = [&](bool first) {
      EXPECT_FALSE(cache_.Get(ctx_, failing, nullptr, [&]() -> Result<Token> {
        if (first) inside.count_down();
        go.wait();
        return Error(row.reason, "no");
      }));
    };
    threads.emplace_back(ask, true);
    inside.wait();
    for (int w = 0; w < row.waiters; ++w) threads.emplace_back(ask, false);
    go.count_down();
  }
  Get(key("c"), seconds(300));
  for (const char* service : {"a", "b", "c"}) Get(key(service), seconds(300));
  EXPECT_EQ(fetches_, 3);
}
INSTANTIATE_TEST_SUITE_P(Rows, Failing,
                         ::testing::Values(FailRow{"alone", Reason::kTokenError, 0}, FailRow{"canceled", Reason::kCanceled, 0},
                                           FailRow{"with_waiters", Reason::kTokenError, 3},
                                           FailRow{"canceled_with_waiters", Reason::kCanceled, 3}),
                         [](const auto& row) { return row.param.name; });

TEST_F(TokenCacheTest, ACanceledFetchHandsOver) {
  const TokenKey key{"o", "r", "s", {}, ""};
  std::latch inside(1), go(1);
  std::jthread first([&] {
    const auto token = cache_.Get(ctx_, key, nullptr, [&] {
      inside.count_down();
      go.wait();
      return Result<Token>(Error(Reason::kCanceled, "stopped"));
    });
    EXPECT_FALSE(token);
  });
  inside.wait();
  std::jthread second([&] {
    const auto token = cache_.Get(ctx_, key, nullptr, [&] { return Make("mine", seconds(300)); });
    ASSERT_TRUE(token);
    EXPECT_EQ((*token)->Reveal(), "mine");
  });
  go.count_down();
}

TEST_F(TokenCacheTest, AWaiterMayLeave) {
  const TokenKey key{"o", "r", "s", {}, ""};
  std::latch inside(1), go(1);
  std::jthread first([&] {
    (void)cache_.Get(ctx_, key, nullptr, [&] {
      inside.count_down();
      go.wait();
      return Make("t", seconds(300));
    });
  });
  inside.wait();
  std::stop_source stop;
  std::jthread waiter([&] {
    const auto token = cache_.Get(task::Context(stop.get_token(), clock_), key, nullptr, [] { return Make("x", seconds(1)); });
    ASSERT_FALSE(token);
    EXPECT_TRUE(token.error().cancelled());
  });
  stop.request_stop();
  waiter.join();
  go.count_down();
}

TEST_F(TokenCacheTest, AWaiterLeavesAtItsDeadline) {
  const TokenKey key{"o", "r", "s", {}, ""};
  std::latch inside(1), go(1);
  std::jthread first([&] {
    const auto token = cache_.Get(ctx_, key, nullptr, [&] {
      inside.count_down();
      go.wait();
      return Make("t", seconds(300));
    });
    EXPECT_TRUE(token) << "that was not its deadline";
  });
  inside.wait();
  const auto ctx = task::Context().WithTimeout(std::chrono::milliseconds(5));
  const auto token = cache_.Get(ctx, key, nullptr, [] { return Make("x", seconds(1)); });
  go.count_down();
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().reason(), Reason::kTimeout) << token.error().Text();
}

TEST_F(TokenCacheTest, IdentityTellsCredentialsApartAndIsNoPlainHash) {
  const auto make = [](const char* user, const char* password, const char* identity) {
    credentials::Credential c;
    c.username = user;
    c.password = secret::Secret(password);
    c.identity_token = secret::Secret(identity);
    return c;
  };
  const auto id = [&](const char* u, const char* p, const char* i) { return cache_.Identity(make(u, p, i)); };
  EXPECT_EQ(id("a", "b", ""), id("a", "b", ""));
  EXPECT_NE(id("a", "b", ""), id("ab", "", ""));
  EXPECT_NE(id("a", "b", ""), id("a", "c", ""));
  EXPECT_NE(id("a", "b", ""), id("a", "", "b"));
  EXPECT_EQ(id("", "", ""), "");
  EXPECT_NE(id("a", "b", ""), TokenCache(clock_).Identity(make("a", "b", "")));
}

TEST_F(TokenCacheTest, ChallengesOfOneRepositoryHelpTheOthers) {
  TokenCache cache(clock_);
  EXPECT_FALSE(cache.Recall("o", "a"));
  const Challenge usual{Scheme::kBearer, "r", "s", {"repository:a:pull"}}, special{Scheme::kBearer, "r", "s", {"repository:x/b:pull"}};
  cache.Remember("o", "a", {usual, "192.0.2.1"});
  ASSERT_TRUE(cache.Recall("o", "a"));
  EXPECT_EQ(cache.Recall("o", "a")->challenge, usual);
  ASSERT_TRUE(cache.Recall("o", "b"));
  EXPECT_EQ(cache.Recall("o", "b")->challenge.scopes, std::vector<std::string>());
  EXPECT_EQ(cache.Recall("o", "b")->address, "192.0.2.1");
  cache.Remember("o", "b", {special, ""});
  EXPECT_EQ(cache.Recall("o", "b")->challenge, special);
  EXPECT_EQ(cache.Recall("o", "c")->challenge.scopes, std::vector<std::string>());
  EXPECT_FALSE(cache.Recall("p", "a"));
  cache.Forget("o", "a");
  EXPECT_FALSE(cache.Recall("o", "a"));
  EXPECT_TRUE(cache.Recall("o", "b"));
}

}  // namespace
}  // namespace berth::registry
