// berthd: the daemon. This file is its table of contents.
#include <CLI/CLI.hpp>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
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
#include "apps/berthd/telemetry.h"
#include "config/daemon_config.h"
#include "cri/service.h"
#include "credentials/node_config.h"
#include "host/fault.h"
#include "host/listen.h"
#include "host/lock.h"
#include "host/machine.h"
#include "host/standard_streams.h"
#include "json/document.h"
#include "log/log.h"
#include "reclaim/image_gc.h"
#include "reclaim/stored_images.h"
#include "verify/verifier.h"
#include "web/ops_pages.h"

namespace berth::berthd {
namespace {

constexpr auto kGrace = std::chrono::seconds(5);   // for running calls to end
constexpr auto kEnd = std::chrono::seconds(9);     // for everything: the unit gives fifteen
constexpr std::uint64_t kReserve = 16u << 20;      // for removals on a full disk (reliability-security 5.4)
constexpr std::uint64_t kLeastSpace = 64u << 20;   // below it no pull can succeed

// Reads the settings (again, with the files that were read before): the file and what the command line put over it.
using LoadSettings = std::function<Result<config::DaemonConfig>(const std::vector<std::string>& before)>;

// Of the socket's folder: two daemons with different stores must not take each other's socket away.
Result<host::StoreLock> LockSocket(const std::string& socket) {
  const auto slash = socket.rfind('/');
  ASSIGN_OR_RETURN(const host::Dir folder, host::Dir::Open(slash == 0 ? "/" : socket.substr(0, slash)));
  auto lock = host::StoreLock::Acquire(folder, time::SystemClock(), socket.substr(slash + 1) + ".lock");
  if (!lock && lock.error().reason() == Reason::kConflict)
    return Error(Reason::kConflict, "another berthd serves the socket " + Quoted(socket)).Next("stop it, or set `socket`");
  return lock;
}

// A catalog that is gone must not look like an empty store whose layers nobody needs. A missing or empty file is not opened:
// SQLite would make a new database of it and drop its log, with which the old one can perhaps be had back. One that knows
// nothing is another store's, or older than this one's first pull (a lost log): a pull has its row before its first layer.
Result<std::unique_ptr<catalog::Catalog>> OpenCatalog(const config::DaemonConfig& config, const host::Dir& root,
                                                      const layer::LayerStore& layers, const time::Clock& clock) {
  const auto check = [&](const std::string& how) -> Result<> {
    std::vector<std::string> damaged;
    ASSIGN_OR_RETURN(const auto whole, layers.List(&damaged));
    const std::size_t left = whole.size() + damaged.size();
    if (left == 0) return {};
    return db::Damaged("catalog.db", "catalog.db " + how + ", and the store holds " + std::to_string(left) + (left == 1 ? " layer" : " layers"));
  };
  const auto file = root.Stat("catalog.db");
  if (!file && file.error().reason() != Reason::kMissing) return file.error();
  if (!file || file->size == 0) RETURN_IF_ERROR(check(file ? "is empty" : "is missing"));
  ASSIGN_OR_RETURN(auto catalog, catalog::Catalog::Open(config.root, clock, {.entries = config.journal, .age = config.journal_age},
                                                        kReserve));
  ASSIGN_OR_RETURN(const bool empty, catalog->Empty());
  if (empty) RETURN_IF_ERROR(check("knows nothing"));
  return catalog;
}

void Tell(const verify::Rules& rules) {
  log::Info("image verification", {{"rules", rules.Summary()}});
  for (const auto& note : rules.notes()) log::Warning("image verification: a note on the rules", {{"note", note}});
}

// What a SIGHUP changes. Log, credentials, the rules for images and the sockets of the pages change at once; hosts.toml and
// certificates are read at every pull; the rest needs a restart, and the log says which.
class Settings {
 public:
  explicit Settings(const config::DaemonConfig& given) : current_(given), origins_(given.origins) {}

