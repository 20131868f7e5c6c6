#include "node/launcher.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>

#include "host/dir.h"
#include "kube/parse.h"
#include "launch/bundle.h"
#include "launch/gc.h"
#include "launch/seccomp.h"
#include "launch/users.h"
#include "launch/volumes.h"
#include "log/log.h"

namespace berth::node {
namespace {

constexpr std::size_t kConfigBytes = 64u << 20;       // far above any limit under which one was stored
constexpr const char* kRunFile = "run.json";          // what we know of a run and its folder does not say
constexpr const char* kBegunFile = "begun";           // the runtime has started the container; not synced: a power cut ends containers, too
// For what must not be left half done when the daemon ends: until the runtime has answered, or is stuck.
task::Context AtOnce() { return task::Context().WithTimeout(std::chrono::minutes(2)); }

using Stage = StartFailure::Stage;

Result<host::Dir> MakeDirs(const std::string& base, const std::string& relative, std::uint32_t mode = 0700) {
  ASSIGN_OR_RETURN(host::Dir dir, host::Dir::Open(base));
  for (std::size_t from = 0; from < relative.size();) {
    const auto slash = std::min(relative.find('/', from), relative.size());
    ASSIGN_OR_RETURN(dir, dir.MakeAndOpenDir(relative.substr(from, slash - from), mode));
    from = slash + 1;
  }
  return dir;
}

std::int64_t Nanos(time::WallTime t) { return t.time_since_epoch().count(); }

struct RunFile {
  std::string log, stop_signal;
  kube::Container container;   // termination message path and policy
  time::WallTime started{};
};
std::string Encode(const RunFile& run) {
  json::Writer w;
  w.BeginObject().Key("log").String(run.log).Key("stopSignal").String(run.stop_signal);
  w.Key("container").String(run.container.name).Key("messagePath").String(run.container.termination_message_path);
  w.Key("messagePolicy").String(run.container.termination_message_policy).Key("started").Int(Nanos(run.started));
  return std::move(w.EndObject()).Take();
}
RunFile Decode(const std::string& text) {
  RunFile run;
  const auto document = json::Document::Parse(text, Reason::kCorrupt);
  if (!document) return run;
  const auto get = [&](const char* key) {
    const auto value = document->root().Find(key);
    const auto string = value ? value->AsString() : Result<std::string_view>(std::string_view());
    return string ? std::string(*string) : std::string();
  };
  run.log = get("log"), run.stop_signal = get("stopSignal");
  run.container.name = get("container");
  run.container.termination_message_path = get("messagePath"), run.container.termination_message_policy = get("messagePolicy");
  if (const auto value = document->root().Find("started"))
    if (const auto n = value->AsInt64()) run.started = time::WallTime(time::Duration(*n));
  return run;
}
RunFile ReadRun(const std::string& folder) {
  const auto text = host::ReadSmallFile(folder + "/" + kRunFile, 64u << 10);
  return text ? Decode(*text) : RunFile();
}

}  // namespace

Result<std::shared_ptr<const kube::Secret>> StoredConfig::FindSecret(const std::string& name) const {
  const auto object = store_.Get({"Secret", ns_, name});
  if (!object) return Error(Reason::kNotFound, "secret \"" + name + "\" not found");
  return std::make_shared<const kube::Secret>(kube::ReadSecret(**object));
}
Result<std::shared_ptr<const kube::ConfigMap>> StoredConfig::FindConfigMap(const std::string& name) const {
  const auto object = store_.Get({"ConfigMap", ns_, name});
  if (!object) return Error(Reason::kNotFound, "configmap \"" + name + "\" not found");
  return std::make_shared<const kube::ConfigMap>(kube::ReadConfigMap(**object));
}

Result<std::unique_ptr<Launcher>> Launcher::Open(LauncherOptions options, launch::Runtime runtime, launch::Machine machine, Parts parts) {
  host::Fd poll(::epoll_create1(EPOLL_CLOEXEC)), wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!poll.valid() || !wake.valid()) return host::OsError(errno, "prepare to wait for containers");
  epoll_event event{.events = EPOLLIN, .data = {.fd = wake.get()}};
  if (::epoll_ctl(poll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) return host::OsError(errno, "prepare to wait for containers");
  return std::unique_ptr<Launcher>(
      new Launcher(std::move(options), std::move(runtime), std::move(machine), parts, std::move(poll), std::move(wake)));
}

Launcher::Launcher(LauncherOptions options, launch::Runtime runtime, launch::Machine machine, Parts parts, host::Fd poll, host::Fd wake)
    : options_(std::move(options)), runtime_(std::move(runtime)), machine_(std::move(machine)), parts_(parts),
      poll_(std::move(poll)), wake_(std::move(wake)),
      waiter_([this](const std::stop_token& stop) { Wait(stop); }) {}

Launcher::~Launcher() {
  waiter_.request_stop();
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void Launcher::OnExit(std::function<void(const std::string&)> listener) {
  std::lock_guard hold(listener_mutex_);
  listener_ = std::move(listener);
}

void Launcher::Told(const std::string& uid) {
  std::lock_guard hold(listener_mutex_);
  if (listener_) listener_(uid);
}

std::string Launcher::LogPath(const kube::ObjectMeta& pod, const std::string& container, std::int32_t attempt) const {
  return LogDir(pod) + "/" + container + "/" + std::to_string(attempt) + ".log";
}

// ---- ends

void Launcher::Follow(const RunKey& run) {
  auto watch = launch::ExitWatch::Open(RunDir(run));
  {
    std::lock_guard hold(mutex_);
    if (watch && watch->fd() >= 0) {
      const int fd = watch->fd();
      watched_.emplace(fd, Watched{run, *std::move(watch)});
      epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.fd = fd}};
      if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return;
      watched_.erase(fd);
    }
  }
  Told(run.pod_uid);  // it has ended already
}

