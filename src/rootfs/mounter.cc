#include "rootfs/mounter.h"

#include <algorithm>

namespace berth::rootfs {
namespace {

constexpr std::string_view kEmpty = "/empty";

Error BadTarget(const std::string& target, const char* why) {
  return Error(Reason::kUsage, "the mount point " + Quoted(target) + " " + why).Next("name an existing, empty directory by its absolute path");
}

// Our overlays are told from others by an upper or lower directory below the store.
bool IsOurs(const host::MountInfo& mount, const std::string& root) {
  return mount.type == "overlay" && mount.super_options.find(root + std::string(kEmpty)) != std::string::npos;
}

}  // namespace

Result<std::unique_ptr<Mounter>> Mounter::Open(const std::string& root, const layer::LayerStore& layers) {
  std::unique_ptr<Mounter> mounter(new Mounter(root, layers));
  ASSIGN_OR_RETURN(const host::Dir folder, host::Dir::Open(root));
  RETURN_IF_ERROR(folder.MakeDir("empty", 0555));
  ASSIGN_OR_RETURN(mounter->writable_, folder.MakeAndOpenDir("writable", 0700));
  RETURN_IF_ERROR(mounter->RemoveStale());
  return mounter;
}

// Upper directories whose overlay is gone.
Result<> Mounter::RemoveStale() {
  ASSIGN_OR_RETURN(const auto names, writable_.List());
  if (names.empty()) return {};
  ASSIGN_OR_RETURN(const auto mounts, host::ListMounts());
  for (const auto& name : names) {
    const std::string upper = root_ + "/writable/" + name + "/upper";
    const auto uses = [&](const host::MountInfo& m) { return m.super_options.find("upperdir=" + upper) != std::string::npos; };
    if (std::ranges::any_of(mounts, uses)) continue;
    ASSIGN_OR_RETURN([[maybe_unused]] const bool gone, writable_.RemoveTree(name));
  }
  return {};
}

Result<std::shared_ptr<host::Fd>> Mounter::OpenLayer(const LayerRef& layer) {
  const std::string name = layer.blob.ToString() + "@" + layer.variant;
  if (auto open = open_[name].lock()) return open;
  ASSIGN_OR_RETURN(const auto source, layers_.Sources(layer.blob, layer.variant));
  std::shared_ptr<host::Fd> fd;
  if (source.form == layer::Form::kTree) {
    ASSIGN_OR_RETURN(host::Dir tree, host::Dir::Open(source.meta));
    ASSIGN_OR_RETURN(host::Fd own, tree.Duplicate());
    fd = std::make_shared<host::Fd>(std::move(own));
  } else {
    host::ErofsImage image{.meta = host::Place(source.meta), .devices = {}};
    for (const auto& data : source.data) image.devices.emplace_back(data);
    // Set-user-id and devices are the overlay's to forbid: the same layer may serve a container root as well.
    ASSIGN_OR_RETURN(host::Fd mount, host::OpenErofs(image, {.read_only = true, .nodev = false, .nosuid = false}));
    fd = std::make_shared<host::Fd>(std::move(mount));
  }
  open_[name] = fd;
  return fd;
}

Result<> Mounter::Mount(const task::Context& ctx, const MountSpec& spec) {
  RETURN_IF_ERROR(ctx.Check());
  if (!spec.target.starts_with('/')) return BadTarget(spec.target, "is not an absolute path");
  const auto folder = host::Dir::Open(spec.target);
  if (!folder) return BadTarget(spec.target, "cannot be opened as a directory");
  ASSIGN_OR_RETURN(const auto inside, folder->Duplicate());
  std::lock_guard lock(mutex_);
  if (attached_.contains(spec.target)) return Error(Reason::kConflict, "an image is mounted at " + Quoted(spec.target) + " already");
  Attached attached;
  host::OverlaySpec overlay{.flags = spec.flags};
  overlay.flags.read_only = spec.writable == Writable::kNo;
  for (auto layer = spec.layers.rbegin(); layer != spec.layers.rend(); ++layer) {
    ASSIGN_OR_RETURN(auto fd, OpenLayer(*layer));
    overlay.lowers.emplace_back(fd->get());
    attached.layers.push_back(std::move(fd));
  }
  // Below all of them: makes an overlay of a single layer possible (its whiteouts must not show), and marks it as ours.
  overlay.lowers.emplace_back(root_ + std::string(kEmpty));
  if (overlay.lowers.size() == 1) overlay.lowers.push_back(overlay.lowers.front());
  if (spec.writable == Writable::kYes) {
    std::uint64_t number = 1;
    for (;; ++number) {
      ASSIGN_OR_RETURN(const bool taken, writable_.Exists(std::to_string(number)));
      if (!taken) break;
    }
    attached.upper = std::to_string(number);
    for (const std::string& part : {attached.upper, attached.upper + "/upper", attached.upper + "/work"})
      RETURN_IF_ERROR(writable_.MakeDir(part, 0755));
    overlay.upper = root_ + "/writable/" + attached.upper + "/upper";
    overlay.work = root_ + "/writable/" + attached.upper + "/work";
  }
  if (auto mounted = host::MountOverlay(overlay, host::Place(spec.target)); !mounted) {
    if (!attached.upper.empty()) (void)writable_.RemoveTree(attached.upper);
    return mounted;
  }
  attached_.emplace(spec.target, std::move(attached));
  return {};
}

Result<bool> Mounter::IsMounted(const std::string& target) const {
  ASSIGN_OR_RETURN(const auto mounts, host::ListMounts());
  return std::ranges::any_of(mounts, [&](const auto& mount) { return mount.target == target && IsOurs(mount, root_); });
}

Result<bool> Mounter::Unmount(const std::string& target) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const bool ours, IsMounted(target));
  if (ours) {
    ASSIGN_OR_RETURN([[maybe_unused]] const bool unmounted, host::Unmount(target));
  }
  const auto it = attached_.find(target);
  const bool known = it != attached_.end();
  if (known) {
    const std::string upper = it->second.upper;
    attached_.erase(it);
    std::erase_if(open_, [](const auto& entry) { return entry.second.expired(); });
    if (!upper.empty()) {
      ASSIGN_OR_RETURN([[maybe_unused]] const bool gone, writable_.RemoveTree(upper));
    }
  } else if (ours) {
    RETURN_IF_ERROR(RemoveStale());
  }
  return ours || known;
}

}  // namespace berth::rootfs
