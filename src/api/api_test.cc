#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <functional>
#include <latch>
#include <system_error>
#include <thread>

#include "api/images.h"
#include "api/render.h"
#include "api/server.h"
#include "api/service.h"
#include "berth/v1/berth.grpc.pb.h"
#include "host/fault.h"
#include "host/mount.h"
#include "host/probe.h"
#include "pull/testing/node.h"
#include "reclaim/image_gc.h"
#include "reclaim/reclaimer.h"
#include "reclaim/stored_images.h"
#include "rootfs/mounter.h"
#include "time/testing/manual_clock.h"

namespace berth::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using http::testing::Gate;
using http::testing::Reply;
using http::testing::ServerRequest;
using pull::testing::Node;
using pull::testing::Tar;

const std::string kBig = Tar("big", std::string(3'000'000, 'b')), kSmall = Tar("small", "s");

std::string Blob(const std::string& repository, const oci::Descriptor& d) {
  return "GET /v2/" + repository + "/blobs/" + d.digest.ToString();
}

v1::Failure FailureOf(const grpc::ClientContext& context) {
  v1::Failure failure;
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto found = trailers.find("berth-failure-bin");
  EXPECT_NE(found, trailers.end());
  EXPECT_TRUE(found == trailers.end() || failure.ParseFromString({found->second.data(), found->second.size()}));
  return failure;
}

// A daemon without a process: everything behind the socket, in this one.
class ApiTest : public ::testing::Test {
 protected:
  ApiTest() {
    mounter_ = *rootfs::Mounter::Open(node_.stores.folder.path(), *node_.stores.layers);
    mounts_.emplace(*node_.stores.catalog, *mounter_);
  }
  ~ApiTest() override { Stop(); }
  void SetUp() override { Start(time::SystemClock(), {}); }

  void Start(const time::Clock& clock, ServiceOptions options) {
    options.root = node_.stores.folder.path();
    options.host = *oci::Platform::Parse("linux/amd64");
    options.limits = {"layers=500"};
    options.probes = {{"erofs", "ok", "files"}};
    reclaimer_ = std::make_unique<reclaim::Reclaimer>(
        reclaim::Reclaimer::Stores{*node_.stores.content, *node_.stores.layers, *node_.stores.catalog, *node_.stores.leases},
        node_.stores.clock);
    stored_ = std::make_unique<reclaim::StoredImages>(
        *reclaimer_, reclaim::Reclaimer::Stores{*node_.stores.content, *node_.stores.layers, *node_.stores.catalog, *node_.stores.leases},
        reclaim::Ages{});
    gc_ = std::make_unique<reclaim::ImageGc>(
        reclaim::GcPolicy{.min_age = {}},
        reclaim::ImageGc::Parts{*stored_,
                                [this](const task::Context& ctx) {
                                  if (while_collecting_) while_collecting_(ctx);
                                  return reclaim::MountedImages(*node_.stores.catalog);
                                },
                                [this]() -> Result<host::Space> { return host::Space{.total_bytes = 1000, .available_bytes = available_}; },
                                [](std::string_view, const std::string&) {}, {}, node_.stores.clock});
    service_ = std::make_unique<Service>(
        Service::Parts{*node_.puller, *reclaimer_, *mounts_, *node_.stores.content, *node_.stores.layers, *node_.stores.catalog,
                       *node_.stores.leases, node_.stores.root, *gc_}, std::move(options), clock);
    ServerOptions server;
    server.socket = Socket();
    auto started = Server::Start(*service_, std::move(server));
    ASSERT_TRUE(started) << started.error().Text();
    server_ = *std::move(started);
    stub_ = Connect();
  }
  void Stop() {
    if (service_) service_->Drain();
    server_.reset();
    service_.reset();
  }
  std::string Socket() const { return node_.stores.folder.path() + "/berth.sock"; }
  std::unique_ptr<v1::Berth::Stub> Connect() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::Berth::NewStub(grpc::CreateCustomChannel("unix:" + Socket(), grpc::InsecureChannelCredentials(), arguments));
  }
  v1::PullRequest Ask(const std::string& name, const std::string& policy = "") {
    v1::PullRequest request;
    request.set_image(node_.Name(name));
    request.set_policy(policy);
    return request;
  }
  struct Story {
    std::vector<v1::PullEvent> events;
    grpc::Status status;
    v1::Failure failure;
    const v1::Pulled& pulled() const { return events.back().pulled(); }
  };
  Story Pull(const v1::PullRequest& request) {
    Story story;
    grpc::ClientContext context;
    const auto reader = stub_->Pull(&context, request);
    v1::PullEvent event;
    while (reader->Read(&event)) story.events.push_back(event);
    story.status = reader->Finish();
    if (!story.status.ok()) story.failure = FailureOf(context);
    return story;
  }
  template <class Request, class Answer>
  grpc::Status Call(grpc::Status (v1::Berth::Stub::*method)(grpc::ClientContext*, const Request&, Answer*), const Request& request,
                    Answer* answer) {
    grpc::ClientContext context;
    const auto status = (stub_.get()->*method)(&context, request, answer);
    if (!status.ok()) failure_ = FailureOf(context);
    return status;
  }
  std::vector<std::string> Images(const std::string& filter = "") {
    v1::ListImagesRequest request;
    request.set_filter(filter);
    v1::ListImagesResponse answer;
    EXPECT_TRUE(Call(&v1::Berth::Stub::ListImages, request, &answer).ok());
    std::vector<std::string> names;
    for (const auto& image : answer.images()) names.push_back(image.names(0));
    return names;
  }

  time::testing::ManualClock manual_;  // before all that may wait on it
  verify::RuleVerifier verifier_{{}, time::SystemClock()};
  Node node_{{.keep_blobs = pull::KeepBlobs::kAlways}, {}, &verifier_};  // however full this machine's disk is
  std::unique_ptr<rootfs::Mounter> mounter_;
  std::optional<node::Mounts> mounts_;
  std::unique_ptr<reclaim::Reclaimer> reclaimer_;
  std::unique_ptr<reclaim::StoredImages> stored_;
  std::unique_ptr<reclaim::ImageGc> gc_;
  std::atomic<std::uint64_t> available_ = 500;  // of the 1,000 bytes of the disk that images are collected on
  std::function<void(const task::Context&)> while_collecting_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Berth::Stub> stub_;
  v1::Failure failure_;
};

// --- short calls

