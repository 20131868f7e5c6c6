#include "catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "time/testing/manual_clock.h"

namespace berth::catalog {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

Digest Of(std::string_view text) { return Digest::Of(bytes::AsView(text)); }

class CatalogTest : public testing::Test {
 protected:
  CatalogTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "berth-catalog-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    Reopen();
  }
  ~CatalogTest() override {
    catalog_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Reopen() {
    catalog_.reset();
    catalog_ = *Catalog::Open(folder_, clock_, {.entries = 5, .age = age_});
  }
  // Publishes an image made of `layers` (names of theirs) under `name`; target and manifest are derived from `content`.
  void Publish(std::string name, std::string_view content, std::vector<std::string_view> layers, std::optional<std::int64_t> pull = {}) {
    ImageRecord image{.manifest = Of(content), .config = Of(std::string(content) + " config"), .platform = "linux/amd64", .size = 10};
    for (auto layer : layers) {
      ASSERT_TRUE(catalog_->AddLayer({.blob = Of(layer), .diff_id = Of(std::string(layer) + " diff"), .compressed_bytes = 5,
                                      .uncompressed_bytes = 20, .stored_bytes = 100, .entries = 3}));
      image.layers.push_back({Of(layer), Of(std::string(layer) + " diff"), ""});
    }
    const std::string repository = name.substr(0, name.find(':'));
    ASSERT_TRUE(catalog_->PublishImage({.name = name, .implied_name = repository + "@" + Of(content).ToString(), .target = Of(content),
                                        .media_type = "m", .documents = {{image.manifest, 7}, {image.config, 8}}, .images = {image},
                                        .pull = pull, .journal = "{\"n\":1}"}));
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& name : *catalog_->ListNames()) names.push_back(name.name);
    return names;
  }
  static constexpr auto kForever = time::WallTime::max();

  time::testing::ManualClock clock_;
  time::Duration age_ = std::chrono::hours(720);
  std::string folder_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(CatalogTest, APublishedImageIsFoundByNameByIdAndInTheList) {
  const auto pull = *catalog_->BeginPull("a:1");
  EXPECT_EQ(catalog_->OpenPulls()->size(), 1u);
  Publish("a:1", "one", {"base", "top"}, pull);
  Reopen();
  EXPECT_THAT(*catalog_->OpenPulls(), IsEmpty());
  const auto name = *catalog_->FindName("a:1");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->target, Of("one"));
  EXPECT_THAT(name->images, ElementsAre(Of("one")));
  const auto image = *catalog_->FindImage(Of("one"));
  ASSERT_TRUE(image);
  EXPECT_EQ(image->unpacked_bytes, 200u);
  EXPECT_THAT(image->layers, ElementsAre(ImageLayer{Of("base"), Of("base diff"), ""}, ImageLayer{Of("top"), Of("top diff"), ""}));
  EXPECT_THAT(image->names, ElementsAre("a:1", "a@" + Of("one").ToString()));
  const auto listed = *catalog_->ListImages();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].layers, image->layers);
  EXPECT_EQ(listed[0].names, image->names);
  EXPECT_EQ(catalog_->FindImagesById(Of("one config").Hex().substr(0, 6))->size(), 1u);
  EXPECT_EQ(catalog_->FindImagesById(Of("one").ToString())->size(), 1u);
  EXPECT_THAT(*catalog_->FindImagesById("%%%%"), IsEmpty());
  EXPECT_FALSE(*catalog_->FindName("a:2"));
}

