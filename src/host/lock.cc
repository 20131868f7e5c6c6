#include "host/lock.h"

#include <sys/file.h>

#include <cerrno>
#include <string>

namespace berth::host {

Result<StoreLock> StoreLock::Acquire(const Dir& store, const time::Clock& clock, std::string_view file) {
  ASSIGN_OR_RETURN(Fd fd, store.CreateOrOpen(file, 0600));
  const time::SteadyTime until = clock.SteadyNow() + kPatience;
  int r;
  while ((r = ::flock(fd.get(), LOCK_EX | LOCK_NB)) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK || clock.SteadyNow() >= until) break;
    clock.SleepUntil({}, clock.SteadyNow() + std::chrono::milliseconds(20));
  }
  if (r != 0 && errno == EWOULDBLOCK)
    return Error(Reason::kConflict, "another berthd uses this store").Next("stop it, or give this one another store");
  if (r != 0) return OsError(errno, "lock the store");
  return StoreLock(std::move(fd));
}

}  // namespace berth::host
