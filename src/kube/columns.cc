#include "kube/columns.h"

#include <algorithm>

#include "bytes/text.h"
#include "kube/parse.h"

namespace berth::kube {
namespace {

using Seconds = std::chrono::seconds;

std::string N(std::int64_t n, const char* unit) { return std::to_string(n) + unit; }
std::string OrNone(std::string text) { return text.empty() ? "<none>" : text; }

std::string EndState(const ContainerState::Terminated& t) {
  return t.signal != 0 ? "Signal:" + std::to_string(t.signal) : "ExitCode:" + std::to_string(t.exit_code);
}

bool Condition(const PodStatus& status, std::string_view type) {
  return std::ranges::any_of(status.conditions, [&](const auto& c) { return c.type == type && c.status == "True"; });
}

}  // namespace

std::string HumanDuration(time::Duration d) {
  const std::int64_t s = std::chrono::duration_cast<Seconds>(d).count();
  if (s < -1) return "<invalid>";
  if (s < 0) return "0s";
  if (s < 60 * 2) return N(s, "s");
  const std::int64_t m = s / 60;
  if (m < 10) return s % 60 == 0 ? N(m, "m") : N(m, "m") + N(s % 60, "s");
  if (m < 60 * 3) return N(m, "m");
  const std::int64_t h = s / 3600;
  if (h < 8) return m % 60 == 0 ? N(h, "h") : N(h, "h") + N(m % 60, "m");
  if (h < 48) return N(h, "h");
  if (h < 24 * 8) return h % 24 == 0 ? N(h / 24, "d") : N(h / 24, "d") + N(h % 24, "h");
  if (h < 24 * 365 * 2) return N(h / 24, "d");
  const std::int64_t days = h / 24, years = days / 365;
  if (years < 8) return days % 365 == 0 ? N(years, "y") : N(years, "y") + N(days % 365, "d");
  return N(years, "y");
}

std::string Age(const std::optional<time::WallTime>& then, time::WallTime now) { return then ? HumanDuration(now - *then) : "<unknown>"; }

// kubectl's printPod.
PodRow SummarizePod(const Pod& pod, time::WallTime now) {
  const PodStatus& status = pod.status;
  std::string reason = status.reason.empty() ? status.phase : status.reason;
  std::int64_t restarts = 0, sidecar_restarts = 0;
  std::optional<time::WallTime> last, last_sidecar;
  std::size_t total = pod.spec.containers.size(), ready = 0;
  const auto newer = [](std::optional<time::WallTime>& latest, const ContainerStatus& s) {
    if (s.last_state.terminated && s.last_state.terminated->finished_at && (!latest || *latest < *s.last_state.terminated->finished_at))
      latest = s.last_state.terminated->finished_at;
  };
  const auto is_sidecar = [&](const std::string& name) {
    return std::ranges::any_of(pod.spec.init_containers, [&](const auto& c) { return c.name == name && c.restart_policy == "Always"; });
  };
  for (const auto& c : pod.spec.init_containers) total += c.restart_policy == "Always";
  bool initializing = false;
  for (std::size_t i = 0; i < status.init_container_statuses.size(); ++i) {
    const auto& s = status.init_container_statuses[i];
    restarts += s.restart_count;
    newer(last, s);
    if (is_sidecar(s.name)) {
      sidecar_restarts += s.restart_count;
      newer(last_sidecar, s);
    }
    if (s.state.terminated && s.state.terminated->exit_code == 0) continue;
    if (is_sidecar(s.name) && s.started.value_or(false)) {
      ready += s.ready;
      continue;
    }
    if (s.state.terminated) reason = "Init:" + (s.state.terminated->reason.empty() ? EndState(*s.state.terminated) : s.state.terminated->reason);
    else if (s.state.waiting && !s.state.waiting->reason.empty() && s.state.waiting->reason != "PodInitializing") reason = "Init:" + s.state.waiting->reason;
    else reason = "Init:" + std::to_string(i) + "/" + std::to_string(pod.spec.init_containers.size());
    initializing = true;
    break;
  }
  if (!initializing || Condition(status, "Initialized")) {
    restarts = sidecar_restarts;
    last = last_sidecar;
    bool running = false;
    for (auto s = status.container_statuses.rbegin(); s != status.container_statuses.rend(); ++s) {
      restarts += s->restart_count;
      newer(last, *s);
      if (s->state.waiting && !s->state.waiting->reason.empty()) reason = s->state.waiting->reason;
      else if (s->state.terminated)
        reason = s->state.terminated->reason.empty() ? EndState(*s->state.terminated) : s->state.terminated->reason;
      else if (s->ready && s->state.running) running = true, ++ready;
    }
    if (reason == "Completed" && running) reason = Condition(status, "Ready") ? "Running" : "NotReady";
  }
  if (pod.metadata.deletion_timestamp && status.phase != "Succeeded" && status.phase != "Failed") reason = "Terminating";
  PodRow row{std::to_string(ready) + "/" + std::to_string(total), reason, std::to_string(restarts)};
  if (restarts != 0 && last) row.restarts += " (" + HumanDuration(now - *last) + " ago)";
  return row;
}

std::string NameFor(std::string_view kind, std::string_view name) {
  return bytes::Lower(kind) + "/" + std::string(name);
}

time::WallTime LastSeen(const Event& event) {
  for (const auto& t : {event.last_timestamp, event.first_timestamp, event.metadata.creation_timestamp})
    if (t) return *t;
  return {};
}

namespace {

constexpr Column kName{"Name", "string", true}, kAge{"Age", "string"};
constexpr Column kPod[] = {kName, {"Ready", "string"}, {"Status", "string"}, {"Restarts", "string"}, kAge, {"IP", "string", false, 1},
                           {"Node", "string", false, 1}, {"Nominated Node", "string", false, 1}, {"Readiness Gates", "string", false, 1}};
constexpr Column kSecret[] = {kName, {"Type", "string"}, {"Data", "integer"}, kAge};
constexpr Column kConfigMap[] = {kName, {"Data", "integer"}, kAge};
constexpr Column kServiceAccount[] = {kName, {"Secrets", "integer"}, kAge};
constexpr Column kNamespace[] = {kName, {"Status", "string"}, kAge};
constexpr Column kEvent[] = {{"Last Seen", "string"}, {"Type", "string"}, {"Reason", "string"}, {"Object", "string"},
                             {"Subobject", "string", false, 1}, {"Source", "string", false, 1}, {"Message", "string"},
                             {"First Seen", "string", false, 1}, {"Count", "integer", false, 1}, {"Name", "string", true, 1}};
constexpr Column kNode[] = {kName, {"Status", "string"}, {"Roles", "string"}, kAge, {"Version", "string"},
                            {"Internal-IP", "string", false, 1}, {"External-IP", "string", false, 1}, {"OS-Image", "string", false, 1},
                            {"Kernel-Version", "string", false, 1}, {"Container-Runtime", "string", false, 1}};
constexpr Column kOther[] = {kName, kAge};

using Cells = std::vector<json::Tree>;
json::Tree Cell(const std::string& text) { return json::Tree(text); }
json::Tree Cell(std::size_t n) { return json::Tree(static_cast<std::int64_t>(n)); }

Cells PodCells(const Object& object, const std::string& age, time::WallTime now) {
  const Pod pod = ReadPod(object);
  const PodRow row = SummarizePod(pod, now);
  return {Cell(object.metadata.name), Cell(row.ready), Cell(row.status), Cell(row.restarts), Cell(age), Cell(OrNone(pod.status.pod_ip)),
          Cell(OrNone(pod.spec.node_name)), Cell(OrNone(pod.status.nominated_node_name)), Cell("<none>")};
}

Cells EventCells(const Object& object, time::WallTime now) {
  const Event event = ReadEvent(object);
  const std::string first = event.first_timestamp ? Age(event.first_timestamp, now) : HumanDuration(now - LastSeen(event));
  return {Cell(HumanDuration(now - LastSeen(event))),
          Cell(event.type),
          Cell(event.reason),
          Cell(NameFor(event.involved.kind, event.involved.name)),
          Cell(event.involved.field_path),
          Cell(event.component + (event.host.empty() ? "" : ", " + event.host)),
          Cell(event.message.substr(0, event.message.find_last_not_of(" \n\t\r") + 1)),
          Cell(first),
          json::Tree(std::int64_t{event.count}),
          Cell(object.metadata.name)};
}

Cells NodeCells(const Object& object, const std::string& age) {
  const Node node = ReadNode(object);
  std::string status = "Unknown";
  for (const auto& c : node.conditions)
    if (c.type == "Ready") status = c.status == "True" ? "Ready" : "NotReady";
  if (node.unschedulable) status += ",SchedulingDisabled";
  const auto address = [&](std::string_view type) {
    for (const auto& [name, value] : node.addresses)
      if (name == type) return value;
    return std::string("<none>");
  };
  const auto info = [&](const char* key) {
    const auto found = node.node_info.find(key);
    return found == node.node_info.end() || found->second.empty() ? std::string("<unknown>") : found->second;
  };
  return {Cell(object.metadata.name), Cell(status), Cell("<none>"), Cell(age), Cell(info("kubeletVersion")), Cell(address("InternalIP")),
          Cell(address("ExternalIP")), Cell(info("osImage")), Cell(info("kernelVersion")), Cell(info("containerRuntimeVersion"))};
}

}  // namespace

std::span<const Column> ColumnsOf(std::string_view kind) {
  return kind == "Pod" ? std::span<const Column>(kPod) : kind == "Secret" ? kSecret : kind == "ConfigMap" ? kConfigMap
       : kind == "ServiceAccount" ? kServiceAccount : kind == "Namespace" ? kNamespace : kind == "Event" ? kEvent
       : kind == "Node" ? kNode : std::span<const Column>(kOther);
}

std::vector<json::Tree> CellsOf(const Object& object, time::WallTime now) {
  const std::string& name = object.metadata.name;
  const std::string age = Age(object.metadata.creation_timestamp, now);
  if (object.kind == "Pod") return PodCells(object, age, now);
  if (object.kind == "Event") return EventCells(object, now);
  if (object.kind == "Node") return NodeCells(object, age);
  if (object.kind == "Secret") {
    const Secret secret = ReadSecret(object);
    return {Cell(name), Cell(secret.type), Cell(secret.data.size()), Cell(age)};
  }
  if (object.kind == "ConfigMap") {
    const ConfigMap map = ReadConfigMap(object);
    return {Cell(name), Cell(map.data.size() + map.binary_data.size()), Cell(age)};
  }
  if (object.kind == "ServiceAccount") return {Cell(name), Cell(ReadServiceAccount(object).secrets.size()), Cell(age)};
  if (object.kind == "Namespace") return {Cell(name), Cell(ReadNamespace(object).phase), Cell(age)};
  return {Cell(name), Cell(age)};
}

}  // namespace berth::kube
