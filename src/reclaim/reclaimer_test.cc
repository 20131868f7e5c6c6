#include "reclaim/reclaimer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "host/fault.h"
#include "reclaim/testing/stores.h"

namespace berth::reclaim {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using testing::Stores;
using testing::Tar;

const std::string kBase = Tar("base", std::string(5000, 'b')), kTop = Tar("top", std::string(9000, 't')), kOther = Tar("other", "o");

digest::Digest Of(std::string_view text) { return digest::Digest::Of(bytes::AsView(text)); }

class ReclaimerTest : public ::testing::Test {
 protected:
  Reclaimer Make() { return Reclaimer({*stores_.content, *stores_.layers, *stores_.catalog, *stores_.leases}, stores_.clock); }
  std::vector<std::string> LayersOnDisk() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(stores_.folder.path() + "/layers")) names.push_back(entry.path().filename());
    return names;
  }
  std::size_t Blobs() { return stores_.content->List()->size(); }
  Stores stores_;
};

TEST_F(ReclaimerTest, TheLastNameTakesTheImageAndWhatOnlyItNeeded) {
  const auto one = stores_.Publish("r:1", {kBase, kTop}, /*keep_blobs=*/true);
  const auto two = stores_.Publish("r:2", {kBase, kOther}, true);
  auto reclaimer = Make();
  const auto removed = reclaimer.RemoveName({}, "r:1");
  ASSERT_TRUE(removed) << removed.error().Text();
  EXPECT_THAT(removed->names, ElementsAre("r:1"));
  EXPECT_THAT(removed->manifests, ElementsAre(one.manifest));
  EXPECT_GE(removed->freed.bytes, 9000u + kTop.size());
  EXPECT_EQ(removed->freed.objects.size(), 4u) << "a layer, its kept blob, a manifest, a config";
  EXPECT_FALSE(*stores_.layers->Find(one.layers[1]));
  EXPECT_TRUE(*stores_.layers->Find(two.layers[0])) << "shared";
  EXPECT_TRUE(*stores_.content->Size(two.layers[0]));
  EXPECT_EQ(Blobs(), 4u);
  ASSERT_TRUE(reclaimer.RemoveName({}, "r:2"));
  EXPECT_THAT(LayersOnDisk(), IsEmpty());
  EXPECT_EQ(Blobs(), 0u);
}

TEST_F(ReclaimerTest, AnImageGoesWithAllItsNames) {
  const auto one = stores_.Publish("r:1", {kBase});
  ASSERT_EQ(stores_.Publish("r:latest", {kBase}).manifest, one.manifest);
  const auto removed = Make().RemoveImage({}, one.manifest);
  ASSERT_TRUE(removed);
  EXPECT_THAT(removed->names, UnorderedElementsAre("r:1", "r:latest"));
  EXPECT_THAT(removed->manifests, ElementsAre(one.manifest));
  EXPECT_THAT(LayersOnDisk(), IsEmpty());
}

// Found by an audit: rows went, and the files of layers in tree form stayed until the next start.
TEST_F(ReclaimerTest, WhatWasBegunIsDoneAlsoWhenWhoAskedHasGone) {
  for (const auto form : {layer::Form::kErofs, layer::Form::kTree}) {
    stores_.Publish("r:1", {kBase, kTop}, true, form);
    std::stop_source gone;
    gone.request_stop();
    const auto removed = Make().RemoveName(task::Context(gone.get_token()), "r:1");
    ASSERT_TRUE(removed) << removed.error().Text();
    EXPECT_THAT(LayersOnDisk(), IsEmpty());
    EXPECT_TRUE(std::filesystem::is_empty(stores_.folder.path() + "/tmp"));
    EXPECT_EQ(Blobs(), 0u);
  }
}

TEST_F(ReclaimerTest, ANameOfSeveralLeavesTheImage) {
  const auto one = stores_.Publish("r:1", {kBase});
  stores_.Publish("r:2", {kBase});
  const auto removed = Make().RemoveName({}, "r:1");
  ASSERT_TRUE(removed);
  EXPECT_THAT(removed->manifests, IsEmpty());
  EXPECT_EQ(removed->freed.objects.size(), 0u);
  EXPECT_TRUE(*stores_.layers->Find(one.layers[0]));
}