// Found by an audit: only sha256 was looked for.
TEST_F(CatalogTest, AnIdOfEveryAlgorithmFindsItsImage) {
  using digest::Algorithm;
  for (const auto algorithm : {Algorithm::kSha256, Algorithm::kSha384, Algorithm::kSha512}) {
    const std::string name(digest::Name(algorithm));
    const auto of = [&](const std::string& text) { return Digest::Of(bytes::AsView(text), algorithm); };
    const ImageRecord image{.manifest = of(name), .config = of(name + " config"), .platform = "linux/amd64"};
    ASSERT_TRUE(catalog_->PublishImage({.name = name + ":1", .target = image.manifest, .media_type = "m", .images = {image}}));
  }
  for (const auto& image : *catalog_->ListImages()) {
    for (const auto& digest : {image.config, image.manifest}) {
      const std::string whole = digest.ToString(), hex = digest.Hex(), algorithm = whole.substr(0, whole.size() - hex.size());
      for (const std::string& text : {whole, hex, hex.substr(0, 12), whole.substr(0, algorithm.size() + 12)}) {
        const auto found = *catalog_->FindImagesById(text);
        ASSERT_EQ(found.size(), 1u) << text;
        EXPECT_EQ(found[0].manifest, image.manifest) << text;
      }
      const std::string other = algorithm == "sha512:" ? "sha256:" : "sha512:";
      for (const std::string& text : {other + hex, other + hex.substr(0, 12), "sha" + hex, ":" + hex, algorithm + hex.substr(0, 3),
                                      algorithm + algorithm + hex, hex + "0", algorithm, whole.substr(1), hex.substr(1, 12)})
        EXPECT_THAT(*catalog_->FindImagesById(text), IsEmpty()) << text;
    }
  }
}

TEST_F(CatalogTest, KnowsWhetherItEverHeldAnything) {
  EXPECT_TRUE(*catalog_->Empty());
  const auto pull = *catalog_->BeginPull("a:1");
  EXPECT_FALSE(*catalog_->Empty()) << "from the first pull on";
  ASSERT_TRUE(catalog_->EndPull(pull, ""));
  EXPECT_TRUE(*catalog_->Empty());
  Publish("a:1", "one", {"base"});
  Reopen();
  EXPECT_FALSE(*catalog_->Empty());
}

// Found by an audit: a crash while the files of the last of them were on their way out kept the daemon from starting.
TEST_F(CatalogTest, KnowsThatItHeldLayersWhenItHoldsNothingAnyMore) {
  ASSERT_TRUE(catalog_->AddLayer({.blob = Of("base"), .diff_id = Of("diff")}));
  ASSERT_TRUE(catalog_->Forget({.layers = {Of("base")}, .blobs = {}}));
  EXPECT_THAT(*catalog_->ListLayers(), IsEmpty());
  EXPECT_FALSE(*catalog_->Empty());
  Reopen();
  EXPECT_FALSE(*catalog_->Empty());
}

TEST_F(CatalogTest, ATagThatMovesLeavesTheOldImageUnderItsDigestName) {
  Publish("a:1", "one", {"base"});
  Publish("a:1", "two", {"base", "more"});
  EXPECT_EQ((*catalog_->FindName("a:1"))->target, Of("two"));
  EXPECT_THAT((*catalog_->FindName("a:1"))->images, ElementsAre(Of("two")));
  EXPECT_THAT(Names(), UnorderedElementsAre("a:1", "a@" + Of("one").ToString(), "a@" + Of("two").ToString()));
}

TEST_F(CatalogTest, AnotherPlatformOfTheSameIndexAddsToTheName) {
  for (const char* platform : {"linux/amd64", "linux/arm64"}) {
    ImageRecord image{.manifest = Of(platform), .config = Of(std::string(platform) + "c"), .platform = platform};
    ASSERT_TRUE(catalog_->PublishImage({.name = "a:1", .target = Of("index"), .media_type = "i",
                                        .documents = {{Of("index"), 1}, {image.manifest, 1}, {image.config, 1}}, .images = {image}}));
  }
  EXPECT_THAT((*catalog_->FindName("a:1"))->images, ElementsAre(Of("linux/amd64"), Of("linux/arm64")));
  EXPECT_THAT(catalog_->FindUnreferenced(kForever)->blobs, IsEmpty());
}

