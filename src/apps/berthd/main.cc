// berthd: the daemon. This file is its table of contents.
#include <CLI/CLI.hpp>
#include <malloc.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <mutex>
#include <random>
#include <thread>

#include "api/server.h"
#include "apps/berthd/explain_stack.h"
#include "apps/berthd/node_stack.h"
#include "apps/berthd/notify.h"
#include "apps/berthd/probe.h"
#include "apps/berthd/process.h"
#include "config/daemon_config.h"
#include "credentials/node_config.h"
#include "host/fault.h"
#include "host/listen.h"
#include "host/lock.h"
#include "json/document.h"
#include "log/log.h"

namespace berth::berthd {
namespace {

constexpr auto kGrace = std::chrono::seconds(5);   // for running calls to end
constexpr auto kEnd = std::chrono::seconds(9);     // for everything: the unit gives ten

// Reads the settings (again): the file and what the command line put over it.
using LoadSettings = std::function<Result<config::DaemonConfig>()>;

// Of the socket's folder: two daemons with different stores must not take each other's socket away.
Result<host::StoreLock> LockSocket(const std::string& socket) {
  const auto slash = socket.rfind('/');
  ASSIGN_OR_RETURN(const host::Dir folder, host::Dir::Open(slash == 0 ? "/" : socket.substr(0, slash)));
  auto lock = host::StoreLock::Acquire(folder, socket.substr(slash + 1) + ".lock");
  if (!lock && lock.error().reason() == Reason::kConflict)
    return Error(Reason::kConflict, "another berthd serves the socket " + Quoted(socket)).Next("stop it, or set `socket`");
  return lock;
}

// A catalog that is gone must not look like an empty store whose layers nobody needs.
Result<> CheckCatalogIsThere(const host::Dir& root, const layer::LayerStore& layers) {
  ASSIGN_OR_RETURN(const bool there, root.Exists("catalog.db"));
  if (there) return {};
  ASSIGN_OR_RETURN(const auto left, layers.List());
  if (left.empty()) return {};
  return Error(Reason::kCorrupt, "catalog.db is missing, and the store holds " + std::to_string(left.size()) + " layers")
      .Next("put catalog.db back, or move the store away and pull the images again");
}

// Log and credentials change at once; hosts.toml and certificates are read at every pull; the rest needs a restart.
void Reload(const LoadSettings& load, config::DaemonConfig& current, credentials::NodeConfig& credentials, NodeStack* node) {
  Notify("RELOADING=1");
  credentials.Reload();
  if (node != nullptr) node->Reload();
  if (auto fresh = load(); !fresh) {
    log::Failure("the settings cannot be read; the old ones stay", {{"error", fresh.error()}});
  } else {
    log::Init(fresh->log);
    current.log = fresh->log;
    auto old = current;
    old.origins = fresh->origins;
    const bool same = config::PrintConfig(old) == config::PrintConfig(*fresh);
    log::Info("settings read again", {{"restart_needed", !same}});
  }
  Notify("READY=1");
}

Result<int> Serve(config::DaemonConfig config, const LoadSettings& load) {
  const time::Clock& clock = time::SystemClock();
  const config::DaemonConfig given = config;
  ASSIGN_OR_RETURN(const host::Fd signals, TakeSignals());
  std::jthread guard;  // of the end; the last to go
  ASSIGN_OR_RETURN(auto sockets, host::TakeInheritedSockets());
  host::Fd inherited = sockets.empty() ? host::Fd() : std::move(sockets.front().fd);

  // The store is ours alone.
  RETURN_IF_ERROR(MakePrivateFolder(config.root));
  RETURN_IF_ERROR(MakePrivateFolder(config.run_dir));
  ASSIGN_OR_RETURN(const host::Dir root, host::Dir::Open(config.root));
  auto lock = host::StoreLock::Acquire(root);
  if (!lock) return std::move(lock).error().Context(config.root);
  ASSIGN_OR_RETURN(const auto socket_lock, LockSocket(config.socket));
  ASSIGN_OR_RETURN(const Machine machine, LookAround(root, config.form));
  config.pull.form = machine.form;

  // What it holds.
  ASSIGN_OR_RETURN(const std::string worker, FindWorker(config));
  ASSIGN_OR_RETURN(auto content, content::Store::Open(root));
  ASSIGN_OR_RETURN(auto layers, layer::LayerStore::Open(config.root, {.worker = worker, .unpack = config.unpack}));
  RETURN_IF_ERROR(CheckCatalogIsThere(root, *layers));
  ASSIGN_OR_RETURN(auto catalog, catalog::Catalog::Open(config.root, clock, config.journal));
  catalog::Leases leases;
  reclaim::Reclaimer reclaimer({*content, *layers, *catalog, leases}, clock);
  ASSIGN_OR_RETURN(const auto recovery, reclaimer.Recover({}));
  if (recovery.leftovers + recovery.adopted + recovery.lost + recovery.interrupted > 0)
    log::Info("store recovered", {{"leftovers", recovery.leftovers}, {"adopted", recovery.adopted}, {"lost", recovery.lost},
                                  {"interrupted_pulls", recovery.interrupted}});
  ASSIGN_OR_RETURN(auto mounter, rootfs::Mounter::Open(config.root, *layers));

  // The way to the registries.
  ASSIGN_OR_RETURN(auto proxies, http::ProxyRules::FromEnvironment(Environment()));
  const auto rules = std::make_shared<const http::ProxyRules>(std::move(proxies));
  http::Client http({.proxies = rules, .http2 = config.http2, .get_env = Environment()});
  std::mt19937_64 generator{std::random_device{}()};
  std::mutex generator_mutex;
  const auto random = [&] {
    std::lock_guard hold(generator_mutex);
    return std::uniform_real_distribution<double>(0, 1)(generator);
  };
  registry::Client registry(http, clock, random, config.registry);
  credentials::NodeConfig node_config(
      {.config_json = config.node_config, .dockercfg = config.node_config, .profile = config.profile}, clock);

  // The stories.
  pull::Puller puller({registry, *content, *layers, *catalog, leases, root}, config.pull);

  node::Mounts mounts(*catalog, *mounter);
  std::unique_ptr<NodeStack> node;
  if (config.node.enabled) {
    const auto bits = [&] {
      std::lock_guard hold(generator_mutex);
      return generator();
    };
    ASSIGN_OR_RETURN(node, NodeStack::Start({}, config, {puller, *catalog, *content, *layers, mounts, node_config, root, bits}));
  }

  ExplainStack explain(config, {http, *rules, *catalog, node_config, node.get(), random});

  // The face.
  api::ServiceOptions options{.root = config.root, .form = machine.form, .host = config.pull.host, .probes = Describe(machine, root),
                              .limits = config::ListLimits(config)};
  options.node_credentials = [&](const task::Context&, const reference::Reference& name) -> Result<std::vector<credentials::Credential>> {
    return node_config.Get()->Find(name.Repository());
  };
  if (node != nullptr)
    for (auto& probe : node->probes()) options.probes.push_back(std::move(probe));
  options.streams = {.limit = config.streams, .on_idle = [] { ::malloc_trim(0); }};
  api::Service service({puller, reclaimer, mounts, *content, *layers, *catalog, leases, root}, std::move(options), clock);
  RETURN_IF_ERROR(service.Recover());
  api::ServerOptions listen{.socket = config.socket, .inherited = std::move(inherited), .message_bytes = config.message_bytes,
                            .metadata_bytes = config.metadata_bytes, .streams = config.streams};
  listen.more.push_back(&explain.service().grpc());
  if (node != nullptr) listen.more.push_back(&node->service().grpc());
  if (node != nullptr) RETURN_IF_ERROR(node->ServeApi(config, root));
  ASSIGN_OR_RETURN(auto server, api::Server::Start(service, std::move(listen)));  // last: who can call it finds all else

  // What goes on beside it.
  const std::jthread sweeper([&](const std::stop_token& stop) {
    const task::Context ctx(stop, clock);
    while (clock.SleepFor(stop, config.sweep_every)) {
      const auto swept = reclaimer.Sweep(ctx, reclaim::Ages{.unneeded = config.leftover_age, .partials = config.partial_age});
      if (!swept && !swept.error().cancelled()) log::Warning("leftovers could not be removed", {{"error", swept.error()}});
      ::malloc_trim(0);
    }
  });
  const std::jthread watchdog = FeedWatchdog(clock, [&] { return catalog->OpenPulls().has_value(); });

  log::Info("berthd is ready", {{"version", BERTH_VERSION}, {"store", config.root}, {"socket", config.socket}, {"form", layer::Name(machine.form)}});
  Notify("READY=1");
  config::DaemonConfig current = given;
  for (;;) {
    const int signal = NextSignal(signals);
    if (signal == SIGHUP) {
      Reload(load, current, node_config, node.get());
    } else if (signal == SIGUSR1) {
      log::Info("state", {{"running_pulls", puller.running()}, {"waiting_pulls", puller.waiting()}, {"streams", service.streams()},
                          {"leased_objects", leases.size()}, {"pods", node == nullptr ? 0 : node->pods()}});
    } else {
      break;
    }
  }
  log::Info("stopping", {});
  Notify("STOPPING=1");
  guard = GuardTheEnd(signals, kEnd);
  service.Drain();
  explain.service().Drain();
  if (node != nullptr) node->service().Drain();
  if (node != nullptr) node->StopApi(std::chrono::seconds(1));
  server->Stop(kGrace);
  return 0;
}

int Main(int argc, char** argv) {
  HardenProcess();
  CLI::App app{"berthd: the image daemon of a node"};
  std::string file = ::access("/etc/berth/config.yaml", R_OK) == 0 ? "/etc/berth/config.yaml" : "";
  std::vector<std::string> overrides;
  bool print = false, reference = false, version = false, points = false;
  app.add_option("-c,--config", file, "configuration file (default: /etc/berth/config.yaml if it is there)");
  app.add_option("--set", overrides, "key=value, over the file's (may be repeated)")->allow_extra_args(false);
  app.add_flag("--print-config", print, "show the settings and where each is from");
  app.add_flag("--config-reference", reference, "print docs/config.md");
  app.add_flag("--print-fault-points", points, "names of the fault points, as JSON (for the crash tests)");
  app.add_flag("--version", version, "show the version");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (version) return std::puts("berthd " BERTH_VERSION), 0;
  if (reference) return std::fputs(config::ConfigReference().c_str(), stdout), 0;
  if (points) {
    json::Writer w;
    w.BeginArray();
    for (const auto& point : host::AllFaultPoints()) w.String(point.name);
    return std::puts(std::move(w.EndArray()).Take().c_str()), 0;
  }
  const auto fail = [](const Error& error) {
    std::fprintf(stderr, "berthd: %s %s\n", std::string(error.info().code).c_str(), error.Text().c_str());
    if (!error.next_step().empty()) std::fprintf(stderr, "next: %s\n", error.next_step().c_str());
    return error.info().exit_status;
  };
  const LoadSettings load = [&] { return config::LoadConfig(file, overrides); };
  auto config = load();
  if (!config) return fail(config.error());
  if (print) return std::fputs(config::PrintConfig(*config).c_str(), stdout), 0;
  log::Init(config->log);
  if (const auto faults = host::ConfigureFaultsFromEnvironment(); !faults) return fail(faults.error());
  const auto served = Serve(*std::move(config), load);
  return served ? *served : fail(served.error());
}

}  // namespace
}  // namespace berth::berthd

int main(int argc, char** argv) { return berth::berthd::Main(argc, argv); }
