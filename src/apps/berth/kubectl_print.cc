#include "apps/berth/kubectl_print.h"

#include <algorithm>
#include <ctime>

#include "apps/berth/format.h"
#include "bytes/text.h"
#include "kube/parse.h"

namespace berth::cli {
namespace {

using kube::ContainerState;
using kube::ContainerStatus;

std::string OrNone(std::string text) { return text.empty() ? "<none>" : text; }

// "Wed, 25 Nov 2026 14:00:00 +0000"
std::string Date(const std::optional<time::WallTime>& t) {
  if (!t) return "<unset>";
  const std::time_t seconds = std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::system_clock::duration>(*t));
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char out[64];
  std::strftime(out, sizeof out, "%a, %d %b %Y %H:%M:%S +0000", &parts);
  return out;
}

}  // namespace

void KubeTable::Row(std::vector<std::string> cells) {
  for (std::size_t i = 0; i < cells.size(); ++i) {
    cells[i] = Escape(cells[i]);
    if (widths_.size() <= i) widths_.push_back(0);
    widths_[i] = std::max(widths_[i], Columns(cells[i]));
  }
  rows_.push_back(std::move(cells));
}

std::string KubeTable::Take() {
  std::string out;
  for (const auto& row : std::exchange(rows_, {})) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out.append(widths_[i] - Columns(row[i]) + 3, ' ');
    }
    out += "\n";
  }
  return out;
}

std::string KindFor(std::string_view word) {
  struct Names { const char* kind; std::vector<std::string_view> words; };
  static const std::vector<Names> kNames{
      {"Pod", {"po", "pod", "pods"}}, {"Secret", {"secret", "secrets"}}, {"ConfigMap", {"cm", "configmap", "configmaps"}},
      {"ServiceAccount", {"sa", "serviceaccount", "serviceaccounts"}}, {"Namespace", {"ns", "namespace", "namespaces"}},
      {"Event", {"ev", "event", "events"}}, {"Node", {"no", "node", "nodes"}}};
  const std::string lower = bytes::Lower(word);
  for (const auto& n : kNames)
    if (std::ranges::find(n.words, lower) != n.words.end()) return n.kind;
  return "";
}

std::vector<std::string> HeadersFor(const std::string& kind, const PrintOptions& options) {
  std::vector<std::string> headers;
  if (options.all_namespaces && kube::IsNamespaced(kind)) headers.emplace_back("NAMESPACE");
  for (const kube::Column& column : kube::ColumnsOf(kind)) {
    if (column.priority > 0 && !options.wide) continue;
    std::string& name = headers.emplace_back(column.name);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c); });
  }
  return headers;
}

std::vector<std::string> RowFor(const kube::Object& object, const PrintOptions& options) {
  std::vector<std::string> row;
  if (options.all_namespaces && kube::IsNamespaced(object.kind)) row.push_back(object.metadata.ns);
  const auto columns = kube::ColumnsOf(object.kind);
  const auto cells = kube::CellsOf(object, options.now);
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (columns[i].priority == 0 || options.wide) row.push_back(cells[i].IsString() ? std::string(cells[i].text()) : cells[i].Dump());
  return row;
}

std::string Seen(const kube::Event& event, time::WallTime now) {
  const std::string last = HumanDuration(now - LastSeen(event));
  if (event.count <= 1 || !event.first_timestamp) return last;
  return last + " (x" + std::to_string(event.count) + " over " + HumanDuration(now - *event.first_timestamp) + ")";
}

// ---- describe

namespace {

class Description {
 public:
  // "Name:             web": values begin where kubectl's do.
  void Field(int level, const std::string& name, const std::string& value, std::size_t width) {
    std::string line(static_cast<std::size_t>(level) * 2, ' ');
    line += name + ":";
    if (!value.empty()) {
      line.resize(std::max(line.size() + 1, width), ' ');
      line += value;
    }
    lines_ += Escape(line) + "\n";
  }
  void Line(int level, const std::string& text) { lines_ += std::string(static_cast<std::size_t>(level) * 2, ' ') + Escape(text) + "\n"; }
  void Map(const std::string& name, const kube::StringMap& map, std::size_t width) {
    if (map.empty()) return Field(0, name, "<none>", width);
    bool first = true;
    for (const auto& [key, value] : map) {
      const std::string entry = key + (name == "Annotations" ? ": " : "=") + value;
      if (first) Field(0, name, entry, width);
      else lines_ += std::string(width, ' ') + Escape(entry) + "\n";
      first = false;
    }
  }
  std::string Take() { return std::move(lines_); }

