#include "host/mount.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <thread>

#include "host/loop.h"
#include "task/spawn.h"

namespace berth::host {
namespace {

Error MountError(int saved, const std::string& what, const std::string& log = {}) {
  const std::string because = log.empty() ? std::string() : " (kernel: " + Quoted(log) + ")";
  switch (saved) {
    case EPERM: case EACCES: return Error(Reason::kDenied, what + ": no right to mount" + because).Next("run berthd with CAP_SYS_ADMIN");
    case ENODEV: return Error(Reason::kUnsupported, what + ": the kernel does not have this file system" + because);
    case ENOSYS: return Error(Reason::kUnsupported, what + ": the kernel or a filter refuses the mount calls" + because);
    case EBADMSG: case EUCLEAN: return Error(Reason::kCorrupt, what + ": it is damaged" + because).Next("run: berth fsck --repair");
    case ENOTBLK: case EOPNOTSUPP: return Error(Reason::kUnsupported, what + ": not possible with this kernel" + because);
    default: {
      Error error = OsError(saved, what);
      return Error(error.reason(), error.message() + because).Next(error.next_step());
    }
  }
}

unsigned Attributes(const MountFlags& f) {
  return (f.read_only ? MOUNT_ATTR_RDONLY : 0u) | (f.nodev ? MOUNT_ATTR_NODEV : 0u) | (f.nosuid ? MOUNT_ATTR_NOSUID : 0u) |
         (f.noexec ? MOUNT_ATTR_NOEXEC : 0u);
}
unsigned long OldFlags(const MountFlags& f) {
  unsigned long flags = 0;
  if (f.read_only) flags |= MS_RDONLY;
  if (f.nodev) flags |= MS_NODEV;
  if (f.nosuid) flags |= MS_NOSUID;
  if (f.noexec) flags |= MS_NOEXEC;
  return flags;
}

std::string FdPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

// A file system being configured. Each step keeps errno and the kernel's last line about it.
class Builder {
 public:
  explicit Builder(const char* type) : fd_(::fsopen(type, FSOPEN_CLOEXEC)), error_(fd_.valid() ? 0 : errno) {}
  Builder& Flag(const char* key) { return Step([&] { return ::fsconfig(fd_.get(), FSCONFIG_SET_FLAG, key, nullptr, 0); }); }
  Builder& Set(const char* key, const std::string& value) {
    return Step([&] { return ::fsconfig(fd_.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0); });
  }
  Builder& Create() { return Step([&] { return ::fsconfig(fd_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0); }); }
  Fd Mount(unsigned attributes) {
    Fd mount;
    Step([&] { mount = Fd(::fsmount(fd_.get(), FSMOUNT_CLOEXEC, attributes)); return mount.valid() ? 0 : -1; });
    return mount;
  }
  int error() const { return error_; }
  const std::string& log() const { return log_; }

 private:
  template <class Call>
  Builder& Step(Call call) {
    if (error_ != 0 || call() == 0) return *this;
    error_ = errno;
    std::array<char, 1024> line;
    ssize_t n;
    while ((n = ::read(fd_.get(), line.data(), line.size())) > 0) log_.assign(line.data(), static_cast<std::size_t>(n));
    while (!log_.empty() && log_.back() == '\n') log_.pop_back();
    if (log_.size() > 2 && log_[1] == ' ') log_.erase(0, 2);  // "e " of its severity
    return *this;
  }

  Fd fd_;
  int error_;
  std::string log_;
};

// fsconfig strings hold 255 bytes, and overlayfs gives ':' ',' and '\' a meaning: such places are named by descriptor.
class PlainName {
 public:
  static Result<PlainName> Of(const Place& place) {
    PlainName name;
    name.text_ = place.Name();
    if (place.fd < 0 && (name.text_.size() > 250 || name.text_.find_first_of("\\:,") != std::string::npos)) {
      name.fd_ = Fd(::open(name.text_.c_str(), O_PATH | O_CLOEXEC));
      if (!name.fd_.valid()) return OsError(errno, "open " + Quoted(place.path));
      name.text_ = FdPath(name.fd_.get());
    }
    return name;
  }
  const std::string& text() const { return text_; }

