#include "rootfs/mounter.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "host/probe.h"
#include "host/testing/mounts.h"
#include "reclaim/testing/stores.h"

namespace berth::rootfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using reclaim::testing::Stores;
using tar::testing::Builder;

std::string Read(const std::string& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Both forms give the same file system.
class MounterTest : public ::testing::TestWithParam<layer::Form> {
 protected:
  MounterTest() {
    target_ = places_.path() + "/target";
    std::filesystem::create_directory(target_);
  }
  ~MounterTest() override {
    mounter_.reset();
    while (host::Unmount(target_, host::Lazy::kYes).value_or(false)) {}
  }
  void SetUp() override {
    const auto can = host::Probe();
    if (!can.can_mount || !can.overlay) GTEST_SKIP() << "this machine lets us mount nothing";
    if (GetParam() == layer::Form::kErofs && !can.erofs) GTEST_SKIP() << "no EROFS in this kernel";
    auto opened = Mounter::Open(stores_.folder.path(), *stores_.layers);
    ASSERT_TRUE(opened) << opened.error().Text();
    mounter_ = *std::move(opened);
    base_archive_ = Builder().Dir("etc").File("etc/name", "base").File("etc/gone", "x").Dir("opq").File("opq/old", "x").File("data", std::string(100'000, 'd')).Finish();
    base_ = Add(base_archive_);
    top_ = Add(Builder().Dir("etc").File("etc/name", "top").File("etc/.wh.gone", "").Dir("opq").File("opq/.wh..wh..opq", "").File("opq/new", "n").Finish());
  }
  LayerRef Add(const std::string& archive) { return {stores_.AddLayer(archive, false, GetParam()), ""}; }
  std::vector<std::string> Writable() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(stores_.folder.path() + "/writable")) names.push_back(entry.path().filename());
    return names;
  }

  Stores stores_;
  reclaim::testing::Folder places_;  // to mount at
  std::string target_, base_archive_;
  std::unique_ptr<Mounter> mounter_;
  LayerRef base_, top_;
};

TEST_P(MounterTest, LayersLieOnEachOther) {
  const auto mounted = mounter_->Mount({}, {.layers = {base_, top_}, .target = target_});
  ASSERT_TRUE(mounted) << mounted.error().Text();
  EXPECT_EQ(Read(target_ + "/etc/name"), "top");
  EXPECT_FALSE(std::filesystem::exists(target_ + "/etc/gone"));
  EXPECT_FALSE(std::filesystem::exists(target_ + "/opq/old"));
  EXPECT_EQ(Read(target_ + "/opq/new"), "n");
  EXPECT_EQ(Read(target_ + "/data"), std::string(100'000, 'd'));
  EXPECT_EQ(::open((target_ + "/etc/name").c_str(), O_WRONLY | O_CLOEXEC), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_TRUE(*mounter_->IsMounted(target_));
  EXPECT_TRUE(*mounter_->Unmount(target_));
  EXPECT_FALSE(*mounter_->IsMounted(target_));
  EXPECT_FALSE(*mounter_->Unmount(target_));
}

TEST_P(MounterTest, ADamagedLayerIsNamedWithTheWayOut) {
  std::fstream meta(stores_.LayerFile(top_.blob, ".meta"), std::ios::in | std::ios::out | std::ios::binary);
  meta.seekp(1100);
  meta << "damage";
  meta.close();
  const auto mounted = mounter_->Mount({}, {.layers = {base_, top_}, .target = target_});
  ASSERT_FALSE(mounted);
  EXPECT_EQ(mounted.error().reason(), Reason::kCorrupt);
  EXPECT_THAT(mounted.error().Text(), HasSubstr(top_.blob.ToString()));
  EXPECT_THAT(mounted.error().next_step(), HasSubstr("berth fsck --repair"));
}

// Found by an audit: whoever mounts a repaired layer gets what is on the disk now, also while somebody looks at what was there before.
TEST_P(MounterTest, ALayerThatWasMadeAnewIsNotWhatStillIsMountedOfTheOldFiles) {
  const bool tree = GetParam() == layer::Form::kTree;
  const std::string file = tree ? stores_.LayerFile(base_.blob, ".tree") + "/data" : stores_.LayerFile(base_.blob, ".data");
  {
    std::fstream data(file, std::ios::in | std::ios::out | std::ios::binary);
    data << std::string(50'000, '!');
    ASSERT_TRUE(data.flush().good()) << file;
  }
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_}, .target = target_}));
  EXPECT_NE(Read(target_ + "/data"), std::string(100'000, 'd'));
  ASSERT_TRUE(*stores_.layers->Remove({}, base_.blob));
  const auto anew = Add(base_archive_);
  ASSERT_EQ(anew.blob, base_.blob);
  const std::string beside = places_.path() + "/beside";
  std::filesystem::create_directory(beside);
  const auto mounted = mounter_->Mount({}, {.layers = {anew}, .target = beside});
  ASSERT_TRUE(mounted) << mounted.error().Text();
  EXPECT_EQ(Read(beside + "/data"), std::string(100'000, 'd'));
  EXPECT_NE(Read(target_ + "/data"), std::string(100'000, 'd')) << "who looks at the old one goes on with it";
  EXPECT_TRUE(*mounter_->Unmount(beside));
}

TEST_P(MounterTest, OneLayerAloneShowsNoWhiteoutsAndNoLayersAtAllAnEmptyFolder) {
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {top_}, .target = target_}));
  EXPECT_FALSE(std::filesystem::exists(target_ + "/etc/gone"));
  EXPECT_EQ(Read(target_ + "/etc/name"), "top");
  ASSERT_TRUE(*mounter_->Unmount(target_));
  const auto mounted = mounter_->Mount({}, {.layers = {}, .target = target_});
  ASSERT_TRUE(mounted) << mounted.error().Text();
  EXPECT_TRUE(std::filesystem::is_empty(target_));
  EXPECT_TRUE(*mounter_->Unmount(target_));
}

TEST_P(MounterTest, AWritableMountForgetsAtUnmount) {
  const MountSpec spec{.layers = {base_, top_}, .target = target_, .writable = Writable::kYes};
  const auto mounted = mounter_->Mount({}, spec);
  ASSERT_TRUE(mounted) << mounted.error().Text();
  std::ofstream(target_ + "/etc/name") << "mine";
  std::filesystem::remove(target_ + "/data");
  EXPECT_EQ(Read(target_ + "/etc/name"), "mine");
  EXPECT_THAT(Writable(), SizeIs(1));
  ASSERT_TRUE(*mounter_->Unmount(target_));
  EXPECT_THAT(Writable(), IsEmpty());
  ASSERT_TRUE(mounter_->Mount({}, spec));
  EXPECT_EQ(Read(target_ + "/etc/name"), "top");
  EXPECT_TRUE(std::filesystem::exists(target_ + "/data"));
}

TEST_P(MounterTest, TheRootHasTheImagesModeAlsoWhenWritable) {
  const auto rooted = Add(Builder().Dir("./").Mode(01777).File("f", "x").Finish());
  for (const auto writable : {Writable::kNo, Writable::kYes}) {
    const auto mounted = mounter_->Mount({}, {.layers = {rooted}, .target = target_, .writable = writable});
    ASSERT_TRUE(mounted) << mounted.error().Text();
    struct stat st {};
    ASSERT_EQ(::stat(target_.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 01777u);
    ASSERT_TRUE(*mounter_->Unmount(target_));
  }
}

TEST_P(MounterTest, DevicesAndSetUserIdAreInertUnlessAskedFor) {
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_}, .target = target_}));
  const auto mounts = *host::ListMounts();
  const auto ours = std::ranges::find(mounts, target_, &host::MountInfo::target);
  ASSERT_NE(ours, mounts.end());
  EXPECT_THAT(ours->options, HasSubstr("nosuid"));
  EXPECT_THAT(ours->options, HasSubstr("nodev"));
  EXPECT_THAT(ours->options, HasSubstr("ro"));
}

TEST_P(MounterTest, NeverOverWhatTheMachineOrBerthItselfStandsOn) {
  if (!host::testing::PrivateMounts()) GTEST_SKIP() << "no right to mount here (CAP_SYS_ADMIN)";
  const std::string folder = stores_.folder.path(), places = places_.path(), used = places + "/run/a", disk = places + "/disk";
  const std::string pod = folder + "/pods/uid/images/data";
  for (const auto& path : {used + "/oci", disk, places + "/run/b", places + "/run/ab", pod, folder + "/podsy", folder + "/layers/x.tree"})
    std::filesystem::create_directories(path);
  mounter_ = *Mounter::Open(folder, *stores_.layers, {used});
  ASSERT_EQ(::mount("disk", disk.c_str(), "tmpfs", 0, nullptr), 0);
  for (const std::string& target :
       {std::string("/"), std::string("/proc"), std::string("/proc/self/.."), std::string("/sys"), std::string("/dev"), std::string("/proc/self/root"), folder,
        folder + "/..", std::filesystem::path(folder).parent_path().string(), used, places + "/run", disk, disk + "/",
        folder + "/layers", folder + "/layers/x.tree", folder + "/tmp", folder + "/ingest", folder + "/blobs/sha256", folder + "/podsy",
        folder + "/pods", folder + "/pods/../tmp", used + "/oci"}) {
    const auto mounted = mounter_->Mount({}, {.layers = {base_}, .target = target});
    ASSERT_FALSE(mounted) << target;
    EXPECT_EQ(mounted.error().reason(), Reason::kUsage) << mounted.error().Text();
    EXPECT_EQ(mounted.error().next_step(), "name an empty directory of your own");
  }
  EXPECT_THAT(Writable(), IsEmpty());
  for (const auto& target : {places + "/run/b", places + "/run/ab", pod}) {
    const auto mounted = mounter_->Mount({}, {.layers = {base_}, .target = target});
    ASSERT_TRUE(mounted) << mounted.error().Text();
    EXPECT_TRUE(*mounter_->Unmount(target));
  }
  EXPECT_TRUE(*host::Unmount(disk));
}

TEST_P(MounterTest, SurvivesTheRestartOfTheDaemon) {
  const auto second = target_ + "2";
  std::filesystem::create_directory(second);
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_}, .target = target_, .writable = Writable::kYes}));
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_, top_}, .target = second, .writable = Writable::kYes}));
  mounter_.reset();
  EXPECT_EQ(Read(target_ + "/etc/name"), "base") << "the kernel holds it";
  ASSERT_TRUE(*host::Unmount(second, host::Lazy::kNo)) << "somebody else did it meanwhile";
  mounter_ = *Mounter::Open(stores_.folder.path(), *stores_.layers);
  EXPECT_THAT(Writable(), SizeIs(1)) << "the one that is gone left its upper directory";
  EXPECT_TRUE(*mounter_->IsMounted(target_));
  EXPECT_EQ(mounter_->Mount({}, {.layers = {base_}, .target = target_}).error().reason(), Reason::kConflict);
  EXPECT_TRUE(*mounter_->Unmount(target_));
  EXPECT_THAT(Writable(), IsEmpty());
}

