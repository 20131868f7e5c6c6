#include "launch/sources.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "kube/quantity.h"

namespace berth::launch {
namespace {

// Go's %q for a value that the kubelet writes into a file of labels.
std::string GoQuoted(std::string_view raw) {
  std::string out = "\"";
  for (const char c : raw) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        out += c;
    }
  }
  return out + "\"";
}

std::string Lines(const kube::StringMap& map) {
  std::string out;
  for (const auto& [key, value] : map) out += (out.empty() ? "" : "\n") + key + "=" + GoQuoted(value);
  return out;
}

std::string Joined(const std::vector<std::string>& items, const std::string& alone) {
  if (items.empty()) return alone;
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : ",") + item;
  return out;
}

// The key of "metadata.labels['key']".
std::optional<std::string> Subscript(std::string_view path, std::string_view of) {
  if (!path.starts_with(of)) return std::nullopt;
  path.remove_prefix(of.size());
  if (path.size() < 5 || !path.starts_with("['") || !path.ends_with("']")) return std::nullopt;
  return std::string(path.substr(2, path.size() - 4));
}

std::string Lookup(const kube::StringMap& map, const std::string& key) {
  const auto found = map.find(key);
  return found == map.end() ? "" : found->second;
}

const kube::Container* FindContainer(const kube::PodSpec& spec, std::string_view name) {
  for (const auto* list : {&spec.containers, &spec.init_containers, &spec.ephemeral_containers})
    for (const auto& container : *list)
      if (container.name == name) return &container;
  return nullptr;
}

}  // namespace

Result<std::string> FieldValue(const PodFacts& facts, const kube::FieldSelector& selector) {
  const auto& [meta, spec, status] = facts.pod;
  const std::string& path = selector.field_path;
  if (path == "metadata.name") return meta.name;
  if (path == "metadata.namespace") return meta.ns;
  if (path == "metadata.uid") return meta.uid;
  if (path == "metadata.labels") return Lines(meta.labels);
  if (path == "metadata.annotations") return Lines(meta.annotations);
  if (path == "spec.nodeName") return spec.node_name;
  if (path == "spec.serviceAccountName") return spec.service_account_name;
  if (path == "status.hostIP") return status.host_ip;
  if (path == "status.hostIPs") return Joined(status.host_ips, status.host_ip);
  if (path == "status.podIP") return status.pod_ip;
  if (path == "status.podIPs") return Joined(status.pod_ips, status.pod_ip);
  if (const auto key = Subscript(path, "metadata.labels")) return Lookup(meta.labels, *key);
  if (const auto key = Subscript(path, "metadata.annotations")) return Lookup(meta.annotations, *key);
  return Error(Reason::kUsage, "unsupported fieldPath: " + Quoted(path));
}

Result<std::string> ResourceValue(const PodFacts& facts, const kube::ResourceFieldSelector& selector,
                                  std::string_view current) {
  const std::string_view name =
      selector.container_name.empty() ? current : std::string_view(selector.container_name);
  const kube::Container* container = FindContainer(facts.pod.spec, name);
  if (container == nullptr) return Error(Reason::kUsage, "container " + Quoted(name) + " not found");
  const auto dot = selector.resource.find('.');
  const std::string kind = selector.resource.substr(0, dot);
  const std::string what = dot == std::string::npos ? "" : selector.resource.substr(dot + 1);
  if ((kind != "limits" && kind != "requests") ||
      (what != "cpu" && what != "memory" && what != "ephemeral-storage"))
    return Error(Reason::kUsage, "unsupported container resource: " + Quoted(selector.resource));
  const auto& [limits, requests] = container->resources;
  std::string quantity = Lookup(kind == "limits" ? limits : requests, what);
  if (quantity.empty() && kind == "requests") quantity = Lookup(limits, what);
  std::int64_t milli = 0;
  if (!quantity.empty()) {
    const auto value = kube::Milli(quantity);
    if (!value) return Error(Reason::kUsage, Quoted(quantity) + " is no quantity");
    milli = *value;
  } else if (kind == "limits") {
    if (what == "cpu")
      milli = facts.allocatable_milli_cpu;
    else if (what == "memory" && __builtin_mul_overflow(facts.allocatable_memory, std::int64_t{1000}, &milli))
      milli = INT64_MAX;
  }
  const auto divisor = selector.divisor.empty() || selector.divisor == "0" ? std::optional<std::int64_t>(1000)
                                                                           : kube::Milli(selector.divisor);
  if (!divisor || *divisor <= 0)
    return Error(Reason::kUsage, "divisor " + Quoted(selector.divisor) + " is no positive quantity");
  return std::to_string(milli / *divisor + (milli % *divisor > 0 ? 1 : 0));
}

}  // namespace berth::launch
