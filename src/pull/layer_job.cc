#include "pull/layer_job.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "host/fault.h"
#include "log/log.h"
#include "pull/puller.h"

namespace berth::pull {
namespace {

using digest::Digest;

constexpr std::size_t kChunkBytes = 256u << 10;

// The worker's judgement of the bytes, as opposed to trouble of this machine.
bool IsVerdict(const Error& error) {
  const Reason r = error.reason();
  return r == Reason::kInvalidLayer || r == Reason::kLimitExceeded || r == Reason::kUnsupported;
}

// Bytes that are not the blob's.
bool IsDamage(const Error& error) { return error.reason() == Reason::kDigestMismatch && error.transient(); }

Error Mismatch(const oci::Descriptor& layer, const Digest& got) {
  return Error(Reason::kDigestMismatch, "the bytes hash to " + got.ToString() + ", the manifest says " + layer.digest.ToString())
      .Next("the registry or a mirror serves wrong bytes: check it, then pull again");
}

// A kept blob is a cache: what the disk does not give of it is as good as wrong.
Error Unread(Error error) {
  return error.reason() == Reason::kIo ? Error(Reason::kDigestMismatch, "the kept blob cannot be read: " + error.message()) : error;
}

// Bytes on their way: in the worker's memory as long as it wants them, hashed where they lie.
class Stream {
 public:
  Stream(const oci::Descriptor& layer, std::unique_ptr<layer::Staging> staging)
      : hasher_(layer.digest.algorithm()), staging_(std::move(staging)) {}

  // Where the next bytes go.
  Result<bytes::MutableView> Room() {
    if (!refused_) {
      auto room = staging_->Room();
      if (room || !IsVerdict(room.error())) return room;
      refused_ = room.error();
    }
    // The worker wants no more; the blob is still fetched and judged.
    if (!own_) own_ = std::make_unique<std::byte[]>(kChunkBytes);
    return bytes::MutableView(own_.get(), kChunkBytes);
  }
  // The beginning of Room(), which stays readable until the next Room().
  Result<> Take(bytes::View chunk) {
    if (!refused_) {
      if (auto given = staging_->HandOver(chunk.size()); !given) {
        if (!IsVerdict(given.error())) return given;
        refused_ = given.error();
      }
    }
    hasher_.Update(chunk);
    return {};
  }
  Digest Finish() { return hasher_.Finish(); }
  const std::optional<Error>& refused() const { return refused_; }
  layer::Staging& staging() { return *staging_; }

 private:
  digest::Hasher hasher_;
  std::unique_ptr<layer::Staging> staging_;
  std::unique_ptr<std::byte[]> own_;
  std::optional<Error> refused_;
};

}  // namespace

Error WrongSize(const oci::Descriptor& layer, std::uint64_t size) {
  return Error(Reason::kSizeMismatch, "the blob has " + std::to_string(size) + " bytes, the manifest says " + std::to_string(layer.size))
      .Retryable(false)
      .Next("the image's manifest is wrong: build and push it again");
}

struct LayerJobs::Job {
  std::shared_ptr<registry::Repository> repository;
  oci::Descriptor layer;
  Digest diff_id;
  std::shared_ptr<Board> board;
};

// A layer's place among those that stream, which it has for its life, but for waits of a registry.
class LayerJobs::Slot final : public registry::Standby {
 public:
  Slot(Turns& slots, Board& board) : turn_(slots), board_(board) {}
  Result<> Take(const task::Context& ctx) { return turn_.Begin(ctx); }

