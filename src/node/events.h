// node/events.h: who tells what happened to a Pod: Kubernetes Events, in the kubelet's words.
//
// The texts about images are policy's (policy/messages.h); those about containers are made here, letter by letter those of the
// kubelet v1.36. A message is cut at 1024 bytes, at a character's boundary, as the API demands. Where Events go is an
// interface (the object store, which counts equal ones); telling never fails: an Event that cannot be written is logged.
// Safe for concurrent use.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "kube/objects.h"
#include "objects/store.h"
#include "policy/image_manager.h"
#include "time/clock.h"

namespace berth::node {

class Recorder final : public policy::EventSink {
 public:
  using Write = std::function<Result<>(const objects::Happening&)>;
  Recorder(Write write, std::string host) : write_(std::move(write)), host_(std::move(host)) {}

  void Emit(const policy::ObjectRef& object, const policy::Event& event) override;
  void TellNode(const policy::Event& event);                                                                // about the node itself
  void Tell(const kube::ObjectMeta& pod, const policy::Event& event);                                       // about the Pod
  void Tell(const kube::ObjectMeta& pod, std::string_view field_path, const policy::Event& event);          // about a container

 private:
  const Write write_;
  const std::string host_;
};

// "spec.containers{web}", "spec.initContainers{setup}"
std::string FieldPath(const kube::PodSpec& spec, std::string_view container);
policy::ObjectRef RefTo(const kube::ObjectMeta& pod, std::string field_path = "");
// "web_shop(0b1f…)": how the kubelet's messages name a Pod.
std::string Format(const kube::ObjectMeta& pod);

policy::Event ContainerCreated();
policy::Event ContainerStarted();
policy::Event ContainerFailed(std::string_view message);        // Failed "Error: …"
policy::Event Stopping(std::string_view container);             // Killing
policy::Event DefinitionChanged(std::string_view container);    // Killing
policy::Event CrashLoop(const kube::ObjectMeta& pod, std::string_view container);
std::string CrashLoopMessage(const kube::ObjectMeta& pod, std::string_view container, time::Duration delay);
policy::Event FailedMount(std::string_view message);
policy::Event FailedSandbox(std::string_view message);
policy::Event SandboxChanged();
policy::Event DeadlineExceeded();
policy::Event HookFailed(bool post_start);

inline constexpr std::string_view kDeadlineMessage = "Pod was active on the node longer than the specified deadline";

}  // namespace berth::node