TEST_P(MounterTest, RefusesWhatIsNoMountPoint) {
  std::ofstream(stores_.folder.path() + "/file") << "x";
  for (const std::string& target : {std::string("relative"), stores_.folder.path() + "/missing", stores_.folder.path() + "/file", std::string()}) {
    const auto mounted = mounter_->Mount({}, {.layers = {base_}, .target = target});
    ASSERT_FALSE(mounted);
    EXPECT_EQ(mounted.error().reason(), Reason::kUsage) << mounted.error().Text();
  }
  std::filesystem::create_directory(places_.path() + "/tmp");
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_}, .target = target_}));
  EXPECT_EQ(mounter_->Mount({}, {.layers = {base_}, .target = target_}).error().reason(), Reason::kConflict);
  EXPECT_EQ(mounter_->Mount({}, {.layers = {base_}, .target = target_ + "/"}).error().reason(), Reason::kConflict) << "another spelling of it";
  EXPECT_EQ(mounter_->Mount({}, {.layers = {LayerRef{digest::Digest::Of(bytes::AsView("no")), ""}}, .target = places_.path() + "/tmp"})
                .error().reason(), Reason::kMissing);
}

TEST_P(MounterTest, AMountInUseStaysWhole) {
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_}, .target = target_, .writable = Writable::kYes}));
  {
    std::ifstream busy(target_ + "/etc/name");
    ASSERT_TRUE(busy);
    EXPECT_EQ(mounter_->Unmount(target_).error().reason(), Reason::kInUse);
    EXPECT_THAT(Writable(), SizeIs(1));
    EXPECT_TRUE(*mounter_->IsMounted(target_));
  }
  EXPECT_TRUE(*mounter_->Unmount(target_));
}

