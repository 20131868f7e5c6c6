#include "launch/volumes.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "host/machine.h"
#include "host/mount.h"
#include "kube/quantity.h"
#include "launch/mounts.h"
#include "launch/projected.h"
#include "launch/resolve.h"

namespace berth::launch {
namespace {

using host::Dir;
using host::Fd;
using internal::OpenWithin;
using internal::Within;

std::optional<std::uint32_t> FsGroup(const kube::Pod& pod) {
  const auto& group = pod.spec.security_context.fs_group;
  return group ? std::optional(static_cast<std::uint32_t>(*group)) : std::nullopt;
}

Result<bool> IsMounted(const Dir& dir) {
  ASSIGN_OR_RETURN(const auto path, internal::RealPath(dir));
  ASSIGN_OR_RETURN(const auto mounts, internal::MountsBelow(path));
  return std::find(mounts.begin(), mounts.end(), path) != mounts.end();
}

// The volume's own directory, with a tmpfs on it when asked for.
struct Made {
  Dir dir;
  std::string path;
  bool fresh = false;
};
Result<Made> MakeVolumeDir(const std::string& pod_dir, const std::string& name,
                           std::optional<std::string> tmpfs) {
  ASSIGN_OR_RETURN(const auto pod, Dir::Open(pod_dir));
  ASSIGN_OR_RETURN(const auto volumes, pod.MakeAndOpenDir("volumes", 0750));
  ASSIGN_OR_RETURN(const bool there, volumes.Exists(name));
  ASSIGN_OR_RETURN(auto dir, volumes.MakeAndOpenDir(name, 0755));
  Made out{{}, pod_dir + "/volumes/" + name, !there};
  if (tmpfs) {
    ASSIGN_OR_RETURN(const bool mounted, IsMounted(dir));
    if (!mounted) {
      RETURN_IF_ERROR(internal::MountTmpfs(out.path, *tmpfs, MS_NOSUID | MS_NODEV));
      out.fresh = true;
      ASSIGN_OR_RETURN(dir, volumes.OpenDir(name));  // the one on top now
    }
  }
  out.dir = std::move(dir);
  return out;
}

Result<std::string> SetUpEmptyDir(const VolumeContext& in, const kube::Volume& volume) {
  std::optional<std::string> tmpfs;
  if (volume.medium == "Memory") {
    tmpfs = "mode=0777";
    if (!volume.size_limit.empty()) {
      const auto size = kube::Whole(volume.size_limit);
      if (!size) return Error(Reason::kConfig, "sizeLimit " + Quoted(volume.size_limit) + " is no quantity");
      if (*size > 0) *tmpfs += ",size=" + std::to_string(*size);
    }
  } else if (!volume.medium.empty()) {
    return Error(Reason::kUnsupported, "unknown storage medium " + Quoted(volume.medium));
  }
  ASSIGN_OR_RETURN(const auto made, MakeVolumeDir(in.pod_dir, volume.name, tmpfs));
  if (!made.fresh) return made.path;
  const auto group = FsGroup(in.facts.pod);
  RETURN_IF_ERROR(internal::SetAttributes(made.dir.fd(), group ? 02777 : 0777, group));
  return made.path;
}

Result<std::string> SetUpHostPath(const kube::Volume& volume) {
  const std::string& path = volume.path;
  if (path.empty() || path[0] != '/' || path.find('\0') != std::string::npos)
    return Error(Reason::kConfig, "hostPath " + Quoted(path) + " is not an absolute path");
  struct stat info {};
  const auto look = [&] { return ::stat(path.c_str(), &info) == 0; };
  bool there = look();
  const std::string& type = volume.type;
  if (!there && (type.empty() || type == "DirectoryOrCreate")) {
    // One component after the other; links of the host are its own.
    for (auto slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
      if (::mkdir(path.substr(0, slash).c_str(), 0755) != 0 && errno != EEXIST)
        return host::OsError(errno, "make hostPath " + Quoted(path));
      if (slash == std::string::npos) break;
    }
    there = look();
  } else if (!there && type == "FileOrCreate") {
    const Fd made(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644));
    if (!made.valid()) return host::OsError(errno, "make hostPath " + Quoted(path));
    there = look();
  }
  const auto refuse = [&](const char* what) {
    return Error(Reason::kConfig, "hostPath type check failed: " + path + " is not " + what);
  };
  if (type == "Directory" || type == "DirectoryOrCreate") {
    if (!there || !S_ISDIR(info.st_mode)) return refuse("a directory");
  } else if (type == "File" || type == "FileOrCreate") {
    if (!there || S_ISDIR(info.st_mode)) return refuse("a file");
  } else if (type == "Socket") {
    if (!there || !S_ISSOCK(info.st_mode)) return refuse("a socket file");
  } else if (type == "CharDevice") {
    if (!there || !S_ISCHR(info.st_mode)) return refuse("a character device");
  } else if (type == "BlockDevice") {
    if (!there || !S_ISBLK(info.st_mode)) return refuse("a block device");
  } else if (!type.empty()) {
    return Error(Reason::kConfig, type + " is an invalid volume type");
  }
  return path;
}

Result<std::string> SetUpFiles(const task::Context& ctx, const VolumeContext& in,
                               const kube::Volume& volume) {
  ASSIGN_OR_RETURN(auto files, CollectFiles(in.facts, volume, in.objects));
  const bool secret = std::any_of(volume.files.begin(), volume.files.end(), [](const kube::FilesSource& f) {
    return f.kind == kube::FilesSource::Kind::kSecret;
  });
  ASSIGN_OR_RETURN(const auto made,
                   MakeVolumeDir(in.pod_dir, volume.name,
                                 secret ? std::optional<std::string>("mode=0755") : std::nullopt));
  RETURN_IF_ERROR(WriteAtomically(ctx, made.dir, files, FsGroup(in.facts.pod)));
  return made.path;
}

Result<std::string> VolumePath(const VolumeContext& in, const std::string& name,
                               const kube::Volume*& volume) {
  for (const kube::Volume& v : in.facts.pod.spec.volumes) {
    if (v.name != name) continue;
    volume = &v;
    if (v.kind == kube::Volume::Kind::kHostPath) return v.path;
    if (v.kind != kube::Volume::Kind::kImage) return in.pod_dir + "/volumes/" + name;
    if (const auto found = in.images.find(name); found != in.images.end()) return found->second;
    return Error(Reason::kNotFound, "the image of volume " + Quoted(name) + " is not mounted");
  }
  return Error(Reason::kConfig, "volume " + Quoted(name) + " is not in the Pod");
}

// Missing directories of a subPath, one at a time, each below a descriptor: a link that is put in the way is
// an error.
Result<Fd> MakeBeneath(int base, const std::string& sub, std::uint32_t mode) {
  Fd at(::fcntl(base, F_DUPFD_CLOEXEC, 3));
  for (std::string_view rest = sub; !rest.empty();) {
    const auto slash = std::min(rest.find('/'), rest.size());
    const std::string name(rest.substr(0, slash));
    rest.remove_prefix(std::min(rest.size(), slash + 1));
    if (name.empty() || name == ".") continue;
    // A link among those that exist may lead elsewhere in the volume: all that is there is resolved from the
    // base.
    const std::string so_far = sub.substr(0, sub.size() - rest.size());
    auto next = OpenWithin(base, so_far, Within::kBeneath, O_PATH, "look up a subPath");
    if (!next && next.error().reason() == Reason::kMissing) {
      if (::mkdirat(at.get(), name.c_str(), mode) != 0 && errno != EEXIST)
        return host::OsError(errno, "make a directory of a subPath");
      next = OpenWithin(at.get(), name, Within::kBeneath, O_PATH | O_DIRECTORY | O_NOFOLLOW,
                        "open a directory of a subPath");
    }
    if (!next) return Error(std::move(next).error());
    at = *std::move(next);
  }
  return at;
}

Result<std::string> BindSubPath(const VolumeContext& in, const std::string& volume_path,
                                const kube::Volume& volume, const kube::Container& container,
                                std::size_t index, const std::string& sub) {
  if (sub[0] == '/') return Error(Reason::kConfig, "subPath " + Quoted(sub) + " is absolute");
  for (std::string_view rest = sub; !rest.empty();) {
    const auto slash = std::min(rest.find('/'), rest.size());
    if (rest.substr(0, slash) == "..")
      return Error(Reason::kConfig, "subPath " + Quoted(sub) + " must not contain \"..\"");
    rest.remove_prefix(std::min(rest.size(), slash + 1));
  }
  const Fd base(::open(volume_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!base.valid()) return host::OsError(errno, "open the volume");
  auto found = OpenWithin(base.get(), sub, Within::kBeneath, O_PATH, "look up the subPath");
  if (!found && found.error().reason() == Reason::kMissing && volume.kind != kube::Volume::Kind::kImage) {
    ASSIGN_OR_RETURN(const auto info, host::Stat(base.get()));
    found = MakeBeneath(base.get(), sub, info.mode & 0777);
  }
  if (!found) return Error(std::move(found).error());
  ASSIGN_OR_RETURN(const auto info, host::Stat(found->get()));

  ASSIGN_OR_RETURN(const auto pod, Dir::Open(in.pod_dir));
  Dir place;
  ASSIGN_OR_RETURN(place, pod.MakeAndOpenDir("volume-subpaths", 0750));
  ASSIGN_OR_RETURN(place, place.MakeAndOpenDir(volume.name, 0750));
  ASSIGN_OR_RETURN(place, place.MakeAndOpenDir(container.name, 0750));
  const std::string name = std::to_string(index);
  const std::string target =
      in.pod_dir + "/volume-subpaths/" + volume.name + "/" + container.name + "/" + name;
  // Of an earlier start: another object may have the name now, also one of another kind.
  while (true) {
    ASSIGN_OR_RETURN(
        const bool was,
        host::Unmount(target, host::Lazy::kYes).or_else([](const Error& e) -> tl::expected<bool, Error> {
          if (e.reason() == Reason::kMissing) return false;
          return tl::unexpected(e);
        }));
    if (!was) break;
  }
  RETURN_IF_ERROR(place.RemoveTree(name));
  if (info.kind == host::FileKind::kDirectory) {
    RETURN_IF_ERROR(place.MakeDir(name, 0750));
  } else {
    RETURN_IF_ERROR(place.CreateNew(name, 0640));
  }
  RETURN_IF_ERROR(internal::BindFd(found->get(), target));
  return target;
}

Result<BundleMount> MountOf(const VolumeContext& in, const kube::Container& container, std::size_t index,
                            const kube::StringMap& environment) {
  const kube::VolumeMount& mount = container.volume_mounts[index];
  const kube::Volume* volume = nullptr;
  ASSIGN_OR_RETURN(std::string source, VolumePath(in, mount.name, volume));
  std::string sub = mount.sub_path;
  if (!mount.sub_path_expr.empty()) {
    bool missing = false;
    sub = ExpandVariables(mount.sub_path_expr, [&](std::string_view name) -> std::optional<std::string> {
      const auto found = environment.find(std::string(name));
      missing = missing || found == environment.end();
      return found == environment.end() ? std::nullopt : std::optional(found->second);
    });
    if (missing) return Error(Reason::kConfig, "missing value for " + Quoted(mount.sub_path_expr));
  }
  if (!sub.empty()) {
    auto bound = BindSubPath(in, source, *volume, container, index, sub);
    if (!bound)
      return std::move(bound).error().Context("failed to prepare subPath for volumeMount \"" + mount.name +
                                              "\" of container \"" + container.name + "\"");
    source = *std::move(bound);
  }
  const bool image = volume->kind == kube::Volume::Kind::kImage;
  const bool read_only = mount.read_only || image || volume->kind == kube::Volume::Kind::kFiles;
  BundleMount out{
      mount.mount_path.starts_with('/') ? mount.mount_path : "/" + mount.mount_path, source, {"rbind"}};
  out.options.push_back(mount.mount_propagation == "Bidirectional"     ? "rshared"
                        : mount.mount_propagation == "HostToContainer" ? "rslave"
                                                                       : "rprivate");
  const bool recursive =
      read_only && (mount.recursive_read_only == "Enabled" || mount.recursive_read_only == "IfPossible");
  out.options.push_back(recursive ? "rro" : read_only ? "ro" : "rw");
  if (image) out.options.insert(out.options.end(), {"nosuid", "nodev"});
  return out;
}

std::string Tail(const std::string& path, std::size_t limit) {
  // Written by the container: never a link, a FIFO cannot block.
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (!file.valid()) return "";
  const auto info = host::Stat(file.get());
  if (!info || info->kind != host::FileKind::kFile) return "";
  const std::uint64_t from = info->size > limit ? info->size - limit : 0;
  std::string out(static_cast<std::size_t>(info->size - from), '\0');
  const auto n = host::PreadSome(file.get(), std::as_writable_bytes(std::span(out)), from);
  out.resize(n.value_or(0));
  return out;
}

// The contents of the last lines of a CRI log.
std::string LogTail(const std::string& path) {
  const std::string raw = Tail(path, 64u << 10);
  std::vector<std::string> lines;
  bool joined = false;
  for (std::string_view rest = raw; !rest.empty();) {
    const auto end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(rest.size(), end + 1));
    // TIME STREAM TAG TEXT; a first line that was cut has no time.
    const auto stream = line.find(' '), tag = line.find(' ', stream + 1), text = line.find(' ', tag + 1);
    if (line.size() < 20 || line[4] != '-' || stream == std::string_view::npos ||
        tag == std::string_view::npos || text == std::string_view::npos)
      continue;
    if (!joined) lines.emplace_back();
    lines.back().append(line.substr(text + 1));
    joined = line.substr(tag + 1, text - tag - 1) == "P";
    if (!joined) lines.back() += '\n';
  }
  std::string out;
  for (std::size_t i = lines.size() > 80 ? lines.size() - 80 : 0; i < lines.size(); ++i) out += lines[i];
  return out.size() > 2048 ? out.substr(out.size() - 2048) : out;
}

}  // namespace

