// host/mount.h: mounts: EROFS layers, overlays of them, read-only binds.
//
// Made with fsopen/fsmount/move_mount: a mount is complete before any path shows it, and a failed step leaves nothing.
// Open…() returns a detached mount (a descriptor of its root; it goes when the last descriptor does); Attach() gives it a
// place; Mount…() does both. Measured: about 60 us for a file-backed EROFS layer (performance 2d).
//
// Errors: kUnsupported when this kernel cannot (the text says what is missing), kDenied without CAP_SYS_ADMIN, kInUse
// (EBUSY), else as host/fd.h; where the kernel left its reason in the mount context's log, the error quotes it.
// Threads: all functions may be called concurrently.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/fd.h"
#include "result/result.h"

namespace berth::host {

// A file or directory: by absolute path, or by a descriptor that the caller keeps open during the call.
struct Place {
  Place(std::string p) : path(std::move(p)) {}         // NOLINT: a path is a place
  Place(std::string_view p) : path(p) {}               // NOLINT
  Place(const char* p) : path(p) {}                    // NOLINT
  Place(const Fd& f) : fd(f.get()) {}                  // NOLINT
  explicit Place(int f) : fd(f) {}
  std::string path;
  int fd = -1;
  // The path, or /proc/self/fd/N.
  std::string Name() const;
};

struct MountFlags {
  bool read_only = true;
  bool nodev = true;
  bool nosuid = true;
  bool noexec = false;
};

enum class Backing : std::uint8_t {
  kAuto,  // file, and loop devices where the kernel refuses files
  kFile,  // kernel 6.12
  kLoop,
};

// One EROFS image: the metadata file and the data files that it names, in order.
struct ErofsImage {
  Place meta;
  std::vector<Place> devices;
};
Result<Fd> OpenErofs(const ErofsImage& image, const MountFlags& flags = {}, Backing backing = Backing::kAuto);
Result<> MountErofs(const ErofsImage& image, const Place& target, const MountFlags& flags = {},
                    Backing backing = Backing::kAuto);

// lowers: topmost first, 1 to 500. Without `upper` the mount is read-only (with one lower it is a bind: overlayfs wants
// two). index, redirect_dir (nofollow: hostile redirects are inert), metacopy and
// userxattr are off (runtime-registry 6.3).
struct OverlaySpec {
  std::vector<Place> lowers;
  std::string upper, work;  // both or none; same file system
  std::string source = "overlay";  // shown by mountinfo, means nothing; at most 250 bytes
  MountFlags flags{.read_only = false, .nodev = true, .nosuid = false};
  // kAuto: "lowerdir+" (kernel 6.8), else mount(2) with descriptor numbers as names, which also takes 500 lowers.
  enum class Method : std::uint8_t { kAuto, kAppend, kDescriptors } method = Method::kAuto;
};
inline constexpr std::size_t kMaxOverlayLowers = 500;
Result<> MountOverlay(const OverlaySpec& spec, const Place& target);
// Whether this kernel has "lowerdir+".
bool OverlayAppends();

// A second view of `source` (not of the mounts below it), read-only whatever flags.read_only says.
Result<Fd> OpenBindReadOnly(const Place& source, const MountFlags& flags = {});
Result<> BindReadOnly(const Place& source, const Place& target, const MountFlags& flags = {});

Result<> Attach(const Fd& detached, const Place& target);
Result<> MoveMount(const Place& from, const Place& to);

enum class Lazy : bool { kNo, kYes };
// False when nothing is mounted there. Follows no link in the last component. kNo: kInUse when something uses it.
Result<bool> Unmount(const std::string& target, Lazy lazy = Lazy::kNo);

struct MountInfo {
  std::uint64_t id = 0, parent = 0;
  std::uint32_t major = 0, minor = 0;
  std::string root;     // within its file system
  std::string target;   // unescaped
  std::string options;  // of this mount
  std::string type, source;
  std::string super_options;
  bool operator==(const MountInfo&) const = default;
};
// The text of /proc/PID/mountinfo. kCorrupt with the line number.
Result<std::vector<MountInfo>> ParseMountInfo(std::string_view text);
// Mounts that this process sees, in the kernel's order (the one on top of a place comes after the one below).
Result<std::vector<MountInfo>> ListMounts();

}  // namespace berth::host
