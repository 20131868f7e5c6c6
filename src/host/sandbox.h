// host/sandbox.h: the jail of a worker that parses hostile bytes.
//
// For a child process that already has everything as descriptors. EnterUnpackJail() gives up, in this order: dumpability
// and core files, namespaces (net, ipc, uts, mount; user where needed), the file system (an empty root, or the layer
// root), identity, all capabilities including the bounding set (kTree keeps what Appendix A needs), new privileges,
// everything Landlock can take, every descriptor not listed, and finally every system call not on the list of its profile
// (reliability-security 5.1, Appendix A). A forbidden call kills the process.
//
// Call it early, while the process has one thread: capabilities and Landlock belong to threads. Threads may be made
// afterwards (clone with exactly the flags of a thread; clone3 answers ENOSYS and the C library falls back).
// What cannot be had on this machine is skipped and reported, never silent; no_new_privs, the drop of capabilities,
// closing of descriptors and the filter are demanded: an Error, and the caller must exit. kDenied: a right lacks, which the text
// names: CAP_SYS_ADMIN for a tree, and for a stream what root needs to become its `identity` (CAP_SETUID, CAP_SETGID, a map of it).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/process.h"
#include "result/result.h"

namespace berth::host {

enum class JailProfile : std::uint8_t {
  kStream,  // reads and writes given descriptors, memory, threads: no call that takes a path
  kTree,    // and the *at calls of Appendix A below root_fd, which becomes "/"
};

struct JailSpec {
  JailProfile profile = JailProfile::kStream;
  std::vector<int> keep_fds;             // 0, 1, 2 are kept only if listed
  int root_fd = -1;                      // kTree: the layer directory; also kept
  std::optional<Identity> identity;      // kStream, when root: become this
  std::uint64_t max_file_bytes = 0;      // RLIMIT_FSIZE; 0: not set
  std::uint64_t max_open_files = 64;     // RLIMIT_NOFILE
  std::uint64_t max_memory_bytes = 0;    // RLIMIT_AS; 0: not set
  bool device_nodes = false;             // kTree: mknod of devices (else FIFOs only)
};

struct JailReport {
  bool no_new_privs = false, not_dumpable = false, capabilities_dropped = false, identity_changed = false;
  bool net_namespace = false, ipc_namespace = false, uts_namespace = false, mount_namespace = false, user_namespace = false;
  bool own_root = false;        // empty root, or the layer root
  int landlock_abi = 0;         // 0: not active
  bool descriptors_closed = false;
  bool seccomp = false;
  // "no_new_privs,seccomp,…;missing=landlock": one line for the log and `berth doctor`.
  std::string Text() const;
};

Result<JailReport> EnterUnpackJail(const JailSpec& spec);

}  // namespace berth::host
