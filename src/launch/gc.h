// launch/gc.h: nothing of a deleted Pod stays: containers, processes, namespaces, mounts, cgroups, files.
//
// RemovePodRest undoes all that this library makes for one Pod, in the order that works, from any state (a crash of the daemon, of a shim,
// of the runtime, in any moment), and again after an error. Sweep compares what there is with the Pods that should be: at start.
// A Pod is known by its UID, which names its directory below `pods_root` and its cgroup CgroupBase(pods_root)/<uid>.
//
// Layout: container folders (launch/runtime.h) may be anywhere below the Pod's directory; its sandbox (launch/sandbox.h) is
// <pods_root>/<uid>/kSandboxName.
// Errors: as the parts; the first of them, after everything else was tried. Threads: one call for a Pod at a time, Sweep alone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launch/runtime.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::launch {

inline constexpr char kSandboxName[] = "sandbox";

// "/berthd" for kPodsRoot; with a suffix of its own for any other, so that two daemons never sweep each other's containers.
inline constexpr char kPodsRoot[] = "/var/lib/berth/pods";
std::string CgroupBase(std::string_view pods_root);
// <base>/<uid>/<container>: for BundleInput.
std::string CgroupPath(std::string_view pods_root, const std::string& pod_uid, const std::string& container);

// Kills what is in the Pod's cgroups, removes them in every hierarchy, and the base when it is empty. `root` is another place in tests.
Result<> RemovePodCgroups(const task::Context& ctx, std::string_view pods_root, const std::string& pod_uid,
                          const std::string& root = "/sys/fs/cgroup");

// All of one Pod but what only the runtime knows: for a caller that has deleted its containers (Runtime::Delete) himself.
Result<> RemovePodRest(const task::Context& ctx, const Runtime& runtime, const std::string& pods_root, const std::string& pod_uid);

struct Leftovers {
  std::vector<std::string> containers;  // ids with state, of no Pod
  std::vector<std::string> pods;        // directories
  std::vector<std::string> cgroups;     // UIDs
  bool empty() const { return containers.empty() && pods.empty() && cgroups.empty(); }
};
// Removes what belongs to none of the Pods `keep`, also what only the runtime remembers. Returns what was found.
Result<Leftovers> Sweep(const task::Context& ctx, const Runtime& runtime, const std::string& pods_root,
                        const std::vector<std::string>& keep);

}  // namespace berth::launch