void Launcher::Wait(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    epoll_event events[64];
    const int n = ::epoll_wait(poll_.get(), events, 64, -1);
    if (n < 0 && errno != EINTR) return;
    std::set<std::string> ended;
    {
      std::lock_guard hold(mutex_);
      for (int i = 0; i < n; ++i) {
        const auto watched = watched_.find(events[i].data.fd);
        if (watched == watched_.end()) continue;
        ended.insert(watched->second.run.pod_uid);
        watched_.erase(watched);  // closes the descriptor, which leaves the epoll set with it
      }
    }
    for (const auto& uid : ended) Told(uid);
  }
}

RunState Launcher::State(const RunKey& run) {
  {
    std::lock_guard hold(mutex_);
    if (const auto known = ended_.find(run); known != ended_.end()) return known->second;
  }
  const std::string folder = RunDir(run);
  RunState state;
  const auto created = launch::ReadCreated(folder);
  if (!created || !*created) {
    // Prepared, and not given to the runtime: as good as nothing.
    return state;
  }
  const RunFile file = ReadRun(folder);
  state.container_id = "berth://" + IdOf(run);
  state.started_at = file.started;
  const auto watch = launch::ExitWatch::Open(folder);
  auto exit = watch ? watch->Check() : Result<std::optional<launch::Exit>>(watch.error());
  if (exit && !*exit) {
    state.kind = file.started.time_since_epoch().count() == 0 ? RunState::Kind::kCreated : RunState::Kind::kRunning;
    return state;
  }
  launch::Exit end = exit ? **exit : launch::Exit{.code = 255, .known = false, .finished_at = parts_.clock.WallNow()};
  if (!end.known) end.finished_at = parts_.clock.WallNow();
  state.kind = RunState::Kind::kExited;
  state.exit_code = end.code;
  state.signal = end.signal;
  state.oom_killed = end.oom_killed;
  state.reason = end.Reason();
  state.finished_at = end.finished_at;
  state.message = launch::TerminationMessage(PodDir(run.pod_uid), file.container, IdOf(run), end, file.log);
  if (const auto gone = Discard(run); !gone)
    log::Warning("what a container left cannot be removed yet", {{"container", IdOf(run)}, {"error", gone.error()}});
  std::lock_guard hold(mutex_);
  return ended_.emplace(run, state).first->second;
}

// ---- beginnings

