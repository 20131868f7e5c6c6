// launch/users.h: who a container runs as: names and numbers, from the Pod and from the image's own account files.
//
// /etc/passwd and /etc/group are the image's and are read through its root (resolution never leaves it, symbolic links count from
// it, devices and FIFOs are not opened for reading, within AccountLimits); a file that is absent or unreadable has no entries.
// Lines that are not well-formed, numbers above 2^31-1 and names with control bytes are skipped.
//
// Rules (kubelet, containerd's CRI plug-in):
// - user: container's, else Pod's runAsUser; else the image's "user[:group]"; else 0. A name must be in /etc/passwd.
// - group: runAsGroup; else the image's ":group"; else the user's primary group in /etc/passwd; else 0.
// - further groups: those of the user's name in /etc/group (not with supplementalGroupsPolicy Strict), supplementalGroups, fsGroup.
//   The primary group is always among them (CVE-2022-36109).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/dir.h"
#include "kube/objects.h"
#include "oci/oci.h"
#include "result/result.h"

namespace berth::launch {

struct AccountLimits {
  std::size_t file_bytes = 1u << 20, line_bytes = 64u << 10;
};

struct Account { std::string name; std::uint32_t uid = 0, gid = 0; std::string home; };
struct AccountGroup { std::string name; std::uint32_t gid = 0; std::vector<std::string> members; };
std::vector<Account> ParsePasswd(std::string_view text);
std::vector<AccountGroup> ParseGroup(std::string_view text);

struct User {
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> groups;  // sorted, each once
  std::string home;                   // of /etc/passwd; "" when the user is not in it
};

// Effective runAsUser and so on: the container's, where set, over the Pod's.
kube::SecurityContext EffectiveSecurity(const kube::Pod& pod, const kube::Container& container);

// The kubelet's check before a container is created; its message is CreateContainerConfigError's. kConfig.
Result<> CheckNonRoot(const kube::Pod& pod, const kube::Container& container, const oci::ImageConfig& image);

// `root`: the mounted image. kConfig for a name that the image does not know, kLimitExceeded for an account file that is too big.
Result<User> ResolveUser(const host::Dir& root, const kube::Pod& pod, const kube::Container& container, const oci::ImageConfig& image,
                         const AccountLimits& limits = {});

}  // namespace berth::launch
