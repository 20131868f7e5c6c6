#include "host/lock.h"

#include <sys/file.h>

#include <cerrno>
#include <string>

namespace berth::host {

Result<StoreLock> StoreLock::Acquire(const Dir& store, std::string_view file) {
  ASSIGN_OR_RETURN(Fd fd, store.CreateOrOpen(file, 0600));
  int r;
  do r = ::flock(fd.get(), LOCK_EX | LOCK_NB);
  while (r != 0 && errno == EINTR);
  if (r != 0 && errno == EWOULDBLOCK)
    return Error(Reason::kConflict, "another berthd uses this store").Next("stop it, or give this one another store");
  if (r != 0) return OsError(errno, "lock the store");
  return StoreLock(std::move(fd));
}

}  // namespace berth::host
