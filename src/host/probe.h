// host/probe.h: what this machine can do, as data for `berth doctor` and for the choice of a layer form.
//
// Nothing here changes the machine: trial mounts are detached and gone when the function returns. "Present" is the answer
// of a system call, not of a version number, unless it says so.
#pragma once

#include <string>

#include "bytes/bytes.h"
#include "host/dir.h"
#include "result/result.h"

namespace berth::host {

struct Capabilities {
  std::string kernel_release;  // "6.1.0-18-amd64"
  int kernel_major = 0, kernel_minor = 0;
  bool can_mount = false;          // CAP_SYS_ADMIN here and not refused by a sandbox
  bool erofs = false;              // the file system is there (or its module loads)
  bool erofs_multi_device = false; // by version (5.16): ProbeErofs is the proof
  bool overlay = false;
  bool overlay_append = false;     // "lowerdir+"
  bool openat2 = false;
  bool loop = false;               // loop control device
  bool pidfd = false;
  int landlock_abi = 0;            // 0: none
  bool seccomp = false;
  int cgroup_version = 0;          // 1, 2; 0: not mounted
};
Capabilities Probe();

// What a real mount of a real image showed.
struct ErofsProbe {
  bool file_backed = false;
  bool loop = false;
  std::string file_backed_error, loop_error;  // why not; empty when it works
  bool usable() const { return file_backed || loop; }
};
// Mounts the image (metadata and one data device, from the EROFS writer) both ways, detached. `scratch` gets two files
// and loses them again. An Error only when the files cannot be written.
Result<ErofsProbe> ProbeErofs(bytes::View meta, bytes::View data, const Dir& scratch);
// What the kernel promises, where no file can be written to try it: by version, from 6.12 mounts from files.
ErofsProbe ExpectErofs(const Capabilities& can);

}  // namespace berth::host
