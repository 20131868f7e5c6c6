#include "launch/users.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>

#include "launch/resolve.h"

namespace berth::launch {
namespace {

std::optional<std::uint32_t> ParseId(std::string_view text) {
  std::uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id > 0x7fffffffu) return std::nullopt;
  return id;
}

bool IsName(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7f;
  });
}

template <std::size_t kFields>
std::optional<std::array<std::string_view, kFields>> Fields(std::string_view line) {
  std::array<std::string_view, kFields> out;
  for (std::size_t i = 0; i < kFields; ++i) {
    const auto colon = i + 1 < kFields ? line.find(':') : line.size();
    if (colon == std::string_view::npos) return std::nullopt;
    out[i] = line.substr(0, colon);
    line.remove_prefix(std::min(line.size(), colon + 1));
  }
  return out;
}

template <class Take>
void EachLine(std::string_view text, Take take) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    take(text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + 1));
  }
}

// "" when there is no such regular file.
Result<std::string> ReadInside(const host::Dir& root, const char* path, const AccountLimits& limits) {
  // Looked at before it is opened: a FIFO or a device would block or act on being opened.
  auto place = internal::OpenWithin(root.fd(), path, internal::Within::kInRoot, O_PATH,
                                    "look up an account file of the image");
  if (!place && place.error().reason() == Reason::kUnsupported) return Error(std::move(place).error());
  if (!place) return std::string();
  ASSIGN_OR_RETURN(const auto info, host::Stat(place->get()));
  if (info.kind != host::FileKind::kFile) return std::string();
  if (info.size > limits.file_bytes)
    return Error(Reason::kLimitExceeded, std::string("the image's /") + path + " has " +
                                             std::to_string(info.size) + " bytes, at most " +
                                             std::to_string(limits.file_bytes) + " are read (limit account_file_bytes)");
  const host::Fd file(
      ::open(("/proc/self/fd/" + std::to_string(place->get())).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return host::OsError(errno, std::string("open the image's /") + path);
  std::string text(info.size, '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    ASSIGN_OR_RETURN(const auto n,
                     host::ReadSome(file.get(), std::as_writable_bytes(std::span(text).subspan(have))));
    if (n == 0) break;
    have += n;
  }
  text.resize(have);
  std::size_t longest = 0;
  EachLine(text, [&](std::string_view line) { longest = std::max(longest, line.size()); });
  if (longest > limits.line_bytes)
    return Error(Reason::kLimitExceeded, std::string("the image's /") + path + " has a line of " + std::to_string(longest) +
                                             " bytes, at most " + std::to_string(limits.line_bytes) + " are read (limit account_line_bytes)");
  return text;
}

std::string PodText(const kube::Pod& pod, const kube::Container& container) {
  return "(pod: \"" + pod.metadata.name + "_" + pod.metadata.ns + "(" + pod.metadata.uid +
         ")\", container: " + container.name + ")";
}

}  // namespace

std::vector<Account> ParsePasswd(std::string_view text) {
  std::vector<Account> out;
  EachLine(text, [&](std::string_view line) {
    const auto fields = Fields<7>(line);
    if (!fields || !IsName((*fields)[0])) return;
    const auto uid = ParseId((*fields)[2]), gid = ParseId((*fields)[3]);
    if (uid && gid) out.push_back({std::string((*fields)[0]), *uid, *gid, std::string((*fields)[5])});
  });
  return out;
}

std::vector<AccountGroup> ParseGroup(std::string_view text) {
  std::vector<AccountGroup> out;
  EachLine(text, [&](std::string_view line) {
    const auto fields = Fields<4>(line);
    if (!fields || !IsName((*fields)[0])) return;
    const auto gid = ParseId((*fields)[2]);
    if (!gid) return;
    AccountGroup group{std::string((*fields)[0]), *gid, {}};
    for (std::string_view rest = (*fields)[3]; !rest.empty();) {
      const auto comma = std::min(rest.find(','), rest.size());
      if (IsName(rest.substr(0, comma))) group.members.emplace_back(rest.substr(0, comma));
      rest.remove_prefix(std::min(rest.size(), comma + 1));
    }
    out.push_back(std::move(group));
  });
  return out;
}