// Found by an audit: two dozen calls of clients who had gone away held up everybody else for as long as their work took.
TEST_F(ApiTest, ShortWorkEndsWithItsCaller) {
  for (const bool by_deadline : {false, true}) {
    std::latch begun(1);
    while_collecting_ = [&](const task::Context& ctx) {
      begun.count_down();
      while (!ctx.stopped()) std::this_thread::yield();  // for ever, were the caller's end not heard of
    };
    grpc::ClientContext context;
    if (by_deadline) context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
    grpc::Status status;
    std::thread caller([&] {
      v1::CollectImagesResponse answer;
      status = stub_->CollectImages(&context, {}, &answer);
    });
    begun.wait();
    if (!by_deadline) context.TryCancel();
    caller.join();
    EXPECT_EQ(status.error_code(), by_deadline ? grpc::StatusCode::DEADLINE_EXCEEDED : grpc::StatusCode::CANCELLED);
    Stop();  // waits for all work
    Start(time::SystemClock(), {});
  }
}

// --- pulls

TEST_F(ApiTest, APullTellsItsStory) {
  const auto image = node_.registry.PutImage("team/app", "v1", {kBig, kSmall});
  const Story story = Pull(Ask("team/app:v1"));
  ASSERT_TRUE(story.status.ok()) << story.status.error_message();
  ASSERT_GE(story.events.size(), 2u);
  for (std::size_t i = 0; i + 1 < story.events.size(); ++i) EXPECT_FALSE(story.events[i].has_pulled());
  const v1::PullEvent& last = story.events.back();
  EXPECT_EQ(last.phase(), "ended");
  EXPECT_EQ(last.digest(), image.manifest.digest.ToString());
  EXPECT_EQ(last.platforms(), "linux/amd64");
  ASSERT_EQ(last.layers_size(), 2);
  EXPECT_EQ(last.layers(0).phase(), "done");
  EXPECT_EQ(last.layers(0).current(), kBig.size());
  const v1::Pulled& pulled = story.pulled();
  EXPECT_EQ(pulled.name(), node_.Name("team/app:v1"));
  EXPECT_EQ(pulled.bytes_fetched(), kBig.size() + kSmall.size());
  ASSERT_EQ(pulled.images_size(), 1);
  EXPECT_EQ(pulled.images(0).id(), image.config.digest.ToString());
  EXPECT_GT(pulled.images(0).unique_size(), kBig.size());
  EXPECT_EQ(last.pull(), "p-1");
  EXPECT_THAT(last.disk_used_percent(), ::testing::AllOf(::testing::Gt(0u), ::testing::Le(100u)));
  EXPECT_EQ(pulled.used_credential().source(), "anonymous");
  EXPECT_GT(pulled.fetch_seconds(), 0);
  EXPECT_GE(pulled.unpack_seconds(), pulled.fetch_seconds());
  EXPECT_LE(pulled.queue_seconds() + pulled.fetch_seconds(), pulled.total_seconds());
  EXPECT_EQ(pulled.images(0).source(), pulled.host());

  const Story again = Pull(Ask("team/app:v1"));
  ASSERT_TRUE(again.status.ok());
  EXPECT_TRUE(again.pulled().was_present());
}

TEST_F(ApiTest, AFailureIsAStatusWithATrailer) {
  struct Row {
    v1::PullRequest request;
    grpc::StatusCode code;
    const char* failure;
    int exit_status;
  };
  node_.registry.PutImage("app", "1", {kSmall});
  node_.registry.RequireBasic("alice", "right");
  v1::PullRequest bad_policy = Ask("app:1", "always"), bad_platform = Ask("app:1"), both = Ask("app:1"), bad_name,
                  crlf = Ask("app:1"), wrong = Ask("app:1");
  bad_platform.add_platforms("a/b/c/d/e");
  both.add_platforms("linux/amd64");
  both.set_all_platforms(true);
  bad_name.set_image("app:1:2");
  crlf.add_credentials()->set_username("a\r\nHost: b");
  crlf.mutable_credentials(0)->set_password("x");
  wrong.add_credentials()->set_username("bob");
  wrong.mutable_credentials(0)->set_password("canary-secret");
  for (const Row& row : {Row{Ask("app:1", "Never"), grpc::StatusCode::FAILED_PRECONDITION, "E-NEVER", 8},
                         Row{bad_policy, grpc::StatusCode::INVALID_ARGUMENT, "E-USAGE", 2},
                         Row{bad_platform, grpc::StatusCode::INVALID_ARGUMENT, "E-USAGE", 2},
                         Row{both, grpc::StatusCode::INVALID_ARGUMENT, "E-USAGE", 2},
                         Row{crlf, grpc::StatusCode::INVALID_ARGUMENT, "E-USAGE", 2},
                         Row{bad_name, grpc::StatusCode::INVALID_ARGUMENT, "E-NAME", 2},
                         Row{wrong, grpc::StatusCode::UNAUTHENTICATED, "E-AUTH-401", 4}}) {
    const Story story = Pull(row.request);
    EXPECT_EQ(story.status.error_code(), row.code) << story.status.error_message();
    EXPECT_EQ(story.failure.code(), row.failure);
    EXPECT_EQ(story.failure.exit_status(), row.exit_status);
    EXPECT_FALSE(story.failure.message().empty());
    EXPECT_FALSE(story.failure.next_step().empty()) << story.failure.message();
    EXPECT_THAT(story.status.error_message(), StartsWith(row.failure));
    EXPECT_THAT(story.status.error_message() + story.failure.DebugString(), Not(HasSubstr("canary-secret")));
  }
  v1::PullRequest right = wrong;
  right.add_credentials()->set_username("alice");
  right.mutable_credentials(1)->set_password("right");
  right.mutable_credentials(1)->set_source("command line");
  const Story story = Pull(right);
  ASSERT_TRUE(story.status.ok()) << story.status.error_message();
  EXPECT_EQ(story.pulled().credential(), "command line (alice)");
}

TEST_F(ApiTest, TheNodesCredentialsComeLastAndOnlyWhenAskedFor) {
  Stop();
  ServiceOptions options;
  using Found = Result<std::vector<credentials::Credential>>;
  options.node_credentials = [&](const task::Context&, const reference::Reference& reference) -> Found {
    EXPECT_EQ(reference.path(), "app");
    std::vector<credentials::Credential> found;
    found.push_back(pull::testing::Login("node", "right"));
    return found;
  };
  Start(time::SystemClock(), std::move(options));
  node_.registry.PutImage("app", "1", {kSmall});
  node_.registry.RequireBasic("node", "right");
  EXPECT_EQ(Pull(Ask("app:1")).failure.code(), "E-AUTH-401");
  auto request = Ask("app:1");
  request.set_node_credentials(true);
  request.add_credentials()->set_username("bob");
  request.mutable_credentials(0)->set_password("wrong");
  const Story story = Pull(request);
  ASSERT_TRUE(story.status.ok()) << story.status.error_message();
  EXPECT_EQ(story.pulled().credential(), "test (node)");
}

