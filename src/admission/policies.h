// admission/policies.h: imagePullPolicy: what an absent one becomes, and the plug-in AlwaysPullImages (kubelet-images 2.1, 3.2).
//
// Both know the three lists of containers and image volumes. Pure.
#pragma once

#include "admission/draft.h"
#include "admission/request.h"
#include "kube/defaults.h"
#include "kube/status.h"

namespace berth::admission {

// An absent policy, by the image's tag, in a Pod and in every template. One that is there stays, whatever the image is changed to.
void DefaultPolicies(Draft& draft, const PodPart& pod, const kube::DefaultOptions& options);

struct AlwaysPullOptions {
  // Kubernetes ignores every subresource, so that an ephemeral container escapes (3.2). true: new ephemeral containers are covered
  // (reliability-security 3.h, H-01).
  bool ephemeral_containers = true;
};

// Whether the plug-in looks at this request at all: Pods only; an update whose container images were all in the old Pod is exempt.
kube::Answer<bool> AlwaysPullApplies(const PodPart& pod, const Request& request, const AlwaysPullOptions& options);
// Both REQUIRE AlwaysPullApplies().
kube::Answer<> AlwaysPull(Draft& draft, const PodPart& pod, const Request& request);
kube::Answer<> CheckAlwaysPull(const PodPart& pod, const Request& request);

}  // namespace berth::admission
