// catalog/catalog.h: what the store holds and what it is called: images, names, layers, blobs, pulls, mounts, journal.
//
// One SQLite database (catalog.db) beside the files it describes. A row is written only after the file it names is
// durable, and a name becomes visible in the one transaction that also writes its images (PublishImage): readers see
// the old state or the new one. Removal goes the other way round: rows first, files after.
//
// Vocabulary
//   target     what a name points to: the digest of an index or of a manifest
//   image      one platform's manifest with its config and layers; its id for people and CRI is the config digest
//   name       "docker.io/library/busybox:1" (explicit), or "repo@sha256:…" that came along with a tag (implied)
//   document   a manifest, index or config, kept in blobs/ as long as a name or an image needs it
//   variant    the suffix of a layer's chain-specific metadata (layer/store.h), "" for almost every layer
//   pin        keeps an image (by its id, so all its manifests) from removal until it is lifted or the removal is forced; it
//              outlives damage: the image that is pulled again is pinned
//
// What removes or forgets works on a full disk, too: where its transaction finds no space, the reserve (catalog/reserve.h) is released
// and it is tried once more. Pulls get none of it.
//
// Errors: those of db/ (kNoSpace, kCorrupt, kIo), kInUse for images that are mounted or pinned. Commits are durable.
// Safe for concurrent use: one connection writes, one reads (never blocked by a commit).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/reserve.h"
#include "db/database.h"
#include "digest/digest.h"
#include "result/result.h"
#include "time/clock.h"

namespace berth::catalog {

using digest::Digest;

struct LayerRecord {
  Digest blob;
  Digest diff_id;                        // computed by us, never a claim
  std::uint64_t compressed_bytes = 0;
  std::uint64_t uncompressed_bytes = 0;  // of the tar stream
  std::uint64_t stored_bytes = 0;        // of its files in layers/
  std::uint64_t entries = 0;
  time::WallTime added{};
};

enum class BlobKind : std::uint8_t { kDocument, kLayer };
struct BlobRecord {
  Digest digest;
  std::uint64_t bytes = 0;
  BlobKind kind = BlobKind::kDocument;
};

struct ImageLayer {
  Digest blob, diff_id;
  std::string variant;
  friend bool operator==(const ImageLayer&, const ImageLayer&) = default;
};

// Who keeps an image, and why. Texts are a person's: Quoted() in messages.
struct Pin {
  std::string owner, reason;  // either may be ""
  time::WallTime since{};
  std::string Text() const;    // `pinned by "alice": "audit"`
};

struct ImageRecord {
  Digest manifest;
  Digest config;
  std::string platform;            // "linux/arm64/v8"
  std::uint64_t size = 0;          // manifest, config and compressed layers: what CRI reports
  std::uint64_t unpacked_bytes = 0;  // of its layers as stored; read only
  time::WallTime pulled{};
  std::vector<ImageLayer> layers;  // bottom first
  std::vector<std::string> names;  // read only; explicit ones first
  std::optional<Pin> pin;          // read only
  time::WallTime last_used{};      // read only; of its id, as garbage collection saw it; the epoch: never
};

struct NameRecord {
  std::string name;
  Digest target;
  std::string media_type;            // of the target
  bool implied = false;
  time::WallTime updated{};
  std::vector<Digest> images;        // manifests, best platform first
};

// What the verification of an image found (verify/verifier.h); kept as long as a name points to its target.
struct VerdictRecord {
  std::string subject;  // what it is a verdict on
  Digest target;
  std::string record;   // JSON
};

// All that a finished pull makes visible, in one transaction.
struct Publication {
  std::string name;                          // explicit name
  std::optional<std::string> implied_name;   // repository@target
  Digest target;
  std::string media_type;
  std::vector<BlobRecord> documents;         // target, nested indexes, manifests, configs: all of them
  std::vector<ImageRecord> images;           // best platform first
  std::optional<std::int64_t> pull;          // the intent to close (BeginPull)
  std::string journal;                       // the pull's record, JSON, for explain
  std::optional<VerdictRecord> verdict = {};
};

struct PullIntent {
  std::int64_t id = 0;
  std::string name;
  time::WallTime started{};
};

struct JournalEntry {
  std::int64_t id = 0;
  time::WallTime at{};
  std::string kind;   // "pulled", "failed", "removed"
  std::string image;
  std::string record; // JSON
};

// Beyond either, the oldest entries go.
struct JournalLimits {
  std::size_t entries = 10'000;
  time::Duration age = std::chrono::hours(168);  // 0: none
};

struct MountRecord {
  std::string target;  // absolute path
  Digest manifest;
  bool writable = false;
};

// What a removal leaves without an owner: candidates for deletion from the disk.
struct Unreferenced {
  std::vector<Digest> layers;     // rows of layers no image has
  std::vector<BlobRecord> blobs;  // documents no name or image needs; kept compressed blobs of layers nobody has
};

struct Usage {
  std::uint64_t images = 0, names = 0, layers = 0;
  std::uint64_t layer_bytes = 0;       // stored, each layer once
  std::uint64_t shared_bytes = 0;      // of layers that more than one image has
  std::uint64_t compressed_bytes = 0;  // kept compressed blobs
  std::uint64_t document_bytes = 0;
  std::uint64_t unreferenced_bytes = 0;  // layers that no image has (yet)
  std::uint64_t entries = 0;             // of all layers: files, where layers are trees
  std::uint64_t blobs = 0;               // documents and kept compressed blobs
};

// `pinned`: also what is pinned; its pin goes with the image. `record`: why, for the journal (JSON).
struct Removal {
  bool pinned = false;
  std::string_view record = "{}";
};

class Catalog {
 public:
  // `folder` holds catalog.db and the reserve of so many bytes (0: none), which is also there for a start on a full disk.
  static Result<std::unique_ptr<Catalog>> Open(const std::string& folder, const time::Clock& clock, JournalLimits journal = {},
                                               std::uint64_t reserve_bytes = 0);
  ~Catalog();

