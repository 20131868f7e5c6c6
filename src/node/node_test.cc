#include "node/node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "node/testing/fake_runtime.h"
#include "node/testing/lab.h"

namespace berth::node {
namespace {

using namespace std::chrono_literals;

// A node with its store in a folder, threads, the machine's clock, and nothing that is slow.
class NodeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-node-XXXXXX";
    folder_ = ::mkdtemp(name);
    options_.name = "node-7";
    options_.static_pods.folder = "";
  }
  void TearDown() override {
    node_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Start() {
    if (!store_) {
      auto store = objects::Store::Open(folder_ + "/objects.db", time::SystemClock(), [this] { return ++random_; }, {.defaults = {}, .node_name = "node-7"});
      ASSERT_TRUE(store) << store.error().Text();
      store_ = *std::move(store);
    }
    auto node = Node::Start({}, options_, {*store_, runtime_, images_, nullptr, credentials_, time::SystemClock()});
    ASSERT_TRUE(node) << node.error().Text();
    node_ = *std::move(node);
  }
  void Apply(std::string_view yaml) {
    const auto documents = yaml::Parse(yaml, "t", Reason::kUsage);
    for (const auto& d : *documents) {
      const auto applied = node_->Apply(json::Tree(d.root()));
      ASSERT_TRUE(applied) << applied.error().ForPeople();
    }
  }
  static std::string PodYaml(const std::string& name, const std::string& image) {
    return "{apiVersion: v1, kind: Pod, metadata: {name: " + name + "}, spec: {containers: [{name: c, image: '" + image + "'}]}}";
  }
  // Follows the Pod in the store until `is` holds.
  kube::Pod Await(const std::string& name, const std::function<bool(const kube::Pod&)>& is) {
    auto watch = store_->Watching({.kind = "Pod", .ns = "default", .name = name, .matches = {}});
    for (;;) {
      const auto object = store_->Get({"Pod", "default", name});
      if (object) {
        const kube::Pod pod = kube::ReadPod(**object);
        if (is(pod)) return pod;
      }
      if (!(*watch)->Next({})) return {};
    }
  }
  void AwaitGone(const std::string& name) {
    auto watch = store_->Watching({.kind = "Pod", .ns = "default", .name = name, .matches = {}});
    while (store_->Get({"Pod", "default", name})) (void)(*watch)->Next({});
  }
  static bool Running(const kube::Pod& pod) { return pod.status.phase == "Running"; }

  std::string folder_;
  NodeOptions options_;
  std::uint64_t random_ = 0;
  testing::FakeRuntime runtime_{time::SystemClock()};
  testing::ScriptedImages images_;
  testing::NoCredentials credentials_;
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<Node> node_;
};

TEST_F(NodeTest, APodRunsAndGoes) {
  runtime_.ends_on_stop = {"c"};
  Start();
  Apply(PodYaml("web", "x:1"));
  const kube::Pod pod = Await("web", Running);
  EXPECT_EQ(pod.spec.node_name, "node-7");
  EXPECT_EQ(pod.status.container_statuses[0].image_id, "sha256:x:1");
  ASSERT_TRUE(store_->Delete({"Pod", "default", "web"}));
  AwaitGone("web");
  EXPECT_EQ(runtime_.live(), 0u);
  EXPECT_EQ(runtime_.pods(), 0u);
  const auto events = store_->List({.kind = "Event", .ns = "default", .name = "", .matches = {}});
  ASSERT_TRUE(events);
  std::vector<std::string> reasons;
  for (const auto& e : events->objects) reasons.push_back(kube::ReadEvent(*e).reason);
  EXPECT_THAT(reasons, ::testing::UnorderedElementsAre("Pulling", "Pulled", "Created", "Started", "Killing"));
}

// Two hundred Pods over twenty images: each image is fetched once, one after the other, and no thread waits for each Pod.
TEST_F(NodeTest, IsANodeInTheStore) {
  options_.host_ip = "10.0.0.7";
  Start();
  const auto found = store_->Get({"Node", "", options_.name});
  ASSERT_TRUE(found);
  const kube::Node node = kube::ReadNode(**found);
  EXPECT_EQ(node.addresses, (std::vector<std::pair<std::string, std::string>>{{"InternalIP", "10.0.0.7"}, {"Hostname", options_.name}}));
  ASSERT_EQ(node.conditions.size(), 1u);
  EXPECT_EQ(node.conditions[0].type + node.conditions[0].status, "ReadyTrue");
  EXPECT_TRUE(node.node_info.at("kubeletVersion").starts_with("v1.36.0+berth."));
  EXPECT_TRUE(node.capacity.contains("memory"));
  node_.reset();
  Start();
  EXPECT_EQ((*store_->Get({"Node", "", options_.name}))->metadata.uid, (*found)->metadata.uid) << "it is brought up to date, not made anew";
}

TEST_F(NodeTest, TwoHundredPodsOverTwentyImages) {
  options_.kubelet.registry_pull_qps = 0;
  runtime_.ends_on_stop = {"c"};
  Start();
  for (int i = 0; i < 200; ++i) Apply(PodYaml("p" + std::to_string(i), "image-" + std::to_string(i % 20) + ":1"));
  for (int i = 0; i < 200; ++i) Await("p" + std::to_string(i), Running);
  EXPECT_EQ(images_.peak, 1u);
  EXPECT_EQ(runtime_.live(), 200u);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(store_->Delete({"Pod", "default", "p" + std::to_string(i)}));
  for (int i = 0; i < 200; ++i) AwaitGone("p" + std::to_string(i));
  EXPECT_EQ(runtime_.live(), 0u);
  EXPECT_EQ(runtime_.pods(), 0u);
  EXPECT_EQ(runtime_.sandboxes(), 0u);
}

TEST_F(NodeTest, APodWithAPresentImageDoesNotWaitForThePullsOfOthers) {
  images_.held = {"slow:1"};
  images_.present["here:1"] = "sha256:here";
  Start();
  for (int i = 0; i < 40; ++i) Apply(PodYaml("slow" + std::to_string(i), "slow:1"));
  images_.AwaitPulls(1);
  Apply(PodYaml("quick", "here:1"));
  Await("quick", Running);
  Apply("{apiVersion: v1, kind: Pod, metadata: {name: mounted}, spec: {containers: [{name: c, image: 'here:1'}], "
        "volumes: [{name: data, image: {reference: 'here:1'}}]}}");
  Await("mounted", Running);
  // A deleted one leaves at once, too.
  ASSERT_TRUE(store_->Delete({"Pod", "default", "slow0"}));
  ASSERT_TRUE(store_->Delete({"Pod", "default", "slow39"}));
  AwaitGone("slow0");
  images_.Release("slow:1");
}

TEST_F(NodeTest, ARestartTakesOverAndRemovesWhatBelongsToNobody) {
  Start();
  Apply(PodYaml("web", "x:1"));
  const kube::Pod pod = Await("web", Running);
  runtime_.found = {{{pod.metadata.uid, "c", 0}, {.kind = RunState::Kind::kRunning, .container_id = "berth://c0"}},
                    {{"nobody", "c", 0}, {.kind = RunState::Kind::kRunning, .container_id = "berth://n"}}};
  node_.reset();
  EXPECT_EQ(runtime_.live(), 1u) << "containers live on";
  runtime_.TakeCalls();
  Start();
  EXPECT_THAT(runtime_.swept_with, ::testing::ElementsAre(pod.metadata.uid));
  runtime_.End(pod.metadata.uid, "c", 1);
  Await("web", [](const kube::Pod& p) { return p.status.container_statuses[0].restart_count == 1 && Running(p); });
  EXPECT_THAT(runtime_.TakeCalls(), ::testing::ElementsAre("create c/1 sha256:x:1", "start c"));
}

TEST_F(NodeTest, WhatEndedBeforeARestartLeavesNothingWhenItIsDeleted) {
  Start();
  Apply("{apiVersion: v1, kind: Pod, metadata: {name: job}, spec: {restartPolicy: Never, containers: [{name: c, image: 'x:1'}]}}");
  const kube::Pod pod = Await("job", Running);
  runtime_.End(pod.metadata.uid, "c", 0);
  Await("job", [](const kube::Pod& p) { return p.status.phase == "Succeeded"; });
  node_.reset();
  Start();
  EXPECT_EQ(node_->workers().size(), 0u) << "nothing to do for it";
  EXPECT_EQ(runtime_.pods(), 1u);
  std::stop_source gone;
  runtime_.on_tear_down = [&] { gone.request_stop(); };
  ASSERT_TRUE(store_->Delete({"Pod", "default", "job"}));
  EXPECT_FALSE(task::Context(gone.get_token()).Sleep(1h));
  EXPECT_EQ(runtime_.pods(), 0u);
}

TEST_F(NodeTest, AnObjectThatIsTornAwayEndsItsContainers) {
  Start();
  Apply(PodYaml("web", "x:1"));
  const kube::Pod pod = Await("web", Running);
  ASSERT_TRUE(store_->Delete({"Pod", "default", "web"}, {.grace_seconds = 0, .uid = "", .resource_version = ""}));
  node_->workers().AwaitGone({}, pod.metadata.uid);
  EXPECT_EQ(runtime_.live(), 0u);
}

TEST_F(NodeTest, StaticPodsRunFromFilesAndHaveMirrors) {
  options_.static_pods.folder = folder_ + "/manifests";
  std::filesystem::create_directory(options_.static_pods.folder);
  runtime_.ends_on_stop = {"c"};
  Start();
  const std::string file = options_.static_pods.folder + "/web.yaml";
  { std::ofstream(folder_ + "/web.yaml") << PodYaml("web", "x:1"); }
  std::filesystem::rename(folder_ + "/web.yaml", file);
  const kube::Pod mirror = Await("web-node-7", Running);
  const std::string uid = mirror.metadata.annotations.at("kubernetes.io/config.mirror");
  EXPECT_NE(uid, mirror.metadata.uid);
  EXPECT_NE(node_->FindPod("default", "web-node-7"), nullptr);
  // A mirror that is deleted comes back; the container does not notice.
  runtime_.TakeCalls();
  ASSERT_TRUE(store_->Delete({"Pod", "default", "web-node-7"}));
  Await("web-node-7", [&](const kube::Pod& p) { return p.metadata.uid != mirror.metadata.uid; });
  EXPECT_EQ(runtime_.live(), 1u);
  // The file goes, and with it the Pod and the mirror.
  std::filesystem::remove(file);
  node_->workers().AwaitGone({}, uid);
  AwaitGone("web-node-7");
  EXPECT_EQ(runtime_.live(), 0u);
}

TEST_F(NodeTest, AlwaysPullImagesIsAnOption) {
  options_.always_pull_images = true;
  images_.present["x:1"] = "sha256:x";
  Start();
  Apply(PodYaml("web", "x:1"));
  EXPECT_EQ(Await("web", Running).spec.containers[0].image_pull_policy, "Always");
  EXPECT_EQ(images_.pulls.size(), 1u);
}

}  // namespace
}  // namespace berth::node