// Found by an audit: what the old index brought along was used under the verdict on the manifest that the tag had moved to.
TEST_F(CatalogTest, ATagThatMovesWithinOrBeyondItsIndexHasWhatItsNewTargetHas) {
  struct Move {
    const char* target;
    std::vector<const char*> images, now;
  };
  // "outer" is an index that has "index".
  const std::vector<Move> rows{{"index", {"amd64", "arm64"}, {"amd64", "arm64"}},
                               {"arm64", {"arm64"}, {"arm64"}},
                               {"index", {"amd64"}, {"amd64"}},
                               {"index", {"arm64"}, {"amd64", "arm64"}},
                               {"amd64", {"amd64"}, {"amd64"}},
                               {"arm64", {"arm64"}, {"arm64"}},
                               {"outer", {"amd64"}, {"amd64"}},
                               {"outer", {"arm64"}, {"amd64", "arm64"}},
                               {"index", {"arm64"}, {"arm64"}}};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(i);
    const auto& [target, images, now] = rows[i];
    Publication p{.name = "a:1", .implied_name = "a@" + Of(target).ToString(), .target = Of(target), .media_type = "m"};
    std::vector<Digest> documents{Of(target)}, expected;
    if (target == std::string_view("outer")) documents.push_back(Of("index"));
    for (const char* image : images) {
      p.images.push_back({.manifest = Of(image), .config = Of(std::string(image) + "c"), .platform = image});
      documents.insert(documents.end(), {Of(image), Of(std::string(image) + "c")});
    }
    for (const auto& document : documents) p.documents.push_back({document, 1});
    for (const char* image : now) {
      expected.push_back(Of(image));
      documents.insert(documents.end(), {Of(image), Of(std::string(image) + "c")});
    }
    ASSERT_TRUE(catalog_->PublishImage(p));
    EXPECT_EQ((*catalog_->FindName("a:1"))->images, expected);
    const auto kept = catalog_->ListDocuments()->at("a:1");
    EXPECT_EQ(std::set(kept.begin(), kept.end()), std::set(documents.begin(), documents.end()));
  }
  EXPECT_THAT((*catalog_->FindName("a@" + Of("index").ToString()))->images, ElementsAre(Of("amd64"), Of("arm64"))) << "it moves nowhere";
}

TEST_F(CatalogTest, TheLastExplicitNameTakesTheImageAlong) {
  Publish("a:1", "one", {"base", "top"});
  Publish("a:2", "one", {"base", "top"});
  Publish("b:1", "two", {"base"});
  EXPECT_TRUE(*catalog_->RemoveName("a:1"));
  EXPECT_TRUE(*catalog_->FindImage(Of("one"))) << "a:2 still names it";
  EXPECT_TRUE(*catalog_->RemoveName("a:2"));
  EXPECT_FALSE(*catalog_->FindImage(Of("one")));
  EXPECT_THAT(Names(), UnorderedElementsAre("b:1", "b@" + Of("two").ToString()));
  const auto free = *catalog_->FindUnreferenced(kForever);
  EXPECT_THAT(free.layers, ElementsAre(Of("top"))) << "base belongs to b:1";
  EXPECT_EQ(free.blobs.size(), 2u);
  EXPECT_FALSE(*catalog_->RemoveName("a:2"));
}

TEST_F(CatalogTest, TheLastTagOfARepositoryTakesItsDigestNameAlong) {
  const auto publish = [&](const std::string& name, const std::string& repository, std::vector<std::string> platforms) {
    std::vector<ImageRecord> images;
    std::vector<BlobRecord> documents{{Of("index"), 1}};
    for (const auto& platform : platforms) {
      images.push_back({.manifest = Of(platform), .config = Of(platform + "c"), .platform = platform});
      documents.insert(documents.end(), {{Of(platform), 1}, {Of(platform + "c"), 1}});
    }
    ASSERT_TRUE(catalog_->PublishImage({.name = name, .implied_name = repository + "@" + Of("index").ToString(), .target = Of("index"),
                                        .media_type = "i", .documents = documents, .images = images}));
  };
  const std::string digest = "@" + Of("index").ToString();
  publish("a:5000/multi:1", "a:5000/multi", {"amd64", "arm64"});
  publish("a:5000/multi:2", "a:5000/multi", {"amd64"});
  publish("a:5000/multi-b:1", "a:5000/multi-b", {"amd64"});
  EXPECT_TRUE(*catalog_->RemoveName("a:5000/multi:2"));
  EXPECT_THAT(Names(), UnorderedElementsAre("a:5000/multi:1", "a:5000/multi" + digest, "a:5000/multi-b:1", "a:5000/multi-b" + digest));
  EXPECT_TRUE(*catalog_->RemoveName("a:5000/multi:1"));
  EXPECT_THAT(Names(), UnorderedElementsAre("a:5000/multi-b:1", "a:5000/multi-b" + digest));
  EXPECT_FALSE(*catalog_->FindImage(Of("arm64"))) << "only the other repository had it";
  EXPECT_TRUE(*catalog_->FindImage(Of("amd64")));
  publish("a:5000/multi" + digest, "a:5000/multi", {"arm64"});
  EXPECT_TRUE(*catalog_->RemoveName("a:5000/multi-b:1"));
  EXPECT_THAT(Names(), UnorderedElementsAre("a:5000/multi" + digest)) << "asked for by digest: a name like any other";
}