  void Reload(const LoadSettings& load, credentials::NodeConfig& credentials, verify::RuleVerifier& verifier, NodeStack* node,
              web::OpsServers& pages, Telemetry& telemetry) {
    NotifyReloading();
    credentials.Reload();
    Result<> plugins;
    if (node != nullptr) plugins = node->Reload();
    if (!plugins) log::Failure("credential plug-ins: the old configuration stays", {{"error", plugins.error()}});
    auto fresh = load(current_.files);
    if (fresh) {
      log::Init(fresh->log);
      verifier.Replace(fresh->verification);
      Tell(fresh->verification);
      const std::lock_guard hold(mutex_);
      current_.log = fresh->log;
      current_.verification = fresh->verification;
      current_.http_listen = fresh->http_listen;
      current_.origins = fresh->origins;
      current_.files = fresh->files;
      std::string restart;
      for (const auto& key : config::Differences(current_, *fresh)) {
        restart += (restart.empty() ? "" : ",") + key;
        const auto origin = origins_.find(key);
        current_.origins[key] = (origin == origins_.end() ? "default" : origin->second) + " until the next start";
      }
      log::Info("settings read again", {{"restart_needed", !restart.empty()}, {"by", restart}});
    } else {
      log::Failure("the settings cannot be read; the old ones stay", {{"error", fresh.error()}});
    }
    (void)pages.Serve(current_.http_listen);
    telemetry.OnReload(fresh && plugins);
    Notify("READY=1");
  }
  std::string Print() {
    const std::lock_guard hold(mutex_);
    return config::PrintConfig(current_);
  }

