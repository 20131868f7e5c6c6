// Pods as they really run: an image of busybox, a real runtime, namespaces, mounts. Waiting is for ends of containers.
#include "node/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "launch/testing/machine.h"
#include "node/testing/lab.h"
#include "pull/testing/node.h"

namespace berth::node {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// A launcher on the stores of a node; a second one takes over as a daemon that starts again does.
class LauncherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* why = launch::testing::WhyNoContainers("crun")) GTEST_SKIP() << why;
    tar::testing::Builder layer;
    for (const char* dir : {"bin", "etc", "proc", "sys", "dev", "tmp"}) layer.Dir(dir);
    layer.File("bin/busybox", Contents("/usr/bin/busybox")).Mode(0755);
    for (const char* name : {"sh", "cat", "echo", "sleep", "id", "ls", "true"}) layer.Symlink(std::string("bin/") + name, "busybox");
    node_.registry.PutImage("app", "1", {layer.Finish()});
    node_.registry.PutImage("data", "1", {tar::testing::Builder().Dir("d").File("d/file", "of the volume\n").Finish()});
    images_.emplace(*node_.puller, *node_.stores.catalog, *node_.stores.leases, *node_.stores.layers, *oci::Platform::Parse("linux/amd64"));
    for (const char* name : {"app:1", "data:1"}) {
      const auto pulled = images_->Pull({}, node_.Name(name), nullptr, {});
      ASSERT_TRUE(pulled) << pulled.error().Text();
      refs_[name] = *pulled;
    }
    auto mounter = rootfs::Mounter::Open(node_.stores.folder.path(), *node_.stores.layers);
    ASSERT_TRUE(mounter) << mounter.error().Text();
    mounter_ = *std::move(mounter);
    mounts_.emplace(*node_.stores.catalog, *mounter_);
    store_ = *objects::Store::Open(scratch_.path("objects.db"), time::SystemClock(), [this] { return ++random_; });
    for (const char* folder : {"pods", "logs"}) ASSERT_TRUE(scratch_.dir().MakeDir(folder, 0700));
    Open();
  }
  void TearDown() override {
    if (launcher_) {
      EXPECT_TRUE(launcher_->Sweep({}, {}));
    }
    launcher_.reset();
    mounts_.reset();
    mounter_.reset();
  }
  void Open() {
    launcher_.reset();
    auto machine = launch::ReadMachine();
    ASSERT_TRUE(machine) << machine.error().Text();
    const auto probe =
        launch::ProbeRuntime(*machine, {.runtime = "", .shim = launch::testing::ShimPath(), .state_root = scratch_.path("oci")});
    ASSERT_TRUE(probe.setup);
    auto runtime = launch::Runtime::Open(*probe.setup);
    ASSERT_TRUE(runtime) << runtime.error().Text();
    auto launcher = Launcher::Open({.pods = scratch_.path("pods"), .logs = scratch_.path("logs"), .node_name = "node-7", .host_ip = "192.0.2.7",
                                    .seccomp = scratch_.path("seccomp")},
                                   *std::move(runtime), *std::move(machine),
                                   {*store_, *images_, *node_.stores.content, *mounts_, time::SystemClock()});
    ASSERT_TRUE(launcher) << launcher.error().Text();
    launcher_ = *std::move(launcher);
    launcher_->OnExit([this](const std::string& uid) {
      std::lock_guard hold(mutex_);
      ended_.insert(uid);
      changed_.notify_all();
    });
  }
  void AwaitEnd(const std::string& uid) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_.contains(uid); });
  }
  static kube::Pod Pod(const std::string& script, const std::string& container = "", const std::string& spec = "",
                       const std::string& uid = "uid-1") {
    return testing::PodFrom("{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop}, spec: {" + spec + " containers: [{name: c, image: i, " +
                            container + " command: [sh, -c, '" + script + "']}]}}", uid);
  }
  static RunKey Run(const kube::Pod& pod, int attempt = 0) { return {pod.metadata.uid, "c", attempt}; }
  std::optional<StartFailure> Create(const kube::Pod& pod, int attempt = 0, std::map<std::string, std::string> volumes = {}) {
    return launcher_->Create({}, {.pod = pod, .container = pod.spec.containers[0], .attempt = attempt, .image_ref = refs_["app:1"],
                                  .volume_images = std::move(volumes)});
  }
  void Start(const kube::Pod& pod, int attempt = 0, std::map<std::string, std::string> volumes = {}) {
    const auto up = launcher_->SetUpPod({}, pod);
    ASSERT_TRUE(up) << up.error().Text();
    const auto sandbox = launcher_->StartSandbox({}, pod);
    ASSERT_TRUE(sandbox) << sandbox.error().Text();
    const auto created = Create(pod, attempt, std::move(volumes));
    ASSERT_FALSE(created) << created->message;
    const auto started = launcher_->Start({}, Run(pod, attempt));
    ASSERT_FALSE(started) << started->message;
  }
  std::string Log(const kube::Pod& pod, int attempt = 0) {
    std::istringstream lines(Contents(launcher_->LogPath(pod.metadata, "c", attempt)));
    std::string out;
    for (std::string line; std::getline(lines, line);) out += line.substr(std::min(line.find(' ') + 1, line.size())) + "\n";
    return out;
  }
  std::vector<std::string> Left() {
    std::vector<std::string> left;
    for (const char* folder : {"pods", "logs"})
      for (const auto& entry : fs::directory_iterator(scratch_.path(folder))) left.push_back(entry.path().filename());
    for (std::istringstream lines(Contents("/proc/self/mountinfo")); !lines.eof();) {
      std::string line;
      std::getline(lines, line);
      if (line.find(scratch_.path("pods")) != line.npos) left.push_back(line);
    }
    return left;
  }

  host::testing::Scratch scratch_;
  pull::testing::Node node_;
  std::map<std::string, std::string> refs_;
  std::uint64_t random_ = 0;
  std::optional<ImageService> images_;
  std::unique_ptr<rootfs::Mounter> mounter_;
  std::optional<Mounts> mounts_;
  std::unique_ptr<objects::Store> store_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> ended_;
  std::unique_ptr<Launcher> launcher_;  // last: its thread uses the rest
};