TEST_F(CatalogTest, ForgettingChecksAgainThatNobodyNeedsIt) {
  Publish("a:1", "one", {"base"});
  ASSERT_TRUE(*catalog_->RemoveName("a:1"));
  const auto free = *catalog_->FindUnreferenced(kForever);
  Publish("b:1", "two", {"base"});  // a pull came in between
  const auto gone = *catalog_->Forget(free);
  EXPECT_THAT(gone.layers, IsEmpty());
  EXPECT_EQ(gone.blobs.size(), 2u);
  EXPECT_TRUE(*catalog_->FindLayer(Of("base")));
}

TEST_F(CatalogTest, WhatACrashLeftIsYoungAtFirst) {
  ASSERT_TRUE(catalog_->AddLayer({.blob = Of("lonely"), .diff_id = Of("d")}));
  EXPECT_THAT(catalog_->FindUnreferenced(clock_.WallNow())->layers, IsEmpty());
  clock_.Advance(std::chrono::hours(1));
  EXPECT_THAT(catalog_->FindUnreferenced(clock_.WallNow())->layers, ElementsAre(Of("lonely")));
}

TEST_F(CatalogTest, AMountedImageStays) {
  Publish("a:1", "one", {"base"});
  ASSERT_TRUE(catalog_->AddMount({"/mnt/x", Of("one"), false}));
  EXPECT_EQ(catalog_->RemoveName("a:1").error().reason(), Reason::kInUse);
  EXPECT_EQ(catalog_->RemoveImage(Of("one")).error().reason(), Reason::kInUse);
  EXPECT_TRUE(*catalog_->FindName("a:1")) << "the refused removal was rolled back whole";
  ASSERT_TRUE(*catalog_->RemoveMount("/mnt/x"));
  EXPECT_TRUE(*catalog_->RemoveImage(Of("one")));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(CatalogTest, APinnedImageStaysUntilItsPinIsLiftedOrItsRemovalForced) {
  Publish("a:1", "one", {"base"});
  Publish("a:2", "one", {"base"});
  Publish("b:1", "two", {"base"});
  ASSERT_TRUE(catalog_->SetPin(Of("one config"), {"alice", "no registry on site", clock_.WallNow()}));
  Reopen();
  const auto image = *catalog_->FindImage(Of("one"));
  ASSERT_TRUE(image->pin);
  EXPECT_EQ(image->pin->owner + "|" + image->pin->reason, "alice|no registry on site");
  EXPECT_EQ(image->pin->since, clock_.WallNow());
  EXPECT_FALSE((*catalog_->FindImage(Of("two")))->pin);
  EXPECT_TRUE(*catalog_->RemoveName("a:1")) << "another name keeps the image";
  const auto refused = catalog_->RemoveName("a:2");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), Reason::kInUse);
  EXPECT_THAT(refused.error().Text(), testing::AllOf(testing::HasSubstr("alice"), testing::HasSubstr("no registry on site")));
  EXPECT_EQ(catalog_->RemoveImage(Of("one")).error().reason(), Reason::kInUse);
  EXPECT_THAT(Names(), testing::Contains("a:2"));
  EXPECT_TRUE(*catalog_->RemovePin(Of("one config")));
  EXPECT_FALSE(*catalog_->RemovePin(Of("one config")));
  EXPECT_TRUE(*catalog_->RemoveName("a:2"));

  ASSERT_TRUE(catalog_->SetPin(Of("two config"), {}));
  ASSERT_TRUE(catalog_->AddMount({"/mnt/x", Of("two"), false}));
  EXPECT_FALSE(catalog_->RemoveImage(Of("two"), {.pinned = true})) << "force takes no mount away";
  ASSERT_TRUE(*catalog_->RemoveMount("/mnt/x"));
  EXPECT_TRUE(*catalog_->RemoveName("b:1", {.pinned = true, .record = "{\"by\":\"test\"}"}));
  EXPECT_EQ((*catalog_->LastOf("b:1"))->record, "{\"by\":\"test\"}");
  Publish("b:1", "two", {"base"});
  EXPECT_FALSE((*catalog_->FindImage(Of("two")))->pin) << "the pin went with the image";
}