  void GiveBack(time::Duration wait, const std::string& why) override {
    if (idle_worker != nullptr) idle_worker->reset();
    board_.SetPhase(LayerPhase::kWaiting);
    turn_.GiveBack(wait, why);
    board_.work.GiveBack(wait, why);
  }
  // The pull's turn first: who has a place among the layers never waits for one among the pulls. Those who have the places may wait
  // for the memory of a zstd window: who has some takes no place from them.
  Result<> TakeAgain(const task::Context& ctx) override {
    if (worker != nullptr && worker->holds_window()) {
      board_.work.GoOnAtOnce();
      turn_.GoOnAtOnce();
    } else {
      RETURN_IF_ERROR(board_.work.TakeAgain(ctx));
      RETURN_IF_ERROR(turn_.TakeAgain(ctx));
    }
    board_.SetPhase(LayerPhase::kFetching);
    return {};
  }

  // A worker that has got nothing yet goes when the layer has to wait. One in the middle of a layer stays, with its memory:
  // what it has unpacked would have to be unpacked again.
  std::unique_ptr<layer::Staging>* idle_worker = nullptr;
  const layer::Staging* worker = nullptr;  // in the middle of the layer

 private:
  Turns::Turn turn_;
  Board& board_;
};

// --- Board

void LayerJobs::Board::Join(Watcher watcher) {
  work.Join(std::move(watcher.turn));
  drop = false;  // that was another pull's wish
  std::lock_guard lock(mutex_);
  watcher.progress->Resume(watcher.index, resumed_, host_);
  if (current_ > 0) watcher.progress->AddBytes(watcher.index, current_);
  watcher.progress->SetLayer(watcher.index, phase_);
  watchers_.push_back(std::move(watcher));
}
void LayerJobs::Board::SetPhase(LayerPhase phase) {
  std::lock_guard lock(mutex_);
  phase_ = phase;
  for (auto& w : watchers_) w.progress->SetLayer(w.index, phase);
}
void LayerJobs::Board::Resume(std::uint64_t from, const std::string& host) {
  std::lock_guard lock(mutex_);
  resumed_ = from;
  host_ = host;
  for (auto& w : watchers_) w.progress->Resume(w.index, from, host);
}
void LayerJobs::Board::AddBytes(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  current_ += bytes;
  for (auto& w : watchers_) w.progress->AddBytes(w.index, bytes);
}
void LayerJobs::Board::ResetBytes() {
  std::lock_guard lock(mutex_);
  current_ = resumed_ = 0;
  for (auto& w : watchers_) w.progress->ResetBytes(w.index);
}

// --- LayerJobs

LayerJobs::Ticket LayerJobs::Join(const task::Context& ctx, std::shared_ptr<registry::Repository> repository, const oci::Descriptor& layer,
                                  const Digest& diff_id, Watcher watcher) {
  auto board = std::make_shared<Board>(pulls_);
  std::lock_guard lock(boards_mutex_);
  auto ticket = flights_.Join(layer.digest, ctx, [this, job = Job{std::move(repository), layer, diff_id, board}](const task::Context& own) {
    return Run(own, job);
  });
  if (ticket.started()) {
    std::erase_if(boards_, [](const auto& entry) { return entry.second.expired(); });
    boards_[layer.digest] = board;
  } else if (auto shared = boards_[layer.digest].lock()) {
    board = std::move(shared);
  }
  board->Join(std::move(watcher));
  return ticket;
}

// First the mark, then the look: whoever still writes it lets go of it before he looks at the mark.
void LayerJobs::DropPartial(const Digest& blob) {
  {
    std::lock_guard lock(boards_mutex_);
    if (const auto at = boards_.find(blob); at != boards_.end())
      if (const auto board = at->second.lock()) board->drop = true;
  }
  if (const auto removed = stores_.content.RemovePartial(blob); !removed)
    log::Warning("a partial download could not be removed", {{"blob", blob.ToString()}, {"error", removed.error()}});
}

bool LayerJobs::MakeRoom(const task::Context& ctx, std::uint64_t wanted) {
  if (!options_.free_space) return false;
  std::unique_lock lock(room_mutex_);
  if (!room_changed_.wait(lock, ctx.stop(), [&] { return !making_room_; })) return false;
  making_room_ = true;
  lock.unlock();
  const auto freed = options_.free_space(ctx, wanted);
  lock.lock();
  making_room_ = false;
  room_changed_.notify_one();
  if (!freed && !freed.error().cancelled()) log::Warning("no room could be made for a pull", {{"error", freed.error()}});
  const bool made = freed && *freed > 0;
  if (made) ++rooms_;
  return made;
}

Result<LayerJobs::Done> LayerJobs::Run(const task::Context& ctx, const Job& job) {
  ASSIGN_OR_RETURN(const auto ready, FindReady(job.layer.digest));
  if (ready) {
    job.board->SetPhase(LayerPhase::kPresent);
    return Done{.info = *ready, .was_present = true};
  }
  Slot slot(slots_, *job.board);
  RETURN_IF_ERROR(slot.Take(ctx));
  job.board->SetPhase(LayerPhase::kFetching);
  const auto began = ctx.clock().SteadyNow();
  const std::uint64_t rooms = rooms_;
  auto done = Bring(ctx, job, slot);
  // What it unpacks to is unknown, and the disk is full: all that can go.
  if (!done && done.error().reason() == Reason::kNoSpace) {
    (void)MakeRoom(ctx, std::numeric_limits<std::uint64_t>::max());
    if (rooms_ != rooms) {
      job.board->ResetBytes();
      job.board->SetPhase(LayerPhase::kFetching);
      done = Bring(ctx, job, slot);
    }
  }
  if (!done && ctx.stopped() && job.board->drop) (void)stores_.content.RemovePartial(job.layer.digest);
  if (done && options_.observer != nullptr)
    options_.observer->OnLayer(done->info.report.uncompressed_bytes,
                               std::chrono::duration<double>(ctx.clock().SteadyNow() - began).count());
  return done;
}

Result<LayerJobs::Done> LayerJobs::Bring(const task::Context& ctx, const Job& job, Slot& slot) {
  ASSIGN_OR_RETURN(const auto kept, stores_.content.Size(job.layer.digest));
  if (kept) {
    auto done = FromKeptBlob(ctx, job);
    // A cache that is damaged costs a download, nothing else.
    if (done || !IsDamage(done.error())) return done;
    log::Warning("a kept layer blob is damaged and is fetched again", {{"blob", job.layer.digest.ToString()}});
    ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, stores_.content.Remove(job.layer.digest));
    job.board->ResetBytes();
  }
  // Wrong bytes are fetched once more from zero. Where an older partial was part of them nobody knows whose they were, and
  // that does not count.
  for (int wrong = 0;;) {
    bool resumed = false;
    auto done = FromNetwork(ctx, job, slot, &resumed);
    if (done || !IsDamage(done.error()) || ctx.stopped() || (!resumed && ++wrong == 2)) return done;
  }
}

