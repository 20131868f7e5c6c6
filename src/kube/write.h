// kube/write.h: what we write ourselves, as JSON: the status of a Pod. ReadPod reads it back as the same.
#pragma once

#include "json/tree.h"
#include "kube/objects.h"

namespace berth::kube {

// For objects::Store::UpdateStatus. Empty strings and lists are left out, but for what Kubernetes always writes.
json::Tree WriteStatus(const PodStatus& status);

}  // namespace berth::kube
