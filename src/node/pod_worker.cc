#include "node/pod_worker.h"

#include <algorithm>

#include "kube/grace.h"
#include "log/log.h"

namespace berth::node {
namespace {

using Kind = RunState::Kind;

constexpr auto kRetry = std::chrono::seconds(10);          // after a round with a failure, and up to half as much again
constexpr auto kResync = std::chrono::seconds(60);         // after one without
constexpr auto kShortestStop = std::chrono::seconds(2);    // between stop signal and SIGKILL, however long the hook took
constexpr auto kKillAgain = std::chrono::seconds(5);
std::chrono::seconds Grace(std::optional<std::int64_t> seconds) {
  return std::chrono::seconds(std::clamp<std::int64_t>(seconds.value_or(kube::kDefaultGrace), 0, kube::kMostGrace));
}

std::chrono::nanoseconds Stretch(std::chrono::nanoseconds d, double jitter) {
  return d + std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(d.count()) * 0.5 * jitter));
}

}  // namespace

PodWorker::PodWorker(kube::Pod pod, const std::vector<FoundRun>& found, Options options, Parts parts)
    : options_(std::move(options)), parts_(parts), crash_(options_.crash_cap), pod_(std::make_shared<const kube::Pod>(std::move(pod))) {
  status_ = pod_->status;
  facts_.start_time = status_.start_time;
  facts_.host_ip = options_.host_ip;
  if (status_.phase == "Failed" && !status_.reason.empty()) facts_.failed_reason = status_.reason, facts_.failed_message = status_.message;
  SyncEntries();
  for (const auto& run : found) {
    const auto entry = entries_.find(run.key.container);
    if (entry == entries_.end() || (entry->second.facts.run && entry->second.facts.attempt > run.key.attempt)) continue;
    entry->second.facts.attempt = run.key.attempt;
    entry->second.facts.run = run.state;
  }
  // What the machine no longer knows, the object does: runs that were removed, and those before the latest.
  const auto adopt = [&](const std::vector<kube::ContainerStatus>& statuses) {
    for (const auto& s : statuses) {
      const auto found_entry = entries_.find(s.name);
      if (found_entry == entries_.end()) continue;
      Entry& entry = found_entry->second;
      entry.facts.image_ref = s.image_id;
      entry.facts.last = s.last_state.terminated;
      const auto& ended = s.state.terminated ? s.state.terminated : s.state.waiting ? s.last_state.terminated : s.state.terminated;
      if (!entry.facts.run && (ended || s.state.running)) {
        entry.facts.attempt = s.restart_count;
        RunState run{.kind = Kind::kExited, .container_id = s.container_id};
        if (ended) {
          run.exit_code = ended->exit_code, run.signal = ended->signal, run.reason = ended->reason, run.message = ended->message;
          run.started_at = ended->started_at.value_or(Now()), run.finished_at = ended->finished_at.value_or(Now());
        } else {  // it ran when we were last here, and is gone without a trace
          run.exit_code = 137, run.reason = "ContainerStatusUnknown";
          run.message = "The container could not be located when the pod was terminated";
          run.started_at = s.state.running->started_at.value_or(Now()), run.finished_at = Now();
        }
        entry.facts.run = run;
      }
      if (entry.facts.run) entry.image = SpecOf(s.name).image;
    }
  };
  adopt(status_.init_container_statuses);
  adopt(status_.container_statuses);
  adopt(status_.ephemeral_container_statuses);
  for (auto& [name, entry] : entries_)
    if (entry.facts.run) runs_[name] = {entry.facts.attempt, true};
}

void PodWorker::SyncEntries() {
  const auto add = [&](const std::vector<kube::Container>& list, auto role) {
    for (const auto& c : list) entries_[c.name].role = role(c);
  };
  add(pod_->spec.init_containers, [](const auto& c) { return IsSidecar(c) ? Role::kSidecar : Role::kInit; });
  add(pod_->spec.containers, [](const auto&) { return Role::kMain; });
  add(pod_->spec.ephemeral_containers, [](const auto&) { return Role::kEphemeral; });
}

