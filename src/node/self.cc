#include "node/self.h"

#include "host/dir.h"
#include "host/machine.h"
#include "kube/timestamp.h"
#include "oci/platform.h"

namespace berth::node {
namespace {

using json::Tree;

std::string Line(const std::string& path) {
  const auto text = host::ReadSmallFile(path, 64u << 10);
  return text ? text->substr(0, text->find('\n')) : "";
}

// PRETTY_NAME of /etc/os-release.
std::string OsImage() {
  const auto text = host::ReadSmallFile("/etc/os-release", 64u << 10);
  constexpr std::string_view kKey = "PRETTY_NAME=";
  const auto at = text ? text->find(kKey) : std::string::npos;
  if (at == std::string::npos) return "Linux";
  std::string value = text->substr(at + kKey.size(), text->find('\n', at) - at - kKey.size());
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
  return value;
}

Tree Status(const Self& self, time::WallTime now) {
  Tree status = Tree::Object();
  for (const char* list : {"capacity", "allocatable"}) {
    Tree& have = status[list] = Tree::Object();
    have["cpu"] = Tree(std::to_string(host::CpuCount()));
    if (const auto memory = host::MemoryBytes()) have["memory"] = Tree(std::to_string(*memory / 1024) + "Ki");
    have["pods"] = Tree(std::to_string(self.pods));
  }
  const auto address = [&](const char* type, const std::string& value) {
    if (value.empty()) return;
    Tree& a = status["addresses"].Append(Tree::Object());
    a["type"] = Tree(type);
    a["address"] = Tree(value);
  };
  address("InternalIP", self.host_ip);
  address("Hostname", self.name);
  Tree& ready = status["conditions"].Append(Tree::Object());
  ready["type"] = Tree("Ready");
  ready["status"] = Tree("True");
  ready["reason"] = Tree("KubeletReady");
  ready["message"] = Tree("berthd is posting ready status");
  ready["lastHeartbeatTime"] = ready["lastTransitionTime"] = Tree(kube::FormatTime(now));
  Tree& info = status["nodeInfo"] = Tree::Object();
  info["machineID"] = info["systemUUID"] = Tree(Line("/etc/machine-id"));
  info["bootID"] = Tree(host::BootId().value_or(""));
  info["kernelVersion"] = Tree(Line("/proc/sys/kernel/osrelease"));
  info["osImage"] = Tree(OsImage());
  info["operatingSystem"] = Tree("linux");
  info["architecture"] = Tree(oci::HostPlatform().architecture);
  info["containerRuntimeVersion"] = Tree("berth://" BERTH_VERSION);
  info["kubeletVersion"] = Tree(KubernetesVersion());
  info["kubeProxyVersion"] = Tree("");
  return status;
}

}  // namespace

std::string KubernetesVersion() { return "v1.36.0+berth." BERTH_VERSION; }

Result<> RegisterSelf(objects::Store& store, const Self& self, time::WallTime now) {
  const objects::Key key{"Node", "", self.name};
  const auto there = store.Get(key);
  if (!there && there.error().code != 404) return there.error().ToError();
  if (!there) {
    Tree node;
    node["apiVersion"] = Tree("v1");
    node["kind"] = Tree("Node");
    node["metadata"]["name"] = Tree(self.name);
    Tree& labels = node["metadata"]["labels"] = Tree::Object();
    labels["kubernetes.io/hostname"] = Tree(self.name);
    labels["kubernetes.io/os"] = labels["beta.kubernetes.io/os"] = Tree("linux");
    labels["kubernetes.io/arch"] = labels["beta.kubernetes.io/arch"] = Tree(oci::HostPlatform().architecture);
    node["spec"] = Tree::Object();
    if (const auto made = store.Create(node); !made) return made.error().ToError();
  }
  if (const auto told = store.UpdateStatus(key, Status(self, now)); !told) return told.error().ToError();
  return {};
}

}  // namespace berth::node
