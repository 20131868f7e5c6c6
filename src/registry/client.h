// registry/client.h: reads images from OCI registries and their mirrors.
//
//   registry::Client client(http, clock, random, options);            // one per daemon
//   auto repo = client.Open(reference, std::move(credentials), sink); // one per pull
//   ASSIGN_OR_RETURN(auto resolved, repo->Resolve(ctx));              // tag -> digest: one HEAD
//   ASSIGN_OR_RETURN(auto manifest, repo->FetchManifest(ctx, resolved.digest.ToString(), resolved.media_type));
//   ASSIGN_OR_RETURN(auto blob, repo->OpenBlob(ctx, layer, 0));       // read it, hash it
//
// What it takes care of: mirrors and their order, Basic and Bearer authentication, several credentials in turn,
// tokens that expire in the middle, redirects to storage and signed URLs that expire, Range resume, retries with
// back-off, 429 and Retry-After, dead and lying hosts. What it leaves to the caller: hashing blobs, and what to do
// with the content.
//
// Rules (runtime-registry 4, reliability-security 3.c, 5.6, 5.12):
// - Only digests are trusted. Bytes asked for by digest are checked before they are returned; a host that gives other
//   bytes is left for the next one and not asked for that digest again for 10 minutes.
// - A credential is shown to the registry it was given for, over https or to a host configured as plain, never to a
//   mirror (unless the mirror is the registry's own host), never after a redirect to another origin.
// - Every host is tried once, then again in rounds with back-off: at most `rounds` times each; a host that could not
//   be reached is passed over for 60 s, by all pulls, while another is left.
// - Errors: of all that was tried, the cause the user can best act on: TLS, network, rate limit, platform, access,
//   not found (product 4.3). Next() says what to do.
// - Waiting for Retry-After holds no lock and no connection, nor what a Standby gives back. A host that limits our rate,
//   or fails and says for how long, is asked again by nobody of the same pull before that time (P13).
// - While further hosts are left, a host has `mirror_connect` to be connected to (P14).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bytes/bytes.h"
#include "credentials/credential.h"
#include "digest/digest.h"
#include "http/client.h"
#include "oci/oci.h"
#include "reference/reference.h"
#include "registry/attempt.h"
#include "registry/hosts.h"
#include "registry/standby.h"
#include "result/result.h"
#include "task/context.h"
#include "time/clock.h"

namespace berth::registry {

struct RetryPolicy {
  int rounds = 5;                                      // tries of each host for one document or blob
  time::Duration base = std::chrono::milliseconds(500);  // first wait; doubles, with jitter down to one half
  time::Duration cap = std::chrono::seconds(30);
  time::Duration retry_after_cap = std::chrono::seconds(60);
  // Progress of a blob that gives all its tries back; a sixteenth of it gives one back and keeps the host.
  std::uint64_t refill_bytes = 1u << 20;
  time::Duration dead_for = std::chrono::seconds(60);
  time::Duration liar_for = std::chrono::minutes(10);
};

// The node's credentials for a mirror ("mirror.example:5000/library/busybox"), in the order in which they are tried.
using MirrorCredentials = std::function<std::vector<credentials::Credential>(const std::string& repository)>;

struct ClientOptions {
  HostsOptions hosts;
  // What a caller gives for the registry is never shown to a mirror. Asked at most once per mirror and Repository, from any thread.
  MirrorCredentials mirror_credentials;
  std::vector<std::string> trusted_realms;  // registry/challenge.h CheckRealm
  RetryPolicy retry;
  std::size_t document_bytes = 4u << 20;    // manifest, index, config
  std::size_t token_body_bytes = 1u << 20;
  std::size_t token_bytes = 64u << 10;
  std::size_t error_body_bytes = 64u << 10;
  int redirects = 5;
  int tokens_per_credential = 2;            // refused in a row before the credential counts as refused
  http::Limits http;                        // connect, TLS, header and stall limits; hosts.toml may shorten the dial
  // Instead of http.connect for every host but the last; three times as long for all of them together, and never longer.
  time::Duration mirror_connect = std::chrono::seconds(3);
  std::vector<http::ResolveOverride> overrides;
};

struct Resolved {
  digest::Digest digest;
  std::string media_type;  // without parameters; "" when the registry did not say
  std::uint64_t size = 0;  // 0: unknown
  std::string host;        // origin that answered
};

struct FetchedManifest {
  std::string bytes;
  digest::Digest digest;   // computed over `bytes`, in the algorithm asked for
  std::string media_type;  // as the registry called it, without parameters; "" when it did not say or said text/plain
  std::string host;
};

// The bytes of one blob from `offset` to its end. One thread at a time. Destroying it early closes the connection.
class BlobStream : public bytes::Source {
 public:
  // At most descriptor.size - offset bytes in all, then 0. kUnexpectedEof, kSizeMismatch, kRange, … when the bytes
  // could not be had from any host within the budget. Reads ahead of nothing: a slow reader slows the network down.
  Result<std::size_t> Read(bytes::MutableView room) override = 0;
  virtual const std::string& host() const = 0;           // that serves now
  virtual std::uint64_t bytes_received() const = 0;      // off the network, discarded ones included
  virtual std::uint64_t resumed_from() const = 0;        // offset of the last resumption; 0: never resumed
  // A host that gave bytes of this blob was reported as lying: this stream starts at zero whatever offset was asked
  // for, and the caller must drop what it has. Known when OpenBlob returns; does not change afterwards. (Hosts without
  // Range do not cause it: the stream then takes the blob from the start and skips what the caller has.)
  virtual bool restarted() const = 0;
};

inline constexpr int kReferrerPages = 10;

// One pull's view of one repository. Safe for use by several threads at once.
class Repository {
 public:
  virtual ~Repository() = default;

