// pull/progress.h: what a pull is doing right now, for whoever watches.
//
// The pull writes, any number of watchers read: Take() copies the state, AwaitChange() sleeps until something is new.
// Byte counters change without waking anybody; phases and results wake all, and so does Tick(): the beat at which the
// watchers of counters want to look.
// Safe for concurrent use; a Progress may outlive its pull.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "digest/digest.h"
#include "registry/attempt.h"
#include "task/context.h"

namespace berth::pull {

enum class LayerPhase : std::uint8_t {
  kWaiting,   // for a slot, or for a registry that makes it wait
  kPresent,   // was here already
  kFetching,  // bytes are coming; unpacking goes along
  kUnpacking, // all bytes are here; the rest is being written and synced
  kDone,
};
std::string_view Name(LayerPhase phase);  // "waiting", "present", "fetching", "unpacking", "done"

struct LayerProgress {
  digest::Digest blob;
  std::uint64_t total = 0;         // compressed bytes
  std::uint64_t current = 0;       // of them so far, resumed ones included
  std::uint64_t resumed_from = 0;  // bytes an earlier pull had fetched
  LayerPhase phase = LayerPhase::kWaiting;
  std::string host;
};

enum class Phase : std::uint8_t { kQueued, kResolving, kFetching, kPublishing, kEnded };
std::string_view Name(Phase phase);  // "queued", "resolving", "fetching", "publishing", "ended"

struct Snapshot {
  Phase phase = Phase::kQueued;
  std::string image;       // as asked for
  std::uint64_t number = 0;  // of the pull, since this process began
  std::string digest;      // of the target, once resolved
  std::string platforms;   // "linux/amd64"
  std::string credential;  // "secret shop/regcred (alice)", "anonymous"
  std::string host;
  std::string wait;        // what a registry makes it wait for: "waiting 60.0 s for https://reg.test (429)"; "": nothing
  std::vector<LayerProgress> layers;
  std::vector<std::pair<std::string, std::string>> warnings;  // host and what it wants users to know: its words (registry/warning.h)
  std::uint64_t version = 0;  // grows with every change of a phase and every Tick

  std::uint64_t total_bytes() const;
  std::uint64_t current_bytes() const;
};

class Progress {
 public:
  explicit Progress(std::string image, std::uint64_t number = 0) {
    state_.image = std::move(image);
    state_.number = number;
  }

  // --- for the pull
  void SetPhase(Phase phase);
  void SetWait(const std::string& why);
  void AddWarning(std::string host, std::string text);
  void Resolved(std::string digest, std::string platforms, std::string credential, std::string host);
  // Announces the layers; index i below is the place in this list.
  void SetLayers(std::vector<LayerProgress> layers);
  void SetLayer(std::size_t i, LayerPhase phase);
  void Resume(std::size_t i, std::uint64_t from, std::string host);
  void AddBytes(std::size_t i, std::uint64_t bytes);
  void ResetBytes(std::size_t i);

  // --- for watchers
  Snapshot Take() const;
  void Tick();
  // Returns when the version is no longer `seen`, or when the context says so.
  Result<> AwaitChange(const task::Context& ctx, std::uint64_t seen) const;

 private:
  void Changed();
  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  Snapshot state_;  // guarded by mutex_
};

}  // namespace berth::pull