const kube::Container& PodWorker::SpecOf(const std::string& name) const {
  for (const auto* list : {&pod_->spec.init_containers, &pod_->spec.containers, &pod_->spec.ephemeral_containers})
    for (const auto& c : *list)
      if (c.name == name) return c;
  static const kube::Container kGone;  // an object whose container list was changed behind validation's back
  return kGone;
}

void PodWorker::Tell(const std::string& container, const policy::Event& event) {
  parts_.events.Tell(pod_->metadata, FieldPath(pod_->spec, container), event);
}

// ---- in and out

void PodWorker::Update(kube::Pod pod) {
  std::lock_guard hold(mutex_);
  update_ = std::move(pod);
}

void PodWorker::Delete(std::optional<std::int64_t> grace) {
  std::lock_guard hold(mutex_);
  delete_grace_ = grace.value_or(pod_->spec.termination_grace_period_seconds.value_or(kube::kDefaultGrace));
}

kube::PodStatus PodWorker::status() const { std::lock_guard hold(mutex_); return status_; }
std::shared_ptr<const kube::Pod> PodWorker::pod() const { std::lock_guard hold(mutex_); return pod_; }

std::optional<RunKey> PodWorker::LatestRun(const std::string& container, bool previous) const {
  std::lock_guard hold(mutex_);
  const auto run = runs_.find(container);
  if (run == runs_.end() || !run->second.second || run->second.first < (previous ? 1 : 0)) return std::nullopt;
  return RunKey{pod_->metadata.uid, container, run->second.first - (previous ? 1 : 0)};
}

void PodWorker::TakeInbox() {
  std::vector<Result_> results;
  std::optional<std::int64_t> grace;
  {
    std::lock_guard hold(mutex_);
    results.swap(inbox_);
    if (update_) {
      changed_ = changed_ || update_->metadata.generation != pod_->metadata.generation ||
                 update_->spec.ephemeral_containers.size() != pod_->spec.ephemeral_containers.size();
      pod_ = std::make_shared<const kube::Pod>(*std::exchange(update_, std::nullopt));
    }
    grace = delete_grace_;
  }
  SyncEntries();
  if (pod_->metadata.deletion_timestamp)
    grace = pod_->metadata.deletion_grace_period_seconds.value_or(
        pod_->spec.termination_grace_period_seconds.value_or(kube::kDefaultGrace));
  if (grace) {
    // A second deletion may shorten the grace period, never lengthen it.
    const auto deadline = parts_.clock.SteadyNow() + Grace(grace);
    if (!stop_deadline_ || deadline < *stop_deadline_ || !deleting_) stop_deadline_ = deadline;
    deleting_ = true;
    facts_.terminating = true;
    pull_stop_.request_stop();
  }
  for (auto& r : results) {
    --pending_;
    Entry& entry = entries_[r.work.container];
    switch (r.work.kind) {
      case Work::Kind::kImage: round_.images[r.work.container] = {r.work.image, *std::move(r.outcome)}; break;
      case Work::Kind::kVolumes: round_.volumes = std::move(r.volumes); break;
      case Work::Kind::kPostStart:
        entry.in_hook = false;
        if (r.failure.empty()) break;
        Tell(r.work.container, HookFailed(true));
        entry.facts.waiting = kube::ContainerState::Waiting{"PostStartHookError", r.failure};
        round_.failed = true;
        (void)parts_.runtime.Kill(KeyOf(r.work.container, entry));
        break;
      case Work::Kind::kPreStop:
        entry.stop.hook_done = true;
        if (!r.failure.empty()) Tell(r.work.container, HookFailed(false));
        break;
    }
  }
}

void PodWorker::Post(Step& step, Work work) {
  ++pending_;
  if (work.kind == Work::Kind::kImage) {
    std::lock_guard hold(mutex_);
    running_image_.insert(work.container);
  }
  step.work.push_back(std::move(work));
}

