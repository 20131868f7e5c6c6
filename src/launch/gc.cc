#include "launch/gc.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "bytes/encoding.h"
#include "host/dir.h"
#include "host/poll.h"
#include "launch/mounts.h"
#include "launch/sandbox.h"
#include "launch/shim.h"
#include "launch/volumes.h"
#include "log/log.h"

namespace berth::launch {
namespace {

using host::Dir;

constexpr int kMaxDepth = 5;  // of container folders below a Pod's directory, and of cgroups below a Pod's

// A name from a directory that only we write; still, it becomes a path.
Result<> CheckUid(const std::string& uid) {
  const bool good = !uid.empty() && uid.size() <= 255 && uid != "." && uid != ".." &&
                    uid.find('/') == std::string::npos && uid.find('\0') == std::string::npos;
  return good ? Result<>() : Error(Reason::kUsage, Quoted(uid) + " is no Pod's UID");
}

std::vector<std::string> Names(const std::string& folder) {
  auto dir = Dir::Open(folder);
  if (!dir) return {};
  return dir->List().value_or(std::vector<std::string>());
}

std::vector<std::string> Hierarchies(const std::string& root) {
  std::vector<std::string> out{root};
  for (const auto& name : Names(root)) out.push_back(root + "/" + name);
  return out;
}

// Keeps the first error and goes on.
class First {
 public:
  void Take(Result<> r) {
    if (!r && !error_) error_ = std::move(r).error();
  }
  template <class T>
  void Take(Result<T> r) {
    if (!r && !error_) error_ = std::move(r).error();
  }
  Result<> Done() {
    if (error_) return *std::move(error_);
    return {};
  }

 private:
  std::optional<Error> error_;
};

// Of one cgroup: all processes get SIGKILL and are waited for, so that rmdir works.
Result<> Empty(const task::Context& ctx, const std::string& group) {
  const auto text = host::ReadSmallFile(group + "/cgroup.procs", 1u << 20);
  if (!text) return {};
  std::vector<host::Fd> ends;
  for (const char* at = text->data(); at < text->data() + text->size();) {
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(at, text->data() + text->size(), pid);
    if (error != std::errc()) break;
    at = end + 1;
    if (pid <= 1) continue;
    host::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process.valid()) continue;
    (void)::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
    ends.push_back(std::move(process));
  }
  for (const auto& process : ends)
    RETURN_IF_ERROR(host::AwaitReadable(ctx.WithTimeout(std::chrono::seconds(10)), process.get()));
  return {};
}

Result<> RemoveGroup(const task::Context& ctx, const std::string& group, int depth) {
  if (::access(group.c_str(), F_OK) != 0) return {};
  if (depth > 0)
    for (const auto& name : Names(group))
      if (Dir::Open(group + "/" + name)) RETURN_IF_ERROR(RemoveGroup(ctx, group + "/" + name, depth - 1));
  RETURN_IF_ERROR(Empty(ctx, group));
  if (::rmdir(group.c_str()) == 0 || errno == ENOENT) return {};
  return host::OsError(errno, "remove cgroup " + Quoted(group));
}

// Below a Pod's directory, when nothing is mounted there any more: all of it but the volumes is then written
// by us alone. What a container wrote must not be taken for a record of a process to be killed.
void FindContainerFolders(const std::string& folder, int depth, std::vector<std::string>& out) {
  auto dir = Dir::Open(folder);
  if (!dir) return;
  for (const auto& name : dir->List().value_or(std::vector<std::string>())) {
    const auto info = dir->Stat(name);
    if (!info) continue;
    const bool volumes =
        depth == kMaxDepth && (name == "volumes" || name == "volume-subpaths" || name == kSandboxName);
    if (name == kShimLock || name == kCreatedFile) {
      if (out.empty() || out.back() != folder) out.push_back(folder);
    } else if (info->kind == host::FileKind::kDirectory && depth > 0 && !volumes) {
      FindContainerFolders(folder + "/" + name, depth - 1, out);
    }
  }
}

// Id and Pod of each container with state; the Pod is "" when its folder is not below pods_root.
struct Found {
  std::string id, folder, uid;
};
Result<std::vector<Found>> Containers(const task::Context& ctx, const Runtime& runtime,
                                      const std::string& pods_root) {
  ASSIGN_OR_RETURN(const auto ids, runtime.List());
  std::vector<Found> out;
  for (const auto& id : ids) {
    auto folder = runtime.FolderOf(ctx, id);
    if (!folder && (folder.error().cancelled() || folder.error().reason() == Reason::kTimeout))
      return Error(std::move(folder).error());
    Found found{id, folder.value_or(""), ""};
    if (found.folder.starts_with(pods_root + "/")) {
      const std::string rest = found.folder.substr(pods_root.size() + 1);
      found.uid = rest.substr(0, rest.find('/'));
    }
    out.push_back(std::move(found));
  }
  return out;
}

// `first`: what went wrong with its containers.
Result<> RemoveRest(const task::Context& ctx, const Runtime& runtime, const std::string& pods_root,
                    const std::string& pod_uid, First first) {
  RETURN_IF_ERROR(CheckUid(pod_uid));
  const std::string pod_dir = pods_root + "/" + pod_uid;
  first.Take(RemovePodCgroups(ctx, pods_root, pod_uid));
  first.Take(StopSandbox(ctx, pod_dir + "/" + kSandboxName));
  if (auto dir = Dir::Open(pod_dir)) {
    ASSIGN_OR_RETURN(const auto real, internal::RealPath(*dir));
    dir = Dir();
    RETURN_IF_ERROR(internal::UnmountBelow(ctx, real));
  }
  // Shims and processes of which the runtime knows nothing: Create was cut off, or its state is lost.
  std::vector<std::string> folders;
  FindContainerFolders(pod_dir, kMaxDepth, folders);
  for (const auto& folder : folders) first.Take(runtime.Delete(ctx, "none", folder));
  RETURN_IF_ERROR(first.Done());  // with something that still runs, its files stay
  RETURN_IF_ERROR(RemovePodDir(ctx, pod_dir));
  return {};
}

Leftovers LeftoversOf(const std::vector<Found>& containers, const std::string& pods_root,
                      const std::vector<std::string>& keep) {
  const std::set<std::string> kept(keep.begin(), keep.end());
  Leftovers out;
  for (const auto& c : containers)
    if (!kept.contains(c.uid)) out.containers.push_back(c.id);
  for (const auto& name : Names(pods_root))
    if (!kept.contains(name)) out.pods.push_back(name);
  std::set<std::string> groups;
  const std::string base = CgroupBase(pods_root);
  for (const auto& hierarchy : Hierarchies("/sys/fs/cgroup"))
    for (const auto& name : Names(hierarchy + base))
      if (!kept.contains(name) && Dir::Open(hierarchy + base + "/" + name)) groups.insert(name);
  out.cgroups.assign(groups.begin(), groups.end());
  return out;
}

}  // namespace

