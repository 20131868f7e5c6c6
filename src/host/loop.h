// host/loop.h: loop devices, for kernels that mount EROFS from block devices only (before 6.12).
#pragma once

#include <string>

#include "host/fd.h"
#include "result/result.h"

namespace berth::host {

struct LoopDevice {
  Fd fd;             // keeps the device alive until something has mounted it
  std::string path;  // /dev/loopN
};

// Read-only, buffered (direct I/O is 4 to 10 times slower for layers: performance 2d), cleared by the kernel with its
// last user. `file` is borrowed. kUnsupported when this machine has no loop control device.
Result<LoopDevice> AttachLoop(int file);

}  // namespace berth::host