TEST_P(MounterTest, LeavesOthersMountsAlone) {
  ASSERT_TRUE(host::BindReadOnly(stores_.folder.path() + "/layers", target_));
  EXPECT_FALSE(*mounter_->IsMounted(target_));
  EXPECT_FALSE(*mounter_->Unmount(target_));
  EXPECT_TRUE(*host::Unmount(target_));
}

TEST_P(MounterTest, WhatLiesOverOursIsNotOursToUnmount) {
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_}, .target = target_}));
  ASSERT_TRUE(host::BindReadOnly(stores_.folder.path() + "/layers", target_));
  EXPECT_EQ(mounter_->Unmount(target_).error().reason(), Reason::kInUse);
  ASSERT_TRUE(*host::Unmount(target_));
  EXPECT_TRUE(*mounter_->Unmount(target_));
}

TEST_P(MounterTest, AnOpaqueRootHidesAllBelow) {
  const auto opaque = Add(Builder().File(".wh..wh..opq", "").File("new", "n").Finish());
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_, opaque, top_}, .target = target_}));
  EXPECT_FALSE(std::filesystem::exists(target_ + "/data"));
  EXPECT_EQ(Read(target_ + "/new"), "n");
  EXPECT_EQ(Read(target_ + "/etc/name"), "top");
}