// A layer counts as here when its files are. Files without a row are what a crash between the two left: complete, since
// they have their names, and durable once their folder is.
Result<std::optional<layer::LayerInfo>> LayerJobs::FindReady(const Digest& blob) {
  auto info = stores_.layers.Find(blob);
  // What cannot be read makes room for what is unpacked now (Staging::Commit).
  if (!info && info.error().reason() == Reason::kCorrupt) {
    log::Warning("a stored layer is damaged and is unpacked again", {{"blob", blob.ToString()}, {"error", info.error()}});
    return std::optional<layer::LayerInfo>();
  }
  if (!info || !*info) return info;
  ASSIGN_OR_RETURN(const auto row, stores_.catalog.FindLayer(blob));
  if (!row) {
    RETURN_IF_ERROR(stores_.layers.layers().Sync());
    RETURN_IF_ERROR(stores_.catalog.AddLayer({.blob = blob, .diff_id = (*info)->report.diff_id,
                                              .compressed_bytes = (*info)->report.compressed_bytes,
                                              .uncompressed_bytes = (*info)->report.uncompressed_bytes,
                                              .stored_bytes = (*info)->disk_bytes, .entries = (*info)->report.entries}));
  }
  return info;
}

Result<LayerJobs::Done> LayerJobs::FromKeptBlob(const task::Context& ctx, const Job& job) {
  const auto file = stores_.content.Open(job.layer.digest);
  if (!file) return Unread(file.error());
  ASSIGN_OR_RETURN(auto staging, stores_.layers.Stage(ctx, job.layer.digest, options_.form, job.diff_id.algorithm()));
  Stream stream(job.layer, std::move(staging));
  std::uint64_t size = 0;
  for (;;) {
    RETURN_IF_ERROR(ctx.Check());
    ASSIGN_OR_RETURN(const bytes::MutableView room, stream.Room());
    const auto got = host::ReadSome(file->get(), room);
    if (!got) return Unread(got.error());
    if (*got == 0) break;
    RETURN_IF_ERROR(stream.Take(room.first(*got)));
    job.board->AddBytes(*got);
    size += *got;
  }
  if (const Digest digest = stream.Finish(); digest != job.layer.digest) return Mismatch(job.layer, digest);
  if (size != job.layer.size) return WrongSize(job.layer, size);  // the bytes are the right ones
  if (stream.refused()) return *stream.refused();
  ASSIGN_OR_RETURN(Done done, Settle(ctx, job, stream.staging()));
  // After a crash it may have been found as something else.
  RETURN_IF_ERROR(stores_.catalog.AddBlob({job.layer.digest, job.layer.size, catalog::BlobKind::kLayer}));
  return done;
}

