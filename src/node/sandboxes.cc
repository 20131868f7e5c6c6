#include "node/sandboxes.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "host/dir.h"
#include "host/mount.h"
#include "host/process.h"
#include "launch/runtime.h"
#include "launch/shim.h"
#include "launch/volumes.h"

namespace berth::node {
namespace {

constexpr long kNsFs = 0x6e736673;
constexpr auto kShimLimit = std::chrono::seconds(30);

std::string KindsOf(const kube::PodSpec& spec) {
  std::string kinds;
  if (!spec.host_network) kinds += "n";
  if (!spec.host_ipc) kinds += "i";
  if (!spec.host_network) kinds += "u";
  if (spec.share_process_namespace && !spec.host_pid) kinds += "p";
  return kinds;
}

const char* FileOf(char kind) { return kind == 'n' ? "net" : kind == 'i' ? "ipc" : kind == 'u' ? "uts" : "pid"; }

bool Pinned(const std::string& path) {
  struct statfs fs {};
  return ::statfs(path.c_str(), &fs) == 0 && fs.f_type == kNsFs;
}

bool Has(const std::vector<std::string>& list, const std::string& item) { return std::find(list.begin(), list.end(), item) != list.end(); }

}  // namespace

std::string HostnameOf(const kube::Pod& pod) {
  std::string name = (pod.spec.hostname.empty() ? pod.metadata.name : pod.spec.hostname).substr(0, 63);
  while (name.ends_with('-') || name.ends_with('.')) name.pop_back();
  return name;
}

Result<bool> Sandboxes::Start(const task::Context& ctx, const kube::Pod& pod) const {
  const std::string at = At(pod.metadata.uid), ns = at + "/ns", kinds = KindsOf(pod.spec);
  ASSIGN_OR_RETURN(const host::Dir folder, host::Dir::Open(folder_));
  ASSIGN_OR_RETURN(const bool there, folder.Exists(pod.metadata.uid + "/ready"));
  if (there) {
    bool whole = true;
    for (const char kind : kinds) whole = whole && Pinned(ns + "/" + FileOf(kind));
    if (whole && kinds.find('p') != kinds.npos) {
      const auto pause = launch::ReadCreated(ns, launch::kPauseFile);
      whole = pause && *pause && (*pause)->Alive();
    }
    if (whole) return false;
  }
  RETURN_IF_ERROR(Stop(ctx, pod.metadata.uid));
  ASSIGN_OR_RETURN(const host::Dir own, folder.MakeAndOpenDir(pod.metadata.uid, 0700));
  RETURN_IF_ERROR(own.MakeDir("ns", 0700));
  if (!kinds.empty()) {
    host::ProcessSpec spec{.program = shim_, .argv = {shim_, "sandbox", ns, HostnameOf(pod), kinds}};
    spec.no_new_privs = false;
    for (const auto& [name, value] : pod.spec.security_context.sysctls) spec.argv.push_back(name + "=" + value);
    ASSIGN_OR_RETURN(const auto made, host::RunCaptured(ctx.WithTimeout(kShimLimit), spec, {}));
    if (!made.status.success()) {
      const std::string words = made.out.empty() ? made.stderr_tail : made.out;
      (void)Stop(ctx, pod.metadata.uid);
      return Error(Reason::kIo, "the Pod's namespaces cannot be made: " + (words.empty() ? made.status.Text() : Quoted(words)));
    }
  }
  if (!pod.spec.host_ipc) {
    RETURN_IF_ERROR(own.MakeDir("shm", 01777));
    const std::string shm = at + "/shm";
    if (::mount("shm", shm.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k") != 0)
      return host::OsError(errno, "mount the Pod's shared memory");
  }
  RETURN_IF_ERROR(own.WriteDurably("ready", {}, 0600));
  return true;
}

launch::Namespaces Sandboxes::Namespaces(const kube::Pod& pod) const {
  launch::Namespaces out;
  const std::string ns = At(pod.metadata.uid) + "/ns/";
  for (const char kind : KindsOf(pod.spec)) (kind == 'n' ? out.net : kind == 'i' ? out.ipc : kind == 'u' ? out.uts : out.pid) = ns + FileOf(kind);
  return out;
}

std::string Sandboxes::Shm(const kube::Pod& pod) const { return pod.spec.host_ipc ? "/dev/shm" : At(pod.metadata.uid) + "/shm"; }

Result<> Sandboxes::Stop(const task::Context& ctx, const std::string& uid) const {
  ASSIGN_OR_RETURN(const host::Dir folder, host::Dir::Open(folder_));
  ASSIGN_OR_RETURN(const bool there, folder.Exists(uid));
  if (!there) return {};
  const std::string at = At(uid);
  if (const auto pause = launch::ReadCreated(at + "/ns", launch::kPauseFile); pause && *pause && (*pause)->Alive()) {
    // By descriptor: the number may be another process's by the time the signal is sent.
    const host::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, (*pause)->pid, 0)));
    if (process.valid() && (*pause)->Alive()) ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  }
  ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, launch::RemovePodDir(ctx, at));
  return {};
}

