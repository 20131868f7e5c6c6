#include "cri/images.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "host/dir.h"
#include "reclaim/testing/stores.h"

namespace berth::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using catalog::ImageRecord;
using digest::Digest;

Digest Of(std::string_view text) { return Digest::Of(bytes::AsView(text)); }

// A catalog of made-up images; only configs have files.
class ImagesTest : public ::testing::Test {
 protected:
  ImagesTest() {
    root_ = *host::Dir::Open(folder_.path());
    content_ = *content::Store::Open(root_);
    catalog_ = *catalog::Catalog::Open(folder_.path(), clock_);
    images_ = std::make_unique<Images>(*catalog_, *content_, *oci::Platform::Parse("linux/amd64"));
  }
  struct Made {
    std::string platform = "linux/amd64", manifest;  // manifest "": made of the config
    std::string user, extra;
    std::uint64_t size = 10;
    bool config_stored = true;
  };
  ImageRecord Make(const Made& made) {
    const std::string config = R"({"os":"linux","architecture":"amd64","config":{"User":")" + made.user + R"("},"rootfs":{"type":"layers","diff_ids":[]},"x":")" +
                               made.extra + made.platform + R"("})";
    if (made.config_stored) {
      EXPECT_TRUE(content_->Put(Of(config), config));
    }
    return {.manifest = Of(made.manifest.empty() ? "manifest of " + config : made.manifest), .config = Of(config), .platform = made.platform,
            .size = made.size};
  }
  void Publish(const std::string& name, const std::vector<ImageRecord>& images, const std::string& target) {
    clock_.Advance(std::chrono::seconds(1));
    const std::string repository = name.substr(0, std::min(name.find('@'), name.rfind(':')));
    ASSERT_TRUE(catalog_->PublishImage({.name = name, .implied_name = repository + "@" + Of(target).ToString(), .target = Of(target),
                                        .media_type = "m", .documents = {{Of(target), 1}}, .images = images}));
  }
  std::shared_ptr<const View> Get() {
    auto view = images_->Get();
    EXPECT_TRUE(view) << view.error().Text();
    return *view;
  }
  static std::vector<std::string> Texts(const google::protobuf::RepeatedPtrField<std::string>& texts) {
    return {texts.begin(), texts.end()};
  }

  time::testing::ManualClock clock_;
  reclaim::testing::Folder folder_;
  host::Dir root_;
  std::unique_ptr<content::Store> content_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<Images> images_;
};

TEST_F(ImagesTest, AnEmptyStoreIsAnEmptyList) {
  EXPECT_EQ(images_->Ready(), nullptr) << "nothing was read yet";
  EXPECT_THAT(Get()->entries(), IsEmpty());
  EXPECT_THAT(Get()->parts(), IsEmpty());
  EXPECT_NE(images_->Ready(), nullptr);
}

TEST_F(ImagesTest, OneEntryForAConfigWithAllItsNames) {  // 1.10 row 6; two registries with different manifests
  const auto one = Make({.user = "1002", .size = 10});
  auto two = one;
  two.manifest = Of("other manifest");
  two.size = 12;
  Publish("a.test/x:1", {one}, "index");
  Publish("a.test/x:2", {one}, "index");
  Publish("b.test/y:1", {two}, "other manifest");
  const auto view = Get();
  ASSERT_THAT(view->entries(), SizeIs(1));
  const v1::Image& image = view->entries()[0].image;
  EXPECT_EQ(image.id(), one.config.ToString());
  EXPECT_THAT(Texts(image.repo_tags()), ElementsAre("a.test/x:1", "a.test/x:2", "b.test/y:1"));
  EXPECT_THAT(Texts(image.repo_digests()), ElementsAre("a.test/x@" + Of("index").ToString(), "b.test/y@" + Of("other manifest").ToString()));
  EXPECT_EQ(image.size(), 12u);
  EXPECT_EQ(image.uid().value(), 1002);
  EXPECT_EQ(image.username(), "");
  EXPECT_FALSE(image.pinned());
  EXPECT_THAT(view->entries()[0].manifests, ::testing::UnorderedElementsAre(one.manifest, two.manifest));
}

