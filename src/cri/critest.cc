// cri/critest.cc: the image cases of critest (runtime-registry 1.7), case by case, against any CRI socket.
//
// Not a unit test: lab/test_cri.py prepares registries and images, starts the server and runs this. It can be run against
// containerd's CRI plug-in with the same images, which is how we know that the cases say what they should.
//   CRI_SOCKET       absolute path
//   CRI_REGISTRY     "127.0.0.1:5000": test-image-{tag:test,latest,digest,1,2,3}, test-image-tags:{1,2,3} (one image),
//                    test-image-user-{uid,username,uid-group,username-group}, pause:3.9
//   CRI_REGISTRY2    another one: the same pause:3.9
//   CRI_DIGEST       of test-image-digest
// Cases 15, 16 and 18 to 22 go on with containers, which an image service does not have: their image halves are here.
#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runtime/v1/api.grpc.pb.h"

namespace berth::cri {
namespace {

namespace v1 = ::runtime::v1;
using ::google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Given(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) {
    std::fprintf(stderr, "critest: set %s (see the head of cri/critest.cc)\n", name);
    std::exit(2);
  }
  return value;
}

// The clients of critest: every error ends the case, and removal asks for the id first.
class Critest : public ::testing::Test {
 protected:
  Critest() {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(16 << 20);
    stub_ = v1::ImageService::NewStub(
        grpc::CreateCustomChannel("unix:" + Given("CRI_SOCKET"), grpc::InsecureChannelCredentials(), arguments));
  }
  void SetUp() override {
    // As the reference client when it connects: an endpoint that cannot say this is not used.
    grpc::ClientContext context;
    v1::ImageFsInfoResponse answer;
    ASSERT_TRUE(stub_->ImageFsInfo(&context, {}, &answer).ok());
  }
  void TearDown() override {
    for (const auto& name : pulled_) Remove(name);
  }
  static std::string Name(const std::string& name) { return Given("CRI_REGISTRY") + "/" + name; }

  std::string Pull(const std::string& name) {
    v1::PullImageRequest request;
    // The client appends what is missing.
    request.mutable_image()->set_image(name.find(':', name.rfind('/')) == name.npos ? name + ":latest" : name);
    v1::PullImageResponse answer;
    grpc::ClientContext context;
    const auto status = stub_->PullImage(&context, request, &answer);
    EXPECT_TRUE(status.ok()) << name << ": " << status.error_message();
    EXPECT_NE(answer.image_ref(), "");
    pulled_.push_back(name);
    return answer.image_ref();
  }
  std::optional<v1::Image> Status(const std::string& name) {
    v1::ImageStatusRequest request;
    request.mutable_image()->set_image(name);
    v1::ImageStatusResponse answer;
    grpc::ClientContext context;
    const auto status = stub_->ImageStatus(&context, request, &answer);
    EXPECT_TRUE(status.ok()) << name << ": " << status.error_message();
    if (!answer.has_image()) return std::nullopt;
    EXPECT_NE(answer.image().id(), "") << name;
    EXPECT_GT(answer.image().size(), 0u) << name;
    return answer.image();
  }
  v1::Image Present(const std::string& name) {
    const auto image = Status(name);
    EXPECT_TRUE(image.has_value()) << name << " should be here";
    return image.value_or(v1::Image());
  }
  grpc::Status RemoveById(const std::string& id) {
    v1::RemoveImageRequest request;
    request.mutable_image()->set_image(id);
    v1::RemoveImageResponse answer;
    grpc::ClientContext context;
    return stub_->RemoveImage(&context, request, &answer);
  }
  void Remove(const std::string& name) {
    if (const auto image = Status(name)) {
      EXPECT_TRUE(RemoveById(image->id()).ok()) << name;
    }
  }
  void Gone(const std::string& name) { EXPECT_FALSE(Status(name)) << name << " should be gone"; }
  std::vector<v1::Image> List() {
    v1::ListImagesResponse answer;
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->ListImages(&context, {}, &answer).ok());
    return {answer.images().begin(), answer.images().end()};
  }
  std::vector<v1::Image> Listed(const std::string& id) {
    auto images = List();
    std::erase_if(images, [&](const v1::Image& image) { return image.id() != id; });
    return images;
  }
  bool ListedByTag(const std::string& tag) {
    const auto images = List();
    return std::ranges::any_of(images, [&](const v1::Image& i) { return std::ranges::find(i.repo_tags(), tag) != i.repo_tags().end(); });
  }
  static std::vector<std::string> Sorted(const google::protobuf::RepeatedPtrField<std::string>& texts) {
    std::vector<std::string> sorted(texts.begin(), texts.end());
    std::ranges::sort(sorted);
    return sorted;
  }

