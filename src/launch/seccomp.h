// launch/seccomp.h: the system calls of a container with seccompProfile RuntimeDefault.
//
// A list of what programs need; every other call fails with EPERM (clone3 with ENOSYS, so that C libraries fall back to clone, whose
// flags can be looked at). Calls that only matter with a capability are there when the container has it. In spirit the default of
// containerd: no mount, no new namespaces, no kernel modules, no keyrings, no bpf, no clock setting, no VSOCK sockets.
#pragma once

#include <cstdint>
#include <string>

#include "json/document.h"
#include "result/result.h"

namespace berth::launch {

// Writes the value of `linux.seccomp`. `capabilities`: the container's bounding set, bit N is capability N.
void WriteDefaultSeccomp(json::Writer& out, std::uint64_t capabilities);

// A profile of the node's administrator (type Localhost), in the form of the runtime specification: `name` is relative to `folder`,
// without "..". kMissing, kConfig.
Result<std::string> ReadLocalhostSeccomp(const std::string& folder, const std::string& name);

}  // namespace berth::launch
