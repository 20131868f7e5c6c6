#include "fsck/checker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>
#include <functional>
#include <utility>

#include "host/fault.h"
#include "reclaim/testing/stores.h"

namespace berth::fsck {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using reclaim::testing::Flip;
using reclaim::testing::Stores;
using reclaim::testing::Tar;

const std::string kBase = Tar("base", std::string(5000, 'b')), kTop = [] {
  tar::testing::Builder top;
  top.File("top", std::string(200'000, 't'));
  for (int i = 0; i < 100; ++i) top.Dir("metadata-of-several-blocks-" + std::to_string(i));
  return top.Finish();
}();

class CheckerTest : public ::testing::Test {
 protected:
  Summary Run(Repair repair = Repair::kNo, layer::Depth depth = layer::Depth::kData, const task::Context& ctx = {}) {
    findings_.clear();
    Checker checker({*stores_.content, *stores_.layers, *stores_.catalog, *stores_.leases});
    const auto summary = checker.Run(ctx, {.repair = repair, .depth = depth, .form = form_},
                                     {.finding = [&](const Finding& f) { findings_.push_back(f); },
                                      .progress = [&](std::uint64_t checked, std::uint64_t total) {
                                        last_ = checked;
                                        total_ = total;
                                        if (on_progress_) on_progress_(checked);
                                      }});
    EXPECT_TRUE(summary) << summary.error().Text();
    EXPECT_EQ(summary->findings, findings_.size());
    return *summary;
  }
  std::string Blob(const digest::Digest& digest) const { return stores_.folder.path() + "/blobs/sha256/" + digest.Hex(); }
  std::string Name(const char* name) const { return stores_.catalog->FindName(name)->has_value() ? "there" : "gone"; }

  Stores stores_;
  layer::Form form_ = layer::Form::kErofs;
  std::vector<Finding> findings_;
  std::uint64_t last_ = 0, total_ = 0;
  std::function<void(std::uint64_t)> on_progress_;

  // As berth rm: rows first, then files.
  void Remove(const std::string& name) {
    ASSERT_TRUE(*stores_.catalog->RemoveName(name));
    const auto gone = *stores_.catalog->Forget(*stores_.catalog->FindUnreferenced(time::WallTime::max()));
    for (const auto& layer : gone.layers) ASSERT_TRUE(stores_.layers->Remove({}, layer));
    for (const auto& blob : gone.blobs) ASSERT_TRUE(stores_.content->Remove(blob.digest));
  }
};

// Does something each time somebody asks whether it is too late.
class HookClock final : public time::Clock {
 public:
  explicit HookClock(std::function<void()> hook) : hook_(std::move(hook)) {}
  time::SteadyTime SteadyNow() const override {
    hook_();
    return {};
  }
  time::WallTime WallNow() const override { return {}; }
  bool SleepUntil(std::stop_token, time::SteadyTime) const override { return true; }
  task::Context Context(std::stop_token stop = {}) const {
    return task::Context(std::move(stop), *this).WithDeadline(time::SteadyTime::max());
  }

 private:
  std::function<void()> hook_;
};

TEST_F(CheckerTest, AWholeStoreHasNothingToReport) {
  stores_.Publish("r:1", {kBase, kTop}, true);
  const auto summary = Run();
  EXPECT_EQ(summary.findings, 0u);
  EXPECT_EQ(summary.objects, 6u) << "two layers, their blobs, manifest, config";
  EXPECT_GT(summary.bytes, 200'000u);
  EXPECT_EQ(last_, 6u);
  EXPECT_EQ(total_, 6u);
}

struct Damage {
  const char* what;
  const char* kind;
  bool keep_blobs;
  layer::Depth depth;        // the least that finds it
  const char* after_repair;  // the name
  void (*harm)(const Stores& stores, const Stores::Image& image, const std::string& blobs);
};
class DamageTest : public CheckerTest, public ::testing::WithParamInterface<Damage> {};

TEST_P(DamageTest, IsFoundReportedAndRepaired) {
  const Damage& damage = GetParam();
  const auto image = stores_.Publish("r:1", {kBase, kTop}, damage.keep_blobs);
  damage.harm(stores_, image, stores_.folder.path() + "/blobs/sha256/");
  if (damage.depth != layer::Depth::kDescriptor) {
    EXPECT_EQ(Run(Repair::kNo, static_cast<layer::Depth>(static_cast<int>(damage.depth) - 1)).findings, 0u) << "not that deep";
  }
  ASSERT_EQ(Run(Repair::kNo, damage.depth).findings, 1u);
  EXPECT_EQ(findings_[0].kind, damage.kind);
  EXPECT_FALSE(findings_[0].repaired);
  EXPECT_EQ(Name("r:1"), "there") << "looking changes nothing";
  const bool cache = findings_[0].kind == "blob";
  EXPECT_EQ(findings_[0].images, cache ? std::vector<std::string>() : std::vector<std::string>{"r:1"});
  EXPECT_EQ(Run(Repair::kYes, damage.depth).repaired, damage.after_repair == std::string("there") ? 1u : 0u) << "forgetting mends nothing";
  ASSERT_EQ(findings_.size(), 1u);
  EXPECT_EQ(Name("r:1"), damage.after_repair);
  EXPECT_EQ(Run().findings, 0u) << "it was forgotten, if not repaired";
}
INSTANTIATE_TEST_SUITE_P(
    Kinds, DamageTest,
    ::testing::Values(
        Damage{"contents of a layer", "layer", false, layer::Depth::kData, "gone",
               [](const Stores& s, const Stores::Image& i, const std::string&) { Flip(s.LayerFile(i.layers[1], ".data"), 150'000); }},
        Damage{"contents of a layer whose blob is kept", "layer", true, layer::Depth::kData, "there",
               [](const Stores& s, const Stores::Image& i, const std::string&) { Flip(s.LayerFile(i.layers[1], ".data"), 150'000); }},
        Damage{"the superblock of a layer", "layer", true, layer::Depth::kDescriptor, "there",
               [](const Stores& s, const Stores::Image& i, const std::string&) { Flip(s.LayerFile(i.layers[0], ".meta"), 1100); }},
        Damage{"metadata of a layer", "layer", true, layer::Depth::kMetadata, "there",
               [](const Stores& s, const Stores::Image& i, const std::string&) { Flip(s.LayerFile(i.layers[1], ".meta"), 5000); }},
        Damage{"a layer's file is gone", "layer", true, layer::Depth::kDescriptor, "there",
               [](const Stores& s, const Stores::Image& i, const std::string&) { std::filesystem::remove(s.LayerFile(i.layers[0], ".data")); }},
        Damage{"a layer is gone", "layer", false, layer::Depth::kDescriptor, "gone",
               [](const Stores& s, const Stores::Image& i, const std::string&) {
                 std::filesystem::remove(s.LayerFile(i.layers[0], ".data"));
                 std::filesystem::remove(s.LayerFile(i.layers[0], ".meta"));
               }},
        Damage{"a variant of a layer that no image needs", "layer", false, layer::Depth::kDescriptor, "there",
               [](const Stores& s, const Stores::Image& i, const std::string&) {
                 std::ofstream(s.LayerFile(i.layers[0], "@0123456789abcdef.meta")) << "no metadata";
               }},
        Damage{"a config", "document", true, layer::Depth::kDescriptor, "gone",
               [](const Stores&, const Stores::Image& i, const std::string& blobs) { Flip(blobs + i.config.Hex(), 3); }},
        Damage{"a manifest is gone", "document", true, layer::Depth::kDescriptor, "gone",
               [](const Stores&, const Stores::Image& i, const std::string& blobs) { std::filesystem::remove(blobs + i.manifest.Hex()); }},
        Damage{"a kept blob", "blob", true, layer::Depth::kData, "there",
               [](const Stores&, const Stores::Image& i, const std::string& blobs) { Flip(blobs + i.layers[1].Hex(), 100'000); }}),
    [](const auto& damage) {
      std::string name = damage.param.what;
      for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      return name;
    });

TEST_F(CheckerTest, ALayerAndItsKeptBlobBothDamagedAreGivenUp) {
  const auto image = stores_.Publish("r:1", {kBase, kTop}, true);
  Flip(stores_.LayerFile(image.layers[1], ".data"), 150'000);
  Flip(Blob(image.layers[1]), 100'000);
  EXPECT_EQ(Run(Repair::kYes).repaired, 1u) << "the kept blob, which is no loss";
  EXPECT_EQ(findings_.size(), 2u);
  EXPECT_EQ(Name("r:1"), "gone");
  EXPECT_FALSE(*stores_.layers->Find(image.layers[1]));
  EXPECT_TRUE(*stores_.layers->Find(image.layers[0])) << "not needed any more, but whole: age takes it";
}

TEST_F(CheckerTest, ATreeIsComparedAndUnpackedAgainAsATree) {
  form_ = layer::Form::kTree;
  const auto image = stores_.Publish("r:1", {kBase, kTop}, true, form_);
  EXPECT_EQ(Run().findings, 0u);
  const std::string tree = stores_.LayerFile(image.layers[1], ".tree");
  for (const auto& harm : std::initializer_list<std::function<void()>>{
           [&] { Flip(tree + "/top", 150'000); }, [&] { std::filesystem::remove(tree + "/top"); }, [&] { std::ofstream(tree + "/more") << "x"; },
           [&] { std::filesystem::permissions(tree + "/top", std::filesystem::perms::all); }, [&] { std::filesystem::remove_all(tree); }}) {
    harm();
    EXPECT_EQ(Run().findings, 1u);
    EXPECT_EQ(Run(Repair::kYes).repaired, 1u);
    EXPECT_EQ((**stores_.layers->Find(image.layers[1])).report.form, form_);
    EXPECT_EQ(Run().findings, 0u);
    EXPECT_EQ(Name("r:1"), "there");
  }
}

// Trouble of this machine says nothing of the bytes: the next run can mend what this one could not.
TEST_F(CheckerTest, ALayerThatCannotBeUnpackedAgainNowIsLeftAsItIs) {
  if (!BERTH_FAULTS) GTEST_SKIP() << "built without fault points";
  const auto image = stores_.Publish("r:1", {kBase, kTop}, true);
  for (const char* point : {"unpack.started", "unpack.last", "layer.synced", "layer.renamed"}) {
    for (const char* error : {"ENOSPC", "EIO"}) {
      SCOPED_TRACE(std::string(point) + " " + error);
      std::filesystem::resize_file(stores_.LayerFile(image.layers[1], ".data"), 1);
      ASSERT_TRUE(host::ConfigureFaults(std::string(point) + "=error(" + error + ")"));
      const auto summary = Run(Repair::kYes);
      ASSERT_TRUE(host::ConfigureFaults(""));
      EXPECT_EQ(summary.findings, 1u);
      EXPECT_EQ(summary.repaired, 0u);
      EXPECT_THAT(findings_[0].action, HasSubstr("could not be unpacked again: "));
      EXPECT_EQ(Name("r:1"), "there");
      (void)Run(Repair::kYes);
      EXPECT_EQ(Run().findings, 0u);
      EXPECT_EQ(Name("r:1"), "there");
    }
  }
}

// From `On()` for its life, no file can be opened any more.
class NoDescriptors {
 public:
  NoDescriptors() { BERTH_CHECK(getrlimit(RLIMIT_NOFILE, &before_) == 0); }
  ~NoDescriptors() { BERTH_CHECK(setrlimit(RLIMIT_NOFILE, &before_) == 0); }
  void On() const {
    const rlimit none{.rlim_cur = 0, .rlim_max = before_.rlim_max};
    BERTH_CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  }

 private:
  rlimit before_{};
};

TEST_F(CheckerTest, WhatCannotBeReadForWantOfDescriptorsIsLeftAsItIs) {
  for (const auto form : {layer::Form::kErofs, layer::Form::kTree}) {
    const std::string name = "r:" + std::string(layer::Name(form));
    stores_.Publish(name, {form == layer::Form::kErofs ? kTop : kBase}, true, form);
  }
  for (const Repair repair : {Repair::kNo, Repair::kYes}) {
    {
      const NoDescriptors none;
      none.On();
      const auto summary = Run(repair);
      EXPECT_EQ(summary.findings, summary.objects);
      EXPECT_EQ(summary.repaired, 0u);
    }
    for (const auto& finding : findings_) EXPECT_THAT(finding.action, HasSubstr("left as it is: it could not be read: ")) << finding.object;
    EXPECT_EQ(Run().findings, 0u);
    EXPECT_EQ(Name("r:erofs") + " " + Name("r:tree"), "there there");
  }
}

TEST_F(CheckerTest, DescriptorsThatRunOutInTheMiddleOfARepairCostNoImage) {
  const auto image = stores_.Publish("r:1", {kBase, kTop}, true);
  bool whole = false;
  for (int at = 1; !whole; at += 1 + at / 8) {
    SCOPED_TRACE(at);
    ASSERT_LT(at, 1'000'000);
    std::filesystem::resize_file(stores_.LayerFile(image.layers[1], ".data"), 1);
    std::ofstream(stores_.LayerFile(image.layers[1], "@0123456789abcdef.meta")) << "of no image";
    int asked = 0;
    {
      const NoDescriptors none;
      const HookClock clock([&] {
        if (++asked == at) none.On();
      });
      Checker checker({*stores_.content, *stores_.layers, *stores_.catalog, *stores_.leases});
      (void)checker.Run(clock.Context(), {.repair = Repair::kYes}, {});
      whole = asked < at;
    }
    ASSERT_EQ(Name("r:1"), "there");
    (void)Run(Repair::kYes);
    ASSERT_EQ(Run().findings, 0u);
    ASSERT_EQ(Name("r:1"), "there");
  }
}

TEST_F(CheckerTest, AnInterruptedRepairCostsNoImage) {
  const auto image = stores_.Publish("r:1", {kBase, kTop}, true);
  bool whole = false;
  for (int at = 1; !whole; at += 1 + at / 8) {  // who waits for a worker asks often
    SCOPED_TRACE(at);
    ASSERT_LT(at, 1'000'000);
    std::filesystem::resize_file(stores_.LayerFile(image.layers[1], ".data"), 1);
    std::ofstream(stores_.LayerFile(image.layers[1], "@0123456789abcdef.meta")) << "of no image";
    std::stop_source stop;
    int asked = 0;
    const HookClock clock([&] {
      if (++asked == at) stop.request_stop();
    });
    Checker checker({*stores_.content, *stores_.layers, *stores_.catalog, *stores_.leases});
    const auto summary = checker.Run(clock.Context(stop.get_token()), {.repair = Repair::kYes}, {});
    whole = summary && !stop.stop_requested();
    EXPECT_TRUE(summary || summary.error().cancelled()) << summary.error().Text();
    ASSERT_EQ(Name("r:1"), "there");
    (void)Run(Repair::kYes);
    ASSERT_EQ(Run().findings, 0u);
  }
  EXPECT_EQ(Name("r:1"), "there");
}

// Two images that share a layer, which is mounted by a variant of its own in either.
class VariantTest : public CheckerTest {
 protected:
  VariantTest() {
    tar::testing::Builder top, one, two;
    for (int i = 0; i < 200; ++i) top.File("etc/more-" + std::to_string(i), "y");
    one.Dir("etc").Mode(0700);
    for (int i = 0; i < 200; ++i) one.File("etc/file-" + std::to_string(i), "x");
    two.Dir("etc").Mode(0711);
    const std::string shared = top.Finish();
    one_ = stores_.Publish("one:1", {one.Finish(), shared}, true);
    two_ = stores_.Publish("two:1", {two.Finish(), shared}, true);
    EXPECT_NE(Variant(one_), Variant(two_));
  }
  std::string Variant(const Stores::Image& image) const {
    const std::string name = (**stores_.catalog->FindImage(image.manifest)).layers[1].variant;
    EXPECT_NE(name, "");
    return stores_.LayerFile(image.layers[1], "@" + name + ".meta");
  }
  std::string Shared(std::string_view kind) const { return stores_.LayerFile(one_.layers[1], kind); }
  Stores::Image one_, two_;
};

TEST_F(VariantTest, IsMadeAgain) {
  EXPECT_EQ(Run().findings, 0u);
  struct Row {
    const char* what;
    std::function<void()> harm;
    const char* action;
  };
  for (const auto& [what, harm, action] : std::initializer_list<Row>{
           {"one is missing", [&] { std::filesystem::remove(Variant(one_)); }, "its variants are made again"},
           {"one is damaged", [&] { Flip(Variant(one_), 9000); }, "its variants are made again"},
           {"both are missing", [&] { std::filesystem::remove(Variant(one_)), std::filesystem::remove(Variant(two_)); }, "its variants are made again"},
           {"one that no image has is damaged", [&] { std::ofstream(Shared("@0123456789abcdef.meta")) << "x"; },
            "removed a variant of it that no image needs"},
           {"the layer is damaged", [&] { Flip(Shared(".meta"), 9000); }, "unpacked again from its kept blob"},
           {"the layer cannot be read", [&] { std::filesystem::resize_file(Shared(".meta"), 100); }, "unpacked again from its kept blob"},
           {"its contents are damaged", [&] { Flip(Shared(".data"), 0); }, "unpacked again from its kept blob"},
           {"all of it is damaged", [&] { Flip(Variant(two_), 9000), Flip(Shared(".meta"), 9000); }, "unpacked again from its kept blob"}}) {
    SCOPED_TRACE(what);
    const auto before = std::filesystem::file_size(Variant(one_));
    harm();
    EXPECT_EQ(Run().findings, 1u);
    EXPECT_EQ(Run(Repair::kYes).repaired, 1u);
    ASSERT_EQ(findings_.size(), 1u);
    EXPECT_EQ(findings_[0].action, action);
    EXPECT_EQ(Run().findings, 0u);
    EXPECT_EQ(Name("one:1") + " " + Name("two:1"), "there there");
    EXPECT_EQ(std::filesystem::file_size(Variant(one_)), before);
    EXPECT_TRUE(std::filesystem::exists(Variant(two_)));
  }
}

TEST_F(VariantTest, IsMadeAgainWhenTheLayerBelowIsMended) {
  Flip(stores_.LayerFile(one_.layers[0], ".meta"), 9000);
  std::filesystem::remove(Variant(one_));
  EXPECT_EQ(Run(Repair::kYes).findings, 2u);
  (void)Run(Repair::kYes);  // if the lower one came last
  EXPECT_EQ(Run().findings, 0u);
  EXPECT_EQ(Name("one:1") + " " + Name("two:1"), "there there");
}

TEST_F(VariantTest, OneThatCannotBeMadeCostsItsImageOnly) {
  auto image = **stores_.catalog->FindImage(one_.manifest);
  image.layers[1].variant = "0123456789abcdef";
  ASSERT_TRUE(stores_.catalog->PublishImage({.name = "one:1", .implied_name = std::nullopt, .target = one_.manifest, .media_type = "m",
                                             .documents = {{one_.manifest, 1}, {one_.config, 1}}, .images = {image}, .pull = std::nullopt,
                                             .journal = "{}"}));
  EXPECT_EQ(Run(Repair::kYes).repaired, 0u);
  ASSERT_EQ(findings_.size(), 1u);
  EXPECT_THAT(findings_[0].images, ElementsAre("one:1"));
  EXPECT_EQ(Name("one:1") + " " + Name("two:1"), "gone there");
  EXPECT_EQ(Run().findings, 0u);
}

// Its variant has files of a lower layer, which was laid out in another way when the variant was made.
TEST_F(CheckerTest, ALayerThatIsMadeAnewIsFittedToWhatLiesAboveIt) {
  tar::testing::Builder one, two, top;
  one.File("other", std::string(9000, 'o')).File("file", std::string(5000, 'f'));
  two.File("file", std::string(5000, 'f')).File("other", std::string(9000, 'o'));
  top.HardLink("link", "file");
  const std::string link = top.Finish();
  const auto image = stores_.Publish("one:1", {one.Finish(), link}, true), other = stores_.Publish("two:1", {two.Finish(), link}, true);
  const auto variant = [&](const Stores::Image& of) {
    return stores_.LayerFile(of.layers[1], "@" + (**stores_.catalog->FindImage(of.manifest)).layers[1].variant + ".meta");
  };
  const auto read = [](const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::string right = read(variant(image));
  std::filesystem::copy_file(variant(other), variant(image), std::filesystem::copy_options::overwrite_existing);
  ASSERT_NE(read(variant(image)), right);
  std::filesystem::resize_file(stores_.LayerFile(image.layers[0], ".data"), 1);
  EXPECT_EQ(Run(Repair::kYes).repaired, 1u);
  EXPECT_TRUE(read(variant(image)) == right);
  EXPECT_EQ(Name("one:1") + " " + Name("two:1"), "there there");
}

TEST_F(CheckerTest, ForgettingWhatNobodyNeedsIsARepair) {
  Flip(stores_.LayerFile(stores_.AddLayer(kTop), ".data"), 150'000);
  EXPECT_EQ(Run(Repair::kYes).repaired, 1u);
  EXPECT_EQ(Run().findings, 0u);
}

TEST_F(CheckerTest, WhatAPullUsesIsReportedAndLeft) {
  const auto image = stores_.Publish("r:1", {kTop});
  Flip(stores_.LayerFile(image.layers[0], ".data"), 150'000);
  const auto lease = *stores_.leases->Acquire({}, {image.layers[0]});
  const auto summary = Run(Repair::kYes);
  EXPECT_EQ(summary.findings, 1u);
  EXPECT_EQ(summary.repaired, 0u);
  EXPECT_THAT(findings_[0].action, HasSubstr("left alone"));
  EXPECT_EQ(Name("r:1"), "there");
}

// Removed and pulled anew between the look and what follows from it.
TEST_F(CheckerTest, WhatWasPulledAnewAfterTheLookIsNoFinding) {
  struct Harm {
    const char* what;
    std::function<void(const Stores::Image&)> harm;
  };
  for (const auto& [what, harm] : std::initializer_list<Harm>{
           {"layer", [&](const auto& image) { Flip(stores_.LayerFile(image.layers[0], ".data"), 150'000); }},
           {"document", [&](const auto& image) { Flip(Blob(image.config), 3); }},
           {"blob", [&](const auto& image) { Flip(Blob(image.layers[0]), 100'000); }}}) {
    for (const Repair repair : {Repair::kNo, Repair::kYes}) {
      SCOPED_TRACE(std::string(what) + (repair == Repair::kYes ? ", repair" : ""));
      harm(stores_.Publish("r:1", {kTop}, true));
      // Each object is followed by one question whether to stop. One more: that object is being looked at.
      std::uint64_t asked_at = 0;
      bool done = false;
      const HookClock clock([&] {
        if (last_ == std::exchange(asked_at, last_) && !std::exchange(done, true)) {
          Remove("r:1");
          stores_.Publish("r:1", {kTop}, true);
        }
      });
      last_ = 0;
      EXPECT_EQ(Run(repair, layer::Depth::kData, clock.Context()).findings, 0u) << (findings_.empty() ? "" : findings_[0].problem);
      EXPECT_TRUE(done);
      EXPECT_EQ(Name("r:1"), "there");
      EXPECT_EQ(Run().findings, 0u);
      Remove("r:1");
    }
  }
}

TEST_F(CheckerTest, WhatWasRemovedMeanwhileIsNoFinding) {
  for (const std::uint64_t at : {1u, 3u, 6u}) {
    for (const Repair repair : {Repair::kNo, Repair::kYes}) {
      stores_.Publish("other:1", {Tar("o", "o")});
      stores_.Publish("r:1", {kBase, kTop}, true);
      on_progress_ = [&](std::uint64_t n) {
        if (n == at) Remove("r:1");
      };
      EXPECT_EQ(Run(repair).findings, 0u) << at << ": " << (findings_.empty() ? "" : findings_[0].problem);
      EXPECT_EQ(Name("other:1"), "there");
    }
  }
}

// What a crash left without a row is a document to whoever gives it one.
TEST_F(CheckerTest, AKeptLayerBlobThatPassesForADocumentCostsNoImage) {
  const auto image = stores_.Publish("r:1", {kTop});
  const auto blob = image.layers[0];
  ASSERT_TRUE(stores_.catalog->AddBlob({blob, kTop.size(), catalog::BlobKind::kDocument}));
  const auto keep = [&] { std::ofstream(Blob(blob)) << kTop; };
  keep();
  EXPECT_EQ(Run().findings, 0u);
  Flip(Blob(blob), 100'000);
  EXPECT_EQ(Run().findings, 1u);
  EXPECT_THAT(findings_[0].images, IsEmpty());
  EXPECT_EQ(Run(Repair::kYes).repaired, 1u);
  EXPECT_EQ(Name("r:1"), "there");
  EXPECT_EQ(Run(Repair::kYes).findings, 0u) << "not there is not damaged";
  keep();
  std::filesystem::resize_file(Blob(blob), (64u << 20) + 1);  // a hole
  EXPECT_EQ(Run(Repair::kYes).repaired, 1u);
  EXPECT_EQ(Name("r:1"), "there");
}

TEST_F(CheckerTest, StopsBetweenTwoObjects) {
  stores_.Publish("r:1", {kBase, kTop}, true);
  std::stop_source stop;
  std::uint64_t seen = 0;
  Checker checker({*stores_.content, *stores_.layers, *stores_.catalog, *stores_.leases});
  const auto count = [&](std::uint64_t n, std::uint64_t) {
    seen = n;
    if (n == 2) stop.request_stop();
  };
  const auto summary = checker.Run(task::Context(stop.get_token()), {}, {.finding = nullptr, .progress = count});
  EXPECT_TRUE(summary.error().cancelled());
  EXPECT_EQ(seen, 2u);
}

}  // namespace
}  // namespace berth::fsck
