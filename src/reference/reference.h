// reference/reference.h: image names.
//
// Grammar and normalisation of kubelet-images 1 (its vectors are reference_test.cc). Two readers:
//   Reference::Parse("busybox")        normalised: docker.io/library/busybox, tag "latest" when neither tag nor digest
//   Reference::ParseRaw("busybox")     the grammar alone, nothing added
// Errors: kInvalidReference, texts of kubelet-images 1.2, wrapped as the kubelet does:
//   couldn't parse image name "X": <cause>
// The user's spelling is kept (spelling()): CRI and events show it.
// Immutable value; parse, print, parse is stable.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "digest/digest.h"
#include "result/result.h"

namespace berth::reference {

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
  std::string Familiar() const;    // "busybox", "busybox:1", "user/repo@sha256:…"
  // kubelet-images 1.5: the user's spelling, ":latest" appended when the rules say so.
  std::string CriSpelling() const;
  Reference WithTag(std::string tag) const;
  Reference WithDigest(const digest::Digest& digest) const;  // keeps the tag

  friend bool operator==(const Reference& a, const Reference& b) {
    return a.domain_ == b.domain_ && a.path_ == b.path_ && a.tag_ == b.tag_ && a.digest_ == b.digest_;
  }

 private:
  std::string domain_, path_, spelling_;
  std::optional<std::string> tag_;
  std::optional<digest::Digest> digest_;
};

// kubelet-images 1.9: the text without tag and digest, not normalised.
Result<std::string> TrimTagAndDigest(std::string_view text);

// 64 lower-case hex digits, with or without "sha256:" in front: an image id, not a name.
bool IsImageId(std::string_view text);

}  // namespace berth::reference
