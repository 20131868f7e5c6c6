// reclaim/reclaimer.h: gives disk space back: what was removed, what a crash left, what nobody resumed.
//
// Order of every removal: rows first, in one transaction that checks again that nobody needs the object; then the files,
// while the objects are claimed so that no pull can begin to rely on them (catalog/leases.h). A crash in between leaves
// files without rows; those get rows again (Recover(); blobs also at every Sweep()), so that age removes them. Nothing that
// an image, a name or a running pull needs is ever deleted.
// On a full disk removals and a start have the catalog's reserve, which is filled again when files are gone; a blob that could not get
// its row gets it in a later Sweep().
// Errors: kInUse for mounted and pinned images, those of catalog and host. Safe for concurrent use.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/leases.h"
#include "content/store.h"
#include "layer/store.h"
#include "reclaim/object.h"
#include "result/result.h"
#include "task/context.h"
#include "time/clock.h"

namespace berth::reclaim {

struct Freed {
  std::uint64_t bytes = 0;
  std::vector<Object> objects;  // in the order in which they went
  void Add(Object object) { bytes += object.second, objects.push_back(std::move(object)); }
};

struct Removed {
  std::vector<std::string> names;
  std::vector<digest::Digest> manifests;  // of images that are gone
  Freed freed;
};

struct Ages {
  time::Duration unneeded = std::chrono::hours(1);   // of what crashes and failed pulls left
  time::Duration partials = std::chrono::hours(72);  // of downloads nobody resumed
};

class Reclaimer {
 public:
  struct Stores {
    content::Store& content;
    const layer::LayerStore& layers;
    catalog::Catalog& catalog;
    catalog::Leases& leases;
  };
  Reclaimer(Stores stores, const time::Clock& clock) : stores_(stores), clock_(clock) {}

  // Takes a name away and, with the last one, the image and all that only it needed. kNotFound when there is no such name.
  Result<Removed> RemoveName(const task::Context& ctx, std::string_view name, const catalog::Removal& how = {});
  // Takes an image with all its names.
  Result<Removed> RemoveImage(const task::Context& ctx, const digest::Digest& manifest, const catalog::Removal& how = {});
  // The same unless it is used: a pull has leased it, it is mounted or pinned, or `unused` says no. While that is asked and until the
  // image is gone, it counts as absent for pulls and for Pods that are about to start; nothing is removed then, and nothing returned.
  Result<std::optional<Removed>> RemoveUnused(const task::Context& ctx, const digest::Digest& manifest,
                                              const std::function<Result<bool>()>& unused, const catalog::Removal& how = {});
  // Compressed blobs of unpacked layers that no pull has, oldest first, until `wanted` bytes are free.
  Result<Freed> FreeCache(const task::Context& ctx, std::uint64_t wanted);
  // For a pull that a full disk stops: FreeCache(), then partials that no pull has, oldest first, of whatever age. Nothing where all
  // of them would not do, unless kAllThereIs is wanted.
  static constexpr std::uint64_t kAllThereIs = ~std::uint64_t{0};
  Result<Freed> MakeRoom(const task::Context& ctx, std::uint64_t wanted);
  // Objects that nobody needs and that are old enough, variants of layers that no image is mounted by any more and no pull is about
  // to name, and partial downloads not touched for long enough. Those from the future (the clock was set back) count as old. Zero
  // takes everything that nobody uses.
  Result<Freed> Sweep(const task::Context& ctx, const Ages& ages);
  Result<Freed> Sweep(const task::Context& ctx, time::Duration age) { return Sweep(ctx, Ages{age, age}); }
  // What Sweep(), and FreeCache() for what then is still wanted, would free now, in that order, if `gone` were gone; but for variants,
  // which are small. Changes nothing.
  Result<Freed> WouldFree(const Ages& ages, std::uint64_t wanted, const std::set<std::string>& gone = {});

  struct Recovery {
    std::size_t leftovers = 0;    // temporary files and unreadable layers removed
    std::size_t adopted = 0;      // complete files that had no row
    std::size_t lost = 0;         // rows whose files are gone: their images are, too
    std::size_t interrupted = 0;  // pulls that a crash ended
  };
  // At start, before anything else uses the stores.
  Result<Recovery> Recover(const task::Context& ctx);

 private:
  Result<std::set<digest::Digest>> LayersOf(const std::vector<digest::Digest>& manifests);
  Result<Removed> Finish(const task::Context& ctx, const catalog::ImageRecord& image, const std::set<digest::Digest>& layers);
  Result<Recovery> RecoverOnce(const task::Context& ctx);
  Result<Freed> DeleteAfter(const task::Context& ctx, const std::set<digest::Digest>& layers);
  Result<std::vector<digest::Digest>> Strays();  // blobs without rows
  Result<std::size_t> AdoptBlobs();              // gives them rows; how many
  Result<std::vector<content::Store::Item>> CachedBlobs();
  Result<std::vector<content::Store::Item>> OldPartials(const Ages& ages);
  Result<> DropVariants(Freed& freed);
  Result<Freed> Delete(const task::Context& ctx, const catalog::Unreferenced& candidates);

  Stores stores_;
  const time::Clock& clock_;
};

}  // namespace berth::reclaim