  std::unique_ptr<v1::ImageService::Stub> stub_;
  std::vector<std::string> pulled_;
};

// --- Image Manager

TEST_F(Critest, Case01PullWithTag) {
  const std::string name = Name("test-image-tag:test");
  Remove(name);
  Pull(name);
  const v1::Image image = Present(name);
  EXPECT_THAT(Sorted(image.repo_tags()), ElementsAre(name));
  ASSERT_TRUE(RemoveById(image.id()).ok());
  Gone(name);
}

TEST_F(Critest, Case02ADeadlineOfAMillisecond) {
  v1::PullImageRequest request;
  request.mutable_image()->set_image(Name("test-image-tag:test"));
  v1::PullImageResponse answer;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(1));
  EXPECT_EQ(stub_->PullImage(&context, request, &answer).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(answer.image_ref(), "");
}

TEST_F(Critest, Case03PullWithoutTag) {
  const std::string name = Name("test-image-latest");
  Pull(name);
  EXPECT_THAT(Sorted(Present(name).repo_tags()), ElementsAre(name + ":latest"));
}

TEST_F(Critest, Case04PullByDigest) {
  const std::string name = Name("test-image-digest@" + Given("CRI_DIGEST"));
  Pull(name);
  const v1::Image image = Present(name);
  EXPECT_THAT(Sorted(image.repo_tags()), IsEmpty());
  EXPECT_THAT(Sorted(image.repo_digests()), ElementsAre(name));
}

TEST_F(Critest, Case05StatusByAllReferences) {
  const std::string name = Name("test-image-latest");
  Pull(name);
  const v1::Image image = Present(name);
  std::vector<std::string> references = {image.id()};
  references.insert(references.end(), image.repo_tags().begin(), image.repo_tags().end());
  references.insert(references.end(), image.repo_digests().begin(), image.repo_digests().end());
  EXPECT_GE(references.size(), 3u);
  for (const auto& reference : references)
    EXPECT_TRUE(MessageDifferencer::Equals(Present(reference), image)) << reference << ": " << Present(reference).DebugString();
}

struct UserCase {
  const char* image;
  std::optional<std::int64_t> uid;
  const char* username;
};
TEST_F(Critest, Case06UserFields) {
  for (const UserCase& row : {UserCase{"test-image-user-uid", 1002, ""}, UserCase{"test-image-user-username", std::nullopt, "www-data"},
                              UserCase{"test-image-user-uid-group", 1003, ""}, UserCase{"test-image-user-username-group", std::nullopt, "www-data"}}) {
    Pull(Name(row.image));
    const v1::Image image = Present(Name(row.image));
    EXPECT_EQ(image.has_uid(), row.uid.has_value()) << row.image;
    EXPECT_EQ(image.uid().value(), row.uid.value_or(0)) << row.image;
    EXPECT_EQ(image.username(), row.username) << row.image;
  }
}

TEST_F(Critest, Case07ThreeDifferentImages) {
  std::set<std::string> ids;
  std::vector<std::pair<std::string, std::string>> expected;
  for (const char* name : {"test-image-1", "test-image-2", "test-image-3"}) {
    Pull(Name(name));
    expected.emplace_back(Present(Name(name)).id(), Name(name) + ":latest");
    ids.insert(expected.back().first);
  }
  EXPECT_THAT(ids, SizeIs(3));
  for (const auto& [id, tag] : expected) {
    const auto listed = Listed(id);
    ASSERT_THAT(listed, SizeIs(1)) << tag;
    EXPECT_THAT(Sorted(listed[0].repo_tags()), ElementsAre(tag));
  }
}

