// reclaim/stored_images.h: our store as garbage collection sees it (image_gc.h), and who uses its images by the catalog.
//
// Sizes are blocks on the disk. Safe for concurrent use.
#pragma once

#include "reclaim/image_gc.h"
#include "reclaim/reclaimer.h"

namespace berth::reclaim {

class StoredImages final : public ImageStore {
 public:
  // `ages` of leftovers, which go first; younger ones go before images do. On a full disk the cache makes room for their rows.
  StoredImages(Reclaimer& reclaimer, Reclaimer::Stores stores, Ages ages) : reclaimer_(reclaimer), stores_(stores), ages_(ages) {}

  Result<std::vector<CollectableImage>> List(const task::Context& ctx, Sizes sizes) override;
  Result<std::optional<std::uint64_t>> Remove(const task::Context& ctx, const std::string& id, GcReason reason,
                                              const std::function<Result<bool>()>& unused) override;
  Result<std::vector<Object>> FreeUnneeded(const task::Context& ctx, std::uint64_t wanted) override;
  Result<std::vector<Object>> WouldFree(const task::Context& ctx, std::uint64_t wanted, const std::set<std::string>& gone) override;
  Result<> MarkUsed(const std::vector<std::string>& ids, time::WallTime at) override;

 private:
  Reclaimer& reclaimer_;
  const Reclaimer::Stores stores_;
  const Ages ages_;
};

// What the store takes on its file system, by blocks; the parts add up to the total, which is what `du -sx` says of its folder.
struct StoreUsage {
  std::uint64_t layers = 0, compressed = 0, documents = 0, partials = 0, pods = 0, logs = 0, databases = 0, other = 0, total = 0;
};
Result<StoreUsage> MeasureStore(const task::Context& ctx, const host::Dir& root, const Reclaimer::Stores& stores);

// Images that are mounted: those of containers, of image volumes, and what a person mounted.
Result<InUse> MountedImages(catalog::Catalog& catalog);

}  // namespace berth::reclaim
