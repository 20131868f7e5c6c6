// pull/layer_job.h: one layer on its way, shared by every pull that wants it. Private to pull/.
//
// Bytes flow once: kept blob, or partial and then network → SHA-256 → partial on disk → unpack worker. The blob's digest
// is computed here, in the daemon, over every byte; the worker's word counts only for what the blob unpacks to.
//
// Verdicts: bytes that do not hash to the digest are dropped, their host is reported and the blob is fetched once more
// from zero, from another host where there is one (C-26). When the worker refuses a layer, the rest of the blob is still
// hashed first: only bytes that are the promised ones can be called a bad layer. Bytes that are, and have another length than the
// manifest says, are the manifest's fault (WrongSize), also when the layer was here before.
// A layer that fills the disk asks for room (MakeRoom) and is tried once more where somebody made some.
// What stays on disk: a partial after a cut, a cancellation or a crash; nothing after a refused layer or a full disk, nor of the
// other layers of a pull that a full disk failed (DropPartial).
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "catalog/catalog.h"
#include "content/store.h"
#include "host/dir.h"
#include "layer/store.h"
#include "oci/oci.h"
#include "pull/observer.h"
#include "pull/progress.h"
#include "pull/turns.h"
#include "registry/client.h"
#include "task/single_flight.h"

namespace berth::pull {

enum class KeepBlobs : std::uint8_t;

// Where a job's progress is shown: row `index` of one pull; the pull's turn, which the job needs to go on after a wait.
struct Watcher {
  std::shared_ptr<Progress> progress;
  std::size_t index = 0;
  std::shared_ptr<Turns::Turn> turn;
};

// Of a layer whose `size` bytes have the right digest.
Error WrongSize(const oci::Descriptor& layer, std::uint64_t size);

class LayerJobs {
 public:
  struct Stores {
    content::Store& content;
    layer::LayerStore& layers;
    catalog::Catalog& catalog;
    const host::Dir& root;
  };
  struct Options {
    std::size_t slots;
    layer::Form form;
    KeepBlobs keep_blobs;
    double keep_blobs_free;
    std::function<Result<std::uint64_t>(const task::Context&, std::uint64_t)> free_space;
    Observer* observer;
  };
  struct Done {
    layer::LayerInfo info;
    std::uint64_t fetched = 0, resumed = 0;
    bool was_present = false;
    time::SteadyTime fetched_at{};  // its last byte; the epoch: nothing was fetched
  };
  using Flights = task::SingleFlight<digest::Digest, Done>;
  using Ticket = Flights::Ticket;

  // `pulls`: the turns of those who wait for its jobs.
  LayerJobs(Stores stores, Options options, Turns& pulls) : stores_(stores), options_(options), pulls_(pulls), slots_(options.slots) {}

  // Starts the layer or joins it. The repository is used only when this call starts it.
  Ticket Join(const task::Context& ctx, std::shared_ptr<registry::Repository> repository, const oci::Descriptor& layer,
              const digest::Digest& diff_id, Watcher watcher);

  // A pull that wanted it failed for want of space, and its ticket is gone: the partial goes, at once or with the job that was stopped;
  // one that another pull waits for goes on.
  void DropPartial(const digest::Digest& blob);

  // Has `wanted` bytes freed (PullerOptions::free_space); whether some were. One at a time: who comes second finds what the first made
  // free.
  bool MakeRoom(const task::Context& ctx, std::uint64_t wanted);

 private:
  // Passes one job's progress on to all who watch it, and brings late ones up to date.
  class Board {
   public:
    explicit Board(Turns& pulls) : work(pulls) {}
    Turns::Work work;
    std::atomic<bool> drop{false};  // the partial, when the job is stopped; until another pull joins
    void Join(Watcher watcher);
    void SetPhase(LayerPhase phase);
    void Resume(std::uint64_t from, const std::string& host);
    void AddBytes(std::uint64_t bytes);
    void ResetBytes();

   private:
    std::mutex mutex_;
    std::vector<Watcher> watchers_;
    LayerPhase phase_ = LayerPhase::kWaiting;
    std::uint64_t current_ = 0, resumed_ = 0;
    std::string host_;
  };
  struct Job;
  class Slot;
  Result<Done> Run(const task::Context& ctx, const Job& job);
  Result<std::optional<layer::LayerInfo>> FindReady(const digest::Digest& blob);
  Result<Done> Bring(const task::Context& ctx, const Job& job, Slot& slot);
  Result<Done> FromKeptBlob(const task::Context& ctx, const Job& job);
  Result<Done> FromNetwork(const task::Context& ctx, const Job& job, Slot& slot, bool* was_resumed);
  Result<Done> Settle(const task::Context& ctx, const Job& job, layer::Staging& staging);
  bool ShouldKeep() const;

  Stores stores_;
  Options options_;
  Turns& pulls_;
  Turns slots_;
  std::mutex room_mutex_;
  std::condition_variable_any room_changed_;
  bool making_room_ = false;  // guarded by room_mutex_
  std::atomic<std::uint64_t> rooms_{0};  // how often some was made
  std::mutex boards_mutex_;
  std::map<digest::Digest, std::weak_ptr<Board>> boards_;  // guarded by boards_mutex_: of the job under that digest
  Flights flights_{"berth-layer"};  // last: its threads use all of the above
};

}  // namespace berth::pull
