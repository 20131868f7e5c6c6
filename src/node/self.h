// node/self.h: this machine as a Node object, for `kubectl get nodes` and `kubectl describe node`.
#pragma once

#include <string>

#include "objects/store.h"
#include "result/result.h"

namespace berth::node {

// What we say we are to clients that look at versions: the Kubernetes whose behaviour this is, and our own version.
std::string KubernetesVersion();  // "v1.36.0+berth.0.1.0"

struct Self {
  std::string name, host_ip;
  std::int64_t pods = 0;  // maxPods: what it says it takes; nothing here enforces a number
};

// Makes the Node object, or brings it up to date: capacity, addresses, versions, the condition Ready since `now`. Errors are the store's.
Result<> RegisterSelf(objects::Store& store, const Self& self, time::WallTime now);

}  // namespace berth::node
