// apps/berthd/process.h: what berthd makes of its own process: hardened, told by signals, watched.
#pragma once

#include <string>
#include <thread>

#include "config/daemon_config.h"
#include "host/fd.h"
#include "result/result.h"
#include "time/clock.h"

namespace berth::berthd {

// No core dumps, no ptrace by others, private files, no death by a closed pipe, memory given back; as many descriptors as
// may be (an image has two for each layer while it is fitted).
void HardenProcess();

// SIGTERM, SIGINT, SIGHUP and SIGUSR1 from now on come from one descriptor, for all threads started later.
Result<host::Fd> TakeSignals();
int NextSignal(const host::Fd& signals);

// Ends the process when its orderly end takes too long or somebody asks a second time. What is on disk is whole at every
// moment; a pull that is cut off is resumed by the next.
std::jthread GuardTheEnd(const host::Fd& signals, time::Duration limit);

// Every path's folders are made (0755), the last one is ours alone (0700, also when it was there).
Result<> MakePrivateFolder(const std::string& path);
// The unpack worker: as configured, or beside this program. kConfig when it cannot be run.
Result<std::string> FindWorker(const config::DaemonConfig& config);
Result<std::string> FindShim(const config::DaemonConfig& config);  // the same for berth-shim

}  // namespace berth::berthd
