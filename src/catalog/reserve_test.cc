#include "catalog/reserve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "catalog/catalog.h"
#include "host/testing/mounts.h"
#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::catalog {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;

Digest Of(std::string_view text) { return Digest::Of(bytes::AsView(text)); }

// A file system of eight MiB.
class ReserveTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!host::testing::PrivateMounts() || ::mount("tmpfs", scratch_.path().c_str(), "tmpfs", 0, "size=8m") != 0)
      GTEST_SKIP() << "no right to mount here (CAP_SYS_ADMIN)";
    mounted_ = true;
    disk_ = *host::Dir::Open(scratch_.path());
  }
  void TearDown() override {
    if (mounted_) ::umount2(scratch_.path().c_str(), MNT_DETACH);
  }
  // Leaves so many bytes.
  void FillDisk(std::uint64_t left = 0) {
    const auto file = *disk_.CreateOrOpen("fill");
    const auto has = host::Stat(file.get())->allocated;
    ASSERT_TRUE(host::Preallocate(file.get(), has + Free() - left));
    ASSERT_EQ(Free(), left);
  }
  std::uint64_t Free() { return disk_.FreeSpace()->free_bytes; }
  std::uint64_t Held() {
    const auto file = disk_.Stat(Reserve::kName);
    return file ? file->allocated : 0;
  }

  host::testing::Scratch scratch_;
  host::Dir disk_;
  bool mounted_ = false;
};

TEST_F(ReserveTest, TakesAtMostHalfOfWhatIsFree) {
  struct Row {
    std::uint64_t wanted, free, held;
  };
  for (const Row& row : {Row{2 * kMiB, 8 * kMiB, 2 * kMiB}, Row{2 * kMiB, 4 * kMiB, 2 * kMiB}, Row{2 * kMiB, 4 * kMiB - 4096, kMiB},
                         Row{2 * kMiB, kMiB / 4, kMiB / 8}, Row{2 * kMiB, kMiB / 4 - 4096, 0}, Row{2 * kMiB, 0, 0}, Row{0, 8 * kMiB, 0}}) {
    FillDisk(row.free);
    Reserve reserve(*host::Dir::Open(scratch_.path()), row.wanted);
    reserve.Fill();
    EXPECT_EQ(Held(), row.held) << row.free;
    EXPECT_EQ(Free(), row.free - row.held);
    EXPECT_EQ(reserve.Release(), row.held > 0);
    EXPECT_EQ(Free(), row.free);
    EXPECT_FALSE(reserve.Release());
    (void)disk_.Unlink("fill");
  }
}

// What a kill or a power cut in the middle of Fill() may leave is filled at the next one.
TEST_F(ReserveTest, IsMadeWholeFromWhateverACrashLeft) {
  for (const std::uint64_t left : {std::uint64_t{0}, std::uint64_t{4096}, kMiB, 2 * kMiB}) {
    {
      const auto file = *disk_.CreateOrOpen(Reserve::kName);
      ASSERT_TRUE(host::Truncate(file.get(), 0));
      ASSERT_TRUE(left == 0 || host::Preallocate(file.get(), left));
    }
    Reserve reserve(*host::Dir::Open(scratch_.path()), 2 * kMiB);
    reserve.Fill();
    EXPECT_EQ(Held(), 2 * kMiB) << left;
    EXPECT_TRUE(reserve.Release());
    EXPECT_EQ(Held(), 0u) << left;
  }
}

TEST_F(ReserveTest, GrowsAndNeverShrinks) {
  Reserve reserve(*host::Dir::Open(scratch_.path()), 2 * kMiB);
  FillDisk(3 * kMiB);
  reserve.Fill();
  EXPECT_EQ(Held(), kMiB);
  FillDisk();
  reserve.Fill();
  EXPECT_EQ(Held(), kMiB);
  EXPECT_TRUE(*disk_.Unlink("fill"));
  reserve.Fill();
  EXPECT_EQ(Held(), 2 * kMiB);
}

class FullDiskTest : public ReserveTest {
 protected:
  void Open(std::uint64_t reserve) {
    catalog_.reset();
    auto opened = Catalog::Open(scratch_.path(), clock_, {}, reserve);
    ASSERT_TRUE(opened) << opened.error().Text();
    catalog_ = *std::move(opened);
  }
  void Prepare(std::uint64_t reserve) {
    Open(reserve);
    for (const std::string name : {"a:1", "b:1"})
      ASSERT_TRUE(catalog_->PublishImage({.name = name, .implied_name = std::nullopt, .target = Of(name), .media_type = "m",
                                          .documents = {{Of(name), 1}}, .images = {{.manifest = Of(name), .config = Of(name + "c")}},
                                          .pull = std::nullopt, .journal = "{}"}));
    ASSERT_TRUE(catalog_->AddLayer({.blob = Of("layer"), .diff_id = Of("layer")}));
    ASSERT_TRUE(catalog_->AddBlob({Of("kept"), 1, BlobKind::kLayer}));
    ASSERT_TRUE(catalog_->SetPin(Of("pin"), {}));
    ASSERT_TRUE(catalog_->AddMount({"/mnt", Of("b:1")}));
    FillDisk();
  }

  time::testing::ManualClock clock_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(FullDiskTest, WhatRemovesWorksAndPullsGetNothing) {
  using Removal = std::function<Result<>(Catalog&)>;
  const auto drop = [](auto result) { return result ? Result<>() : Result<>(std::move(result).error()); };
  const std::pair<const char*, Removal> rows[] = {
      {"name", [&](Catalog& c) { return drop(c.RemoveName("a:1")); }},
      {"image", [&](Catalog& c) { return drop(c.RemoveImage(Of("a:1"))); }},
      {"forget", [&](Catalog& c) { return drop(c.Forget({.layers = {Of("layer")}, .blobs = {}})); }},
      {"damaged", [&](Catalog& c) { return c.ForgetDamaged(Of("a:1")); }},
      {"blob", [&](Catalog& c) { return c.ForgetBlob(Of("kept")); }},
      {"pin", [&](Catalog& c) { return drop(c.RemovePin(Of("pin"))); }},
      {"mount", [&](Catalog& c) { return drop(c.RemoveMount("/mnt")); }},
  };
  for (const auto& [what, remove] : rows) {
    for (const std::uint64_t reserve : {std::uint64_t{0}, kMiB}) {
      Prepare(reserve);
      EXPECT_EQ(catalog_->BeginPull("c:1").error().reason(), Reason::kNoSpace) << what;
      EXPECT_EQ(Held(), reserve) << what;
      const auto done = remove(*catalog_);
      EXPECT_EQ(done.has_value(), reserve > 0) << what;
      EXPECT_TRUE(done || done.error().reason() == Reason::kNoSpace) << done.error().Text();
      EXPECT_EQ(Held(), 0u) << what;
      catalog_->FillReserve();
      EXPECT_EQ(Held(), reserve / 4) << "what is left of it, by half";
      catalog_.reset();
      for (const auto& name : *disk_.List()) ASSERT_TRUE(*disk_.Unlink(name));
    }
  }
}

TEST_F(FullDiskTest, OpensAndKeepsHalfOfIt) {
  Prepare(kMiB);
  catalog_.reset();
  FillDisk();
  Open(kMiB);
  EXPECT_GE(Held(), kMiB / 4);
  EXPECT_GE(Free(), Held()) << "for the rest of the start";
  EXPECT_TRUE(*catalog_->RemoveName("a:1"));
}

}  // namespace
}  // namespace berth::catalog
