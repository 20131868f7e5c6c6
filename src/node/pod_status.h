// node/pod_status.h: from what is known of a Pod's containers to the status that Kubernetes shows.
//
// Phases, conditions and container states follow the kubelet v1.36: what is not started yet waits as ContainerCreating, or as
// PodInitializing in a Pod with init containers; a reason (ErrImagePull, CrashLoopBackOff, …) takes its place, and that of the
// terminated state of a container that is to be started again. Probes are not run: a running container is ready.
// Pure functions. Vectors: pod_status_test.cc.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "kube/objects.h"
#include "node/runtime.h"

namespace berth::node {

// What the worker knows of one container.
struct ContainerFacts {
  std::int32_t attempt = 0;                                // of `run`
  std::optional<RunState> run;                             // the latest; nothing: never started
  std::optional<kube::ContainerState::Terminated> last;    // the run before it
  std::optional<kube::ContainerState::Waiting> waiting;    // why the next start did not succeed
  std::string image_ref;                                   // of the latest run
  bool replaced = false;                                   // the latest run was stopped for a changed image: started again in any case
};

struct PodFacts {
  std::map<std::string, ContainerFacts> containers;        // of all three lists: names are unique
  bool sandbox = false;
  bool terminating = false;                                // nothing is started again
  std::string failed_reason, failed_message;               // "DeadlineExceeded": the Pod has failed for this
  std::string pod_ip, host_ip;
  std::optional<time::WallTime> start_time;
};

std::string_view QosClass(const kube::PodSpec& spec);      // "Guaranteed", "Burstable", "BestEffort"
bool IsSidecar(const kube::Container& init);               // restartPolicy Always

// Whether a container in this state is to be started (again), by the Pod's restart policy, or because its image was changed;
// `init`: regular init containers run again until they succeed.
enum class Role : std::uint8_t { kMain, kInit, kSidecar, kEphemeral };
bool ShouldStart(const kube::PodSpec& spec, Role role, const ContainerFacts& facts);

// `before`: the status so far, for the times of conditions that stay as they are.
kube::PodStatus MakeStatus(const kube::Pod& pod, const PodFacts& facts, const kube::PodStatus& before, time::WallTime now);

// A run that has ended, as the API shows it.
kube::ContainerState::Terminated Terminated(const RunState& run);

}  // namespace berth::node
