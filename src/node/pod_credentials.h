// node/pod_credentials.h: what a Pod of this node may show to registries.
//
// The secrets of spec.imagePullSecrets, in the Pod's namespace only and in the order of the list (empty names are left out; the
// service account's list was copied into the Pod when it was created: objects/store.h), then the node's file, then plug-ins
// (credentials/sources.h). A plug-in or helper that fails contributes nothing and is told of in an event. A Secret is read when it is needed, so one that is created or changed later counts at the next try.
// Nothing here keeps a secret longer than one round of the Pod. Safe for concurrent use.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "credentials/sources.h"
#include "node/pod_worker.h"
#include "objects/store.h"

namespace berth::node {

class SecretCredentials final : public PodCredentials {
 public:
  SecretCredentials(const objects::Store& store, const credentials::Sources& sources) : store_(store), sources_(sources) {}
  Found For(const task::Context& ctx, const kube::Pod& pod, Tell tell) override;

 private:
  const objects::Store& store_;
  const credentials::Sources& sources_;
};

// The Pod's pull secrets as credentials/ knows them, and the names of those that are not there. For explain, too.
struct PullSecrets {
  std::vector<credentials::PullSecret> found;
  std::vector<credentials::SecretCoordinates> missing;
};
PullSecrets ReadPullSecrets(const objects::Store& store, const kube::Pod& pod);

}  // namespace berth::node