TEST_F(LauncherTest, ARunFromItsBeginningToNothingLeft) {
  const auto pod = Pod("echo hello; echo why > /dev/termination-log; exit 3");
  EXPECT_EQ(launcher_->State(Run(pod)).kind, RunState::Kind::kNone);
  ASSERT_TRUE(launcher_->SetUpPod({}, pod));
  EXPECT_TRUE(*launcher_->StartSandbox({}, pod)) << "made";
  EXPECT_FALSE(*launcher_->StartSandbox({}, pod)) << "there";
  Start(pod);
  AwaitEnd("uid-1");
  const RunState state = launcher_->State(Run(pod));
  EXPECT_EQ(state.kind, RunState::Kind::kExited);
  EXPECT_EQ(state.exit_code, 3);
  EXPECT_EQ(state.reason, "Error");
  EXPECT_EQ(state.message, "why\n");
  EXPECT_EQ(state.container_id, "berth://uid-1.c.0");
  EXPECT_LE(state.started_at, state.finished_at);
  EXPECT_EQ(Log(pod), "stdout F hello\n");
  ASSERT_TRUE(launcher_->RemoveRun(Run(pod)));
  ASSERT_TRUE(launcher_->RemoveRun(Run(pod))) << "a second time";
  EXPECT_EQ(launcher_->State(Run(pod)).kind, RunState::Kind::kNone);
  EXPECT_EQ(Log(pod), "stdout F hello\n") << "its log stays";
  ASSERT_TRUE(launcher_->StopSandbox({}, pod));
  ASSERT_TRUE(launcher_->TearDownPod({}, pod));
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(LauncherTest, StopAsksAndKillDoesNot) {
  for (const bool kill : {false, true}) {
    const auto pod = Pod("trap \"exit 5\" TERM; echo up; while true; do sleep 1 & wait; done", "", "", kill ? "uid-k" : "uid-s");
    Start(pod);
    EXPECT_EQ(launcher_->State(Run(pod)).kind, RunState::Kind::kRunning);
    EXPECT_EQ(*launcher_->Exec({}, Run(pod), {"sh", "-c", "exit 4"}), 4);
    // The trap is set once it says so.
    while (Log(pod).empty()) ASSERT_TRUE(launcher_->Exec({}, Run(pod), {"true"}));
    ASSERT_TRUE(kill ? launcher_->Kill(Run(pod)) : launcher_->Stop(Run(pod), pod.spec.containers[0]));
    AwaitEnd(pod.metadata.uid);
    EXPECT_EQ(launcher_->State(Run(pod)).exit_code, kill ? 137 : 5);
    EXPECT_TRUE(launcher_->Stop(Run(pod), pod.spec.containers[0])) << "one that has ended is no error";
    ASSERT_TRUE(launcher_->TearDownPod({}, pod));
  }
  EXPECT_THAT(Left(), IsEmpty());
}

struct FailRow { const char *name, *container, *spec; StartFailure::Stage stage; const char* message; };
TEST_F(LauncherTest, WhatStopsAContainerAndAtWhichStage) {
  using Stage = StartFailure::Stage;
  for (const auto& row : {FailRow{"secret", "env: [{name: A, valueFrom: {secretKeyRef: {name: gone, key: k}}}],", "", Stage::kConfig, "secret \"gone\" not found"},
                          FailRow{"configmap", "envFrom: [{configMapRef: {name: gone}}],", "", Stage::kConfig, "configmap \"gone\" not found"},
                          FailRow{"root", "securityContext: {runAsNonRoot: true},", "", Stage::kConfig, "container has runAsNonRoot and image will run as root"},
                          FailRow{"seccomp", "securityContext: {seccompProfile: {type: Localhost, localhostProfile: gone.json}},", "", Stage::kCreate, "seccomp profile \"gone.json\""}}) {
    const auto pod = Pod("true", row.container, row.spec);
    ASSERT_TRUE(launcher_->SetUpPod({}, pod));
    const auto failure = Create(pod);
    ASSERT_TRUE(failure) << row.name;
    EXPECT_EQ(failure->stage, row.stage) << row.name;
    EXPECT_THAT(failure->message, HasSubstr(row.message)) << row.name;
    EXPECT_EQ(launcher_->State(Run(pod)).kind, RunState::Kind::kNone);
    EXPECT_FALSE(fs::exists(scratch_.path("pods/uid-1/runs/c/0"))) << "nothing half made stays";
  }
  const auto pod = Pod("true");
  refs_["app:1"] = "sha256:" + std::string(64, 'a');
  const auto failure = Create(pod);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->stage, Stage::kCreate);
  EXPECT_THAT(failure->message, HasSubstr("is no longer here"));
}