void PodWorker::Do(const task::Context& caller, const Work& work) {
  std::shared_ptr<const kube::Pod> pod;
  std::shared_ptr<policy::CredentialSource> source;
  {
    std::lock_guard hold(mutex_);
    pod = pod_;
    source = source_;
  }
  Result_ result{.work = work, .outcome = std::nullopt, .volumes = {}, .failure = ""};
  // The caller's stop is the daemon's end, ours is the Pod's.
  std::stop_source either;
  const std::stop_callback daemon(caller.stop(), [&] { either.request_stop(); });
  const auto hook = [&](const std::optional<kube::LifecycleHandler>& handler, std::int32_t attempt) -> std::string {
    if (!handler) return "";
    if (handler->sleep_seconds) {
      const auto slept = caller.Sleep(std::chrono::seconds(*handler->sleep_seconds));
      return slept ? "" : slept.error().Text();
    }
    if (handler->exec.empty()) return "only exec and sleep hooks are supported";
    const auto done = parts_.runtime.Exec(caller, {pod->metadata.uid, work.container, attempt}, handler->exec);
    if (!done) return done.error().Text();
    return *done == 0 ? "" : "command '" + handler->exec.front() + "' exited with " + std::to_string(*done);
  };
  const auto attempt = [&] {
    std::lock_guard hold(mutex_);
    return runs_[work.container].first;
  };
  switch (work.kind) {
    case Work::Kind::kImage:
    case Work::Kind::kVolumes: {
      const std::stop_callback deleted(pull_stop_.get_token(), [&] { either.request_stop(); });
      const task::Context ctx = caller.WithStop(either.get_token());
      policy::Request request{.object = RefTo(pod->metadata), .pod_uid = pod->metadata.uid};
      if (work.kind == Work::Kind::kVolumes) {
        std::vector<policy::VolumeRequest> volumes;
        for (const auto& v : pod->spec.volumes)
          if (v.kind == kube::Volume::Kind::kImage) volumes.push_back({v.name, v.reference, policy::ParsePullPolicy(v.pull_policy)});
        request.announce_present = !work.always;
        result.volumes = parts_.images.EnsureVolumes(ctx, request, volumes, *source);
        break;
      }
      const kube::Container* container = nullptr;
      for (const auto* list : {&pod->spec.init_containers, &pod->spec.containers, &pod->spec.ephemeral_containers})
        for (const auto& c : *list)
          if (c.name == work.container) container = &c;
      request.object.field_path = FieldPath(pod->spec, work.container);
      request.image = work.image;
      request.policy = policy::ParsePullPolicy(container == nullptr ? "" : container->image_pull_policy);
      result.outcome = parts_.images.EnsureImageExists(ctx, request, *source);
      break;
    }
    case Work::Kind::kPostStart:
    case Work::Kind::kPreStop: {
      for (const auto* list : {&pod->spec.init_containers, &pod->spec.containers})
        for (const auto& c : *list)
          if (c.name == work.container) result.failure = hook(work.kind == Work::Kind::kPreStop ? c.pre_stop : c.post_start, attempt());
      break;
    }
  }
  std::lock_guard hold(mutex_);
  if (result.outcome) running_image_.erase(work.container);
  inbox_.push_back(std::move(result));
}

void PodWorker::Publish() {
  facts_.containers.clear();
  for (const auto& [name, entry] : entries_) facts_.containers[name] = entry.facts;
  facts_.pod_ip = facts_.sandbox ? parts_.runtime.PodIp(*pod_) : "";
  kube::PodStatus status = MakeStatus(*pod_, facts_, status_, Now());
  {
    std::lock_guard hold(mutex_);
    for (const auto& [name, entry] : entries_) runs_[name] = {entry.facts.attempt, entry.facts.run.has_value()};
    status_ = status;
  }
  // The sink compares: equal ones cost nothing.
  if (const auto published = parts_.sink.Publish(*pod_, status); !published)
    log::Warning("a Pod's status could not be stored", {{"pod", Format(pod_->metadata)}, {"error", published.error()}});
}

// ---- the sync

