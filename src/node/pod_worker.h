// node/pod_worker.h: one Pod's life: from the object to running containers, and to nothing again.
//
// A state machine without threads. Sync() looks at what is wanted and what is, takes the next quick steps (volumes, sandbox,
// create, start, signals), publishes the status when it changed, and hands back what takes long as Work, which the caller runs on
// threads of its own choice (Do) before it syncs again. So a Pod that waits for a pull costs no thread (node/pod_workers.h).
//
//   PodWorker worker(pod, found, options, parts);
//   for (;;) { step = worker.Sync(ctx); if (step.done) break; … run step.work with Do(), wait for one to end or for step.next … }
//
// The order is the kubelet's: volumes, sandbox, image volumes, init containers one after the other (sidecars stay), containers. A
// round attempts each container that is to be started once, in order; after a round with a failure the next begins 10 to 15 s later,
// after one without 60 to 90 s later; a container that ended or a changed object begins one at once. Ended containers obey the
// restart policy (but one that ended for a changed image is always started again) and the crash back-off. One pull at a time for a Pod.
//
// Deletion: the running pull is stopped, containers get their preStop hook and stop signal, sidecars after the others in reverse
// order, SIGKILL when the grace period is over; then mounts, namespaces and folders go, the last status is published, and
// StatusSink::Remove takes the object away. A Pod whose containers are done (or that is past activeDeadlineSeconds) loses its
// sandbox and stays as Succeeded or Failed.
// Where this differs from the kubelet: hooks with httpGet and tcpSocket are refused as failed; probes are not run; a reason to
// wait is published when it is found, not at the next sync.
//
// Threads: Sync by one thread at a time; Do, Update, Delete and status() by any.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "kube/objects.h"
#include "node/crash_backoff.h"
#include "node/events.h"
#include "node/pod_status.h"
#include "node/runtime.h"
#include "policy/image_manager.h"
#include "task/context.h"

namespace berth::node {

// What a Pod may show to registries.
class PodCredentials {
 public:
  struct Found {
    std::vector<std::string> missing;  // pull secrets that are not there
    std::unique_ptr<policy::CredentialSource> source;
  };
  // Gets what a look-up has to tell about the Pod; from the thread that looks up.
  using Tell = std::function<void(const policy::Event&)>;
  virtual ~PodCredentials() = default;
  virtual Found For(const task::Context& ctx, const kube::Pod& pod, Tell tell) = 0;
};

class StatusSink {
 public:
  virtual ~StatusSink() = default;
  virtual Result<> Publish(const kube::Pod& pod, const kube::PodStatus& status) = 0;
  virtual Result<> Remove(const kube::Pod& pod) = 0;  // nothing of it is left on the machine
};

class PodWorker {
 public:
  struct Options {
    time::Duration crash_cap = std::chrono::seconds(300);
    std::function<double()> jitter = [] { return 0.0; };  // in [0, 1)
    std::string host_ip;
  };
  struct Parts {
    Runtime& runtime;
    policy::ImageManager& images;
    PodCredentials& credentials;
    Recorder& events;
    StatusSink& sink;
    const time::Clock& clock;
  };

  struct Work {
    enum class Kind : std::uint8_t { kImage, kVolumes, kPostStart, kPreStop } kind = Kind::kImage;
    std::string container;
    std::string image;           // as the Pod has it, for choosing where to run it
    bool always = false;         // kImage: policy Always
  };
  struct Step {
    std::vector<Work> work;                 // new since the last step
    std::optional<time::SteadyTime> next;   // sync again then, whatever happens
    bool done = false;                      // the Pod is no more; nothing runs, nothing is pending
  };

  // `found`: this Pod's runs from before (Runtime::Found).
  PodWorker(kube::Pod pod, const std::vector<FoundRun>& found, Options options, Parts parts);

  Step Sync(const task::Context& ctx);
  void Do(const task::Context& ctx, const Work& work);
  void Update(kube::Pod pod);                       // the object changed; also: it is being deleted
  void Delete(std::optional<std::int64_t> grace);   // as if the object were being deleted (static Pods); seconds

  kube::PodStatus status() const;
  std::shared_ptr<const kube::Pod> pod() const;
  // The run whose log is the container's: the latest, or the one before.
  std::optional<RunKey> LatestRun(const std::string& container, bool previous) const;

