// berthd: the daemon. This file is its table of contents.
#include <CLI/CLI.hpp>
#include <malloc.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <csignal>
#include <random>
#include <thread>

#include "api/server.h"
#include "apps/berthd/notify.h"
#include "apps/berthd/probe.h"
#include "config/daemon_config.h"
#include "credentials/node_config.h"
#include "host/fault.h"
#include "host/lock.h"
#include "json/document.h"
#include "log/log.h"

namespace berth::berthd {
namespace {

constexpr auto kGrace = std::chrono::seconds(8);

// No core dumps, no ptrace by others, private files, no death by a closed pipe; glibc keeps few arenas and gives memory back.
void HardenProcess() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0);
  ::umask(077);
  std::signal(SIGPIPE, SIG_IGN);
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 20);
  ::mallopt(M_MMAP_THRESHOLD, 256 << 10);
}

// Blocked in every thread, read from one descriptor.
Result<host::Fd> TakeSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  host::Fd fd(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!fd.valid()) return host::OsError(errno, "signalfd");
  return fd;
}

int NextSignal(const host::Fd& signals) {
  signalfd_siginfo info{};
  while (::read(signals.get(), &info, sizeof info) != sizeof info) {
  }
  return static_cast<int>(info.ssi_signo);
}

std::string WorkerPath(const config::DaemonConfig& config) {
  if (!config.worker.empty()) return config.worker;
  char path[4096];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string self(path, length > 0 ? static_cast<std::size_t>(length) : 0);
  const std::string beside = self.substr(0, self.rfind('/')) + "/berth-unpack";
  // In a build folder each program has a folder of its own.
  if (::access(beside.c_str(), X_OK) != 0) {
    const std::string build = self.substr(0, self.rfind('/')) + "/../berth-unpack/berth-unpack";
    if (::access(build.c_str(), X_OK) == 0) return build;
  }
  return beside;
}

Result<> MakeFolder(const std::string& path) {
  for (std::size_t i = 1; i <= path.size(); ++i)
    if (i == path.size() || path[i] == '/')
      if (::mkdir(path.substr(0, i).c_str(), i == path.size() ? 0700 : 0755) != 0 && errno != EEXIST) return host::OsError(errno, "make folder " + Quoted(path));
  return {};
}

http::ProxyRules::GetEnv Environment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

