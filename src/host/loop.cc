#include "host/loop.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

namespace berth::host {

Result<LoopDevice> AttachLoop(int file) {
  const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control.valid()) {
    if (errno == EACCES || errno == EPERM) return Error(Reason::kDenied, "no right to use loop devices");
    return Error(Reason::kUnsupported, "this machine has no loop devices (/dev/loop-control)").Next("load the module: modprobe loop");
  }
  // Between "which is free" and "take it" somebody else may take it.
  for (int i = 0; i < 64; ++i) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return OsError(errno, "find a free loop device");
    LoopDevice device{Fd(), "/dev/loop" + std::to_string(number)};
    device.fd = Fd(::open(device.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!device.fd.valid()) return OsError(errno, "open " + device.path);
    loop_config config{};
    config.fd = static_cast<unsigned>(file);
    config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    std::memcpy(config.info.lo_file_name, "berth", 6);
    if (::ioctl(device.fd.get(), LOOP_CONFIGURE, &config) == 0) return device;
    if (errno == EINVAL || errno == ENOTTY)
      return Error(Reason::kUnsupported, "the kernel cannot configure loop devices in one step (5.8)");
    if (errno != EBUSY) return OsError(errno, "attach a file to " + device.path);
  }
  return Error(Reason::kUnavailable, "no loop device could be had in 64 attempts");
}

}  // namespace berth::host