  // --- pulls. An intent is on record before the first byte is asked for and goes in PublishImage or EndPull.
  Result<std::int64_t> BeginPull(std::string_view name);
  Result<> EndPull(std::int64_t id, std::string_view journal_record);
  // What became of a pull that fetched nothing, and so had no intent: `kind` as in JournalEntry.
  Result<> NotePull(std::string_view kind, std::string_view name, std::string_view journal_record);
  Result<std::vector<PullIntent>> OpenPulls();
  Result<> AddBlob(const BlobRecord& blob);
  Result<> AddLayer(const LayerRecord& layer);
  Result<> PublishImage(const Publication& publication);

  // Replaces what was kept on that subject.
  Result<> KeepVerdict(const VerdictRecord& verdict);

  // --- questions
  // Another number after every change of images, names, layers or blobs. Who keeps an answer takes the number before he
  // asks: as long as it is still that, the answer is true, also for what this process has just been told is done.
  std::uint64_t version() const { return version_.load(); }
  Result<std::optional<VerdictRecord>> FindVerdict(std::string_view subject);
  Result<std::optional<NameRecord>> FindName(std::string_view name);
  Result<std::vector<NameRecord>> ListNames();
  Result<std::optional<ImageRecord>> FindImage(const Digest& manifest);
  // By the first hex digits of the config or manifest digest (at least 4) or all of them, with or without "sha256:", "sha384:" or
  // "sha512:" in front. Several: all of them.
  Result<std::vector<ImageRecord>> FindImagesById(std::string_view id);
  Result<std::vector<ImageRecord>> ListImages();
  Result<std::optional<LayerRecord>> FindLayer(const Digest& blob);
  Result<std::vector<LayerRecord>> ListLayers();
  Result<std::vector<BlobRecord>> ListBlobs();
  Result<bool> HasBlob(const Digest& digest);
  Result<std::map<std::string, std::vector<Digest>>> ListDocuments();  // by name, those that go with it
  Result<Usage> Measure();

