// node/sandboxes.h: the namespaces, shared memory and network files of each Pod, as berth-shim pins them (launch/shim.h).
//
//   <folder>/<pod uid>/ns/net, ipc, uts, pid   namespaces, each bound on a file: they live without any process
//   <folder>/<pod uid>/shm                     the Pod's /dev/shm, a tmpfs of 64 MiB, unless it uses the host's IPC
// The folder is of one boot (/run): what is not there any more has to be made anew, and Start says so.
// Threads: one call for a Pod at a time.
#pragma once

#include <string>
#include <vector>

#include "kube/objects.h"
#include "launch/bundle.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::node {

class Sandboxes {
 public:
  // `folder`: absolute, exists. `shim`: absolute path of berth-shim.
  Sandboxes(std::string folder, std::string shim) : folder_(std::move(folder)), shim_(std::move(shim)) {}

  // True when it was made just now.
  Result<bool> Start(const task::Context& ctx, const kube::Pod& pod) const;
  launch::Namespaces Namespaces(const kube::Pod& pod) const;
  std::string Shm(const kube::Pod& pod) const;           // "" when it is the host's
  Result<> Stop(const task::Context& ctx, const std::string& uid) const;
  std::vector<std::string> List() const;                 // UIDs

 private:
  std::string At(const std::string& uid) const { return folder_ + "/" + uid; }
  const std::string folder_, shim_;
};

std::string HostnameOf(const kube::Pod& pod);            // spec.hostname, else the Pod's name, at most 63 characters
// Contents of the files that a container of the Pod sees; `host`: what the machine's own file holds.
std::string HostsFile(const kube::Pod& pod, std::string_view host);
std::string ResolvConf(const kube::Pod& pod, std::string_view host);

}  // namespace berth::node