Result<> Launcher::SetUpPod(const task::Context& ctx, const kube::Pod& pod) {
  const std::string dir = PodDir(pod.metadata.uid);
  RETURN_IF_ERROR(MakeDirs(options_.pods, pod.metadata.uid));
  const StoredConfig objects(parts_.store, pod.metadata.ns);
  kube::Pod shown = pod;
  shown.status.host_ip = options_.host_ip;
  shown.status.pod_ip = PodIp(pod);
  const launch::VolumeContext volumes{.pod_dir = dir,
                                      .facts = {shown, machine_.cpus * 1000, static_cast<std::int64_t>(machine_.memory_bytes)},
                                      .objects = objects,
                                      .images = {}};
  for (const auto& volume : pod.spec.volumes) {
    if (volume.kind == kube::Volume::Kind::kImage) continue;
    if (const auto made = launch::SetUpVolume(ctx, volumes, volume); !made) {
      if (made.error().cancelled()) return made.error();
      return Error(made.error().reason(), "MountVolume.SetUp failed for volume \"" + volume.name + "\" : " + made.error().Text());
    }
  }
  return {};
}

Result<launch::Sandbox> Launcher::SandboxOf(const task::Context& ctx, const kube::Pod& pod) const {
  return launch::StartSandbox(ctx, {.pod = pod, .dir = PodDir(pod.metadata.uid) + "/" + launch::kSandboxName, .shim = runtime_.setup().shim,
                                    .node_name = options_.node_name, .allowed_sysctls = {}});
}

Result<bool> Launcher::StartSandbox(const task::Context& ctx, const kube::Pod& pod) {
  ASSIGN_OR_RETURN(const auto sandbox, SandboxOf(ctx, pod));
  return sandbox.made;
}

std::optional<StartFailure> Launcher::Create(const task::Context& ctx, const StartRequest& request) {
  const RunKey run{request.pod.metadata.uid, request.container.name, request.attempt};
  Stage stage = Stage::kCreate;
  (void)RemoveRun(run);  // what an attempt before a crash left
  // Of a container's logs the latest and the one before are kept.
  if (const auto logs = host::Dir::Open(LogDir(request.pod.metadata) + "/" + request.container.name)) {
    const std::string old = std::to_string(request.attempt - 2) + ".log";
    if (const auto names = logs->List(); names && request.attempt >= 2)
      for (const auto& name : *names)
        if (name.starts_with(old)) (void)logs->Unlink(name);
  }
  if (const auto prepared = Prepare(ctx, request, stage); !prepared) {
    (void)RemoveRun(run);
    return StartFailure{stage, prepared.error().Text()};
  }
  return std::nullopt;
}

