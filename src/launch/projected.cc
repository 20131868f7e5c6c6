#include "launch/projected.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <set>

#include "host/machine.h"
#include "launch/mounts.h"

namespace berth::launch {
namespace {

using host::Dir;

// A path that stays in the volume and does not meddle with the layout. host::Dir refuses the rest.
Result<> CheckPath(const std::string& path) {
  if (path.empty() || path[0] == '/' || path.starts_with("..") || path.find("/../") != std::string::npos ||
      path.ends_with("/.."))
    return Error(Reason::kConfig,
                 "invalid path " + Quoted(path) + ": must be relative and must not contain \"..\"");
  return {};
}

template <class Reader>
Result<> AddKeys(const std::vector<kube::KeyToPath>& items, const std::vector<std::string>& keys,
                 bool optional, const char* kind, std::uint32_t default_mode, Reader read,
                 ProjectedFiles& out) {
  std::vector<kube::KeyToPath> wanted = items;
  if (items.empty())
    for (const auto& key : keys) wanted.push_back({key, key, std::nullopt});
  for (const auto& item : wanted) {
    const std::optional<std::string_view> value = read(item.key);
    if (!value && optional) continue;
    if (!value)
      return Error(Reason::kNotFound, std::string("references non-existent ") + kind + " key: " + item.key);
    RETURN_IF_ERROR(CheckPath(item.path));
    out.insert_or_assign(
        item.path, ProjectedFile{secret::Secret(*value), static_cast<std::uint32_t>(item.mode.value_or(
                                                             static_cast<std::int32_t>(default_mode)))});
  }
  return {};
}

Result<> AddSource(const PodFacts& facts, const kube::FilesSource& source, std::uint32_t default_mode,
                   const ConfigSource& objects, ProjectedFiles& out) {
  using Kind = kube::FilesSource::Kind;
  const auto absent = [&](const Error& e) { return source.optional && e.reason() == Reason::kNotFound; };
  std::vector<std::string> keys;
  switch (source.kind) {
    case Kind::kSecret: {
      auto found = objects.FindSecret(source.name);
      if (!found) return absent(found.error()) ? Result<>() : Error(std::move(found).error());
      const auto& data = (*found)->data;
      for (const auto& [key, value] : data) keys.push_back(key);
      return AddKeys(
          source.items, keys, source.optional, "secret", default_mode,
          [&](const std::string& key) -> std::optional<std::string_view> {
            const auto at = data.find(key);
            return at == data.end() ? std::nullopt : std::optional(at->second.Reveal());
          },
          out);
    }
    case Kind::kConfigMap: {
      auto found = objects.FindConfigMap(source.name);
      if (!found) return absent(found.error()) ? Result<>() : Error(std::move(found).error());
      const auto& map = **found;
      for (const auto* data : {&map.data, &map.binary_data})
        for (const auto& [key, value] : *data) keys.push_back(key);
      return AddKeys(
          source.items, keys, source.optional, "config", default_mode,
          [&](const std::string& key) -> std::optional<std::string_view> {
            for (const auto* data : {&map.data, &map.binary_data})
              if (const auto at = data->find(key); at != data->end()) return at->second;
            return std::nullopt;
          },
          out);
    }
    case Kind::kDownward:
      for (const kube::DownwardFile& file : source.downward) {
        RETURN_IF_ERROR(CheckPath(file.path));
        std::string text;
        if (file.field) {
          ASSIGN_OR_RETURN(text, FieldValue(facts, *file.field));
        } else if (file.resource_field) {
          ASSIGN_OR_RETURN(text, ResourceValue(facts, *file.resource_field, ""));
        }
        out.insert_or_assign(
            file.path, ProjectedFile{secret::Secret::Take(text),
                                     file.mode ? static_cast<std::uint32_t>(*file.mode) : default_mode});
      }
      return {};
    case Kind::kServiceAccountToken:
      break;
  }
  return Error(Reason::kUnsupported, "tokens of service accounts need an API server, and this node has none")
      .Next("set automountServiceAccountToken: false, or remove the token from the projected volume");
}

Result<std::optional<std::string>> ReadLink(const Dir& dir, const std::string& name) {
  std::string out(4096, '\0');
  const auto n = ::readlinkat(dir.fd(), name.c_str(), out.data(), out.size());
  if (n < 0 && (errno == ENOENT || errno == EINVAL)) return std::optional<std::string>();
  if (n < 0) return host::OsError(errno, "read a link of a volume");
  out.resize(static_cast<std::size_t>(n));
  return std::optional(out);
}

std::uint32_t FileMode(const ProjectedFile& file, std::optional<std::uint32_t> fs_group) {
  return file.mode | (fs_group ? 0440u : 0u);
}

void ListFiles(const Dir& dir, const std::string& prefix, std::set<std::string>& out) {
  const auto names = dir.List();
  if (!names) return;
  for (const std::string& name : *names) {
    const auto info = dir.Stat(name);
    if (info && info->kind == host::FileKind::kDirectory) {
      if (auto sub = dir.OpenDir(name)) ListFiles(*sub, prefix + name + "/", out);
    } else {
      out.insert(prefix + name);
    }
  }
}

// Whether a version on disk is this one.
bool Same(const Dir& version, const ProjectedFiles& files, std::optional<std::uint32_t> fs_group) {
  std::set<std::string> there;
  ListFiles(version, "", there);
  if (there.size() != files.size()) return false;
  for (const auto& [path, file] : files) {
    const auto info = version.Stat(path);
    if (!info || info->kind != host::FileKind::kFile || info->mode != FileMode(file, fs_group) ||
        (fs_group && info->gid != *fs_group))
      return false;
    auto text = version.ReadSmall(path, file.contents.size());
    if (!text) return false;
    const bool equal = secret::Secret::Take(*text) == file.contents;
    if (!equal) return false;
  }
  return true;
}

Result<> WriteVersion(const Dir& version, const ProjectedFiles& files,
                      std::optional<std::uint32_t> fs_group) {
  const std::uint32_t dir_mode = fs_group ? 02755 : 0755;
  RETURN_IF_ERROR(internal::SetAttributes(version.fd(), dir_mode, fs_group));
  for (const auto& [path, file] : files) {
    for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      ASSIGN_OR_RETURN(const auto sub, version.MakeAndOpenDir(path.substr(0, slash), 0755));
      RETURN_IF_ERROR(internal::SetAttributes(sub.fd(), dir_mode, fs_group));
    }
    ASSIGN_OR_RETURN(const auto fd, version.CreateNew(path, 0600));
    RETURN_IF_ERROR(host::WriteAll(fd.get(), bytes::AsView(file.contents.Reveal())));
    RETURN_IF_ERROR(internal::SetAttributes(fd.get(), FileMode(file, fs_group), fs_group));
  }
  return {};
}

std::string VersionName(const task::Context& ctx) {
  const auto seconds =
      std::chrono::time_point_cast<std::chrono::seconds>(ctx.clock().WallNow()).time_since_epoch().count();
  const std::time_t now = seconds;
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[64];
  ::snprintf(text, sizeof text, "..%04d_%02d_%02d_%02d_%02d_%02d.", utc.tm_year + 1900, utc.tm_mon + 1,
             utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
  return text + host::RandomName();
}

}  // namespace

Result<ProjectedFiles> CollectFiles(const PodFacts& facts, const kube::Volume& volume,
                                    const ConfigSource& objects) {
  ProjectedFiles out;
  for (const auto& source : volume.files)
    RETURN_IF_ERROR(
        AddSource(facts, source, static_cast<std::uint32_t>(volume.default_mode) & 0777, objects, out));
  for (const auto& [path, file] : out)
    for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1))
      if (out.contains(path.substr(0, slash)))
        return Error(Reason::kConfig,
                     "path " + Quoted(path) + " needs a directory where a file is asked for");
  return out;
}

