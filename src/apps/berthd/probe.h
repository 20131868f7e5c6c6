// apps/berthd/probe.h: what this machine can do, for the choice of a layer form and for `berth doctor`.
#pragma once

#include <string>
#include <vector>

#include "api/service.h"
#include "config/daemon_config.h"
#include "host/dir.h"
#include "host/probe.h"

namespace berth::berthd {

struct Machine {
  host::Capabilities can;
  host::ErofsProbe erofs;
  layer::Form form = layer::Form::kErofs;
  Result<std::string> jail = std::string();  // of the unpack workers: layer::TryJail
};
// Mounts a tiny image of our own to see whether EROFS works here, and sends an unpack worker into its jail. kConfig when the
// configuration wants what cannot be. On a full disk the kernel's version says whether EROFS works, unless the store has layers
// and all of them are trees.
Result<Machine> LookAround(const host::Dir& scratch, const config::DaemonConfig& config, const std::string& worker,
                           const layer::LayerStore& layers);
// The self test (reliability-security P27): what protects this machine from hostile layers, and what of it is not there.
std::vector<api::Probe> Describe(const Machine& machine, const host::Dir& root);

}  // namespace berth::berthd