TEST_F(ReclaimerTest, WhatIsNotThereOrMountedIsRefused) {
  const auto one = stores_.Publish("r:1", {kBase});
  EXPECT_EQ(Make().RemoveName({}, "r:9").error().reason(), Reason::kNotFound);
  EXPECT_EQ(Make().RemoveImage({}, Of("x")).error().reason(), Reason::kNotFound);
  ASSERT_TRUE(stores_.catalog->AddMount({"/mnt/x", one.manifest, false}));
  EXPECT_EQ(Make().RemoveName({}, "r:1").error().reason(), Reason::kInUse);
  EXPECT_EQ(Make().RemoveImage({}, one.manifest).error().reason(), Reason::kInUse);
  EXPECT_TRUE(*stores_.catalog->FindName("r:1"));
  EXPECT_TRUE(*stores_.layers->Find(one.layers[0]));
}

TEST_F(ReclaimerTest, ASweepTakesOnlyWhatIsUnneededOldAndNotInUse) {
  const auto image = stores_.Publish("r:1", {kBase});
  const auto left = stores_.AddLayer(kTop), leased = stores_.AddLayer(kOther);
  { auto partial = *stores_.content->Resume(Of("p"), 100); ASSERT_TRUE(partial->Append(bytes::AsView("12345"))); }
  auto lease = *stores_.leases->Acquire({}, {leased});
  auto reclaimer = Make();
  EXPECT_EQ(reclaimer.Sweep({}, std::chrono::hours(1))->objects.size(), 0u) << "too young";
  EXPECT_EQ(stores_.content->Partials()->size(), 1u);
  stores_.clock.Advance(std::chrono::hours(2));
  EXPECT_EQ(reclaimer.Sweep({}, std::chrono::hours(1))->objects.size(), 2u) << "the layer, and the partial";
  EXPECT_FALSE(*stores_.layers->Find(left));
  EXPECT_TRUE(*stores_.layers->Find(leased));
  EXPECT_TRUE(*stores_.layers->Find(image.layers[0]));
  lease.Release();
  const auto all = reclaimer.Sweep({}, time::Duration::zero());
  EXPECT_EQ(all->objects.size(), 1u);
  EXPECT_FALSE(*stores_.layers->Find(leased));
  EXPECT_TRUE(*stores_.layers->Find(image.layers[0]));
}

// A pull that fails after its documents were stored records nothing (found by lab/matrix.py).
TEST_F(ReclaimerTest, DocumentsOfAFailedPullGoWithTheirAgeUnlessAPullUsesThem) {
  const std::string kept = "{\"kept\":1}", stray = "{\"stray\":1}";
  ASSERT_TRUE(stores_.content->Put(Of(kept), kept));
  ASSERT_TRUE(stores_.content->Put(Of(stray), stray));
  auto reclaimer = Make();
  {
    const auto lease = *stores_.leases->Acquire({}, {Of(kept)});
    EXPECT_EQ(reclaimer.Sweep({}, std::chrono::hours(1))->objects.size(), 0u) << "young";
    stores_.clock.Advance(std::chrono::hours(2));
    EXPECT_EQ(reclaimer.Sweep({}, std::chrono::hours(1))->objects.size(), 1u);
    EXPECT_TRUE(*stores_.content->Size(Of(kept)));
    EXPECT_FALSE(*stores_.content->Size(Of(stray)));
  }
  EXPECT_EQ(reclaimer.Sweep({}, time::Duration::zero())->objects.size(), 1u);
  EXPECT_EQ(Blobs(), 0u);
}

TEST_F(ReclaimerTest, PartialsHaveAnAgeOfTheirOwnAndThoseInUseStay) {
  auto busy = *stores_.content->Resume(Of("busy"), 100);
  { auto partial = *stores_.content->Resume(Of("p"), 100); ASSERT_TRUE(partial->Append(bytes::AsView("12345"))); }
  auto reclaimer = Make();
  const Ages ages{.unneeded = std::chrono::hours(1), .partials = std::chrono::hours(72)};
  stores_.clock.JumpWall(std::chrono::hours(71));
  EXPECT_EQ(reclaimer.Sweep({}, ages)->objects.size(), 0u);
  stores_.clock.JumpWall(std::chrono::hours(2));
  const auto freed = reclaimer.Sweep({}, ages);
  EXPECT_EQ(freed->objects.size(), 1u);
  EXPECT_GT(freed->bytes, 0u);
  EXPECT_EQ(reclaimer.Sweep({}, time::Duration::zero())->objects.size(), 0u) << "somebody writes it";
}

