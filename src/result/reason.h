// result/reason.h: the closed list of causes for which berth fails.
//
// A Reason is the machine-readable cause of an Error. One table (reason.cc) gives each of them its class
// word, its stable code for people and scripts ("E-AUTH-401"), the canonical gRPC code, the exit status of
// the CLI and whether trying again can help. Nothing else in the product maps causes to codes.
//
// Sources: reliability-security 3.0 (classes and gRPC codes), product 4.3 (E- codes and exit statuses).
// Statuses 13 (the image itself is broken or hostile) is our addition to that table.
#pragma once

#include <cstdint>
#include <string_view>

namespace berth::result {

// The canonical gRPC codes, same numbers.
enum class Code : std::uint8_t {
  kOk = 0, kCancelled = 1, kUnknown = 2, kInvalidArgument = 3, kDeadlineExceeded = 4, kNotFound = 5,
  kAlreadyExists = 6, kPermissionDenied = 7, kResourceExhausted = 8, kFailedPrecondition = 9,
  kAborted = 10, kOutOfRange = 11, kUnimplemented = 12, kInternal = 13, kUnavailable = 14,
  kDataLoss = 15, kUnauthenticated = 16,
};

enum class Reason : std::uint8_t {
  // what the caller gave
  kUsage, kConfig, kInvalidReference,
  // what the image is
  kInvalidDigest, kInvalidManifest, kInvalidConfig, kInvalidLayer, kUnsupported, kLimitExceeded,
  kDigestMismatch, kSizeMismatch,
  // what the registry said
  kNotFound, kRepositoryNotFound, kBlobNotFound, kNoMatch, kUnauthorized, kTokenError,
  kInvalidCredentials, kDenied, kRateLimited, kServerError, kUnexpectedStatus,
  // the way to it
  kDns, kRefused, kUnavailable, kConnectionReset, kUnexpectedEof, kProtocolError, kRange, kTimeout,
  kStalled, kTooManyRedirects, kInsecureRedirect, kUntrustedRealm,
  kTls, kTlsCa, kTlsName, kTlsExpired, kHttpOnHttps, kPlainHttp,
  // what the node decided
  kPolicy, kNever, kConflict,
  // local storage and machine
  kNoSpace, kIo, kCorrupt, kInUse,
  // us
  kSocket, kCanceled, kInternal,
  // what the node decided, again: the order is that of the numbers
  kSignature,
  // a file, folder, program, layer or mount of this machine that should be there
  kMissing,
};

// One row of the table.
struct ReasonInfo {
  Reason reason;
  std::string_view klass;   // "digest-mismatch": the error class of reliability-security 3.0
  std::string_view code;    // "E-DIGEST": stable, documented, never reused
  Code grpc;
  int exit_status;          // of the CLI
  bool transient;           // trying the same thing again may help
};

// Never fails: every enumerator has a row (a test walks them all).
const ReasonInfo& Describe(Reason reason);

// The inverse by stable code ("E-DIGEST"); nullptr when there is no such code. For clients of the API.
const ReasonInfo* FindByCode(std::string_view code);

}  // namespace berth::result
