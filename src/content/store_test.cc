#include "content/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace berth::content {
namespace {

using digest::Digest;
using testing::ElementsAre;
using testing::IsEmpty;
namespace fs = std::filesystem;

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string pattern = (fs::temp_directory_path() / "berth-content-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    Reopen();
  }
  ~StoreTest() override {
    store_.reset();
    fs::remove_all(root_);
  }
  void Reopen() {
    store_.reset();
    store_ = *Store::Open(*host::Dir::Open(root_.string()));
  }
  fs::path Blob(const Digest& d) const { return root_ / "blobs" / "sha256" / d.Hex(); }

  fs::path root_;
  std::unique_ptr<Store> store_;
  const std::string text_ = "{\"a\":1}";
  const Digest digest_ = Digest::Of(bytes::AsView(text_));
};

std::string ReadBack(const Ingest& ingest) {
  std::string all(static_cast<std::size_t>(ingest.length()) + 1, '\0');
  const std::size_t got = *ingest.ReadAt(0, std::as_writable_bytes(std::span(all)));
  all.resize(got);
  return all;
}

TEST_F(StoreTest, ADocumentIsReadAsItWasPut) {
  ASSERT_TRUE(store_->Put(digest_, text_));
  ASSERT_TRUE(store_->Put(digest_, text_)) << "twice is fine";
  Reopen();
  EXPECT_EQ(*store_->ReadDocument(digest_, 100), text_);
  EXPECT_EQ(*store_->Size(digest_), text_.size());
  EXPECT_TRUE(store_->Verify(digest_));
  EXPECT_EQ(store_->List()->size(), 1u);
  EXPECT_TRUE(*store_->Remove(digest_));
  EXPECT_EQ(store_->ReadDocument(digest_, 100).error().reason(), Reason::kMissing);
  EXPECT_EQ(*store_->Size(digest_), std::nullopt);
}

TEST_F(StoreTest, AFolderThatIsGoneTellsTheWayOut) {
  for (const char* folder : {"blobs/sha256", "blobs", "ingest"}) {
    fs::remove_all(root_ / folder);
    const bool partials = folder == std::string("ingest");
    const auto resumed = store_->Resume(digest_, 10);
    const Result<> done = partials ? (resumed ? Result<>() : resumed.error()) : store_->Put(digest_, text_);
    ASSERT_FALSE(done) << folder;
    EXPECT_EQ(done.error().reason(), Reason::kMissing);
    EXPECT_EQ(done.error().next_step(), "restart berthd: it makes its folders anew") << folder;
  }
  Reopen();
  EXPECT_TRUE(store_->Put(digest_, text_));
  EXPECT_TRUE(store_->Resume(digest_, 10));
}

TEST_F(StoreTest, OtherBytesAreNeverStored) {
  EXPECT_EQ(store_->Put(digest_, "other").error().reason(), Reason::kDigestMismatch);
  EXPECT_THAT(*store_->List(), IsEmpty());
}

TEST_F(StoreTest, DamageIsFoundAtEveryRead) {
  ASSERT_TRUE(store_->Put(digest_, text_));
  std::ofstream(Blob(digest_)) << "{\"a\":2}";
  EXPECT_EQ(store_->ReadDocument(digest_, 100).error().reason(), Reason::kDigestMismatch);
  EXPECT_EQ(store_->Verify(digest_).error().reason(), Reason::kDigestMismatch);
  EXPECT_EQ(store_->ReadDocument(digest_, 3).error().reason(), Reason::kLimitExceeded);
}

TEST_F(StoreTest, ATailThatAFailedAppendLeftDoesNotGetAName) {
  auto ingest = *store_->Resume(digest_, text_.size());
  ASSERT_TRUE(ingest->Append(bytes::AsView(text_)));
  std::ofstream(root_ / "ingest" / ("sha256-" + digest_.Hex()), std::ios::app) << "torn";
  ASSERT_TRUE(ingest->Keep());
  EXPECT_TRUE(store_->Verify(digest_));
}

