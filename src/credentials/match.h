// credentials/match.h: does a key of a docker config file name this image's repository? Pure functions.
//
// Two readings (architecture 2):
//   kDocumented  the concept page's grammar: globs (* ? [a-z] [^a] \c) over the whole host, none of them across '/'; ports
//                equal as text; the path a prefix at '/' boundaries. `*my-registry.io/images` is for
//                `a.sub.my-registry.io/images/x`; `my-registry.io/team` is not for `my-registry.io/teammate`.
//   kKubelet     v1.36 to the letter (kubelet-images 6.3, 6.4): keys go through URL parsing, host labels are matched one
//                by one and must be as many, paths are byte prefixes, `?` and `[` never work.
// Linear in the text (globs: product of the lengths), no allocation worth mentioning, never fails: a key that makes no
// sense matches nothing, and its entry is ignored.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace berth::credentials {

enum class Profile : unsigned char { kDocumented, kKubelet };
std::string_view Name(Profile profile);  // "Documented", "Kubelet"

// What a key of "auths" stands for: scheme, user info, query, fragment and a leading /v1/ or /v2/ removed
// (kubelet-images 6.3); kDocumented keeps what may be a glob (`?`, `[`, `\`). nullopt: the key is no host and path, its
// entry is ignored.
std::optional<std::string> IndexKey(Profile profile, std::string_view config_key);

// The key as it may be shown or logged: all up to the last '@' is left out, also where a stray '/' hides it from IndexKey,
// because a password may be in it. Only for the eye: what a key matches is IndexKey's.
std::string WithoutUserInfo(std::string_view config_key);

// `key`: an IndexKey. `repository`: "docker.io/library/busybox", "host:5000/a/b".
bool Matches(Profile profile, std::string_view key, std::string_view repository);

// For explain: the first thing about `config_key` (as written) that keeps it from `repository`, short and for people:
// "port: entry has none, image has 5712", "6 host labels, image has 2", `path "/teamx" is not a prefix of "/team/app"`,
// `never matches: "[" is not allowed in a host`. "" when it matches.
std::string WhyNot(Profile profile, std::string_view config_key, std::string_view repository);

// kubelet-images 6.5: the registry whose credentials stand under "index.docker.io".
bool IsDefaultRegistry(std::string_view repository);

// Shell-style match of a whole text; '/' is matched only by itself. A malformed pattern matches nothing.
bool Glob(std::string_view pattern, std::string_view text);

}  // namespace berth::credentials
