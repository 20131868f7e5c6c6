// credentials/keyring.h: from an image's repository to the credentials for it, in the order in which they are tried.
//
// A Keyring holds the entries of one origin (the node's file, all pull secrets of a Pod, …). Find() gives every entry
// whose key matches, keys in reverse byte order (wildcards last, longer paths before shorter), entries of one key in the
// order in which they were added; and, when none matched and the image is of the default registry, those under exactly
// "index.docker.io" (kubelet-images 6.3 to 6.5). Several keyrings are asked one after the other and the lists joined.
// Explain() says the same about every entry, for people. Immutable once filled; then safe to share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "credentials/docker_config.h"
#include "credentials/match.h"

namespace berth::credentials {

// What became of one entry (or of one source) when an image's credentials were looked up.
struct MatchReport {
  enum class Verdict : unsigned char {
    kMatched,   // in the list; tried in the order of the reports
    kNoMatch,   // not for this image
    kUnusable,  // would not be for any image: a key that is no host, a secret of another type
    kMissing,   // named by the Pod, not there
    kFailed,    // a plug-in or helper that gave nothing because of an error
    kSkipped,   // a plug-in that had nothing to say or was not asked
  };
  Verdict verdict = Verdict::kNoMatch;
  std::string source;    // "secret shop/regcred", "config.json /root/.docker/config.json", "plug-in ecr"
  std::string pattern;   // the key as written
  std::string username;
  std::string hash;      // ShortHash(); for matched ones only
  std::string reason;    // "" for most that matched
  bool profiles_differ = false;  // the other profile decides otherwise
};
std::string_view Name(MatchReport::Verdict verdict);  // "matched", "no match", ...

class Keyring {
 public:
  explicit Keyring(Profile profile = Profile::kDocumented) : profile_(profile) {}
  Profile profile() const { return profile_; }

  // Keys that make no sense are left out and returned (WithoutUserInfo), for a warning.
  std::vector<std::string> Add(DockerConfig config);
  std::vector<Credential> Find(std::string_view repository) const;
  // Appends one report per entry: those of Find() in its order, then the others.
  void Explain(std::string_view repository, std::vector<MatchReport>& reports) const;
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    std::string key;  // index key
    Credential credential;
  };
  Profile profile_;
  struct Ignored { std::string key, source; };
  std::vector<Entry> entries_;  // keys in reverse byte order
  std::vector<Ignored> ignored_;
};

}  // namespace berth::credentials