Result<int> Serve(config::DaemonConfig config) {
  const time::Clock& clock = time::SystemClock();
  ASSIGN_OR_RETURN(const host::Fd signals, TakeSignals());

  // The store is ours alone.
  RETURN_IF_ERROR(MakeFolder(config.root));
  RETURN_IF_ERROR(MakeFolder(config.run_dir));
  ASSIGN_OR_RETURN(const host::Dir root, host::Dir::Open(config.root));
  auto lock = host::StoreLock::Acquire(root);
  if (!lock) return std::move(lock).error().Context(config.root);
  ASSIGN_OR_RETURN(const Machine machine, LookAround(root, config.form));
  config.pull.form = machine.form;

  // What it holds.
  ASSIGN_OR_RETURN(auto content, content::Store::Open(root));
  ASSIGN_OR_RETURN(auto layers, layer::LayerStore::Open(config.root, {.worker = WorkerPath(config), .unpack = config.unpack}));
  ASSIGN_OR_RETURN(auto catalog, catalog::Catalog::Open(config.root, clock, config.journal));
  catalog::Leases leases;
  reclaim::Reclaimer reclaimer({*content, *layers, *catalog, leases}, clock);
  ASSIGN_OR_RETURN(const auto recovery, reclaimer.Recover({}));
  if (recovery.leftovers + recovery.adopted + recovery.lost + recovery.interrupted > 0)
    log::Info("store recovered", {{"leftovers", recovery.leftovers}, {"adopted", recovery.adopted}, {"lost", recovery.lost}, {"interrupted_pulls", recovery.interrupted}});
  ASSIGN_OR_RETURN(auto mounter, rootfs::Mounter::Open(config.root, *layers));

  // The way to the registries.
  ASSIGN_OR_RETURN(auto proxies, http::ProxyRules::FromEnvironment(Environment()));
  http::Client http({.proxies = std::make_shared<http::ProxyRules>(std::move(proxies)), .get_env = Environment()});
  std::mt19937_64 generator{std::random_device{}()};
  std::mutex generator_mutex;
  const auto random = [&] {
    std::lock_guard guard(generator_mutex);
    return std::uniform_real_distribution<double>(0, 1)(generator);
  };
  registry::Client registry(http, clock, random, config.registry);
  credentials::NodeConfig node({.config_json = config.node_config, .dockercfg = config.node_config, .profile = config.profile}, clock);

  // The stories.
  pull::Puller puller({registry, *content, *layers, *catalog, leases, root}, config.pull);

  // The face.
  api::Service service({puller, reclaimer, *mounter, *content, *layers, *catalog, leases, root},
                       {.root = config.root, .form = machine.form, .host = config.pull.host, .probes = Describe(machine, root),
                        .limits = config::ListLimits(config),
                        .node_credentials = [&](const task::Context&, const reference::Reference& name) -> Result<std::vector<credentials::Credential>> {
                          return node.Get()->Find(name.Repository());
                        }},
                       clock);
  RETURN_IF_ERROR(service.Recover());
  ASSIGN_OR_RETURN(host::Fd inherited, api::TakeInheritedSocket());
  ASSIGN_OR_RETURN(auto server, api::Server::Start(service, {.socket = config.socket, .inherited = std::move(inherited), .streams = config.streams}));

  std::jthread sweeper([&](std::stop_token stop) {
    const task::Context ctx(stop, clock);
    while (clock.SleepFor(stop, config.sweep_every)) {
      if (const auto swept = reclaimer.Sweep(ctx, reclaim::Ages{.unneeded = config.leftover_age, .partials = config.partial_age}); !swept && !swept.error().cancelled())
        log::Warning("leftovers could not be removed", {{"error", swept.error()}});
      ::malloc_trim(0);
    }
  });

  log::Info("berthd is ready", {{"version", BERTH_VERSION}, {"store", config.root}, {"socket", config.socket}, {"form", layer::Name(machine.form)}});
  Notify("READY=1");
  for (;;) {
    const int signal = NextSignal(signals);
    if (signal == SIGUSR1) {
      log::Info("state", {{"running_pulls", puller.running()}, {"waiting_pulls", puller.waiting()}, {"streams", service.streams()}});
      continue;
    }
    if (signal == SIGHUP) {
      // hosts.toml and certificates are read at every pull; the node's credentials are kept a while.
      node.Reload();
      log::Info("credentials will be read again", {});
      continue;
    }
    break;
  }
  log::Info("stopping", {});
  Notify("STOPPING=1");
  std::jthread impatient([&](std::stop_token stop) {
    // A second signal ends it at once; partial downloads are on disk as they are.
    pollfd wait{signals.get(), POLLIN, 0};
    while (!stop.stop_requested())
      if (::poll(&wait, 1, 200) > 0 && (NextSignal(signals) & ~SIGHUP) != 0) ::_exit(143);
  });
  service.Drain();
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
  auto config = config::LoadConfig(file, overrides);
  if (!config) return fail(config.error());
  if (print) return std::fputs(config::PrintConfig(*config).c_str(), stdout), 0;
  log::Init(config->log);
  if (const auto faults = host::ConfigureFaultsFromEnvironment(); !faults) return fail(faults.error());
  const auto served = Serve(*std::move(config));
  return served ? *served : fail(served.error());
}

}  // namespace
}  // namespace berth::berthd

int main(int argc, char** argv) { return berth::berthd::Main(argc, argv); }
