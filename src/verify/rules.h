// verify/rules.h: which images may come here: the `verification:` section of the configuration.
//
//   verification:
//     default: Deny                            # of images that no rule is for; Allow and Warn are the others
//     programs: {dir: /usr/lib/berth/verifiers.d, timeout: 10s, max: 10}
//     rules:                                   # the first that matches decides
//       - name: ours
//         match: [registry.example/team, "*.registry.example/team/*-prod"]
//         action: RequireSignature             # Allow, Warn, Deny
//         keys: [{name: release, file: /etc/berth/release.pub, notAfter: 2027-01-01T00:00:00Z}]
//
// docs/verification.md is the manual. Patterns: HOST or HOST/PATH without tag; `*` `?` `[a-z]` within one part between slashes, the
// host with its port; a path stands for all below it. "*" is everything. Registries are compared, not spellings: capitals, ":443", zeros
// before a port, forms of an IPv6 address (also in brackets without `\`) and the other names of docker.io are no difference.
// Everything that could let an image through by mistake is an error: unknown fields, patterns that match nothing, keys that
// cannot be used, rules that ask for nothing. What is merely unwise is a note.
// Immutable values, cheap to copy; safe to share.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "digest/digest.h"
#include "digest/signature.h"
#include "reference/reference.h"
#include "result/result.h"
#include "time/clock.h"
#include "yaml/document.h"

namespace berth::verify {

enum class Action : std::uint8_t { kAllow, kWarn, kDeny, kRequireSignature };
std::string_view Name(Action action);  // as in the file

// What the name in a signature must be.
enum class Identity : std::uint8_t {
  kRepository,  // of the repository that is pulled from, or one of signedAs
  kExact,       // and of the same tag; names that give a digest need the repository only
  kAny,         // not looked at: the digest alone counts
};

struct Key {
  std::string name;
  digest::PublicKey key;
  std::optional<time::WallTime> not_before, not_after;
};

struct Rule {
  std::string name;                      // "rules[2]" when it was given none
  std::vector<std::string> match;
  Action action = Action::kDeny;
  std::vector<Key> keys;
  std::size_t threshold = 1;             // of the keys, each counted once
  bool programs = false;                 // all programs must accept, too
  Identity identity = Identity::kRepository;
  std::vector<std::string> signed_as;    // patterns: repositories whose signatures count here (mirrors, promoted images)
  std::vector<digest::Digest> digests;   // not empty: nothing else is let through
  std::optional<time::WallTime> signed_after;
  bool warn_when_unreachable = false;    // the registry cannot be asked: let through with a warning
  std::string hash;                      // of all of the above but `match`, and of the programs' folder: a verdict holds as long as it is the same

  bool Matches(const reference::Reference& name) const;
};

struct ProgramOptions {
  std::string dir;                       // "": none
  time::Duration timeout = std::chrono::seconds(10);  // of each
  std::size_t max = 10;                  // more in the folder: nothing is let through
};

class Rules {
 public:
  // Reads a key file. Errors are quoted with the place in the rules.
  using ReadFile = std::function<Result<std::string>(const std::string& path)>;
  static constexpr std::size_t kRules = 1000, kKeys = 32, kPatterns = 1000;

  // No section: verification is off.
  Rules() = default;
  // `section`: the value of `verification` in `document`. kConfig "file:line: …".
  static Result<Rules> Parse(const yaml::Document& document, const json::Value& section, const ReadFile& read);

  bool enabled() const { return enabled_; }
  // The first that matches, else the default as a rule of its own. REQUIRES: enabled().
  const Rule& Find(const reference::Reference& name) const;
  const std::vector<Rule>& rules() const { return rules_; }
  const Rule& fallback() const { return default_; }
  const ProgramOptions& programs() const { return programs_; }
  const std::vector<std::string>& notes() const { return notes_; }  // "file:line: …": unwise, not wrong
  const std::string& text() const { return text_; }                 // the section as JSON
  // One line for the log: "3 rules, 2 keys, default Deny".
  std::string Summary() const;

 private:
  friend struct Reader;
  bool enabled_ = false;
  std::vector<Rule> rules_;
  Rule default_;
  ProgramOptions programs_;
  std::vector<std::string> notes_;
  std::string text_;
};

// The same text for all spellings of a repository: "Registry-1.docker.io:443/busybox" is "docker.io/library/busybox".
std::string CanonicalRepository(std::string_view repository);

// Does `pattern` stand for this repository ("docker.io/library/busybox")? Spelled in any way, both.
bool MatchesRepository(std::string_view pattern, std::string_view repository);

}  // namespace berth::verify
