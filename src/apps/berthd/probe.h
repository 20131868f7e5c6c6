// apps/berthd/probe.h: what this machine can do, for the choice of a layer form and for `berth doctor`.
#pragma once

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
};
// Mounts a tiny image of our own to see whether EROFS works here. kConfig when the configuration wants what cannot be.
Result<Machine> LookAround(const host::Dir& scratch, config::FormChoice wanted);
std::vector<api::Probe> Describe(const Machine& machine, const host::Dir& root);

}  // namespace berth::berthd