TEST_F(LauncherTest, AProgramThatIsNotThereFailsTheRun) {
  auto pod = Pod("true");
  pod.spec.containers[0].command = {"/no/such/program"};
  ASSERT_TRUE(launcher_->SetUpPod({}, pod));
  ASSERT_TRUE(launcher_->StartSandbox({}, pod));
  ASSERT_FALSE(Create(pod));
  const auto failure = launcher_->Start({}, Run(pod));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason(), "RunContainerError");
  EXPECT_THAT(failure->message, HasSubstr("/no/such/program"));
  ASSERT_TRUE(launcher_->TearDownPod({}, pod));
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(LauncherTest, ASeccompProfileOfTheNodeHolds) {
  for (const char* folder : {"seccomp", "seccomp/own"}) ASSERT_TRUE(scratch_.dir().MakeDir(folder, 0700));
  std::ofstream(scratch_.path("seccomp/own/no-mkdir.json"))
      << R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]})";
  const auto pod = Pod("busybox mkdir /tmp/a || echo refused",
                       "securityContext: {seccompProfile: {type: Localhost, localhostProfile: own/no-mkdir.json}},");
  Start(pod);
  AwaitEnd(pod.metadata.uid);
  EXPECT_THAT(Log(pod), HasSubstr("stdout F refused\n"));
  ASSERT_TRUE(launcher_->TearDownPod({}, pod));
}

TEST_F(LauncherTest, AVolumeWhoseSourceIsMissingKeepsThePodFromBeingSetUp) {
  const auto pod = Pod("true", "volumeMounts: [{name: v, mountPath: /v}],", "volumes: [{name: v, secret: {secretName: gone}}],");
  EXPECT_EQ(launcher_->SetUpPod({}, pod).error().Text(), "MountVolume.SetUp failed for volume \"v\" : secret \"gone\" not found");
}

TEST_F(LauncherTest, ImageVolumesAreReadOnlyOnRecordAndGoWithThePod) {
  const auto pod = Pod("cat /v/d/file /w/file; echo x > /v/x || echo refused", "volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /w, subPath: d}],",
                       "volumes: [{name: v, image: {reference: data}}],");
  Start(pod, 0, {{"v", refs_["data:1"]}});
  AwaitEnd("uid-1");
  EXPECT_THAT(Log(pod), HasSubstr("stdout F of the volume\nstdout F of the volume\n"));
  EXPECT_THAT(Log(pod), HasSubstr("stdout F refused\n"));
  const auto mounted = node_.stores.catalog->ListMounts();
  ASSERT_TRUE(mounted);
  EXPECT_THAT(*mounted, SizeIs(2)) << "the container's root and the volume";
  ASSERT_TRUE(launcher_->TearDownPod({}, pod));
  EXPECT_THAT(*node_.stores.catalog->ListMounts(), IsEmpty());
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(LauncherTest, ALauncherThatStartsLaterFindsWhatRunsAndHearsItEnd) {
  const auto pod = Pod("exec sleep 1000"), ended = Pod("exit 7", "", "", "uid-2");
  Start(pod);
  Start(ended);
  AwaitEnd("uid-2");
  Open();
  const auto found = launcher_->Found();
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].key, Run(pod));
  EXPECT_EQ(found[0].state.kind, RunState::Kind::kRunning);
  EXPECT_EQ(found[1].state.kind, RunState::Kind::kExited);
  EXPECT_EQ(found[1].state.exit_code, 7);
  ASSERT_TRUE(launcher_->Kill(Run(pod)));
  AwaitEnd("uid-1");
  EXPECT_EQ(launcher_->State(Run(pod)).exit_code, 137);
}