kube::SecurityContext EffectiveSecurity(const kube::Pod& pod, const kube::Container& container) {
  kube::SecurityContext out = container.security_context.value_or(kube::SecurityContext{});
  const auto& from = pod.spec.security_context;
  if (!out.run_as_user) out.run_as_user = from.run_as_user;
  if (!out.run_as_group) out.run_as_group = from.run_as_group;
  if (!out.run_as_non_root) out.run_as_non_root = from.run_as_non_root;
  if (!out.selinux) out.selinux = from.selinux;
  if (!out.seccomp) out.seccomp = from.seccomp;
  if (!out.apparmor) out.apparmor = from.apparmor;
  return out;
}

Result<> CheckNonRoot(const kube::Pod& pod, const kube::Container& container, const oci::ImageConfig& image) {
  const auto security = EffectiveSecurity(pod, container);
  if (!security.run_as_non_root.value_or(false)) return {};
  if (security.run_as_user) {
    if (*security.run_as_user != 0) return {};
    return Error(Reason::kConfig, "container's runAsUser breaks non-root policy " + PodText(pod, container));
  }
  if (const std::string name = image.Username(); !name.empty())
    return Error(Reason::kConfig, "container has runAsNonRoot and image has non-numeric user (" + name +
                                      "), cannot verify user is non-root " + PodText(pod, container))
        .Next("set runAsUser to the number of that user");
  if (image.Uid().value_or(0) != 0) return {};
  return Error(Reason::kConfig,
               "container has runAsNonRoot and image will run as root " + PodText(pod, container))
      .Next("set runAsUser, or build the image with a user");
}

Result<User> ResolveUser(const host::Dir& root, const kube::Pod& pod, const kube::Container& container,
                         const oci::ImageConfig& image, const AccountLimits& limits) {
  ASSIGN_OR_RETURN(const auto passwd_text, ReadInside(root, "etc/passwd", limits));
  ASSIGN_OR_RETURN(const auto group_text, ReadInside(root, "etc/group", limits));
  const auto accounts = ParsePasswd(passwd_text);
  const auto groups = ParseGroup(group_text);
  const auto security = EffectiveSecurity(pod, container);

  const auto colon = image.user.find(':');
  std::string user = image.user.substr(0, colon);
  std::string group = colon == std::string::npos ? "" : image.user.substr(colon + 1);
  if (security.run_as_user) {
    user = std::to_string(*security.run_as_user);
    group.clear();  // it was the image's user's
  }
  if (security.run_as_group) group = std::to_string(*security.run_as_group);
  if (user.empty()) user = "0";

  User out;
  const auto number = ParseId(user);
  const auto account = std::find_if(accounts.begin(), accounts.end(), [&](const Account& a) {
    return number ? a.uid == *number : a.name == user;
  });
  if (account != accounts.end()) {
    out.uid = account->uid;
    out.gid = account->gid;
    out.home = account->home;
  } else if (number) {
    out.uid = *number;
  } else {
    return Error(Reason::kConfig,
                 "unable to find user " + Quoted(user) + ": no matching entries in passwd file")
        .Next("set runAsUser to a number, or repair the image");
  }
  if (!group.empty()) {
    const auto gid = ParseId(group);
    const auto entry =
        std::find_if(groups.begin(), groups.end(), [&](const AccountGroup& g) { return g.name == group; });
    if (!gid && entry == groups.end())
      return Error(Reason::kConfig,
                   "unable to find group " + Quoted(group) + ": no matching entries in group file")
          .Next("set runAsGroup to a number, or repair the image");
    out.gid = gid ? *gid : entry->gid;
  }
  const auto& pod_security = pod.spec.security_context;
  out.groups.push_back(out.gid);
  if (account != accounts.end() && pod_security.supplemental_groups_policy != "Strict")
    for (const auto& g : groups)
      if (std::find(g.members.begin(), g.members.end(), account->name) != g.members.end())
        out.groups.push_back(g.gid);
  for (const auto gid : pod_security.supplemental_groups)
    out.groups.push_back(static_cast<std::uint32_t>(gid));
  if (pod_security.fs_group) out.groups.push_back(static_cast<std::uint32_t>(*pod_security.fs_group));
  std::sort(out.groups.begin(), out.groups.end());
  out.groups.erase(std::unique(out.groups.begin(), out.groups.end()), out.groups.end());
  return out;
}

}  // namespace berth::launch
