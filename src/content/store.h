// content/store.h: blobs by digest: documents for ever, compressed layers as a cache, partial downloads to resume.
//
//   blobs/<algorithm>/<hex>       complete; named after its verified digest
//   ingest/<algorithm>-<hex>      the first bytes of a blob that is still coming; unverified
//
// Documents (manifests, indexes, configs) are durable when Put() returns. A kept layer blob is a cache: Keep() does not
// sync it, so after a power cut it may be cut or zeroed; whoever reads a blob hashes it (ReadDocument does).
// A partial's length is all its state: whoever resumes it hashes it from its first byte, so nothing that a crash or a
// liar left in it can get further than that. The catalog says which blobs exist; this class trusts only the disk.
//
// Errors as in host/fd.h; kMissing, kDigestMismatch and kSizeMismatch for contents; kMissing with a next step when a folder
// was removed under us. Safe for concurrent use; one Ingest for one digest at a time (kConflict for a second one).
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bytes/bytes.h"
#include "digest/digest.h"
#include "host/dir.h"
#include "result/result.h"

namespace berth::content {

class Store;

// A blob being downloaded. Dropping it leaves the partial on disk for the next one. One thread at a time.
class Ingest {
 public:
  ~Ingest();
  Ingest(const Ingest&) = delete;
  Ingest& operator=(const Ingest&) = delete;

  // Bytes that are there: where the download goes on.
  std::uint64_t length() const { return length_; }
  Result<> Append(bytes::View chunk);
  // Reads what is there; 0 at its end.
  Result<std::size_t> ReadAt(std::uint64_t offset, bytes::MutableView room) const;
  // Drops the bytes and starts at zero: what was there is not the blob.
  Result<> Restart();
  // The caller hashed all of it (length() bytes) and it is the blob: becomes blobs/…, not synced.
  Result<> Keep();
  // The caller has no use for the compressed bytes (any more): removes the partial.
  Result<> Discard();

 private:
  friend class Store;
  Ingest(Store* store, digest::Digest digest, host::Fd file, std::uint64_t length)
      : store_(store), digest_(digest), file_(std::move(file)), length_(length) {}
  Store* store_;
  digest::Digest digest_;
  host::Fd file_;
  std::uint64_t length_;
  bool too_long_ = false;  // what the file holds, and none of it is counted
};

class Store {
 public:
  struct Item {
    digest::Digest digest;
    std::uint64_t bytes = 0;
    std::int64_t mtime_seconds = 0;
    std::uint64_t disk_bytes = 0;
  };

  // Makes blobs/ and ingest/ below `root`.
  static Result<std::unique_ptr<Store>> Open(const host::Dir& root);

  // Durable on return. The bytes must hash to `digest` (kDigestMismatch): a document is never stored unseen.
  Result<> Put(const digest::Digest& digest, std::string_view document);
  // The verified contents. kMissing, kDigestMismatch (damaged: ForgetDamaged), kLimitExceeded.
  Result<std::string> ReadDocument(const digest::Digest& digest, std::size_t limit) const;
  // For reading; contents unverified.
  Result<host::Fd> Open(const digest::Digest& digest) const;
  Result<std::optional<std::uint64_t>> Size(const digest::Digest& digest) const;
  Result<std::optional<std::uint64_t>> DiskBytes(const digest::Digest& digest) const;  // what it takes
  // Hashes the whole file: kMissing, kDigestMismatch.
  Result<> Verify(const digest::Digest& digest) const;
  Result<bool> Remove(const digest::Digest& digest);
  Result<std::vector<Item>> List() const;

  // Continues the partial of `digest`, or begins one. `size` is a claim: a partial that is longer is dropped by the first
  // Append(), when somebody served bytes for it, and until then reads as empty.
  Result<std::unique_ptr<Ingest>> Resume(const digest::Digest& digest, std::uint64_t size);
  Result<std::vector<Item>> Partials() const;
  bool InUse(const digest::Digest& partial) const;  // somebody is writing it
  // False when it is in use or not there.
  Result<bool> RemovePartial(const digest::Digest& digest);
  // Removes what no name of ours explains and temporary files of a crash.
  Result<std::size_t> Recover();

 private:
  friend class Ingest;
  Store() = default;
  host::Dir blobs_, ingest_;
  mutable std::mutex mutex_;
  std::set<digest::Digest> ingesting_;  // guarded by mutex_
};

}  // namespace berth::content
