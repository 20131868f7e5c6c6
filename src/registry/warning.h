// registry/warning.h: what a registry wants its users to be told (`Warning: 299 - "…"`, OCI distribution 1.1, runtime-registry 4.1).
//
// Only code 299 counts; other codes are about caches. A field may hold several values; what cannot be read ends its field. Texts are
// unescaped, UTF-8, not empty, and kWarningBytes together: others are left out. They are the other side's words: control characters
// and all, until somebody shows them Quoted(). Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace berth::registry {

inline constexpr std::size_t kWarningBytes = 4096;

std::vector<std::string> ParseWarnings(const std::vector<std::string_view>& fields);

}  // namespace berth::registry
