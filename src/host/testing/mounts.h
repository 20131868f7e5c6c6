// host/testing/mounts.h: a mount namespace of its own for a test program.
#pragma once

#include <sched.h>
#include <sys/mount.h>

namespace berth::host::testing {

// Moves the calling thread (and what it starts) into a private mount namespace, once: whatever a test mounts goes with
// the process, and no other sees it. False where that is not allowed: skip the test.
inline bool PrivateMounts() {
  static const bool done = ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return done;
}

}  // namespace berth::host::testing