 private:
  std::mutex mutex_;              // /configz reads while a reload writes
  config::DaemonConfig current_;  // guarded by mutex_; written by the main thread only
  const std::map<std::string, std::string> origins_;  // at the start, of what only a start changes
};

// Sockets of the service manager, by name: "ops" and "metrics" (berthd-ops.socket) for the pages, any other is for gRPC.
struct Sockets {
  host::Fd grpc;
  std::vector<host::Fd> pages;
};
Result<Sockets> TakeSockets() {
  ASSIGN_OR_RETURN(auto inherited, host::TakeInheritedSockets());
  Sockets sockets;
  for (auto& [name, fd] : inherited) {
    if (name == "ops" || name == "metrics" || name == "berthd-ops.socket") sockets.pages.push_back(std::move(fd));
    else if (sockets.grpc.valid())
      return Error(Reason::kConfig, "the service manager handed over several sockets for berth.v1; the second is called " + Quoted(name))
          .Next("set FileDescriptorName=ops in the unit of the socket for metrics");
    else sockets.grpc = std::move(fd);
  }
  return sockets;
}

// For people: systemctl status.
std::string Status(const pull::Puller& puller, const host::Dir& root) {
  std::string text = std::to_string(puller.running()) + " pulls, " + std::to_string(puller.waiting()) + " waiting";
  if (const auto space = root.FreeSpace(); space && space->total_bytes > 0)
    text += ", disk " + std::to_string(100 - 100 * space->available_bytes / space->total_bytes) + "%";
  return text;
}

std::vector<web::Check> Checks(catalog::Catalog& catalog, const host::Dir& root, const std::atomic<bool>& stopping) {
  return {
      {"catalog", true, [&](const task::Context&) -> Result<> {
         RETURN_IF_ERROR(catalog.OpenPulls());
         return {};
       }},
      {"store", true, [&](const task::Context&) -> Result<> {
         ASSIGN_OR_RETURN(const bool there, root.Exists("catalog.db"));
         if (!there) return Error(Reason::kCorrupt, "catalog.db is no longer in the store");
         return {};
       }},
      {"space", false, [&](const task::Context&) -> Result<> {
         ASSIGN_OR_RETURN(const auto space, root.FreeSpace());
         if ((space.total_bytes > 0 && space.available_bytes < kLeastSpace) || (space.total_inodes > 0 && space.free_inodes == 0))
           return Error(Reason::kNoSpace, "the file system of the store is full");
         return {};
       }},
      {"shutdown", false, [&](const task::Context&) -> Result<> {
         if (stopping) return Error(Reason::kUnavailable, "berthd is stopping");
         return {};
       }},
  };
}

// Images are in use when they are mounted, and when a Pod of this node names them.
reclaim::ImageGc::Parts CollectorParts(reclaim::StoredImages& images, catalog::Catalog& catalog, const host::Dir& root, NodeStack* node,
                                       const time::Clock& clock) {
  reclaim::ImageGc::Parts parts{images, nullptr, [&root] { return root.FreeSpace(); }, nullptr, nullptr, clock};
  parts.in_use = [&catalog, node](const task::Context&) -> Result<reclaim::InUse> {
    reclaim::InUse in_use;
    if (node != nullptr) {
      ASSIGN_OR_RETURN(in_use, node->node().ImagesInUse());
    }
    ASSIGN_OR_RETURN(auto mounted, reclaim::MountedImages(catalog));
    in_use.merge(mounted);
    return in_use;
  };
  parts.warn = [node](std::string_view reason, const std::string& message) {
    log::Warning(std::string(reason), {{"message", message}});
    if (node != nullptr) node->node().Tell({.reason = std::string(reason), .warning = true, .message = message});
  };
  parts.after = [node](const task::Context& ctx, const std::set<std::string>& present, time::WallTime began) -> Result<> {
    if (node == nullptr || node->records() == nullptr) return {};
    RETURN_IF_ERROR(node->records()->Prune(ctx, present, began));
    return {};
  };
  return parts;
}

Result<int> Serve(config::DaemonConfig config, const LoadSettings& load) {
  const time::Clock& clock = time::SystemClock();
  const config::DaemonConfig given = config;
  Telemetry telemetry(clock);  // counts what everything below does
  ASSIGN_OR_RETURN(const host::Fd signals, TakeSignals());
  std::jthread guard;  // of the end; the last to go
  ASSIGN_OR_RETURN(Sockets sockets, TakeSockets());

  // The store is ours alone.
  RETURN_IF_ERROR(MakePrivateFolder(config.root));
  RETURN_IF_ERROR(MakePrivateFolder(config.run_dir));
  ASSIGN_OR_RETURN(const host::Dir root, host::Dir::Open(config.root));
  auto lock = host::StoreLock::Acquire(root, time::SystemClock());
  if (!lock) return std::move(lock).error().Context(config.root);
  ASSIGN_OR_RETURN(const auto socket_lock, LockSocket(config.socket));
  ASSIGN_OR_RETURN(const std::string worker, FindWorker(config));
  ASSIGN_OR_RETURN(auto layers, layer::LayerStore::Open(config.root, {.worker = worker, .unpack = config.unpack,
                                                       .zstd_budget_bytes = config.zstd_budget_bytes}));
  ASSIGN_OR_RETURN(const Machine machine, LookAround(root, config, worker, *layers));
  config.pull.form = machine.form;

  // What it holds.
  ASSIGN_OR_RETURN(auto content, content::Store::Open(root));
  ASSIGN_OR_RETURN(auto catalog, OpenCatalog(config, root, *layers, clock));
  catalog::Leases leases;
  reclaim::Reclaimer reclaimer({*content, *layers, *catalog, leases}, clock);
  ASSIGN_OR_RETURN(const auto recovery, reclaimer.Recover({}));
  if (recovery.leftovers + recovery.adopted + recovery.lost + recovery.interrupted > 0)
    log::Info("store recovered", {{"leftovers", recovery.leftovers}, {"adopted", recovery.adopted}, {"lost", recovery.lost},
                                  {"interrupted_pulls", recovery.interrupted}});
  ASSIGN_OR_RETURN(auto mounter, rootfs::Mounter::Open(config.root, *layers, {config.run_dir}));

  // The way to the registries.
  ASSIGN_OR_RETURN(auto proxies, http::ProxyRules::FromEnvironment(&host::Variable));
  const auto rules = std::make_shared<const http::ProxyRules>(std::move(proxies));
  http::Client http({.proxies = rules, .http2 = config.http2, .get_env = &host::Variable});
  std::mt19937_64 generator{std::random_device{}()};
  std::mutex generator_mutex;
  const auto random = [&] {
    std::lock_guard hold(generator_mutex);
    return std::uniform_real_distribution<double>(0, 1)(generator);
  };
  credentials::NodeConfig node_config(
      {.config_json = config.node_config, .dockercfg = config.node_config, .profile = config.profile, .limits = config.docker_config},
      clock);
  // Mirrors are the node's, and so are their passwords.
  config.registry.mirror_credentials = [&node_config](const std::string& repository) { return node_config.Get()->Find(repository); };
  registry::Client registry(http, clock, random, config.registry);

  // The stories.
  verify::RuleVerifier verifier(config.verification, clock, std::chrono::seconds(60), config.signatures);
  Tell(config.verification);
  config.pull.observer = &telemetry;
  config.pull.free_space = [&](const task::Context& ctx, std::uint64_t wanted) -> Result<std::uint64_t> {
    ASSIGN_OR_RETURN(const auto freed, reclaimer.MakeRoom(ctx, wanted));
    telemetry.OnFreed("room", freed.bytes);
    return freed.bytes;
  };
  pull::Puller puller({registry, *content, *layers, *catalog, leases, root, &verifier}, config.pull);

  node::Mounts mounts(*catalog, *mounter);
  std::unique_ptr<NodeStack> node;
  if (config.node.enabled) {
    const auto bits = [&] {
      std::lock_guard hold(generator_mutex);
      return generator();
    };
    ASSIGN_OR_RETURN(node, NodeStack::Start({}, config, {puller, *catalog, leases, *content, *layers, mounts, node_config, root, bits,
                                                             [&](const auto&... run) { telemetry.OnPlugin(run...); }}));
  }

  // What gives space back. Without Pods of our own somebody else decides which images are needed.
  const reclaim::Ages ages{.unneeded = config.leftover_age, .partials = config.partial_age};
  reclaim::StoredImages stored(reclaimer, {*content, *layers, *catalog, leases}, ages);
  const policy::KubeletConfig kubelet = node != nullptr ? node->node().options().kubelet : policy::KubeletConfig();
  reclaim::ImageGc gc({.high_percent = kubelet.image_gc_high_threshold_percent, .low_percent = kubelet.image_gc_low_threshold_percent,
                       .min_age = kubelet.image_minimum_gc_age, .max_age = kubelet.image_maximum_gc_age},
                      CollectorParts(stored, *catalog, root, node.get(), clock));

  ExplainStack explain(config, {http, *rules, *catalog, node_config, node.get(), random, verifier});

  // The face.
  api::ServiceOptions options{.root = config.root, .form = machine.form, .host = config.pull.host, .probes = Describe(machine, root),
                              .limits = config::ListLimits(config)};
  const api::NodeCredentials node_credentials = [&](const task::Context& ctx,
                                                    const reference::Reference& name) -> Result<std::vector<credentials::Credential>> {
    if (node == nullptr) return node_config.Get()->Find(name.Repository());
    ASSIGN_OR_RETURN(auto found, node->sources().Find(ctx, {.repository = name.Repository(), .secrets = {}}));  // and the plug-ins
    return std::move(found.credentials);
  };
  options.node_credentials = node_credentials;
  if (node != nullptr)
    for (auto& probe : node->probes()) options.probes.push_back(std::move(probe));
  options.streams = {.limit = config.streams, .on_idle = [] { ::malloc_trim(0); }};
  api::Service service({puller, reclaimer, mounts, *content, *layers, *catalog, leases, root, gc}, std::move(options), clock);
  RETURN_IF_ERROR(service.Recover());
  cri::Service cri({puller, reclaimer, *content, *catalog, mounts},
                   {.root = config.root, .form = machine.form, .host = config.pull.host, .handlers = config.runtime_handlers,
                    .node_credentials = node_credentials, .message_bytes = config.message_bytes,
                    .streams = {.limit = config.streams, .on_idle = [] { ::malloc_trim(0); }}}, clock);
  RETURN_IF_ERROR(cri.Warm());
  api::ServerOptions listen{.socket = config.socket, .inherited = std::move(sockets.grpc), .message_bytes = config.message_bytes,
                            .metadata_bytes = config.metadata_bytes, .streams = config.streams, .connections = config.connections,
                            .connections_per_process = config.connections_per_process};
  for (grpc::Service* more : {&explain.service().grpc(), &cri.images(), &cri.runtime()}) listen.more.push_back(more);
  listen.health.push_back("runtime.v1.ImageService");
  listen.on_call = [&telemetry](std::string_view method) { return telemetry.OnCall(method); };
  if (node != nullptr) listen.more.push_back(&node->service().grpc());
  if (node != nullptr) RETURN_IF_ERROR(node->ServeApi(config, root));
  ASSIGN_OR_RETURN(auto server, api::Server::Start(service, std::move(listen)));  // last: who can call it finds all else

  // What goes on beside it.
  const std::jthread sweeper([&](const std::stop_token& stop) {
    const task::Context ctx(stop, clock);
    while (clock.SleepFor(stop, config.sweep_every)) {
      const auto swept = reclaimer.Sweep(ctx, ages);
      if (swept) telemetry.OnFreed("leftover", swept->bytes);
      else if (!swept.error().cancelled()) log::Warning("leftovers could not be removed", {{"error", swept.error()}});
      if (const auto trimmed = catalog->TrimJournal(); !trimmed) log::Warning("old entries of the journal could not be removed", {{"error", trimmed.error()}});
      ::malloc_trim(0);
    }
  });
  std::jthread collector;
  if (node != nullptr) collector = std::jthread([&](const std::stop_token& stop) { gc.Run(stop); });
  telemetry.Attach(puller);
  telemetry.Attach(*catalog, *content, root);
  telemetry.Attach(gc);
  if (node != nullptr) {
    telemetry.Attach(node->images(), node->records());
    telemetry.AttachPods([&] { return node->pods(); });
    if (const auto* plugins = node->plugins()) telemetry.AttachPluginHash([plugins] { return plugins->hash(); });
  }
  std::atomic<bool> stopping{false};
  Settings settings(given);
  const web::OpsPages pages({telemetry.registry(), Checks(*catalog, root, stopping), [&] { return settings.Print(); }});
  web::OpsServers ops(pages, std::move(sockets.pages));
  (void)ops.Serve(given.http_listen);
  const std::jthread informed = KeepInformed(clock, [&] { return pages.Live({}); }, [&] { return Status(puller, root); });

  log::Info("berthd is ready", {{"version", BERTH_VERSION}, {"store", config.root}, {"socket", config.socket}, {"form", layer::Name(machine.form)}});
  Notify("READY=1");
  for (;;) {
    const int signal = NextSignal(signals);
    if (signal == SIGHUP) {
      settings.Reload(load, node_config, verifier, node.get(), ops, telemetry);
    } else if (signal == SIGUSR1) {
      log::Info("state", {{"running_pulls", puller.running()}, {"waiting_pulls", puller.waiting()}, {"streams", service.streams() + cri.waiting()},
                          {"leased_objects", leases.size()}, {"pods", node == nullptr ? 0 : node->pods()}});
    } else {
      break;
    }
  }
  log::Info("stopping", {});
  Notify("STOPPING=1");
  stopping = true;
  guard = GuardTheEnd(signals, kEnd);
  service.Drain();
  cri.Drain();
  explain.service().Drain();
  if (node != nullptr) node->service().Drain();
  if (node != nullptr) node->StopApi(std::chrono::seconds(1));
  server->Stop(kGrace);
  return 0;
}

int Main(int argc, char** argv) {
  HardenProcess();
  CLI::App app{"berthd: the image daemon of a node"};
  std::string file;
  std::vector<std::string> overrides;
  bool print = false, reference = false, version = false, points = false;
  app.add_option("-c,--config", file, "configuration file (default: /etc/berth/config.yaml if it is there); config.d/*.yaml beside it come after it");
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
    std::string next = error.next_step();
    if (next.empty() && error.reason() == Reason::kConfig) next = "correct it; berthd --config-reference lists all settings and what they take";
    if (!next.empty()) std::fprintf(stderr, "next: %s\n", next.c_str());
    return error.info().exit_status;
  };
  const LoadSettings load = [&](const auto& before) { return config::LoadConfig(file, overrides, before); };
  auto config = load({});
  if (!config) return fail(config.error());
  if (print) return std::fputs(config::PrintConfig(*config).c_str(), stdout), 0;
  log::Init(config->log);
  if (const auto faults = host::ConfigureFaultsFromEnvironment(); !faults) return fail(faults.error());
  const auto served = Serve(*std::move(config), load);
  return served ? *served : fail(served.error());
}

}  // namespace
}  // namespace berth::berthd

int main(int argc, char** argv) {
  berth::host::KeepStandardStreams();
  return berth::berthd::Main(argc, argv);
}