TEST_F(CatalogTest, APinOutlivesDamage) {
  Publish("a:1", "one", {"base"});
  ASSERT_TRUE(catalog_->SetPin(Of("one config"), {"", "r", {}}));
  ASSERT_TRUE(catalog_->ForgetDamaged(Of("base")));
  EXPECT_FALSE(*catalog_->FindImage(Of("one")));
  Publish("a:1", "one", {"base"});
  EXPECT_TRUE((*catalog_->FindImage(Of("one")))->pin);
}

TEST_F(CatalogTest, UseIsRememberedAsLongAsTheImage) {
  Publish("a:1", "one", {"base"});
  EXPECT_EQ((*catalog_->FindImage(Of("one")))->last_used, time::WallTime());
  const auto now = clock_.WallNow();
  ASSERT_TRUE(catalog_->MarkUsed({Of("one config"), Of("nobody's")}, now));
  ASSERT_TRUE(catalog_->MarkUsed({Of("one config")}, now - std::chrono::hours(1)));
  EXPECT_EQ((*catalog_->ListImages())[0].last_used, now) << "the later one stays";
  ASSERT_TRUE(*catalog_->RemoveImage(Of("one")));
  EXPECT_EQ((*catalog_->LastOf("a:1"))->kind, "removed") << "explain finds it by name";
  Publish("a:1", "one", {"base"});
  EXPECT_EQ((*catalog_->ListImages())[0].last_used, time::WallTime());
}

// A store of before verdicts, pins and use were kept.
TEST_F(CatalogTest, AnOlderCatalogIsBroughtUpToDate) {
  Publish("a:1", "one", {"base"});
  catalog_.reset();
  {
    constexpr std::string_view none[] = {"", "", ""};  // as many as there are: nothing runs
    auto old = *db::Database::Open(folder_ + "/catalog.db", none);
    ASSERT_TRUE(old->Run("DROP TABLE verdicts"));
    ASSERT_TRUE(old->Run("DROP TABLE pins"));
    ASSERT_TRUE(old->Run("DROP TABLE image_use"));
    ASSERT_TRUE(old->Run("PRAGMA user_version = 1"));
  }
  Reopen();
  EXPECT_TRUE(*catalog_->FindName("a:1"));
  ASSERT_TRUE(catalog_->SetPin(Of("one config"), {"bob", "", {}}));
  ASSERT_TRUE(catalog_->MarkUsed({Of("one config")}, clock_.WallNow()));
  EXPECT_EQ((*catalog_->FindImage(Of("one")))->pin->owner, "bob");
}

TEST_F(CatalogTest, AnImageThatWentMeanwhileIsNotMounted) {
  Publish("a:1", "one", {"base"});
  ASSERT_TRUE(catalog_->RemoveName("a:1"));
  const auto mounted = catalog_->AddMount({"/mnt", Of("one"), false});
  ASSERT_FALSE(mounted);
  EXPECT_EQ(mounted.error().reason(), Reason::kNotFound);
  EXPECT_THAT(*catalog_->ListMounts(), IsEmpty());
}

