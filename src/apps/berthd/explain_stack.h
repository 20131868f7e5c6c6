// apps/berthd/explain_stack.h: what answers `berth explain` and `berth probe`: the explainer, and the node's objects for it.
#pragma once

#include <functional>
#include <memory>

#include "api/explain_service.h"
#include "apps/berthd/node_stack.h"
#include "config/daemon_config.h"
#include "credentials/node_config.h"
#include "http/client.h"

namespace berth::berthd {

class ExplainStack {
 public:
  struct Parts {
    http::Client& http;
    const http::ProxyRules& proxies;
    catalog::Catalog& catalog;
    credentials::NodeConfig& node_config;
    NodeStack* node;                     // nullptr: this daemon runs no Pods
    std::function<double()> random;
    const verify::Verifier& verifier;
  };
  // Everything in `parts` outlives it.
  ExplainStack(const config::DaemonConfig& config, Parts parts);
  ~ExplainStack();
  api::ExplainService& service();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::berthd
