#include "kube/write.h"

#include "kube/timestamp.h"

namespace berth::kube {
namespace {

using json::Tree;

void Put(Tree& t, std::string_view key, const std::string& value) {
  if (!value.empty()) t[key] = Tree(value);
}
void Put(Tree& t, std::string_view key, const std::optional<time::WallTime>& at) {
  if (at) t[key] = Tree(FormatTime(*at));
}

Tree Write(const ContainerState& s) {
  Tree out = Tree::Object();
  if (s.waiting) {
    Tree& w = out["waiting"] = Tree::Object();
    Put(w, "reason", s.waiting->reason);
    Put(w, "message", s.waiting->message);
  } else if (s.running) {
    Put(out["running"] = Tree::Object(), "startedAt", s.running->started_at);
  } else if (s.terminated) {
    Tree& t = out["terminated"] = Tree::Object();
    t["exitCode"] = Tree(s.terminated->exit_code);
    if (s.terminated->signal != 0) t["signal"] = Tree(s.terminated->signal);
    Put(t, "reason", s.terminated->reason);
    Put(t, "message", s.terminated->message);
    Put(t, "containerID", s.terminated->container_id);
    // A container that never ran began at no time: null to Kubernetes' own clients.
    const auto& began = s.terminated->started_at;
    Put(t, "startedAt", began && began->time_since_epoch().count() != 0 ? began : std::nullopt);
    Put(t, "finishedAt", s.terminated->finished_at);
  }
  return out;
}

Tree Write(const ContainerStatus& s) {
  Tree out = Tree::Object();
  out["name"] = Tree(s.name);
  out["image"] = Tree(s.image);
  out["imageID"] = Tree(s.image_id);
  Put(out, "containerID", s.container_id);
  out["state"] = Write(s.state);
  out["lastState"] = Write(s.last_state);
  out["ready"] = Tree(s.ready);
  if (s.started) out["started"] = Tree(*s.started);
  out["restartCount"] = Tree(s.restart_count);
  for (const ContainerStatus::VolumeImage& m : s.volume_mounts) {
    Tree& mount = out["volumeMounts"].Append(Tree::Object());
    mount["name"] = Tree(m.name);
    mount["mountPath"] = Tree(m.mount_path);
    if (m.read_only) mount["readOnly"] = Tree(true);
    if (!m.image_ref.empty()) mount["volumeStatus"]["image"]["imageRef"] = Tree(m.image_ref);
  }
  return out;
}

void Put(Tree& t, std::string_view key, const std::vector<ContainerStatus>& statuses) {
  for (const ContainerStatus& s : statuses) t[key].Append(Write(s));
}
void PutIps(Tree& t, std::string_view key, const std::vector<std::string>& ips) {
  for (const std::string& ip : ips) t[key].Append(Tree::Object())["ip"] = Tree(ip);
}

}  // namespace

Tree WriteStatus(const PodStatus& s) {
  Tree out = Tree::Object();
  Put(out, "phase", s.phase);
  Put(out, "reason", s.reason);
  Put(out, "message", s.message);
  Put(out, "hostIP", s.host_ip);
  Put(out, "podIP", s.pod_ip);
  Put(out, "qosClass", s.qos_class);
  Put(out, "nominatedNodeName", s.nominated_node_name);
  PutIps(out, "hostIPs", s.host_ips);
  PutIps(out, "podIPs", s.pod_ips);
  for (const PodCondition& c : s.conditions) {
    Tree& condition = out["conditions"].Append(Tree::Object());
    condition["type"] = Tree(c.type);
    condition["status"] = Tree(c.status);
    Put(condition, "reason", c.reason);
    Put(condition, "message", c.message);
    condition["lastProbeTime"] = Tree();
    Put(condition, "lastProbeTime", c.last_probe_time);
    Put(condition, "lastTransitionTime", c.last_transition_time);
    if (c.observed_generation != 0) condition["observedGeneration"] = Tree(c.observed_generation);
  }
  Put(out, "startTime", s.start_time);
  Put(out, "initContainerStatuses", s.init_container_statuses);
  Put(out, "containerStatuses", s.container_statuses);
  Put(out, "ephemeralContainerStatuses", s.ephemeral_container_statuses);
  if (s.observed_generation != 0) out["observedGeneration"] = Tree(s.observed_generation);
  return out;
}

}  // namespace berth::kube
