#include "fsck/checker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "reclaim/testing/stores.h"

namespace berth::fsck {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using reclaim::testing::Stores;
using reclaim::testing::Tar;

const std::string kBase = Tar("base", std::string(5000, 'b')), kTop = Tar("top", std::string(200'000, 't'));

void Flip(const std::string& file, std::streamoff at) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  ASSERT_TRUE(stream) << file;
  stream.seekg(at);
  const char c = static_cast<char>(stream.get() ^ 0x20);
  stream.seekp(at);
  stream.put(c);
}

class CheckerTest : public ::testing::Test {
 protected:
  Summary Run(Repair repair = Repair::kNo, layer::Depth depth = layer::Depth::kData) {
    findings_.clear();
    Checker checker({*stores_.content, *stores_.layers, *stores_.catalog, *stores_.leases});
    const auto summary = checker.Run({}, {.repair = repair, .depth = depth},
                                     {.finding = [&](const Finding& f) { findings_.push_back(f); },
                                      .progress = [&](std::uint64_t checked, std::uint64_t total) { last_ = checked; total_ = total; }});
    EXPECT_TRUE(summary) << summary.error().Text();
    EXPECT_EQ(summary->findings, findings_.size());
    return *summary;
  }
  std::string Blob(const digest::Digest& digest) const { return stores_.folder.path() + "/blobs/sha256/" + digest.Hex(); }
  std::string Name(const char* name) const { return stores_.catalog->FindName(name)->has_value() ? "there" : "gone"; }

  Stores stores_;
  std::vector<Finding> findings_;
  std::uint64_t last_ = 0, total_ = 0;
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
  ASSERT_EQ(Run(Repair::kYes, damage.depth).repaired, 1u);
  EXPECT_EQ(Name("r:1"), damage.after_repair);
  EXPECT_EQ(Run().findings, 0u);
}
INSTANTIATE_TEST_SUITE_P(
    Kinds, DamageTest,
    ::testing::Values(
        Damage{"contents of a layer", "layer", false, layer::Depth::kData, "gone",
               [](const Stores& s, const Stores::Image& i, const std::string&) { Flip(s.LayerFile(i.layers[1], ".data"), 150'000); }},
        Damage{"contents of a layer whose blob is kept", "layer", true, layer::Depth::kData, "there",
               [](const Stores& s, const Stores::Image& i, const std::string&) { Flip(s.LayerFile(i.layers[1], ".data"), 150'000); }},
        Damage{"metadata of a layer", "layer", true, layer::Depth::kMetadata, "there",
               [](const Stores& s, const Stores::Image& i, const std::string&) { Flip(s.LayerFile(i.layers[0], ".meta"), 1100); }},
        Damage{"a layer's file is gone", "layer", true, layer::Depth::kDescriptor, "there",
               [](const Stores& s, const Stores::Image& i, const std::string&) { std::filesystem::remove(s.LayerFile(i.layers[0], ".data")); }},
        Damage{"a layer is gone", "layer", false, layer::Depth::kDescriptor, "gone",
               [](const Stores& s, const Stores::Image& i, const std::string&) {
                 std::filesystem::remove(s.LayerFile(i.layers[0], ".data"));
                 std::filesystem::remove(s.LayerFile(i.layers[0], ".meta"));
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
  EXPECT_EQ(Run(Repair::kYes).repaired, 2u);
  EXPECT_EQ(Name("r:1"), "gone");
  EXPECT_FALSE(*stores_.layers->Find(image.layers[1]));
  EXPECT_TRUE(*stores_.layers->Find(image.layers[0])) << "not needed any more, but whole: age takes it";
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
