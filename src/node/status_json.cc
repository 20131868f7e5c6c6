#include "node/status_json.h"

#include "kube/timestamp.h"

namespace berth::node {
namespace {

using json::Tree;

void Text(Tree& to, std::string_view key, const std::string& value) {
  if (!value.empty()) to[key] = Tree(value);
}
void Time(Tree& to, std::string_view key, const std::optional<time::WallTime>& t) {
  if (t) to[key] = Tree(kube::FormatTime(*t));
}

Tree StateJson(const kube::ContainerState& state) {
  Tree out = Tree::Object();
  if (state.waiting) {
    Tree& w = out["waiting"] = Tree::Object();
    Text(w, "reason", state.waiting->reason);
    Text(w, "message", state.waiting->message);
  }
  if (state.running) {
    out["running"] = Tree::Object();
    Time(out["running"], "startedAt", state.running->started_at);
  }
  if (state.terminated) {
    const auto& t = *state.terminated;
    Tree& to = out["terminated"] = Tree::Object();
    to["exitCode"] = Tree(t.exit_code);
    if (t.signal != 0) to["signal"] = Tree(t.signal);
    Text(to, "reason", t.reason);
    Text(to, "message", t.message);
    Text(to, "containerID", t.container_id);
    // A container that never ran began at no time: null to Kubernetes' own clients.
    Time(to, "startedAt", t.started_at && t.started_at->time_since_epoch().count() != 0 ? t.started_at : std::nullopt);
    Time(to, "finishedAt", t.finished_at);
  }
  return out;
}

void Containers(Tree& to, std::string_view key, const std::vector<kube::ContainerStatus>& statuses) {
  for (const auto& s : statuses) {
    Tree& c = to[key].Append(Tree::Object());
    c["name"] = Tree(s.name);
    c["state"] = StateJson(s.state);
    c["lastState"] = StateJson(s.last_state);
    c["ready"] = Tree(s.ready);
    c["restartCount"] = Tree(s.restart_count);
    c["image"] = Tree(s.image);
    c["imageID"] = Tree(s.image_id);
    Text(c, "containerID", s.container_id);
    if (s.started) c["started"] = Tree(*s.started);
  }
}

void Addresses(Tree& to, std::string_view key, const std::vector<std::string>& ips) {
  for (const auto& ip : ips) to[key].Append(Tree::Object())["ip"] = Tree(ip);
}

}  // namespace

Tree StatusJson(const kube::PodStatus& status) {
  Tree out = Tree::Object();
  Text(out, "phase", status.phase);
  Text(out, "reason", status.reason);
  Text(out, "message", status.message);
  for (const auto& c : status.conditions) {
    Tree& to = out["conditions"].Append(Tree::Object());
    to["type"] = Tree(c.type);
    to["status"] = Tree(c.status);
    Text(to, "reason", c.reason);
    Text(to, "message", c.message);
    to["lastProbeTime"] = Tree();
    Time(to, "lastTransitionTime", c.last_transition_time);
    if (c.observed_generation != 0) to["observedGeneration"] = Tree(c.observed_generation);
  }
  Text(out, "hostIP", status.host_ip);
  Addresses(out, "hostIPs", status.host_ips);
  Text(out, "podIP", status.pod_ip);
  Addresses(out, "podIPs", status.pod_ips);
  Time(out, "startTime", status.start_time);
  Text(out, "qosClass", status.qos_class);
  if (status.observed_generation != 0) out["observedGeneration"] = Tree(status.observed_generation);
  Containers(out, "initContainerStatuses", status.init_container_statuses);
  Containers(out, "containerStatuses", status.container_statuses);
  Containers(out, "ephemeralContainerStatuses", status.ephemeral_container_statuses);
  return out;
}

}  // namespace berth::node
