// node/runtime.h: what runs containers, as the Pod workers see it: the seam between "what should be" and "what is".
//
// `launch` is behind it (node/launcher.h); tests have a fake (node/testing/fake_runtime.h). A run is one start of one
// container: (Pod UID, container, attempt), attempt counting from 0, which is the Pod's restartCount. Runs live on without us:
// after a restart of the daemon Found() tells what there is.
//
// The texts of failures go into events and the Pod's status as they are: names and causes, never values of secrets.
// Every call may block for as long as a system call or a runtime program takes (some 50 ms), none for longer, Exec excepted.
// Safe for concurrent use for different Pods; for one Pod one caller at a time.
#pragma once

#include <compare>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kube/objects.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::node {

struct RunKey {
  std::string pod_uid, container;
  std::int32_t attempt = 0;
  friend auto operator<=>(const RunKey&, const RunKey&) = default;
};

struct RunState {
  enum class Kind : std::uint8_t { kNone, kCreated, kRunning, kExited } kind = Kind::kNone;
  std::string container_id;              // "berth://…"
  time::WallTime started_at{}, finished_at{};
  std::int32_t exit_code = 0, signal = 0;
  bool oom_killed = false;
  std::string reason, message;           // reason "" means Completed or Error by the exit code; message: the termination message
};

struct FoundRun {
  RunKey key;
  RunState state;
};

// Which of Kubernetes' stages a container did not get past.
struct StartFailure {
  enum class Stage : std::uint8_t { kConfig, kCreate, kRun } stage = Stage::kCreate;
  std::string message;
  std::string_view reason() const {
    return stage == Stage::kConfig ? "CreateContainerConfigError" : stage == Stage::kCreate ? "CreateContainerError" : "RunContainerError";
  }
};

struct StartRequest {
  const kube::Pod& pod;
  const kube::Container& container;
  std::int32_t attempt = 0;
  std::string image_ref;                           // of policy::ImageService
  std::map<std::string, std::string> volume_images;  // image volumes: name -> image ref
};

class Runtime {
 public:
  virtual ~Runtime() = default;

  // Folders and volumes; as often as one likes. Errors: `MountVolume.SetUp failed for volume "v" : secret "s" not found`.
  virtual Result<> SetUpPod(const task::Context& ctx, const kube::Pod& pod) = 0;
  // The shared namespaces; true when they were made just now. As often as one likes.
  virtual Result<bool> StartSandbox(const task::Context& ctx, const kube::Pod& pod) = 0;
  virtual std::string PodIp(const kube::Pod& pod) = 0;  // "" when it has none

  virtual std::optional<StartFailure> Create(const task::Context& ctx, const StartRequest& request) = 0;
  virtual std::optional<StartFailure> Start(const task::Context& ctx, const RunKey& run) = 0;
  virtual RunState State(const RunKey& run) = 0;
  // The container's stop signal (lifecycle.stopSignal, the image's, SIGTERM). A run that has ended is no error.
  virtual Result<> Stop(const RunKey& run, const kube::Container& container) = 0;
  virtual Result<> Kill(const RunKey& run) = 0;
  virtual Result<std::int32_t> Exec(const task::Context& ctx, const RunKey& run, const std::vector<std::string>& argv) = 0;
  // What a run leaves, but its log. REQUIRES: it does not run.
  virtual Result<> RemoveRun(const RunKey& run) = 0;
  // Sandbox, mounts, cgroups; volumes and folders too. REQUIRES: nothing of the Pod runs.
  virtual Result<> StopSandbox(const task::Context& ctx, const kube::Pod& pod) = 0;
  virtual Result<> TearDownPod(const task::Context& ctx, const kube::Pod& pod) = 0;

  // What is there from before, all Pods.
  virtual std::vector<FoundRun> Found() = 0;
  // Removes what belongs to no Pod of these, processes included.
  virtual Result<> Sweep(const task::Context& ctx, const std::vector<std::string>& pod_uids) = 0;
  // Called with the Pod's UID, on any thread, whenever a run has ended. Set once, before the first Start.
  virtual void OnExit(std::function<void(const std::string&)> listener) = 0;
  virtual std::string LogPath(const kube::ObjectMeta& pod, const std::string& container, std::int32_t attempt) const = 0;
};

}  // namespace berth::node