struct UserCase {
  const char* user;
  std::optional<std::int64_t> uid;
  const char* username;
};
void PrintTo(const UserCase& row, std::ostream* out) { *out << '"' << row.user << '"'; }
class Users : public ImagesTest, public ::testing::WithParamInterface<UserCase> {};
TEST_P(Users, AreUidOrName) {
  Publish("a.test/x:1", {Make({.user = GetParam().user})}, "t");
  const v1::Image& image = Get()->entries()[0].image;
  EXPECT_EQ(image.has_uid(), GetParam().uid.has_value());
  EXPECT_EQ(image.uid().value(), GetParam().uid.value_or(0));
  EXPECT_EQ(image.username(), GetParam().username);
}
INSTANTIATE_TEST_SUITE_P(Rows, Users,
                         ::testing::Values(UserCase{"", std::nullopt, ""}, UserCase{"0", 0, ""}, UserCase{"1002", 1002, ""},
                                           UserCase{"1003:group", 1003, ""}, UserCase{"www-data", std::nullopt, "www-data"},
                                           UserCase{"www-data:group", std::nullopt, "www-data"}));

TEST_F(ImagesTest, ANameBelongsToTheImageForThisMachine) {
  const auto here = Make({}), there = Make({.platform = "linux/arm64"});
  Publish("a.test/x:1", {there, here}, "index");
  Publish("a.test/only-there:1", {there}, "other");
  const auto view = Get();
  ASSERT_THAT(view->entries(), SizeIs(2));
  EXPECT_EQ(view->FindName("a.test/x:1")->image.id(), here.config.ToString());
  EXPECT_EQ(view->FindName("a.test/only-there:1"), nullptr) << "it cannot run here: a pull says so";
  const auto* foreign = *view->Find(there.config.ToString(), kDigitsToLook);
  ASSERT_NE(foreign, nullptr) << "it takes space: listed, and removable by id";
  EXPECT_THAT(Texts(foreign->image.repo_tags()), IsEmpty());
  // The host's image goes: the name means nothing here.
  ASSERT_TRUE(*catalog_->RemoveImage(here.manifest));
  EXPECT_EQ(Get()->FindName("a.test/x:1"), nullptr);
}

struct FindCase {
  const char* name;
  std::string text;
  std::size_t digits = kDigitsToLook;
  int found;  // 0: none, 1: the first, 2: the second, -1: ambiguous
};
TEST_F(ImagesTest, AreFoundByIdNameAndPiecesOfAnId) {  // G-08, G-09
  const auto one = Make({.extra = "one"}), two = Make({.extra = "two"});
  Publish("docker.io/library/busybox:latest", {one}, "i1");
  Publish("a.test:5000/x:1", {two}, "i2");
  const std::string hex = one.config.Hex(), second = two.config.ToString();
  // A name that looks like the beginning of an id.
  const std::string digits = two.config.Hex().substr(0, 13);
  Publish("docker.io/library/" + digits + ":latest", {one}, "i1");
  const auto view = Get();
  for (const FindCase& row : {
           FindCase{"id", "sha256:" + hex, 12, 1}, FindCase{"bare id", hex, 12, 1}, FindCase{"manifest", one.manifest.ToString(), 12, 1},
           FindCase{"bare manifest", two.manifest.Hex(), 12, 2}, FindCase{"name", "busybox", 12, 1}, FindCase{"full name", "docker.io/library/busybox:latest", 12, 1},
           FindCase{"legacy host", "index.docker.io/library/busybox", 12, 1}, FindCase{"other tag", "busybox:2", 12, 0},
           FindCase{"with port", "a.test:5000/x:1", 12, 2}, FindCase{"digest name", "a.test:5000/x@" + Of("i2").ToString(), 12, 2},
           FindCase{"tag beside the digest", "a.test:5000/x:9@" + Of("i2").ToString(), 12, 2},
           FindCase{"digest of another repository", "a.test:5000/y@" + Of("i2").ToString(), 12, 0},
           FindCase{"piece to look", "sha256:" + hex.substr(0, 6), 4, 1}, FindCase{"piece to remove", hex.substr(0, 12), 12, 1},
           FindCase{"short piece to remove", hex.substr(0, 11), 12, 0}, FindCase{"one digit", hex.substr(0, 1), 4, 0},
           FindCase{"the name comes first", digits, 4, 1}, FindCase{"said to be an id", "sha256:" + digits, 4, 2},
           FindCase{"unknown id", std::string(64, '0'), 12, 0}, FindCase{"unknown with algorithm", "sha256:" + std::string(64, '0'), 12, 0},
           FindCase{"65 digits", hex + "0", 4, 0}, FindCase{"another algorithm", "sha512:" + hex, 4, 0}, FindCase{"upper case", "SHA256:" + hex, 4, 0},
           FindCase{"empty", "", 4, 0}, FindCase{"only the algorithm", "sha256:", 4, 0}, FindCase{"NUL", std::string("busybox\0", 8), 4, 0},
           FindCase{"line", "busybox\n", 4, 0}, FindCase{"a mebibyte", std::string(1 << 20, 'a'), 4, 0}, FindCase{"climbing", "../../x", 4, 0}}) {
    const auto found = view->Find(row.text, row.digits);
    ASSERT_TRUE(found) << row.name << ": " << found.error().Text();
    const std::string id = *found == nullptr ? "none" : (*found)->image.id();
    EXPECT_EQ(id, row.found == 0 ? "none" : row.found == 1 ? one.config.ToString() : second) << row.name;
  }
}

