// policy/defaults.h: imagePullPolicy: its three values, and what an empty one becomes when the object is first created.
//
// kubelet-images 2.1: the tag "latest" (also the one a bare name stands for) gives Always, everything else IfNotPresent,
// and so does an image that does not parse or is empty. The two profiles (architecture 2) differ in one case: a digest
// beside the tag (`x:latest@sha256:…`) is IfNotPresent in kDocumented, as the documentation says, and Always in kKubelet,
// which looks at the tag only. A policy once stored is never defaulted again: call this only for an empty field.
// Pure functions.
#pragma once

#include <optional>
#include <string_view>

#include "credentials/match.h"

namespace berth::policy {

enum class PullPolicy : unsigned char { kAlways, kIfNotPresent, kNever };

std::string_view Name(PullPolicy policy);                            // "IfNotPresent"
std::optional<PullPolicy> ParsePullPolicy(std::string_view text);    // exactly these spellings
PullPolicy DefaultPullPolicy(credentials::Profile profile, std::string_view image);
// The profiles decide differently: explain and lint say so.
bool ProfilesDiffer(std::string_view image);

}  // namespace berth::policy
