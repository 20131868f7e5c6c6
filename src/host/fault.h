// host/fault.h: named points where a test makes the product fail.
//
//   BERTH_FAULT(kBlobRenamed);            // in a function that returns Result<…>
//   BERTH_FAULT_IN(ctx, kBlobRenamed);    // the same; delay and pause end with the Context
//
// One relaxed load while nothing is armed; nothing at all unless built with BERTH_FAULTS=1. The points are one closed
// list, so that a sweep over kill -9 at each of them cannot rot (reliability-security 3.e, Appendix C).
//
// Configure() takes "name=action[*count][@skip];…" (main passes the environment variable BERTH_FAULTS): the first `skip`
// hits pass, the next `count` (default: all) act. Actions:
//   kill             SIGKILL to this process
//   exit             _exit(1)
//   error(ENOSPC)    the enclosing function returns that error (any errno name of the table in fault.cc)
//   delay(ms)        waits, then goes on
//   pause(path)      writes a byte to the FIFO path.reached if there is one, goes on after one byte read from the FIFO path
//   shutdownfs       the shutdown ioctl (no log flush) on the file system of BERTH_FAULT_FS: as if the power went
// Threads: points may be hit by any thread; counts are exact. Configure once, before threads.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "result/result.h"
#include "task/context.h"

namespace berth::host {

enum class FaultPoint : std::uint8_t {
  kPullAccepted, kPullIntent, kPullCredential, kPullToken, kManifestReceived, kManifestStored,
  kIngestCreated, kIngestHalf, kBlobComplete, kBlobVerified, kBlobRenamed, kBlobRecorded,
  kUnpackStarted, kUnpackHalf, kUnpackLast, kUnpackCompared, kLayerSynced, kLayerRenamed, kLayerDirSynced, kLayerRecorded,
  kImageRecorded, kPullRecorded, kPullAnswered, kLeaseReleased,
  kRemoveNameDeleted, kRemoveMarked, kRemoveTrashed, kRemoveDeleted, kRemoveSynced, kRemovePurged,
  kGcMark, kGcRoots, kGcCandidates, kGcDelete, kGcDone,
};

struct FaultPointInfo {
  FaultPoint point;
  int step;               // of the table in reliability-security 3.e; equals the enumerator
  std::string_view name;  // "blob.renamed"
};
inline constexpr std::size_t kFaultPoints = 35;
// In the order of the steps.
const std::array<FaultPointInfo, kFaultPoints>& AllFaultPoints();

// kConfig for a specification it does not understand, or when the build has no fault points and `spec` is not empty.
// Replaces what was configured before; "" disarms all.
Result<> ConfigureFaults(std::string_view spec);
// Of the environment variable BERTH_FAULTS; nothing when it is not set.
Result<> ConfigureFaultsFromEnvironment();

namespace internal {
inline std::atomic<bool> faults_armed{false};
Result<> HitFault(const task::Context& ctx, FaultPoint point);
}  // namespace internal

}  // namespace berth::host

#if BERTH_FAULTS
#define BERTH_FAULT_IN(ctx, point)                                                       \
  do {                                                                                   \
    if (::berth::host::internal::faults_armed.load(std::memory_order_relaxed)) [[unlikely]] \
      RETURN_IF_ERROR(::berth::host::internal::HitFault(ctx, ::berth::host::FaultPoint::point)); \
  } while (false)
#else
#define BERTH_FAULT_IN(ctx, point) do { } while (false)
#endif
#define BERTH_FAULT(point) BERTH_FAULT_IN(::berth::task::Context(), point)