 private:
  struct Stop {
    enum class Stage : std::uint8_t { kNone, kHook, kSignalled, kKilled } stage = Stage::kNone;
    time::SteadyTime next{};   // when the next stage is due
    time::SteadyTime deadline{};   // of a replacement, when SIGKILL comes; all others share stop_deadline_
    bool hook_done = false;
  };
  struct Entry {
    Role role = Role::kMain;
    ContainerFacts facts;
    std::string image;         // that the latest run was started with
    bool stale = false;        // the run was in a sandbox that is gone
    bool in_hook = false;      // postStart
    Stop stop;
    bool Live() const { return facts.run && (facts.run->kind == RunState::Kind::kRunning || facts.run->kind == RunState::Kind::kCreated); }
  };
  struct Round {
    bool active = false, failed = false;
    std::set<std::string> attempted, past_backoff;
    struct Image {
      std::string name;            // as the Pod had it when the pull was posted
      policy::Outcome outcome;
    };
    std::map<std::string, Image> images;   // by container
    std::optional<std::map<std::string, policy::Outcome>> volumes;
    std::shared_ptr<policy::CredentialSource> credentials;
  };
  struct Result_ {  // of a Work
    Work work;
    std::optional<policy::Outcome> outcome;
    std::map<std::string, policy::Outcome> volumes;
    std::string failure;
  };

  void TakeInbox();
  void SyncEntries();
  void Refresh();
  void RunRound(const task::Context& ctx, Step& step);
  bool BeginRound(const task::Context& ctx);
  void EndRound();
  const kube::Container* Next();
  bool StartOne(const task::Context& ctx, const kube::Container& container, Step& step);  // false: the round waits
  void Fail(const kube::Container& container, std::string reason, std::string message, bool tell);
  void Launch(const task::Context& ctx, const kube::Container& container, Entry& entry, const policy::Outcome& image, Step& step);
  bool Finished() const;
  void CheckDeadline(Step& step);
  // Drives all of them towards their end; true when none lives.
  bool StopAll(Step& step);
  void StopOne(const std::string& name, Entry& entry, const policy::Event& why, time::SteadyTime deadline, Step& step);
  void Wind(const task::Context& ctx, Step& step);       // terminal, but not deleted
  void Terminate(const task::Context& ctx, Step& step);
  void Publish();
  void Post(Step& step, Work work);
  void WakeAt(Step& step, time::SteadyTime at) const { if (!step.next || at < *step.next) step.next = at; }
  const kube::Container& SpecOf(const std::string& name) const;
  RunKey KeyOf(const std::string& name, const Entry& entry) const { return {pod_->metadata.uid, name, entry.facts.attempt}; }
  time::WallTime Now() const { return parts_.clock.WallNow(); }
  void Tell(const std::string& container, const policy::Event& event);

  const Options options_;
  const Parts parts_;

  // Sync's own.
  std::map<std::string, Entry> entries_;
  PodFacts facts_;                        // but containers, which are made from entries_
  CrashBackoff crash_;
  Round round_;
  time::SteadyTime next_round_{};
  bool changed_ = true;                   // begin a round now
  bool announced_volumes_ = false, sandbox_stopped_ = false, torn_down_ = false;
  bool deleting_ = false;
  std::optional<time::SteadyTime> stop_deadline_;   // of the Pod's end
  std::size_t pending_ = 0;               // works out
  std::stop_source pull_stop_;

  mutable std::mutex mutex_;
  std::shared_ptr<const kube::Pod> pod_;               // written by Sync only, under mutex_
  std::optional<kube::Pod> update_;                    // guarded by mutex_
  std::optional<std::int64_t> delete_grace_;           // guarded by mutex_
  std::vector<Result_> inbox_;                         // guarded by mutex_
  std::shared_ptr<policy::CredentialSource> source_;   // guarded by mutex_: of the round
  std::set<std::string> running_image_;                // guarded by mutex_
  kube::PodStatus status_;                             // guarded by mutex_
  std::map<std::string, std::pair<std::int32_t, bool>> runs_;  // guarded by mutex_: latest attempt, there is one
};

}  // namespace berth::node
