#include "node/mounts.h"

#include "log/log.h"

namespace berth::node {

Result<std::size_t> Mounts::Recover() {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const auto records, catalog_.ListMounts());
  std::size_t gone = 0;
  for (const auto& record : records) {
    ASSIGN_OR_RETURN(const bool there, mounter_.IsThere(record.target));
    if (there) continue;
    ASSIGN_OR_RETURN(const bool removed, catalog_.RemoveMount(record.target));
    gone += removed ? 1 : 0;
  }
  return gone;
}

Result<std::string> Mounts::Mount(const task::Context& ctx, const catalog::ImageRecord& image, const std::string& target,
                                  rootfs::Writable writable, std::optional<host::MountFlags> flags) {
  ASSIGN_OR_RETURN(const std::string path, rootfs::Mounter::Canonical(target));
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const bool taken, mounter_.IsThere(path));
  // On record, and not there: somebody else unmounted it.
  if (!taken) {
    ASSIGN_OR_RETURN([[maybe_unused]] const bool stale, catalog_.RemoveMount(path));
    RETURN_IF_ERROR(catalog_.AddMount({path, image.manifest, writable == rootfs::Writable::kYes}));
  }
  rootfs::MountSpec spec{.layers = {}, .target = path, .writable = writable};
  if (flags) spec.flags = *flags;
  for (const auto& layer : image.layers) spec.layers.push_back({layer.blob, layer.variant});
  auto mounted = mounter_.Mount(ctx, spec);
  if (!mounted && !taken) {
    if (const auto undone = catalog_.RemoveMount(path); !undone)
      log::Warning("the record of a mount that failed could not be removed", {{"target", path}, {"error", undone.error()}});
  }
  RETURN_IF_ERROR(mounted);
  return path;
}

Result<> Mounts::Unmount(const std::string& target) {
  const auto canonical = rootfs::Mounter::Canonical(target);
  const std::string path = canonical ? *canonical : target;
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const bool was_mounted, mounter_.Unmount(path));
  ASSIGN_OR_RETURN(const bool on_record, catalog_.RemoveMount(path));
  if (was_mounted || on_record) return {};
  return Error(Reason::kMissing, "no image is mounted at " + Quoted(target)).Next("berth mount lists what is mounted");
}

}  // namespace berth::node
