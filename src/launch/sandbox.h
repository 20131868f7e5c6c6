// launch/sandbox.h: what the containers of a Pod share: namespaces, /dev/shm, hosts, host name, resolv.conf.
//
// Namespaces are pinned by bind mounts on files, not by a process: they cost no memory, nobody can kill them, they survive the daemon,
// and an unmount removes them. Only shareProcessNamespace needs a process (a pid namespace lives as long as its process 1): the pause
// process, which has no privilege, an empty root and a sealed copy of its program (launch/shim.h).
//
//   <dir>/net, ipc, uts, pid     pinned namespaces (those that the Pod does not take from the host)
//   <dir>/shm                    tmpfs, 64 MiB
//   <dir>/hosts, hostname, resolv.conf
//   <dir>/ready                  written last: a sandbox without it is half-made and made anew
//
// The network is a namespace with loopback alone, or the host's (hostNetwork). After a reboot the mounts are gone, and StartSandbox
// makes a new sandbox.
// Errors: kConfig and kDenied for sysctls (`forbidden sysctl: "x" not allowlisted`), else what berth-shim says.
// Threads: one call for a Pod at a time.
#pragma once

#include <string>
#include <vector>

#include "kube/objects.h"
#include "launch/bundle.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::launch {

struct SandboxSpec {
  const kube::Pod& pod;
  std::string dir;                              // absolute; its parent exists
  std::string shim;                             // absolute path of berth-shim
  std::string node_name;
  std::vector<std::string> allowed_sysctls;     // beyond the safe ones; "net.*" is a prefix
  std::string resolv_conf = "/etc/resolv.conf", hosts = "/etc/hosts";  // the host's
};

struct Sandbox {
  Namespaces namespaces;
  std::string dir, shm, hostname;
  bool made = false;                            // by this call
};
// Idempotent.
Result<Sandbox> StartSandbox(const task::Context& ctx, const SandboxSpec& spec);
// Ends the pause process, removes the mounts and `dir`. False when there was none. Containers that still run keep their namespaces
// until they end.
Result<bool> StopSandbox(const task::Context& ctx, const std::string& dir);

// /etc/hosts, /etc/hostname and /etc/resolv.conf for one container: not where a volume is mounted on the same path; read-only with a
// read-only root.
std::vector<BundleMount> SandboxMounts(const Sandbox& sandbox, const kube::Container& container);

// The texts of these files, as the kubelet writes them.
std::string PodHostname(const kube::Pod& pod, const std::string& node_name);      // at most 63 characters
std::string HostsText(const kube::Pod& pod, const std::string& hostname);         // not for hostNetwork
// dnsPolicy None: dnsConfig alone; any other: the host's, since there is no cluster DNS here, and dnsConfig. At most 3 servers and 32
// search domains, each once.
std::string ResolvConfText(const kube::Pod& pod, const std::string& host_text);
// kDenied, kConfig: what the kubelet refuses with SysctlForbidden.
Result<> CheckSysctls(const kube::Pod& pod, const std::vector<std::string>& allowed);

}  // namespace berth::launch
