// berth.v1.Node over a real gRPC server in this process; the node behind it has a fake runtime.
#include "api/node_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "berth/v1/node.grpc.pb.h"
#include "kube/parse.h"
#include "node/testing/fake_runtime.h"
#include "node/testing/lab.h"

namespace berth::api {
namespace {

using ::testing::HasSubstr;

// Logs where the test writes them.
class Runtime final : public node::testing::FakeRuntime {
 public:
  Runtime(const time::Clock& clock, std::string folder) : FakeRuntime(clock), folder_(std::move(folder)) {}
  std::string LogPath(const kube::ObjectMeta&, const std::string& container, std::int32_t attempt) const override {
    return folder_ + "/" + container + std::to_string(attempt) + ".log";
  }

 private:
  const std::string folder_;
};

class NodeServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-api-XXXXXX";
    folder_ = ::mkdtemp(name);
    runtime_.emplace(time::SystemClock(), folder_);
    runtime_->ends_on_stop = {"c"};
    store_ = *objects::Store::Open(folder_ + "/objects.db", time::SystemClock(), [this] { return ++random_; },
                                   {.defaults = {}, .node_name = "n"});
    node::NodeOptions options;
    options.name = "n";
    node_ = *node::Node::Start({}, std::move(options), {*store_, *runtime_, images_, nullptr, credentials_, time::SystemClock()});
    service_.emplace(*node_, NodeServiceOptions{}, time::SystemClock());
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_->grpc());
    server_ = builder.BuildAndStart();
    stub_ = v1::Node::NewStub(server_->InProcessChannel({}));
  }
  void TearDown() override {
    service_->Drain();
    server_->Shutdown();
    server_.reset();
    service_.reset();
    node_.reset();
    std::filesystem::remove_all(folder_);
  }
  std::string Apply(const std::string& json, v1::ObjectAnswer* answer = nullptr) {
    v1::ObjectRequest request;
    request.set_object(json);
    v1::ObjectAnswer own;
    grpc::ClientContext context;
    const auto status = stub_->Apply(&context, request, answer == nullptr ? &own : answer);
    return status.ok() ? (answer == nullptr ? own : *answer).what() : status.error_message();
  }
  std::string Log(v1::LogsRequest request) {
    grpc::ClientContext context;
    request.set_namespace_("default");
    request.set_pod("web");
    const auto reader = stub_->Logs(&context, request);
    std::string all;
    for (v1::LogChunk chunk; reader->Read(&chunk);) all += chunk.data();
    const auto status = reader->Finish();
    return status.ok() ? all : status.error_message();
  }
  void Await(const std::string& phase) {
    const auto watch = *store_->Watching({.kind = "Pod", .ns = "default", .name = "web", .matches = {}});
    for (;;) {
      const auto pod = store_->Get({"Pod", "default", "web"});
      if (pod && kube::ReadPod(**pod).status.phase == phase) return;
      if (!watch->Next({})) return;
    }
  }

  std::string folder_;
  std::uint64_t random_ = 0;
  std::optional<Runtime> runtime_;
  node::testing::ScriptedImages images_;
  node::testing::NoCredentials credentials_;
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<node::Node> node_;
  std::optional<NodeService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Node::Stub> stub_;
};

constexpr const char* kPod =
    R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"c","image":"x:1"}],"typo":1}})";

TEST_F(NodeServiceTest, ApplySaysWhatItDidAndWarns) {
  v1::ObjectAnswer answer;
  EXPECT_EQ(Apply(kPod, &answer), "created");
  ASSERT_EQ(answer.warnings_size(), 1);
  EXPECT_EQ(answer.warnings(0), "unknown field \"spec.typo\"");
  EXPECT_THAT(answer.object(), HasSubstr("\"namespace\":\"default\""));
  EXPECT_THAT(Apply(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c"}]}})"),
              HasSubstr("The Pod \"a\" is invalid: spec.containers[0].image: Required value"));
  EXPECT_THAT(Apply("{]"), HasSubstr("E-USAGE"));
}

TEST_F(NodeServiceTest, ObjectsAreFoundListedWatchedAndDeleted) {
  Apply(kPod);
  Await("Running");
  v1::ObjectName name;
  name.set_kind("Pod"), name.set_namespace_("default"), name.set_name("none");
  v1::ObjectAnswer answer;
  {
    grpc::ClientContext context;
    const auto status = stub_->GetObject(&context, name, &answer);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_THAT(status.error_message(), HasSubstr("pods \"none\" not found"));
  }
  {
    grpc::ClientContext context;
    v1::ListRequest request;
    request.set_kind("Namespace");
    const auto reader = stub_->ListObjects(&context, request);
    v1::ListChunk chunk;
    ASSERT_TRUE(reader->Read(&chunk));
    EXPECT_EQ(chunk.objects_size(), 2);
    EXPECT_GT(chunk.version(), 0);
    EXPECT_FALSE(reader->Read(&chunk));
    EXPECT_TRUE(reader->Finish().ok());
  }
  const std::int64_t before = store_->version();
  grpc::ClientContext context;
  v1::DeleteRequest request;
  request.set_kind("Pod"), request.set_namespace_("default"), request.set_name("web"), request.set_grace_seconds(-1);
  ASSERT_TRUE(stub_->DeleteObject(&context, request, &answer).ok());
  grpc::ClientContext watching;
  v1::ListRequest watch;
  watch.set_kind("Pod");
  watch.set_version(before);
  const auto reader = stub_->WatchObjects(&watching, watch);
  std::vector<std::string> types;
  for (v1::WatchedObject event; reader->Read(&event);) {
    types.push_back(event.type());
    if (event.type() == "DELETED") break;
  }
  watching.TryCancel();
  (void)reader->Finish();
  EXPECT_EQ(types.front(), "MODIFIED");
  EXPECT_EQ(types.back(), "DELETED");
}

TEST_F(NodeServiceTest, LogsOfWhatRunsAndReasonsForWhatDoesNot) {
  images_.failures.emplace("x:1", Error(Reason::kUnauthorized, "E-AUTH-401 x:1: no"));
  EXPECT_THAT(Log({}), HasSubstr("pods \"web\" not found"));
  Apply(kPod);
  Await("Pending");
  v1::LogsRequest request;
  request.set_tail_lines(-1);
  EXPECT_THAT(Log(request), HasSubstr("container \"c\" in pod \"web\" is waiting to start: "));
  request.set_container("other");
  EXPECT_THAT(Log(request), HasSubstr("container other is not valid for pod web"));
}

TEST_F(NodeServiceTest, FollowedLogsEndWithTheirContainer) {
  const std::string line = "2026-11-25T15:04:05.999999999Z stdout F hello\n";
  std::ofstream(folder_ + "/c0.log") << line;
  Apply(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"x:1"}]}})");
  Await("Running");
  v1::LogsRequest request;
  request.set_tail_lines(-1);
  EXPECT_EQ(Log(request), "hello\n");
  request.set_previous(true);
  EXPECT_THAT(Log(request), HasSubstr("previous terminated container \"c\" in pod \"web\" not found"));
  request.set_previous(false);
  request.set_follow(true);
  std::jthread end([&] { runtime_->End(kube::ReadPod(**store_->Get({"Pod", "default", "web"})).metadata.uid, "c", 0); });
  EXPECT_EQ(Log(request), "hello\n");
}

}  // namespace
}  // namespace berth::api