PodWorker::Step PodWorker::Sync(const task::Context& ctx) {
  Step step;
  TakeInbox();
  Refresh();
  if (!facts_.start_time) facts_.start_time = Now();
  CheckDeadline(step);
  if (facts_.terminating) {
    Terminate(ctx, step);
  } else if (Finished()) {
    Wind(ctx, step);
  } else {
    RunRound(ctx, step);
    if (!facts_.terminating && Finished()) Wind(ctx, step);
  }
  if (!step.done) Publish();
  return step;
}

// What ended since the last sync.
void PodWorker::Refresh() {
  for (auto& [name, entry] : entries_) {
    if (!entry.Live()) continue;
    RunState now = parts_.runtime.State(KeyOf(name, entry));
    if (now.kind == Kind::kNone) {
      now = *entry.facts.run;
      now.kind = Kind::kExited;
      now.exit_code = 137, now.reason = "ContainerStatusUnknown", now.finished_at = Now();
      now.message = "The container could not be located when the pod was terminated";
    }
    if (now.kind == Kind::kExited) {
      changed_ = true;
      entry.stop = {};
    }
    entry.facts.run = now;
  }
}

void PodWorker::CheckDeadline(Step& step) {
  if (!pod_->spec.active_deadline_seconds || !facts_.failed_reason.empty() || facts_.terminating || Finished()) return;
  const auto left = *facts_.start_time + std::chrono::seconds(*pod_->spec.active_deadline_seconds) - Now();
  if (left > time::Duration::zero()) return WakeAt(step, parts_.clock.SteadyNow() + left);
  facts_.failed_reason = "DeadlineExceeded";
  facts_.failed_message = kDeadlineMessage;
  pull_stop_.request_stop();
  parts_.events.Tell(pod_->metadata, DeadlineExceeded());
}

bool PodWorker::Finished() const {
  if (!facts_.failed_reason.empty()) return true;
  if (pod_->spec.containers.empty()) return false;
  bool all = true;
  for (const auto& [name, entry] : entries_) {
    if (entry.role == Role::kInit && entry.facts.run && entry.facts.run->kind == Kind::kExited && entry.facts.run->exit_code != 0 &&
        pod_->spec.restart_policy == "Never" && !entry.stale)
      return true;
    if (entry.role == Role::kMain)
      all = all && entry.facts.run && entry.facts.run->kind == Kind::kExited && !ShouldStart(pod_->spec, Role::kMain, entry.facts);
  }
  return all;
}

void PodWorker::RunRound(const task::Context& ctx, Step& step) {
  const auto now = parts_.clock.SteadyNow();
  // A container whose image was changed makes room for its successor; once asked to stop, it is stopped, whatever is wanted by then.
  for (auto& [name, entry] : entries_)
    if (entry.Live() && (entry.role == Role::kMain || entry.role == Role::kSidecar) && !entry.image.empty() &&
        (entry.stop.stage != Stop::Stage::kNone || entry.image != SpecOf(name).image)) {
      if (entry.stop.stage == Stop::Stage::kNone) entry.stop.deadline = now + Grace(pod_->spec.termination_grace_period_seconds);
      entry.facts.replaced = true;
      StopOne(name, entry, DefinitionChanged(name), entry.stop.deadline, step);
    }
  if (!round_.active) {
    if (!changed_ && now < next_round_) return WakeAt(step, next_round_);
    if (!BeginRound(ctx)) {
      EndRound();
      return WakeAt(step, next_round_);
    }
  }
  if (pending_ > 0) return;  // its result comes first
  while (const kube::Container* container = Next())
    if (!StartOne(ctx, *container, step)) return;
  EndRound();
  WakeAt(step, changed_ ? now : next_round_);
}