// Found by an audit: only sha256 was looked for.
TEST_F(ImagesTest, AreFoundByIdsOfEveryAlgorithm) {
  auto one = Make({.extra = "one"}), two = Make({.extra = "two"});
  one.config = Digest::Of(bytes::AsView("one"), digest::Algorithm::kSha512);
  two.config = Digest::Of(bytes::AsView("two"), digest::Algorithm::kSha384);
  two.manifest = Digest::Of(bytes::AsView("manifest"), digest::Algorithm::kSha512);
  Publish("a.test/x:1", {one}, "i1");
  Publish("docker.io/library/sha512:v1", {two}, "i2");
  const std::string first = one.config.Hex(), second = two.config.Hex();
  const auto view = Get();
  for (const FindCase& row : {
           FindCase{"id", "sha512:" + first, 12, 1}, FindCase{"bare id", first, 12, 1}, FindCase{"id of 96", "sha384:" + second, 12, 2},
           FindCase{"bare id of 96", second, 12, 2}, FindCase{"manifest", two.manifest.ToString(), 12, 2},
           FindCase{"bare manifest", two.manifest.Hex(), 12, 2}, FindCase{"piece", first.substr(0, 12), 12, 1},
           FindCase{"piece with algorithm", "sha384:" + second.substr(0, 12), 12, 2}, FindCase{"long piece", first.substr(0, 100), 12, 1},
           FindCase{"another algorithm", "sha384:" + first.substr(0, 12), 4, 0}, FindCase{"short piece", "sha512:" + first.substr(0, 11), 12, 0},
           FindCase{"129 digits", first + "0", 4, 0}, FindCase{"a name", "sha512:v1", 4, 2}, FindCase{"only the algorithm", "sha512:", 4, 0}}) {
    const auto found = view->Find(row.text, row.digits);
    ASSERT_TRUE(found) << row.name << ": " << found.error().Text();
    const std::string id = *found == nullptr ? "none" : (*found)->image.id();
    EXPECT_EQ(id, row.found == 0 ? "none" : row.found == 1 ? one.config.ToString() : two.config.ToString()) << row.name;
  }
}

TEST_F(ImagesTest, APieceThatFitsSeveralIsAnError) {
  // Digests cannot be chosen: enough images, and some two share four digits.
  std::vector<ImageRecord> made;
  std::map<std::string, int> begin;
  std::string shared;
  for (int i = 0; shared.empty(); ++i) {
    // Of several algorithms: the digits alone begin ids of each.
    const auto algorithm = i % 2 == 0 ? digest::Algorithm::kSha256 : digest::Algorithm::kSha512;
    const ImageRecord image{.manifest = Of("m" + std::to_string(i)), .config = Digest::Of(bytes::AsView("c" + std::to_string(i)), algorithm),
                            .platform = "linux/amd64", .size = 1};
    made.push_back(image);
    if (++begin[image.config.Hex().substr(0, 4)] == 2) shared = image.config.Hex().substr(0, 4);
  }
  for (std::size_t i = 0; i < made.size(); ++i)
    if (made[i].config.Hex().starts_with(shared)) Publish("a.test/x:" + std::to_string(i), {made[i]}, "t" + std::to_string(i));
  const auto found = Get()->Find(shared, kDigitsToLook);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().reason(), Reason::kUsage);
}

