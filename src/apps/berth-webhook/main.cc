// berth-webhook: image policies of a cluster as an admission webhook. This file is its table of contents.
#include <CLI/CLI.hpp>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <random>
#include <set>

#include "apps/berth-webhook/cluster.h"
#include "apps/berth-webhook/service.h"
#include "apps/berth-webhook/settings.h"
#include "bytes/bytes.h"
#include "credentials/sources.h"
#include "digest/signature.h"
#include "digest/x509.h"
#include "host/dir.h"
#include "host/listen.h"
#include "host/machine.h"
#include "host/poll.h"
#include "host/standard_streams.h"
#include "http/client.h"
#include "httpd/server.h"
#include "metrics/process.h"
#include "registry/client.h"
#include "resolve/registry_resolver.h"
#include "time/go_duration.h"
#include "web/ops_pages.h"

namespace berth::webhook {
namespace {

constexpr std::size_t kPemBytes = 1u << 20;

// What is shown and who gets in, as the files have it now.
struct Identity {
  httpd::Certificate certificate;
  std::optional<httpd::ClientAuthority> clients;
};
Result<Identity> ReadIdentity(const Settings& s, const time::Clock& clock) {
  ASSIGN_OR_RETURN(const std::string chain, host::ReadSmallFile(s.certificate, kPemBytes));
  ASSIGN_OR_RETURN(std::string key, host::ReadSmallFile(s.key, kPemBytes));
  ASSIGN_OR_RETURN(auto certificate, httpd::Certificate::Parse(chain, secret::Secret::Take(key)));
  if (certificate.not_after() <= clock.WallNow())
    return Error(Reason::kConfig, "the certificate " + Quoted(s.certificate) + " has expired").Next("berth-webhook --make-certificates makes a new one");
  Identity identity{std::move(certificate), std::nullopt};
  if (!s.client_ca.empty()) {
    ASSIGN_OR_RETURN(const std::string pem, host::ReadSmallFile(s.client_ca, kPemBytes));
    ASSIGN_OR_RETURN(identity.clients, httpd::ClientAuthority::Parse(pem, s.client_names));
  }
  return identity;
}

// Signals, and changes in the folders of those files: a descriptor each. Kubernetes renames a link in the folder, people rename files.
struct Events {
  host::Fd signals, folders;
};
Result<Events> Listen(const Settings& s) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  Events events{host::Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)), host::Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK))};
  if (!events.signals.valid() || !events.folders.valid()) return host::OsError(errno, "watch for signals and files");
  std::set<std::string> folders;
  for (const std::string& file : {s.certificate, s.key, s.client_ca})
    if (!file.empty()) folders.insert(file.find('/') == std::string::npos ? "." : file.substr(0, file.rfind('/') + 1));
  for (const auto& folder : folders)
    if (::inotify_add_watch(events.folders.get(), folder.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO) < 0)
      return host::OsError(errno, "watch the folder " + Quoted(folder));
  return events;
}

// Everything behind pinning.
struct Registries {
  static Result<std::unique_ptr<Registries>> Make(const Settings& s, const time::Clock& clock) {
    auto access = s.kubeconfig.empty() ? InClusterAccess(&host::Variable) : ReadKubeconfig(s.kubeconfig);
    if (!access) return std::move(access).error();
    ASSIGN_OR_RETURN(auto proxies, http::ProxyRules::FromEnvironment(&host::Variable));
    return std::make_unique<Registries>(s, clock, *std::move(access), std::make_shared<const http::ProxyRules>(std::move(proxies)));
  }
  Registries(const Settings& s, const time::Clock& clock, ClusterAccess access, std::shared_ptr<const http::ProxyRules> proxies)
      : api({.get_env = &host::Variable}), cluster(api, std::move(access)),
        http({.proxies = std::move(proxies), .get_env = &host::Variable}), client(http, clock, [this] {
          std::lock_guard lock(mutex);
          return std::uniform_real_distribution<double>(0, 1)(generator);
        }, Options(s)),
        sources(s.documented ? credentials::Profile::kDocumented : credentials::Profile::kKubelet, {}), resolver(client, cluster, sources),
        digests(resolver, clock) {}
  static registry::ClientOptions Options(const Settings& s) {
    registry::ClientOptions options;
    if (!s.hosts.empty()) options.hosts.roots = s.hosts;
    options.hosts.plain_http = s.plain_http;
    options.retry.rounds = 2;  // somebody waits
    return options;
  }

  std::mutex mutex;
  std::mt19937_64 generator{std::random_device{}()};  // guarded by mutex
  http::Client api;
  Cluster cluster;
  http::Client http;
  registry::Client client;
  const credentials::Sources sources;
  resolve::RegistryResolver resolver;
  admission::DigestCache digests;
};

admission::Options AdmissionOptions(const Settings& s, bool mutate) {
  admission::Options options{.always_pull = s.always_pull, .pin = s.pin && mutate, .pinning = s.pinning, .mutate = mutate,
                             .judge = !mutate};
  options.always.ephemeral_containers = s.documented;
  return options;
}