// The daemon dies behind its record of the start, before the runtime was told, or before it knew the answer.
TEST_F(LauncherTest, AStartThatWasOnRecordAndNotMadeIsMadeOnce) {
  for (const bool started : {false, true}) {
    const auto pod = Pod("echo up; exec sleep 1000", "", "", started ? "uid-2" : "uid-1");
    ASSERT_TRUE(launcher_->SetUpPod({}, pod));
    ASSERT_TRUE(launcher_->StartSandbox({}, pod));
    const auto created = Create(pod);
    ASSERT_FALSE(created) << created->message;
    const std::string folder = scratch_.path("pods/" + pod.metadata.uid + "/runs/c/0"), id = pod.metadata.uid + ".c.0";
    const launch::ProbeWish wish{.runtime = "", .shim = launch::testing::ShimPath(), .state_root = scratch_.path("oci")};
    const auto setup = launch::ProbeRuntime(*launch::ReadMachine(), wish).setup;
    const auto runtime = launch::Runtime::Open(*setup);
    ASSERT_TRUE(runtime);
    const auto made = runtime->Create({}, {.id = id, .folder = folder, .log_path = launcher_->LogPath(pod.metadata, "c", 0),
                                           .log_max_bytes = 1 << 20, .log_files = 2});
    ASSERT_TRUE(made) << made.error().Text();
    std::string record = Contents(folder + "/run.json");
    const auto at = record.find("\"started\":0");
    ASSERT_NE(at, record.npos) << record;
    std::ofstream(folder + "/run.json") << record.replace(at, 11, "\"started\":1700000000000000000");
    if (started) {
      ASSERT_TRUE(runtime->Start({}, id));
    }
    for (int daemon = 0; daemon < 2; ++daemon) {
      Open();
      const auto found = launcher_->Found();
      ASSERT_THAT(found, SizeIs(started ? 2 : 1));
      EXPECT_EQ(found.back().state.kind, RunState::Kind::kRunning);
      EXPECT_EQ(*runtime->State({}, id), "running");
      EXPECT_TRUE(fs::exists(folder + "/begun"));
    }
    ASSERT_TRUE(launcher_->Kill(Run(pod)));
    AwaitEnd(pod.metadata.uid);
    EXPECT_EQ(Log(pod), "stdout F up\n");
  }
}

TEST_F(LauncherTest, SweepRemovesWhatBelongsToNoPodProcessesIncluded) {
  const auto stays = Pod("exec sleep 1000"), goes = Pod("exec sleep 1000", "", "", "uid-2");
  Start(stays);
  Start(goes);
  ASSERT_TRUE(launcher_->Sweep({}, {"uid-1"}));
  EXPECT_EQ(launcher_->State(Run(stays)).kind, RunState::Kind::kRunning);
  EXPECT_EQ(launcher_->State(Run(goes)).kind, RunState::Kind::kNone);
  EXPECT_FALSE(fs::exists(scratch_.path("pods/uid-2")));
  EXPECT_FALSE(fs::exists(scratch_.path("logs/shop_web_uid-2")));
  ASSERT_TRUE(launcher_->Sweep({}, {}));
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(LauncherTest, LogsOfTheLatestRunAndTheOneBeforeAreKept) {
  const auto pod = Pod("echo run");
  for (int attempt = 0; attempt < 3; ++attempt) {
    Start(pod, attempt);
    AwaitEnd("uid-1");
    { std::lock_guard hold(mutex_); ended_.clear(); }
    ASSERT_EQ(launcher_->State(Run(pod, attempt)).kind, RunState::Kind::kExited);
  }
  EXPECT_EQ(Log(pod, 0), "");
  EXPECT_EQ(Log(pod, 1), "stdout F run\n");
  EXPECT_EQ(Log(pod, 2), "stdout F run\n");
}

}  // namespace
}  // namespace berth::node