Result<std::string> SetUpVolume(const task::Context& ctx, const VolumeContext& volumes,
                                const kube::Volume& volume) {
  RETURN_IF_ERROR(ctx.Check());
  switch (volume.kind) {
    case kube::Volume::Kind::kEmptyDir:
      return SetUpEmptyDir(volumes, volume);
    case kube::Volume::Kind::kHostPath:
      return SetUpHostPath(volume);
    case kube::Volume::Kind::kFiles:
      return SetUpFiles(ctx, volumes, volume);
    case kube::Volume::Kind::kImage: {
      const kube::Volume* unused = nullptr;
      return VolumePath(volumes, volume.name, unused);
    }
    case kube::Volume::Kind::kUnsupported:
      break;
  }
  return Error(Reason::kUnsupported, "volumes of type " + Quoted(volume.source) + " are not supported")
      .Next("use emptyDir, hostPath, secret, configMap, downwardAPI, projected or image");
}

Result<std::vector<BundleMount>> VolumeMounts(const VolumeContext& volumes, const kube::Container& container,
                                              const kube::StringMap& environment) {
  std::vector<BundleMount> out;
  for (std::size_t i = 0; i < container.volume_mounts.size(); ++i) {
    ASSIGN_OR_RETURN(auto mount, MountOf(volumes, container, i, environment));
    out.push_back(std::move(mount));
  }
  // What lies above comes first: a mount at /a would hide one at /a/b.
  std::stable_sort(out.begin(), out.end(), [](const BundleMount& a, const BundleMount& b) {
    return std::count(a.destination.begin(), a.destination.end(), '/') <
           std::count(b.destination.begin(), b.destination.end(), '/');
  });
  return out;
}