std::string CgroupBase(std::string_view pods_root) {
  if (pods_root == kPodsRoot) return "/berthd";
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: a name, no protection
  for (const char c : pods_root) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return "/berthd-" + bytes::ToHex(std::as_bytes(std::span(&hash, 1)));
}

std::string CgroupPath(std::string_view pods_root, const std::string& pod_uid, const std::string& container) {
  return CgroupBase(pods_root) + "/" + pod_uid + "/" + container;
}

Result<> RemovePodCgroups(const task::Context& ctx, std::string_view pods_root, const std::string& pod_uid,
                          const std::string& root) {
  RETURN_IF_ERROR(CheckUid(pod_uid));
  First first;
  const std::string base = CgroupBase(pods_root);
  for (const auto& hierarchy : Hierarchies(root)) {
    first.Take(RemoveGroup(ctx, hierarchy + base + "/" + pod_uid, kMaxDepth));
    (void)::rmdir((hierarchy + base).c_str());  // while others are in it, it stays
  }
  return first.Done();
}

Result<> RemovePodRest(const task::Context& ctx, const Runtime& runtime, const std::string& pods_root,
                       const std::string& pod_uid) {
  return RemoveRest(ctx, runtime, pods_root, pod_uid, {});
}

Result<Leftovers> Sweep(const task::Context& ctx, const Runtime& runtime, const std::string& pods_root,
                        const std::vector<std::string>& keep) {
  ASSIGN_OR_RETURN(const auto containers, Containers(ctx, runtime, pods_root));
  Leftovers found = LeftoversOf(containers, pods_root, keep);
  First first;
  std::map<std::string, First> of_pod;  // what of its containers could not be deleted
  for (const auto& c : containers)
    if (std::find(found.containers.begin(), found.containers.end(), c.id) != found.containers.end())
      of_pod[c.uid].Take(runtime.Delete(ctx, c.id, c.folder));
  for (const auto& uid : found.pods) {
    first.Take(RemoveRest(ctx, runtime, pods_root, uid, std::move(of_pod[uid])));
    of_pod.erase(uid);
  }
  for (auto& [uid, wrong] : of_pod) first.Take(wrong.Done());  // of Pods without a directory
  for (const auto& uid : found.cgroups) first.Take(RemovePodCgroups(ctx, pods_root, uid));
  if (!found.empty())
    log::Info("leftovers of Pods removed", {{"containers", found.containers.size()},
                                            {"pods", found.pods.size()},
                                            {"cgroups", found.cgroups.size()}});
  RETURN_IF_ERROR(first.Done());
  return found;
}

}  // namespace berth::launch
