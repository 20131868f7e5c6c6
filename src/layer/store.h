// layer/store.h: the unpacked layers of this machine, keyed by the digest of their blob.
//
//   layers/<hex>.data, <hex>.meta      EROFS form: contents; metadata and descriptor (descriptor.h)
//   layers/<hex>.tree/, <hex>.meta     tree form
//   layers/<hex>@<16 hex>.meta         variant of a layer on one chain of lower blobs (fit.h)
//   tmp/<random>.*                     unfinished; emptied by RecoverTmp() at start
// <hex> is of a sha256; digests of other algorithms are "<algorithm>-<hex>".
//
// What has its name in layers/ is complete, verified and durable: both files are synced before they are renamed (data
// first, .meta last: a layer exists when its .meta does), the directory after. A crash leaves files in tmp/ or a .data
// without a .meta, which RecoverTmp() removes. The store keeps no state in memory: two objects on one folder agree.
// Layers are immutable; Remove() of one that is mounted is fine (the kernel holds the files), the caller decides.
// Errors as in host/fd.h and of the worker. Threads: all calls may be concurrent; a Staging belongs to one thread.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bytes/bytes.h"
#include "digest/digest.h"
#include "host/dir.h"
#include "layer/descriptor.h"
#include "layer/report.h"
#include "layer/window_budget.h"
#include "layer/worker.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::erofs {
struct Tree;
}

namespace berth::layer {

// All that the descriptor says; `disk_bytes` is what the files take.
struct LayerInfo {
  UnpackReport report;
  std::uint64_t disk_bytes = 0;
  std::vector<std::string> variants;  // names, sorted; filled by List
};

// How a layer is mounted. Paths are absolute. kErofs: meta with data as its devices, in order. kTree: meta is a directory.
struct MountSource {
  Form form = Form::kErofs;
  std::string meta;
  std::vector<std::string> data;
};

enum class Depth : std::uint8_t {
  kDescriptor,  // files there, lengths right, descriptor and superblock whole
  kMetadata,    // and the EROFS metadata whole and well-formed
  kData,        // and the CRC of every block of contents; of a tree, all that its metadata say of it, and each file's CRC
};

struct StoreOptions {
  std::string worker;  // absolute path of berth-unpack
  UnpackOptions unpack;  // limits and device policy; blob, algorithm and form are set for each layer
  // Windows of zstd that all workers together may have. Each has what the frames of its blob say, up to unpack.codec.zstd_window_bytes;
  // who wants what is not free waits (window_budget.h), before the worker gets the frame's header.
  std::uint64_t zstd_budget_bytes = 256ull << 20;
};

class Staging;

// Of what the store says of a layer: its bytes are damaged, or the disk does not give them. Anything else is this machine's trouble
// (no descriptor, no memory), and says nothing of it.
bool IsLost(const Error& error);

class LayerStore {
 public:
  // `path` is absolute, the folder exists; layers/ and tmp/ are made (0700).
  static Result<std::unique_ptr<LayerStore>> Open(const std::string& path, StoreOptions options);

  // Starts a worker that waits for the blob's bytes. `ctx` holds for the whole life of the Staging.
  Result<std::unique_ptr<Staging>> Stage(const task::Context& ctx, const digest::Digest& blob, Form form,
                                         digest::Algorithm diff_algorithm = digest::Algorithm::kSha256) const;