bool PodWorker::BeginRound(const task::Context& ctx) {
  changed_ = false;
  round_ = {};
  round_.active = true;
  const auto failed = [&](const policy::Event& event) {
    parts_.events.Tell(pod_->metadata, event);
    round_.failed = true;
    return false;
  };
  if (const auto up = parts_.runtime.SetUpPod(ctx, *pod_); !up) return failed(FailedMount(up.error().Text()));
  const auto fresh = parts_.runtime.StartSandbox(ctx, *pod_);
  if (!fresh) {
    facts_.sandbox = false;
    return failed(FailedSandbox(fresh.error().Text()));
  }
  facts_.sandbox = true;
  sandbox_stopped_ = false;
  const bool ran = std::ranges::any_of(entries_, [](const auto& e) { return e.second.facts.run.has_value(); });
  if (*fresh && ran) {
    parts_.events.Tell(pod_->metadata, SandboxChanged());
    for (auto& [name, entry] : entries_) entry.stale = entry.facts.run.has_value();
  }
  if (Next() == nullptr) return true;  // nothing will be pulled
  auto found = parts_.credentials.For(
      ctx, *pod_, [&events = parts_.events, meta = pod_->metadata](const policy::Event& event) { events.Tell(meta, event); });
  if (!found.missing.empty()) parts_.events.Tell(pod_->metadata, policy::SecretsMissing(found.missing));
  round_.credentials = std::move(found.source);
  std::lock_guard hold(mutex_);
  source_ = round_.credentials;
  return true;
}

void PodWorker::EndRound() {
  const double jitter = options_.jitter();
  next_round_ = parts_.clock.SteadyNow() + (round_.failed ? Stretch(kRetry, jitter) : Stretch(kResync, jitter));
  round_ = {};
}

// The kubelet's computePodActions: the next container that is to be started and was not tried in this round.
const kube::Container* PodWorker::Next() {
  const auto wants = [&](const kube::Container& c) {
    const Entry& e = entries_.at(c.name);
    if (e.stale && !e.facts.replaced) return e.role != Role::kEphemeral && (e.role != Role::kMain || pod_->spec.restart_policy != "Never");
    return ShouldStart(pod_->spec, e.role, e.facts);
  };
  const auto tried = [&](const kube::Container& c) { return round_.attempted.contains(c.name); };
  for (const auto& c : pod_->spec.ephemeral_containers)
    if (wants(c) && !tried(c)) return &c;
  const bool initialised = std::ranges::any_of(pod_->spec.containers, [&](const auto& c) {
    const Entry& e = entries_.at(c.name);
    return e.facts.run.has_value() && !e.stale;
  });
  for (const auto& c : pod_->spec.init_containers) {
    const Entry& e = entries_.at(c.name);
    if (e.role == Role::kInit) {
      if (initialised) continue;
      if (wants(c)) return tried(c) ? nullptr : &c;
      if (e.Live() || (e.facts.run && e.facts.run->exit_code != 0)) return nullptr;
    } else {
      if (wants(c) && !tried(c)) return &c;
      if (!initialised && (!e.Live() || e.in_hook)) return nullptr;
    }
  }
  for (const auto& c : pod_->spec.containers)
    if (wants(c) && !tried(c)) return &c;
  return nullptr;
}

void PodWorker::Fail(const kube::Container& container, std::string reason, std::string message, bool tell) {
  if (tell) Tell(container.name, ContainerFailed(message.empty() ? reason : message));
  entries_[container.name].facts.waiting = kube::ContainerState::Waiting{std::move(reason), std::move(message)};
  round_.attempted.insert(container.name);
  round_.failed = true;
}

