// P15: garbage collection never removes what is needed, and never leaves what is not.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "reclaim/stored_images.h"
#include "reclaim/testing/stores.h"

namespace berth::reclaim {
namespace {

using digest::Digest;

constexpr int kImages = 8;      // the last is pinned, the first three are also removed by people
constexpr int kRemovable = 3;

class Stress : public ::testing::TestWithParam<int> {
 protected:
  Stress()
      : reclaimer_(Parts(), stores_.clock), images_(reclaimer_, Parts(), Ages{.unneeded = {}, .partials = {}}),
        gc_({.high_percent = 90, .low_percent = 80, .min_age = {}, .max_age = {}},
            {images_,
             [this](const task::Context&) -> Result<InUse> {
               ASSIGN_OR_RETURN(InUse in_use, MountedImages(*stores_.catalog));
               std::lock_guard lock(mutex_);
               for (const auto& [id, pods] : pods_)
                 if (pods > 0) in_use.emplace(id, "a Pod");
               return in_use;
             },
             [this]() -> Result<host::Space> { return host::Space{.total_bytes = 1000, .available_bytes = full_ ? 0u : 500u}; },
             [](std::string_view, const std::string&) {}, {}, stores_.clock}) {
    for (int i = 0; i < kImages; ++i) {
      Plan plan;
      for (const auto& name : {std::string("base"), "third-" + std::to_string(i / 3), "own-" + std::to_string(i)})
        plan.archives.push_back(testing::Tar(name, std::string(3000, static_cast<char>('a' + i))));
      std::string text;
      for (const auto& archive : plan.archives) {
        plan.layers.push_back(Digest::Of(bytes::AsView(archive)));
        text += plan.layers.back().ToString();
      }
      plan.name = "r:" + std::to_string(i);
      plan.documents = {"manifest " + text, "config " + text};
      plans_.push_back(std::move(plan));
    }
  }
  struct Plan {
    std::string name;
    std::vector<std::string> archives, documents;
    std::vector<Digest> layers;
    Digest manifest() const { return Digest::Of(bytes::AsView(documents[0])); }
    Digest config() const { return Digest::Of(bytes::AsView(documents[1])); }
  };
  Reclaimer::Stores Parts() { return {*stores_.content, *stores_.layers, *stores_.catalog, *stores_.leases}; }

  // As pull::Puller does it: lease, then look what is there, then publish.
  void Pull(const Plan& plan, bool keep) {
    std::vector<Digest> objects = plan.layers;
    objects.insert(objects.end(), {plan.manifest(), plan.config()});
    const auto lease = *stores_.leases->Acquire({}, objects);
    catalog::ImageRecord row{.manifest = plan.manifest(), .config = plan.config(), .platform = "linux/amd64", .size = 1};
    for (std::size_t i = 0; i < plan.layers.size(); ++i) {
      std::lock_guard flight(flight_);  // one for a blob
      const auto here = *stores_.layers->Find(plan.layers[i]);
      if (!here) {
        stores_.AddLayer(plan.archives[i], keep);
      } else if (!*stores_.catalog->FindLayer(plan.layers[i])) {
        ASSERT_TRUE(stores_.catalog->AddLayer({.blob = plan.layers[i], .diff_id = plan.layers[i], .stored_bytes = here->disk_bytes}));
      }
      row.layers.push_back({plan.layers[i], plan.layers[i], ""});
    }
    for (const auto& document : plan.documents) ASSERT_TRUE(stores_.content->Put(Digest::Of(bytes::AsView(document)), document));
    const auto published = stores_.catalog->PublishImage(
        {.name = plan.name, .implied_name = std::nullopt, .target = plan.manifest(), .media_type = "m",
         .documents = {{plan.manifest(), 1}, {plan.config(), 1}}, .images = {row}, .pull = std::nullopt, .journal = "{}"});
    ASSERT_TRUE(published) << published.error().Text();
  }
  bool Present(const Plan& plan) {
    return *stores_.catalog->FindName(plan.name) && !stores_.leases->claimed(plan.manifest());
  }
  // As a Pod does it: counts as a user first, then looks or pulls, mounts, runs, unmounts.
  void RunPod(int i, const std::string& target, bool keep) {
    const Plan& plan = plans_[static_cast<std::size_t>(i)];
    Count(plan, +1);
    if (!Present(plan)) Pull(plan, keep);
    const auto mounted = stores_.catalog->AddMount({target, plan.manifest(), false});
    EXPECT_TRUE(mounted || i < kRemovable) << "image " << i << " went between look and mount";
    if (mounted) {
      for (const auto& layer : plan.layers) {
        const auto there = stores_.layers->Find(layer);
        EXPECT_TRUE(there && *there) << "a layer of mounted image " << i << " is gone";
      }
      for (const auto& document : plan.documents) EXPECT_TRUE(*stores_.content->Size(Digest::Of(bytes::AsView(document))));
      EXPECT_TRUE(*stores_.catalog->RemoveMount(target));
    }
    Count(plan, -1);
  }
  void Count(const Plan& plan, int by) {
    std::lock_guard lock(mutex_);
    pods_[plan.config().ToString()] += by;
  }