TEST_F(Critest, Case08ThreeTagsOneImage) {
  std::set<std::string> ids;
  std::vector<std::string> tags;
  for (const char* tag : {"1", "2", "3"}) {
    tags.push_back(Name("test-image-tags:") + tag);
    Pull(tags.back());
    ids.insert(Present(tags.back()).id());
  }
  ASSERT_THAT(ids, SizeIs(1));
  const auto listed = Listed(*ids.begin());
  ASSERT_THAT(listed, SizeIs(1));
  EXPECT_EQ(Sorted(listed[0].repo_tags()), tags);
}

TEST_F(Critest, Case09RemovalByOneTagRemovesAll) {
  std::vector<std::string> tags;
  for (const char* tag : {"1", "2", "3"}) Pull(tags.emplace_back(Name("test-image-tags:") + tag));
  const std::string id = Present(tags[0]).id();
  Remove(tags[0]);
  for (const auto& tag : tags) Gone(tag);
  Gone(id);
}

// The same by what crictl and people may send: not the id.
TEST_F(Critest, Case09bRemovalByNameAndByDigest) {
  for (const bool by_digest : {false, true}) {
    std::vector<std::string> tags;
    for (const char* tag : {"1", "2", "3"}) Pull(tags.emplace_back(Name("test-image-tags:") + tag));
    const v1::Image image = Present(tags[0]);
    ASSERT_TRUE(RemoveById(by_digest ? image.repo_digests(0) : tags[1]).ok());
    for (const auto& tag : tags) Gone(tag);
    Gone(image.id());
  }
}

TEST_F(Critest, Case10OneImageFromTwoRegistries) {
  const std::string one = Name("pause:3.9"), two = Given("CRI_REGISTRY2") + "/pause:3.9";
  Pull(one);
  Pull(two);
  const v1::Image image = Present(one);
  EXPECT_EQ(Present(two).id(), image.id());
  std::vector<std::string> both = {one, two};
  std::ranges::sort(both);
  const auto listed = Listed(image.id());
  ASSERT_THAT(listed, SizeIs(1));
  EXPECT_EQ(Sorted(listed[0].repo_tags()), both);
  Remove(one);
  Gone(one);
  Gone(two);
  Gone(image.id());
}

// --- Image Consistency

TEST_F(Critest, Case11InvisibleAfterRemoval) {
  const std::string name = Name("test-image-1");
  Pull(name);
  ASSERT_TRUE(RemoveById(Present(name).id()).ok());
  EXPECT_FALSE(ListedByTag(name + ":latest"));
  Gone(name);
}

TEST_F(Critest, Case12VisibleAfterPull) {
  const std::string name = Name("test-image-1");
  Remove(name);
  Pull(name);
  EXPECT_TRUE(ListedByTag(name + ":latest"));
  Present(name);
}

TEST_F(Critest, Case13SimultaneousRemovals) {
  const std::string name = Name("test-image-1");
  Pull(name);
  const std::string id = Present(name).id();
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i)
    threads.emplace_back([&] {
      const auto status = RemoveById(id);
      EXPECT_TRUE(status.ok()) << status.error_message();
      Gone(id);
    });
  for (auto& thread : threads) thread.join();
}

// --- Image ID Consistency

TEST_F(Critest, Case15OneIdentifier) {
  const std::string name = Name("test-image-latest");
  const std::string ref = Pull(name);
  EXPECT_EQ(Present(name).id(), ref);
  EXPECT_THAT(Listed(ref), SizeIs(1));
  EXPECT_TRUE(MessageDifferencer::Equals(Present(ref), Present(name))) << "what a container is created with";
  EXPECT_EQ(Pull(name), ref);
}

TEST_F(Critest, Case16OneIdentifierFromTwoRegistries) {
  const std::string one = Name("pause:3.9"), two = Given("CRI_REGISTRY2") + "/pause:3.9";
  const std::string ref = Pull(one);
  EXPECT_EQ(Pull(two), ref);
  EXPECT_EQ(Present(one).id(), ref);
  EXPECT_EQ(Present(two).id(), ref);
}

// --- Idempotence

TEST_F(Critest, Case17RemovalOfNothingTwice) {
  EXPECT_TRUE(RemoveById(std::string(64, '0')).ok());
  EXPECT_TRUE(RemoveById(std::string(64, '0')).ok());
}

}  // namespace
}  // namespace berth::cri
