#include "node/events.h"

#include "bytes/text.h"
#include "log/log.h"
#include "time/go_duration.h"

namespace berth::node {
namespace {

constexpr std::size_t kMessageBytes = 1024;

policy::Event Make(const char* reason, bool warning, std::string message) { return {reason, warning, std::move(message)}; }

}  // namespace

void Recorder::Emit(const policy::ObjectRef& object, const policy::Event& event) {
  const objects::Happening out{
      .about = {.api_version = "v1", .kind = "Pod", .ns = object.space, .name = object.name, .uid = object.uid, .field_path = object.field_path},
      .type = event.warning ? "Warning" : "Normal", .reason = event.reason, .message = bytes::Ellipsized(event.message, kMessageBytes), .host = host_};
  if (const auto written = write_(out); !written)
    log::Warning("an event could not be written", {{"pod", object.space + "/" + object.name}, {"reason", event.reason}, {"error", written.error()}});
}

// As the kubelet: the node's name is its UID.
void Recorder::TellNode(const policy::Event& event) {
  const objects::Happening out{.about = {.kind = "Node", .name = host_, .uid = host_}, .type = event.warning ? "Warning" : "Normal",
                               .reason = event.reason, .message = bytes::Ellipsized(event.message, kMessageBytes), .host = host_};
  if (const auto written = write_(out); !written)
    log::Warning("an event could not be written", {{"node", host_}, {"reason", event.reason}, {"error", written.error()}});
}

void Recorder::Tell(const kube::ObjectMeta& pod, const policy::Event& event) { Emit(RefTo(pod), event); }

void Recorder::Tell(const kube::ObjectMeta& pod, std::string_view field_path, const policy::Event& event) {
  Emit(RefTo(pod, std::string(field_path)), event);
}

std::string FieldPath(const kube::PodSpec& spec, std::string_view container) {
  const auto in = [&](const std::vector<kube::Container>& list) {
    for (const auto& c : list)
      if (c.name == container) return true;
    return false;
  };
  const char* list = in(spec.init_containers) ? "initContainers" : in(spec.ephemeral_containers) ? "ephemeralContainers" : "containers";
  return std::string("spec.") + list + "{" + std::string(container) + "}";
}

policy::ObjectRef RefTo(const kube::ObjectMeta& pod, std::string field_path) {
  return {.space = pod.ns, .name = pod.name, .uid = pod.uid, .field_path = std::move(field_path)};
}

std::string Format(const kube::ObjectMeta& pod) { return pod.name + "_" + pod.ns + "(" + pod.uid + ")"; }

policy::Event ContainerCreated() { return Make("Created", false, "Container created"); }
policy::Event ContainerStarted() { return Make("Started", false, "Container started"); }
policy::Event ContainerFailed(std::string_view message) { return Make("Failed", true, "Error: " + std::string(message)); }
policy::Event Stopping(std::string_view container) { return Make("Killing", false, "Stopping container " + std::string(container)); }
policy::Event DefinitionChanged(std::string_view container) {
  return Make("Killing", false, "Container " + std::string(container) + " definition changed, will be restarted");
}
policy::Event CrashLoop(const kube::ObjectMeta& pod, std::string_view container) {
  return Make("BackOff", true, "Back-off restarting failed container " + std::string(container) + " in pod " + Format(pod));
}
std::string CrashLoopMessage(const kube::ObjectMeta& pod, std::string_view container, time::Duration delay) {
  return "back-off " + time::FormatGoDuration(delay) + " restarting failed container=" + std::string(container) + " pod=" + Format(pod);
}
policy::Event FailedMount(std::string_view message) { return Make("FailedMount", true, std::string(message)); }
policy::Event FailedSandbox(std::string_view message) {
  return Make("FailedCreatePodSandBox", true, "Failed to create pod sandbox: " + std::string(message));
}
policy::Event SandboxChanged() { return Make("SandboxChanged", false, "Pod sandbox changed, it will be killed and re-created."); }
policy::Event DeadlineExceeded() { return Make("DeadlineExceeded", false, std::string(kDeadlineMessage)); }
policy::Event HookFailed(bool post_start) {
  return post_start ? Make("FailedPostStartHook", true, "PostStartHook failed") : Make("FailedPreStopHook", true, "PreStopHook failed");
}

}  // namespace berth::node