  testing::Stores stores_;
  std::vector<Plan> plans_;
  std::mutex mutex_, flight_;
  std::map<std::string, int> pods_;  // guarded by mutex_
  std::atomic<bool> full_ = false;
  Reclaimer reclaimer_;
  StoredImages images_;
  ImageGc gc_;
};

TEST_P(Stress, NothingNeededGoesAndNothingElseStays) {
  const char* more = std::getenv("BERTH_STRESS_ROUNDS");  // nightly: 10000
  const int rounds = more != nullptr ? std::atoi(more) : 120;
  const Plan& pinned = plans_.back();
  Pull(pinned, true);
  ASSERT_TRUE(stores_.catalog->SetPin(pinned.config(), {"stress", "", {}}));
  std::atomic<int> left = rounds;
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 3; ++t)
      threads.emplace_back([&, t] {
        std::mt19937_64 random(static_cast<std::uint64_t>(GetParam()) * 100 + t);
        while (left.fetch_sub(1) > 0) RunPod(static_cast<int>(random() % kImages), "/mnt/" + std::to_string(t), random() % 2 == 0);
      });
    threads.emplace_back([&] {
      std::mt19937_64 random(static_cast<std::uint64_t>(GetParam()) * 100 + 50);
      while (left > 0) {
        stores_.clock.Advance(std::chrono::seconds(1));
        switch (random() % 6) {
          case 0: (void)reclaimer_.RemoveName({}, plans_[random() % kRemovable].name); break;
          case 1: EXPECT_TRUE(reclaimer_.Sweep({}, time::Duration::zero())); break;
          case 2: EXPECT_TRUE(reclaimer_.FreeCache({}, random() % 20'000)); break;
          case 3: full_ = !full_; break;
          default: {
            const auto report = gc_.Collect({}, {.unused = random() % 2 == 0});
            EXPECT_TRUE(report.verdict || report.verdict.error().reason() == Reason::kNoSpace) << report.verdict.error().Text();
          }
        }
        EXPECT_TRUE(*stores_.catalog->FindImage(pinned.manifest()));
        for (const auto& layer : pinned.layers) EXPECT_TRUE(*stores_.layers->Find(layer)) << "of the pinned image";
      }
    });
  }
  EXPECT_EQ(stores_.leases->size(), 0u);
  stores_.clock.Advance(std::chrono::seconds(1));
  ASSERT_TRUE(gc_.Collect({}, {.unused = true}).verdict);
  EXPECT_EQ(stores_.catalog->ListImages()->size(), 1u) << "the pinned one";
  ASSERT_TRUE(*stores_.catalog->RemovePin(pinned.config()));
  ASSERT_TRUE(gc_.Collect({}, {.unused = true}).verdict);
  ASSERT_TRUE(reclaimer_.Sweep({}, time::Duration::zero()));
  EXPECT_TRUE(stores_.layers->DiskBytes()->empty());
  EXPECT_TRUE(stores_.content->List()->empty());
  EXPECT_TRUE(stores_.catalog->ListLayers()->empty());
}
INSTANTIATE_TEST_SUITE_P(Seeds, Stress, ::testing::Values(1, 2, 3));

}  // namespace
}  // namespace berth::reclaim
