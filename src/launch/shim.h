// launch/shim.h: what the daemon and apps/berth-shim agree on: verbs, files, limits. No C++ library: the shim has none.
//
// berth-shim run FOLDER LOG MAX-BYTES FILES -- RUNTIME ARG…
//   Starts `RUNTIME ARG…` (a "create" command that writes FOLDER/pid), becomes the parent of the container it leaves behind, and
//   returns: exit status 0 when the container is created and ready to be started; 1 with the reason on stdout (the runtime's own
//   words, at most kShimReasonBytes) when it is not. A process of its own session stays behind until the container ends. It
//   - holds the lock FOLDER/shim.lock (its text: pid and start time) for as long as it lives;
//   - writes FOLDER/created.json: {"pid","startTime","bootId"};
//   - copies the container's stdout and stderr to LOG in CRI form: "2026-11-25T14:50:00.123456789Z stdout F text". Lines longer than
//     kLogPartBytes come in parts, all but the last marked P; so does a last line without an end. A LOG of at least MAX-BYTES (0:
//     never) is renamed to LOG.<UTC time> and begun anew, FILES of them are kept; a LOG that somebody else renamed is opened anew
//     within a second of writing;
//   - writes FOLDER/exit.json, synced and renamed into place: {"exitCode","signal","oomKilled","finishedAt"} (finishedAt in
//     nanoseconds since 1970, a string; exitCode is 128 + signal for a killed one), and ends.
//   It needs nothing from the daemon, whose end it does not notice, and ignores SIGTERM.
// berth-shim sandbox FOLDER HOSTNAME KINDS [SYSCTL=VALUE…]
//   Makes new namespaces (KINDS: letters of n, i, u, p) and pins each on a file of FOLDER: net, ipc, uts, pid. Loopback is up, the
//   host name set, the sysctls are written within them. With p a pause process, without any privilege or file system, is process 1
//   of the pid namespace: FOLDER/pause.json {"pid","startTime","bootId"}.
// berth-shim view hybrid|none PROGRAM ARG…
//   Executes PROGRAM in a mount namespace of its own without cgroup2's …/unified (hybrid), or with an empty /sys/fs/cgroup (none):
//   what crun needs on such machines (product 6.2). Mounts made on the host later still arrive.
// All verbs exit with 64 for a wrong command line.
#pragma once

namespace berth::launch {

inline constexpr char kPidFile[] = "pid";
inline constexpr char kShimLock[] = "shim.lock";
inline constexpr char kCreatedFile[] = "created.json";
inline constexpr char kExitFile[] = "exit.json";
inline constexpr char kPauseFile[] = "pause.json";
inline constexpr unsigned kLogPartBytes = 16384;
inline constexpr unsigned kShimReasonBytes = 8192;

}  // namespace berth::launch