bool PodWorker::StartOne(const task::Context& ctx, const kube::Container& container, Step& step) {
  Entry& entry = entries_[container.name];
  const std::string backoff_key = CrashBackoff::Key(container.name, container.image);
  if (entry.facts.run && entry.facts.run->kind == Kind::kExited && !round_.past_backoff.contains(backoff_key)) {
    const auto finished = entry.facts.run->finished_at;
    if (const auto block = crash_.Blocked(backoff_key, finished, Now())) {
      Tell(container.name, CrashLoop(pod_->metadata, container.name));
      Fail(container, "CrashLoopBackOff", CrashLoopMessage(pod_->metadata, container.name, block->delay), false);
      return true;
    }
    crash_.Restarted(backoff_key, finished, Now());
    round_.past_backoff.insert(backoff_key);
  }
  const bool image_volumes = std::ranges::any_of(pod_->spec.volumes, [](const auto& v) { return v.kind == kube::Volume::Kind::kImage; });
  if (image_volumes && !round_.volumes) {
    Post(step, {.kind = Work::Kind::kVolumes, .container = container.name, .image = "", .always = std::exchange(announced_volumes_, true)});
    return false;
  }
  if (round_.volumes) {
    if (std::ranges::any_of(*round_.volumes, [](const auto& v) { return v.second.cancelled; })) {
      EndRound();
      return false;
    }
    std::vector<std::string> mounts;
    for (const auto& m : container.volume_mounts) mounts.push_back(m.name);
    if (const auto failure = policy::VolumeFailure(*round_.volumes, mounts)) {
      Tell(container.name, ContainerFailed(failure->reason));
      Fail(container, failure->reason, failure->message, false);
      return true;
    }
  }
  const auto found = round_.images.find(container.name);
  // What was pulled before the Pod's image was changed is of no use.
  if (found == round_.images.end() || found->second.name != container.image) {
    Post(step, {.kind = Work::Kind::kImage, .container = container.name, .image = container.image,
                .always = container.image_pull_policy == "Always"});
    return false;
  }
  const policy::Outcome& image = found->second.outcome;
  if (image.cancelled) {
    EndRound();
    return false;
  }
  if (!image.reason.empty()) {
    Tell(container.name, policy::StartFailed(image.reason));
    Fail(container, image.reason, image.message, false);
    return true;
  }
  Launch(ctx, container, entry, image, step);
  return pending_ == 0;
}

void PodWorker::Launch(const task::Context& ctx, const kube::Container& container, Entry& entry, const policy::Outcome& image, Step& step) {
  round_.attempted.insert(container.name);
  const bool again = entry.facts.run.has_value();
  StartRequest request{.pod = *pod_, .container = container, .attempt = entry.facts.attempt + (again ? 1 : 0), .image_ref = image.image_ref,
                       .volume_images = {}};
  if (round_.volumes)
    for (const auto& [name, outcome] : *round_.volumes)
      if (outcome.ok()) request.volume_images[name] = outcome.image_ref;
  if (const auto failure = parts_.runtime.Create(ctx, request))
    return Fail(container, std::string(failure->reason()), failure->message, true);
  if (again) {
    (void)parts_.runtime.RemoveRun(KeyOf(container.name, entry));
    entry.facts.last = Terminated(*entry.facts.run);
  }
  entry.facts.attempt = request.attempt;
  entry.facts.image_ref = image.image_ref;
  entry.facts.replaced = false;
  entry.image = container.image;
  entry.stale = false;
  entry.stop = {};
  Tell(container.name, ContainerCreated());
  const RunKey key = KeyOf(container.name, entry);
  if (const auto failure = parts_.runtime.Start(ctx, key)) {
    // Kubernetes shows a container that never ran as one that ended with 128.
    entry.facts.run = RunState{.kind = Kind::kExited,
                               .container_id = parts_.runtime.State(key).container_id,
                               .started_at = {},
                               .finished_at = Now(),
                               .exit_code = 128,
                               .reason = "StartError",
                               .message = failure->message};
    return Fail(container, std::string(failure->reason()), failure->message, true);
  }
  entry.facts.run = parts_.runtime.State(key);
  entry.facts.waiting.reset();
  Tell(container.name, ContainerStarted());
  {
    std::lock_guard hold(mutex_);
    runs_[container.name] = {entry.facts.attempt, true};
  }
  if (entry.facts.run->kind == Kind::kExited) changed_ = true;
  if (!container.post_start) return;
  entry.in_hook = true;
  Post(step, {.kind = Work::Kind::kPostStart, .container = container.name});
}

// ---- the end

