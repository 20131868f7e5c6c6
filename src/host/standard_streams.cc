#include "host/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace berth::host {

void KeepStandardStreams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest number that is free: this one. The wrong way round: nobody shall believe that what he wrote is somewhere.
    if (::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) std::abort();
  }
}

namespace {
// The program's own list that runs before the constructors of all its libraries: gRPC's opens an eventfd, which would be descriptor 0.
[[gnu::section(".preinit_array"), gnu::used]] void (*const kEarly)() = KeepStandardStreams;
}  // namespace

}  // namespace berth::host