TEST_F(ReclaimerTest, RoomForAPullIsTheCacheThenPartialsButNothingThatAPullHas) {
  const auto image = stores_.Publish("r:1", {kBase, kTop}, true);
  const auto begin = [&](std::string_view what) {
    auto partial = *stores_.content->Resume(Of(what), 100);
    EXPECT_TRUE(partial->Append(bytes::AsView("12345")));
    return partial;
  };
  const auto busy = begin("busy");
  begin("waits for its slot");
  begin("nobody's");
  const auto lease = *stores_.leases->Acquire({}, {image.layers[1], Of("waits for its slot")});
  auto reclaimer = Make();
  const auto names = [](const Result<Freed>& freed) {
    std::vector<std::string> out;
    for (const auto& object : freed->objects) out.push_back(object.first);
    return out;
  };
  EXPECT_THAT(names(reclaimer.MakeRoom({}, 0)), IsEmpty());
  EXPECT_THAT(names(reclaimer.MakeRoom({}, 1ull << 50)), IsEmpty()) << "that would not do";
  EXPECT_THAT(names(reclaimer.MakeRoom({}, 1)), ElementsAre("blob " + image.layers[0].ToString()));
  EXPECT_THAT(names(reclaimer.MakeRoom({}, ~std::uint64_t{0})), ElementsAre("partial " + Of("nobody's").ToString())) << "all that can go";
  EXPECT_EQ(stores_.content->Partials()->size(), 2u);
  EXPECT_TRUE(*stores_.content->Size(image.layers[1])) << "a pull has it";
  for (const auto& layer : image.layers) EXPECT_TRUE(*stores_.layers->Find(layer));
  EXPECT_EQ(stores_.leases->size(), 2u) << "and nothing is claimed any more";
  EXPECT_FALSE(stores_.leases->claimed(Of("nobody's")));
}

TEST_F(ReclaimerTest, AClockThatWasSetBackByLessThanTheAgeCostsNoPartial) {
  { auto partial = *stores_.content->Resume(Of("p"), 100); ASSERT_TRUE(partial->Append(bytes::AsView("12345"))); }
  stores_.clock.JumpWall(-std::chrono::hours(1));
  EXPECT_EQ(Make().Sweep({}, std::chrono::hours(2))->objects.size(), 0u);
  EXPECT_EQ(Make().Sweep({}, std::chrono::minutes(30))->objects.size(), 1u);
}

TEST_F(ReclaimerTest, AClockThatWasSetBackKeepsNothingForEver) {
  const auto image = stores_.Publish("r:1", {kBase});
  stores_.AddLayer(kTop);
  { auto partial = *stores_.content->Resume(Of("p"), 100); ASSERT_TRUE(partial->Append(bytes::AsView("12345"))); }
  stores_.clock.JumpWall(-std::chrono::hours(24 * 365 * 10));
  EXPECT_EQ(Make().Sweep({}, Ages{})->objects.size(), 2u);
  EXPECT_TRUE(*stores_.layers->Find(image.layers[0])) << "needed, whatever the clock says";
  stores_.clock.JumpWall(std::chrono::hours(24 * 365 * 20));
  EXPECT_EQ(Make().Sweep({}, Ages{})->objects.size(), 0u);
}

TEST_F(ReclaimerTest, RecoverAdoptsFilesWithoutRowsAndForgetsRowsWithoutFiles) {
  const auto whole = stores_.Publish("r:whole", {kBase}, true), torn = stores_.Publish("r:torn", {kBase, kTop});
  const auto stray = stores_.AddLayer(kOther, true);
  ASSERT_TRUE(stores_.catalog->Forget({.layers = {stray}, .blobs = {{stray, kOther.size(), catalog::BlobKind::kLayer}}}));
  ASSERT_TRUE(stores_.content->Put(Of("stray document"), "stray document"));
  std::filesystem::remove(stores_.LayerFile(torn.layers[1], ".data"));
  std::filesystem::remove(stores_.LayerFile(torn.layers[1], ".meta"));
  std::ofstream(stores_.folder.path() + "/tmp/left.meta") << "x";
  ASSERT_TRUE(stores_.catalog->BeginPull("r:9"));
  stores_.Reopen();
  const auto recovery = Make().Recover({});
  ASSERT_TRUE(recovery) << recovery.error().Text();
  EXPECT_EQ(recovery->adopted, 3u) << "a layer, its blob, a document";
  EXPECT_EQ(recovery->lost, 1u);
  EXPECT_EQ(recovery->interrupted, 1u);
  EXPECT_GE(recovery->leftovers, 1u);
  EXPECT_TRUE(*stores_.catalog->FindName("r:whole"));
  EXPECT_FALSE(*stores_.catalog->FindName("r:torn")) << "absent beats half there";
  EXPECT_TRUE(*stores_.catalog->FindLayer(stray));
  const auto again = Make().Recover({});
  EXPECT_EQ(again->adopted + again->lost + again->interrupted + again->leftovers, 0u) << "idempotent";
  ASSERT_TRUE(Make().Sweep({}, time::Duration::zero()));
  EXPECT_FALSE(*stores_.layers->Find(stray));
  EXPECT_EQ(Blobs(), 3u) << "whole's documents and kept layer";
  EXPECT_TRUE(*stores_.layers->Find(whole.layers[0]));
}

