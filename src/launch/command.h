// launch/command.h: what a container runs: arguments, environment, working directory.
//
// Rules of the kubelet (makeEnvironmentVariables, ExpandContainerCommandAndArgs) and of containerd's CRI plug-in:
// - `command` replaces the image's entrypoint and drops its cmd; `args` replaces its cmd. Both empty and nothing in the image:
//   kConfig "no command specified".
// - environment of the image, then envFrom in order, then env in order; a later one of the same name wins. A name keeps the place of
//   its first appearance. PATH gets a default when the image has none; HOSTNAME is the Pod's; TERM is set for a terminal.
// - `$(NAME)` in env values, command and args becomes the value of that variable as Kubernetes knows it (envFrom and the env entries
//   before it; for command and args all of them; never the image's); unknown names stay as written; `$$(NAME)` is a literal
//   `$(NAME)`; any other `$` is itself.
//
// Values of Secrets end up in the container's environment: Environment is not for logs.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kube/objects.h"
#include "launch/sources.h"
#include "oci/oci.h"
#include "result/result.h"

namespace berth::launch {

// nullopt: no such variable.
using VariableLookup = std::function<std::optional<std::string>(std::string_view)>;
std::string ExpandVariables(std::string_view text, const VariableLookup& lookup);

struct Environment {
  kube::StringMap values;             // what Kubernetes defines: sorted by name
  std::vector<std::string> skipped;   // keys of envFrom that cannot be names of variables (event InvalidEnvironmentVariableNames)
};
// kNotFound for a missing object or key that is not optional; kUsage for a bad selector. These are CreateContainerConfigError.
Result<Environment> MakeEnvironment(const PodFacts& facts, const kube::Container& container, const ConfigSource& objects);

struct Command {
  std::vector<std::string> argv;      // at least one
  std::vector<std::string> env;       // "NAME=value"
  std::string working_dir;            // absolute
};
// kConfig: nothing to run, or a working directory that is not absolute.
Result<Command> MakeCommand(const oci::ImageConfig& image, const kube::Container& container, const kube::StringMap& environment,
                            std::string_view hostname);

}  // namespace berth::launch