 private:
  std::string lines_;
};

constexpr std::size_t kTop = 18, kInner = 20;

void DescribeState(Description& d, const std::string& title, const ContainerState& state) {
  const auto field = [&](const std::string& name, const std::string& value) { d.Field(3, name, value, kInner); };
  if (state.running) {
    d.Field(2, title, "Running", kInner);
    field("Started", Date(state.running->started_at));
  } else if (state.waiting) {
    d.Field(2, title, "Waiting", kInner);
    if (!state.waiting->reason.empty()) field("Reason", state.waiting->reason);
  } else if (state.terminated) {
    const auto& t = *state.terminated;
    d.Field(2, title, "Terminated", kInner);
    if (!t.reason.empty()) field("Reason", t.reason);
    if (!t.message.empty()) field("Message", t.message);
    field("Exit Code", std::to_string(t.exit_code));
    if (t.signal > 0) field("Signal", std::to_string(t.signal));
    field("Started", Date(t.started_at));
    field("Finished", Date(t.finished_at));
  } else {
    d.Field(2, title, "Waiting", kInner);
  }
}

void DescribeResources(Description& d, const char* name, const kube::StringMap& map) {
  if (map.empty()) return;
  d.Field(2, name, "", 0);
  for (const auto& [key, value] : map) d.Field(3, key, value, 17);
}

void DescribeContainers(Description& d, const std::string& title, const std::vector<kube::Container>& containers,
                        const std::vector<ContainerStatus>& statuses) {
  if (containers.empty()) return;
  d.Field(0, title, "", 0);
  for (const auto& c : containers) {
    const auto s = std::ranges::find(statuses, c.name, &ContainerStatus::name);
    const bool known = s != statuses.end();
    const auto field = [&](const std::string& name, const std::string& value) { d.Field(2, name, value, kInner); };
    d.Line(1, c.name + ":");
    field("Container ID", known ? s->container_id : "");
    field("Image", c.image);
    field("Image ID", known ? s->image_id : "");
    std::string ports;
    for (const auto& p : c.ports)
      ports += (ports.empty() ? "" : ", ") + std::to_string(p.container_port) + "/" + (p.protocol.empty() ? "TCP" : p.protocol);
    field("Port", OrNone(ports));
    const auto words = [&](const char* name, const std::vector<std::string>& list) {
      if (list.empty()) return;
      d.Field(2, name, "", 0);
      for (const auto& w : list) d.Line(3, w);
    };
    words("Command", c.command);
    words("Args", c.args);
    if (known) {
      DescribeState(d, "State", s->state);
      if (s->last_state.terminated) DescribeState(d, "Last State", s->last_state);
      field("Ready", s->ready ? "True" : "False");
      field("Restart Count", std::to_string(s->restart_count));
    }
    DescribeResources(d, "Limits", c.resources.limits);
    DescribeResources(d, "Requests", c.resources.requests);
    if (c.env.empty()) {
      field("Environment", "<none>");
    } else {
      d.Field(2, "Environment", "", 0);
      for (const auto& e : c.env) {
        std::string value = e.value;
        if (e.secret_key) value = "<set to the key '" + e.secret_key->key + "' in secret '" + e.secret_key->name + "'>";
        else if (e.config_map_key) value = "<set to the key '" + e.config_map_key->key + "' of config map '" + e.config_map_key->name + "'>";
        else if (e.field) value = " (" + e.field->api_version + ":" + e.field->field_path + ")";
        d.Field(3, e.name, value, 0);
      }
    }
    if (c.volume_mounts.empty()) {
      field("Mounts", "<none>");
    } else {
      d.Field(2, "Mounts", "", 0);
      for (const auto& m : c.volume_mounts)
        d.Line(3, m.mount_path + " from " + m.name + " (" + (m.read_only ? "ro" : "rw") + (m.sub_path.empty() ? "" : ",path=\"" + m.sub_path + "\"") + ")");
    }
  }
}

}  // namespace