  // --- removal: rows first; the caller deletes the files of what becomes unreferenced
  // Takes a name away; a repository's implied name of its target goes with the last explicit one in that repository, and
  // then the images no name has.
  // kInUse when that would remove an image that is mounted or pinned. False: there is no such name.
  Result<bool> RemoveName(std::string_view name, const Removal& how = {});
  // Takes an image and every name that has no other image. kInUse when mounted or pinned.
  Result<bool> RemoveImage(const Digest& manifest, const Removal& how = {});
  // Objects no image or name needs and that were added before `before` (a crash or a failed pull left them), or in what
  // is the future by now (the clock was set back).
  Result<Unreferenced> FindUnreferenced(time::WallTime before);
  // Forgets them, unless something came to need them since; returns those that were forgotten.
  Result<Unreferenced> Forget(const Unreferenced& objects);
  // The file of a document or layer was found missing or damaged: its row goes, and every image and name that cannot do
  // without it: absent beats half there, and the next pull fetches what is missing.
  Result<> ForgetDamaged(const Digest& object);
  // The same for a kept compressed blob, which nobody depends on.
  Result<> ForgetBlob(const Digest& blob);
  // Names of the images that need a layer or document.
  Result<std::vector<std::string>> NamesThatNeed(const Digest& object);

  // --- pins and use, by image id. The image need not be here.
  Result<> SetPin(const Digest& config, const Pin& pin);  // replaces an earlier one
  Result<bool> RemovePin(const Digest& config);
  // Of images that are here; a later time stays.
  Result<> MarkUsed(const std::vector<Digest>& configs, time::WallTime at);

  // --- mounts
  // kNotFound: there is no such image (any more).
  Result<> AddMount(const MountRecord& mount);
  Result<bool> RemoveMount(std::string_view target);
  Result<std::vector<MountRecord>> ListMounts();

  // --- journal
  Result<std::vector<JournalEntry>> Journal(std::size_t newest);
  Result<std::optional<JournalEntry>> LastOf(std::string_view image, std::string_view kind = "");  // "": of any kind
  // By name, the host that served the last pull on record; names whose pulls the journal has forgotten are not there.
  Result<std::map<std::string, std::string>> Sources();
  // Removes what is too old by now; what is added does that, too.
  Result<> TrimJournal();

  // --- the reserve: filled when files are gone
  void FillReserve() { reserve_->Fill(); }
  // On a full disk once more, with the space of the reserve. What removes does so by itself; for other rows when nothing goes on
  // without them.
  template <class Work>
  auto WithReserve(const Work& work) {
    auto done = work();
    if (!done && done.error().reason() == Reason::kNoSpace && reserve_->Release()) done = work();
    return done;
  }

  // Not a single row, and none of a layer ever: nothing was ever pulled, as far as it knows.
  Result<bool> Empty();
  // "ok", or what SQLite's quick check finds.
  Result<std::string> Check();

 private:
  Catalog(std::unique_ptr<db::Database> writer, std::unique_ptr<db::Database> reader, const time::Clock& clock, JournalLimits journal,
          std::unique_ptr<Reserve> reserve);
  Result<bool> RemoveNameOnce(std::string_view name, const Removal& how);
  Result<bool> RemoveImageOnce(const Digest& manifest, const Removal& how);
  Result<Unreferenced> ForgetOnce(const Unreferenced& objects);
  Result<> ForgetDamagedOnce(const Digest& object);
  Result<> DropOldEntries();
  Result<> Append(std::string_view kind, std::string_view image, std::string_view record);
  Result<> DropOrphanImages(const Removal& how);
  // Declared after the lock and before the transaction: the number changes after the commit, before anybody is told.
  struct Change {
    std::atomic<std::uint64_t>& version;
    ~Change() { ++version; }
  };
  Result<> WriteVerdict(const VerdictRecord& verdict);
  Result<> DropOrphanVerdicts();
  Result<> Refuse(std::string_view which, std::string_view manifest, const Removal& how);
  Result<> DropLoose();

  const time::Clock& clock_;
  const JournalLimits journal_limits_;
  const std::unique_ptr<Reserve> reserve_;
  std::atomic<std::uint64_t> version_{1};
  std::mutex writer_mutex_, reader_mutex_;
  std::unique_ptr<db::Database> writer_;  // guarded by writer_mutex_
  bool marked_ = false;                   // guarded by writer_mutex_: it is known that it bears the mark of one that had layers
  std::unique_ptr<db::Database> reader_;  // guarded by reader_mutex_
};

}  // namespace berth::catalog