void PodWorker::StopOne(const std::string& name, Entry& entry, const policy::Event& why, time::SteadyTime deadline, Step& step) {
  using Stage = Stop::Stage;
  const auto now = parts_.clock.SteadyNow();
  const RunKey key = KeyOf(name, entry);
  const kube::Container& container = SpecOf(name);
  if (entry.stop.stage == Stage::kNone) {
    Tell(name, why);
    entry.stop.stage = Stage::kHook;
    entry.stop.next = deadline;
    entry.stop.hook_done = !container.pre_stop || now >= deadline;
    if (!entry.stop.hook_done) Post(step, {.kind = Work::Kind::kPreStop, .container = name});
  }
  if (entry.stop.stage == Stage::kHook && (entry.stop.hook_done || now >= std::min(entry.stop.next, deadline))) {
    const bool at_once = !container.pre_stop && now >= deadline;
    if (!at_once) (void)parts_.runtime.Stop(key, container);
    entry.stop.stage = Stage::kSignalled;
    entry.stop.next = at_once ? now : std::max(deadline, now + kShortestStop);
  }
  if (entry.stop.stage == Stage::kSignalled) entry.stop.next = std::min(entry.stop.next, std::max(deadline, now));
  if ((entry.stop.stage == Stage::kSignalled || entry.stop.stage == Stage::kKilled) && now >= entry.stop.next) {
    (void)parts_.runtime.Kill(key);
    entry.stop.stage = Stage::kKilled;
    entry.stop.next = now + kKillAgain;
  }
  WakeAt(step, entry.stop.next);
}

bool PodWorker::StopAll(Step& step) {
  const auto drive = [&](const std::string& name) {
    Entry& entry = entries_[name];
    if (!entry.Live()) return true;
    if (entry.facts.run->kind == Kind::kCreated) (void)parts_.runtime.Kill(KeyOf(name, entry));
    StopOne(name, entry, Stopping(name), *stop_deadline_, step);
    // Many end at once; the rest tell by OnExit.
    entry.facts.run = parts_.runtime.State(KeyOf(name, entry));
    return !entry.Live();
  };
  bool none = true;
  for (const auto& [name, entry] : entries_)
    if (entry.role != Role::kSidecar) none = drive(name) && none;
  if (!none) return false;
  for (auto c = pod_->spec.init_containers.rbegin(); c != pod_->spec.init_containers.rend(); ++c)
    if (IsSidecar(*c) && !drive(c->name)) return false;
  return true;
}

void PodWorker::Wind(const task::Context& ctx, Step& step) {
  round_.active = false;
  if (!stop_deadline_)
    stop_deadline_ = parts_.clock.SteadyNow() + Grace(pod_->spec.termination_grace_period_seconds);
  if (!StopAll(step) || pending_ > 0 || sandbox_stopped_) return;
  if (const auto stopped = parts_.runtime.StopSandbox(ctx, *pod_); !stopped) {
    log::Warning("a Pod's sandbox cannot be stopped yet", {{"pod", Format(pod_->metadata)}, {"error", stopped.error()}});
    return WakeAt(step, parts_.clock.SteadyNow() + kRetry);
  }
  sandbox_stopped_ = true;
  facts_.sandbox = false;
}

void PodWorker::Terminate(const task::Context& ctx, Step& step) {
  round_.active = false;
  if (!StopAll(step) || pending_ > 0) return;
  const auto retry = [&](const char* what, const Error& error) {
    log::Warning(what, {{"pod", Format(pod_->metadata)}, {"error", error}});
    WakeAt(step, parts_.clock.SteadyNow() + kRetry);
  };
  if (!torn_down_) {
    if (!sandbox_stopped_)
      if (const auto stopped = parts_.runtime.StopSandbox(ctx, *pod_); !stopped) return retry("a Pod's sandbox cannot be stopped yet", stopped.error());
    sandbox_stopped_ = true;
    facts_.sandbox = false;
    if (const auto gone = parts_.runtime.TearDownPod(ctx, *pod_); !gone) return retry("a Pod's files cannot be removed yet", gone.error());
    torn_down_ = true;
    parts_.images.backoff().ForgetPod(pod_->metadata.uid);
  }
  Publish();
  if (const auto removed = parts_.sink.Remove(*pod_); !removed) return retry("a Pod's object cannot be removed yet", removed.error());
  step.done = true;
}

}  // namespace berth::node