std::vector<std::string> Sandboxes::List() const {
  const auto folder = host::Dir::Open(folder_);
  if (!folder) return {};
  auto names = folder->List();
  return names ? *std::move(names) : std::vector<std::string>();
}

std::string HostsFile(const kube::Pod& pod, std::string_view host) {
  std::string out;
  if (pod.spec.host_network) {
    out = "# Kubernetes-managed hosts file (host network).\n" + std::string(host);
    if (!out.ends_with('\n')) out += '\n';
  } else {
    out = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
          "fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";
    // Without an address of its own the Pod's name is the loopback's.
    out += (pod.status.pod_ip.empty() ? "127.0.0.1" : pod.status.pod_ip) + "\t" + HostnameOf(pod) + "\n";
  }
  if (pod.spec.host_aliases.empty()) return out;
  out += "\n# Entries added by HostAliases.\n";
  for (const auto& alias : pod.spec.host_aliases) {
    out += alias.ip;
    for (const auto& name : alias.hostnames) out += "\t" + name;
    out += "\n";
  }
  return out;
}

std::string ResolvConf(const kube::Pod& pod, std::string_view host) {
  std::vector<std::string> servers, searches, options;
  const auto add = [](std::vector<std::string>& to, std::string text) {
    if (!text.empty() && !Has(to, text)) to.push_back(std::move(text));
  };
  // There is no cluster DNS on one machine: every policy but None begins with the machine's own.
  if (pod.spec.dns_policy != "None") {
    while (!host.empty()) {
      std::string_view line = host.substr(0, host.find('\n'));
      host.remove_prefix(std::min(host.size(), line.size() + 1));
      std::vector<std::string> words;
      while (!line.empty()) {
        const auto begin = line.find_first_not_of(" \t\r");
        if (begin == line.npos) break;
        const auto end = std::min(line.find_first_of(" \t\r", begin), line.size());
        words.emplace_back(line.substr(begin, end - begin));
        line.remove_prefix(end);
      }
      if (words.size() < 2) continue;
      if (words[0] == "nameserver") add(servers, words[1]);
      if (words[0] == "search") searches.assign(words.begin() + 1, words.end());
      if (words[0] == "options") options.assign(words.begin() + 1, words.end());
    }
  }
  for (const auto& s : pod.spec.dns_config.nameservers) add(servers, s);
  for (const auto& s : pod.spec.dns_config.searches) add(searches, s);
  for (const auto& [name, value] : pod.spec.dns_config.options) add(options, value.empty() ? name : name + ":" + value);
  const auto line = [](const char* word, const std::vector<std::string>& list) {
    std::string text = word;
    for (const auto& item : list) text += " " + item;
    return list.empty() ? std::string() : text + "\n";
  };
  std::string out = line("search", searches);
  for (std::size_t i = 0; i < servers.size() && i < 3; ++i) out += "nameserver " + servers[i] + "\n";
  return out + line("options", options);
}

}  // namespace berth::node
