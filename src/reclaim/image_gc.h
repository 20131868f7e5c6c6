// reclaim/image_gc.h: image garbage collection as the kubelet v1.36 does it, for Pods that run without one.
//
// Rules: kubelet-images 9; reliability-security 3.i. When the image file system is used to the high threshold, images that nobody uses
// go, the one not used for longest first, until the low one is reached; with a maximum age, unused ones older than that go whatever the
// disk says. Images in use, pinned ones and those seen for the first time less than the minimum age ago stay.
//
// Where it differs from the kubelet, always to the safe side:
//   - What no image needs goes first: leftovers by their age, then compressed blobs of unpacked layers (a cache).
//   - "Freed" is what really comes back: a layer that another image has counts when the last of them goes. The disk is asked before each
//     removal, so that space that others give back spares images.
//   - Whether an image is in use is asked once more at the moment of its removal (ImageStore::Remove). An error is never read as "no".
//   - Ages are steady time: a clock that is set removes nothing. When images were used last outlives the process (catalog).
//   - When the file system does not grow, or nothing is there to remove, scheduled rounds back off (2, 4, 8, 16 periods), until there
//     is something new to remove.
// Events, all warnings about the node: ImageGCFailed, FreeDiskSpaceFailed, InvalidDiskCapacity, with the kubelet's texts.
//
// An image is known by its id, the digest of its config ("sha256:…"); one id may have several manifests, which go together.
// Safe for concurrent use: rounds are one after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catalog/catalog.h"
#include "host/dir.h"
#include "reclaim/object.h"
#include "result/result.h"
#include "task/context.h"
#include "time/clock.h"

namespace berth::reclaim {

// As policy::KubeletConfig::Check() lets it through.
struct GcPolicy {
  std::int64_t high_percent = 85, low_percent = 80;       // of the image file system, used
  time::Duration min_age = std::chrono::minutes(2);       // since an image was first seen
  time::Duration max_age{};                               // since it was last used; 0: off
  bool enabled() const { return high_percent < 100 || max_age > time::Duration::zero(); }
};

enum class GcReason : std::uint8_t { kAge, kSpace };
std::string_view Name(GcReason reason);  // "age"

struct CollectableImage {
  std::string id;
  std::vector<std::string> names;                              // explicit ones first
  std::vector<Object> parts;                                   // others may have the same; empty without sizes
  std::optional<catalog::Pin> pin;
  time::WallTime pulled{};
  time::WallTime last_used{};                                  // as it was remembered; the epoch: never
};

using InUse = std::map<std::string, std::string>;  // image id -> by whom, for people: "pod shop/web"

// What is collected.
class ImageStore {
 public:
  virtual ~ImageStore() = default;
  // Sizes cost a look at every file of the store.
  enum class Sizes : bool { kNo, kYes };
  virtual Result<std::vector<CollectableImage>> List(const task::Context& ctx, Sizes sizes) = 0;
  // Removes an image with all its names and gives back the bytes; nothing when it is being used after all: a pull has its objects, it
  // is mounted, pinned, or `unused()`, asked while nobody can begin to use it, says no.
  virtual Result<std::optional<std::uint64_t>> Remove(const task::Context& ctx, const std::string& id, GcReason reason,
                                                      const std::function<Result<bool>()>& unused) = 0;
  // Frees of what no image needs all that is too old, then cached blobs until that much is free, then what is too young but not in
  // use; what went, in its order.
  virtual Result<std::vector<Object>> FreeUnneeded(const task::Context& ctx, std::uint64_t wanted) = 0;
  // What that would free now, if `gone` were gone.
  virtual Result<std::vector<Object>> WouldFree(const task::Context& ctx, std::uint64_t wanted, const std::set<std::string>& gone) = 0;
  virtual Result<> MarkUsed(const std::vector<std::string>& ids, time::WallTime at) = 0;
};

struct GcRequest {
  bool dry_run = false;                 // say what would be done
  bool unused = false;                  // all unused images, whatever the disk says (minimum age and pins hold)
  std::optional<std::int64_t> target;   // instead of both thresholds
  bool scheduled = false;               // by the clock: may back off
};

struct GcRow {
  enum class Action : std::uint8_t { kRemove, kKeep, kFailed };
  std::string id;
  std::vector<std::string> names;
  std::optional<time::WallTime> last_used;
  std::uint64_t frees = 0;   // kRemove: in this order; else if it went alone (0 in scheduled rounds)
  Action action = Action::kKeep;
  std::string why;
};

struct GcReport {
  Result<> verdict;
  std::uint64_t capacity = 0, available = 0;    // before
  std::int64_t used_percent = 0, high_percent = 0, low_percent = 0;
  std::uint64_t wanted = 0;                     // bytes to free; 0 below the threshold
  std::vector<Object> unneeded;                 // leftovers, then cached blobs, which went before any image
  std::uint64_t unneeded_freed = 0;             // theirs
  std::uint64_t freed = 0;                      // altogether, for space
  std::uint64_t freed_by_age = 0;
  std::int64_t grown = 0;                       // by how much more is available now, says the file system
  std::vector<GcRow> rows;                      // candidates in order, then what is not to go
};

struct GcCounters {
  std::uint64_t rounds = 0, failures = 0;
  std::uint64_t images_by_age = 0, images_by_space = 0;   // kubelet_image_garbage_collected_total{reason}
  std::uint64_t image_bytes = 0, unneeded_bytes = 0;      // given back
  time::Duration total{};                                 // of rounds
};

class ImageGc {
 public:
  struct Parts {
    ImageStore& images;
    std::function<Result<InUse>(const task::Context&)> in_use;
    std::function<Result<host::Space>()> disk;
    std::function<void(std::string_view reason, const std::string& message)> warn;   // Events about the node
    // After a pass for space without errors: ids of all images that are here; when the round began.
    std::function<Result<>(const task::Context&, const std::set<std::string>& present, time::WallTime began)> after;
    const time::Clock& clock;
  };
  static constexpr time::Duration kPeriod = std::chrono::minutes(5);