// Everything up to the runtime's "create"; the run's folder.
Result<std::string> Launcher::Prepare(const task::Context& ctx, const StartRequest& request, Stage& stage) {
  const auto& [pod, container, attempt, image_ref, volume_images] = request;
  const RunKey run{pod.metadata.uid, container.name, attempt};
  const std::string pod_dir = PodDir(run.pod_uid), folder = RunDir(run);
  ASSIGN_OR_RETURN(const auto image, parts_.images.Find(image_ref));
  ASSIGN_OR_RETURN(const std::string config_text, parts_.content.ReadDocument(image.config, kConfigBytes));
  ASSIGN_OR_RETURN(const auto config, oci::ImageConfig::Parse(config_text));

  kube::Pod shown = pod;
  shown.status.host_ip = options_.host_ip;
  shown.status.pod_ip = PodIp(pod);
  const StoredConfig objects(parts_.store, pod.metadata.ns);
  const launch::PodFacts facts{shown, machine_.cpus * 1000, static_cast<std::int64_t>(machine_.memory_bytes)};
  stage = Stage::kConfig;
  ASSIGN_OR_RETURN(const auto environment, launch::MakeEnvironment(facts, container, objects));
  RETURN_IF_ERROR(launch::CheckNonRoot(pod, container, config));
  stage = Stage::kCreate;
  ASSIGN_OR_RETURN(const auto command,
                   launch::MakeCommand(config, container, environment.values, launch::PodHostname(pod, options_.node_name)));

  // The image, and the files around it.
  ASSIGN_OR_RETURN(const host::Dir dir, MakeDirs(pod_dir, "runs/" + container.name + "/" + std::to_string(attempt)));
  RETURN_IF_ERROR(dir.MakeDir("rootfs", 0755));
  const std::string rootfs = folder + "/rootfs";
  const auto security = launch::EffectiveSecurity(pod, container);
  const bool writable = !security.read_only_root_filesystem.value_or(false);
  const host::MountFlags flags{.read_only = !writable, .nodev = true, .nosuid = false};
  ASSIGN_OR_RETURN([[maybe_unused]] const auto mounted,
                   parts_.mounts.Mount(ctx, image, rootfs, writable ? rootfs::Writable::kYes : rootfs::Writable::kNo, flags));
  ASSIGN_OR_RETURN(const host::Dir root, host::Dir::Open(rootfs));
  ASSIGN_OR_RETURN(const auto user, launch::ResolveUser(root, pod, container, config, options_.accounts));

  launch::VolumeContext volumes{.pod_dir = pod_dir, .facts = facts, .objects = objects, .images = {}};
  for (const auto& [name, ref] : volume_images) {
    ASSIGN_OR_RETURN(const auto volume_image, parts_.images.Find(ref));
    RETURN_IF_ERROR(MakeDirs(pod_dir, "images/" + name, 0755));
    const std::string target = pod_dir + "/images/" + name;
    ASSIGN_OR_RETURN([[maybe_unused]] const auto at, parts_.mounts.Mount(ctx, volume_image, target, rootfs::Writable::kNo));
    volumes.images[name] = target;
  }
  for (const auto& volume : pod.spec.volumes)
    if (volume.kind == kube::Volume::Kind::kImage && volumes.images.contains(volume.name)) {
      ASSIGN_OR_RETURN([[maybe_unused]] const auto place, launch::SetUpVolume(ctx, volumes, volume));
    }
  ASSIGN_OR_RETURN(auto mounts, launch::VolumeMounts(volumes, container, environment.values));
  ASSIGN_OR_RETURN(auto message, launch::MakeTerminationFile(pod_dir, container, IdOf(run)));
  mounts.push_back(std::move(message));
  ASSIGN_OR_RETURN(const auto sandbox, SandboxOf(ctx, pod));
  for (auto& mount : launch::SandboxMounts(sandbox, container)) mounts.push_back(std::move(mount));

  const bool privileged = security.privileged.value_or(false);
  std::string seccomp;
  if (!privileged && security.seccomp && security.seccomp->type == "Localhost") {
    ASSIGN_OR_RETURN(seccomp, launch::ReadLocalhostSeccomp(options_.seccomp, security.seccomp->localhost_profile));
  }
  launch::BundleInput input{.pod = pod, .container = container, .command = command, .user = user, .machine = machine_, .rootfs = rootfs,
                            .cgroups_path = launch::CgroupPath(options_.pods, run.pod_uid, container.name), .hostname = sandbox.hostname,
                            .namespaces = sandbox.namespaces, .shm = sandbox.shm,
                            .mounts = std::move(mounts), .devices = {}, .localhost_seccomp = seccomp, .annotations = {}};
  if (privileged) input.devices = launch::ListHostDevices();
  ASSIGN_OR_RETURN(const auto bundle, launch::MakeBundle(input));
  for (const auto& note : bundle.notes) log::Info("a container does not get all that it asks for", {{"container", IdOf(run)}, {"note", note}});
  RETURN_IF_ERROR(dir.WriteDurably("config.json", bytes::AsView(bundle.config_json), 0600));
  RunFile file{.log = LogPath(pod.metadata, container.name, attempt),
               .stop_signal = container.stop_signal.empty() ? config.stop_signal : container.stop_signal,
               .container = container,
               .started = {}};
  RETURN_IF_ERROR(MakeDirs(options_.logs, file.log.substr(options_.logs.size() + 1, file.log.rfind('/') - options_.logs.size() - 1), 0755));
  RETURN_IF_ERROR(dir.WriteDurably(kRunFile, bytes::AsView(Encode(file)), 0600));
  return folder;
}

std::optional<StartFailure> Launcher::Start(const task::Context&, const RunKey& run) {
  const std::string folder = RunDir(run);
  RunFile file = ReadRun(folder);
  // Not the caller's context: a container that is half started when the daemon ends would have to be undone.
  const auto start = [&]() -> Result<> {
    RETURN_IF_ERROR(runtime_.Create(AtOnce(), {.id = IdOf(run),
                                              .folder = folder,
                                              .log_path = file.log,
                                              .log_max_bytes = options_.log_max_bytes,
                                              .log_files = options_.log_files}));
    file.started = parts_.clock.WallNow();
    ASSIGN_OR_RETURN(const host::Dir dir, host::Dir::Open(folder));
    RETURN_IF_ERROR(dir.WriteDurably(kRunFile, bytes::AsView(Encode(file)), 0600));
    RETURN_IF_ERROR(runtime_.Start(AtOnce(), IdOf(run)));
    (void)dir.CreateNew(kBegunFile, 0600);  // without it the next daemon asks the runtime
    return {};
  };
  if (const auto started = start(); !started) {
    (void)runtime_.Delete(AtOnce(), IdOf(run), folder);
    (void)Unmount(folder + "/rootfs");
    return StartFailure{Stage::kRun, started.error().Text()};
  }
  Follow(run);
  return std::nullopt;
}

