#include "rootfs/mounter.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "layer/overlay.h"

namespace berth::rootfs {
namespace {

constexpr std::size_t kXattrBytes = 64u << 10;

Error BadTarget(const std::string& target, const char* why) {
  return Error(Reason::kUsage, "the mount point " + Quoted(target) + " " + why).Next("name an existing directory by its absolute path");
}

// Whether `path` is `folder` or below it; both canonical.
bool Below(std::string_view path, std::string_view folder) {
  return folder == "/" || (path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/'));
}

// Whose overlay is the topmost mount at `target`: its source, "" when there is none or it is somebody else's.
std::string SourceAt(const std::vector<host::MountInfo>& mounts, const std::string& target, const std::string& tag) {
  const auto top = std::find_if(mounts.rbegin(), mounts.rend(), [&](const auto& mount) { return mount.target == target; });
  const bool ours = top != mounts.rend() && top->type == "overlay" && top->source.starts_with(tag);
  return ours ? top->source : "";
}

// Whether one of those at `target` is ours, be it below others.
bool IsAmong(const std::vector<host::MountInfo>& mounts, const std::string& target, const std::string& tag) {
  return std::ranges::any_of(mounts, [&](const auto& m) { return m.target == target && m.type == "overlay" && m.source.starts_with(tag); });
}

Result<std::string> FileNumber(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return host::OsError(errno, "look at " + Quoted(path));
  return std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino);
}

// An overlay's root shows the attributes of its upper directory: they are to be the image's.
Result<> CopyAttributes(int from, int to) {
  const std::string source = host::Place(from).Name();
  struct stat st {};
  if (::stat(source.c_str(), &st) != 0 || ::fchown(to, st.st_uid, st.st_gid) != 0 || ::fchmod(to, st.st_mode & 07777) != 0)
    return host::OsError(errno, "copy the attributes of an image's root");
  std::vector<char> names(kXattrBytes), value(kXattrBytes);
  const ssize_t length = ::listxattr(source.c_str(), names.data(), names.size());
  for (const char* name = names.data(); length > 0 && name < names.data() + length; name += std::string_view(name).size() + 1) {
    if (std::string_view(name).starts_with(layer::kOverlayXattrs)) continue;
    const ssize_t size = ::getxattr(source.c_str(), name, value.data(), value.size());
    if (size < 0 || ::fsetxattr(to, name, value.data(), static_cast<std::size_t>(size), 0) != 0)
      return host::OsError(errno, "copy the extended attributes of an image's root");
  }
  const std::array times{st.st_atim, st.st_mtim};
  if (::futimens(to, times.data()) != 0) return host::OsError(errno, "copy the times of an image's root");
  return {};
}

}  // namespace

Mounter::Mounter(std::string root, const layer::LayerStore& layers)
    : root_(std::move(root)), tag_("berth-" + digest::Digest::Of(bytes::AsView(root_)).Hex().substr(0, 16)), layers_(layers) {}

Result<std::unique_ptr<Mounter>> Mounter::Open(const std::string& root, const layer::LayerStore& layers,
                                               const std::vector<std::string>& in_use) {
  std::unique_ptr<Mounter> mounter(new Mounter(root, layers));
  ASSIGN_OR_RETURN(mounter->in_use_.emplace_back(), Canonical(root));
  for (const auto& folder : in_use) {
    ASSIGN_OR_RETURN(mounter->in_use_.emplace_back(), Canonical(folder));
  }
  ASSIGN_OR_RETURN(const host::Dir folder, host::Dir::Open(root));
  // Two, because an overlay wants two lower directories and not the same one twice.
  for (const char* name : {"empty", "empty/1", "empty/2"}) RETURN_IF_ERROR(folder.MakeDir(name, 0755));
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
    if (std::ranges::find(mounts, tag_ + "/" + name, &host::MountInfo::source) != mounts.end()) continue;
    ASSIGN_OR_RETURN([[maybe_unused]] const bool gone, writable_.RemoveTree(name));
  }
  return {};
}

