// verify/payload.h: the documents that signatures are over, and those that hold signatures: read strictly, believed in nothing.
//
// Sources: cosign's SIGNATURE_SPEC and BUNDLE_SPEC, containers-signature(5), DSSE 1.0, in-toto Statement 0.1 and 1, Sigstore
// bundle 0.3. All are read by json/document.h: no duplicate keys, no other spelling of a key, nothing behind the end.
// Errors: kInvalidManifest, kLimitExceeded; they quote nothing. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "digest/digest.h"
#include "result/result.h"

namespace berth::verify {

inline constexpr std::string_view kSimpleSigningType = "application/vnd.dev.cosign.simplesigning.v1+json";
inline constexpr std::string_view kCosignArtifactType = "application/vnd.dev.cosign.artifact.sig.v1+json";
inline constexpr std::string_view kSignatureAnnotation = "dev.cosignproject.cosign/signature";
inline constexpr std::string_view kInTotoType = "application/vnd.in-toto+json";
inline constexpr std::string_view kSignPredicate = "https://sigstore.dev/cosign/sign/v1";
inline constexpr std::size_t kPayloadBytes = 64u << 10;   // of a simple-signing payload
inline constexpr std::size_t kBundleBytes = 1u << 20;

// "cosign container image signature": digest and name are what the signer says they are. Unknown members of `critical` are
// refused: they may restrict what was signed.
struct SimpleSigning {
  digest::Digest digest;
  std::string reference;                     // docker-reference, at most 4 KiB; may be anything
  std::optional<std::int64_t> timestamp;     // of `optional`: seconds since 1970
};
Result<SimpleSigning> ParseSimpleSigning(std::string_view text);

// A bundle of version 0.3, under one of its two media types.
bool IsBundleType(std::string_view media_type);
struct Bundle {
  std::string payload_type, payload;         // of a DSSE envelope; decoded
  std::vector<std::string> signatures;       // decoded; 1 to 8 of an envelope, one of a message
  bool message = false;                      // a signature over the bytes of the artifact itself
  std::string message_digest;                // SHA-256 of it, when it says so
};
Result<Bundle> ParseBundle(std::string_view text);
// What an envelope's signatures are over (DSSE "PAE").
std::string PreAuthentication(std::string_view type, std::string_view payload);

struct Statement {
  std::string predicate_type;
  struct Subject { std::string name; std::vector<digest::Digest> digests; };  // of the algorithms that we know
  std::vector<Subject> subjects;             // 1 to 64
};
Result<Statement> ParseStatement(std::string_view text);

// The digest of a manifest's `subject`; nullopt when it has none.
Result<std::optional<digest::Digest>> SubjectOf(std::string_view manifest);

}  // namespace berth::verify
