#include "launch/sandbox.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "host/dir.h"
#include "host/poll.h"
#include "host/process.h"
#include "launch/mounts.h"
#include "launch/runtime.h"
#include "launch/shim.h"

namespace berth::launch {
namespace {

// Kubernetes' safe ones: each is the namespace's own and harms no neighbour.
constexpr std::array kSafeSysctls{"kernel.shm_rmid_forced",
                                  "net.ipv4.ip_local_port_range",
                                  "net.ipv4.tcp_syncookies",
                                  "net.ipv4.ping_group_range",
                                  "net.ipv4.ip_unprivileged_port_start",
                                  "net.ipv4.ip_local_reserved_ports",
                                  "net.ipv4.tcp_keepalive_time",
                                  "net.ipv4.tcp_fin_timeout",
                                  "net.ipv4.tcp_keepalive_intvl",
                                  "net.ipv4.tcp_keepalive_probes",
                                  "net.ipv4.tcp_rmem",
                                  "net.ipv4.tcp_wmem"};

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> out;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r"), text.size()));
    if (text.empty()) return out;
    const auto end = std::min(text.find_first_of(" \t\r"), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

void AddOnce(std::vector<std::string>& to, const std::string& item) {
  if (std::find(to.begin(), to.end(), item) == to.end()) to.push_back(item);
}

std::string KindsOf(const kube::PodSpec& spec) {
  return std::string(spec.host_network ? "" : "nu") + (spec.host_ipc ? "" : "i") +
         (spec.share_process_namespace && !spec.host_pid ? "p" : "");
}

Sandbox Describe(const SandboxSpec& spec) {
  const std::string kinds = KindsOf(spec.pod.spec);
  const auto path = [&](char kind, const char* name) {
    return kinds.find(kind) == std::string::npos ? "" : spec.dir + "/" + name;
  };
  Sandbox out;
  out.namespaces = {path('n', "net"), path('i', "ipc"), path('u', "uts"), path('p', "pid")};
  out.dir = spec.dir;
  out.shm = spec.pod.spec.host_ipc ? "/dev/shm" : spec.dir + "/shm";
  out.hostname = PodHostname(spec.pod, spec.node_name);
  return out;
}

Result<bool> IsWhole(const SandboxSpec& spec, const Sandbox& sandbox) {
  auto dir = host::Dir::Open(spec.dir);
  if (!dir && dir.error().reason() == Reason::kMissing) return false;
  if (!dir) return Error(std::move(dir).error());
  ASSIGN_OR_RETURN(const bool ready, dir->Exists("ready"));
  if (!ready) return false;
  ASSIGN_OR_RETURN(const auto real, internal::RealPath(*dir));
  ASSIGN_OR_RETURN(const auto mounts, internal::MountsBelow(real));
  const auto& [net, ipc, uts, pid] = sandbox.namespaces;
  std::vector<std::string> wanted;
  for (const auto& [path, name] :
       {std::pair(net, "/net"), std::pair(ipc, "/ipc"), std::pair(uts, "/uts"), std::pair(pid, "/pid")})
    if (!path.empty()) wanted.push_back(real + name);
  if (!spec.pod.spec.host_ipc) wanted.push_back(real + "/shm");
  for (const auto& target : wanted)
    if (std::find(mounts.begin(), mounts.end(), target) == mounts.end()) return false;
  if (pid.empty()) return true;
  ASSIGN_OR_RETURN(const auto pause, ReadCreated(spec.dir, kPauseFile));
  return pause && pause->Alive();
}

Result<> WriteFiles(const SandboxSpec& spec, const host::Dir& dir, const std::string& hostname) {
  // Not durable: after a reboot all of it is made anew.
  const auto write = [&](const char* name, const std::string& text) -> Result<> {
    RETURN_IF_ERROR(dir.Unlink(name));
    ASSIGN_OR_RETURN(const auto fd, dir.CreateNew(name, 0644));
    if (::fchmod(fd.get(), 0644) != 0) return host::OsError(errno, "set a mode");
    return host::WriteAll(fd.get(), bytes::AsView(text));
  };
  std::string hosts = HostsText(spec.pod, hostname);
  if (spec.pod.spec.host_network) {
    ASSIGN_OR_RETURN(const auto own, host::ReadSmallFile(spec.hosts, 1u << 20));
    hosts = "# Kubernetes-managed hosts file (host network).\n" + own;
    const std::string all = HostsText(spec.pod, hostname);
    if (const auto aliases = all.find("\n# Entries added"); aliases != std::string::npos)
      hosts += all.substr(aliases);
  }
  RETURN_IF_ERROR(write("hosts", hosts));
  RETURN_IF_ERROR(write("hostname", hostname + "\n"));
  const auto resolv =
      host::ReadSmallFile(spec.resolv_conf, 1u << 20);  // a host without one has no name servers
  return write("resolv.conf", ResolvConfText(spec.pod, resolv.value_or("")));
}

}  // namespace

Result<Sandbox> StartSandbox(const task::Context& ctx, const SandboxSpec& spec) {
  Sandbox out = Describe(spec);
  ASSIGN_OR_RETURN(const bool whole, IsWhole(spec, out));
  if (whole) return out;
  RETURN_IF_ERROR(CheckSysctls(spec.pod, spec.allowed_sysctls));
  RETURN_IF_ERROR(StopSandbox(ctx, spec.dir));

  const auto slash = spec.dir.rfind('/');
  if (slash == std::string::npos || slash == 0)
    return Error(Reason::kUsage, Quoted(spec.dir) + " is no place for a sandbox");
  ASSIGN_OR_RETURN(const auto parent, host::Dir::Open(spec.dir.substr(0, slash)));
  // Containers that are not root read hosts and resolv.conf by their own mounts, not through here.
  ASSIGN_OR_RETURN(const auto dir, parent.MakeAndOpenDir(spec.dir.substr(slash + 1), 0700));
  if (!spec.pod.spec.host_ipc) {
    RETURN_IF_ERROR(dir.MakeDir("shm", 01777));
    RETURN_IF_ERROR(internal::MountTmpfs(out.shm, "mode=1777,size=65536k", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  }
  RETURN_IF_ERROR(WriteFiles(spec, dir, out.hostname));
  if (const std::string kinds = KindsOf(spec.pod.spec); !kinds.empty()) {
    host::ProcessSpec process;
    process.program = spec.shim;
    process.argv = {"berth-shim", "sandbox", spec.dir, out.hostname, kinds};
    for (const auto& [name, value] : spec.pod.spec.security_context.sysctls)
      process.argv.push_back(name + "=" + value);
    process.no_new_privs = false;
    ASSIGN_OR_RETURN(const auto said, host::RunCaptured(ctx, process, {}));
    if (!said.status.success()) {
      std::string why = said.stderr_tail.substr(0, said.stderr_tail.find('\n'));
      auto stopped = StopSandbox(ctx, spec.dir);
      Error error(Reason::kIo,
                  "the Pod's namespaces cannot be made: " + Quoted(why.empty() ? said.status.Text() : why));
      return stopped ? std::move(error) : std::move(error).Context(stopped.error().Text());
    }
  }
  RETURN_IF_ERROR(dir.CreateNew("ready", 0600));
  out.made = true;
  return out;
}

Result<bool> StopSandbox(const task::Context& ctx, const std::string& dir) {
  const auto slash = dir.rfind('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == dir.size())
    return Error(Reason::kUsage, Quoted(dir) + " is no sandbox");
  auto parent = host::Dir::Open(dir.substr(0, slash));
  if (!parent && parent.error().reason() == Reason::kMissing) return false;
  if (!parent) return Error(std::move(parent).error());
  auto pause = ReadCreated(dir, kPauseFile);
  if (pause && *pause) RETURN_IF_ERROR((*pause)->End(ctx));
  ASSIGN_OR_RETURN(const auto real, internal::RealPath(*parent));
  RETURN_IF_ERROR(internal::UnmountBelow(ctx, real + "/" + dir.substr(slash + 1)));
  return parent->RemoveTree(ctx, dir.substr(slash + 1));
}

std::vector<BundleMount> SandboxMounts(const Sandbox& sandbox, const kube::Container& container) {
  const bool read_only =
      container.security_context && container.security_context->read_only_root_filesystem.value_or(false);
  std::vector<BundleMount> out;
  for (const char* name : {"hosts", "hostname", "resolv.conf"}) {
    const std::string destination = std::string("/etc/") + name;
    if (std::any_of(container.volume_mounts.begin(), container.volume_mounts.end(),
                    [&](const kube::VolumeMount& m) { return m.mount_path == destination; }))
      continue;
    out.push_back({destination, sandbox.dir + "/" + name, {"rbind", "rprivate", read_only ? "ro" : "rw"}});
  }
  return out;
}

std::string PodHostname(const kube::Pod& pod, const std::string& node_name) {
  if (pod.spec.host_network) return node_name;
  std::string out = pod.spec.hostname.empty() ? pod.metadata.name : pod.spec.hostname;
  if (out.size() > 63) out.resize(63);
  while (!out.empty() && (out.back() == '-' || out.back() == '.')) out.pop_back();
  return out;
}

std::string HostsText(const kube::Pod& pod, const std::string& hostname) {
  std::string out =
      "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost "
      "ip6-loopback\nfe00::0\tip6-localnet\n"
      "fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";
  // A Pod without an address is reachable on loopback, and only by itself.
  std::vector<std::string> ips = pod.status.pod_ips;
  if (ips.empty()) ips.push_back(pod.status.pod_ip.empty() ? "127.0.0.1" : pod.status.pod_ip);
  for (const auto& ip : ips)
    out += ip + "\t" +
           (pod.spec.subdomain.empty()
                ? ""
                : hostname + "." + pod.spec.subdomain + "." + pod.metadata.ns + ".svc.cluster.local\t") +
           hostname + "\n";
  if (!pod.spec.host_aliases.empty()) out += "\n# Entries added by HostAliases.\n";
  for (const auto& alias : pod.spec.host_aliases) {
    out += alias.ip;
    for (const auto& name : alias.hostnames) out += "\t" + name;
    out += "\n";
  }
  return out;
}

std::string ResolvConfText(const kube::Pod& pod, const std::string& host_text) {
  std::vector<std::string> servers, searches, options;
  if (pod.spec.dns_policy != "None")
    for (std::string_view rest = host_text; !rest.empty();) {
      const auto end = std::min(rest.find('\n'), rest.size());
      auto words = Words(rest.substr(0, end));
      rest.remove_prefix(std::min(rest.size(), end + 1));
      if (words.size() < 2) continue;
      const std::string key = words[0];
      words.erase(words.begin());
      if (key == "nameserver")
        AddOnce(servers, words[0]);
      else if (key == "search")
        searches = words;  // the last line counts
      else if (key == "options")
        options = words;
    }
  for (const auto& server : pod.spec.dns_config.nameservers) AddOnce(servers, server);
  for (const auto& search : pod.spec.dns_config.searches) AddOnce(searches, search);
  for (const auto& [name, value] : pod.spec.dns_config.options) {
    std::erase_if(options, [&, n = name](const std::string& o) { return o.substr(0, o.find(':')) == n; });
    options.push_back(value.empty() ? name : name + ":" + value);
  }
  if (servers.size() > 3) servers.resize(3);
  if (searches.size() > 32) searches.resize(32);
  const auto line = [](const char* key, const std::vector<std::string>& words) {
    std::string out = key;
    for (const auto& word : words) out += " " + word;
    return words.empty() ? std::string() : out + "\n";
  };
  std::string out = line("search", searches);
  for (const auto& server : servers) out += "nameserver " + server + "\n";
  return out + line("options", options);
}

Result<> CheckSysctls(const kube::Pod& pod, const std::vector<std::string>& allowed) {
  for (const auto& [written, value] : pod.spec.security_context.sysctls) {
    std::string name = written;
    if (const auto first = name.find_first_of("./"); first != std::string::npos && name[first] == '/')
      for (char& c : name) c = c == '/' ? '.' : c == '.' ? '/' : c;
    const bool net = name.starts_with("net.");
    const bool ipc = name.starts_with("kernel.shm") || name.starts_with("kernel.msg") ||
                     name == "kernel.sem" || name.starts_with("fs.mqueue.");
    const bool safe = std::find(kSafeSysctls.begin(), kSafeSysctls.end(), name) != kSafeSysctls.end();
    const bool listed = std::any_of(allowed.begin(), allowed.end(), [&](const std::string& a) {
      return a.ends_with("*") ? name.starts_with(a.substr(0, a.size() - 1)) : a == name;
    });
    if ((!net && !ipc) || (!safe && !listed))
      return Error(Reason::kDenied, "forbidden sysctl: " + Quoted(written) + " not allowlisted");
    if (net && pod.spec.host_network)
      return Error(Reason::kDenied,
                   "forbidden sysctl: " + Quoted(written) + " not allowed with host net enabled");
    if (ipc && pod.spec.host_ipc)
      return Error(Reason::kDenied,
                   "forbidden sysctl: " + Quoted(written) + " not allowed with host ipc enabled");
    if (name.find("..") != std::string::npos || value.find('\0') != std::string::npos)
      return Error(Reason::kConfig, "sysctl " + Quoted(written) + " is malformed");
  }
  return {};
}

}  // namespace berth::launch
