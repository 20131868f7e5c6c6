// Defaults, messages, back-off, throttle, metrics: kubelet-images 2, 4.2, 4.5, 4.7, 5.4, 10.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "policy/backoff.h"
#include "policy/defaults.h"
#include "policy/messages.h"
#include "policy/metrics.h"
#include "policy/throttle.h"
#include "time/testing/manual_clock.h"

namespace berth::policy {
namespace {

using credentials::Profile;
using std::chrono::milliseconds;
using std::chrono::seconds;
using time::testing::ManualClock;

constexpr auto kAlways = PullPolicy::kAlways;
constexpr auto kIfNotPresent = PullPolicy::kIfNotPresent;
const std::string kDigest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

// --- 2.1, 2.3

struct DefaultCase { std::string image; PullPolicy documented, kubelet; };
class Defaults : public testing::TestWithParam<DefaultCase> {};
TEST_P(Defaults, OfTheImage) {
  const auto& [image, documented, kubelet] = GetParam();
  EXPECT_EQ(DefaultPullPolicy(Profile::kDocumented, image), documented);
  EXPECT_EQ(DefaultPullPolicy(Profile::kKubelet, image), kubelet);
  EXPECT_EQ(ProfilesDiffer(image), documented != kubelet);
}
INSTANTIATE_TEST_SUITE_P(
    Table, Defaults,
    testing::Values(DefaultCase{"x", kAlways, kAlways}, DefaultCase{"x:latest", kAlways, kAlways}, DefaultCase{"x:v1", kIfNotPresent, kIfNotPresent},
                    DefaultCase{"x" + kDigest, kIfNotPresent, kIfNotPresent}, DefaultCase{"x:latest" + kDigest, kIfNotPresent, kAlways},
                    DefaultCase{"x:v1" + kDigest, kIfNotPresent, kIfNotPresent}, DefaultCase{"Foo", kIfNotPresent, kIfNotPresent},
                    DefaultCase{"$(IMG)", kIfNotPresent, kIfNotPresent}, DefaultCase{"", kIfNotPresent, kIfNotPresent},
                    DefaultCase{"busybox", kAlways, kAlways}, DefaultCase{"image:v1", kIfNotPresent, kIfNotPresent},
                    DefaultCase{"image:latest", kAlways, kAlways}, DefaultCase{"image", kAlways, kAlways},
                    DefaultCase{"reg.example:5000/a", kAlways, kAlways}, DefaultCase{"reg.example:5000/a:latest", kAlways, kAlways},
                    DefaultCase{"x:Latest", kIfNotPresent, kIfNotPresent}));

TEST(PullPolicies, ExactSpellingOnly) {
  for (const auto policy : {PullPolicy::kAlways, PullPolicy::kIfNotPresent, PullPolicy::kNever})
    EXPECT_EQ(ParsePullPolicy(Name(policy)), policy);
  for (const char* text : {"always", "", "IfNotPresent ", "Sometimes"}) EXPECT_FALSE(ParsePullPolicy(text)) << text;
}

// --- 4.2, 4.4, product 3.5

struct EventCase { Event event; const char* reason; bool warning; const char* message; };
class Events : public testing::TestWithParam<EventCase> {};
TEST_P(Events, LetterByLetter) { EXPECT_EQ(GetParam().event, (Event{GetParam().reason, GetParam().warning, GetParam().message})); }
const std::vector<std::string> kTwo{"a", "b"};
INSTANTIATE_TEST_SUITE_P(
    Table, Events,
    testing::Values(EventCase{Pulling("X"), "Pulling", false, "Pulling image \"X\""},
                    EventCase{Pulled("X", milliseconds(412), milliseconds(1200), 91098008), "Pulled", false,
                              "Successfully pulled image \"X\" in 412ms (1.2s including waiting). Image size: 91098008 bytes."},
                    EventCase{Pulled("X", time::Duration(1'234'999'999), time::Duration(123'500'000'001), 0), "Pulled", false,
                              "Successfully pulled image \"X\" in 1.234s (2m3.5s including waiting). Image size: 0 bytes."},
                    EventCase{Pulled("X", time::Duration(999'999), time::Duration(0), 1), "Pulled", false,
                              "Successfully pulled image \"X\" in 0s (0s including waiting). Image size: 1 bytes."},
                    EventCase{AlreadyPresent("X", false), "Pulled", false, "Container image \"X\" already present on machine"},
                    EventCase{AlreadyPresent("X", true), "Pulled", false, "Container image \"X\" already present on machine and can be accessed by the pod"},
                    EventCase{FailedToPull("X", "404"), "Failed", true, "Failed to pull image \"X\": 404"},
                    EventCase{StartFailed(kErrImagePull), "Failed", true, "Error: ErrImagePull"},
                    EventCase{StartFailed(kImagePullBackOff), "Failed", true, "Error: ImagePullBackOff"},
                    EventCase{BackingOff("X"), "BackOff", false, "Back-off pulling image \"X\""},
                    EventCase{InspectFailed(InspectFailure("boom")), "InspectFailed", true, "Failed to inspect image \"\": boom"},
                    EventCase{InspectFailed(TagFailure("X", "bad")), "InspectFailed", true, "Failed to apply default image tag \"X\": bad"},
                    EventCase{NeverPull("X"), "ErrImageNeverPull", true, "Container image \"X\" is not present with pull policy of Never"},
                    EventCase{SecretsMissing(kTwo), "FailedToRetrieveImagePullSecret", true,
                              "Unable to retrieve some image pull secrets (a, b); attempting to pull the image may not succeed."}));

TEST(Messages, OfTheWaitingState) {
  EXPECT_EQ(BackOffMessage("X", "ErrImagePull: 404"), "Back-off pulling image \"X\": ErrImagePull: 404");
  EXPECT_EQ(BackOffMessage("X", ""), "Back-off pulling image \"X\"");
  EXPECT_EQ(IntentFailure("X", "full"), "Failed to record image pull intent for container image \"X\": full");
}

// --- 4.5, 4.7

struct MapCase { const char *error, *reason, *message; };
class Mapping : public testing::TestWithParam<MapCase> {};
TEST_P(Mapping, ByTheFirstWord) { EXPECT_EQ(MapPullError("test", GetParam().error), (Failure{GetParam().reason, GetParam().message})); }
INSTANTIATE_TEST_SUITE_P(
    Table, Mapping,
    testing::Values(MapCase{"RegistryUnavailable: foo", "RegistryUnavailable", "image pull failed for test because the registry is unavailable: foo"},
                    MapCase{"RegistryUnavailable", "RegistryUnavailable", "image pull failed for test because the registry is unavailable"},
                    MapCase{"SignatureValidationFailed: bar", "SignatureValidationFailed", "image pull failed for test because the signature validation failed: bar"},
                    MapCase{"test", "ErrImagePull", "test"}, MapCase{"", "ErrImagePull", ""},
                    MapCase{"rpc error: code = Unavailable desc = RegistryUnavailable", "ErrImagePull", "rpc error: code = Unavailable desc = RegistryUnavailable"},
                    MapCase{"[RegistryUnavailable: a, b]", "ErrImagePull", "[RegistryUnavailable: a, b]"}));

TEST(AggregateErrors, OnePlainSeveralInBracketsEqualOnesOnce) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(AggregateErrors(Texts{}), "");
  EXPECT_EQ(AggregateErrors(Texts{"a"}), "a");
  EXPECT_EQ(AggregateErrors(Texts{"a", "a"}), "a");
  EXPECT_EQ(AggregateErrors(Texts{"a", "b", "a"}), "[a, b]");
}

// --- 4.7

TEST(Backoff, Ladder) {
  ManualClock clock;
  Backoff b(clock);
  for (const int want : {10, 20, 40, 80, 160, 300, 300, 300}) {
    b.Failed("k", "ErrImagePull: x");
    const auto s = b.Blocked("k");
    ASSERT_TRUE(s);
    EXPECT_EQ(s->delay, seconds(want));
    EXPECT_EQ(s->next, clock.WallNow() + seconds(want));
    clock.Advance(seconds(want) - time::Duration(1));
    EXPECT_TRUE(b.Blocked("k")) << want;
    clock.Advance(time::Duration(1));
    EXPECT_FALSE(b.Blocked("k")) << "strictly less";
  }
  EXPECT_EQ(b.Peek("k")->failures, 8u);
}

TEST(Backoff, ExpiresAfterTwiceTheCapAndBeginsAnew) {
  ManualClock clock;
  Backoff b(clock);
  b.Failed("k", "");
  b.Failed("k", "");
  clock.Advance(seconds(600));
  EXPECT_TRUE(b.Peek("k")) << "600 s exactly is not expired";
  b.Failed("k", "");
  EXPECT_EQ(b.Peek("k")->delay, seconds(40));
  clock.Advance(seconds(600) + time::Duration(1));
  EXPECT_FALSE(b.Peek("k"));
  b.Failed("k", "");
  EXPECT_EQ(b.Peek("k")->delay, seconds(10));
  EXPECT_EQ(b.Peek("k")->failures, 1u);
}

TEST(Backoff, CollectsOnlyWhatExpired) {
  ManualClock clock;
  Backoff b(clock);
  b.Failed("old", "");
  clock.Advance(seconds(601));
  b.Failed("new", "");
  b.CollectExpired();
  EXPECT_EQ(b.size(), 1u);
  EXPECT_TRUE(b.Peek("new"));
}

TEST(Backoff, DoesNotGrowWithoutASuccess) {
  ManualClock clock;
  Backoff b(clock);
  for (int i = 0; i < 10'000; ++i) {
    b.Failed(Backoff::Key(std::to_string(i), "x"), "");
    clock.Advance(seconds(60));
  }
  EXPECT_LE(b.size(), 64u);
}

TEST(Backoff, KeysAreOfOnePodAndOneSpelling) {
  ManualClock clock;
  Backoff b(clock);
  EXPECT_EQ(Backoff::Key("uid", "busybox"), "uid_busybox");
  b.Failed(Backoff::Key("p", "busybox"), "");
  b.Failed(Backoff::Key("p", "busybox:latest"), "");
  b.Failed(Backoff::Key("q", "busybox"), "");
  EXPECT_FALSE(b.Blocked(Backoff::Key("r", "busybox")));
  b.ForgetPod("p");
  EXPECT_EQ(b.size(), 1u);
  EXPECT_TRUE(b.Blocked(Backoff::Key("q", "busybox")));
}

TEST(Backoff, WallJumpsDoNotMatter) {
  ManualClock clock;
  Backoff b(clock);
  b.Failed("k", "ErrImagePull: 401");
  clock.JumpWall(std::chrono::hours(5));
  EXPECT_EQ(b.Blocked("k")->remaining, seconds(10));
  EXPECT_EQ(b.Blocked("k")->failure, "ErrImagePull: 401");
  b.ForgetFailure("k");
  EXPECT_EQ(b.Blocked("k")->failure, "");
}

// --- 5.4, 5.5

TEST(Throttle, ZeroIsNoLimit) {
  ManualClock clock;
  Throttle t(clock, 0, 0);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(t.TryTake());
  EXPECT_EQ(t.UntilNext(), time::Duration::zero());
}

TEST(Throttle, WithoutBurstEveryPullIsDenied) {
  ManualClock clock;
  Throttle t(clock, 2000, 0);
  for (int i = 0; i < 3; ++i, clock.Advance(seconds(1))) EXPECT_FALSE(t.TryTake());
  EXPECT_EQ(t.denied(), 3u);
  EXPECT_EQ(t.UntilNext(), time::Duration::max());
}

TEST(Throttle, StartsFullAndRefillsExactly) {
  ManualClock clock;
  Throttle t(clock, 5, 10);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(t.TryTake()) << i;
  EXPECT_FALSE(t.TryTake());
  EXPECT_EQ(t.UntilNext(), milliseconds(200));
  for (int i = 0; i < 20; ++i) {  // asking often loses nothing
    clock.Advance(milliseconds(10));
    EXPECT_EQ(t.TryTake(), i == 19) << i;
  }
  clock.Advance(std::chrono::hours(1));
  int taken = 0;
  while (t.TryTake()) ++taken;
  EXPECT_EQ(taken, 10) << "never more than the burst";
}

// --- 10

struct SizeCase { std::uint64_t bytes; const char* label; };
class Sizes : public testing::TestWithParam<SizeCase> {};
TEST_P(Sizes, TheBoundaryIsTheLowers) { EXPECT_EQ(SizeLabel(GetParam().bytes), GetParam().label); }
constexpr std::uint64_t kMiB = 1u << 20, kGiB = 1u << 30;
INSTANTIATE_TEST_SUITE_P(Table, Sizes,
                         testing::Values(SizeCase{0, "N/A"}, SizeCase{1, "0-10MB"}, SizeCase{10 * kMiB, "0-10MB"}, SizeCase{10 * kMiB + 1, "10MB-100MB"},
                                         SizeCase{100 * kMiB + 1, "100MB-500MB"}, SizeCase{500 * kMiB, "100MB-500MB"}, SizeCase{500 * kMiB + 1, "500MB-1GB"},
                                         SizeCase{kGiB + 1, "1GB-5GB"}, SizeCase{5 * kGiB + 1, "5GB-10GB"}, SizeCase{10 * kGiB + 1, "10GB-20GB"},
                                         SizeCase{20 * kGiB + 1, "20GB-30GB"}, SizeCase{30 * kGiB + 1, "30GB-40GB"}, SizeCase{40 * kGiB + 1, "40GB-60GB"},
                                         SizeCase{60 * kGiB + 1, "60GB-100GB"}, SizeCase{100 * kGiB, "60GB-100GB"}, SizeCase{100 * kGiB + 1, "GT100GB"}));

TEST(Metrics, DurationsFallIntoTheirBuckets) {
  Metrics m;
  m.ObservePull(1, milliseconds(500));
  m.ObservePull(1, seconds(1));
  m.ObservePull(1, milliseconds(1001));
  m.ObservePull(1, seconds(3601));
  const auto h = m.snapshot().pull_durations.at("0-10MB");
  EXPECT_EQ(h.buckets[0], 2u);
  EXPECT_EQ(h.buckets[1], 1u);
  EXPECT_EQ(h.buckets[kPullSecondsBuckets.size()], 1u);
  EXPECT_EQ(h.count, 4u);
  EXPECT_DOUBLE_EQ(h.sum_seconds, 0.5 + 1 + 1.001 + 3601);
}

}  // namespace
}  // namespace berth::policy
