#include "cri/service.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "cri/images.h"
#include "cri/testing/rig.h"
#include "host/probe.h"
#include "json/document.h"
#include "verify/verifier.h"
#include "yaml/document.h"

namespace berth::cri {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;
using http::testing::Gate;
using http::testing::Reply;
using http::testing::ServerRequest;
using pull::testing::Tar;
using testing::Rig;

const std::string kBig = Tar("big", std::string(3'000'000, 'b')), kSmall = Tar("small", "s");

std::string Blob(const std::string& repository, const oci::Descriptor& d) {
  return "GET /v2/" + repository + "/blobs/" + d.digest.ToString();
}

// --- questions

TEST(CriService, TheIdIsTheSameInEveryAnswer) {  // runtime-registry 1.10 row 5
  Rig rig;
  const auto image = rig.node.registry.PutImage("app", "1", {kSmall});
  ASSERT_TRUE(rig.Pull("app:1").ok());
  const std::string id = image.config.digest.ToString();
  EXPECT_EQ(rig.pulled.image_ref(), id);
  v1::ListImagesResponse list;
  ASSERT_TRUE(rig.List("", &list).ok());
  ASSERT_EQ(list.images_size(), 1);
  EXPECT_EQ(list.images(0).id(), id);
  EXPECT_EQ(list.images(0).size(), image.manifest.size + image.config.size + kSmall.size());
  EXPECT_FALSE(list.images(0).has_spec());
  const std::string tag = rig.node.Name("app:1"), digest = rig.node.Name("app@" + image.manifest.digest.ToString());
  for (const std::string& name : {id, id.substr(7), tag, digest, id.substr(0, 20)}) {
    const auto found = rig.Image(name);
    ASSERT_TRUE(found) << name;
    EXPECT_TRUE(MessageDifferencer::Equals(*found, list.images(0))) << name;
  }
}

TEST(CriService, EachCallIsWatchedFromItsBeginningToItsEnd) {
  std::mutex mutex;
  std::vector<std::pair<std::string, grpc::StatusCode>> ended;
  std::size_t begun = 0;
  api::ServerOptions listen;
  listen.on_call = [&](std::string_view method) -> std::function<void(grpc::StatusCode)> {
    if (!method.starts_with("/runtime.v1.")) return {};
    const std::lock_guard hold(mutex);
    ++begun;
    return [&, name = std::string(method.substr(method.rfind('/') + 1))](grpc::StatusCode code) {
      const std::lock_guard lock(mutex);
      ended.emplace_back(name, code);
    };
  };
  Rig rig({}, std::move(listen));
  rig.node.registry.PutImage("app", "1", {kSmall});
  ASSERT_TRUE(rig.Pull("app:1").ok());
  EXPECT_THAT(rig.Tags(), SizeIs(1));
  v1::ImageStatusResponse answer;
  EXPECT_FALSE(rig.Status("", &answer).ok());
  EXPECT_FALSE(rig.Pull("app:2").ok());
  grpc::ClientContext context;
  const auto reader = rig.images->StreamImages(&context, {});
  v1::StreamImagesResponse part;
  while (reader->Read(&part)) {}
  EXPECT_TRUE(reader->Finish().ok());
  rig.Stop();
  using enum grpc::StatusCode;
  using Row = std::pair<std::string, grpc::StatusCode>;
  EXPECT_THAT(ended, ElementsAre(Row("PullImage", OK), Row("ListImages", OK), Row("ImageStatus", INVALID_ARGUMENT), Row("PullImage", NOT_FOUND),
                                 Row("StreamImages", OK)));
  EXPECT_EQ(begun, 5u);
}

TEST(CriService, ListsAreFilteredAndStreamed) {
  Rig rig;
  EXPECT_THAT(rig.Tags(), IsEmpty());
  rig.node.registry.PutImage("a", "1", {kSmall});
  rig.node.registry.PutImage("a", "2", {kSmall});  // the same image
  rig.node.registry.PutImage("b", "1", {kSmall, kBig});
  for (const char* name : {"a:1", "a:2", "b:1"}) ASSERT_TRUE(rig.Pull(name).ok()) << name;
  const std::string a1 = rig.node.Name("a:1"), a2 = rig.node.Name("a:2"), b1 = rig.node.Name("b:1");
  EXPECT_THAT(rig.Tags(), UnorderedElementsAre(a1, a2, b1));
  EXPECT_THAT(rig.Tags(a2), ElementsAre(a1, a2)) << "the whole image with all its tags";
  EXPECT_THAT(rig.Tags(rig.Image(b1)->id()), ElementsAre(b1));
  for (const std::string& nothing : {std::string("busybox"), rig.node.Name("a:3"), std::string("no/Such:Name"), std::string(64, '0'), std::string("\n")})
    EXPECT_THAT(rig.Tags(nothing), IsEmpty()) << nothing;

  const auto stream = [&](const std::string& filter) {
    v1::StreamImagesRequest request;
    if (!filter.empty()) request.mutable_filter()->mutable_image()->set_image(filter);
    grpc::ClientContext context;
    const auto reader = rig.images->StreamImages(&context, request);
    v1::ListImagesResponse all;
    v1::StreamImagesResponse part;
    while (reader->Read(&part)) {
      EXPECT_GT(part.images_size(), 0);
      for (const auto& image : part.images()) *all.add_images() = image;
    }
    EXPECT_TRUE(reader->Finish().ok());
    return all;
  };
  for (const std::string& filter : {std::string(), a1, std::string("busybox")}) {
    v1::ListImagesResponse list;
    ASSERT_TRUE(rig.List(filter, &list).ok());
    EXPECT_TRUE(MessageDifferencer::Equals(stream(filter), list)) << filter;
  }
}

TEST(CriService, AListThatIsTooLongForAMessageIsStreamed) {  // 1.10 row 9
  Rig rig({.message_bytes = 100});
  rig.node.registry.PutImage("a", "1", {kSmall});
  ASSERT_TRUE(rig.Pull("a:1").ok());
  EXPECT_THAT(rig.Tags(), SizeIs(1)) << "one part is never refused";
}

TEST(CriService, WhatIsNotHereIsNoErrorAndNothingIs) {  // 1.5, 1.10 row 2, G-08
  Rig rig;
  for (const std::string& name : {std::string("busybox"), std::string("reg.test/a@sha256:") + std::string(64, 'a'), std::string(64, '0'),
                                  "sha256:" + std::string(64, '0'), std::string("Not A Name"), std::string("a\0b", 3), std::string(1 << 20, 'a')}) {
    v1::ImageStatusResponse answer;
    EXPECT_TRUE(rig.Status(name, &answer).ok()) << name.substr(0, 80);
    EXPECT_FALSE(answer.has_image());
    EXPECT_TRUE(rig.Status(name, &answer, true).ok());
    EXPECT_EQ(answer.info_size(), 0);
    EXPECT_TRUE(rig.Remove(name).ok()) << name.substr(0, 80);
  }
  v1::ImageStatusResponse answer;
  EXPECT_EQ(rig.Status("", &answer).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(rig.Remove("").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(rig.Pull(v1::PullImageRequest()).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(CriService, VerboseStatusHasTheConfigAsJson) {
  Rig rig;
  const auto image = rig.node.registry.PutImage("app", "1", {kSmall, kBig});
  ASSERT_TRUE(rig.Pull("app:1").ok());
  v1::ImageStatusResponse answer;
  ASSERT_TRUE(rig.Status(rig.node.Name("app:1"), &answer, true).ok());
  ASSERT_EQ(answer.info_size(), 1);
  const auto document = json::Document::Parse(answer.info().at("info"), Reason::kCorrupt);
  ASSERT_TRUE(document) << answer.info().at("info");
  const auto digests = std::vector{digest::Digest::Of(bytes::AsView(kSmall)), digest::Digest::Of(bytes::AsView(kBig))};
  EXPECT_EQ(*document->root().Find("chainID")->AsString(), oci::ChainIds(digests)[1].ToString());
  EXPECT_EQ(*document->root().Find("imageSpec")->Find("architecture")->AsString(), "amd64");
  EXPECT_EQ(*document->root().Find("manifest")->AsString(), image.manifest.digest.ToString());
  v1::ImageStatusResponse brief;
  ASSERT_TRUE(rig.Status(rig.node.Name("app:1"), &brief).ok());
  EXPECT_EQ(brief.info_size(), 0);
  EXPECT_TRUE(MessageDifferencer::Equals(brief.image(), answer.image()));
}

TEST(CriService, DiskUsageIsTheStoresAndNeverFails) {  // 1.10 row 1, G-13
  Rig rig;
  const auto ask = [&] {
    grpc::ClientContext context;
    v1::ImageFsInfoResponse answer;
    EXPECT_TRUE(rig.images->ImageFsInfo(&context, {}, &answer).ok());
    EXPECT_EQ(answer.image_filesystems_size(), 1);
    EXPECT_EQ(answer.container_filesystems_size(), 0);
    return answer.image_filesystems(0);
  };
  const auto empty = ask();
  EXPECT_EQ(empty.fs_id().mountpoint(), rig.node.stores.folder.path());
  EXPECT_GT(empty.timestamp(), 0);
  EXPECT_TRUE(empty.has_used_bytes());
  EXPECT_TRUE(empty.has_inodes_used());
  EXPECT_EQ(empty.used_bytes().value(), 0u);
  // Measured at most once a second: all of these are a few measurements.
  std::set<std::int64_t> measured;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) measured.insert(ask().timestamp());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LE(measured.size(), static_cast<std::size_t>(seconds) + 2);
  rig.node.registry.PutImage("app", "1", {kBig});
  rig.Stop();
  ASSERT_TRUE(rig.node.Pull(rig.node.Ask("app:1")));
  rig.Start();
  const auto full = ask();
  EXPECT_GT(full.used_bytes().value(), kBig.size());
  EXPECT_EQ(full.inodes_used().value(), 5u) << "a layer's two files and its kept blob, manifest and config";
}

TEST(CriService, VersionAndStatusForCrictl) {
  Rig rig;
  const auto runtime = v1::RuntimeService::NewStub(rig.channel);
  grpc::ClientContext one, two;
  v1::VersionRequest ask;
  ask.set_version("v1");
  v1::VersionResponse version;
  ASSERT_TRUE(runtime->Version(&one, ask, &version).ok());
  EXPECT_EQ(version.version(), "0.1.0");
  EXPECT_EQ(version.runtime_name(), "berth");
  EXPECT_EQ(version.runtime_version(), BERTH_VERSION);
  EXPECT_EQ(version.runtime_api_version(), "v1");
  v1::StatusResponse status;
  ASSERT_TRUE(runtime->Status(&two, {}, &status).ok());
  ASSERT_EQ(status.status().conditions_size(), 2);
  EXPECT_EQ(status.status().conditions(0).type(), "RuntimeReady");
  EXPECT_FALSE(status.status().conditions(0).status()) << "no kubelet may take us for a runtime";
}

// --- removal

TEST(CriService, RemovalTakesTheImageWithAllItsNames) {  // 1.5, G-10
  struct Row {
    const char* by;
    std::function<std::string(const v1::Image&)> argument;
  };
  Rig rig;
  const auto image = rig.node.registry.PutImage("a", "1", {kBig});
  rig.node.registry.Tag("a", "2", image.manifest.digest);
  rig.node.registry.PutImage("b", "1", {kBig});  // the same in another repository
  for (const Row& row : {Row{"id", [](auto& i) { return i.id(); }}, Row{"bare id", [](auto& i) { return i.id().substr(7); }},
                         Row{"tag", [](auto& i) { return i.repo_tags(1); }}, Row{"digest", [](auto& i) { return i.repo_digests(0); }},
                         Row{"what crictl prints", [](auto& i) { return i.id().substr(7, 13); }}}) {
    for (const char* name : {"a:1", "a:2", "b:1"}) ASSERT_TRUE(rig.Pull(name).ok());
    const auto found = rig.Image(rig.node.Name("a:1"));
    ASSERT_TRUE(found);
    EXPECT_EQ(found->repo_tags_size(), 3);
    const std::string argument = row.argument(*found);
    ASSERT_TRUE(rig.Remove(argument).ok()) << row.by;
    for (const char* name : {"a:1", "a:2", "b:1"}) EXPECT_FALSE(rig.Image(rig.node.Name(name))) << row.by << " " << name;
    EXPECT_FALSE(rig.Image(found->id()));
    EXPECT_THAT(rig.Tags(), IsEmpty());
    EXPECT_TRUE(rig.Remove(argument).ok()) << "again";
    EXPECT_TRUE(rig.node.stores.catalog->ListLayers()->empty()) << "and its space is given back";
  }
}

TEST(CriService, NothingIsGuessedWhenItRemoves) {  // G-09
  Rig rig;
  rig.node.registry.PutImage("a", "1", {kSmall});
  ASSERT_TRUE(rig.Pull("a:1").ok());
  const std::string id = rig.Image(rig.node.Name("a:1"))->id();
  for (const std::string& close : {id.substr(7, 11), id.substr(0, 10), id + "0", rig.node.Name("a"), rig.node.Name("a:2"), "sha512:" + id.substr(7),
                                   rig.node.Name("b@") + id}) {
    EXPECT_TRUE(rig.Remove(close).ok());
    EXPECT_TRUE(rig.Image(id)) << close;
  }
}

TEST(CriService, SixtyFourRemovalsAtOnceAllSucceed) {  // G-10, critest 13
  Rig rig;
  rig.node.registry.PutImage("a", "1", {kSmall});
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(rig.Pull("a:1").ok());
    const std::string id = rig.Image(rig.node.Name("a:1"))->id();
    std::vector<std::thread> threads;
    std::atomic<int> failed{0}, seen{0};
    for (int i = 0; i < 64; ++i)
      threads.emplace_back([&] {
        failed += !rig.Remove(id).ok();
        seen += rig.Image(id).has_value();
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(failed, 0);
    EXPECT_EQ(seen, 0) << "gone as soon as a removal has returned";
  }
}

TEST(CriService, AMountedImageIsNotRemoved) {
  if (!host::Probe().can_mount || !host::Probe().erofs) GTEST_SKIP() << "this machine lets us mount nothing";
  Rig rig;
  rig.node.registry.PutImage("a", "1", {kSmall});
  ASSERT_TRUE(rig.Pull("a:1").ok());
  const auto record = rig.node.stores.catalog->ListImages()->front();
  const reclaim::testing::Folder place;
  const auto target = rig.mounts->Mount({}, record, place.path(), rootfs::Writable::kNo);
  ASSERT_TRUE(target) << target.error().Text();
  const auto status = rig.Remove(rig.node.Name("a:1"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), StartsWith("E-IN-USE"));
  EXPECT_TRUE(rig.Image(rig.node.Name("a:1")));
  ASSERT_TRUE(rig.mounts->Unmount(*target));
  EXPECT_TRUE(rig.Remove(rig.node.Name("a:1")).ok());
}

// --- pulls

TEST(CriService, APullAlwaysAsksTheRegistryAlsoForADigestThatIsHere) {  // 1.5; P20: no right by presence
  Rig rig;
  const auto image = rig.node.registry.PutImage("app", "1", {kSmall});
  rig.node.registry.RequireBasic("alice", "right");
  const std::string by_digest = "app@" + image.manifest.digest.ToString();
  const auto with = [&](const std::string& name, const std::string& password) {
    auto request = rig.Ask(name);
    request.mutable_auth()->set_username("alice");
    request.mutable_auth()->set_password(password);
    return rig.Pull(request);
  };
  for (const std::string& name : {std::string("app:1"), by_digest}) {
    ASSERT_TRUE(with(name, "right").ok());
    const int asked = rig.node.registry.Count("");
    EXPECT_TRUE(with(name, "right").ok());
    EXPECT_GT(rig.node.registry.Count(""), asked);
    for (const auto& status : {with(name, "canary-wrong"), rig.Pull(name)}) {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
      EXPECT_THAT(status.error_message(), StartsWith("E-AUTH-401 " + rig.node.Name(name)));
      EXPECT_THAT(status.error_message(), Not(HasSubstr("canary")));
      EXPECT_EQ(rig.pulled.image_ref(), "");
    }
  }
}

TEST(CriService, ATagThatMovedIsPulledAgain) {
  Rig rig;
  const auto old = rig.node.registry.PutImage("app", "1", {kSmall});
  ASSERT_TRUE(rig.Pull("app:1").ok());
  const auto fresh = rig.node.registry.PutImage("app", "1", {kSmall, kBig});
  ASSERT_TRUE(rig.Pull("app:1").ok());
  EXPECT_EQ(rig.pulled.image_ref(), fresh.config.digest.ToString());
  const auto dangling = rig.Image(old.config.digest.ToString());
  ASSERT_TRUE(dangling);
  EXPECT_EQ(dangling->repo_tags_size(), 0);
  EXPECT_THAT(std::vector(dangling->repo_digests().begin(), dangling->repo_digests().end()),
              ElementsAre(rig.node.Name("app@" + old.manifest.digest.ToString())));
}

TEST(CriService, TheNodesCredentialsAreUsedOnlyWhenNothingWasSaid) {
  ServiceOptions options;
  using Found = Result<std::vector<credentials::Credential>>;
  options.node_credentials = [](const task::Context&, const reference::Reference&) -> Found {
    std::vector<credentials::Credential> found;
    found.push_back(pull::testing::Login("node", "right"));
    return found;
  };
  Rig rig(std::move(options));
  rig.node.registry.PutImage("app", "1", {kSmall});
  rig.node.registry.RequireBasic("node", "right");
  auto wrong = rig.Ask("app:1");
  wrong.mutable_auth()->set_username("bob");
  wrong.mutable_auth()->set_password("wrong");
  auto elsewhere = rig.Ask("app:1");
  elsewhere.mutable_auth()->set_username("node");
  elsewhere.mutable_auth()->set_password("right");
  elsewhere.mutable_auth()->set_server_address("https://other.test");
  EXPECT_EQ(rig.Pull(wrong).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(rig.Pull(elsewhere).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  auto empty = rig.Ask("app:1");
  (void)empty.mutable_auth();
  EXPECT_TRUE(rig.Pull(empty).ok());
  EXPECT_TRUE(rig.Pull("app:1").ok());
}

TEST(CriService, ARegistryThatCannotBeReachedHasTheKubeletsWord) {  // 1.9
  Rig rig;
  rig.node.registry.On("", [](const ServerRequest&) { return Reply::Text(503, "down"); });
  const auto status = rig.Pull("app:1");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_THAT(status.error_message(), StartsWith("RegistryUnavailable: E-5XX " + rig.node.Name("app:1")));
  EXPECT_LE(status.error_message().size(), 900u);
}

TEST(CriService, WhoAskedIsInTheJournal) {
  Rig rig;
  rig.node.registry.PutImage("app", "1", {kSmall});
  auto request = rig.Ask("app:1");
  request.mutable_sandbox_config()->mutable_metadata()->set_namespace_("shop");
  request.mutable_sandbox_config()->mutable_metadata()->set_name("web-1");
  (*request.mutable_image()->mutable_annotations())["team"] = "blue";
  ASSERT_TRUE(rig.Pull(request).ok());
  const auto entry = *rig.node.stores.catalog->LastOf(rig.node.Name("app:1"));
  ASSERT_TRUE(entry);
  const auto document = json::Document::Parse(entry->record, Reason::kCorrupt);
  ASSERT_TRUE(document);
  const auto asker = document->root().Find("for");
  ASSERT_TRUE(asker);
  EXPECT_EQ(*asker->Find("client")->AsString(), "CRI");
  EXPECT_EQ(*asker->Find("namespace")->AsString(), "shop");
  EXPECT_EQ(*asker->Find("pod")->AsString(), "web-1");
  EXPECT_EQ(*asker->Find("annotations")->Find("team")->AsString(), "blue");
}

enum class Leaving { kCancel, kDeadline, kDisconnect };
class Leave : public ::testing::TestWithParam<Leaving> {};
TEST_P(Leave, StopsTheTransferAndKeepsWhatWasFetched) {  // 1.10 row 7, F-02, G-05
  Rig rig;
  const auto image = rig.node.registry.PutImage("app", "1", {kBig});
  const auto never = std::make_shared<Gate>();
  rig.node.registry.On(Blob("app", image.layers[0]), [never](const ServerRequest&) {
    return Reply::Head(200, kBig.size()).Send(kBig.substr(0, 2'000'000)).WaitFor(never);
  }, 1);
  auto channel = rig.Connect();
  auto stub = v1::ImageService::NewStub(channel);
  grpc::ClientContext context;
  if (GetParam() == Leaving::kDeadline) context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(3));  // passes once it waits for the gate
  v1::PullImageResponse answer;
  grpc::Status status;
  std::thread caller([&] { status = stub->PullImage(&context, rig.Ask("app:1"), &answer); });
  never->AwaitWaiters(1);  // the bytes before it are sent
  if (GetParam() != Leaving::kDeadline) {
    const auto kept = [&] {
      const auto partials = *rig.node.stores.content->Partials();
      return !partials.empty() && partials[0].bytes > 0;
    };
    while (!kept()) std::this_thread::yield();
    context.TryCancel();
  }
  caller.join();
  EXPECT_EQ(status.error_code(), GetParam() == Leaving::kDeadline ? grpc::StatusCode::DEADLINE_EXCEEDED : grpc::StatusCode::CANCELLED);
  EXPECT_EQ(answer.image_ref(), "");
  if (GetParam() == Leaving::kDisconnect) {
    stub.reset();
    channel.reset();
  }
  while (rig.node.puller->running() > 0) std::this_thread::yield();  // nobody else waits: it stops
  EXPECT_FALSE(rig.Image(rig.node.Name("app:1")));
  EXPECT_THAT(*rig.node.stores.content->Partials(), SizeIs(1));
  ASSERT_TRUE(rig.Pull("app:1").ok());
  const auto entry = *rig.node.stores.catalog->LastOf(rig.node.Name("app:1"));
  ASSERT_TRUE(entry);
  EXPECT_THAT(entry->record, Not(HasSubstr("\"bytes_resumed\":0,"))) << "the next pull goes on from there";
}
INSTANTIATE_TEST_SUITE_P(Ways, Leave, ::testing::Values(Leaving::kCancel, Leaving::kDeadline, Leaving::kDisconnect));

verify::Rules DenyAll(const std::string& match = "*") {
  const auto documents = *yaml::Parse("verification:\n  default: Allow\n  rules: [{name: none, match: ['" + match + "'], action: Deny}]\n",
                                      "test", Reason::kConfig);
  return *verify::Rules::Parse(documents[0], *documents[0].root().Find("verification"),
                               [](const std::string&) -> Result<std::string> { return std::string(); });
}

// Does something when a pull has ended, before its caller learns of it.
struct AtTheEnd final : pull::Observer {
  void OnAttempt(const registry::Attempt&) override {}
  void OnLayer(std::uint64_t, double) override {}
  void OnPull(std::string_view, const pull::Pulled&, const Error*) override { if (act) act(); }
  std::function<void()> act;
};

// What is here and may not be used is as if it were not: the kubelet pulls, and that says why.
TEST(CriService, ARefusedImageIsNotThereAndItsPullSaysWhy) {  // B-64, kubelet-images 4.5
  verify::RuleVerifier verifier({}, time::SystemClock());
  Rig rig({}, {}, &verifier);
  rig.node.registry.PutImage("app", "1", {Tar("a", "x")});
  ASSERT_TRUE(rig.Pull("app:1").ok());
  const auto id = rig.Image(rig.node.Name("app:1"))->id();
  verifier.Replace(DenyAll());
  EXPECT_FALSE(rig.Image(rig.node.Name("app:1")));
  EXPECT_FALSE(rig.Image(id));
  const auto refused = rig.Pull("app:1");
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_THAT(refused.error_message(), StartsWith("SignatureValidationFailed"));
  verifier.Replace({});
  EXPECT_TRUE(rig.Image(id));
}

// An id is of all images with that config: one that may be used is enough. Found by an audit: one was looked at.
TEST(CriService, AnIdIsThereWhenOneOfItsImagesMayBeUsed) {
  verify::RuleVerifier verifier({}, time::SystemClock());
  Rig rig({}, {}, &verifier);
  const auto image = rig.node.registry.PutImage("a", "1", {kSmall});
  rig.node.registry.PutImage("b", "1", {kSmall});
  std::string other = image.manifest_bytes;
  rig.node.registry.PutManifest("b", other.insert(1, R"("annotations":{"a":"b"},)"), image.manifest.media_type, "1");
  ASSERT_TRUE(rig.Pull("a:1").ok());
  ASSERT_TRUE(rig.Pull("b:1").ok());
  ASSERT_EQ(rig.node.stores.catalog->FindImagesById(image.config.digest.ToString())->size(), 2u);
  struct { std::string denied; bool there; } const rows[] = {{rig.node.Name("a"), true}, {rig.node.Name("b"), true}, {"*", false}};
  for (const auto& row : rows) {
    verifier.Replace(DenyAll(row.denied));
    EXPECT_EQ(rig.Image(image.config.digest.ToString()).has_value(), row.there) << row.denied;
  }
}

TEST(CriService, RulesThatChangeDuringAPullAreHeeded) {  // found by an audit
  verify::RuleVerifier verifier({}, time::SystemClock());
  AtTheEnd end;
  end.act = [&] { verifier.Replace(DenyAll()); };
  Rig rig({}, {}, &verifier, &end);
  rig.node.registry.PutImage("app", "1", {kSmall});
  const auto refused = rig.Pull("app:1");
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_THAT(refused.error_message(), StartsWith("SignatureValidationFailed"));
  EXPECT_EQ(rig.pulled.image_ref(), "");
}

TEST(CriService, APullAnswersWhatItPulledAlsoWhenTheTagMovedMeanwhile) {  // found by an audit: a credential was recorded for the other
  AtTheEnd end;
  Rig rig({}, {}, nullptr, &end);
  rig.node.registry.PutImage("other", "1", {kBig});
  ASSERT_TRUE(rig.Pull("other:1").ok());
  const auto other = rig.node.stores.catalog->ListImages()->front();
  end.act = [&] {
    ASSERT_TRUE(rig.node.stores.catalog->PublishImage({.name = rig.node.Name("app:1"), .implied_name = {}, .target = other.manifest,
                                                       .media_type = "m", .documents = {}, .images = {other}, .pull = {}, .journal = ""}));
  };
  const auto image = rig.node.registry.PutImage("app", "1", {kSmall});
  ASSERT_TRUE(rig.Pull("app:1").ok());
  EXPECT_EQ(rig.pulled.image_ref(), image.config.digest.ToString());
  EXPECT_EQ(rig.Image(rig.node.Name("app:1"))->id(), other.config.ToString());
}

TEST(CriService, OneWhoLeavesFailsNobodyElse) {  // 1.10 row 8
  Rig rig;
  const auto image = rig.node.registry.PutImage("app", "1", {kBig});
  const auto gate = std::make_shared<Gate>();
  rig.node.registry.On(Blob("app", image.layers[0]), [gate](const ServerRequest&) {
    return Reply::Head(200, kBig.size()).Send(kBig.substr(0, 1'000'000)).WaitFor(gate).Send(kBig.substr(1'000'000));
  }, 1);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::thread> callers;
  std::atomic<int> ok{0}, cancelled{0};
  for (int i = 0; i < 16; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    callers.emplace_back([&, context = contexts.back().get()] {
      v1::PullImageResponse answer;
      const auto status = rig.images->PullImage(context, rig.Ask("app:1"), &answer);
      ok += status.ok();
      cancelled += status.error_code() == grpc::StatusCode::CANCELLED;
    });
  }
  gate->AwaitWaiters(1);
  while (rig.service->waiting() < 16) std::this_thread::yield();
  for (int i = 0; i < 8; ++i) contexts[static_cast<std::size_t>(i)]->TryCancel();
  while (rig.service->waiting() > 8) std::this_thread::yield();
  gate->Open();
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(ok, 8);
  EXPECT_EQ(cancelled, 8);
  EXPECT_EQ(rig.node.registry.Count(Blob("app", image.layers[0])), 1);
}

TEST(CriService, StoppingFailsRunningCallsAsUnavailable) {  // G-14
  Rig rig;
  const auto image = rig.node.registry.PutImage("app", "1", {kBig});
  const auto never = std::make_shared<Gate>();
  rig.node.registry.On(Blob("app", image.layers[0]),
                       [never](const ServerRequest&) { return Reply::Head(200, kBig.size()).WaitFor(never); }, 1);
  grpc::Status status;
  std::thread caller([&] { status = rig.Pull("app:1"); });
  never->AwaitWaiters(1);
  rig.service->Drain();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), Not(HasSubstr("RegistryUnavailable")));
  EXPECT_EQ(rig.Pull("app:1").error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::ListImagesResponse list;
  EXPECT_EQ(rig.List("", &list).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(CriService, PullsRemovalsAndListsAtOnceAgree) {  // 1.10 row 4
  Rig rig;
  for (int i = 0; i < 4; ++i) rig.node.registry.PutImage("app" + std::to_string(i), "1", {kSmall, Tar("own", std::to_string(i))});
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, name = "app" + std::to_string(i) + ":1"] {
      const std::string full = rig.node.Name(name);
      for (int round = 0; round < 10; ++round) {
        v1::PullImageResponse answer;
        grpc::ClientContext context;
        wrong += !rig.images->PullImage(&context, rig.Ask(name), &answer).ok();
        const auto image = rig.Image(full);
        wrong += !image || image->id() != answer.image_ref();
        wrong += rig.Tags(full) != std::vector<std::string>{full};
        wrong += !rig.Remove(full).ok();
        wrong += rig.Image(full).has_value() || !rig.Tags(full).empty();
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_THAT(*rig.node.stores.catalog->ListImages(), IsEmpty());
}

}  // namespace
}  // namespace berth::cri