// P9, as work instead of time: what a start reads grows with the number of images by a little each, and never with their contents.
TEST_F(ReclaimerTest, AStartReadsALittleOfEachImageAndNoContents) {
  const auto read = [](std::string_view what) {
    std::ifstream io("/proc/self/io");
    std::string name;
    for (std::uint64_t value = 0; io >> name >> value;)
      if (name == what) return value;
    return std::uint64_t{0};
  };
  if (read("syscr:") == 0) GTEST_SKIP() << "this kernel does not count";
  struct Work { std::uint64_t calls, bytes; };
  const auto start = [&] {
    stores_.Reopen();
    const Work before{read("syscr:"), read("rchar:")};
    const auto recovery = Make().Recover({});
    EXPECT_TRUE(recovery && recovery->lost == 0 && recovery->adopted == 0);
    EXPECT_TRUE(stores_.catalog->ListImages() && stores_.catalog->Measure());
    return Work{read("syscr:") - before.calls, read("rchar:") - before.bytes};
  };
  int images = 0;
  const auto publish = [&](int count) {
    for (; count > 0; --count, ++images) {
      const std::string name = std::to_string(images);
      stores_.Publish("r:" + name, {Tar(name, std::string(300'000, 'x'))});
    }
  };
  publish(10);
  const Work few = start();
  publish(40);
  const Work many = start();
  EXPECT_LE(many.calls - few.calls, 40u * 25);
  EXPECT_LE(many.bytes - few.bytes, 40u * (16u << 10));
}

TEST_F(ReclaimerTest, AVariantGoesWithTheLastImageThatNamesIt) {
  const std::string shared = Tar("etc/more", "y");
  const auto one = stores_.Publish("one:1", {tar::testing::Builder().Dir("etc").Mode(0700).Finish(), shared});
  const auto two = stores_.Publish("two:1", {tar::testing::Builder().Dir("etc").Mode(0711).Finish(), shared});
  const auto variant = [&](const Stores::Image& image) { return (**stores_.catalog->FindImage(image.manifest)).layers[1].variant; };
  const std::string ones = variant(one), twos = variant(two);
  ASSERT_NE(ones, twos);
  auto reclaimer = Make();
  const auto both = reclaimer.Sweep({}, time::Duration::zero());
  ASSERT_TRUE(both) << both.error().Text();
  EXPECT_THAT(both->objects, IsEmpty());
  ASSERT_TRUE(reclaimer.RemoveName({}, "one:1"));
  {
    const auto pull = *stores_.leases->Acquire({}, {one.layers[1]});  // which has fitted, and not published yet
    ASSERT_TRUE(reclaimer.Sweep({}, time::Duration::zero()));
    EXPECT_TRUE(*stores_.layers->Has(one.layers[1], ones));
  }
  const auto freed = reclaimer.Sweep({}, std::chrono::hours(1));
  ASSERT_TRUE(freed) << freed.error().Text();
  EXPECT_EQ(freed->objects.size(), 1u);
  EXPECT_GT(freed->bytes, 0u);
  EXPECT_FALSE(*stores_.layers->Has(one.layers[1], ones));
  EXPECT_TRUE(*stores_.layers->Has(two.layers[1], twos));
}

TEST_F(ReclaimerTest, AVariantThatCannotBeRemovedKeepsNothingElse) {
  const auto image = stores_.Publish("r:1", {kBase});
  std::filesystem::create_directory(stores_.LayerFile(image.layers[0], "@0123456789abcdef.meta"));  // kIo, as with a bad sector
  const auto partial = digest::Digest::Of(bytes::AsView("partial"));
  ASSERT_TRUE((*stores_.content->Resume(partial, 100))->Append(bytes::AsView("begun")));
  const auto freed = Make().Sweep({}, time::Duration::zero());
  ASSERT_TRUE(freed) << freed.error().Text();
  EXPECT_EQ(freed->objects.size(), 1u);
  EXPECT_THAT(*stores_.content->Partials(), IsEmpty());
}

TEST_F(ReclaimerTest, RecoverRemovesALayerThatCannotBeRead) {
  const auto image = stores_.Publish("r:1", {kBase});
  std::filesystem::resize_file(stores_.LayerFile(image.layers[0], ".meta"), 100);
  const auto recovery = Make().Recover({});
  ASSERT_TRUE(recovery) << recovery.error().Text();
  EXPECT_EQ(recovery->lost, 1u);
  EXPECT_FALSE(*stores_.catalog->FindName("r:1"));
  EXPECT_THAT(LayersOnDisk(), IsEmpty());
}

TEST_F(ReclaimerTest, RecoverLeavesALayerThatTheDiskDoesNotGive) {
  const auto image = stores_.Publish("r:1", {kBase});
  const std::string meta = stores_.LayerFile(image.layers[0], ".meta"), aside = stores_.folder.path() + "/aside";
  std::filesystem::rename(meta, aside);
  std::filesystem::create_directory(meta);  // kIo, as with a bad sector
  EXPECT_FALSE(*stores_.layers->Has(image.layers[0])) << "a pull brings it anew";
  const auto recovery = Make().Recover({});
  ASSERT_TRUE(recovery) << recovery.error().Text();
  EXPECT_EQ(recovery->lost, 0u);
  EXPECT_TRUE(*stores_.catalog->FindName("r:1"));
  std::filesystem::remove(meta);
  std::filesystem::rename(aside, meta);
  EXPECT_EQ(Make().Recover({})->lost, 0u);
  EXPECT_TRUE(*stores_.layers->Has(image.layers[0])) << "nothing of it was lost";
}

TEST_F(ReclaimerTest, ALostDocumentTakesItsImageALostKeptBlobNothing) {
  const auto one = stores_.Publish("r:1", {kBase}, true), two = stores_.Publish("r:2", {kTop}, true);
  ASSERT_TRUE(stores_.content->Remove(one.config));
  ASSERT_TRUE(stores_.content->Remove(two.layers[0]));
  const auto recovery = Make().Recover({});
  EXPECT_EQ(recovery->lost, 1u);
  EXPECT_FALSE(*stores_.catalog->FindName("r:1"));
  EXPECT_TRUE(*stores_.catalog->FindName("r:2"));
  EXPECT_FALSE(*stores_.catalog->HasBlob(two.layers[0]));
}

// A crash between the rows and the files of a removal costs disk space until the next sweep, nothing else.
struct Crash {
  const char* point;
  bool name_gone;
};
class CrashTest : public ReclaimerTest, public ::testing::WithParamInterface<Crash> {};

TEST_P(CrashTest, RemovalIsFinishedAfterARestart) {
  stores_.Publish("r:1", {kBase}, true);
  ASSERT_TRUE(host::ConfigureFaults(std::string(GetParam().point) + "=error(EIO)*1"));
  EXPECT_FALSE(Make().RemoveName({}, "r:1"));
  ASSERT_TRUE(host::ConfigureFaults(""));
  stores_.Reopen();
  ASSERT_TRUE(Make().Recover({}));
  EXPECT_NE(stores_.catalog->FindName("r:1")->has_value(), GetParam().name_gone);
  ASSERT_TRUE(Make().Sweep({}, time::Duration::zero()));
  EXPECT_THAT(LayersOnDisk(), IsEmpty());
  EXPECT_EQ(Blobs(), 0u);
}
INSTANTIATE_TEST_SUITE_P(Points, CrashTest,
                         ::testing::Values(Crash{"remove.name-deleted", true}, Crash{"remove.marked", true}, Crash{"remove.trashed", true},
                                           Crash{"remove.deleted", true}, Crash{"remove.synced", true}, Crash{"remove.purged", true}));

}  // namespace
}  // namespace berth::reclaim