std::string DescribePod(const kube::Pod& pod, const std::vector<kube::Event>& events, time::WallTime now) {
  Description d;
  const auto field = [&](const std::string& name, const std::string& value) { d.Field(0, name, value, kTop); };
  field("Name", pod.metadata.name);
  field("Namespace", pod.metadata.ns);
  if (pod.spec.priority) field("Priority", std::to_string(*pod.spec.priority));
  if (!pod.spec.service_account_name.empty()) field("Service Account", pod.spec.service_account_name);
  field("Node", pod.spec.node_name.empty() ? "<none>" : pod.spec.node_name + (pod.status.host_ip.empty() ? "" : "/" + pod.status.host_ip));
  if (pod.status.start_time) field("Start Time", Date(pod.status.start_time));
  d.Map("Labels", pod.metadata.labels, kTop);
  kube::StringMap annotations = pod.metadata.annotations;
  annotations.erase("kubectl.kubernetes.io/last-applied-configuration");
  d.Map("Annotations", annotations, kTop);
  if (pod.metadata.deletion_timestamp) {
    field("Status", "Terminating (lasts " + Age(pod.metadata.deletion_timestamp, now) + ")");
    if (pod.metadata.deletion_grace_period_seconds) field("Termination Grace Period", std::to_string(*pod.metadata.deletion_grace_period_seconds) + "s");
  } else {
    field("Status", pod.status.phase);
  }
  if (!pod.status.reason.empty()) field("Reason", pod.status.reason);
  if (!pod.status.message.empty()) field("Message", pod.status.message);
  field("IP", pod.status.pod_ip);
  if (pod.status.pod_ips.empty()) {
    field("IPs", "<none>");
  } else {
    d.Field(0, "IPs", "", 0);
    for (const auto& ip : pod.status.pod_ips) d.Field(1, "IP", ip, 7);
  }
  DescribeContainers(d, "Init Containers", pod.spec.init_containers, pod.status.init_container_statuses);
  DescribeContainers(d, "Containers", pod.spec.containers, pod.status.container_statuses);
  DescribeContainers(d, "Ephemeral Containers", pod.spec.ephemeral_containers, pod.status.ephemeral_container_statuses);
  if (!pod.status.conditions.empty()) {
    d.Field(0, "Conditions", "", 0);
    std::size_t width = 4;
    for (const auto& c : pod.status.conditions) width = std::max(width, c.type.size());
    const auto row = [&](const std::string& type, const std::string& status) {
      d.Line(1, type + std::string(width - type.size() + 2, ' ') + status + " ");
    };
    row("Type", "Status");
    for (const auto& c : pod.status.conditions) row(c.type, c.status);
  }
  if (pod.spec.volumes.empty()) {
    field("Volumes", "<none>");
  } else {
    d.Field(0, "Volumes", "", 0);
    for (const auto& v : pod.spec.volumes) {
      d.Line(1, v.name + ":");
      const auto inner = [&](const std::string& name, const std::string& value) { d.Field(2, name, value, 16); };
      using Kind = kube::Volume::Kind;
      switch (v.kind) {
        case Kind::kEmptyDir:
          inner("Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
          inner("Medium", v.medium);
          inner("SizeLimit", v.size_limit.empty() ? "<unset>" : v.size_limit);
          break;
        case Kind::kHostPath:
          inner("Type", "HostPath (bare host directory volume)");
          inner("Path", v.path);
          inner("HostPathType", v.type);
          break;
        case Kind::kImage:
          inner("Type", "Image (a container image or OCI artifact)");
          inner("Reference", v.reference);
          inner("PullPolicy", v.pull_policy);
          break;
        default:
          inner("Type", v.source == "secret" ? "Secret (a volume populated by a Secret)"
                        : v.source == "configMap" ? "ConfigMap (a volume populated by a ConfigMap)"
                        : v.source == "projected" ? "Projected (a volume that contains injected data from multiple sources)" : v.source);
          if (v.source == "secret" && !v.files.empty()) inner("SecretName", v.files[0].name);
          else if (v.source == "configMap" && !v.files.empty()) inner("Name", v.files[0].name);
      }
    }
  }
  if (!pod.status.qos_class.empty()) field("QoS Class", pod.status.qos_class);
  d.Map("Node-Selectors", pod.spec.node_selector, kTop);
  std::string tolerations;
  for (const auto& t : pod.spec.tolerations)
    tolerations += (tolerations.empty() ? "" : "\n" + std::string(kTop, ' ')) + t.key + (t.effect.empty() ? "" : ":" + t.effect) +
                   (t.op.empty() ? "" : " op=" + t.op) + (t.toleration_seconds ? " for " + std::to_string(*t.toleration_seconds) + "s" : "");
  field("Tolerations", tolerations.empty() || tolerations.find('\n') != tolerations.npos
                           ? OrNone(tolerations.substr(0, tolerations.find('\n')))
                           : tolerations);
  std::string out = d.Take();
  if (events.empty()) return out + "Events:            <none>\n";
  std::vector<kube::Event> sorted = events;
  std::ranges::stable_sort(sorted, {}, LastSeen);
  // "  Type     Reason   Age   From     Message", each column as wide as its widest.
  std::vector<std::vector<std::string>> rows{{"Type", "Reason", "Age", "From", "Message"}, {"----", "------", "----", "----", "-------"}};
  for (const auto& e : sorted)
    rows.push_back({e.type, e.reason, Seen(e, now), OrNone(e.component.empty() ? e.reporting_component : e.component), e.message});
  std::vector<std::size_t> widths(5, 0);
  for (auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = Escape(row[i]), widths[i] = std::max(widths[i], Columns(row[i]));
  out += "Events:\n";
  for (const auto& row : rows) {
    out += "  ";
    for (std::size_t i = 0; i < row.size(); ++i)
      out += i + 1 < row.size() ? row[i] + std::string(widths[i] - Columns(row[i]) + 2, ' ') : row[i];
    out += "\n";
  }
  return out;
}

std::string DescribeSecret(const kube::Secret& secret, const kube::Object& object) {
  Description d;
  d.Field(0, "Name", object.metadata.name, 14);
  d.Field(0, "Namespace", object.metadata.ns, 14);
  d.Map("Labels", object.metadata.labels, 14);
  kube::StringMap annotations = object.metadata.annotations;
  annotations.erase("kubectl.kubernetes.io/last-applied-configuration");
  d.Map("Annotations", annotations, 14);
  std::string out = d.Take();
  out += "\nType:  " + Escape(secret.type) + "\n\nData\n====\n";
  for (const auto& [key, value] : secret.data) out += Escape(key) + ":  " + std::to_string(value.size()) + " bytes\n";
  return out;
}

}  // namespace berth::cli