 private:
  Fd fd_;
  std::string text_;
};

Result<Fd> TryErofs(const std::string& meta, const std::vector<std::string>& devices, const MountFlags& flags, int& error) {
  Builder fs("erofs");
  fs.Flag("ro").Set("source", meta);
  for (const std::string& device : devices) fs.Set("device", device);
  Fd mount = fs.Create().Mount(Attributes(flags));
  error = fs.error();
  if (error != 0) return MountError(error, "mount an EROFS image", fs.log());
  return mount;
}

Result<Fd> OpenErofsOnFiles(const ErofsImage& image, const MountFlags& flags, int& error) {
  ASSIGN_OR_RETURN(const PlainName meta, PlainName::Of(image.meta));
  std::vector<PlainName> names;
  std::vector<std::string> devices;
  for (const Place& place : image.devices) {
    ASSIGN_OR_RETURN(PlainName name, PlainName::Of(place));
    devices.push_back(name.text());
    names.push_back(std::move(name));
  }
  return TryErofs(meta.text(), devices, flags, error);
}

Result<Fd> OpenErofsOnLoops(const ErofsImage& image, const MountFlags& flags) {
  std::vector<LoopDevice> loops;
  const auto attach = [&](const Place& place) -> Result<> {
    const Fd file(::open(place.Name().c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return OsError(errno, "open " + Quoted(place.path));
    ASSIGN_OR_RETURN(LoopDevice loop, AttachLoop(file.get()));
    loops.push_back(std::move(loop));
    return {};
  };
  RETURN_IF_ERROR(attach(image.meta));
  for (const Place& place : image.devices) RETURN_IF_ERROR(attach(place));
  std::vector<std::string> devices;
  for (std::size_t i = 1; i < loops.size(); ++i) devices.push_back(loops[i].path);
  int error = 0;
  return TryErofs(loops[0].path, devices, flags, error);
}

constexpr std::pair<const char*, const char*> kOverlayOptions[] = {
    {"index", "off"}, {"redirect_dir", "nofollow"}, {"metacopy", "off"}};

Result<> AppendOverlay(const OverlaySpec& spec, const Place& target) {
  Builder fs("overlay");
  fs.Set("source", spec.source);
  std::vector<PlainName> held;
  const auto set = [&](const char* key, const Place& place) -> Result<> {
    ASSIGN_OR_RETURN(PlainName name, PlainName::Of(place));
    fs.Set(key, name.text());
    held.push_back(std::move(name));
    return {};
  };
  for (const Place& lower : spec.lowers) RETURN_IF_ERROR(set("lowerdir+", lower));
  if (!spec.upper.empty()) {
    RETURN_IF_ERROR(set("upperdir", spec.upper));
    RETURN_IF_ERROR(set("workdir", spec.work));
  }
  for (const auto& [key, value] : kOverlayOptions) fs.Set(key, value);
  const Fd mount = fs.Create().Mount(Attributes(spec.flags));
  if (fs.error() != 0) return MountError(fs.error(), "mount an overlay", fs.log());
  return Attach(mount, target);
}

// mount(2) takes one page of options. Descriptor numbers, relative to /proc/self/fd, are the shortest names there are;
// the working directory is that of one thread that shares it with nobody.
Result<> DescriptorOverlay(const OverlaySpec& spec, const Place& target) {
  std::vector<Fd> held;
  const auto number = [&](const Place& place) -> Result<std::string> {
    if (place.fd >= 0) return std::to_string(place.fd);
    held.emplace_back(::open(place.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!held.back().valid()) return OsError(errno, "open " + Quoted(place.path));
    return std::to_string(held.back().get());
  };
  std::string options = "lowerdir=";
  for (const Place& lower : spec.lowers) {
    ASSIGN_OR_RETURN(const std::string name, number(lower));
    if (options.back() != '=') options += ':';
    options += name;
  }
  if (!spec.upper.empty()) {
    ASSIGN_OR_RETURN(const std::string upper, number(spec.upper));
    ASSIGN_OR_RETURN(const std::string work, number(spec.work));
    options += ",upperdir=" + upper + ",workdir=" + work;
  }
  for (const auto& [key, value] : kOverlayOptions) options += std::string(",") + key + "=" + value;
  if (options.size() > 4095)
    return Error(Reason::kLimitExceeded, std::to_string(spec.lowers.size()) + " layers do not fit the mount options of this kernel");
  int error = 0;
  const auto joined = [](const std::function<void()>& body) { std::jthread(body).join(); };
  RETURN_IF_ERROR(task::Start(joined, [&] {
    const bool done = ::unshare(CLONE_FS) == 0 && ::chdir("/proc/self/fd") == 0 &&
                      ::mount(spec.source.c_str(), target.Name().c_str(), "overlay", OldFlags(spec.flags), options.c_str()) == 0;
    if (!done) error = errno;
  }));
  if (error != 0) return MountError(error, "mount an overlay");
  return {};
}

Result<Fd> OpenBind(const Place& source, const MountFlags& flags) {
  const bool by_fd = source.fd >= 0;
  Fd tree(::open_tree(by_fd ? source.fd : AT_FDCWD, by_fd ? "" : source.path.c_str(),
                      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (by_fd ? AT_EMPTY_PATH : 0)));
  if (!tree.valid()) return MountError(errno, "clone the mount of " + Quoted(source.Name()));
  mount_attr attributes{};
  attributes.attr_set = Attributes(flags);
  if (attributes.attr_set != 0 && ::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
    return MountError(errno, "set the flags of a bind mount");
  return tree;
}

}  // namespace

std::string Place::Name() const { return fd >= 0 ? FdPath(fd) : path; }

Result<Fd> OpenErofs(const ErofsImage& image, const MountFlags& flags, Backing backing) {
  if (backing == Backing::kLoop) return OpenErofsOnLoops(image, flags);
  int error = 0;
  auto mount = OpenErofsOnFiles(image, flags, error);
  // ENOTBLK: before 6.12, and for files on stacked file systems; EINVAL: a file system that cannot back one.
  const bool try_loops = error == ENOTBLK || error == EOPNOTSUPP || error == EINVAL;
  if (mount || backing == Backing::kFile || !try_loops) return mount;
  auto looped = OpenErofsOnLoops(image, flags);
  if (looped) return looped;
  return std::move(looped).error().Context("after files were refused (" + mount.error().message() + ")");
}

Result<> MountErofs(const ErofsImage& image, const Place& target, const MountFlags& flags, Backing backing) {
  ASSIGN_OR_RETURN(const Fd mount, OpenErofs(image, flags, backing));
  return Attach(mount, target);
}

bool OverlayAppends() {
  // Before 6.5 every option is swallowed until the mount is made: an option that nobody has must be refused.
  if (Builder("overlay").Set("berth-has-no-such-option", "1").error() != EINVAL) return false;
  return Builder("overlay").Set("lowerdir+", "/").error() == 0;
}

Result<> MountOverlay(const OverlaySpec& spec, const Place& target) {
  if (spec.lowers.empty() || spec.upper.empty() != spec.work.empty())
    return Error(Reason::kUsage, "an overlay needs lower directories, and upper and work directory or neither");
  if (spec.lowers.size() > kMaxOverlayLowers)
    return Error(Reason::kLimitExceeded, std::to_string(spec.lowers.size()) + " layers: overlayfs takes " +
                                             std::to_string(kMaxOverlayLowers) + " at most");
  OverlaySpec wanted = spec;
  if (spec.upper.empty()) wanted.flags.read_only = true;
  if (spec.upper.empty() && spec.lowers.size() == 1) {
    ASSIGN_OR_RETURN(const Fd bind, OpenBind(spec.lowers[0], wanted.flags));
    return Attach(bind, target);
  }
  using Method = OverlaySpec::Method;
  const bool append = spec.method == Method::kAppend || (spec.method == Method::kAuto && OverlayAppends());
  return append ? AppendOverlay(wanted, target) : DescriptorOverlay(wanted, target);
}

Result<Fd> OpenBindReadOnly(const Place& source, const MountFlags& flags) {
  MountFlags strict = flags;
  strict.read_only = true;
  return OpenBind(source, strict);
}

Result<> BindReadOnly(const Place& source, const Place& target, const MountFlags& flags) {
  ASSIGN_OR_RETURN(const Fd mount, OpenBindReadOnly(source, flags));
  return Attach(mount, target);
}

Result<> Attach(const Fd& detached, const Place& target) { return MoveMount(Place(detached), target); }

Result<> MoveMount(const Place& from, const Place& to) {
  const bool from_fd = from.fd >= 0, to_fd = to.fd >= 0;
  const unsigned flags = (from_fd ? MOVE_MOUNT_F_EMPTY_PATH : 0u) | (to_fd ? MOVE_MOUNT_T_EMPTY_PATH : 0u);
  if (::move_mount(from_fd ? from.fd : AT_FDCWD, from_fd ? "" : from.path.c_str(), to_fd ? to.fd : AT_FDCWD,
                   to_fd ? "" : to.path.c_str(), flags) != 0)
    return MountError(errno, "attach a mount at " + Quoted(to.Name()));
  return {};
}

Result<bool> Unmount(const std::string& target, Lazy lazy) {
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW | (lazy == Lazy::kYes ? MNT_DETACH : 0)) == 0) return true;
  if (errno == EINVAL || errno == ENOENT) return false;
  if (errno == EBUSY) return MountError(EBUSY, "unmount " + Quoted(target)).Next("leave the directory; fuser -vm " + Quoted(target) + " shows who is there");
  return MountError(errno, "unmount " + Quoted(target));
}

}  // namespace berth::host