  // The digest the reference stands for now: HEAD, and GET where HEAD does not do (405, 400, no digest, no length).
  // With a digest in the reference, asks whether it exists. Does not compare contents: FetchManifest does. A registry
  // whose HEAD lies shows as kNotFound or kDigestMismatch there; FetchManifest by tag then settles what the tag is.
  virtual Result<Resolved> Resolve(const task::Context& ctx) = 0;

  // `tag_or_digest` as in a reference ("v1", "sha256:…"); `expected`: a media type, or "" for any image document.
  // kDigestMismatch, kLimitExceeded (over document_bytes), kInvalidManifest ("not a registry answer (text/html)").
  virtual Result<FetchedManifest> FetchManifest(const task::Context& ctx, std::string_view tag_or_digest,
                                                std::string_view expected) = 0;

  // A config, or a manifest listed in an index: whole, size and digest verified.
  virtual Result<std::string> FetchDocument(const task::Context& ctx, const oci::Descriptor& descriptor) = 0;

  virtual Result<std::unique_ptr<BlobStream>> OpenBlob(const task::Context& ctx, const oci::Descriptor& descriptor,
                                                       std::uint64_t offset) = 0;

  // What says that it belongs to `subject`: the referrers API, page by page, or, where the registry has none, the index under the
  // fall-back tag (OCI distribution 1.1). Claims of the registry: nothing about the entries is verified. Empty: there are none.
  // kLimitExceeded beyond kReferrerPages, kProtocolError when a page leads to another place, kInvalidManifest for no index.
  virtual Result<std::vector<oci::Descriptor>> Referrers(const task::Context& ctx, const digest::Digest& subject) = 0;

  // The bytes of `digest` that came from `host` (BlobStream::host) did not hash to it: no pull asks that host for it
  // for 10 minutes, unless there is no other; the next OpenBlob ignores its offset and starts at zero.
  virtual void ReportMismatch(const digest::Digest& digest, const std::string& host) = 0;

  // The same pull's view of the same repository, whose waits give back what `standby` holds; it must outlive the view and its
  // blobs. All views share what is known.
  virtual std::unique_ptr<Repository> WithStandby(Standby& standby) const = 0;

  // The credential that worked; nullptr before that and when none was needed. Valid as long as the Repository.
  virtual const credentials::Credential* used() const = 0;
};

struct Engine;

class Client {
 public:
  // `random` returns a uniform number in [0, 1): jitter. All references must outlive the Client.
  Client(http::Client& http, const time::Clock& clock, std::function<double()> random, ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // `credentials` in the order in which they are to be tried, each once it is refused; an empty list: anonymous. When
  // the list is not empty no anonymous attempt is made after they were refused (kubelet-images 6.7).
  // Never fails: hosts.toml is read by the first request. The Repository must not outlive the Client.
  std::unique_ptr<Repository> Open(const reference::Reference& reference,
                                   std::vector<credentials::Credential> credentials, AttemptSink sink = nullptr);

 private:
  std::unique_ptr<Engine> engine_;
};

}  // namespace berth::registry
