// digest/digest.h: content digests ("sha256:…"), the only trust in content.
//
// A Digest can only be made from a well-formed string or from bytes that were hashed; it is stored in binary, so a
// digest string from outside can never become part of a path or URL (CVE-2024-3727 class). Three algorithms:
// sha256 (64 hex digits), sha384 (96), sha512 (128), lower case only.
// Errors of Parse: kInvalidDigest with the texts of kubelet-images 1.1 ("invalid checksum digest format",
// "unsupported digest algorithm", "invalid checksum digest length").
// Values are immutable and cheap to copy; safe to share between threads.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "bytes/bytes.h"
#include "result/result.h"

namespace berth::digest {

enum class Algorithm : std::uint8_t { kSha256, kSha384, kSha512 };
inline constexpr std::array kAlgorithms{Algorithm::kSha256, Algorithm::kSha384, Algorithm::kSha512};

std::string_view Name(Algorithm algorithm);   // "sha256"
std::size_t ByteLength(Algorithm algorithm);  // 32, 48, 64

class Digest {
 public:
  Digest() = default;  // the zero sha256; only as a placeholder before assignment
  static Result<Digest> Parse(std::string_view text);
  // REQUIRES: raw.size() == ByteLength(algorithm).
  static Digest FromRaw(Algorithm algorithm, bytes::View raw);
  // Hashes `data` in one go.
  static Digest Of(bytes::View data, Algorithm algorithm = Algorithm::kSha256);

  Algorithm algorithm() const { return algorithm_; }
  std::string ToString() const;  // "sha256:<hex>"
  std::string Hex() const;       // hex only: fit for a file name
  std::string Short() const;     // first 12 hex digits, for people
  bytes::View raw() const { return bytes::View(raw_.data(), ByteLength(algorithm_)); }

  friend auto operator<=>(const Digest&, const Digest&) = default;
  friend bool operator==(const Digest&, const Digest&) = default;

 private:
  Algorithm algorithm_ = Algorithm::kSha256;
  std::array<std::byte, 64> raw_{};
};

// A running hash. One thread at a time. Finish() may be called once.
class Hasher {
 public:
  explicit Hasher(Algorithm algorithm = Algorithm::kSha256);
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  ~Hasher();
  void Update(bytes::View data);
  Digest Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::digest

template <>
struct std::hash<berth::digest::Digest> {
  std::size_t operator()(const berth::digest::Digest& d) const noexcept;
};