TEST_F(CatalogTest, DamageMakesTheImageAbsentNotHalfThere) {
  Publish("a:1", "one", {"base", "top"});
  Publish("b:1", "two", {"top"});
  Publish("c:1", "three", {"base"});
  EXPECT_THAT(*catalog_->NamesThatNeed(Of("top")),
              UnorderedElementsAre("a:1", "a@" + Of("one").ToString(), "b:1", "b@" + Of("two").ToString()));
  ASSERT_TRUE(catalog_->ForgetDamaged(Of("top")));
  EXPECT_THAT(Names(), UnorderedElementsAre("c:1", "c@" + Of("three").ToString()));
  EXPECT_FALSE(*catalog_->FindLayer(Of("top")));
  EXPECT_TRUE(*catalog_->FindLayer(Of("base")));
  ASSERT_TRUE(catalog_->ForgetDamaged(Of("three config")));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(CatalogTest, DamageOfAMountedImageForgetsTheMountToo) {
  for (const char* object : {"one", "one config", "base"}) {
    Publish("a:1", "one", {"base"});
    ASSERT_TRUE(catalog_->AddMount({"/mnt", Of("one"), false}));
    const auto forgotten = catalog_->ForgetDamaged(Of(object));
    ASSERT_TRUE(forgotten) << object << ": " << forgotten.error().Text();
    EXPECT_THAT(*catalog_->ListMounts(), IsEmpty());
    EXPECT_THAT(*catalog_->ListImages(), IsEmpty());
  }
}

TEST_F(CatalogTest, ADamagedIndexLeavesNoImageWithoutAName) {
  const ImageRecord image{.manifest = Of("one"), .config = Of("one config"), .platform = "linux/amd64", .size = 10};
  ASSERT_TRUE(catalog_->PublishImage({.name = "a:1", .implied_name = "a@" + Of("index").ToString(), .target = Of("index"), .media_type = "m",
                                      .documents = {{Of("index"), 9}, {image.manifest, 7}, {image.config, 8}}, .images = {image},
                                      .pull = {}, .journal = "{}"}));
  Publish("b:1", "two", {"top"});
  ASSERT_TRUE(catalog_->AddMount({"/mnt", Of("one"), false}));
  ASSERT_TRUE(catalog_->ForgetDamaged(Of("index")));
  EXPECT_FALSE(*catalog_->FindImage(Of("one")));
  EXPECT_THAT(*catalog_->ListMounts(), IsEmpty());
  EXPECT_TRUE(*catalog_->RemoveName("b:1")) << "nobody's mount is in its way";
}

TEST_F(CatalogTest, ABlobIsALayersOnceItWasUsedAsOne) {
  const auto kind = [&] { return (*catalog_->ListBlobs())[0].kind; };
  ASSERT_TRUE(catalog_->AddBlob({Of("base"), 5, BlobKind::kDocument}));  // found after a crash
  ASSERT_TRUE(catalog_->AddBlob({Of("base"), 5, BlobKind::kLayer}));
  EXPECT_EQ(kind(), BlobKind::kLayer);
  ASSERT_TRUE(catalog_->AddBlob({Of("base"), 5, BlobKind::kDocument}));
  EXPECT_EQ(kind(), BlobKind::kLayer);
}

TEST_F(CatalogTest, ADocumentThatIsALayerTooStaysADocument) {
  ASSERT_TRUE(catalog_->AddBlob({Of("one config"), 8, BlobKind::kLayer}));
  Publish("a:1", "one", {"base"});
  ASSERT_TRUE(catalog_->AddBlob({Of("one config"), 8, BlobKind::kLayer}));
  for (const auto& blob : *catalog_->ListBlobs()) EXPECT_EQ(blob.kind, BlobKind::kDocument);
}

TEST_F(CatalogTest, ADamagedKeptBlobCostsNothingButTheBlob) {
  Publish("a:1", "one", {"base"});
  ASSERT_TRUE(catalog_->AddBlob({Of("base"), 5, BlobKind::kLayer}));
  ASSERT_TRUE(catalog_->ForgetBlob(Of("base")));
  EXPECT_FALSE(*catalog_->HasBlob(Of("base")));
  EXPECT_TRUE(*catalog_->FindName("a:1"));
}

TEST_F(CatalogTest, UsageCountsSharedLayersOnce) {
  Publish("a:1", "one", {"base", "top"});
  Publish("b:1", "two", {"base"});
  ASSERT_TRUE(catalog_->AddBlob({Of("base"), 5, BlobKind::kLayer}));
  const auto usage = *catalog_->Measure();
  EXPECT_EQ(usage.images, 2u);
  EXPECT_EQ(usage.layer_bytes, 200u);
  EXPECT_EQ(usage.shared_bytes, 100u);
  EXPECT_EQ(usage.compressed_bytes, 5u);
  EXPECT_EQ(usage.document_bytes, 30u);
}

TEST_F(CatalogTest, EveryChangeOfWhatThereIsHasAnotherVersion) {
  std::uint64_t seen = catalog_->version();
  const auto changed = [&] {
    const std::uint64_t now = catalog_->version();
    return std::exchange(seen, now) != now;
  };
  EXPECT_FALSE(changed());
  Publish("a:1", "one", {"base"});
  EXPECT_TRUE(changed());
  Publish("a:2", "two", {"base", "own"});
  EXPECT_TRUE(changed());
  ASSERT_TRUE(catalog_->AddBlob({Of("blob"), 1, BlobKind::kLayer}));
  EXPECT_TRUE(changed());
  ASSERT_TRUE(catalog_->ForgetBlob(Of("blob")));
  EXPECT_TRUE(changed());
  ASSERT_TRUE(*catalog_->RemoveName("a:1"));
  EXPECT_TRUE(changed());
  ASSERT_TRUE(*catalog_->RemoveImage(Of("two")));
  EXPECT_TRUE(changed());
  ASSERT_TRUE(catalog_->Forget(*catalog_->FindUnreferenced(kForever)));
  EXPECT_TRUE(changed());
  ASSERT_TRUE(catalog_->ForgetDamaged(Of("base")));
  EXPECT_TRUE(changed());
  const auto pull = *catalog_->BeginPull("a:1");
  ASSERT_TRUE(catalog_->EndPull(pull, ""));
  (void)catalog_->ListImages();
  EXPECT_FALSE(changed()) << "questions and the journal change nothing that is kept";
}

TEST_F(CatalogTest, TheJournalKeepsTheNewest) {
  for (int i = 0; i < 8; ++i) {
    const auto pull = *catalog_->BeginPull("n" + std::to_string(i));
    ASSERT_TRUE(catalog_->EndPull(pull, "{\"i\":" + std::to_string(i) + "}"));
  }
  const auto entries = *catalog_->Journal(100);
  ASSERT_EQ(entries.size(), 5u);
  EXPECT_EQ(entries.back().image, "n7");
  EXPECT_EQ(entries.back().kind, "failed");
  EXPECT_EQ((*catalog_->LastOf("n5"))->record, "{\"i\":5}");
  EXPECT_FALSE(*catalog_->LastOf("n0"));
  EXPECT_EQ(*catalog_->Check(), "ok");
}

TEST_F(CatalogTest, TheJournalForgetsWhatIsTooOld) {
  using std::chrono::hours;
  const auto add = [&](const std::string& name) { ASSERT_TRUE(catalog_->EndPull(*catalog_->BeginPull(name), "{}")); };
  const auto names = [&] {
    std::string all;
    for (const auto& entry : *catalog_->Journal(100)) all += entry.image + " ";
    return all;
  };
  add("a");
  clock_.Advance(hours(1));
  add("b");
  clock_.Advance(hours(719));
  ASSERT_TRUE(catalog_->TrimJournal());
  EXPECT_EQ(names(), "a b ") << "at the age itself";
  clock_.Advance(hours(1) - time::Duration(1));
  add("c");
  EXPECT_EQ(names(), "b c ") << "what is added takes what is too old along";
  clock_.Advance(time::Duration(2));
  ASSERT_TRUE(catalog_->TrimJournal());
  EXPECT_EQ(names(), "c ");
  clock_.Advance(hours(10'000));
  ASSERT_TRUE(catalog_->TrimJournal());
  EXPECT_EQ(names(), "");
  EXPECT_FALSE(*catalog_->LastOf("c"));
  add("d");
  EXPECT_EQ(names(), "d ");

  age_ = {};
  Reopen();
  clock_.Advance(hours(100'000));
  add("e");
  ASSERT_TRUE(catalog_->TrimJournal());
  EXPECT_EQ(names(), "d e ") << "no limit";
}

// Found by an audit: a name that moves is read with the images of the target that is read.
TEST_F(CatalogTest, AReaderSeesOneStateWhilePublicationsGoOn) {
  Publish("a:1", "one", {"base"});
  std::atomic<bool> over{false};
  std::jthread writer([&] {
    for (int i = 0; i < 300; ++i) Publish("a:1", i % 2 == 0 ? "two" : "one", {"base"});
    over = true;
  });
  do {
    const auto name = *catalog_->FindName("a:1");
    ASSERT_TRUE(name);
    EXPECT_THAT(name->images, ElementsAre(name->target));
    for (const auto& listed : *catalog_->ListNames()) EXPECT_THAT(listed.images, ElementsAre(listed.target)) << listed.name;
    for (const auto& image : *catalog_->ListImages()) EXPECT_EQ(image.layers.size(), 1u);
  } while (!over);
}

}  // namespace
}  // namespace berth::catalog