  // Looks at what a few microseconds can tell: the lengths of its files, its descriptor, the superblock of its image.
  // kCorrupt, also of what the disk does not give (an I/O error): one bad sector costs one layer. What lies behind that is Verify()'s.
  Result<std::optional<LayerInfo>> Find(const digest::Digest& blob) const;
  // Whether it can be mounted, as itself or as `variant`, as far as Find() can tell, which looks at the variant, too. Damage
  // is absence: the pull that follows makes it whole.
  Result<bool> Has(const digest::Digest& blob, std::string_view variant = {}) const;
  // Every layer whose descriptor can be read; `damaged`, if given, gets the names of .meta files that cannot, or
  // whose contents the disk does not give.
  Result<std::vector<LayerInfo>> List(std::vector<std::string>* damaged = nullptr) const;
  // What each layer's files take, variants and all; of `only` these when given. In tree form every file is looked at.
  Result<std::map<digest::Digest, std::uint64_t>> DiskBytes(const std::set<digest::Digest>* only = nullptr) const;
  Result<std::uint64_t> VariantBytes(const digest::Digest& blob, std::string_view variant) const;  // what it takes; 0: not there
  // The layer and all its variants; false when there was none. The .meta goes first.
  Result<bool> Remove(const task::Context& ctx, const digest::Digest& blob) const;
  Result<bool> RemoveVariant(const digest::Digest& blob, std::string_view variant) const;
  // The same for a layer that is about to be made anew as `form`: its variants that are whole stay, and are right again then, as
  // they say where in its contents (the same, from the same blob) things are. Those that are damaged go, and all for a tree; those that
  // an older version wrote, with contents laid out in another way, go when the layer comes (Staging::Commit).
  Result<bool> RemoveDamaged(const task::Context& ctx, const digest::Digest& blob, Form form) const;
  // kMissing, or kCorrupt saying which file and where. Of variants, those that are on the disk.
  Result<> Verify(const task::Context& ctx, const digest::Digest& blob, Depth depth) const;

  Result<> VerifyVariant(const digest::Digest& blob, std::string_view variant, Depth depth) const;

  // For the layers of one image, bottom first: the name of the variant that each is to be mounted by, "" for the layer
  // itself. Makes the variants that are missing (durable on return). A name depends on the blobs up to the layer only.
  // kInvalidLayer: a layer refers to files that no layer below it has.
  // A layer in tree form has no variants: kUnsupported where it would need one, unless that were for the times of implied
  // directories alone (they stay 0).
  Result<std::vector<std::string>> FitToImage(const task::Context& ctx, std::span<const digest::Digest> blobs) const;
  Result<MountSource> Sources(const digest::Digest& blob, std::string_view variant = {}) const;

  // Removes what a crash left. Call before anything else, with the store's lock held. Returns how many.
  Result<std::size_t> RecoverTmp() const;
  const host::Dir& layers() const { return layers_; }
  const std::string& path() const { return path_; }

 private:
  friend class Staging;
  Result<bool> RemoveFiles(const task::Context& ctx, const digest::Digest& blob, std::optional<Form> next) const;
  // Removes variants of a layer that is about to come, `meta`, whose files are elsewhere in its contents.
  Result<> DropMisplaced(const digest::Digest& blob, int meta) const;
  // `tree`, if given, gets what the image describes, where the depth has it read.
  Result<> VerifyMeta(const digest::Digest& blob, std::string_view variant, Depth depth, Descriptor& descriptor,
                      erofs::Tree* tree = nullptr) const;
  LayerStore(std::string path, StoreOptions options);
  std::string path_;
  StoreOptions options_;
  host::Dir layers_, tmp_;
  mutable std::atomic<int> at_work_ = 0;  // workers that still take input
  mutable WindowBudget windows_;
};

// A layer on its way. Dropped before Commit(): the worker is killed, the files are unlinked.
class Staging final : public bytes::Sink {
 public:
  ~Staging() override;
  // Compressed bytes in order, as with Unpack. An error is the layer's verdict, it need not wait for Finish.
  Result<bytes::MutableView> Room();
  Result<> HandOver(std::size_t count);
  // The two, for bytes that lie elsewhere.
  Result<> Write(bytes::View chunk) override;
  // The blob is complete and its digest verified by the caller. Compares the diff ID (kDigestMismatch) if one is
  // expected, syncs both files. Nothing is visible yet.
  Result<LayerInfo> Finish(const std::optional<digest::Digest>& expected_diff_id);
  // Makes it visible and durable. A layer that is there already stays and is returned instead; a damaged one makes room
  // (RemoveDamaged).
  Result<LayerInfo> Commit();
  pid_t worker_pid() const;
  // Of zstd: memory that other layers may wait for.
  bool holds_window() const;

 private:
  friend class LayerStore;
  struct State;
  explicit Staging(std::unique_ptr<State> state);
  Result<> Admit(bytes::View next);
  std::unique_ptr<State> state_;
};

}  // namespace berth::layer
