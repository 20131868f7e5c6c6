// node/launcher.h: node::Runtime on this machine: launch's pieces put together, image by rootfs, one shim per container.
//
//   <pods>/<uid>/                        launch's Pod folder: volumes, termination messages, sandbox/ (launch/sandbox.h)
//   <pods>/<uid>/images/<volume>         where image volumes are mounted
//   <pods>/<uid>/runs/<container>/<n>/   one run: config.json, rootfs (a mount), created.json, exit.json (launch/runtime.h)
//   <logs>/<ns>_<name>_<uid>/<container>/<n>.log
// A run's id for the runtime is "<uid>.<container>.<n>". Image mounts are on record (node/mounts.h), so that no image that a container
// uses can be removed. When a run has ended, the runtime's state and its cgroup go at once; its folder and mount stay until RemoveRun.
// One thread waits for the ends of all runs by their shims' pidfds; a daemon that starts later finds the runs by their folders.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "content/store.h"
#include "host/fd.h"
#include "launch/command.h"
#include "launch/machine.h"
#include "launch/runtime.h"
#include "launch/sandbox.h"
#include "node/image_service.h"
#include "node/mounts.h"
#include "node/runtime.h"
#include "objects/store.h"

namespace berth::node {

// Secrets and ConfigMaps of one namespace of the store, with the kubelet's words for what is not there.
class StoredConfig final : public launch::ConfigSource {
 public:
  StoredConfig(const objects::Store& store, std::string ns) : store_(store), ns_(std::move(ns)) {}
  Result<std::shared_ptr<const kube::Secret>> FindSecret(const std::string& name) const override;
  Result<std::shared_ptr<const kube::ConfigMap>> FindConfigMap(const std::string& name) const override;

 private:
  const objects::Store& store_;
  const std::string ns_;
};

struct LauncherOptions {
  std::string pods, logs;                     // absolute folders, which exist
  std::string node_name;
  std::string host_ip;
  std::uint64_t log_max_bytes = 10u << 20;    // containerLogMaxSize
  unsigned log_files = 5;                     // containerLogMaxFiles
  launch::AccountLimits accounts;             // /etc/passwd and /etc/group of images
  std::string seccomp = "/var/lib/kubelet/seccomp";  // profiles of type Localhost
};

class Launcher final : public Runtime {
 public:
  struct Parts {
    const objects::Store& store;
    ImageService& images;
    content::Store& content;
    Mounts& mounts;
    const time::Clock& clock;
  };
  static Result<std::unique_ptr<Launcher>> Open(LauncherOptions options, launch::Runtime runtime, launch::Machine machine, Parts parts);
  ~Launcher() override;

  Result<> SetUpPod(const task::Context& ctx, const kube::Pod& pod) override;
  Result<bool> StartSandbox(const task::Context& ctx, const kube::Pod& pod) override;
  std::string PodIp(const kube::Pod& pod) override { return pod.spec.host_network ? options_.host_ip : ""; }
  std::optional<StartFailure> Create(const task::Context& ctx, const StartRequest& request) override;
  std::optional<StartFailure> Start(const task::Context& ctx, const RunKey& run) override;
  RunState State(const RunKey& run) override;
  Result<> Stop(const RunKey& run, const kube::Container& container) override;
  Result<> Kill(const RunKey& run) override;
  Result<std::int32_t> Exec(const task::Context& ctx, const RunKey& run, const std::vector<std::string>& argv) override;
  Result<> RemoveRun(const RunKey& run) override;
  Result<> StopSandbox(const task::Context& ctx, const kube::Pod& pod) override;
  Result<> TearDownPod(const task::Context& ctx, const kube::Pod& pod) override;
  std::vector<FoundRun> Found() override;
  Result<> Sweep(const task::Context& ctx, const std::vector<std::string>& pod_uids) override;
  void OnExit(std::function<void(const std::string&)> listener) override;
  std::string LogPath(const kube::ObjectMeta& pod, const std::string& container, std::int32_t attempt) const override;

 private:
  struct Watched {
    RunKey run;
    launch::ExitWatch watch;
  };
  Launcher(LauncherOptions options, launch::Runtime runtime, launch::Machine machine, Parts parts, host::Fd poll, host::Fd wake);
  std::string PodDir(const std::string& uid) const { return options_.pods + "/" + uid; }
  std::string RunDir(const RunKey& run) const { return PodDir(run.pod_uid) + "/runs/" + run.container + "/" + std::to_string(run.attempt); }
  static std::string IdOf(const RunKey& run) { return run.pod_uid + "." + run.container + "." + std::to_string(run.attempt); }
  std::string LogDir(const kube::ObjectMeta& pod) const { return options_.logs + "/" + pod.ns + "_" + pod.name + "_" + pod.uid; }
  Result<launch::Sandbox> SandboxOf(const task::Context& ctx, const kube::Pod& pod) const;
  Result<std::string> Prepare(const task::Context& ctx, const StartRequest& request, StartFailure::Stage& stage);
  void Follow(const RunKey& run);
  void BeginUnlessBegun(const RunKey& run);
  void Told(const std::string& uid);
  void Wait(const std::stop_token& stop);
  std::vector<RunKey> RunsOf(const std::string& uid) const;
  Result<> Discard(const RunKey& run);
  Result<> Unmount(const std::string& target);
  Result<> EndRuns(const task::Context& ctx, const std::string& uid, bool remove);
  Result<> RemovePod(const task::Context& ctx, const std::string& uid);

  const LauncherOptions options_;
  const launch::Runtime runtime_;
  const launch::Machine machine_;
  const Parts parts_;
  const host::Fd poll_, wake_;
  std::mutex listener_mutex_;                          // held while it is called: OnExit({}) waits for that
  std::function<void(const std::string&)> listener_;   // guarded by listener_mutex_
  mutable std::mutex mutex_;
  std::map<int, Watched> watched_;                     // guarded by mutex_: by descriptor
  std::map<RunKey, RunState> ended_;                   // guarded by mutex_: read once
  std::set<RunKey> discarded_;                         // guarded by mutex_: the runtime has forgotten them
  std::jthread waiter_;                                // last
};

}  // namespace berth::node
