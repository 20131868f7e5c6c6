#include "reclaim/image_gc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "host/fault.h"
#include "reclaim/stored_images.h"
#include "reclaim/testing/stores.h"
#include "time/testing/manual_clock.h"

namespace berth::reclaim {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::uint64_t kMiB = 1u << 20, kGiB = 1u << 30;

class FakeImages final : public ImageStore {
 public:
  Result<std::vector<CollectableImage>> List(const task::Context&, Sizes sizes) override {
    measured += sizes == Sizes::kYes;
    if (list_fails) return Error(Reason::kIo, "the list is broken");
    std::vector<CollectableImage> out;
    for (const auto& [id, image] : images) out.push_back(image);
    return out;
  }
  Result<std::optional<std::uint64_t>> Remove(const task::Context&, const std::string& id, GcReason reason,
                                              const std::function<Result<bool>()>& unused) override {
    if (before_remove) before_remove(id);
    ASSIGN_OR_RETURN(const bool go, unused());
    if (!go) return std::optional<std::uint64_t>();
    if (stuck.contains(id)) return Error(Reason::kIo, "stuck " + id);
    std::uint64_t bytes = 0;
    for (const auto& part : images.at(id).parts) {
      std::size_t users = 0;
      for (const auto& [other, image] : images) users += static_cast<std::size_t>(std::ranges::count(image.parts, part));
      if (users == 1) bytes += part.second;
    }
    images.erase(id);
    removed.push_back(id);
    reasons.push_back(reason);
    available += disk_reacts ? bytes : 0;
    return std::optional(bytes);
  }
  Result<std::vector<Object>> FreeUnneeded(const task::Context& ctx, std::uint64_t wanted) override {
    auto freed = *WouldFree(ctx, wanted, {});
    unneeded -= freed[0].second;
    available += disk_reacts ? freed[0].second : 0;
    return freed;
  }
  Result<std::vector<Object>> WouldFree(const task::Context&, std::uint64_t wanted, const std::set<std::string>&) override {
    return std::vector<Object>{{"cache", std::min(unneeded, wanted)}};
  }
  Result<> MarkUsed(const std::vector<std::string>& ids, time::WallTime) override {
    for (const auto& id : ids) marked.push_back(id);
    return {};
  }

  std::map<std::string, CollectableImage> images;
  std::function<void(const std::string&)> before_remove;
  std::set<std::string> stuck;
  std::vector<std::string> removed, marked;
  std::vector<GcReason> reasons;
  std::size_t measured = 0;
  std::uint64_t unneeded = 0, capacity = 1000, available = 600;
  bool list_fails = false, disk_reacts = false;
};

std::string Id(int i) { return "image-" + std::to_string(i); }

class ImageGcTest : public ::testing::Test {
 protected:
  // The kubelet's vectors: no minimum age unless one is given.
  explicit ImageGcTest(GcPolicy policy = {.high_percent = 90, .low_percent = 80, .min_age = {}, .max_age = {}}) { Make(policy); }
  void Make(GcPolicy policy) {
    gc_.emplace(policy, ImageGc::Parts{
        images_,
        [this](const task::Context&) -> Result<InUse> {
          if (usage_fails_) return Error(Reason::kIo, "get container status: broken");
          InUse out;
          for (const int i : used_) out.emplace(Id(i), "pod default/p");
          return out;
        },
        [this]() -> Result<host::Space> {
          if (disk_fails_) return Error(Reason::kIo, "statfs is broken");
          return host::Space{.total_bytes = images_.capacity, .available_bytes = images_.available};
        },
        [this](std::string_view reason, const std::string& message) { events_.push_back(std::string(reason) + ": " + message); },
        [this](const task::Context&, const std::set<std::string>& present, time::WallTime) -> Result<> {
          hooked_.push_back(present);
          return {};
        },
        clock_});
  }
  void Image(int i, std::uint64_t size, bool pinned = false) {
    CollectableImage image{.id = Id(i), .names = {"reg/app:" + std::to_string(i)}, .parts = {{"layer of " + Id(i), size}}};
    if (pinned) image.pin = catalog::Pin{"alice", "needed", {}};
    images_.images[Id(i)] = std::move(image);
  }
  // A disk at its high threshold on which that much has to be freed: capacity 10 n, available n, low 80%.
  void Want(std::uint64_t bytes) { images_.capacity = 10 * bytes, images_.available = bytes; }
  GcReport Free(std::uint64_t bytes) {
    Want(bytes);
    return gc_->Collect({});
  }
  void DetectWith(std::set<int> used) {
    used_ = std::move(used);
    ASSERT_TRUE(gc_->Detect({}));
    clock_.Advance(seconds(1));
  }
  std::vector<std::string> Left() const {
    std::vector<std::string> left;
    for (const auto& [id, image] : images_.images) left.push_back(id);
    return left;
  }
  std::string WhyOf(const GcReport& report, int i) const {
    for (const auto& row : report.rows)
      if (row.id == Id(i)) return row.why;
    return "no row";
  }