Result<int> Serve(const Settings& s) {
  const time::Clock& clock = time::SystemClock();
  ASSIGN_OR_RETURN(const Events events, Listen(s));  // before the files are read: no change is missed
  ASSIGN_OR_RETURN(const auto first, ReadIdentity(s, clock));
  if (s.client_ca.empty()) log::Warning("anybody who reaches the port is answered; tls.client_ca lets in the API server only", {{"listen", s.listen}});
  metrics::Registry metrics;
  metrics::AddProcess(metrics);
  metrics.Collect("berth_build_info", "The version that runs.", metrics::Kind::kGauge,
                  [] { return std::vector<metrics::Sample>{{.labels = {{"version", BERTH_VERSION}}, .value = 1}}; });
  const auto expiry = metrics.MakeGauge("berth_webhook_certificate_expiry_timestamp_seconds", "When the certificate that is shown ends.");
  const auto reloaded = metrics.MakeGauge("berth_webhook_certificate_reload_success", "1: what is shown is what the files have.");
  std::atomic<std::int64_t> ends{0};
  const auto show = [&](const httpd::Certificate& c) {
    ends = std::chrono::floor<std::chrono::seconds>(c.not_after().time_since_epoch()).count();
    expiry.Set(static_cast<double>(ends));
    reloaded.Set(1);
  };
  show(first.certificate);

  std::unique_ptr<Registries> registries;
  if (s.pin) {
    ASSIGN_OR_RETURN(registries, Registries::Make(s, clock));
    metrics.Collect("berth_webhook_digests", "Answers of registries that are kept.", metrics::Kind::kGauge, [&] {
      return std::vector<metrics::Sample>{{.labels = {}, .value = static_cast<double>(registries->digests.size())}};
    });
  }
  const admission::Parts parts{registries ? &registries->cluster : nullptr, registries ? &registries->digests : nullptr};
  const admission::Admission mutating(AdmissionOptions(s, true), parts), validating(AdmissionOptions(s, false), parts);
  const unsigned workers = s.pin ? static_cast<unsigned>(s.workers) : 0;  // what only computes needs none
  ServiceOptions options{.timeout = s.timeout, .workers = workers};
  options.review.deny_on_error = s.deny_on_error;
  options.review.limits.bytes = s.review_bytes;
  Service service(mutating, validating, metrics, std::move(options));

  ASSIGN_OR_RETURN(const auto address, host::ParseTcpAddress(s.listen));
  ASSIGN_OR_RETURN(auto listener, host::ListenTcp(address));
  ASSIGN_OR_RETURN(const auto server,
                   httpd::Server::Start(
                       std::move(listener), [&](const task::Context& ctx, const httpd::Request& r) { return service.Answer(ctx, r); },
                       {.name = "webhook", .pollers = static_cast<unsigned>(s.pollers), .workers = workers, .body_bytes = s.review_bytes,
                        .body_limit = "review_bytes", .certificate = first.certificate, .clients = first.clients}));
  std::atomic<bool> stopping{false};
  const web::OpsPages pages({metrics,
                             {{"ping", true, [](const task::Context&) -> Result<> { return {}; }},
                              {"certificate", false, [&](const task::Context&) -> Result<> {
                                 if (clock.WallNow() < time::FromUnix(ends)) return {};
                                 return Error(Reason::kConfig, "the certificate has expired, and no good one took its place");
                               }},
                              {"shutdown", false, [&](const task::Context&) -> Result<> {
                                 if (stopping) return Error(Reason::kUnavailable, "berth-webhook is stopping");
                                 return {};
                               }}},
                             [&] { return PrintSettings(s); }});
  web::OpsServers ops(pages, {});
  if (ops.Serve(s.ops_listen) > 0) return Error(Reason::kSocket, "metrics and health cannot be served").Next("see the log; change ops_listen");
  std::string ops_at;
  for (const auto& a : ops.addresses()) ops_at += (ops_at.empty() ? "" : ",") + a;
  log::Info("berth-webhook is ready", {{"version", BERTH_VERSION}, {"listen", s.listen}, {"port", server->port()}, {"ops", ops_at},
                                       {"always_pull", s.always_pull}, {"pin", s.pin}});

  const auto reload = [&] {
    auto fresh = ReadIdentity(s, clock);
    if (!fresh) {
      reloaded.Set(0);
      return log::Failure("certificates: the old ones stay", {{"error", fresh.error()}});
    }
    server->SetCertificate(fresh->certificate);
    if (fresh->clients) server->SetClients(*fresh->clients);
    show(fresh->certificate);
    log::Info("certificates read again", {{"expires", ends.load()}});
  };
  for (bool go = true; go;) {
    std::array<pollfd, 2> ready{{{events.signals.get(), POLLIN, 0}, {events.folders.get(), POLLIN, 0}}};
    RETURN_IF_ERROR(host::Poll({}, ready));
    bool changed = false;
    std::array<char, 4096> names;
    while (::read(events.folders.get(), names.data(), names.size()) > 0) changed = true;
    signalfd_siginfo info{};
    while (::read(events.signals.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGHUP) changed = true;
      else go = false;
    }
    if (changed && go) reload();
  }
  stopping = true;
  log::Info("stopping", {{"drain", time::FormatGoDuration(s.drain)}});
  std::array<pollfd, 1> again{{{events.signals.get(), POLLIN, 0}}};  // who signals twice does not want to wait
  (void)host::Poll(task::Context().WithTimeout(s.drain), again);
  server->Stop(s.grace);
  return 0;
}