Result<bool> WriteAtomically(const task::Context& ctx, const Dir& dir, const ProjectedFiles& files,
                             std::optional<std::uint32_t> fs_group) {
  ASSIGN_OR_RETURN(const auto current, ReadLink(dir, "..data"));
  bool changed = true;
  std::string version = current.value_or("");
  if (current && current->starts_with("..2"))
    if (auto old = dir.OpenDir(*current)) changed = !Same(*old, files, fs_group);
  if (changed) {
    version = VersionName(ctx);
    ASSIGN_OR_RETURN(const auto fresh, dir.MakeAndOpenDir(version, 0755));
    RETURN_IF_ERROR(WriteVersion(fresh, files, fs_group));
    RETURN_IF_ERROR(dir.Unlink("..data_tmp"));
    if (::symlinkat(version.c_str(), dir.fd(), "..data_tmp") != 0)
      return host::OsError(errno, "link the new version of a volume");
    // The moment in which readers go over to the new version.
    if (::renameat(dir.fd(), "..data_tmp", dir.fd(), "..data") != 0)
      return host::OsError(errno, "publish the new version of a volume");
  }
  std::set<std::string> tops;
  for (const auto& [path, file] : files) tops.insert(path.substr(0, path.find('/')));
  for (const std::string& top : tops) {
    const std::string target = "..data/" + top;
    if (::symlinkat(target.c_str(), dir.fd(), top.c_str()) != 0 && errno != EEXIST)
      return host::OsError(errno, "link a file of a volume");
  }
  ASSIGN_OR_RETURN(const auto names, dir.List());
  for (const std::string& name : names) {
    if (name == "..data" || name == version || tops.contains(name)) continue;
    if (name.starts_with("..")) {
      RETURN_IF_ERROR(dir.RemoveTree(ctx, name));
    } else {
      ASSIGN_OR_RETURN(const auto target, ReadLink(dir, name));
      if (target && *target == "..data/" + name) RETURN_IF_ERROR(dir.Unlink(name));
    }
  }
  return changed;
}

}  // namespace berth::launch