Result<BundleMount> MakeTerminationFile(const std::string& pod_dir, const kube::Container& container,
                                        const std::string& id) {
  ASSIGN_OR_RETURN(const auto pod, Dir::Open(pod_dir));
  ASSIGN_OR_RETURN(const auto containers, pod.MakeAndOpenDir("containers", 0750));
  ASSIGN_OR_RETURN(const auto dir, containers.MakeAndOpenDir(container.name, 0750));
  RETURN_IF_ERROR(dir.Unlink(id));
  ASSIGN_OR_RETURN(const auto file, dir.CreateNew(id, 0666));
  if (::fchmod(file.get(), 0666) != 0) return host::OsError(errno, "set the mode of the termination message");
  const std::string path = container.termination_message_path.empty() ? "/dev/termination-log"
                                                                      : container.termination_message_path;
  return BundleMount{path, pod_dir + "/containers/" + container.name + "/" + id, {"rbind", "rprivate", "rw"}};
}

std::string TerminationMessage(const std::string& pod_dir, const kube::Container& container,
                               const std::string& id, const Exit& exit, const std::string& log_path) {
  std::string message = Tail(pod_dir + "/containers/" + container.name + "/" + id, 4096);
  if (message.empty() && container.termination_message_policy == "FallbackToLogsOnError" && exit.code != 0)
    message = LogTail(log_path);
  return message;
}

Result<bool> RemovePodDir(const task::Context& ctx, const std::string& pod_dir) {
  const auto slash = pod_dir.rfind('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == pod_dir.size())
    return Error(Reason::kUsage, Quoted(pod_dir) + " is no Pod's directory");
  auto parent = Dir::Open(pod_dir.substr(0, slash));
  if (!parent && parent.error().reason() == Reason::kMissing) return false;
  if (!parent) return Error(std::move(parent).error());
  const std::string name = pod_dir.substr(slash + 1);
  ASSIGN_OR_RETURN(const auto parent_path, internal::RealPath(*parent));
  RETURN_IF_ERROR(internal::UnmountBelow(ctx, parent_path + "/" + name));
  return parent->RemoveTree(ctx, name);
}

}  // namespace berth::launch
