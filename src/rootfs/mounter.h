// rootfs/mounter.h: an image's layers as one file system at a path.
//
// Each EROFS layer is mounted once (detached: no path shows it) and shared by all images that are mounted while it is,
// so its pages are cached once; an overlay of the layers, topmost first, is attached to the target. Whiteouts and
// opaque directories are in the layers already; what lies below a layer whose root is opaque is left out. Read-only, nodev
// and nosuid unless asked otherwise; a writable mount has its upper directory below the store (writable/<number>/) and
// loses it at Unmount. An image without layers is an empty directory. The root has the attributes that the image gives it.
// Unmounting a target also lets go of the layers nobody else uses; after a restart of the daemon the kernel does that
// bookkeeping: our mounts are known by their source ("berth-<16 hex of the store's path>[/<number>]").
//
// Targets may be spelled in any way: they are compared by where they lead. Never on what the machine or berth itself
// stands on, where no command could undo it: the root, /proc, /sys and /dev with all below them, what is a mount point of
// somebody else's already, and the store and other folders in use with all above and below them, but for the store's pods/<uid>/…,
// where Pods have their mounts.
// Errors as in host/mount.h; kUsage for a target that is no existing directory or no absolute path or one of those;
// kConflict when an image is mounted there. Safe for concurrent use.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "digest/digest.h"
#include "host/dir.h"
#include "host/mount.h"
#include "layer/store.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::rootfs {

struct LayerRef {
  digest::Digest blob;
  std::string variant;  // catalog::ImageLayer::variant
};

enum class Writable : bool { kNo, kYes };

struct MountSpec {
  std::vector<LayerRef> layers;  // bottom first
  std::string target;            // absolute path of an existing directory
  Writable writable = Writable::kNo;
  host::MountFlags flags{.read_only = true, .nodev = true, .nosuid = true};  // read_only follows `writable`
};

class Mounter {
 public:
  // `root`: the store's folder (absolute); makes writable/ and empty/ in it and removes upper directories whose target is
  // no longer mounted. `in_use`: existing folders that are berthd's own, like the store.
  static Result<std::unique_ptr<Mounter>> Open(const std::string& root, const layer::LayerStore& layers,
                                               const std::vector<std::string>& in_use = {});

  Result<> Mount(const task::Context& ctx, const MountSpec& spec);
  // False when nothing of ours is on top there. kInUse when a process uses it.
  Result<bool> Unmount(const std::string& target);
  Result<bool> IsMounted(const std::string& target) const;
  // Also where another file system is mounted over the image: it is in use all the same.
  Result<bool> IsThere(const std::string& target) const;
  // Where a target leads, without links, dots and double slashes: what it is to be recorded as. kUsage.
  static Result<std::string> Canonical(const std::string& target);

 private:
  using LayerMount = std::shared_ptr<host::Fd>;
  Mounter(std::string root, const layer::LayerStore& layers);
  Result<LayerMount> OpenLayer(const LayerRef& layer);
  Result<std::string> MakeUpper(const host::Fd* topmost);
  Result<> RemoveStale();
  Result<> CheckTarget(const std::string& target) const;

  const std::string root_;
  const std::string tag_;  // how our mounts' sources begin
  const layer::LayerStore& layers_;
  host::Dir writable_;
  std::vector<std::string> in_use_;  // canonical: the store's first
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<host::Fd>> open_;       // guarded by mutex_: layer mounts, by files and layer
  std::map<std::string, std::vector<LayerMount>> attached_;   // guarded by mutex_: by target
};

}  // namespace berth::rootfs
