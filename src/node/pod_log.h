// node/pod_log.h: the log of one container of a Pod, as `kubectl logs` shows it: which file that is, and when it is complete.
#pragma once

#include <memory>
#include <string>

#include "node/log_reader.h"
#include "node/node.h"

namespace berth::node {

struct LogQuery {
  std::string container;   // "": the only one
  bool previous = false;   // of the run before
  LogOptions options;
};

// What Find() found.
class PodLog {
 public:
  // kUsage: `a container name must be specified for pod web, choose one of: [a b]`, `container x is not valid for pod web`;
  // kNotFound with the kubelet's words: `container "a" in pod "web" is waiting to start: ContainerCreating`.
  static Result<PodLog> Find(Node& node, const kube::Object& pod, LogQuery query);
  // All of it; with `follow` until the run has ended. On the caller's thread and, when it follows, one more. As ReadLog().
  Result<> Read(const task::Context& ctx, const LogSink& sink) const;

 private:
  PodLog(kube::Pod pod, LogQuery query) : pod_(std::move(pod)), query_(std::move(query)) {}
  bool Over(const kube::Pod& now) const;

  kube::Pod pod_;
  LogQuery query_;
  std::string path_;
  std::int32_t attempt_ = 0;
  std::shared_ptr<objects::Watch> watch_;  // of the Pod, when it follows
};

}  // namespace berth::node
