// launch/sources.h: what a Pod refers to and what is known about it: Secrets, ConfigMaps, the downward API.
//
// The caller (node/) implements ConfigSource on its object store; lookups are in the Pod's namespace only. Errors of lookups carry
// kNotFound for objects that are not there, with the API server's words (`secret "x" not found`); they are what the kubelet puts
// into CreateContainerConfigError and FailedMount.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kube/objects.h"
#include "result/result.h"

namespace berth::launch {

class ConfigSource {
 public:
  virtual ~ConfigSource() = default;
  // May be called from several threads. Never null.
  virtual Result<std::shared_ptr<const kube::Secret>> FindSecret(const std::string& name) const = 0;
  virtual Result<std::shared_ptr<const kube::ConfigMap>> FindConfigMap(const std::string& name) const = 0;
};

// The Pod, and what the node offers where a container sets no limit. Addresses and host IP are those of pod.status.
struct PodFacts {
  const kube::Pod& pod;
  std::int64_t allocatable_milli_cpu = 0, allocatable_memory = 0;  // memory in bytes
};

// fieldRef: metadata.{name,namespace,uid,labels,annotations,labels['k'],annotations['k']}, spec.{nodeName,serviceAccountName},
// status.{hostIP,hostIPs,podIP,podIPs}. Whole maps are one `key="escaped value"` a line, sorted. kUsage for any other path.
Result<std::string> FieldValue(const PodFacts& facts, const kube::FieldSelector& selector);

// resourceFieldRef: {limits,requests}.{cpu,memory,ephemeral-storage} of a container of the Pod (`current` when the selector names
// none), divided by the divisor and rounded up. An absent limit is what the node can allocate; an absent request is 0 unless there
// is a limit. kUsage for anything else.
Result<std::string> ResourceValue(const PodFacts& facts, const kube::ResourceFieldSelector& selector, std::string_view current);

}  // namespace berth::launch