Result<std::string> Mounter::Canonical(const std::string& target) {
  if (!target.starts_with('/')) return BadTarget(target, "is not an absolute path");
  const host::Fd folder(::open(target.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid() || target.find('\0') != target.npos) return BadTarget(target, "is no directory");
  std::array<char, PATH_MAX> path;
  const ssize_t length = ::readlink(host::Place(folder).Name().c_str(), path.data(), path.size());
  if (length <= 0 || static_cast<std::size_t>(length) == path.size()) return BadTarget(target, "has no usable path");
  return std::string(path.data(), static_cast<std::size_t>(length));
}

// What nobody could undo any more, or only without berth.
Result<> Mounter::CheckTarget(const std::string& target) const {
  const auto refused = [&](const std::string& why) {
    return Error(Reason::kUsage, "no image is mounted at " + Quoted(target) + ": " + why).Next("name an empty directory of your own");
  };
  for (const char* folder : {"/proc", "/sys", "/dev"})
    if (Below(target, folder)) return refused("the system needs what is there");
  for (const auto& folder : in_use_)
    if (Below(folder, target)) return refused("it would hide " + folder + ", which berthd uses");
  // Where Pods have theirs; anything else there is read, written and removed by its name.
  const std::string pods = in_use_.front() + "/pods";
  if (!Below(target, pods) || target == pods)
    for (const auto& folder : in_use_)
      if (Below(target, folder)) return refused("it is inside " + folder + ", where only berthd's own files are");
  ASSIGN_OR_RETURN(const auto mounts, host::ListMounts());
  if (std::ranges::find(mounts, target, &host::MountInfo::target) != mounts.end()) return refused("something else is mounted there");
  return {};
}

// A layer that was removed and made anew (fsck --repair) is not what is mounted of its old files, whose numbers are nobody else's
// for as long.
Result<Mounter::LayerMount> Mounter::OpenLayer(const LayerRef& layer) {
  ASSIGN_OR_RETURN(const auto source, layers_.Sources(layer.blob, layer.variant));
  ASSIGN_OR_RETURN(std::string name, FileNumber(source.meta));
  for (const auto& data : source.data) {
    ASSIGN_OR_RETURN(const std::string number, FileNumber(data));
    name += "," + number;
  }
  name += " of " + layer.blob.ToString() + "@" + layer.variant;
  if (auto open = open_[name].lock()) return open;
  LayerMount mount;
  if (source.form == layer::Form::kTree) {
    ASSIGN_OR_RETURN(const host::Dir tree, host::Dir::Open(source.meta));
    ASSIGN_OR_RETURN(host::Fd own, tree.Duplicate());
    mount = std::make_shared<host::Fd>(std::move(own));
  } else {
    host::ErofsImage image{.meta = host::Place(source.meta), .devices = {}};
    for (const auto& data : source.data) image.devices.emplace_back(data);
    // Set-user-id and devices are the overlay's to forbid: the same layer may serve a container root as well.
    auto erofs = host::OpenErofs(image, {.read_only = true, .nodev = false, .nosuid = false});
    if (!erofs) return std::move(erofs).error().Context("layer " + layer.blob.ToString());
    mount = std::make_shared<host::Fd>(*std::move(erofs));
  }
  open_[name] = mount;
  return mount;
}

// writable/<number>/ with upper/ and work/; the number.
Result<std::string> Mounter::MakeUpper(const host::Fd* topmost) {
  std::uint64_t number = 1;
  for (;; ++number) {
    ASSIGN_OR_RETURN(const bool taken, writable_.Exists(std::to_string(number)));
    if (!taken) break;
  }
  const std::string name = std::to_string(number);
  RETURN_IF_ERROR(writable_.MakeDir(name, 0700));
  const auto fill = [&]() -> Result<> {
    RETURN_IF_ERROR(writable_.MakeDir(name + "/work", 0700));
    RETURN_IF_ERROR(writable_.MakeDir(name + "/upper", 0755));
    ASSIGN_OR_RETURN(const host::Dir upper, writable_.OpenDir(name + "/upper"));
    const host::Fd open(::openat(upper.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!open.valid()) return host::OsError(errno, "open an upper directory");
    return topmost != nullptr ? CopyAttributes(topmost->get(), open.get()) : Result<>();
  };
  if (auto filled = fill(); !filled) {
    (void)writable_.RemoveTree(name);
    return std::move(filled).error();
  }
  return name;
}

Result<> Mounter::Mount(const task::Context& ctx, const MountSpec& spec) {
  RETURN_IF_ERROR(ctx.Check());
  ASSIGN_OR_RETURN(const std::string target, Canonical(spec.target));
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const bool taken, IsMounted(target));
  if (taken) return Error(Reason::kConflict, "an image is mounted at " + Quoted(target) + " already").Next("run: berth unmount PATH").Retryable(false);
  RETURN_IF_ERROR(CheckTarget(target));
  std::vector<LayerMount> layers;
  host::OverlaySpec overlay{.flags = spec.flags};
  overlay.source = tag_;
  overlay.flags.read_only = spec.writable == Writable::kNo;
  for (auto layer = spec.layers.rbegin(); layer != spec.layers.rend(); ++layer) {
    ASSIGN_OR_RETURN(const auto info, layers_.Find(layer->blob));
    ASSIGN_OR_RETURN(auto mount, OpenLayer(*layer));
    // The same layer once more below itself; overlayfs would refuse it (ELOOP). It adds nothing: wherever a look-up or a
    // listing gets down to it, it has passed the upper one, which has the same names there. A name that is no directory
    // ended it there, and so did a whiteout or an opaque directory; a directory is already part of what is merged. What
    // lies between the two makes no difference to that.
    if (std::ranges::find(layers, mount) != layers.end()) continue;
    overlay.lowers.emplace_back(mount->get());
    layers.push_back(std::move(mount));
    if (info && info->report.root.opaque) break;
  }
  // Also below a single layer: on its own it would be a bind mount that shows its whiteouts.
  for (const char* empty : {"/empty/1", "/empty/2"})
    if (overlay.lowers.size() < 2) overlay.lowers.emplace_back(root_ + empty);
  std::string upper;
  if (spec.writable == Writable::kYes) {
    ASSIGN_OR_RETURN(upper, MakeUpper(layers.empty() ? nullptr : layers.front().get()));
    overlay.source += "/" + upper;
    overlay.upper = root_ + "/writable/" + upper + "/upper";
    overlay.work = root_ + "/writable/" + upper + "/work";
  }
  if (auto mounted = host::MountOverlay(overlay, host::Place(target)); !mounted) {
    if (!upper.empty()) (void)writable_.RemoveTree(upper);
    return mounted;
  }
  attached_[target] = std::move(layers);
  return {};
}

Result<bool> Mounter::IsMounted(const std::string& target) const {
  ASSIGN_OR_RETURN(const auto mounts, host::ListMounts());
  const auto path = Canonical(target);
  return !SourceAt(mounts, path ? *path : target, tag_).empty();
}

Result<bool> Mounter::IsThere(const std::string& target) const {
  ASSIGN_OR_RETURN(const auto mounts, host::ListMounts());
  const auto canonical = Canonical(target);
  return IsAmong(mounts, canonical ? *canonical : target, tag_);
}

Result<bool> Mounter::Unmount(const std::string& target) {
  const auto canonical = Canonical(target);
  const std::string path = canonical ? *canonical : target;
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const auto mounts, host::ListMounts());
  const std::string source = SourceAt(mounts, path, tag_);
  const bool known = attached_.contains(path);
  if (!source.empty()) {
    ASSIGN_OR_RETURN([[maybe_unused]] const bool unmounted, host::Unmount(path));
  } else if (IsAmong(mounts, path, tag_)) {
    return Error(Reason::kInUse, "another file system is mounted over the image at " + Quoted(path)).Next("unmount that one first");
  }
  attached_.erase(path);
  std::erase_if(open_, [](const auto& entry) { return entry.second.expired(); });
  RETURN_IF_ERROR(RemoveStale());
  return !source.empty() || known;
}

}  // namespace berth::rootfs
