// apps/berthd/node_stack.h: the node's half of the daemon: objects, policy, credentials of Pods, containers, and its face.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/node_service.h"
#include "api/service.h"
#include "config/daemon_config.h"
#include "credentials/node_config.h"
#include "credentials/sources.h"
#include "node/mounts.h"
#include "node/node.h"

namespace berth::berthd {

class NodeStack {
 public:
  struct Parts {
    pull::Puller& puller;
    catalog::Catalog& catalog;
    const catalog::Leases& leases;
    content::Store& content;
    const layer::LayerStore& layers;
    node::Mounts& mounts;
    credentials::NodeConfig& node_config;
    const host::Dir& root;
    std::function<std::uint64_t()> random;
    std::function<void(const std::string&, time::Duration, bool)> on_plugin_run;  // credentials/provider.h
  };
  // Starts the node: what runs is taken over. kConfig for settings that contradict each other, with the kubelet's words.
  static Result<std::unique_ptr<NodeStack>> Start(const task::Context& ctx, const config::DaemonConfig& config, Parts parts);
  ~NodeStack();

  api::NodeService& service();
  std::vector<api::Probe> probes() const;   // which runtime there is, for `berth doctor`
  std::size_t pods() const;
  // For explain_stack.h.
  const std::string& name() const;
  const objects::Store& store() const;
  policy::ImageManager& images();
  const credentials::Sources& sources() const;
  policy::Records* records();               // nullptr: no verification
  node::Node& node();
  const credentials::ProviderSet* plugins() const;  // nullptr: none configured
  // The Kubernetes API, when `apiserver.listen` says where.
  Result<> ServeApi(const config::DaemonConfig& config, const host::Dir& root);
  // No new calls of it, and those at work get `grace`.
  void StopApi(time::Duration grace);
  Result<> Reload();                        // credentials and plug-ins

 private:
  struct State;
  explicit NodeStack(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace berth::berthd