// What readdir gives, below `folder`, sorted.
std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

TEST_P(MounterTest, ListingsShowNoWhiteout) {
  const auto hiding = Add(Builder().Dir("new").File("new/.wh.x").File("new/file", "n").Dir("opq").File("opq/.wh..wh..opq").File("opq/.wh.old")
                              .File("etc/.wh.gone").File(".wh.data").File(".wh.nothing").File("only/.wh.x").Finish());
  const auto over = Add(Builder().File("new/more", "m").File("etc/more", "m").Finish());
  for (const auto writable : {Writable::kNo, Writable::kYes}) {
    const auto mounted = mounter_->Mount({}, {.layers = {base_, hiding}, .target = target_, .writable = writable});
    ASSERT_TRUE(mounted) << mounted.error().Text();
    EXPECT_THAT(Names(target_), ElementsAre("etc", "new", "only", "opq"));
    EXPECT_THAT(Names(target_ + "/new"), ElementsAre("file"));
    EXPECT_THAT(Names(target_ + "/only"), IsEmpty());
    EXPECT_THAT(Names(target_ + "/opq"), IsEmpty());
    EXPECT_THAT(Names(target_ + "/etc"), ElementsAre("name"));
    ASSERT_TRUE(*mounter_->Unmount(target_));
  }
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {hiding}, .target = target_})) << "on its own";
  EXPECT_THAT(Names(target_), ElementsAre("etc", "new", "only", "opq"));
  EXPECT_THAT(Names(target_ + "/etc"), IsEmpty());
  ASSERT_TRUE(*mounter_->Unmount(target_));
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_, hiding, over}, .target = target_})) << "merged";
  EXPECT_THAT(Names(target_ + "/new"), ElementsAre("file", "more"));
  EXPECT_THAT(Names(target_ + "/etc"), ElementsAre("more", "name"));
}

TEST_P(MounterTest, ALayerThatComesTwiceIsItsUpperOne) {
  const auto x = Add(Builder().Dir("d").Mode(0700).File("d/f", "x").File("d/.wh.hidden").File("o/.wh..wh..opq").File("o/x", "x").File("file", "x").Finish());
  const auto w = Add(Builder().Dir("d").File("d/.wh.f").File("d/hidden", "w").File("d/w", "w").File("o/w", "w").File(".wh.file").Finish());
  const auto files = Add(Builder().File("d", "no folder").File("o", "no folder").Finish());
  struct Stack { std::vector<LayerRef> layers; std::vector<std::string> d, o; const char* why; };
  for (const Stack& stack : {Stack{{x, w, x}, {"f", "w"}, {"x"}, "it deletes what the upper one has again"},
                             Stack{{w, x, w}, {"hidden", "w"}, {"w", "x"}, "the lower w is below x's opaque folder; the upper w hides f"},
                             Stack{{base_, x, w, x, w}, {"hidden", "w"}, {"w", "x"}, "both twice"},
                             Stack{{x, files, x}, {"f"}, {"x"}, "something that is no folder between"},
                             Stack{std::vector<LayerRef>(50, x), {"f"}, {"x"}, "B-32"}}) {
    const auto mounted = mounter_->Mount({}, {.layers = stack.layers, .target = target_});
    ASSERT_TRUE(mounted) << stack.why << ": " << mounted.error().Text();
    EXPECT_EQ(Names(target_ + "/d"), stack.d) << stack.why;
    EXPECT_EQ(Names(target_ + "/o"), stack.o) << stack.why;
    EXPECT_EQ(std::filesystem::exists(target_ + "/file"), stack.layers.back().blob == x.blob) << stack.why;
    EXPECT_TRUE(*mounter_->Unmount(target_));
  }
}

TEST_P(MounterTest, LayersRemovedWhileMountedStayReadable) {
  ASSERT_TRUE(mounter_->Mount({}, {.layers = {base_}, .target = target_}));
  if (GetParam() == layer::Form::kErofs) {
    ASSERT_TRUE(*stores_.layers->Remove({}, base_.blob));
    EXPECT_EQ(Read(target_ + "/data"), std::string(100'000, 'd'));
  }
  EXPECT_TRUE(*mounter_->Unmount(target_));
}

INSTANTIATE_TEST_SUITE_P(Forms, MounterTest, ::testing::Values(layer::Form::kErofs, layer::Form::kTree),
                         [](const auto& form) { return std::string(layer::Name(form.param)); });

}  // namespace
}  // namespace berth::rootfs
