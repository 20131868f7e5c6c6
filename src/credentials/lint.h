// credentials/lint.h: what is wrong, or not what it looks like, in a docker config file or a pull secret.
//
// Findings in the order of the lines; none for a file that does what its author meant. They quote keys and names of members,
// never values. product 4.5(f).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "credentials/docker_config.h"
#include "credentials/match.h"

namespace berth::credentials {

struct LintFinding {
  enum class Severity : unsigned char { kNote, kWarning, kError };  // kNote: the two profiles differ
  Severity severity = Severity::kWarning;
  int line = 1;
  std::string place;    // `auths["*registry.example"]`, `credsStore`
  std::string message;  // `also matches evilregistry.example; write "*.registry.example" or "registry.example"`
};
std::string_view Name(LintFinding::Severity severity);  // "note", "warning", "error"

std::vector<LintFinding> LintDockerConfig(std::string_view text, FileFormat format, Profile profile);

// {"file":…,"findings":[{"line":4,"place":…,"severity":"warning","message":…}],"warnings":1,"errors":0}
std::string LintJson(std::string_view file, const std::vector<LintFinding>& findings);

}  // namespace berth::credentials