  time::testing::ManualClock clock_;
  FakeImages images_;
  std::set<int> used_;
  bool usage_fails_ = false, disk_fails_ = false;
  std::vector<std::string> events_;
  std::vector<std::set<std::string>> hooked_;
  std::optional<ImageGc> gc_;
};

// --- kubelet-images 9.7: one round

struct Vector {
  const char* name;
  std::uint64_t capacity, available;
  std::vector<std::uint64_t> sizes;
  std::set<int> pinned, used;
  bool unused;  // DeleteUnusedImages
  std::uint64_t freed;
  std::vector<std::string> left;
  std::string error;   // "" none
  std::size_t events = 0;
};
class Vectors : public ImageGcTest, public ::testing::WithParamInterface<Vector> {};

TEST_P(Vectors, OneRound) {
  const Vector& v = GetParam();
  images_.capacity = v.capacity, images_.available = v.available;
  for (std::size_t i = 0; i < v.sizes.size(); ++i) Image(static_cast<int>(i), v.sizes[i], v.pinned.contains(static_cast<int>(i)));
  DetectWith(v.used);
  const auto plan = gc_->Collect({}, {.dry_run = true, .unused = v.unused});
  EXPECT_EQ(plan.freed, v.freed) << "a dry run says what will be";
  EXPECT_THAT(images_.removed, IsEmpty());
  const auto report = gc_->Collect({}, {.unused = v.unused});
  EXPECT_EQ(report.freed, v.freed);
  EXPECT_EQ(Left(), v.left);
  EXPECT_EQ(report.verdict ? "" : report.verdict.error().Text(), v.error);
  ASSERT_EQ(events_.size(), v.events);
  for (const auto& event : events_) EXPECT_EQ(event.substr(event.find(": ") + 2), v.error);
}
INSTANTIATE_TEST_SUITE_P(
    Kubelet97, Vectors,
    ::testing::Values(
        Vector{"BelowThreshold", 1000, 600, {450}, {}, {}, false, 0, {Id(0)}, ""},
        Vector{"JustBelow", 1000, 110, {450}, {}, {}, false, 0, {Id(0)}, ""},
        Vector{"EnoughFreed", 1000, 50, {450}, {}, {}, false, 450, {}, ""},
        Vector{"NotEnough", 10 * kGiB, kGiB / 2, {500 * kMiB}, {}, {}, false, 524288000, {},
               "Insufficient free disk space on the node's image filesystem (95% of 10.0 GiB used). Failed to free sufficient space by deleting "
               "unused images (freed 524288000 bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or other data.", 1},
        Vector{"UsedStays", 20480, 2048, {1024, 2048}, {}, {1}, false, 1024, {Id(1)},
               "Insufficient free disk space on the node's image filesystem (90% of 20.0 KiB used). Failed to free sufficient space by deleting "
               "unused images (freed 1024 bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or other data.", 1},
        Vector{"Everything", 20480, 2048, {1024, 1024}, {}, {}, false, 2048, {}, ""},
        Vector{"DeleteUnused", 1000, 600, {1024, 2048, 2048}, {}, {2}, true, 3072, {Id(2)}, ""},
        Vector{"PinnedStays", 40960, 4096, {1024, 2048}, {1}, {}, false, 1024, {Id(1)},
               "Insufficient free disk space on the node's image filesystem (90% of 40.0 KiB used). Failed to free sufficient space by deleting "
               "unused images (freed 1024 bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or other data.", 1},
        Vector{"BothPinned", 20480, 2048, {1024, 2048}, {0, 1}, {}, false, 0, {Id(0), Id(1)},
               "Insufficient free disk space on the node's image filesystem (90% of 20.0 KiB used). Failed to free sufficient space by deleting "
               "unused images (freed 0 bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or other data.", 1},
        Vector{"OnlyPinnedUnused", 1000, 600, {1024}, {0}, {}, true, 0, {Id(0)}, ""},
        Vector{"NoCapacity", 0, 0, {1024}, {}, {}, false, 0, {Id(0)}, "invalid capacity 0 on image filesystem", 1},
        Vector{"MoreAvailableThanThereIs", 1000, 5000, {450}, {}, {}, false, 0, {Id(0)}, ""}),
    [](const auto& row) { return std::string(row.param.name); });

TEST_F(ImageGcTest, AFailingDiskOrListOrUsageRemovesNothing) {  // 9.7, I-07
  Image(0, 450);
  images_.available = 50;
  for (bool* broken : {&disk_fails_, &images_.list_fails, &usage_fails_}) {
    *broken = true;
    EXPECT_FALSE(gc_->Collect({}).verdict);
    EXPECT_FALSE(gc_->Collect({}, {.dry_run = true}).verdict);
    *broken = false;
  }
  usage_fails_ = true;
  EXPECT_FALSE(gc_->Collect({}, {.unused = true}).verdict);
  usage_fails_ = false;
  images_.before_remove = [&](const std::string&) { usage_fails_ = true; };
  EXPECT_FALSE(gc_->Collect({}).verdict) << "nor one at the last moment";
  EXPECT_THAT(images_.removed, IsEmpty());
  EXPECT_EQ(gc_->counters().failures, 5u);
}

// --- kubelet-images 9.7: several detections

TEST_F(ImageGcTest, DetectionNotesFirstSightAndUse) {
  const auto t0 = clock_.SteadyNow();
  for (int i = 0; i < 3; ++i) Image(i, 1024);
  DetectWith({1, 2});
  auto records = gc_->records();
  ASSERT_EQ(records.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(records[Id(i)].first_detected, t0);
  EXPECT_FALSE(records[Id(0)].last_used);
  EXPECT_EQ(records[Id(1)].last_used, t0);
  EXPECT_EQ(records[Id(2)].last_used, t0);

  const auto t1 = clock_.SteadyNow();
  Image(3, 1024);
  DetectWith({1});
  records = gc_->records();
  EXPECT_EQ(records[Id(3)].first_detected, t1);
  EXPECT_EQ(records[Id(1)].last_used, t1);
  EXPECT_EQ(records[Id(2)].last_used, t0) << "as it was while it was used";
  EXPECT_THAT(images_.marked, ElementsAre(Id(1), Id(2), Id(2))) << "written down at first, and when the use ended";

  images_.images.clear();
  DetectWith({});
  EXPECT_THAT(gc_->records(), IsEmpty());
}

TEST_F(ImageGcTest, TheOneNotUsedForLongestGoesFirst) {
  Image(0, 1024), Image(1, 2048);
  DetectWith({0, 1});
  DetectWith({1});
  used_ = {};
  EXPECT_EQ(Free(1024).freed, 1024u);
  EXPECT_THAT(Left(), ElementsAre(Id(1)));
}

TEST_F(ImageGcTest, NeverUsedGoesBeforeUsed) {
  Image(0, 1024);
  DetectWith({0});
  Image(1, 2048);
  DetectWith({0});
  used_ = {};
  EXPECT_EQ(Free(1024).freed, 2048u);
  EXPECT_THAT(Left(), ElementsAre(Id(0)));
}

TEST_F(ImageGcTest, OfEqualUseTheOneSeenFirstGoesFirstThenTheOnePulledFirst) {
  Image(5, 1024);
  DetectWith({});
  Image(1, 1024), Image(2, 1024);
  images_.images[Id(2)].pulled = clock_.WallNow() - hours(2);
  images_.images[Id(1)].pulled = clock_.WallNow() - hours(1);
  DetectWith({});
  (void)Free(3000);
  EXPECT_THAT(images_.removed, ElementsAre(Id(5), Id(2), Id(1)));
}

TEST_F(ImageGcTest, MinimumAgeCountsFromTheFirstDetection) {
  Make({.high_percent = 90, .low_percent = 80, .min_age = minutes(1), .max_age = {}});
  Image(0, 1024), Image(1, 2048);
  used_ = {1};
  const auto early = Free(1024);
  EXPECT_EQ(early.freed, 0u);
  EXPECT_EQ(WhyOf(early, 0), "first seen less than 1m0s ago");
  clock_.Advance(minutes(1) - time::Duration(1));
  EXPECT_EQ(Free(1024).freed, 0u);
  clock_.Advance(time::Duration(1));
  EXPECT_EQ(Free(1024).freed, 1024u) << "equal is old enough";
  EXPECT_THAT(Left(), ElementsAre(Id(1)));
}

TEST_F(ImageGcTest, MinimumAgeHoldsForUnusedImagesToo) {
  Make({.high_percent = 90, .low_percent = 80, .min_age = seconds(3), .max_age = {}});
  for (int i = 0; i < 3; ++i) Image(i, 1024);
  used_ = {2};
  ASSERT_TRUE(gc_->Collect({}, {.unused = true}).verdict);
  EXPECT_EQ(Left().size(), 3u);
  clock_.Advance(seconds(3));
  ASSERT_TRUE(gc_->Collect({}, {.unused = true}).verdict);
  EXPECT_THAT(Left(), ElementsAre(Id(2)));
}

TEST_F(ImageGcTest, MaximumAgeTakesWhatIsUnusedForLonger) {
  Make({.high_percent = 90, .low_percent = 80, .min_age = {}, .max_age = minutes(1)});
  Image(0, 1024), Image(1, 2048), Image(2, 10, /*pinned=*/true);
  used_ = {0, 1};
  ASSERT_TRUE(gc_->Detect({}));
  used_ = {1};
  clock_.Advance(minutes(1));
  ASSERT_TRUE(gc_->Collect({}).verdict);
  EXPECT_EQ(Left().size(), 3u) << "at the age itself";
  clock_.Advance(time::Duration(1));
  const auto report = gc_->Collect({});
  ASSERT_TRUE(report.verdict);
  EXPECT_THAT(Left(), ElementsAre(Id(1), Id(2)));
  EXPECT_EQ(report.freed_by_age, 1024u);
  EXPECT_EQ(report.freed, 0u);
  EXPECT_THAT(images_.reasons, ElementsAre(GcReason::kAge));
  EXPECT_THAT(hooked_, IsEmpty()) << "hooks belong to the pass for space";
  EXPECT_EQ(gc_->counters().images_by_age, 1u);
  EXPECT_EQ(gc_->counters().image_bytes, 1024u);
}

TEST_F(ImageGcTest, MaximumAgeTakesTheNeverUsedAtOnceButNotBeforeWeRunSoLong) {
  Make({.high_percent = 90, .low_percent = 80, .min_age = hours(10), .max_age = minutes(1)});
  Image(0, 1024);
  clock_.Advance(minutes(1));
  ASSERT_TRUE(gc_->Collect({}).verdict);
  EXPECT_EQ(Left().size(), 1u);
  clock_.Advance(seconds(1));
  ASSERT_TRUE(gc_->Collect({}).verdict);
  EXPECT_THAT(Left(), IsEmpty()) << "the minimum age does not count here";
}

TEST_F(ImageGcTest, WithoutAMaximumAgeNothingGetsTooOld) {
  Image(0, 1024);
  DetectWith({0});
  used_ = {};
  clock_.Advance(hours(24 * 365 * 30));
  ASSERT_TRUE(gc_->Collect({}).verdict);
  EXPECT_EQ(Left().size(), 1u);
}

TEST_F(ImageGcTest, AnErrorEndsThePassByAgeAndIsToldAsTheKubeletTellsIt) {
  Make({.high_percent = 90, .low_percent = 80, .min_age = {}, .max_age = minutes(1)});
  for (int i = 0; i < 3; ++i) Image(i, 10);
  images_.stuck = {Id(0), Id(2)};
  clock_.Advance(minutes(2));
  images_.available = 0;
  EXPECT_EQ(gc_->Collect({}).verdict.error().Text(),
            "wanted to free images older than 1m0s, encountered errors in image deletion: [stuck image-0, stuck image-2]");
  EXPECT_THAT(images_.removed, ElementsAre(Id(1)));
}

TEST_F(ImageGcTest, AnErrorDoesNotEndThePassForSpace) {
  for (int i = 0; i < 3; ++i) Image(i, 100);
  images_.available = 0;
  images_.stuck = {Id(0)};
  const auto report = gc_->Collect({});
  EXPECT_EQ(report.verdict.error().Text(), "wanted to free 200 bytes, but freed 200 bytes space with errors in image deletion: stuck image-0");
  EXPECT_THAT(images_.removed, ElementsAre(Id(1), Id(2)));
  EXPECT_THAT(hooked_, IsEmpty());
  EXPECT_EQ(report.rows[0].action, GcRow::Action::kFailed);
}

TEST_F(ImageGcTest, HooksHearOfAllImagesThatAreHere) {  // 4.8.6
  Image(0, 100), Image(1, 100), Image(2, 100, true), Image(3, 100);
  used_ = {3};
  images_.available = 100;
  ASSERT_TRUE(gc_->Collect({}).verdict);
  ASSERT_EQ(hooked_.size(), 1u);
  EXPECT_THAT(hooked_[0], ElementsAre(Id(1), Id(2), Id(3)));
}

// --- rounds by the clock

class Loop : public ImageGcTest {
 protected:
  // Runs rounds until `n` have ended.
  void Rounds(std::size_t n) {
    std::jthread runner([&](const std::stop_token& stop) { gc_->Run(stop); });
    for (std::size_t i = 1; i < n; ++i) {
      clock_.AwaitSleeps(slept_ + i);
      clock_.Advance(ImageGc::kPeriod);
    }
    slept_ += n;
    clock_.AwaitSleeps(slept_);
  }
  std::size_t slept_ = 0;
};

TEST_F(Loop, TheFirstRoundIsAtOnceAndTheNextAfterFiveMinutes) {
  Rounds(3);
  EXPECT_EQ(gc_->counters().rounds, 3u);
  EXPECT_THAT(clock_.sleeps(), ElementsAre(minutes(5), minutes(5), minutes(5)));
}

TEST_F(Loop, CollectsNothingWhenItIsOffButStillLooks) {
  Make({.high_percent = 100, .low_percent = 80, .min_age = {}, .max_age = {}});
  Image(0, 100);
  images_.available = 0;
  Rounds(2);
  EXPECT_EQ(gc_->counters().rounds, 0u);
  EXPECT_EQ(gc_->records().size(), 1u);
  EXPECT_EQ(Left().size(), 1u);
}

TEST_F(Loop, ASecondFailureInARowIsAnEvent) {
  disk_fails_ = true;
  Rounds(1);
  EXPECT_THAT(events_, IsEmpty());
  disk_fails_ = false;
  clock_.Advance(seconds(1));
  Rounds(1);
  disk_fails_ = true;
  Rounds(2);
  EXPECT_THAT(events_, ElementsAre("ImageGCFailed: statfs is broken"));
}

TEST_F(Loop, WhatCannotHelpIsToldEverMoreSeldom) {  // I-02, I-04
  Image(0, 100);
  used_ = {0};
  images_.available = 0;
  Rounds(17);
  std::size_t failed = 0;
  for (const auto& event : events_) failed += event.starts_with("FreeDiskSpaceFailed") ? 1 : 0;
  EXPECT_EQ(failed, 6u) << "rounds 1, 2, 3, 5, 9, 17";
  EXPECT_EQ(Left().size(), 1u);
}

TEST_F(Loop, AFileSystemThatGivesNothingBackDoesNotCostAllImages) {  // I-02
  for (int i = 0; i < 40; ++i) Image(i, 200);
  images_.available = 0;
  Rounds(17);
  EXPECT_EQ(images_.removed.size(), 6u) << "one in each of the rounds 1, 2, 3, 5, 9, 17";
}

TEST_F(Loop, SomethingNewToRemoveEndsTheBackOff) {
  Image(0, 300);
  used_ = {0};
  images_.available = 0;
  images_.disk_reacts = true;
  Rounds(5);  // the next would be skipped
  used_ = {};
  clock_.Advance(seconds(1));
  Rounds(1);
  EXPECT_THAT(Left(), IsEmpty());
  EXPECT_EQ(images_.available, 300u);
}

// --- reliability-security 3.i

TEST_F(ImageGcTest, FreesToTheLowThresholdAndNoFurther) {  // I-01
  for (int i = 0; i < 10; ++i) Image(i, 60);
  images_.available = 100;
  images_.disk_reacts = true;
  const auto report = gc_->Collect({});
  EXPECT_EQ(images_.removed.size(), 2u);
  EXPECT_EQ(report.used_percent, 90);
  EXPECT_EQ(report.wanted, 100u);
  EXPECT_EQ(report.grown, 120);
  EXPECT_EQ(WhyOf(report, 5), "unused; 80% is reached without it");
  const auto again = gc_->Collect({});
  EXPECT_EQ(images_.removed.size(), 2u) << "no thrash";
  EXPECT_EQ(WhyOf(again, 5), "unused; the disk is used below 90%");
}

TEST_F(ImageGcTest, SpaceThatOthersGiveBackSparesImages) {  // I-01
  for (int i = 0; i < 10; ++i) Image(i, 60);
  images_.available = 0;
  images_.before_remove = [&](const std::string& id) { if (id == Id(0)) images_.available = 500; };
  EXPECT_TRUE(gc_->Collect({}).verdict);
  EXPECT_THAT(images_.removed, ElementsAre(Id(0)));
}

TEST_F(ImageGcTest, ASharedLayerCountsWhenItsLastImageGoes) {  // I-02
  for (int i = 0; i < 3; ++i) {
    Image(i, 10);
    images_.images[Id(i)].parts.emplace_back("base", 500);
  }
  images_.available = 0;  // 200 wanted
  const auto plan = gc_->Collect({}, {.dry_run = true});
  ASSERT_EQ(plan.rows.size(), 3u);
  EXPECT_EQ(plan.rows[0].frees, 10u);
  EXPECT_EQ(plan.rows[2].frees, 510u);
  EXPECT_EQ(plan.freed, 530u);
  EXPECT_EQ(gc_->Collect({}).freed, plan.freed);
}

TEST_F(ImageGcTest, WhatNoImageNeedsGoesFirst) {
  Image(0, 150), Image(1, 150);
  images_.available = 0;
  images_.unneeded = 190;
  const auto plan = gc_->Collect({}, {.dry_run = true});
  EXPECT_EQ(plan.unneeded_freed, 190u);
  const auto report = gc_->Collect({});
  EXPECT_EQ(report.unneeded_freed, 190u);
  EXPECT_THAT(images_.removed, ElementsAre(Id(0)));
  EXPECT_EQ(gc_->counters().unneeded_bytes, 190u);
  EXPECT_EQ(gc_->counters().image_bytes, 150u);
  EXPECT_EQ(gc_->counters().images_by_space, 1u);
}

TEST_F(ImageGcTest, OneThatIsUsedAtTheLastMomentStays) {  // I-03
  Image(0, 150), Image(1, 150);
  images_.available = 0;
  images_.before_remove = [&](const std::string& id) { if (id == Id(0)) used_.insert(0); };
  const auto report = gc_->Collect({});
  EXPECT_THAT(Left(), ElementsAre(Id(0)));
  EXPECT_EQ(WhyOf(report, 0), "somebody began to use it");
}

TEST_F(ImageGcTest, KeptImagesSayByWhomAndWhy) {
  Image(0, 10), Image(1, 10, true), Image(2, 10, true);
  used_ = {0, 2};
  const auto report = gc_->Collect({}, {.dry_run = true});
  EXPECT_EQ(WhyOf(report, 0), "in use by pod default/p");
  EXPECT_EQ(WhyOf(report, 1), "pinned by \"alice\": \"needed\"");
  EXPECT_EQ(WhyOf(report, 2), "pinned by \"alice\": \"needed\"; in use by pod default/p");
}

TEST_F(ImageGcTest, AClockThatJumpsTenYearsRemovesNothingMore) {  // I-05
  Make({.high_percent = 90, .low_percent = 80, .min_age = minutes(2), .max_age = hours(24)});
  Image(0, 10), Image(1, 10);
  DetectWith({0, 1});
  clock_.Advance(hours(25));
  DetectWith({0, 1});
  used_ = {};
  for (const auto years : {10, -20}) {
    clock_.JumpWall(hours(24 * 365 * years));
    images_.available = 600;
    EXPECT_TRUE(gc_->Collect({}).verdict);
    images_.available = 100;
  }
  EXPECT_THAT(images_.removed, IsEmpty());
}

TEST_F(ImageGcTest, RememberedUseOrdersImagesAfterARestart) {
  for (int i = 0; i < 3; ++i) Image(i, 10);
  images_.images[Id(0)].last_used = clock_.WallNow() - hours(1);
  images_.images[Id(1)].last_used = clock_.WallNow() - hours(100);
  images_.images[Id(2)].last_used = clock_.WallNow() + hours(5);  // of a clock that was set back
  const auto report = gc_->Collect({}, {.unused = true});
  EXPECT_THAT(images_.removed, ElementsAre(Id(1), Id(0))) << "and the last one was used just now";
  EXPECT_EQ(report.rows[0].last_used, clock_.WallNow() - hours(100));
}

TEST_F(ImageGcTest, AUseBetweenTwoLooksCounts) {
  for (int i = 0; i < 2; ++i) Image(i, 10);
  ASSERT_TRUE(gc_->Detect({}));
  clock_.Advance(hours(1));
  images_.images[Id(0)].last_used = clock_.WallNow();  // mounted and unmounted meanwhile
  clock_.Advance(hours(1));
  const auto report = gc_->Collect({}, {.dry_run = true, .unused = true});
  ASSERT_EQ(report.rows.size(), 2u);
  EXPECT_EQ(report.rows[1].id, Id(0));
  EXPECT_EQ(report.rows[1].last_used, clock_.WallNow() - hours(1));
}

TEST_F(ImageGcTest, ATargetReplacesTheThresholds) {
  for (int i = 0; i < 5; ++i) Image(i, 100);
  images_.available = 600;
  ASSERT_TRUE(gc_->Collect({}, {.target = 40}).verdict) << "40% are used already";
  EXPECT_THAT(images_.removed, IsEmpty());
  images_.disk_reacts = true;
  ASSERT_TRUE(gc_->Collect({}, {.target = 25}).verdict);
  EXPECT_EQ(images_.removed.size(), 2u);
}

TEST_F(ImageGcTest, CapacitiesNearTheEndOfNumbersDoNotOverflow) {
  Image(0, 10);
  images_.capacity = (1ull << 63) - 1;
  images_.available = images_.capacity / 20;
  const auto report = gc_->Collect({}, {.dry_run = true});
  EXPECT_EQ(report.used_percent, 96);
  EXPECT_GT(report.wanted, images_.capacity / 7);
}

TEST_F(ImageGcTest, OnlyRoundsThatSomebodyReadsMeasureTheStore) {
  Image(0, 10);
  images_.available = 0;
  ASSERT_TRUE(gc_->Detect({}));
  (void)gc_->Collect({}, {.scheduled = true});
  EXPECT_EQ(images_.measured, 0u);
  EXPECT_THAT(images_.removed, ElementsAre(Id(0)));
  (void)gc_->Collect({}, {.dry_run = true});
  (void)gc_->Collect({});
  EXPECT_EQ(images_.measured, 2u);
}

TEST_F(ImageGcTest, AStoppedRoundSaysSo) {
  Image(0, 10);
  images_.available = 0;
  std::stop_source stop;
  images_.before_remove = [&](const std::string&) { stop.request_stop(); };
  (void)gc_->Collect(task::Context(stop.get_token(), clock_));
  EXPECT_EQ(images_.removed.size(), 1u) << "what was begun is ended";
}

// --- with real stores

class StoredTest : public ::testing::Test {
 protected:
  StoredTest() { Make(); }
  void Make() {
    reclaimer_.emplace(Parts(), stores_.clock);
    images_.emplace(*reclaimer_, Parts(), Ages{});
    gc_.emplace(GcPolicy{.high_percent = 90, .low_percent = 80, .min_age = {}, .max_age = {}},
                ImageGc::Parts{*images_, [this](const task::Context&) { return MountedImages(*stores_.catalog); },
                               [this]() -> Result<host::Space> {
                                 return host::Space{.total_bytes = 10'000'000, .available_bytes = available_};
                               },
                               [](std::string_view, const std::string&) {}, {}, stores_.clock});
  }
  Reclaimer::Stores Parts() { return {*stores_.content, *stores_.layers, *stores_.catalog, *stores_.leases}; }
  std::uint64_t Taken() const {
    std::uint64_t bytes = 0;
    for (const auto& [digest, n] : *stores_.layers->DiskBytes()) bytes += n;
    for (const auto& item : *stores_.content->List()) bytes += item.disk_bytes;
    return bytes;
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& name : *stores_.catalog->ListNames()) names.push_back(name.name);
    return names;
  }

  testing::Stores stores_;
  std::uint64_t available_ = 0;
  std::optional<Reclaimer> reclaimer_;
  std::optional<StoredImages> images_;
  std::optional<ImageGc> gc_;
};

std::string Content(char c, std::size_t n) { return testing::Tar(std::string(1, c), std::string(n, c)); }

TEST_F(StoredTest, WhatAPlanSaysIsWhatComesBack) {
  const std::string base = Content('b', 300'000);
  stores_.Publish("r:1", {base, Content('1', 100'000)}, true);
  stores_.Publish("r:2", {base, Content('2', 50'000)}, true);
  stores_.Publish("r:3", {Content('3', 70'000)}, false);
  const auto before = Taken();
  for (const auto& request : {GcRequest{.target = 95}, GcRequest{.unused = true}}) {
    GcRequest dry = request;
    dry.dry_run = true;
    available_ = 0;  // 500,000 wanted
    const auto taken = Taken();
    const auto plan = gc_->Collect({}, dry);
    const auto report = gc_->Collect({}, request);
    EXPECT_EQ(report.freed, taken - Taken());
    EXPECT_EQ(plan.freed, report.freed);
    EXPECT_EQ(plan.unneeded_freed, report.unneeded_freed);
  }
  EXPECT_GT(before, 0u);
  EXPECT_EQ(Taken(), 0u);
  EXPECT_THAT(Names(), IsEmpty());
}

// Found by an audit: "somebody began to use it", for ever.
TEST_F(StoredTest, AnImageWhoseIdIsOfAnotherAlgorithmGoes) {
  auto row = **stores_.catalog->FindImage(stores_.Publish("r:1", {Content('1', 100'000)}).manifest);
  for (const auto algorithm : {digest::Algorithm::kSha384, digest::Algorithm::kSha512}) {
    const std::string name(digest::Name(algorithm));
    row.manifest = digest::Digest::Of(bytes::AsView(name));
    row.config = digest::Digest::Of(bytes::AsView("config"), algorithm);
    ASSERT_TRUE(stores_.catalog->PublishImage({.name = "r:" + name, .implied_name = {}, .target = row.manifest, .media_type = "m",
                                               .documents = {}, .images = {row}, .pull = {}, .journal = ""}));
  }
  const auto report = gc_->Collect({}, {.unused = true});
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(Taken(), 0u);
}

// Leftovers of both kinds, a partial, cached blobs, an index of two images: what goes, in which order and how much is known before.
TEST_F(StoredTest, ADryRunNamesLeftoversTheCacheAndImagesInTheirOrder) {
  const auto one = stores_.Publish("r:1", {Content('1', 100'000)}, true), two = stores_.Publish("r:2", {Content('2', 60'000)}, true);
  stores_.PublishIndex("r:both", {one, two});
  const auto left = stores_.AddLayer(Content('l', 40'000), true);
  const auto partial = digest::Digest::Of(bytes::AsView("partial"));
  {
    auto ingest = *stores_.content->Resume(partial, 1000);
    ASSERT_TRUE(ingest->Append(bytes::AsView("begun")));
  }
  stores_.clock.Advance(hours(73));
  stores_.AddLayer(Content('y', 20'000), true);  // too young to go; its blob is cache
  for (const int target : {99, 98, 97, 95}) {
    available_ = 0;
    const auto taken = Taken();
    const auto plan = gc_->Collect({}, {.dry_run = true, .target = target});
    EXPECT_EQ(Taken(), taken);
    const auto report = gc_->Collect({}, {.target = target});
    if (target == 99) {
      EXPECT_EQ(report.unneeded.at(0).first, "blob " + left.ToString());
      EXPECT_THAT(report.unneeded.at(1).first, AllOf(HasSubstr("layer "), HasSubstr(left.Hex())));
      EXPECT_EQ(report.unneeded.at(2).first, "partial " + partial.ToString());
    }
    EXPECT_EQ(plan.unneeded, report.unneeded) << target;
    EXPECT_EQ(plan.unneeded_freed, report.unneeded_freed) << target;
    EXPECT_EQ(plan.freed, report.freed) << target;
    ASSERT_EQ(plan.rows.size(), report.rows.size()) << target;
    for (std::size_t i = 0; i < plan.rows.size(); ++i) {
      EXPECT_EQ(plan.rows[i].id, report.rows[i].id) << target;
      EXPECT_EQ(plan.rows[i].frees, report.rows[i].frees) << target << " " << i;
      EXPECT_EQ(plan.rows[i].action, report.rows[i].action) << target;
    }
  }
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(StoredTest, WhatIsYoungAndUnneededGoesBeforeAnImage) {
  stores_.Publish("r:1", {Content('1', 10'000)});
  const auto left = stores_.AddLayer(Content('l', 40'000)), taken = stores_.AddLayer(Content('t', 10'000));
  const auto lease = *stores_.leases->Acquire({}, {taken});
  const auto partial = digest::Digest::Of(bytes::AsView("partial")), written = digest::Digest::Of(bytes::AsView("written"));
  for (const auto& digest : {partial, written}) {
    auto ingest = *stores_.content->Resume(digest, 30'000);
    ASSERT_TRUE(ingest->Append(bytes::AsView(std::string(30'000, 'p'))));
  }
  const auto ingest = *stores_.content->Resume(written, 30'000);
  available_ = 1'950'000;  // 50,000 wanted
  const auto plan = gc_->Collect({}, {.dry_run = true, .target = 80});
  const auto report = gc_->Collect({}, {.target = 80});
  ASSERT_TRUE(report.verdict) << report.verdict.error().Text();
  EXPECT_THAT(report.unneeded, ElementsAre(::testing::Key("layer " + left.ToString()), ::testing::Key("partial " + partial.ToString())));
  EXPECT_EQ(plan.unneeded, report.unneeded);
  EXPECT_THAT(Names(), ElementsAre("r:1"));
  EXPECT_TRUE(*stores_.layers->Find(taken));
  EXPECT_EQ(stores_.content->Partials()->size(), 1u);
}

// On a full disk a sweep finds no space for rows, and the cache has it.
TEST_F(StoredTest, ASweepWithoutSpaceIsTriedAgainWithThatOfTheCache) {
  stores_.Publish("r:1", {Content('1', 40'000)}, true);
  const auto left = stores_.AddLayer(Content('l', 10'000));
  stores_.clock.Advance(hours(2));
  for (const char* faults : {"gc.mark=error(EIO)*1", "gc.mark=error(ENOSPC)*1"}) {
    ASSERT_TRUE(host::ConfigureFaults(faults));
    const auto freed = images_->FreeUnneeded({}, 10'000);
    ASSERT_TRUE(host::ConfigureFaults(""));
    ASSERT_EQ(freed.has_value(), std::string_view(faults).find("ENOSPC") != std::string_view::npos);
    if (!freed) continue;
    EXPECT_THAT(*freed, ElementsAre(::testing::Key(HasSubstr("blob ")), ::testing::Key("layer " + left.ToString())));
  }
  EXPECT_THAT(Names(), ElementsAre("r:1"));
}

TEST_F(StoredTest, CachedBlobsAreEnoughWhenTheyAre) {
  stores_.Publish("r:1", {Content('1', 400'000)}, true);
  available_ = 1'700'000;  // 300,000 wanted, 83%
  const auto report = gc_->Collect({}, {.target = 80});
  ASSERT_TRUE(report.verdict) << report.verdict.error().Text();
  EXPECT_GE(report.unneeded_freed, 400'000u);
  EXPECT_THAT(Names(), ElementsAre("r:1"));
  EXPECT_FALSE(*stores_.catalog->HasBlob(stores_.catalog->ListLayers()->at(0).blob));
  EXPECT_EQ(report.rows[0].why, "unused; 80% is reached without it");
}

TEST_F(StoredTest, MountedPinnedAndLeasedImagesStay) {  // I-03
  const auto mounted = stores_.Publish("r:mounted", {Content('m', 10)}), pinned = stores_.Publish("r:pinned", {Content('p', 10)});
  const auto leased = stores_.Publish("r:leased", {Content('l', 10)}), free = stores_.Publish("r:free", {Content('f', 10)});
  ASSERT_TRUE(stores_.catalog->AddMount({"/mnt/x", mounted.manifest, false}));
  ASSERT_TRUE(stores_.catalog->SetPin(pinned.config, {"bob", "", {}}));
  const auto lease = *stores_.leases->Acquire({}, {leased.manifest});
  const auto report = gc_->Collect({}, {.unused = true});
  ASSERT_TRUE(report.verdict) << report.verdict.error().Text();
  EXPECT_THAT(Names(), ElementsAre("r:leased", "r:mounted", "r:pinned"));
  EXPECT_TRUE(*stores_.layers->Find(leased.layers[0]));
  std::map<std::string, std::string> why;
  for (const auto& row : report.rows) why[row.names.at(0)] = row.why;
  EXPECT_EQ(why["r:mounted"], "in use by the mount at \"/mnt/x\"");
  EXPECT_EQ(why["r:pinned"], "pinned by \"bob\"");
  EXPECT_EQ(why["r:leased"], "somebody began to use it");
  EXPECT_EQ(why["r:free"], "unused");
  EXPECT_EQ((*stores_.catalog->LastOf("r:free"))->record, R"({"by":"garbage collection","reason":"space"})");
}

// Whoever counts as a user before he looks has the image, or finds it absent.
TEST_F(StoredTest, AnImageThatIsBeingRemovedIsAbsentAndComesBackWhenItIsNot) {
  const auto image = stores_.Publish("r:1", {Content('1', 10)});
  const auto spared = reclaimer_->RemoveUnused({}, image.manifest, [&]() -> Result<bool> {
    EXPECT_TRUE(stores_.leases->claimed(image.manifest));
    return false;
  });
  ASSERT_TRUE(spared);
  EXPECT_FALSE(*spared);
  EXPECT_FALSE(stores_.leases->claimed(image.manifest));
  EXPECT_TRUE(*stores_.catalog->FindImage(image.manifest));
  EXPECT_FALSE(reclaimer_->RemoveUnused({}, image.manifest, []() -> Result<bool> { return Error(Reason::kIo, "x"); }));
  EXPECT_TRUE(*stores_.catalog->FindImage(image.manifest));
  const auto absent = reclaimer_->RemoveUnused({}, digest::Digest::Of(bytes::AsView("nobody")), []() -> Result<bool> { return true; });
  ASSERT_TRUE(absent);
  EXPECT_FALSE(*absent);
}

TEST_F(StoredTest, UseOutlivesTheProcess) {
  const auto image = stores_.Publish("r:1", {Content('1', 10)});
  ASSERT_TRUE(stores_.catalog->AddMount({"/mnt/x", image.manifest, false}));
  ASSERT_TRUE(gc_->Detect({}));
  const auto used = stores_.clock.WallNow();
  ASSERT_TRUE(*stores_.catalog->RemoveMount("/mnt/x"));
  stores_.Reopen();
  stores_.clock.Advance(hours(3));
  Make();
  const auto report = gc_->Collect({}, {.dry_run = true, .unused = true});
  ASSERT_EQ(report.rows.size(), 1u);
  EXPECT_EQ(report.rows[0].last_used, used);
}

// I-06: a crash at any point leaves the old state or the new one, and the next round goes on.
class CrashAt : public StoredTest, public ::testing::WithParamInterface<const char*> {};
TEST_P(CrashAt, TheStoreIsWholeAndTheNextRoundGoesOn) {
  for (const int skip : {0, 1}) {
    const auto kept = stores_.Publish("r:kept", {Content('k', 5000)}, true);
    for (const char c : {'1', '2', '3'}) stores_.Publish(std::string("r:") + c, {Content('b', 9000), Content(c, 5000)}, true);
    ASSERT_TRUE(stores_.catalog->SetPin(kept.config, {}));
    available_ = 0;
    ASSERT_TRUE(host::ConfigureFaults(std::string(GetParam()) + "=error(EIO)*1@" + std::to_string(skip)));
    (void)gc_->Collect({});
    ASSERT_TRUE(host::ConfigureFaults(""));
    stores_.Reopen();
    Make();
    ASSERT_TRUE(reclaimer_->Recover({}));
    for (const auto& image : *stores_.catalog->ListImages())
      for (const auto& layer : image.layers) EXPECT_TRUE(*stores_.layers->Find(layer.blob)) << "absent beats half there";
    ASSERT_TRUE(gc_->Collect({}, {.unused = true}).verdict);
    ASSERT_TRUE(reclaimer_->Sweep({}, time::Duration::zero()));
    EXPECT_THAT(Names(), ElementsAre("r:kept"));
    EXPECT_TRUE(*stores_.layers->Find(kept.layers[0]));
    ASSERT_TRUE(*stores_.catalog->RemovePin(kept.config));
    ASSERT_TRUE(gc_->Collect({}, {.unused = true}).verdict);
    ASSERT_TRUE(reclaimer_->Sweep({}, time::Duration::zero()));
    EXPECT_EQ(Taken(), 0u);
  }
}
INSTANTIATE_TEST_SUITE_P(Points, CrashAt,
                         ::testing::Values("gc.mark", "gc.roots", "gc.candidates", "gc.delete", "gc.done", "remove.name-deleted", "remove.marked",
                                           "remove.trashed", "remove.deleted", "remove.synced", "remove.purged"));

}  // namespace
}  // namespace berth::reclaim