// --make-certificates: an authority (kept when it is there) and a new certificate by it.
Result<int> MakeCertificates(const std::string& path, const std::vector<std::string>& names, int days) {
  const time::WallTime now = time::SystemClock().WallNow();
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return host::OsError(errno, "make the folder " + Quoted(path));
  ASSIGN_OR_RETURN(const host::Dir folder, host::Dir::Open(path));
  const auto save = [&](const char* name, std::string_view text, std::uint32_t mode) {
    return folder.WriteDurably(name, bytes::AsView(text), mode);
  };
  ASSIGN_OR_RETURN(const bool old, folder.Exists("ca.key"));
  // From an hour ago on: clocks differ.
  const auto valid = [&](int length) {
    const auto seconds = [](time::WallTime t) { return std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()).count(); };
    return digest::Validity{seconds(now - std::chrono::hours(1)), seconds(now + std::chrono::hours(24 * length))};
  };
  std::string authority, authority_key_text;
  if (old) {
    ASSIGN_OR_RETURN(authority, folder.ReadSmall("ca.crt", kPemBytes));
    ASSIGN_OR_RETURN(authority_key_text, folder.ReadSmall("ca.key", kPemBytes));
  } else {
    authority_key_text = digest::MakeEcKey();
  }
  const auto authority_key = secret::Secret::Take(authority_key_text);
  if (!old) {
    ASSIGN_OR_RETURN(authority, digest::MakeAuthority(authority_key.Reveal(), "berth-webhook", valid(3650)));
    RETURN_IF_ERROR(save("ca.crt", authority, 0644));
    RETURN_IF_ERROR(save("ca.key", authority_key.Reveal(), 0600));  // last: without it both are made again
  }
  std::string key_text = digest::MakeEcKey();
  const auto key = secret::Secret::Take(key_text);
  ASSIGN_OR_RETURN(const std::string leaf,
                   digest::Issue(authority, authority_key.Reveal(), key.Reveal(), digest::LeafNames::Of(names), valid(days)));
  RETURN_IF_ERROR(save("tls.key", key.Reveal(), 0600));
  RETURN_IF_ERROR(save("tls.crt", leaf, 0644));
  std::printf("%s/{ca.crt,ca.key,tls.crt,tls.key}: %s, valid for %d days\n", path.c_str(), old ? "a new certificate by the same authority" : "a new authority and a certificate", days);
  return 0;
}

int Main(int argc, char** argv) {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0);
  ::umask(077);
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app{"berth-webhook: image policies of a cluster as an admission webhook"};
  std::string file, folder;
  std::vector<std::string> overrides, names{"berth-webhook.berth-system.svc", "berth-webhook.berth-system.svc.cluster.local"};
  int days = 365;
  bool print = false, version = false;
  app.add_option("-c,--config", file, "YAML file with settings");
  app.add_option("--set", overrides, "key=value, over the file's (may be repeated)")->allow_extra_args(false);
  app.add_flag("--print-config", print, "show every setting, its value and its meaning");
  app.add_option("--make-certificates", folder, "make ca.crt, ca.key, tls.crt and tls.key in this folder; an authority that is there is kept");
  app.add_option("--name", names, "DNS name or address for the certificate (may be repeated)")->allow_extra_args(false);
  app.add_option("--days", days, "of the certificate's life")->check(CLI::Range(1, 3650));
  app.add_flag("--version", version, "show the version");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (version) return std::puts("berth-webhook " BERTH_VERSION), 0;
  const auto fail = [](const Error& error) {
    std::fprintf(stderr, "berth-webhook: %s %s\n", std::string(error.info().code).c_str(), error.Text().c_str());
    if (!error.next_step().empty()) std::fprintf(stderr, "next: %s\n", error.next_step().c_str());
    return error.info().exit_status;
  };
  Result<int> done = 0;
  if (!folder.empty()) {
    done = MakeCertificates(folder, names, days);
  } else {
    const auto settings = LoadSettings(file, overrides);
    if (!settings) return fail(settings.error());
    if (print) return std::fputs(PrintSettings(*settings).c_str(), stdout), 0;
    log::Init(settings->log);
    done = Serve(*settings);
  }
  return done ? *done : fail(done.error());
}

}  // namespace
}  // namespace berth::webhook

int main(int argc, char** argv) {
  berth::host::KeepStandardStreams();
  return berth::webhook::Main(argc, argv);
}