TEST_F(ApiTest, CancellingACallLeavesAPartialThatTheNextOneResumes) {
  const auto image = node_.registry.PutImage("app", "1", {kBig});
  const auto never = std::make_shared<Gate>();
  node_.registry.On(Blob("app", image.layers[0]), [never](const ServerRequest&) {
    return Reply::Head(200, kBig.size()).Send(kBig.substr(0, 2'000'000)).WaitFor(never);
  }, 1);
  {
    grpc::ClientContext context;
    const auto reader = stub_->Pull(&context, Ask("app:1"));
    v1::PullEvent event;
    while (reader->Read(&event))
      if (event.layers_size() == 1 && event.layers(0).current() > 1'000'000) break;
    context.TryCancel();
    while (reader->Read(&event)) {}
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  while (node_.puller->running() > 0) std::this_thread::yield();  // the daemon hears of it a moment later
  const Story story = Pull(Ask("app:1"));
  ASSERT_TRUE(story.status.ok()) << story.status.error_message();
  EXPECT_GT(story.pulled().bytes_resumed(), 0u);
  EXPECT_EQ(story.pulled().bytes_resumed() + story.pulled().bytes_fetched(), kBig.size());
}

TEST_F(ApiTest, SixtyFourCallersShareOneDownloadAndOneWhoLeavesFailsNobody) {  // F-01, F-03
  const auto image = node_.registry.PutImage("app", "1", {kBig, kSmall});
  std::latch joined(64), left(1);
  node_.registry.On("GET /v2/app/manifests/1", [&, image](const ServerRequest&) {
    left.wait();
    return Reply::Text(200, image.manifest_bytes, {{"Content-Type", image.manifest.media_type}});
  });
  std::atomic<int> good{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 64; ++i)
    threads.emplace_back([&, i] {
      grpc::ClientContext context;
      const auto reader = stub_->Pull(&context, Ask("app:1"));
      v1::PullEvent event, last;
      ASSERT_TRUE(reader->Read(&event)) << "the first event comes at once";
      joined.count_down();
      if (i == 0) {
        joined.wait();  // whoever leaves before another has joined takes the download with him
        context.TryCancel();
        left.count_down();
      }
      while (reader->Read(&event)) last = event;
      good += reader->Finish().ok() && last.pulled().images_size() == 1 ? 1 : 0;
    });
  threads.clear();
  EXPECT_GE(good, 63);
  for (const auto& layer : image.layers) EXPECT_EQ(node_.registry.Count(Blob("app", layer)), 1);
  EXPECT_EQ(node_.registry.Count("GET /v2/app/manifests/1"), 1);
}

TEST_F(ApiTest, CountersAreToldByTheBeatOfTheClock) {
  Stop();
  time::testing::ManualClock& clock = manual_;
  Start(clock, {});
  const auto image = node_.registry.PutImage("app", "1", {kBig});
  const auto rest = std::make_shared<Gate>();
  node_.registry.On(Blob("app", image.layers[0]), [&](const ServerRequest&) {
    Reply reply = Reply::Head(200, kBig.size());
    for (int i = 0; i < 100; ++i) reply.Send(kBig.substr(i * 10'000, 10'000));
    return reply.WaitFor(rest).Send(kBig.substr(1'000'000));
  });
  grpc::ClientContext context;
  const auto reader = stub_->Pull(&context, Ask("app:1"));
  v1::PullEvent event;
  int turns = 0;
  // While the hands stand still only turns of the phase get through.
  while (reader->Read(&event) && event.phase() != "fetching") ++turns;
  EXPECT_LE(turns, 5) << "queued, resolving, the digest, the layers";
  // All that there is of the layer has arrived, as somebody else's share of the pull shows.
  auto share = node_.puller->Start(task::Context({}, clock), node_.Ask("app:1"));
  while (share.progress().Take().current_bytes() < 1'000'000) std::this_thread::yield();
  std::atomic<std::size_t> told{0};
  std::atomic<std::uint64_t> current{0};
  std::jthread listener([&] {
    while (reader->Read(&event)) {
      current = event.layers_size() == 1 ? event.layers(0).current() : 0;
      ++told;
      told.notify_all();
    }
  });
  clock.AwaitSleeps(1);
  EXPECT_EQ(told, 0u);
  clock.Advance(std::chrono::milliseconds(100));
  told.wait(0);
  EXPECT_EQ(current, 1'000'000u);
  clock.AwaitSleeps(2);
  clock.Advance(std::chrono::milliseconds(100));
  clock.AwaitSleeps(3);
  EXPECT_EQ(told, 1u) << "nothing has moved since";
  rest->Open();
  listener.join();
  EXPECT_TRUE(event.has_pulled()) << "the end waits for no beat";
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ApiTest, StoppingFailsRunningCallsAsUnavailableAndRefusesNewOnes) {
  const auto image = node_.registry.PutImage("app", "1", {kBig});
  const auto never = std::make_shared<Gate>();
  node_.registry.On(Blob("app", image.layers[0]), [never](const ServerRequest&) {
    return Reply::Head(200, kBig.size()).Send(kBig.substr(0, 1'000'000)).WaitFor(never);
  });
  grpc::ClientContext context;
  const auto reader = stub_->Pull(&context, Ask("app:1"));
  v1::PullEvent event;
  while (reader->Read(&event) && event.phase() != "fetching") {}
  service_->Drain();
  while (reader->Read(&event)) {}
  const auto status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_THAT(FailureOf(context).message(), HasSubstr("stopping"));
  EXPECT_EQ(Pull(Ask("app:1")).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::StatusResponse answer;
  EXPECT_EQ(Call(&v1::Berth::Stub::Status, v1::StatusRequest(), &answer).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ApiTest, ACallForWhichThereIsNoThreadIsToldSo) {  // E-16
  Stop();
  std::atomic<bool> none = true;
  std::atomic<int> idle = 0;
  ServiceOptions options;
  options.streams.on_idle = [&] { ++idle; };
  options.streams.spawn = [&](std::function<void()> body) {
    if (none) throw std::system_error(EAGAIN, std::generic_category());
    task::SpawnDetached(std::move(body));
  };
  Start(time::SystemClock(), std::move(options));
  node_.registry.PutImage("app", "1", {kSmall});
  const Story refused = Pull(Ask("app:1"));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::UNAVAILABLE) << refused.status.error_message();
  EXPECT_THAT(refused.failure.message(), HasSubstr("no thread"));
  EXPECT_THAT(refused.failure.next_step(), HasSubstr("TasksMax"));
  EXPECT_EQ(idle, 1);
  none = false;
  EXPECT_TRUE(Pull(Ask("app:1")).status.ok());
  Stop();  // waits for nobody
}

TEST_F(ApiTest, MoreStreamsThanTheLimitAreRefused) {
  Stop();
  ServiceOptions options;
  options.streams.limit = 1;
  Start(time::SystemClock(), std::move(options));
  const auto image = node_.registry.PutImage("app", "1", {kSmall});
  std::latch go(1);
  node_.registry.On("GET /v2/app/manifests/1", [&, image](const ServerRequest&) {
    go.wait();
    return Reply::Text(200, image.manifest_bytes, {{"Content-Type", image.manifest.media_type}});
  });
  grpc::ClientContext context;
  const auto reader = stub_->Pull(&context, Ask("app:1"));
  v1::PullEvent event;
  ASSERT_TRUE(reader->Read(&event));
  const Story second = Pull(Ask("app:1"));
  EXPECT_EQ(second.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(second.failure.message(), HasSubstr("limit streams"));
  go.count_down();
  while (reader->Read(&event)) {}
  EXPECT_TRUE(reader->Finish().ok());
}

// --- images

class ImagesTest : public ApiTest {
 protected:
  void SetUp() override {
    ApiTest::SetUp();
    one_ = node_.registry.PutImage("app", "1", {kBig});
    node_.registry.PutImage("app", "latest", {kBig});
    two_ = node_.registry.PutImage("app", "2", {kBig, kSmall});
    for (const char* name : {"app:1", "app:latest", "app:2"}) ASSERT_TRUE(Pull(Ask(name)).status.ok());
  }
  registry::testing::FakeRegistry::Image one_, two_;
};

TEST_F(ImagesTest, AreListedNewestFirstWithWhatTheyTake) {
  v1::ListImagesResponse answer;
  ASSERT_TRUE(Call(&v1::Berth::Stub::ListImages, v1::ListImagesRequest(), &answer).ok());
  ASSERT_EQ(answer.images_size(), 2);
  for (const auto& image : answer.images()) {
    const bool two = image.manifest() == two_.manifest.digest.ToString();
    EXPECT_EQ(image.layers_size(), two ? 2 : 1);
    EXPECT_LT(image.unique_size(), two ? 100'000u : 1u) << "the large layer is shared";
    EXPECT_EQ(image.names_size(), two ? 2 : 3) << "tags, and the digest that came along";
    EXPECT_THAT(image.pulled_at(), ::testing::MatchesRegex("20[0-9-]+T[0-9:]+Z"));
    EXPECT_EQ(Rfc3339(time::WallTime(time::Duration(image.pulled_at_nanos()))), image.pulled_at());
    EXPECT_THAT(image.source(), HasSubstr(node_.registry.host()));
  }
}

struct FilterRow {
  const char* filter;
  std::size_t found;
};
TEST_F(ImagesTest, AreFilteredByNameRepositoryAndId) {
  for (const auto& [filter, found] : {FilterRow{"app:1", 1}, {"app:2", 1}, {"app", 2}, {"app:9", 0}, {"ap", 0}})
    EXPECT_THAT(Images(node_.Name(filter)), SizeIs(found)) << filter;
  EXPECT_THAT(Images(one_.config.digest.ToString()), SizeIs(1));
  EXPECT_THAT(Images(one_.manifest.digest.Hex().substr(0, 8)), SizeIs(1));
  v1::ListImagesRequest request;
  request.set_filter("Not A Name");
  v1::ListImagesResponse answer;
  EXPECT_EQ(Call(&v1::Berth::Stub::ListImages, request, &answer).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(failure_.next_step().empty());
}

TEST_F(ImagesTest, AreFilteredByLabels) {
  auto& registry = node_.registry;
  const std::string layer = one_.layers[0].digest.ToString(), size = std::to_string(one_.layers[0].size);
  const auto config = registry.PutBlob("app", R"({"architecture":"amd64","os":"linux","config":{"Labels":{"tier":"base","a=b":"","odd":"6"}},)"
                                              R"("rootfs":{"type":"layers","diff_ids":[")" + layer + "\"]}}", std::string(oci::kOciConfig));
  registry.PutManifest("app", R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)"
                              R"("config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":")" +
                                  config.digest.ToString() + "\",\"size\":" + std::to_string(config.size) +
                                  "},\"layers\":[{\"mediaType\":\"" + one_.layers[0].media_type +
                                  "\",\"digest\":\"" + layer + "\",\"size\":" + size + "}]}", std::string(oci::kOciManifest), "labelled");
  const auto pulled = Pull(Ask("app:labelled"));
  ASSERT_TRUE(pulled.status.ok()) << pulled.status.error_message();
  struct LabelRow { std::vector<std::string> labels; int found; };
  for (const auto& [labels, found] : {LabelRow{{}, 3}, {{"tier"}, 1}, {{"tier=base"}, 1}, {{"tier=top"}, 0}, {{"tier", "tier=base"}, 1},
                                      {{"tier", "gone"}, 0}, {{"tier="}, 0}, {{"odd=5"}, 0}}) {
    v1::ListImagesRequest request;
    for (const auto& label : labels) request.add_labels(label);
    v1::ListImagesResponse answer;
    ASSERT_TRUE(Call(&v1::Berth::Stub::ListImages, request, &answer).ok());
    EXPECT_EQ(answer.images_size(), found) << ::testing::PrintToString(labels);
    EXPECT_EQ(answer.labels_judged(), !labels.empty());
    if (found == 1) {
      EXPECT_EQ(answer.images(0).id(), config.digest.ToString());
    }
  }
  // A config that cannot be judged hides its image only.
  std::ofstream(node_.stores.folder.path() + "/blobs/sha256/" + one_.config.digest.Hex()) << "damaged";
  v1::ListImagesRequest request;
  request.add_labels("tier");
  v1::ListImagesResponse answer;
  ASSERT_TRUE(Call(&v1::Berth::Stub::ListImages, request, &answer).ok()) << failure_.message();
  EXPECT_EQ(answer.images_size(), 1);
}

TEST_F(ImagesTest, AreInspectedByNameByIdAndByPrefix) {
  for (const std::string& text : {node_.Name("app:1"), one_.config.digest.ToString(), one_.config.digest.Hex(),
                                  one_.manifest.digest.ToString(), one_.config.digest.Hex().substr(0, 12),
                                  "sha256:" + one_.manifest.digest.Hex().substr(0, 12)}) {
    v1::InspectImageRequest request;
    request.set_image(text);
    v1::InspectImageResponse answer;
    ASSERT_TRUE(Call(&v1::Berth::Stub::InspectImage, request, &answer).ok()) << text << " " << failure_.message();
    EXPECT_EQ(answer.image().id(), one_.config.digest.ToString());
    EXPECT_EQ(answer.manifest_json(), one_.manifest_bytes);
    EXPECT_EQ(answer.config_json(), one_.config_bytes);
    EXPECT_EQ(answer.target(), one_.manifest.digest.ToString());
    EXPECT_EQ(answer.target_json(), one_.manifest_bytes);
    EXPECT_THAT(answer.last_pull_json(), HasSubstr("bytes_fetched"));
  }
}

struct LookupRow {
  const char* text;
  const char* platform;
  grpc::StatusCode code;
  const char* says;
};
TEST_F(ImagesTest, LookUpsThatFailSayWhy) {
  for (const auto& [text, platform, code, says] :
       {LookupRow{"busybox", "", grpc::StatusCode::NOT_FOUND, "there is no image"}, {"", "", grpc::StatusCode::INVALID_ARGUMENT, ""},
        {"abc", "", grpc::StatusCode::NOT_FOUND, "abc"}, {"Bad Name", "", grpc::StatusCode::INVALID_ARGUMENT, ""},
        {"sha256:0000000000000000000000000000000000000000000000000000000000000000", "", grpc::StatusCode::NOT_FOUND, ""}}) {
    v1::InspectImageRequest request;
    request.set_image(text);
    request.set_platform(platform);
    v1::InspectImageResponse answer;
    EXPECT_EQ(Call(&v1::Berth::Stub::InspectImage, request, &answer).error_code(), code) << text;
    EXPECT_THAT(failure_.message(), HasSubstr(says));
    EXPECT_FALSE(failure_.next_step().empty()) << text;
  }
  v1::InspectImageRequest request;
  request.set_image(node_.Name("app:1"));
  request.set_platform("linux/s390x");
  v1::InspectImageResponse answer;
  EXPECT_EQ(Call(&v1::Berth::Stub::InspectImage, request, &answer).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(failure_.code(), "E-PLATFORM");
  EXPECT_THAT(failure_.message(), HasSubstr("linux/amd64"));
}

TEST(FindImages, AnIdThatFitsSeveralListsThem) {
  reclaim::testing::Stores stores;
  // Enough images that two ids begin alike in four digits: their configs are made up.
  const auto digest = [](const std::string& hex) { return *digest::Digest::Parse("sha256:" + hex + std::string(64 - hex.size(), '0')); };
  for (const char* hex : {"abcd1", "abcd2"}) {
    const auto manifest = digest(std::string(hex) + "f");
    ASSERT_TRUE(stores.catalog->PublishImage({.name = std::string("r/") + hex + ":1", .implied_name = {}, .target = manifest,
                                              .media_type = "m", .documents = {},
                                              .images = {{.manifest = manifest, .config = digest(hex), .platform = "linux/amd64"}},
                                              .pull = {}, .journal = ""}));
  }
  const auto both = FindImages(*stores.catalog, "abcd");
  ASSERT_FALSE(both);
  EXPECT_EQ(both.error().reason(), Reason::kUsage);
  EXPECT_THAT(both.error().message(), HasSubstr("r/abcd1:1"));
  EXPECT_THAT(both.error().message(), HasSubstr("r/abcd2:1"));
  EXPECT_THAT(FindImages(*stores.catalog, "abcd1")->images, SizeIs(1));
  EXPECT_EQ(FindImages(*stores.catalog, "abc").error().reason(), Reason::kNotFound) << "too short to be an id";
}

// Found by an audit: the id that berth images prints found nothing.
TEST(FindImages, ByAnIdOfAnotherAlgorithm) {
  reclaim::testing::Stores stores;
  const auto id = digest::Digest::Of(bytes::AsView("config"), digest::Algorithm::kSha512);
  const auto manifest = digest::Digest::Of(bytes::AsView("manifest"));
  ASSERT_TRUE(stores.catalog->PublishImage({.name = "r/s:1", .implied_name = {}, .target = manifest, .media_type = "m", .documents = {},
                                            .images = {{.manifest = manifest, .config = id, .platform = "linux/amd64"}}, .pull = {},
                                            .journal = ""}));
  const std::string hex = id.Hex();
  for (const std::string& text : {id.ToString(), hex, hex.substr(0, 4), hex.substr(0, 12), hex.substr(0, 64), hex.substr(0, 100),
                                  "sha512:" + hex.substr(0, 12)}) {
    const auto found = FindImages(*stores.catalog, text);
    ASSERT_TRUE(found) << text << ": " << found.error().Text();
    EXPECT_THAT(found->images, SizeIs(1)) << text;
  }
  for (const std::string& text : {"sha256:" + hex.substr(0, 12), "sha512:" + hex.substr(0, 3), "sha384:" + hex.substr(0, 96), hex + "0"})
    EXPECT_EQ(FindImages(*stores.catalog, text).error().reason(), Reason::kNotFound) << text;
}

TEST_F(ImagesTest, AreRemovedByNameAndById) {
  v1::RemoveImageRequest request;
  v1::RemoveImageResponse answer;
  request.set_image(node_.Name("app:1"));
  ASSERT_TRUE(Call(&v1::Berth::Stub::RemoveImage, request, &answer).ok());
  EXPECT_EQ(answer.manifests_size(), 0) << "app:latest still names it";
  EXPECT_EQ(Call(&v1::Berth::Stub::RemoveImage, request, &answer).error_code(), grpc::StatusCode::NOT_FOUND);
  answer.Clear();
  request.set_image(two_.config.digest.Hex().substr(0, 12));
  ASSERT_TRUE(Call(&v1::Berth::Stub::RemoveImage, request, &answer).ok()) << failure_.message();
  EXPECT_THAT(answer.manifests(0), two_.manifest.digest.ToString());
  EXPECT_GT(answer.freed_bytes(), 0u);
  answer.Clear();
  request.set_image(node_.Name("app:latest"));
  ASSERT_TRUE(Call(&v1::Berth::Stub::RemoveImage, request, &answer).ok());
  EXPECT_GT(answer.freed_bytes(), kBig.size());
  EXPECT_THAT(Images(), IsEmpty());
}

TEST_F(ImagesTest, AnIdWithSeveralNamesIsRemovedOnlyWithAll) {
  v1::RemoveImageRequest request;
  v1::RemoveImageResponse answer;
  request.set_image(one_.config.digest.ToString());
  EXPECT_EQ(Call(&v1::Berth::Stub::RemoveImage, request, &answer).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(failure_.message(), HasSubstr("2 names"));
  request.set_all_names(true);
  ASSERT_TRUE(Call(&v1::Berth::Stub::RemoveImage, request, &answer).ok());
  EXPECT_EQ(answer.names_size(), 3);
  EXPECT_THAT(Images(), SizeIs(1));
}

TEST_F(ImagesTest, AreMountedAndThenCannotBeRemoved) {
  if (!host::Probe().can_mount || !host::Probe().erofs) GTEST_SKIP() << "this machine lets us mount nothing";
  const reclaim::testing::Folder place;
  const std::string& target = place.path();
  v1::MountRequest request;
  request.set_image(node_.Name("app:2"));
  request.set_target(target + "/.");
  v1::MountResponse answer;
  ASSERT_TRUE(Call(&v1::Berth::Stub::Mount, request, &answer).ok()) << failure_.message();
  EXPECT_EQ(answer.target(), target);
  EXPECT_EQ(answer.form(), "erofs");
  EXPECT_EQ(std::filesystem::file_size(target + "/big"), 3'000'000u);
  EXPECT_NE((*node_.stores.catalog->FindImage(two_.manifest.digest))->last_used, time::WallTime()) << "before any collection has looked";
  EXPECT_EQ(Call(&v1::Berth::Stub::Mount, request, &answer).error_code(), grpc::StatusCode::ABORTED) << "taken";
  v1::RemoveImageRequest remove;
  remove.set_image(node_.Name("app:2"));
  v1::RemoveImageResponse removed;
  EXPECT_EQ(Call(&v1::Berth::Stub::RemoveImage, remove, &removed).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(failure_.code(), "E-IN-USE");
  v1::ListMountsResponse mounts;
  ASSERT_TRUE(Call(&v1::Berth::Stub::ListMounts, v1::ListMountsRequest(), &mounts).ok());
  ASSERT_EQ(mounts.mounts_size(), 1);
  EXPECT_EQ(mounts.mounts(0).manifest(), two_.manifest.digest.ToString());
  v1::UnmountRequest unmount;
  unmount.set_target(target);
  v1::UnmountResponse unmounted;
  ASSERT_TRUE(Call(&v1::Berth::Stub::Unmount, unmount, &unmounted).ok()) << failure_.message();
  EXPECT_EQ(Call(&v1::Berth::Stub::Unmount, unmount, &unmounted).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(Call(&v1::Berth::Stub::RemoveImage, remove, &removed).ok());
  // A failed mount leaves no record: the image can go.
  request.set_image(node_.Name("app:1"));
  request.set_target("/nonexistent/target");
  EXPECT_EQ(Call(&v1::Berth::Stub::Mount, request, &answer).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(*node_.stores.catalog->ListMounts(), IsEmpty());
}

// An id is of all images with that config: one that may be used is enough. Found by an audit: one was looked at.
TEST_F(ImagesTest, AreMountedByAnIdThatOneOfThemMayBeUsedBy) {
  node_.registry.PutImage("copy", "2", {kBig, kSmall});
  std::string other = two_.manifest_bytes;
  node_.registry.PutManifest("copy", other.insert(1, R"("annotations":{"a":"b"},)"), two_.manifest.media_type, "2");
  ASSERT_TRUE(Pull(Ask("copy:2")).status.ok());
  ASSERT_EQ(node_.stores.catalog->FindImagesById(two_.config.digest.ToString())->size(), 2u);
  v1::MountRequest request;
  request.set_image(two_.config.digest.ToString());
  request.set_target("/nonexistent/target");  // who comes that far was let through
  struct { std::string denied; grpc::StatusCode status; } const rows[] = {
      {node_.Name("app"), grpc::StatusCode::INVALID_ARGUMENT},
      {node_.Name("copy"), grpc::StatusCode::INVALID_ARGUMENT},
      {"*", grpc::StatusCode::PERMISSION_DENIED},
  };
  for (const auto& row : rows) {
    const auto documents = *yaml::Parse("verification:\n  default: Allow\n  rules: [{match: ['" + row.denied + "'], action: Deny}]\n",
                                        "test", Reason::kConfig);
    verifier_.Replace(*verify::Rules::Parse(documents[0], *documents[0].root().Find("verification"),
                                            [](const std::string&) -> Result<std::string> { return std::string(); }));
    v1::MountResponse answer;
    EXPECT_EQ(Call(&v1::Berth::Stub::Mount, request, &answer).error_code(), row.status) << row.denied << failure_.message();
  }
}

TEST_F(ImagesTest, AMountThatSomebodyElseUndidIsNoReasonToKeepAnImage) {
  ASSERT_TRUE(node_.stores.catalog->AddMount({"/no/longer/mounted", one_.manifest.digest, false}));
  v1::RemoveImageRequest request;
  request.set_image(node_.Name("app:1"));
  request.set_all_names(true);
  v1::RemoveImageResponse answer;
  EXPECT_TRUE(Call(&v1::Berth::Stub::RemoveImage, request, &answer).ok()) << failure_.message();
  EXPECT_EQ(answer.manifests_size(), 1);
  EXPECT_THAT(*node_.stores.catalog->ListMounts(), IsEmpty());
}

// Found by an audit: the record went, and with it what kept the image from being removed.
TEST_F(ImagesTest, AnImageIsInUseAlsoBelowAnotherMount) {
  if (!host::Probe().can_mount || !host::Probe().erofs) GTEST_SKIP() << "this machine lets us mount nothing";
  const reclaim::testing::Folder place;
  const std::string& target = place.path();
  v1::MountRequest request;
  request.set_image(node_.Name("app:2"));
  request.set_target(target);
  v1::MountResponse answer;
  ASSERT_TRUE(Call(&v1::Berth::Stub::Mount, request, &answer).ok()) << failure_.message();
  ASSERT_TRUE(host::BindReadOnly(node_.stores.folder.path() + "/layers", target));
  EXPECT_FALSE(Call(&v1::Berth::Stub::Mount, request, &answer).ok());
  ASSERT_TRUE(service_->Recover());
  EXPECT_THAT(*node_.stores.catalog->ListMounts(), SizeIs(1));
  v1::RemoveImageRequest remove;
  remove.set_image(node_.Name("app:2"));
  v1::RemoveImageResponse removed;
  EXPECT_EQ(Call(&v1::Berth::Stub::RemoveImage, remove, &removed).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(*host::Unmount(target));
  v1::UnmountRequest unmount;
  unmount.set_target(target);
  v1::UnmountResponse unmounted;
  EXPECT_TRUE(Call(&v1::Berth::Stub::Unmount, unmount, &unmounted).ok()) << failure_.message();
  EXPECT_TRUE(Call(&v1::Berth::Stub::RemoveImage, remove, &removed).ok());
}

TEST_F(ImagesTest, MountRecordsOfBeforeARebootAreForgotten) {
  ASSERT_TRUE(node_.stores.catalog->AddMount({"/no/longer/mounted", one_.manifest.digest, false}));
  ASSERT_TRUE(service_->Recover());
  EXPECT_THAT(*node_.stores.catalog->ListMounts(), IsEmpty());
}

TEST_F(ImagesTest, ArePinnedAndThenStayUntilUnpinnedOrForced) {
  v1::PinImageRequest pin;
  v1::PinImageResponse pinned;
  pin.set_image(node_.Name("app:2"));
  pin.set_owner("alice");
  pin.set_reason("no registry on site");
  ASSERT_TRUE(Call(&v1::Berth::Stub::PinImage, pin, &pinned).ok()) << failure_.message();
  EXPECT_THAT(pinned.ids(), ElementsAre(two_.config.digest.ToString()));
  v1::InspectImageRequest inspect;
  v1::InspectImageResponse inspected;
  inspect.set_image(node_.Name("app:2"));
  ASSERT_TRUE(Call(&v1::Berth::Stub::InspectImage, inspect, &inspected).ok());
  EXPECT_EQ(inspected.image().pin().owner() + "|" + inspected.image().pin().reason(), "alice|no registry on site");
  EXPECT_THAT(inspected.image().pin().since(), ::testing::MatchesRegex("20[0-9-]+T[0-9:]+Z"));
  v1::RemoveImageRequest remove;
  v1::RemoveImageResponse removed;
  remove.set_image(node_.Name("app:2"));
  EXPECT_EQ(Call(&v1::Berth::Stub::RemoveImage, remove, &removed).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(failure_.message(), HasSubstr("no registry on site"));
  v1::UnpinImageRequest unpin;
  unpin.set_image(node_.Name("app:2"));
  v1::PinImageResponse lifted;
  ASSERT_TRUE(Call(&v1::Berth::Stub::UnpinImage, unpin, &lifted).ok());
  EXPECT_EQ(Call(&v1::Berth::Stub::UnpinImage, unpin, &lifted).error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(Call(&v1::Berth::Stub::PinImage, pin, &pinned).ok());
  remove.set_force(true);
  EXPECT_TRUE(Call(&v1::Berth::Stub::RemoveImage, remove, &removed).ok()) << failure_.message();
  pin.set_reason(std::string(300, 'x'));
  pin.set_image(node_.Name("app:1"));
  EXPECT_EQ(Call(&v1::Berth::Stub::PinImage, pin, &pinned).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  pin.set_image("no-such-image");
  pin.clear_reason();
  EXPECT_EQ(Call(&v1::Berth::Stub::PinImage, pin, &pinned).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ImagesTest, AreCollectedAndAPlanSaysWhichAndWhy) {
  ASSERT_TRUE(node_.stores.catalog->SetPin(one_.config.digest, {"bob", "", {}}));
  v1::CollectImagesRequest request;
  v1::CollectImagesResponse plan, done;
  ASSERT_TRUE(Call(&v1::Berth::Stub::CollectImages, request, &done).ok());
  EXPECT_EQ(done.used_percent(), 50);
  EXPECT_EQ(done.freed_bytes(), 0u) << "below the threshold";
  request.set_dry_run(true);
  request.set_unused(true);
  ASSERT_TRUE(Call(&v1::Berth::Stub::CollectImages, request, &plan).ok());
  ASSERT_EQ(plan.images_size(), 2);
  EXPECT_EQ(plan.images(0).id() + plan.images(0).action(), two_.config.digest.ToString() + "remove");
  EXPECT_EQ(plan.images(1).action() + ": " + plan.images(1).why(), "keep: pinned by \"bob\"");
  EXPECT_THAT(Images(), SizeIs(2)) << "a plan";
  request.set_why(node_.Name("app:1"));
  plan.Clear();
  ASSERT_TRUE(Call(&v1::Berth::Stub::CollectImages, request, &plan).ok());
  ASSERT_EQ(plan.images_size(), 1);
  EXPECT_EQ(plan.images(0).id(), one_.config.digest.ToString());
  request.Clear();
  available_ = 0;
  done.Clear();
  ASSERT_TRUE(Call(&v1::Berth::Stub::CollectImages, request, &done).ok()) << "a round that failed is an answer";
  EXPECT_GT(done.freed_bytes(), 0u);
  EXPECT_FALSE(done.has_failure()) << done.failure().message();
  EXPECT_THAT(Images(), SizeIs(2)) << "compressed layers go first, and one was enough";
  for (int left = 10; left > 0 && Images().size() > 1; --left) {
    done.Clear();
    ASSERT_TRUE(Call(&v1::Berth::Stub::CollectImages, request, &done).ok());
  }
  EXPECT_EQ(done.images(0).action(), "remove");
  EXPECT_GT(done.freed_bytes(), 0u);
  EXPECT_THAT(Images(), SizeIs(1));
  EXPECT_EQ(Call(&v1::Berth::Stub::CollectImages, request, &done).error_code(), grpc::StatusCode::OK);
  EXPECT_EQ(done.failure().code(), "E-ENOSPC");
  request.set_target_percent(101);
  EXPECT_EQ(Call(&v1::Berth::Stub::CollectImages, request, &done).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// --- the store

TEST_F(ImagesTest, DiskUsageAndReclaim) {
  const auto stray = node_.stores.AddLayer(Tar("stray", "x"));
  { auto partial = *node_.stores.content->Resume(stray, 100); ASSERT_TRUE(partial->Append(bytes::AsView(std::string_view("12345")))); }
  v1::DiskUsageResponse usage;
  ASSERT_TRUE(Call(&v1::Berth::Stub::DiskUsage, v1::DiskUsageRequest(), &usage).ok());
  EXPECT_EQ(usage.images(), 2u);
  EXPECT_EQ(usage.names(), 3u);
  EXPECT_EQ(usage.layers(), 3u);
  EXPECT_GT(usage.shared_bytes(), kBig.size());
  EXPECT_GT(usage.partial_bytes(), 0u);
  EXPECT_EQ(usage.layer_bytes() + usage.compressed_bytes() + usage.document_bytes() + usage.partial_bytes() + usage.pod_bytes() +
                usage.log_bytes() + usage.database_bytes() + usage.other_bytes(), usage.store_bytes());
  EXPECT_GT(usage.unreferenced_bytes(), 0u);
  EXPECT_GT(usage.disk_total(), usage.disk_available());
  EXPECT_EQ(usage.path(), node_.stores.folder.path());
  v1::ReclaimRequest request;
  request.set_min_age_seconds(UINT64_MAX);
  v1::ReclaimResponse freed;
  ASSERT_TRUE(Call(&v1::Berth::Stub::Reclaim, request, &freed).ok());
  EXPECT_EQ(freed.objects(), 0u) << "nothing is that old";
  request.set_min_age_seconds(0);
  ASSERT_TRUE(Call(&v1::Berth::Stub::Reclaim, request, &freed).ok());
  EXPECT_EQ(freed.objects(), 2u);
  EXPECT_THAT(Images(), SizeIs(2));
}

TEST_F(ImagesTest, AStoreIsCheckedEventByEvent) {
  const auto check = [&](bool repair, const std::string& depth) {
    grpc::ClientContext context;
    v1::CheckStoreRequest request;
    request.set_repair(repair);
    request.set_depth(depth);
    const auto reader = stub_->CheckStore(&context, request);
    std::vector<v1::CheckStoreEvent> events;
    v1::CheckStoreEvent event;
    while (reader->Read(&event)) events.push_back(event);
    const auto status = reader->Finish();
    return std::pair(status, events);
  };
  const auto [status, events] = check(false, "");
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_TRUE(events.back().has_summary());
  EXPECT_EQ(events.back().summary().findings(), 0u);
  EXPECT_TRUE(events.front().has_progress());
  const std::string file = node_.stores.LayerFile(two_.layers[1].digest, ".data");
  std::filesystem::resize_file(file, 10);
  const auto [_, damaged] = check(true, "descriptor");
  EXPECT_EQ(damaged.back().summary().repaired(), 1u);
  const auto found = std::ranges::find_if(damaged, [](const auto& e) { return e.has_finding(); });
  ASSERT_NE(found, damaged.end());
  EXPECT_EQ(found->finding().kind(), "layer");
  EXPECT_EQ(check(false, "deep").first.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ApiTest, StatusTellsWhatIsInForce) {
  v1::StatusResponse answer;
  ASSERT_TRUE(Call(&v1::Berth::Stub::Status, v1::StatusRequest(), &answer).ok());
  EXPECT_EQ(answer.version(), BERTH_VERSION);
  EXPECT_EQ(answer.form(), "erofs");
  EXPECT_EQ(answer.root(), node_.stores.folder.path());
  EXPECT_THAT(std::vector(answer.limits().begin(), answer.limits().end()), ElementsAre("layers=500"));
  ASSERT_EQ(answer.probes_size(), 1);
  EXPECT_EQ(answer.probes(0).verdict(), "ok");
}

// --- the socket

TEST_F(ApiTest, TheSocketIsRootsAndAStaleOneIsReplaced) {
  struct stat st {};
  ASSERT_EQ(::lstat(Socket().c_str(), &st), 0);
  EXPECT_TRUE(S_ISSOCK(st.st_mode));
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  Stop();
  EXPECT_NE(::lstat(Socket().c_str(), &st), 0) << "gone with its daemon";
  // Left by a crash: bound, nobody listens.
  const int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  Socket().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(left, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(left);
  Start(time::SystemClock(), {});
  v1::StatusResponse answer;
  EXPECT_TRUE(Call(&v1::Berth::Stub::Status, v1::StatusRequest(), &answer).ok());
}

TEST_F(ApiTest, APathThatIsNoSocketIsNotTouched) {
  const std::string file = node_.stores.folder.path() + "/file";
  std::ofstream(file) << "mine";
  for (const std::string& path : {file, std::string("relative"), "/" + std::string(200, 'x')}) {
    ServerOptions options;
    options.socket = path;
    const auto server = Server::Start(*service_, std::move(options));
    ASSERT_FALSE(server);
    EXPECT_EQ(server.error().reason(), Reason::kUsage);
  }
  EXPECT_EQ(std::filesystem::file_size(file), 4u);
  ServerOptions options;
  options.socket = "/nonexistent/folder/s";
  EXPECT_EQ(Server::Start(*service_, std::move(options)).error().reason(), Reason::kSocket);
}

TEST_F(ApiTest, AnInheritedSocketIsUsedAsItIs) {
  Stop();
  const std::string path = Socket();
  host::Fd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listening.get(), 8), 0);
  service_ = std::make_unique<Service>(
      Service::Parts{*node_.puller, *reclaimer_, *mounts_, *node_.stores.content, *node_.stores.layers, *node_.stores.catalog,
                     *node_.stores.leases, node_.stores.root, *gc_}, ServiceOptions{}, time::SystemClock());
  ServerOptions options;
  options.inherited = std::move(listening);
  server_ = *Server::Start(*service_, std::move(options));
  stub_ = Connect();
  v1::StatusResponse answer;
  EXPECT_TRUE(Call(&v1::Berth::Stub::Status, v1::StatusRequest(), &answer).ok());
  Stop();
  EXPECT_TRUE(std::filesystem::exists(path)) << "not ours to remove";
}

TEST_F(ApiTest, NonsenseOnTheSocketHurtsNobody) {  // G-02, G-03
  for (const std::string& text : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("\x16\x03\x01\x02", 4),
                                  std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), std::string(100'000, '\0')}) {
    const int s = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    Socket().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::connect(s, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    (void)::send(s, text.data(), text.size(), MSG_NOSIGNAL);
    ::close(s);
  }
  v1::PullRequest huge = Ask("app:1");
  huge.add_credentials()->set_password(std::string(17u << 20, 'x'));
  grpc::ClientContext context;
  const auto reader = stub_->Pull(&context, huge);
  v1::PullEvent event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  v1::StatusResponse answer;
  EXPECT_TRUE(Call(&v1::Berth::Stub::Status, v1::StatusRequest(), &answer).ok());
}

TEST_F(ApiTest, AThousandCallersWhoHangUpLeaveNothing) {  // G-05
  node_.registry.PutImage("app", "1", {kSmall});
  ASSERT_TRUE(Pull(Ask("app:1")).status.ok());
  for (int i = 0; i < 1000; ++i) {
    grpc::ClientContext context;
    const auto reader = stub_->Pull(&context, Ask("app:1"));
    context.TryCancel();
    v1::PullEvent event;
    while (reader->Read(&event)) {}
    (void)reader->Finish();
  }
  Stop();  // waits until gRPC has let go of every call
  EXPECT_EQ(node_.puller->running(), 0u);
}

// --- translations

TEST(Render, TimesAreRfc3339) {
  EXPECT_EQ(Rfc3339(time::WallTime(std::chrono::seconds(0))), "1970-01-01T00:00:00Z");
  EXPECT_EQ(Rfc3339(time::WallTime(std::chrono::seconds(1'700'000'000) + std::chrono::milliseconds(999))), "2023-11-14T22:13:20Z");
}

TEST(Status, EveryReasonHasItsCodeAndIsOneCutLine) {
  for (int r = 0; r <= static_cast<int>(Reason::kSignature); ++r) {
    grpc::CallbackServerContext context;
    const Error error = Error(static_cast<Reason>(r), "first\nsecond " + std::string(3000, 'x')).Next("do\nthis");
    const auto status = ToStatus(context, error);
    EXPECT_EQ(static_cast<int>(status.error_code()), static_cast<int>(error.info().grpc));
    EXPECT_LE(status.error_message().size(), 1024u);
    EXPECT_EQ(status.error_message().find('\n'), std::string::npos);
    EXPECT_THAT(status.error_message(), StartsWith(std::string(error.info().code) + " first second"));
  }
}

}  // namespace
}  // namespace berth::api
