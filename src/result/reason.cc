#include "result/reason.h"

#include <array>
#include <cstddef>

namespace berth::result {
namespace {

using R = Reason;
using C = Code;

constexpr std::array kTable{
    ReasonInfo{R::kUsage, "usage", "E-USAGE", C::kInvalidArgument, 2, false},
    ReasonInfo{R::kConfig, "config", "E-CONFIG", C::kInvalidArgument, 2, false},
    ReasonInfo{R::kInvalidReference, "invalid-reference", "E-NAME", C::kInvalidArgument, 2, false},
    ReasonInfo{R::kInvalidDigest, "invalid-digest", "E-BAD-DIGEST", C::kFailedPrecondition, 13, false},
    ReasonInfo{R::kInvalidManifest, "invalid-manifest", "E-BAD-MANIFEST", C::kFailedPrecondition, 13, false},
    ReasonInfo{R::kInvalidConfig, "invalid-config", "E-BAD-CONFIG", C::kFailedPrecondition, 13, false},
    ReasonInfo{R::kInvalidLayer, "invalid-layer", "E-BAD-LAYER", C::kFailedPrecondition, 13, false},
    ReasonInfo{R::kUnsupported, "unsupported", "E-UNSUPPORTED", C::kUnimplemented, 13, false},
    ReasonInfo{R::kLimitExceeded, "limit-exceeded", "E-LIMIT", C::kResourceExhausted, 13, false},
    ReasonInfo{R::kDigestMismatch, "digest-mismatch", "E-DIGEST", C::kDataLoss, 9, true},
    ReasonInfo{R::kSizeMismatch, "size-mismatch", "E-SIZE", C::kDataLoss, 9, true},
    ReasonInfo{R::kNotFound, "not-found", "E-MANIFEST-404", C::kNotFound, 3, false},
    ReasonInfo{R::kRepositoryNotFound, "not-found", "E-REPO-404", C::kNotFound, 3, false},
    ReasonInfo{R::kBlobNotFound, "not-found", "E-BLOB-404", C::kNotFound, 3, false},
    ReasonInfo{R::kNoMatch, "no-match", "E-PLATFORM", C::kNotFound, 7, false},
    ReasonInfo{R::kUnauthorized, "unauthorized", "E-AUTH-401", C::kUnauthenticated, 4, false},
    ReasonInfo{R::kTokenError, "token-error", "E-TOKEN", C::kUnauthenticated, 4, false},
    ReasonInfo{R::kInvalidCredentials, "invalid-credentials", "E-CREDS", C::kUnauthenticated, 4, false},
    ReasonInfo{R::kDenied, "denied", "E-AUTH-403", C::kPermissionDenied, 4, false},
    ReasonInfo{R::kRateLimited, "rate-limited", "E-429", C::kUnavailable, 10, true},
    ReasonInfo{R::kServerError, "unavailable", "E-5XX", C::kUnavailable, 5, true},
    ReasonInfo{R::kUnexpectedStatus, "unexpected-status", "E-STATUS", C::kUnavailable, 5, false},
    ReasonInfo{R::kDns, "unavailable", "E-DNS", C::kUnavailable, 5, true},
    ReasonInfo{R::kRefused, "unavailable", "E-REFUSED", C::kUnavailable, 5, true},
    ReasonInfo{R::kUnavailable, "unavailable", "E-UNAVAILABLE", C::kUnavailable, 5, true},
    ReasonInfo{R::kConnectionReset, "connection-reset", "E-RESET", C::kUnavailable, 5, true},
    ReasonInfo{R::kUnexpectedEof, "unexpected-eof", "E-EOF", C::kUnavailable, 5, true},
    ReasonInfo{R::kProtocolError, "protocol-error", "E-PROTOCOL", C::kUnavailable, 5, true},
    ReasonInfo{R::kRange, "range", "E-RANGE", C::kUnavailable, 5, true},
    ReasonInfo{R::kTimeout, "timeout", "E-TIMEOUT", C::kDeadlineExceeded, 5, true},
    ReasonInfo{R::kStalled, "timeout", "E-STALLED", C::kDeadlineExceeded, 5, true},
    ReasonInfo{R::kTooManyRedirects, "too-many-redirects", "E-REDIRECTS", C::kPermissionDenied, 5, false},
    ReasonInfo{R::kInsecureRedirect, "insecure-redirect", "E-REDIRECT-HTTP", C::kPermissionDenied, 6, false},
    ReasonInfo{R::kUntrustedRealm, "untrusted-realm", "E-REALM", C::kPermissionDenied, 4, false},
    ReasonInfo{R::kTls, "tls", "E-TLS", C::kUnavailable, 6, false},
    ReasonInfo{R::kTlsCa, "tls", "E-TLS-CA", C::kUnavailable, 6, false},
    ReasonInfo{R::kTlsName, "tls", "E-TLS-NAME", C::kUnavailable, 6, false},
    ReasonInfo{R::kTlsExpired, "tls", "E-TLS-EXPIRED", C::kUnavailable, 6, false},
    ReasonInfo{R::kHttpOnHttps, "tls", "E-HTTP-ON-HTTPS", C::kUnavailable, 6, false},
    ReasonInfo{R::kPlainHttp, "insecure-redirect", "E-PLAIN-HTTP", C::kPermissionDenied, 6, false},
    ReasonInfo{R::kPolicy, "policy", "E-POLICY", C::kPermissionDenied, 8, false},
    ReasonInfo{R::kNever, "policy", "E-NEVER", C::kFailedPrecondition, 8, false},
    ReasonInfo{R::kConflict, "conflict", "E-CONFLICT", C::kAborted, 1, true},
    ReasonInfo{R::kNoSpace, "no-space", "E-ENOSPC", C::kResourceExhausted, 9, false},
    ReasonInfo{R::kIo, "internal", "E-IO", C::kUnavailable, 9, false},
    ReasonInfo{R::kCorrupt, "corrupt", "E-CORRUPT", C::kDataLoss, 9, false},
    ReasonInfo{R::kInUse, "conflict", "E-IN-USE", C::kFailedPrecondition, 1, false},
    ReasonInfo{R::kSocket, "unavailable", "E-SOCKET", C::kUnavailable, 12, true},
    ReasonInfo{R::kCanceled, "canceled", "E-CANCELED", C::kCancelled, 130, false},
    ReasonInfo{R::kInternal, "internal", "E-INTERNAL", C::kInternal, 1, false},
    ReasonInfo{R::kSignature, "policy", "E-VERIFY", C::kPermissionDenied, 8, false},
    ReasonInfo{R::kMissing, "missing", "E-MISSING", C::kFailedPrecondition, 9, false},
};

constexpr bool InOrder() {
  for (std::size_t i = 0; i < kTable.size(); ++i)
    if (static_cast<std::size_t>(kTable[i].reason) != i) return false;
  return kTable.size() == static_cast<std::size_t>(R::kMissing) + 1;
}
static_assert(InOrder(), "one row per Reason, in the order of the enumeration");

}  // namespace

const ReasonInfo& Describe(Reason reason) { return kTable[static_cast<std::size_t>(reason)]; }

const ReasonInfo* FindByCode(std::string_view code) {
  for (const auto& row : kTable)
    if (row.code == code) return &row;
  return nullptr;
}

}  // namespace berth::result
