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
// Of the layers that are unpacked from now on; those that are here stay as they are. kAuto is EROFS where it was mounted, else
// trees. Without the right to mount nothing was tried, and a tree could not be unpacked (its jail is a mount; that of a stream needs
// no right): then kErofs is allowed, and kAuto is EROFS, too, unless all layers are trees and this kernel lists no erofs. kConfig
// when the configuration wants what cannot be.
Result<layer::Form> ChooseForm(config::FormChoice wanted, const Machine& found, bool all_are_trees);
// Mounts a tiny image of our own to see whether EROFS works here, chooses the form, and sends an unpack worker into its jail.
// Errors of ChooseForm. On a full disk the kernel's version says whether EROFS works, unless the store has layers and all of them
// are trees.
Result<Machine> LookAround(const host::Dir& scratch, const config::DaemonConfig& config, const std::string& worker,
                           const layer::LayerStore& layers);
// The self test (reliability-security P27): what protects this machine from hostile layers, and what of it is not there.
std::vector<api::Probe> Describe(const Machine& machine, const host::Dir& root);

}  // namespace berth::berthd
