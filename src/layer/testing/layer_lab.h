// layer/testing/layer_lab.h: a store in a temporary folder, layers put into it, and mounted layers to look at.
//
// Needs root and a kernel with EROFS for Mount(). Everything is gone with the Lab. Link zlib (codec/testing/compress.h).
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/testing/compress.h"
#include "digest/digest.h"
#include "host/mount.h"
#include "layer/store.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::layer::testing {

enum class Compression : std::uint8_t { kPlain, kGzip, kZstd };

struct LayerBlob {
  std::string bytes;
  digest::Digest digest, diff_id;
};
inline LayerBlob MakeBlob(const std::string& archive, Compression how = Compression::kGzip) {
  LayerBlob blob;
  blob.diff_id = digest::Digest::Of(bytes::AsView(archive));
  blob.bytes = how == Compression::kGzip   ? codec::testing::Gzip(archive)
               : how == Compression::kZstd ? codec::testing::Zstd(archive)
                                           : archive;
  blob.digest = digest::Digest::Of(bytes::AsView(blob.bytes));
  return blob;
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Path -> all that counts of the file: type, mode, owner, time, contents (by digest), target, device, xattrs, and the
// first of its names. "" is the root.
using Listing = std::map<std::string, std::string>;
inline Listing List(const std::string& root) {
  struct Seen { std::string path; struct stat info; };
  std::vector<Seen> seen;
  std::vector<std::string> todo{""};
  while (!todo.empty()) {
    const std::string path = todo.back();
    todo.pop_back();
    struct stat info{};
    BERTH_CHECK(lstat((root + "/" + path).c_str(), &info) == 0);
    seen.push_back({path, info});
    if (!S_ISDIR(info.st_mode)) continue;
    DIR* dir = opendir((root + "/" + path).c_str());
    BERTH_CHECK(dir != nullptr);
    while (const dirent* entry = readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") todo.push_back(path.empty() ? name : path + "/" + name);
    }
    closedir(dir);
  }
  std::sort(seen.begin(), seen.end(), [](const Seen& a, const Seen& b) { return a.path < b.path; });
  std::map<ino_t, std::string> first;
  Listing listing;
  for (const auto& [path, info] : seen) {
    const std::string full = root + "/" + path;
    char text[160];
    std::snprintf(text, sizeof text, "%06o %u:%u %lld.%09ld", info.st_mode, info.st_uid, info.st_gid,
                  static_cast<long long>(info.st_mtim.tv_sec), info.st_mtim.tv_nsec);
    std::string line = text;
    if (!S_ISDIR(info.st_mode)) line += " inode of " + first.try_emplace(info.st_ino, path).first->second + " links " + std::to_string(info.st_nlink);
    if (S_ISREG(info.st_mode)) line += " " + std::to_string(info.st_size) + " " + digest::Digest::Of(bytes::AsView(ReadFile(full))).Short();
    if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode))
      line += " " + std::to_string(major(info.st_rdev)) + ":" + std::to_string(minor(info.st_rdev));
    if (S_ISLNK(info.st_mode)) {
      std::string target(4096, '\0');
      target.resize(static_cast<std::size_t>(std::max<ssize_t>(0, readlink(full.c_str(), target.data(), target.size()))));
      line += " -> " + target;
    }
    std::string names(65536, '\0');
    const ssize_t length = llistxattr(full.c_str(), names.data(), names.size());
    std::vector<std::string> xattrs;
    for (const char* name = names.data(); length > 0 && name < names.data() + length; name += std::string_view(name).size() + 1) {
      std::string value(65536, '\0');
      value.resize(static_cast<std::size_t>(std::max<ssize_t>(0, lgetxattr(full.c_str(), name, value.data(), value.size()))));
      xattrs.push_back(" {" + std::string(name) + "=" + value + "}");
    }
    std::sort(xattrs.begin(), xattrs.end());
    for (const std::string& xattr : xattrs) line += xattr;
    listing[path] = line;
  }
  return listing;
}

