#include "apps/berthd/explain_stack.h"

#include "explain/explainer.h"
#include "objects/store.h"

namespace berth::berthd {
namespace {

// The node's objects and back-offs.
class NodeCluster final : public explain::Cluster {
 public:
  explicit NodeCluster(NodeStack& node) : node_(node) {}
  ObjectPtr Find(std::string_view kind, std::string_view ns, std::string_view name) const override {
    const auto object = node_.store().Get({std::string(kind), std::string(ns), std::string(name)});
    return object ? *object : nullptr;
  }
  std::vector<ObjectPtr> List(std::string_view kind) const override {
    auto listing = node_.store().List({.kind = std::string(kind), .ns = "", .name = "", .matches = {}});
    return listing ? std::move(listing->objects) : std::vector<ObjectPtr>();
  }
  std::optional<policy::Backoff::State> BackoffOf(std::string_view pod_uid, std::string_view image) const override {
    return node_.images().backoff().Peek(policy::Backoff::Key(pod_uid, image));
  }

 private:
  NodeStack& node_;
};

explain::ExplainerOptions OptionsOf(const config::DaemonConfig& config, const NodeStack* node) {
  explain::ExplainerOptions options{.profile = config.profile, .registry = config.registry, .host = config.pull.host};
  options.registry.retry.rounds = 1;  // an answer in seconds
  options.registry.retry.dead_for = options.registry.retry.liar_for = {};  // and every host asked again, each time
  if (node != nullptr) options.node = node->name();
  return options;
}

}  // namespace

struct ExplainStack::State {
  State(const config::DaemonConfig& config, Parts parts)
      : options(OptionsOf(config, parts.node)),
        registry(parts.http, time::SystemClock(), std::move(parts.random), options.registry),
        own_sources(config.profile, {.node = &parts.node_config}, config.docker_config),
        cluster(parts.node ? std::make_unique<NodeCluster>(*parts.node) : nullptr),
        explainer({registry, parts.http, &parts.catalog, parts.node ? parts.node->sources() : own_sources, &parts.proxies,
                   parts.node ? parts.node->records() : nullptr, &parts.verifier}, options),
        service(explainer, cluster.get(), {.limit = config.streams}, time::SystemClock()) {}

  const explain::ExplainerOptions options;
  registry::Client registry;             // remembers nothing of the pulls' troubles
  const credentials::Sources own_sources;
  const std::unique_ptr<NodeCluster> cluster;
  const explain::Explainer explainer;
  api::ExplainService service;
};

ExplainStack::ExplainStack(const config::DaemonConfig& config, Parts parts) : state_(std::make_unique<State>(config, std::move(parts))) {}
ExplainStack::~ExplainStack() = default;
api::ExplainService& ExplainStack::service() { return state_->service; }

}  // namespace berth::berthd
