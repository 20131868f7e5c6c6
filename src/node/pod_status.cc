#include "node/pod_status.h"

#include <algorithm>

#include "kube/quantity.h"

namespace berth::node {
namespace {

using kube::ContainerStatus;
using kube::PodCondition;
using Kind = RunState::Kind;

std::string Joined(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : " ") + name;
  return "[" + out + "]";
}

bool Has(const PodFacts& facts, const std::string& name, Kind kind) {
  const auto found = facts.containers.find(name);
  return found != facts.containers.end() && found->second.run && found->second.run->kind == kind;
}

ContainerStatus StatusOf(const kube::Pod& pod, const kube::Container& container, Role role, const PodFacts& facts) {
  ContainerStatus out;
  out.name = container.name;
  out.image = container.image;
  static const ContainerFacts kNothing;
  const auto found = facts.containers.find(container.name);
  const ContainerFacts& known = found == facts.containers.end() ? kNothing : found->second;
  out.restart_count = known.attempt;
  if (known.last) out.last_state.terminated = known.last;
  if (known.run && known.run->kind != Kind::kNone) {
    out.image_id = known.image_ref;
    out.container_id = known.run->container_id;
    if (known.run->kind == Kind::kRunning) out.state.running = kube::ContainerState::Running{known.run->started_at};
    if (known.run->kind == Kind::kExited) out.state.terminated = Terminated(*known.run);
  }
  const bool starts = !facts.terminating && facts.failed_reason.empty() && ShouldStart(pod.spec, role, known);
  if (known.waiting && starts) {
    if (out.state.terminated) out.last_state.terminated = std::exchange(out.state.terminated, std::nullopt);
    out.state.waiting = known.waiting;
  } else if (!out.state.running && !out.state.terminated) {
    out.state.waiting = kube::ContainerState::Waiting{
        role != Role::kEphemeral && !pod.spec.init_containers.empty() ? "PodInitializing" : "ContainerCreating", ""};
  }
  const bool running = out.state.running.has_value();
  out.ready = role == Role::kInit ? out.state.terminated && out.state.terminated->exit_code == 0 : running && role != Role::kEphemeral;
  out.started = role == Role::kInit ? false : running;
  return out;
}

// The kubelet's getPhase; but a Pod with a container that is being replaced has not ended.
std::string Phase(const kube::Pod& pod, const PodFacts& facts, const kube::PodStatus& status) {
  int pending_init = 0, failed_init = 0;
  for (std::size_t i = 0; i < pod.spec.init_containers.size(); ++i) {
    const auto& s = status.init_container_statuses[i];
    if (IsSidecar(pod.spec.init_containers[i])) {
      if (!s.state.running && !s.state.terminated && !s.last_state.terminated) ++pending_init;
    } else if (s.state.terminated) {
      failed_init += s.state.terminated->exit_code != 0;
    } else if (s.state.waiting && s.last_state.terminated) {
      s.last_state.terminated->exit_code != 0 ? ++failed_init : ++pending_init;
    } else {
      ++pending_init;
    }
  }
  int waiting = 0, running = 0, stopped = 0, succeeded = 0;
  for (const auto& s : status.container_statuses) {
    if (s.state.running) ++running;
    else if (s.state.terminated) ++stopped, succeeded += s.state.terminated->exit_code == 0;
    else if (s.last_state.terminated) ++stopped;
    else ++waiting;
  }
  const std::string& policy = pod.spec.restart_policy;
  if (failed_init > 0 && policy == "Never") return "Failed";
  if (pending_init > 0 || (failed_init > 0 && waiting > 0) || waiting > 0) return "Pending";
  if (running > 0) return "Running";
  if (stopped == 0) return "Pending";
  const auto replaced = [&](const ContainerStatus& s) {
    const auto known = facts.containers.find(s.name);
    return known != facts.containers.end() && known->second.replaced;
  };
  if (policy == "Always" || std::ranges::any_of(status.container_statuses, replaced)) return "Running";
  if (stopped == succeeded) return "Succeeded";
  return policy == "Never" ? "Failed" : "Running";
}

}  // namespace

kube::ContainerState::Terminated Terminated(const RunState& run) {
  kube::ContainerState::Terminated out;
  out.exit_code = run.exit_code;
  out.signal = run.signal;
  out.reason = run.oom_killed ? "OOMKilled" : !run.reason.empty() ? run.reason : run.exit_code == 0 ? "Completed" : "Error";
  out.message = run.message;
  out.container_id = run.container_id;
  out.started_at = run.started_at;
  out.finished_at = run.finished_at;
  return out;
}

bool IsSidecar(const kube::Container& init) { return init.restart_policy == "Always"; }