// "path: here / there" for each path whose line is not the same.
inline std::vector<std::string> Differences(const Listing& a, const Listing& b) {
  std::vector<std::string> out;
  const auto line = [](const Listing& of, const std::string& path) {
    const auto at = of.find(path);
    return at == of.end() ? std::string("nothing") : at->second;
  };
  for (const auto& [path, text] : a) {
    if (line(b, path) != text) out.push_back("/" + path + ": " + text + " / " + line(b, path));
  }
  for (const auto& [path, text] : b) {
    if (!a.contains(path)) out.push_back("/" + path + ": nothing / " + text);
  }
  return out;
}

class Lab {
 public:
  // `worker`: path of berth-unpack.
  explicit Lab(const std::string& worker, const UnpackOptions& unpack = {}) {
    std::signal(SIGPIPE, SIG_IGN);
    char path[] = "/tmp/berth_layer_XXXXXX";
    BERTH_CHECK(mkdtemp(path) != nullptr);
    path_ = path;
    auto opened = LayerStore::Open(path_, {.worker = worker, .unpack = unpack});
    BERTH_CHECK(opened.has_value());
    store_ = std::move(*opened);
  }
  ~Lab() {
    store_.reset();
    for (auto mount = mounts_.rbegin(); mount != mounts_.rend(); ++mount) umount2(mount->c_str(), MNT_DETACH);
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;

  LayerStore& store() { return *store_; }
  const std::string& path() const { return path_; }

  // All of Stage, Write, Finish and Commit, in pieces.
  Result<LayerInfo> Add(const LayerBlob& blob, Form form = Form::kErofs, std::size_t piece = 64u << 10) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Staging> staging, store_->Stage(task::Context(), blob.digest, form));
    for (std::string_view rest = blob.bytes; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) {
      RETURN_IF_ERROR(staging->Write(bytes::AsView(rest.substr(0, piece))));
    }
    RETURN_IF_ERROR(staging->Finish(blob.diff_id));
    return staging->Commit();
  }

  // Where the layer can be looked at.
  Result<std::string> Mount(const digest::Digest& blob, std::string_view variant = {}) {
    ASSIGN_OR_RETURN(const MountSource source, store_->Sources(blob, variant));
    if (source.form == Form::kTree) return source.meta;
    host::ErofsImage image{source.meta, {}};
    for (const std::string& data : source.data) image.devices.emplace_back(data);
    ASSIGN_OR_RETURN(const std::string target, NewFolder());
    RETURN_IF_ERROR(host::MountErofs(image, target, {.nodev = false, .nosuid = false}));
    mounts_.push_back(target);
    return target;
  }
  // An image, bottom first, as containers see it (read-only).
  Result<std::string> MountImage(const std::vector<LayerBlob>& blobs) {
    std::vector<digest::Digest> digests;
    for (const LayerBlob& blob : blobs) digests.push_back(blob.digest);
    ASSIGN_OR_RETURN(const std::vector<std::string> variants, store_->FitToImage(task::Context(), digests));
    host::OverlaySpec spec;
    for (std::size_t i = blobs.size(); i-- > 0;) {
      ASSIGN_OR_RETURN(const std::string layer, Mount(digests[i], variants[i]));
      spec.lowers.emplace_back(layer);
    }
    if (spec.lowers.size() == 1) {
      ASSIGN_OR_RETURN(const std::string empty, NewFolder());
      spec.lowers.emplace_back(empty);
    }
    spec.flags = {.read_only = true, .nodev = false, .nosuid = false};
    ASSIGN_OR_RETURN(const std::string target, NewFolder());
    RETURN_IF_ERROR(host::MountOverlay(spec, target));
    mounts_.push_back(target);
    return target;
  }
  Result<std::string> NewFolder() {
    const std::string target = path_ + "/folder" + std::to_string(++folders_);
    if (mkdir(target.c_str(), 0755) != 0) return result::FromErrno(errno, "make a folder");
    return target;
  }

 private:
  std::string path_;
  std::unique_ptr<LayerStore> store_;
  std::vector<std::string> mounts_;
  int folders_ = 0;
};

}  // namespace berth::layer::testing