// A daemon that was killed between its record of a start and the start itself left a container that waits for ever: it is started
// now. Once at most: a runtime starts only what is "created".
void Launcher::BeginUnlessBegun(const RunKey& run) {
  const auto dir = host::Dir::Open(RunDir(run));
  const auto begun = dir ? dir->Exists(kBegunFile) : Result<bool>(dir.error());
  if (!begun || *begun) return;
  const auto waits = [&] {
    const auto state = runtime_.State(AtOnce(), IdOf(run));
    return state && *state == "created";
  };
  if (waits()) {
    log::Info("a container that an earlier daemon had created is started", {{"container", IdOf(run)}});
    const auto started = runtime_.Start(AtOnce(), IdOf(run));
    if (!started && waits()) {  // else the runtime of that daemon was still at it
      log::Warning("the container cannot be started and is ended", {{"container", IdOf(run)}, {"error", started.error()}});
      (void)runtime_.Kill(AtOnce(), IdOf(run), SIGKILL);
      return;
    }
  }
  (void)dir->CreateNew(kBegunFile, 0600);
}

// ---- ends that we bring about

Result<> Launcher::Stop(const RunKey& run, const kube::Container& container) {
  const std::string& name = container.stop_signal.empty() ? ReadRun(RunDir(run)).stop_signal : container.stop_signal;
  return runtime_.Kill(AtOnce(), IdOf(run), launch::SignalNumber(name).value_or(SIGTERM));
}

Result<> Launcher::Kill(const RunKey& run) { return runtime_.Kill(AtOnce(), IdOf(run), SIGKILL); }

Result<std::int32_t> Launcher::Exec(const task::Context& ctx, const RunKey& run, const std::vector<std::string>& argv) {
  ASSIGN_OR_RETURN(const auto done, runtime_.Exec(ctx, IdOf(run), argv));
  return done.code;
}

// What the runtime keeps of a run, once: each question to it is a process.
Result<> Launcher::Discard(const RunKey& run) {
  {
    std::lock_guard hold(mutex_);
    if (discarded_.contains(run)) return {};
  }
  RETURN_IF_ERROR(runtime_.Delete(AtOnce(), IdOf(run), RunDir(run)));
  std::lock_guard hold(mutex_);
  discarded_.insert(run);
  return {};
}

Result<> Launcher::Unmount(const std::string& target) {
  auto done = parts_.mounts.Unmount(target);
  if (done || done.error().reason() == Reason::kMissing) return {};
  return done.error();
}

Result<> Launcher::RemoveRun(const RunKey& run) {
  const std::string folder = RunDir(run);
  ASSIGN_OR_RETURN(const host::Dir pods, host::Dir::Open(options_.pods));
  const std::string relative = folder.substr(options_.pods.size() + 1);
  ASSIGN_OR_RETURN(const bool there, pods.Exists(relative));
  if (there) {
    RETURN_IF_ERROR(Discard(run));
    RETURN_IF_ERROR(Unmount(folder + "/rootfs"));
    ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, pods.RemoveTree(relative));
  }
  std::lock_guard hold(mutex_);
  ended_.erase(run);
  discarded_.erase(run);
  return {};
}

std::vector<RunKey> Launcher::RunsOf(const std::string& uid) const {
  std::vector<RunKey> runs;
  const auto base = host::Dir::Open(PodDir(uid) + "/runs");
  if (!base) return runs;
  const auto containers = base->List();
  if (!containers) return runs;
  for (const auto& container : *containers) {
    const auto dir = base->OpenDir(container);
    const auto attempts = dir ? dir->List() : Result<std::vector<std::string>>(std::vector<std::string>());
    if (!attempts) continue;
    for (const auto& attempt : *attempts) {
      RunKey key{uid, container, 0};
      const auto [end, error] = std::from_chars(attempt.data(), attempt.data() + attempt.size(), key.attempt);
      if (error == std::errc() && end == attempt.data() + attempt.size()) runs.push_back(std::move(key));
    }
  }
  std::ranges::sort(runs);
  return runs;
}

