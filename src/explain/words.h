// explain/words.h: how the library says things: shell words, durations, parts of errors. Internal.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "explain/facts.h"

namespace berth::explain {

// One word of a POSIX shell; control characters are taken out.
std::string Shell(std::string_view word);
std::string Join(std::span<const std::string> words, std::string_view separator);
std::string Short(time::Duration d);             // "0.3ms", "2.5s", "2m20s", "3h7m", "29 days"
std::string Clock(time::WallTime t);             // "06:50:13", local
// Without the places it passed through, which repeat the name of the image: "reg.test has no manifest v1 of \"app\" (404)".
std::string Innermost(const Error& error);
std::string HostOf(std::string_view authority);  // without the port
std::string ArchOf(std::string_view platform);   // "linux/arm64/v8" -> "arm64"
// Of a kNoMatch: as resolved, else (a pull of the past) as its words tell.
struct PlatformWords {
  std::string wanted;
  std::vector<std::string> offered;  // empty: unknown, or none
};
PlatformWords PlatformsOf(const Facts& facts);
std::string SecretOf(std::string_view error);    // "secret shop/regcred: …" -> "regcred", else "regcred"

// What several rows of advise.cc share.
const MissingSecret& Elsewhere(const Facts& facts);  // REQUIRES: there is one
const MissingSecret& Misnamed(const Facts& facts);   // REQUIRES: there is one
const credentials::MatchReport* NeverMatches(const Facts& facts);
bool ShortLived(const credentials::MatchReport& entry);  // a token by its user name or its source
bool SpeaksTls(const Facts& facts);                      // a plain http:// host that is a TLS server
std::string NamesOf(const NetworkFacts* network);        // ": a.example, b.example"
std::string CountMatched(const Facts& facts);            // "both matching credentials"
std::string OrPrivate(const Facts& facts);               // ", or it is private", when nobody logged in
std::string Wait(const Facts& facts);                    // " 30s", when the registry said so

}  // namespace berth::explain
