// reference/reference.h: image names.
//
// Grammar and normalisation of kubelet-images 1 (its vectors are reference_test.cc). Two readers:
//   Reference::Parse("busybox")        normalised: docker.io/library/busybox, tag "latest" when neither tag nor digest
//   Reference::ParseRaw("busybox")     the grammar alone, nothing added
// Errors: kInvalidReference, with the texts of kubelet-images 1.2. Parse puts the kubelet's words in front of them,
//   couldn't parse image name "X": <cause>
// The grammar sets no limit to a host; we refuse texts of more than kMaxText bytes. Reading takes linear time.
// The user's spelling is kept (spelling()): CRI and events show it.
// Immutable value; parse, print, parse is stable.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "digest/digest.h"
#include "result/result.h"

namespace berth::reference {

inline constexpr std::size_t kMaxText = 4096;  // bytes of a whole reference
inline constexpr std::size_t kMaxPath = 255;   // bytes of the path, "library/" included, the domain not
inline constexpr std::size_t kMaxTag = 128;

class Reference {
 public:
  static Result<Reference> Parse(std::string_view text);
  static Result<Reference> ParseRaw(std::string_view text);

  const std::string& domain() const { return domain_; }  // "docker.io", "host:5000", "[::1]:5000"; may be "" (vector 38)
  const std::string& path() const { return path_; }      // "library/busybox"
  const std::optional<std::string>& tag() const { return tag_; }
  const std::optional<digest::Digest>& digest() const { return digest_; }
  const std::string& spelling() const { return spelling_; }

  std::string Repository() const;  // "docker.io/library/busybox"
  std::string ToString() const;    // repository[:tag][@digest]
  // What names a local image: repository@digest when there is a digest (a tag beside it is dropped), else repository:tag.
  std::string Canonical() const;
  // The shortest text that Parse() reads as this reference: "busybox", "busybox:1", "user/repo@sha256:…". Differs from
  // docker's in two rare cases where that one would be read as another name: docker.io/x.io/y keeps its domain, and
  // docker.io/library/<64 hex digits>:latest its tag.
  std::string Familiar() const;
  // kubelet-images 1.5: the user's spelling, ":latest" appended when the rules say so.
  std::string CriSpelling() const;
  // The other parts stay, the spelling follows ("busybox:1" becomes "busybox:2"). REQUIRES: IsTag(tag).
  Reference WithTag(std::string tag) const;
  Reference WithDigest(const digest::Digest& digest) const;

  friend bool operator==(const Reference& a, const Reference& b) {
    return a.domain_ == b.domain_ && a.path_ == b.path_ && a.tag_ == b.tag_ && a.digest_ == b.digest_;
  }

 private:
  std::string Suffix(bool with_tag = true) const;  // "[:tag][@digest]"

  std::string domain_, path_, spelling_;
  std::optional<std::string> tag_;
  std::optional<digest::Digest> digest_;
};

// One of the three names of docker.io: "index.docker.io" is what logins call it, "registry-1.docker.io" where it listens.
bool IsHub(std::string_view host);

// A tag by the grammar: [A-Za-z0-9_], then up to 127 of [A-Za-z0-9_.-]. For tags that came from outside.
bool IsTag(std::string_view text);

// kubelet-images 1.9: the text without tag and digest, not normalised. Errors: as ParseRaw.
Result<std::string> TrimTagAndDigest(std::string_view text);

// The whole digest of an image's config or manifest, lower case: "sha256:" with 64 hex digits, "sha384:" with 96, "sha512:" with
// 128, or these digits alone. An image id, not a name.
std::optional<digest::Digest> ParseImageId(std::string_view text);
bool IsImageId(std::string_view text);

// The lower-case hex digits, one or more, that are an image id or may be its beginning: without "sha256:" and the like. "" when
// `text` is neither.
std::string_view IdDigits(std::string_view text);

}  // namespace berth::reference
