#include "apps/berthd/node_stack.h"

#include <unistd.h>


#include "apiserver/server.h"
#include "apps/berthd/process.h"
#include "bytes/text.h"
#include "credentials/sources.h"
#include "host/machine.h"
#include "launch/machine.h"
#include "launch/runtime.h"
#include "log/log.h"
#include "node/launcher.h"
#include "node/node.h"
#include "node/pod_credentials.h"
#include "node/self.h"
#include "node/service_tokens.h"
#include "policy/records.h"
#include "yaml/document.h"

namespace berth::berthd {
namespace {

constexpr std::size_t kWatches = 2'000;  // of clients and our own

// Where no container can run: Pods are taken and say why they wait.
class NoRuntime final : public node::Runtime {
 public:
  explicit NoRuntime(std::string why) : why_(std::move(why)) {}
  Result<> SetUpPod(const task::Context&, const kube::Pod&) override { return {}; }
  Result<bool> StartSandbox(const task::Context&, const kube::Pod&) override { return Error(Reason::kUnsupported, why_); }
  std::string PodIp(const kube::Pod&) override { return ""; }
  std::optional<node::StartFailure> Create(const task::Context&, const node::StartRequest&) override {
    return node::StartFailure{.message = why_};
  }
  std::optional<node::StartFailure> Start(const task::Context&, const node::RunKey&) override {
    return node::StartFailure{.message = why_};
  }
  node::RunState State(const node::RunKey&) override { return {}; }
  Result<> Stop(const node::RunKey&, const kube::Container&) override { return {}; }
  Result<> Kill(const node::RunKey&) override { return {}; }
  Result<std::int32_t> Exec(const task::Context&, const node::RunKey&, const std::vector<std::string>&) override {
    return Error(Reason::kUnsupported, why_);
  }
  Result<> RemoveRun(const node::RunKey&) override { return {}; }
  Result<> StopSandbox(const task::Context&, const kube::Pod&) override { return {}; }
  Result<> TearDownPod(const task::Context&, const kube::Pod&) override { return {}; }
  std::vector<node::FoundRun> Found() override { return {}; }
  Result<> Sweep(const task::Context&, const std::vector<std::string>&) override { return {}; }
  void OnExit(std::function<void(const std::string&)>) override {}
  std::string LogPath(const kube::ObjectMeta&, const std::string&, std::int32_t) const override { return ""; }

