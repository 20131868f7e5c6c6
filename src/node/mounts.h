// node/mounts.h: images mounted at paths, on record: what is mounted cannot be removed.
//
// The record is written before the mount and goes after it, so that no image can vanish in between; what a crash or a
// reboot leaves on record only is forgotten at the next start (Recover) or when its target is used again.
// Errors: those of rootfs/mounter.h and the catalog; kMissing from Unmount. Safe for concurrent use.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "catalog/catalog.h"
#include "result/result.h"
#include "rootfs/mounter.h"
#include "task/context.h"

namespace berth::node {

class Mounts {
 public:
  Mounts(catalog::Catalog& catalog, rootfs::Mounter& mounter) : catalog_(catalog), mounter_(mounter) {}
  // Forgets records whose mount is gone; how many.
  Result<std::size_t> Recover();
  // The target in the spelling under which it is on record.
  Result<std::string> Mount(const task::Context& ctx, const catalog::ImageRecord& image, const std::string& target,
                            rootfs::Writable writable, std::optional<host::MountFlags> flags = std::nullopt);
  Result<> Unmount(const std::string& target);
  // Runs the removal of an image. When a mount is in its way that somebody undid without us, forgets that and runs it again.
  template <class Work>
  auto Remove(const Work& work) -> decltype(work()) {
    auto done = work();
    if (done || done.error().reason() != Reason::kInUse) return done;
    ASSIGN_OR_RETURN(const std::size_t gone, Recover());
    return gone > 0 ? work() : std::move(done);
  }

 private:
  catalog::Catalog& catalog_;
  rootfs::Mounter& mounter_;
  std::mutex mutex_;  // record and mount change together
};

}  // namespace berth::node