TEST_F(ImagesTest, EveryChangeIsInTheNextAnswer) {  // 1.10 row 4
  const auto image = Make({});
  const auto expect = [&](bool tagged, std::size_t images) {
    EXPECT_EQ(images_->Ready(), nullptr) << "it must be read again";
    const auto view = Get();
    EXPECT_EQ(view->FindName("a.test/x:1") != nullptr, tagged);
    EXPECT_THAT(view->entries(), SizeIs(images));
    EXPECT_EQ(images_->Ready(), view) << "and is kept";
  };
  (void)Get();
  Publish("a.test/x:1", {image}, "t");
  expect(true, 1);
  Publish("a.test/x:2", {image}, "t");
  ASSERT_TRUE(*catalog_->RemoveName("a.test/x:1"));
  expect(false, 1);
  Publish("a.test/x:1", {Make({.extra = "new"})}, "t2");
  expect(true, 2);
  ASSERT_TRUE(*catalog_->RemoveImage(image.manifest));
  expect(true, 1);
  ASSERT_TRUE(catalog_->ForgetDamaged(Of("t2")));
  Get();
  EXPECT_EQ(Get()->FindName("a.test/x:1"), nullptr);
}

TEST_F(ImagesTest, APinIsInTheNextAnswer) {
  const auto image = Make({});
  Publish("a.test/x:1", {image}, "t");
  EXPECT_FALSE(Get()->entries()[0].image.pinned());
  ASSERT_TRUE(catalog_->SetPin(image.config, {}));
  EXPECT_TRUE(Get()->entries()[0].image.pinned());
  ASSERT_TRUE(catalog_->RemovePin(image.config));
  EXPECT_FALSE(Get()->entries()[0].image.pinned());
}

TEST_F(ImagesTest, ATagThatMovedLeavesADanglingImage) {  // 1.5: the old image keeps its digest name
  const auto old = Make({.extra = "old"}), fresh = Make({.extra = "new"});
  Publish("a.test/x:1", {old}, "t1");
  Publish("a.test/x:1", {fresh}, "t2");
  const auto view = Get();
  EXPECT_EQ(view->FindName("a.test/x:1")->image.id(), fresh.config.ToString());
  const auto* dangling = *view->Find(old.config.ToString(), kDigitsToLook);
  ASSERT_NE(dangling, nullptr);
  EXPECT_THAT(Texts(dangling->image.repo_tags()), IsEmpty());
  EXPECT_THAT(Texts(dangling->image.repo_digests()), ElementsAre("a.test/x@" + Of("t1").ToString()));
}

TEST_F(ImagesTest, AConfigThatCannotBeReadIsReadAgainLater) {
  const auto lost = Make({.user = "7", .config_stored = false});
  Publish("a.test/x:1", {lost}, "t");
  EXPECT_FALSE(Get()->entries()[0].image.has_uid());
  (void)Make({.user = "7"});  // comes back
  Publish("a.test/x:2", {lost}, "t");
  EXPECT_EQ(Get()->entries()[0].image.uid().value(), 7);
}

TEST_F(ImagesTest, TheWireFormIsTheListInParts) {
  images_ = std::make_unique<Images>(*catalog_, *content_, *oci::Platform::Parse("linux/amd64"), 1000);
  for (int i = 0; i < 40; ++i) {
    const std::string n = std::to_string(i);
    Publish("a.test/" + std::string(i == 20 ? 200 : 10, 'x') + n + ":1", {Make({.extra = n})}, "t" + n);
  }
  const auto view = Get();
  ASSERT_THAT(view->entries(), SizeIs(40));
  EXPECT_GT(view->parts().size(), 5u);
  std::string whole;
  std::size_t streamed = 0;
  for (const auto& part : view->parts()) {
    EXPECT_LE(part.size(), 1000u);
    v1::StreamImagesResponse message;
    ASSERT_TRUE(message.ParseFromArray(part.begin(), static_cast<int>(part.size())));
    EXPECT_GT(message.images_size(), 0);
    streamed += static_cast<std::size_t>(message.images_size());
    whole.append(reinterpret_cast<const char*>(part.begin()), part.size());
  }
  EXPECT_EQ(streamed, 40u);
  EXPECT_EQ(whole.size(), view->bytes());
  v1::ListImagesResponse list;
  ASSERT_TRUE(list.ParseFromString(whole));
  ASSERT_EQ(list.images_size(), 40);
  using ::google::protobuf::util::MessageDifferencer;
  for (int i = 0; i < list.images_size(); ++i)
    ASSERT_TRUE(MessageDifferencer::Equals(list.images(i), view->entries()[static_cast<std::size_t>(i)].image)) << i;
}

}  // namespace
}  // namespace berth::cri
