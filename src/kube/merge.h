// kube/merge.h: what `apply` makes of three objects: what was applied last, what is stored, what is applied now.
//
// Members that the last application had and this one has not go away; members of this one win; what others have written (status,
// defaults, a uid) stays. Lists whose items have a name merge by it (containers, env, volumes, imagePullSecrets of a Pod by name,
// ports by containerPort, volumeMounts by mountPath, …: kube/schema.h); all other lists are replaced. Merged lists keep the
// order of what is applied now; items of others come behind. A volume that changes its source loses the old one.
#pragma once

#include <string_view>

#include "json/tree.h"

namespace berth::kube {

inline constexpr std::string_view kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";

// `last` is null when nothing was applied before. `kind` selects the merge keys. Ignores kLastApplied itself.
json::Tree MergeApplied(const json::Tree& last, const json::Tree& live, const json::Tree& wanted, std::string_view kind);

// The annotation's text for an object: itself without that annotation and without status, compact, with a newline, as kubectl has it.
std::string LastApplied(const json::Tree& object);

}  // namespace berth::kube