std::string_view QosClass(const kube::PodSpec& spec) {
  bool any = false, guaranteed = true;
  for (const auto* list : {&spec.init_containers, &spec.containers}) {
    for (const auto& c : *list) {
      for (const char* name : {"cpu", "memory"}) {
        const auto value = [&](const kube::StringMap& map) -> std::int64_t {
          const auto found = map.find(name);
          return found == map.end() ? 0 : kube::Milli(found->second).value_or(0);
        };
        const std::int64_t limit = value(c.resources.limits);
        const std::int64_t request = c.resources.requests.contains(name) ? value(c.resources.requests) : limit;
        any |= limit > 0 || request > 0;
        guaranteed &= limit > 0 && request == limit;
      }
    }
  }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

bool ShouldStart(const kube::PodSpec& spec, Role role, const ContainerFacts& facts) {
  if (!facts.run || facts.run->kind == Kind::kNone) return true;
  if (facts.run->kind != Kind::kExited) return false;
  if (facts.replaced) return true;
  const bool failed = facts.run->exit_code != 0;
  switch (role) {
    case Role::kSidecar: return true;
    case Role::kEphemeral: return false;
    case Role::kInit: return failed && spec.restart_policy != "Never";
    case Role::kMain: break;
  }
  return spec.restart_policy == "Never" ? false : spec.restart_policy == "OnFailure" ? failed : true;
}

kube::PodStatus MakeStatus(const kube::Pod& pod, const PodFacts& facts, const kube::PodStatus& before, time::WallTime now) {
  kube::PodStatus out;
  for (const auto& c : pod.spec.init_containers)
    out.init_container_statuses.push_back(StatusOf(pod, c, IsSidecar(c) ? Role::kSidecar : Role::kInit, facts));
  for (const auto& c : pod.spec.containers) out.container_statuses.push_back(StatusOf(pod, c, Role::kMain, facts));
  for (const auto& c : pod.spec.ephemeral_containers) out.ephemeral_container_statuses.push_back(StatusOf(pod, c, Role::kEphemeral, facts));
  // An init container that is still to come leaves the sandbox's word for those after it.
  out.qos_class = std::string(QosClass(pod.spec));
  out.start_time = facts.start_time;
  out.host_ip = facts.host_ip;
  if (!facts.host_ip.empty()) out.host_ips = {facts.host_ip};
  out.pod_ip = facts.pod_ip;
  if (!facts.pod_ip.empty()) out.pod_ips = {facts.pod_ip};
  out.observed_generation = pod.metadata.generation;
  if (facts.failed_reason.empty()) {
    out.phase = Phase(pod, facts, out);
  } else {
    out.phase = "Failed";
    out.reason = facts.failed_reason;
    out.message = facts.failed_message;
  }
  // A Pod that is being deleted ends as what its containers ended as.
  if (facts.terminating &&
      std::ranges::none_of(out.container_statuses, [](const auto& s) { return s.state.running.has_value(); }) &&
      std::ranges::any_of(out.container_statuses, [](const auto& s) { return s.state.terminated.has_value(); }) &&
      facts.failed_reason.empty()) {
    const bool failed = std::ranges::any_of(out.container_statuses,
                                            [](const auto& s) { return s.state.terminated && s.state.terminated->exit_code != 0; });
    out.phase = failed ? "Failed" : "Succeeded";
  }

  const auto add = [&](std::string type, bool yes, std::string reason = "", std::string message = "") {
    PodCondition c{.type = std::move(type), .status = yes ? "True" : "False", .reason = std::move(reason), .message = std::move(message),
                   .last_probe_time = std::nullopt, .last_transition_time = now, .observed_generation = pod.metadata.generation};
    for (const auto& old : before.conditions)
      if (old.type == c.type && old.status == c.status && old.last_transition_time) c.last_transition_time = old.last_transition_time;
    out.conditions.push_back(std::move(c));
  };
  add("PodReadyToStartContainers", facts.sandbox);

  const bool done = out.phase == "Succeeded", failed = out.phase == "Failed";
  std::vector<std::string> incomplete, unready, unknown;
  for (std::size_t i = 0; i < pod.spec.init_containers.size(); ++i) {
    const auto& s = out.init_container_statuses[i];
    if (IsSidecar(pod.spec.init_containers[i]) ? !s.started.value_or(false) : !s.ready) incomplete.push_back(s.name);
    if (IsSidecar(pod.spec.init_containers[i]) && !s.ready) unready.push_back(s.name);
  }
  const bool started = std::ranges::any_of(pod.spec.containers, [&](const auto& c) {
    return Has(facts, c.name, Kind::kRunning) || Has(facts, c.name, Kind::kExited);
  });
  if (done) add("Initialized", true, "PodCompleted");
  else if (incomplete.empty() || started) add("Initialized", true);
  else add("Initialized", false, "ContainersNotInitialized", "containers with incomplete status: " + Joined(incomplete));
  for (const auto& s : out.container_statuses)
    if (!s.ready) unready.push_back(s.name);
  const auto readiness = [&](const char* type) {
    if (done) add(type, false, "PodCompleted");
    else if (failed) add(type, false, "PodFailed");
    else if (unready.empty()) add(type, true);
    else add(type, false, "ContainersNotReady", "containers with unready status: " + Joined(unready));
  };
  readiness("Ready");
  readiness("ContainersReady");
  add("PodScheduled", true);
  return out;
}

}  // namespace berth::node
