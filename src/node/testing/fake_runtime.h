// node/testing/fake_runtime.h: a Runtime in memory: what was asked of it, and containers that end when the test says so.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "node/runtime.h"

namespace berth::node::testing {

class FakeRuntime : public Runtime {
 public:
  explicit FakeRuntime(const time::Clock& clock) : clock_(clock) {}

  // What the next calls answer.
  std::optional<Error> set_up, sandbox, tear_down;
  std::map<std::string, StartFailure> failures;     // by container; kRun fails Start, others Create
  std::set<std::string> ends_on_stop;               // containers that end (143) when they are asked to
  std::map<std::string, std::int32_t> hooks;        // exit status by argv[0]; others 0
  std::vector<FoundRun> found;
  std::function<void()> on_tear_down;

  std::vector<std::string> Calls() const { std::lock_guard hold(mutex_); return calls_; }
  std::vector<std::string> TakeCalls() { std::lock_guard hold(mutex_); return std::exchange(calls_, {}); }

  void End(const std::string& uid, const std::string& container, std::int32_t exit_code, std::string message = "") {
    std::function<void(const std::string&)> listener;
    {
      std::lock_guard hold(mutex_);
      RunState& run = Latest(uid, container);
      run.kind = RunState::Kind::kExited;
      run.exit_code = exit_code;
      run.message = std::move(message);
      run.finished_at = clock_.WallNow();
      listener = listener_;
    }
    if (listener) listener(uid);
  }
  std::size_t live() const {
    std::lock_guard hold(mutex_);
    std::size_t n = 0;
    for (const auto& [key, run] : runs_) n += run.kind == RunState::Kind::kRunning;
    return n;
  }
  std::size_t sandboxes() const { std::lock_guard hold(mutex_); return sandboxes_.size(); }
  std::size_t pods() const { std::lock_guard hold(mutex_); return pods_.size(); }

  Result<> SetUpPod(const task::Context&, const kube::Pod& pod) override {
    std::lock_guard hold(mutex_);
    if (set_up) return *set_up;
    pods_.insert(pod.metadata.uid);
    return {};
  }
  Result<bool> StartSandbox(const task::Context&, const kube::Pod& pod) override {
    std::lock_guard hold(mutex_);
    if (sandbox) return *sandbox;
    const bool fresh = sandboxes_.insert(pod.metadata.uid).second;
    if (fresh) calls_.push_back("sandbox");
    return fresh;
  }
  std::string PodIp(const kube::Pod&) override { return ""; }
  std::optional<StartFailure> Create(const task::Context&, const StartRequest& request) override {
    std::lock_guard hold(mutex_);
    calls_.push_back("create " + request.container.name + "/" + std::to_string(request.attempt) + " " + request.image_ref);
    const auto failure = failures.find(request.container.name);
    if (failure != failures.end() && failure->second.stage != StartFailure::Stage::kRun) return failure->second;
    runs_[{request.pod.metadata.uid, request.container.name, request.attempt}] = RunState{
        .kind = RunState::Kind::kCreated, .container_id = "berth://" + request.container.name + std::to_string(request.attempt)};
    return std::nullopt;
  }
  std::optional<StartFailure> Start(const task::Context&, const RunKey& run) override {
    std::lock_guard hold(mutex_);
    calls_.push_back("start " + run.container);
    const auto failure = failures.find(run.container);
    if (failure != failures.end()) return failure->second;
    RunState& state = runs_.at(run);
    state.kind = RunState::Kind::kRunning;
    state.started_at = clock_.WallNow();
    return std::nullopt;
  }
  RunState State(const RunKey& run) override {
    std::lock_guard hold(mutex_);
    const auto found_run = runs_.find(run);
    if (found_run != runs_.end()) return found_run->second;
    for (const auto& f : found)
      if (f.key == run) return f.state;
    return {};
  }
  Result<> Stop(const RunKey& run, const kube::Container&) override {
    {
      std::lock_guard hold(mutex_);
      calls_.push_back("stop " + run.container);
      if (!ends_on_stop.contains(run.container)) return {};
    }
    End(run.pod_uid, run.container, 143);
    return {};
  }
  Result<> Kill(const RunKey& run) override {
    { std::lock_guard hold(mutex_); calls_.push_back("kill " + run.container); }
    End(run.pod_uid, run.container, 137);
    return {};
  }
  Result<std::int32_t> Exec(const task::Context&, const RunKey& run, const std::vector<std::string>& argv) override {
    std::lock_guard hold(mutex_);
    calls_.push_back("exec " + run.container + " " + argv.front());
    const auto hook = hooks.find(argv.front());
    return hook == hooks.end() ? 0 : hook->second;
  }
  Result<> RemoveRun(const RunKey& run) override {
    std::lock_guard hold(mutex_);
    runs_.erase(run);
    return {};
  }
  Result<> StopSandbox(const task::Context&, const kube::Pod& pod) override {
    std::lock_guard hold(mutex_);
    if (sandboxes_.erase(pod.metadata.uid) > 0) calls_.push_back("stop sandbox");
    return {};
  }
  Result<> TearDownPod(const task::Context&, const kube::Pod& pod) override {
    std::lock_guard hold(mutex_);
    if (tear_down) return *tear_down;
    calls_.push_back("tear down");
    pods_.erase(pod.metadata.uid);
    std::erase_if(runs_, [&](const auto& r) { return r.first.pod_uid == pod.metadata.uid; });
    if (on_tear_down) on_tear_down();
    return {};
  }
  std::vector<FoundRun> Found() override { return found; }
  Result<> Sweep(const task::Context&, const std::vector<std::string>& uids) override {
    std::lock_guard hold(mutex_);
    swept_with = uids;
    return {};
  }
  void OnExit(std::function<void(const std::string&)> listener) override { std::lock_guard hold(mutex_); listener_ = std::move(listener); }
  std::string LogPath(const kube::ObjectMeta& pod, const std::string& container, std::int32_t attempt) const override {
    return "/logs/" + pod.name + "/" + container + "/" + std::to_string(attempt) + ".log";
  }
  std::vector<std::string> swept_with;

 private:
  RunState& Latest(const std::string& uid, const std::string& container) {
    RunState* latest = nullptr;
    for (auto& [key, run] : runs_)
      if (key.pod_uid == uid && key.container == container) latest = &run;
    for (auto& f : found)
      if (latest == nullptr && f.key.pod_uid == uid && f.key.container == container) latest = &f.state;
    BERTH_CHECK(latest != nullptr);
    return *latest;
  }
  const time::Clock& clock_;
  mutable std::mutex mutex_;
  std::vector<std::string> calls_;
  std::map<RunKey, RunState> runs_;
  std::set<std::string> sandboxes_, pods_;
  std::function<void(const std::string&)> listener_;
};

}  // namespace berth::node::testing