TEST_F(StoreTest, APartialSurvivesARestartAndGoesOn) {
  {
    auto ingest = *store_->Resume(digest_, text_.size());
    EXPECT_EQ(ingest->length(), 0u);
    ASSERT_TRUE(ingest->Append(bytes::AsView("{\"a")));
  }
  Reopen();
  EXPECT_EQ(*store_->Recover(), 0u) << "a partial is no rubbish";
  {
    auto ingest = *store_->Resume(digest_, text_.size());
    EXPECT_EQ(ReadBack(*ingest), "{\"a");
    ASSERT_TRUE(ingest->Append(bytes::AsView("\":1}")));
    ASSERT_TRUE(ingest->Keep());
  }
  EXPECT_EQ(*store_->ReadDocument(digest_, 100), text_);
  EXPECT_THAT(*store_->Partials(), IsEmpty());
}

TEST_F(StoreTest, AWrongPartialStartsAnew) {
  auto ingest = *store_->Resume(digest_, text_.size());
  ASSERT_TRUE(ingest->Append(bytes::AsView("wrong")));
  ASSERT_TRUE(ingest->Restart());
  ASSERT_TRUE(ingest->Append(bytes::AsView(text_)));
  EXPECT_EQ(ReadBack(*ingest), text_);
}

TEST_F(StoreTest, APartialThatIsTooLongIsDropped) {
  { ASSERT_TRUE((*store_->Resume(digest_, 100))->Append(bytes::AsView(std::string(50, 'x')))); }
  EXPECT_EQ((*store_->Resume(digest_, text_.size()))->length(), 0u);
}

// A manifest may claim a size that is not the blob's: only bytes that somebody served for it replace what is there.
TEST_F(StoreTest, APartialThatIsTooLongIsThereUntilTheFirstBytes) {
  const std::string longer(50, 'x');
  { ASSERT_TRUE((*store_->Resume(digest_, 100))->Append(bytes::AsView(longer))); }
  {
    auto claimed = *store_->Resume(digest_, 1);
    EXPECT_EQ(claimed->length(), 0u);
    std::array<std::byte, 4> room;
    EXPECT_EQ(*claimed->ReadAt(0, room), 0u);
  }
  EXPECT_EQ(ReadBack(**store_->Resume(digest_, 100)), longer);
  {
    auto right = *store_->Resume(digest_, text_.size());
    ASSERT_TRUE(right->Append(bytes::AsView("{\"a")));
    EXPECT_EQ(ReadBack(*right), "{\"a");
  }
  auto right = *store_->Resume(digest_, text_.size());
  EXPECT_EQ(ReadBack(*right), "{\"a");
  ASSERT_TRUE(right->Append(bytes::AsView("\":1}")));
  ASSERT_TRUE(right->Keep());
  EXPECT_TRUE(store_->Verify(digest_));
}

TEST_F(StoreTest, OneDownloadOfABlobAtATime) {
  auto first = *store_->Resume(digest_, 10);
  EXPECT_EQ(store_->Resume(digest_, 10).error().reason(), Reason::kConflict);
  EXPECT_FALSE(*store_->RemovePartial(digest_));
  first.reset();
  EXPECT_EQ(store_->Partials()->size(), 1u);
  EXPECT_TRUE(*store_->RemovePartial(digest_));
  EXPECT_THAT(*store_->Partials(), IsEmpty());
}

TEST_F(StoreTest, DiscardLeavesNothing) {
  auto ingest = *store_->Resume(digest_, 10);
  ASSERT_TRUE(ingest->Append(bytes::AsView("abc")));
  ASSERT_TRUE(ingest->Discard());
  ingest.reset();
  EXPECT_THAT(*store_->Partials(), IsEmpty());
  EXPECT_THAT(*store_->List(), IsEmpty());
}

TEST_F(StoreTest, RecoveryRemovesWhatNoNameExplains) {
  ASSERT_TRUE(store_->Put(digest_, text_));
  std::ofstream(root_ / "blobs" / "sha256" / ".tmp-1") << "half";
  std::ofstream(root_ / "ingest" / "junk") << "half";
  EXPECT_EQ(*store_->Recover(), 2u);
  EXPECT_EQ(store_->List()->size(), 1u);
}

TEST_F(StoreTest, OtherAlgorithmsHaveTheirOwnFolder) {
  const Digest d = Digest::Of(bytes::AsView(text_), digest::Algorithm::kSha512);
  ASSERT_TRUE(store_->Put(d, text_));
  EXPECT_EQ(*store_->ReadDocument(d, 100), text_);
  EXPECT_TRUE(fs::exists(root_ / "blobs" / "sha512" / d.Hex()));
}

}  // namespace
}  // namespace berth::content