Result<> Launcher::EndRuns(const task::Context& ctx, const std::string& uid, bool remove) {
  std::optional<Error> wrong;
  for (const auto& run : RunsOf(uid)) {
    RETURN_IF_ERROR(ctx.Check());
    const std::string folder = RunDir(run);
    const auto end = [&]() -> Result<> {
      if (remove) return RemoveRun(run);
      (void)State(run);  // keeps what the end was
      RETURN_IF_ERROR(Discard(run));
      return Unmount(folder + "/rootfs");
    };
    if (const auto ended = end(); !ended && !wrong) wrong = ended.error();
  }
  if (wrong) return *wrong;
  return {};
}

Result<> Launcher::StopSandbox(const task::Context& ctx, const kube::Pod& pod) {
  RETURN_IF_ERROR(EndRuns(ctx, pod.metadata.uid, false));
  ASSIGN_OR_RETURN([[maybe_unused]] const bool was, launch::StopSandbox(ctx, PodDir(pod.metadata.uid) + "/" + launch::kSandboxName));
  return {};
}

// Mounts of images go first, each with its record; launch undoes the rest.
Result<> Launcher::RemovePod(const task::Context& ctx, const std::string& uid) {
  RETURN_IF_ERROR(EndRuns(ctx, uid, true));
  if (const auto images = host::Dir::Open(PodDir(uid) + "/images")) {
    ASSIGN_OR_RETURN(const auto names, images->List());
    for (const auto& name : names) RETURN_IF_ERROR(Unmount(PodDir(uid) + "/images/" + name));
  }
  RETURN_IF_ERROR(launch::RemovePodRest(ctx, runtime_, options_.pods, uid));
  std::lock_guard hold(mutex_);
  std::erase_if(ended_, [&](const auto& e) { return e.first.pod_uid == uid; });
  std::erase_if(discarded_, [&](const auto& d) { return d.pod_uid == uid; });
  return {};
}

Result<> Launcher::TearDownPod(const task::Context& ctx, const kube::Pod& pod) {
  RETURN_IF_ERROR(RemovePod(ctx, pod.metadata.uid));
  ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, launch::RemovePodDir(ctx, LogDir(pod.metadata)));
  return {};
}

std::vector<FoundRun> Launcher::Found() {
  std::vector<FoundRun> found;
  const auto pods = host::Dir::Open(options_.pods);
  const auto uids = pods ? pods->List() : Result<std::vector<std::string>>(std::vector<std::string>());
  if (!uids) return found;
  for (const auto& uid : *uids)
    for (const auto& run : RunsOf(uid)) {
      RunState state = State(run);
      if (state.kind == RunState::Kind::kNone) continue;
      if (state.kind == RunState::Kind::kRunning) BeginUnlessBegun(run);
      if (state.kind != RunState::Kind::kExited) Follow(run);
      found.push_back({run, std::move(state)});
    }
  return found;
}

Result<> Launcher::Sweep(const task::Context& ctx, const std::vector<std::string>& pod_uids) {
  const std::set<std::string> wanted(pod_uids.begin(), pod_uids.end());
  std::optional<Error> wrong;
  const auto keep = [&](const Error& error) {
    if (!wrong) wrong = error;
  };
  ASSIGN_OR_RETURN(const host::Dir pods, host::Dir::Open(options_.pods));
  ASSIGN_OR_RETURN(const auto folders, pods.List());
  for (const auto& uid : folders) {
    RETURN_IF_ERROR(ctx.Check());
    if (wanted.contains(uid)) continue;
    log::Info("the rest of a Pod that is no more is removed", {{"uid", uid}});
    if (const auto removed = RemovePod(ctx, uid); !removed) keep(removed.error());
  }
  if (const auto swept = launch::Sweep(ctx, runtime_, options_.pods, pod_uids); !swept) keep(swept.error());
  // Logs of Pods that are no more.
  if (const auto logs = host::Dir::Open(options_.logs)) {
    ASSIGN_OR_RETURN(const auto names, logs->List());
    for (const auto& name : names)
      if (const auto last = name.rfind('_'); last != name.npos && !wanted.contains(name.substr(last + 1))) {
        const auto removed = launch::RemovePodDir(ctx, options_.logs + "/" + name);
        if (!removed) keep(removed.error());
      }
  }
  if (wrong) return *wrong;
  return {};
}

}  // namespace berth::node