Result<LayerJobs::Done> LayerJobs::FromNetwork(const task::Context& ctx, const Job& job, Slot& slot, bool* was_resumed) {
  ASSIGN_OR_RETURN(auto ingest, stores_.content.Resume(job.layer.digest, job.layer.size));
  std::uint64_t resumed = ingest->length();
  // Its worker gets ready while the registry thinks about its answer.
  ASSIGN_OR_RETURN(auto staging, stores_.layers.Stage(ctx, job.layer.digest, options_.form, job.diff_id.algorithm()));
  const auto repository = job.repository->WithStandby(slot);
  std::unique_ptr<registry::BlobStream> network;
  if (resumed < job.layer.size) {
    slot.idle_worker = &staging;
    auto opened = repository->OpenBlob(ctx, job.layer, resumed);
    slot.idle_worker = nullptr;
    if (!opened) return std::move(opened).error();
    network = *std::move(opened);
    if (!staging) {
      ASSIGN_OR_RETURN(staging, stores_.layers.Stage(ctx, job.layer.digest, options_.form, job.diff_id.algorithm()));
    }
    if (network->restarted() && resumed > 0) {
      RETURN_IF_ERROR(ingest->Restart());
      resumed = 0;
    }
  }
  *was_resumed = resumed > 0;
  job.board->Resume(resumed, network ? network->host() : "");
  Stream stream(job.layer, std::move(staging));

  const auto run = [&]() -> Result<> {
    for (std::uint64_t at = 0; at < resumed;) {
      RETURN_IF_ERROR(ctx.Check());
      ASSIGN_OR_RETURN(const bytes::MutableView room, stream.Room());
      ASSIGN_OR_RETURN(const std::size_t got, ingest->ReadAt(at, room.first(std::min<std::uint64_t>(room.size(), resumed - at))));
      if (got == 0) return Error(Reason::kIo, "a partial download became shorter while it was read");
      RETURN_IF_ERROR(stream.Take(room.first(got)));
      job.board->AddBytes(got);
      at += got;
    }
    bool half = false;
    while (network) {
      ASSIGN_OR_RETURN(const bytes::MutableView room, stream.Room());
      ASSIGN_OR_RETURN(const std::size_t got, network->Read(room));
      if (got == 0) break;
      RETURN_IF_ERROR(ingest->Append(room.first(got)));
      RETURN_IF_ERROR(stream.Take(room.first(got)));
      job.board->AddBytes(got);
      if (!half && ingest->length() * 2 >= job.layer.size) {
        half = true;
        BERTH_FAULT_IN(ctx, kIngestHalf);
      }
    }
    return {};
  };
  slot.worker = &stream.staging();
  auto ran = run();
  slot.worker = nullptr;
  if (!ran) {
    // A full disk gets its bytes back; anything else leaves the partial for the next pull.
    if (ran.error().reason() == Reason::kNoSpace) (void)ingest->Discard();
    return ran.error();
  }
  job.board->SetPhase(LayerPhase::kUnpacking);
  const time::SteadyTime fetched_at = ctx.clock().SteadyNow();
  BERTH_FAULT_IN(ctx, kBlobComplete);
  if (const Digest digest = stream.Finish(); digest != job.layer.digest) {
    if (network && resumed == 0) job.repository->ReportMismatch(job.layer.digest, network->host());
    RETURN_IF_ERROR(ingest->Restart());
    RETURN_IF_ERROR(ingest->Discard());
    job.board->ResetBytes();
    return Mismatch(job.layer, digest);
  }
  BERTH_FAULT_IN(ctx, kBlobVerified);
  auto done = stream.refused() ? Result<Done>(*stream.refused()) : Settle(ctx, job, stream.staging());
  if (!done) {
    // These bytes are the right ones and still no layer: nothing is gained by keeping them.
    if (IsVerdict(done.error()) || done.error().reason() == Reason::kDigestMismatch || done.error().reason() == Reason::kNoSpace)
      (void)ingest->Discard();
    return done;
  }
  done->resumed = resumed;
  done->fetched = job.layer.size - resumed;
  done->fetched_at = fetched_at;
  // The layer is there; what becomes of its compressed bytes can no longer fail it.
  const auto put_away = [&]() -> Result<> {
    if (!ShouldKeep()) return ingest->Discard();
    RETURN_IF_ERROR(ingest->Keep());
    RETURN_IF_ERROR(stores_.catalog.AddBlob({job.layer.digest, job.layer.size, catalog::BlobKind::kLayer}));
    BERTH_FAULT_IN(ctx, kBlobRecorded);
    return {};
  };
  if (const auto put = put_away(); !put) log::Warning("a layer blob could not be kept", {{"blob", job.layer.digest.ToString()}, {"error", put.error()}});
  return done;
}