 private:
  const std::string why_;
};

std::string NodeName(const config::DaemonConfig& config) {
  return bytes::Lower(config.node.name.empty() ? host::Hostname() : config.node.name);  // as the kubelet
}

Result<policy::KubeletConfig> ReadKubeletConfig(const std::string& path) {
  policy::KubeletConfig defaults;  // named: of a temporary here gcc 12 warns under the address sanitizer
  if (path.empty()) return defaults;
  auto text = host::ReadSmallFile(path, 1u << 20);
  if (!text) return Error(Reason::kConfig, "the kubelet configuration " + Quoted(path) + " cannot be read: " + text.error().message());
  ASSIGN_OR_RETURN(const auto documents, yaml::Parse(*text, path, Reason::kConfig));
  for (const auto& document : documents) {
    const auto kind = document.root().Find("kind");
    if (!kind || !kind->IsString() || *kind->AsString() != "KubeletConfiguration") continue;
    ASSIGN_OR_RETURN(auto parsed, policy::ParseKubeletConfig(document.root()));
    for (const auto& warning : parsed.warnings) log::Warning("kubelet configuration", {{"file", path}, {"warning", warning}});
    if (!parsed.unused.empty()) log::Info("fields of the kubelet configuration that are not about images are not used", {{"file", path}, {"fields", parsed.unused.size()}});
    RETURN_IF_ERROR(parsed.config.Check());
    return std::move(parsed.config);
  }
  return Error(Reason::kConfig, "the file " + Quoted(path) + " holds no KubeletConfiguration");
}

// YAML, of which JSON is a part.
Result<json::Document> ParseYaml(std::string_view text) {
  ASSIGN_OR_RETURN(const auto documents, yaml::Parse(text, "credential providers", Reason::kConfig));
  if (documents.size() != 1) return Error(Reason::kConfig, "one document is wanted, not " + std::to_string(documents.size()));
  return json::Document::Parse(documents.front().root().Dump(), Reason::kConfig);
}

}  // namespace

// In order of use: what comes later uses what comes before.
struct NodeStack::State {
  std::unique_ptr<objects::Store> store;
  std::shared_ptr<policy::Records> records;
  std::unique_ptr<node::ServiceTokens> tokens;
  std::unique_ptr<credentials::ProviderSet> plugins;
  credentials::HelperOptions helper_options;
  std::optional<credentials::Sources> sources;
  std::optional<node::SecretCredentials> credentials;
  std::optional<node::ImageService> images;
  std::unique_ptr<node::Runtime> runtime;
  std::vector<api::Probe> probes;
  std::unique_ptr<node::Node> node;
  std::optional<api::NodeService> service;
  std::unique_ptr<apiserver::Server> kubernetes;
  credentials::NodeConfig* node_config = nullptr;
};

NodeStack::NodeStack(std::unique_ptr<State> state) : state_(std::move(state)) {}
NodeStack::~NodeStack() = default;
api::NodeService& NodeStack::service() { return *state_->service; }
std::vector<api::Probe> NodeStack::probes() const { return state_->probes; }
std::size_t NodeStack::pods() const { return state_->node->workers().size(); }
const std::string& NodeStack::name() const { return state_->node->options().name; }
const objects::Store& NodeStack::store() const { return *state_->store; }
policy::ImageManager& NodeStack::images() { return state_->node->images(); }
const credentials::Sources& NodeStack::sources() const { return *state_->sources; }
policy::Records* NodeStack::records() { return state_->records.get(); }
node::Node& NodeStack::node() { return *state_->node; }

const credentials::ProviderSet* NodeStack::plugins() const { return state_->plugins.get(); }

Result<> NodeStack::ServeApi(const config::DaemonConfig& config, const host::Dir& root) {
  if (config.node.api_listen.empty()) return {};
  const std::string kubeconfig = config.node.api_kubeconfig.empty() ? config.run_dir + "/kubeconfig" : config.node.api_kubeconfig;
  ASSIGN_OR_RETURN(state_->kubernetes, apiserver::Server::Start(root, apiserver::BackendOf(*state_->node),
                                                                {.listen = config.node.api_listen, .kubeconfig = kubeconfig,
                                                                 .version = node::KubernetesVersion(), .names = config.node.api_names},
                                                                time::SystemClock()));
  return {};
}
void NodeStack::StopApi(time::Duration grace) {
  if (state_->kubernetes != nullptr) state_->kubernetes->Stop(grace);
}

Result<> NodeStack::Reload() {
  if (state_->plugins == nullptr) return {};
  if (const auto again = state_->plugins->Reload(); !again) return again.error();
  return {};
}

Result<std::unique_ptr<NodeStack>> NodeStack::Start(const task::Context& ctx, const config::DaemonConfig& config, Parts parts) {
  const time::Clock& clock = time::SystemClock();
  auto state = std::make_unique<State>();
  ASSIGN_OR_RETURN(auto kubelet, ReadKubeletConfig(config.node.kubelet_config));
  const std::string name = NodeName(config);

  // What is wanted.
  objects::Options store_options{.defaults = {.digest_beats_latest = config.profile == credentials::Profile::kDocumented},
                                 .node_name = name, .watches = kWatches};
  ASSIGN_OR_RETURN(state->store, objects::Store::Open(config.root + "/objects.db", clock, parts.random, store_options));

  // Who may have which image.
  if (kubelet.ensure_secret_pulled_images) {
    ASSIGN_OR_RETURN(
        state->records,
        policy::Records::Open(parts.root, {.policy = kubelet.verification(), .allow_list = kubelet.allow_list()}, clock));
    std::vector<policy::Records::PresentImage> present;
    ASSIGN_OR_RETURN(const auto images, parts.catalog.ListImages());
    for (const auto& image : images) present.push_back({image.config.ToString(), image.names});
    ASSIGN_OR_RETURN([[maybe_unused]] const std::size_t adopted, state->records->AdoptIntents(present));
  }
  if (!config.node.plugin_config.empty()) {
    credentials::ProviderOptions plugins{
        .config = config.node.plugin_config, .bin_dir = config.node.plugin_bin_dir, .rules = {.profile = config.profile}};
    plugins.limits = config.node.plugins;
    plugins.parse = ParseYaml;
    plugins.on_run = parts.on_plugin_run;
    ASSIGN_OR_RETURN(state->tokens, node::ServiceTokens::Open(parts.root, *state->store, clock, parts.random,
                                                              {.node_name = name, .issuer = config.node.token_issuer}));
    ASSIGN_OR_RETURN(state->plugins, credentials::ProviderSet::Load(std::move(plugins), clock, state->tokens.get()));
  }
  state->node_config = &parts.node_config;
  state->sources.emplace(config.profile, credentials::Sources::Parts{.node = &parts.node_config, .plugins = state->plugins.get(),
                                                                     .helpers = config.node.helpers ? &state->helper_options : nullptr},
                         config.docker_config);
  state->credentials.emplace(*state->store, *state->sources);
  state->images.emplace(parts.puller, parts.catalog, parts.leases, parts.layers, config.pull.host);

  // What runs them.
  const std::string pods = config.root + "/pods";
  const std::string logs = config.node.logs.empty() ? config.root + "/logs" : config.node.logs;
  for (const auto& folder : {pods, logs}) RETURN_IF_ERROR(MakePrivateFolder(folder));
  ASSIGN_OR_RETURN(auto machine, launch::ReadMachine());
  const auto shim = FindShim(config);
  launch::RuntimeProbe probe;
  if (shim) probe = launch::ProbeRuntime(machine, {.runtime = config.node.runtime, .shim = *shim, .state_root = config.run_dir + "/oci"});
  std::string why = shim ? "no container runtime can be used here" : shim.error().Text();
  for (const auto& finding : probe.findings) {
    using Found = launch::Finding::State;
    state->probes.push_back({finding.name, finding.state == Found::kGood ? "ok" : finding.state == Found::kDegraded ? "degraded" : "missing",
                             finding.text + (finding.next.empty() ? "" : "; " + finding.next)});
    if (finding.state == Found::kMissing) why += ": " + finding.text + (finding.next.empty() ? "" : " (" + finding.next + ")");
  }
  if (!shim) state->probes.push_back({"berth-shim", "missing", shim.error().Text()});
  if (probe.setup) {
    ASSIGN_OR_RETURN(auto runtime, launch::Runtime::Open(*probe.setup));
    ASSIGN_OR_RETURN(state->runtime, node::Launcher::Open({.pods = pods, .logs = logs, .node_name = name, .host_ip = config.node.host_ip,
                                                           .accounts = {config.node.account_file_bytes, config.node.account_line_bytes}},
                                                          std::move(runtime), std::move(machine),
                                                          {*state->store, *state->images, parts.content, parts.mounts, clock}));
  } else {
    log::Warning("Pods cannot run on this machine", {{"why", why}});
    state->runtime = std::make_unique<NoRuntime>(why);
  }

  node::NodeOptions options{.name = name, .host_ip = config.node.host_ip, .kubelet = std::move(kubelet),
                            .always_pull_images = config.node.always_pull_images, .anonymous_fallback = config.node.anonymous_fallback,
                            .static_pods = {.folder = config.node.static_pods, .node = name, .defaults = store_options.defaults}};
  options.workers.worker.jitter = [random = parts.random] { return static_cast<double>(random() >> 11) * 0x1.0p-53; };
  ASSIGN_OR_RETURN(state->node, node::Node::Start(ctx, std::move(options),
                                                  {*state->store, *state->runtime, *state->images, state->records.get(),
                                                   *state->credentials, clock}));
  state->service.emplace(*state->node, api::NodeServiceOptions{.streams = {.limit = config.streams}}, clock);
  return std::unique_ptr<NodeStack>(new NodeStack(std::move(state)));
}

}  // namespace berth::berthd
