#include "node/pod_log.h"

#include <algorithm>
#include <thread>

#include "kube/parse.h"

namespace berth::node {
namespace {

const kube::ContainerStatus* StatusOf(const kube::PodStatus& status, const std::string& name) {
  for (const auto* list : {&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses})
    for (const auto& s : *list)
      if (s.name == name) return &s;
  return nullptr;
}

// "" stands for the only container.
Result<std::string> ContainerOf(const kube::Pod& pod, const std::string& wanted) {
  std::vector<std::string> names, init;
  for (const auto& c : pod.spec.containers) names.push_back(c.name);
  for (const auto& c : pod.spec.init_containers) init.push_back(c.name);
  if (wanted.empty()) {
    if (names.size() == 1) return names[0];
    std::string all;
    for (const auto& n : names) all += (all.empty() ? "" : " ") + n;
    return Error(Reason::kUsage, "a container name must be specified for pod " + pod.metadata.name + ", choose one of: [" + all + "]");
  }
  for (const auto& c : pod.spec.ephemeral_containers) init.push_back(c.name);
  if (std::ranges::find(names, wanted) != names.end() || std::ranges::find(init, wanted) != init.end()) return wanted;
  return Error(Reason::kUsage, "container " + wanted + " is not valid for pod " + pod.metadata.name);
}

// The kubelet's word on a container that has no log.
Error NoLog(const kube::Pod& pod, const kube::PodStatus& status, const std::string& container, bool previous) {
  if (previous)
    return Error(Reason::kNotFound, "previous terminated container \"" + container + "\" in pod \"" + pod.metadata.name + "\" not found");
  const auto* s = StatusOf(status, container);
  std::string reason = s != nullptr && s->state.waiting ? s->state.waiting->reason : "ContainerCreating";
  if (reason == "ErrImagePull" || reason == "ImagePullBackOff") reason = "trying and failing to pull image";
  else if (reason == "ErrImageNeverPull") reason = "image can't be pulled";
  return Error(Reason::kNotFound, "container \"" + container + "\" in pod \"" + pod.metadata.name + "\" is waiting to start: " + reason);
}

}  // namespace

Result<PodLog> PodLog::Find(Node& node, const kube::Object& object, LogQuery query) {
  PodLog log(kube::ReadPod(object), std::move(query));
  const objects::Key key{"Pod", object.metadata.ns, object.metadata.name};
  LogQuery& wanted = log.query_;
  ASSIGN_OR_RETURN(wanted.container, ContainerOf(log.pod_, wanted.container));
  if (wanted.options.follow && !wanted.previous) {
    auto watch = node.store().Watching({.kind = key.kind, .ns = key.ns, .name = key.name, .matches = {}});
    if (!watch) return watch.error().ToError();
    log.watch_ = *std::move(watch);
    // What has happened since is not in the watch.
    const auto now = node.store().Get(key);
    if (!now) return now.error().ToError();
    log.pod_ = kube::ReadPod(**now);
  }
  const kube::Pod& pod = log.pod_;
  const auto worker = node.FindPod(key.ns, key.name);
  std::optional<std::int32_t> attempt;
  if (worker != nullptr) {
    if (const auto run = worker->LatestRun(wanted.container, wanted.previous)) attempt = run->attempt;
  } else if (const auto* s = StatusOf(pod.status, wanted.container); s != nullptr && !s->container_id.empty()) {
    if (const int run = s->restart_count - (wanted.previous ? 1 : 0); run >= 0) attempt = run;
  }
  if (!attempt) return NoLog(pod, worker == nullptr ? pod.status : worker->status(), wanted.container, wanted.previous);
  log.attempt_ = *attempt;
  log.path_ = node.runtime().LogPath(worker == nullptr ? pod.metadata : worker->pod()->metadata, wanted.container, *attempt);
  wanted.options.follow = log.watch_ != nullptr && !log.Over(pod);
  return log;
}

// The log is complete when this run no longer is the running one.
bool PodLog::Over(const kube::Pod& now) const {
  const auto* s = StatusOf(now.status, query_.container);
  return now.metadata.uid != pod_.metadata.uid || s == nullptr || s->restart_count != attempt_ || !s->state.running;
}

Result<> PodLog::Read(const task::Context& ctx, const LogSink& sink) const {
  std::stop_source ended;
  std::jthread watcher;
  if (query_.options.follow)
    watcher = std::jthread([&, clock = &ctx.clock()](const std::stop_token& stop) {
      const task::Context watching(stop, *clock);
      for (;;) {
        const auto event = watch_->Next(watching);
        if (event && event->type != objects::WatchEvent::Type::kDeleted && !Over(kube::ReadPod(*event->object))) continue;
        ended.request_stop();
        return;
      }
    });
  auto read = ReadLog(ctx, path_, query_.options, ended.get_token(), sink);
  if (!read && read.error().reason() == Reason::kMissing && query_.previous) return NoLog(pod_, pod_.status, query_.container, true);
  return read;
}

}  // namespace berth::node