// The blob is what it should be: its tree becomes durable, visible and recorded.
Result<LayerJobs::Done> LayerJobs::Settle([[maybe_unused]] const task::Context& ctx, const Job& job, layer::Staging& staging) {
  job.board->SetPhase(LayerPhase::kUnpacking);
  // The bytes are proven: a diff ID that differs is the config's lie, and the same bytes again would not help.
  if (auto finished = staging.Finish(job.diff_id); !finished) return std::move(finished).error().Retryable(false);
  ASSIGN_OR_RETURN(layer::LayerInfo info, staging.Commit());
  RETURN_IF_ERROR(stores_.catalog.AddLayer({.blob = job.layer.digest, .diff_id = info.report.diff_id, .compressed_bytes = job.layer.size,
                                            .uncompressed_bytes = info.report.uncompressed_bytes, .stored_bytes = info.disk_bytes,
                                            .entries = info.report.entries}));
  BERTH_FAULT_IN(ctx, kLayerRecorded);
  job.board->SetPhase(LayerPhase::kDone);
  return Done{.info = std::move(info)};
}

bool LayerJobs::ShouldKeep() const {
  if (options_.keep_blobs != KeepBlobs::kWhileSpace) return options_.keep_blobs == KeepBlobs::kAlways;
  const auto space = stores_.root.FreeSpace();
  return space && static_cast<double>(space->available_bytes) > options_.keep_blobs_free * static_cast<double>(space->total_bytes);
}

}  // namespace berth::pull
