// launch/bundle.h: the OCI runtime specification of one container: its config.json.
//
// Everything is decided here; the runtime (crun, runc) only does it. Pure: the same input gives the same text (golden files in
// testdata/). Sources: OCI runtime-spec 1.0.2, the kubelet's and containerd's defaults, product 6.2.
//
// - Namespaces: mount always its own; pid its own unless hostPID or Namespaces::pid; net, ipc and uts are the Pod's (by path, see
//   launch/sandbox.h) or the host's (hostNetwork: net and uts; hostIPC: ipc); cgroup its own on cgroup version 2.
// - Capabilities: containerd's default 14, plus and minus `add` and `drop` ("ALL" first); privileged: all that the machine has. An added
//   one that the machine's bounding set lacks is an error, not a silent loss. Ambient and inheritable sets stay empty.
// - no_new_privs when allowPrivilegeEscalation is false. Masked and read-only paths of /proc and /sys unless privileged or procMount
//   Unmasked. Without a profile seccomp is off, as in Kubernetes; RuntimeDefault is launch/seccomp.h.
// - RLIMIT_NOFILE 1024 soft, 524288 hard, both at most the machine's. oom_score_adj: launch/resources.h.
// - Cgroup limits where the machine has cgroups; otherwise none, and a note says so.
// - terminal is always false: there is no attaching; `tty` only sets TERM.
// - Sysctls belong to the Pod's namespaces: launch/sandbox.h sets them.
// Errors: kConfig (what the Pod asks for contradicts itself), kUnsupported (this machine or berth cannot).
#pragma once

#include <string>
#include <vector>

#include "kube/objects.h"
#include "launch/command.h"
#include "launch/machine.h"
#include "launch/users.h"
#include "result/result.h"

namespace berth::launch {

struct BundleMount {
  std::string destination;             // absolute, in the container
  std::string source;                  // absolute, on the host
  std::vector<std::string> options;    // "rbind", "ro", "rprivate", …
  bool operator==(const BundleMount&) const = default;
};

// Paths of pinned namespaces (or /proc/PID/ns/…). Empty: not shared; net, ipc, uts are then new ones unless the Pod uses the host's.
struct Namespaces {
  std::string net, ipc, uts, pid;
};

struct BundleInput {
  const kube::Pod& pod;
  const kube::Container& container;
  const Command& command;
  const User& user;
  const Machine& machine;
  std::string rootfs;                  // absolute path of the mounted image
  std::string cgroups_path;            // "/berthd/<pod uid>/<container>"
  std::string hostname;                // for a uts namespace of its own
  Namespaces namespaces;
  std::string shm;                     // the Pod's /dev/shm on the host; "": one of its own, 64 MiB
  std::vector<BundleMount> mounts;     // in this order, after ours
  std::vector<HostDevice> devices;     // for privileged containers: ListHostDevices()
  std::string localhost_seccomp;       // the text, when the profile's type is Localhost
  kube::StringMap annotations;
};

struct Bundle {
  std::string config_json;
  std::vector<std::string> notes;      // what the Pod asks for and does not get on this machine, for events and logs
};
Result<Bundle> MakeBundle(const BundleInput& input);

// The capabilities of a container: bit N is capability N.
Result<std::uint64_t> CapabilitiesOf(const kube::SecurityContext& security, const Machine& machine);

}  // namespace berth::launch