  ImageGc(GcPolicy policy, Parts parts);

  // Rounds, or where collection is off detections, at once and then every kPeriod, until it is stopped.
  void Run(const std::stop_token& stop);
  GcReport Collect(const task::Context& ctx, const GcRequest& request = {});
  // Looks which images are here and which of them are used.
  Result<> Detect(const task::Context& ctx);

  struct Record {
    time::SteadyTime first_detected{};
    std::optional<time::SteadyTime> last_used;  // nothing: never
  };
  std::map<std::string, Record> records() const;   // as of the last detection
  GcCounters counters() const;

 private:
  struct Known : Record {
    bool in_use = false;
    time::WallTime saved{};   // last_used as the catalog has it
  };
  struct Candidate {
    CollectableImage image;
    Record record;
  };
  struct Round;
  Result<std::vector<Candidate>> Look(const task::Context& ctx, time::SteadyTime at, Round* round);
  Result<> Carry(const task::Context& ctx, const GcRequest& request, Round& round);
  Result<> ByAge(const task::Context& ctx, std::vector<Candidate>& candidates, Round& round);
  Result<> FreeSpace(const task::Context& ctx, std::vector<Candidate>& candidates, std::int64_t amount, Round& round);
  Result<> Hooks(const task::Context& ctx, const Round& round);
  // Whether it went; adds its row.
  Result<bool> Take(const task::Context& ctx, const Candidate& candidate, GcReason reason, Round& round);
  GcRow RowOf(const Candidate& candidate, const Round& round) const;
  std::optional<time::WallTime> Wall(const Record& record) const;
  bool BacksOff(const std::vector<Candidate>& candidates, const Round& round) const;

  const GcPolicy policy_;
  const Parts parts_;
  const time::SteadyTime began_;
  mutable std::mutex mutex_;               // a round
  std::map<std::string, Known> known_;     // guarded by mutex_: by id
  std::uint64_t stalled_ = 0;              // guarded by mutex_: scheduled rounds in a row that changed nothing
  std::set<std::string> tried_;            // guarded by mutex_: what they had to choose from
  mutable std::mutex counters_mutex_;
  GcCounters counters_;                    // guarded by counters_mutex_
};

}  // namespace berth::reclaim
