#include "reclaim/reclaimer.h"

#include <algorithm>
#include <set>

#include "host/fault.h"
#include "log/log.h"

namespace berth::reclaim {
namespace {

using catalog::BlobKind;
using digest::Digest;

// Nobody can have begun to need an object in the future.
constexpr auto kAnyAge = time::WallTime::max();

time::WallTime Before(time::Duration age, const time::Clock& clock) {
  return age == time::Duration::zero() ? kAnyAge : clock.WallNow() - age;
}

// Whether the disk gives all of a file. What it does not give may be whole, and read at the next start.
bool Readable(const host::Dir& folder, const std::string& name) {
  const auto file = folder.OpenRead(name);
  if (!file) return false;
  std::vector<std::byte> room(256u << 10);
  for (;;) {
    const auto got = host::ReadSome(file->get(), room);
    if (!got || *got == 0) return got.has_value();
  }
}

// The same of a layer, by its descriptor; of its contents, whether they can be looked at.
bool LayerReadable(const host::Dir& layers, const std::string& meta) {
  const std::string stem = meta.substr(0, meta.rfind('.'));
  for (const char* kind : {".data", ".tree"})
    if (const auto looked = layers.Stat(stem + kind); !looked && looked.error().reason() != Reason::kMissing) return false;
  return Readable(layers, meta);
}

Object ObjectOf(const char* kind, const Digest& digest, std::uint64_t bytes) { return {std::string(kind) + " " + digest.ToString(), bytes}; }

}  // namespace

Result<Removed> Reclaimer::RemoveName(const task::Context& ctx, std::string_view name, const catalog::Removal& how) {
  ASSIGN_OR_RETURN(const auto before, stores_.catalog.FindName(name));
  ASSIGN_OR_RETURN(const auto layers, before ? LayersOf(before->images) : Result<std::set<Digest>>(std::set<Digest>()));
  ASSIGN_OR_RETURN(const bool removed, before ? stores_.catalog.RemoveName(name, how) : Result<bool>(false));
  if (!removed) return Error(Reason::kNotFound, "there is no image called " + Quoted(name)).Next("berth images lists the names");
  BERTH_FAULT_IN(ctx, kRemoveNameDeleted);
  Removed result{.names = {std::string(name)}, .manifests = {}, .freed = {}};
  for (const auto& manifest : before->images) {
    ASSIGN_OR_RETURN(const auto still, stores_.catalog.FindImage(manifest));
    if (!still) result.manifests.push_back(manifest);
  }
  ASSIGN_OR_RETURN(result.freed, DeleteAfter(ctx, layers));
  return result;
}

Result<Removed> Reclaimer::RemoveImage(const task::Context& ctx, const Digest& manifest, const catalog::Removal& how) {
  ASSIGN_OR_RETURN(const auto before, stores_.catalog.FindImage(manifest));
  ASSIGN_OR_RETURN(const auto layers, LayersOf({manifest}));
  ASSIGN_OR_RETURN(const bool removed, before ? stores_.catalog.RemoveImage(manifest, how) : Result<bool>(false));
  if (!removed) return Error(Reason::kNotFound, "there is no image " + manifest.ToString()).Next("berth images lists the ids");
  return Finish(ctx, *before, layers);
}

Result<std::optional<Removed>> Reclaimer::RemoveUnused(const task::Context& ctx, const Digest& manifest,
                                                       const std::function<Result<bool>()>& unused, const catalog::Removal& how) {
  auto claim = stores_.leases.ClaimFree({manifest});
  if (claim.objects().empty()) return std::optional<Removed>();
  ASSIGN_OR_RETURN(const auto before, stores_.catalog.FindImage(manifest));
  ASSIGN_OR_RETURN(const auto layers, LayersOf({manifest}));
  ASSIGN_OR_RETURN(const bool go, before ? unused() : Result<bool>(false));
  if (!go) return std::optional<Removed>();
  const auto removed = stores_.catalog.RemoveImage(manifest, how);
  if (!removed && removed.error().reason() != Reason::kInUse) return removed.error();
  if (!removed || !*removed) return std::optional<Removed>();
  claim.Release();  // it is absent now, and its manifest is a document like any other
  ASSIGN_OR_RETURN(auto finished, Finish(ctx, *before, layers));
  return std::optional(std::move(finished));
}

// The rows are gone.
Result<Removed> Reclaimer::Finish(const task::Context& ctx, const catalog::ImageRecord& image, const std::set<Digest>& layers) {
  BERTH_FAULT_IN(ctx, kRemoveNameDeleted);
  Removed result{.names = {}, .manifests = {image.manifest}, .freed = {}};
  for (const auto& name : image.names) {
    ASSIGN_OR_RETURN(const auto still, stores_.catalog.FindName(name));
    if (!still) result.names.push_back(name);
  }
  ASSIGN_OR_RETURN(result.freed, DeleteAfter(ctx, layers));
  return result;
}

Result<std::vector<content::Store::Item>> Reclaimer::CachedBlobs() {
  ASSIGN_OR_RETURN(auto blobs, stores_.content.List());
  ASSIGN_OR_RETURN(const auto rows, stores_.catalog.ListBlobs());
  ASSIGN_OR_RETURN(const auto layers, stores_.catalog.ListLayers());
  std::set<Digest> cached, unpacked;
  for (const auto& row : rows)
    if (row.kind == BlobKind::kLayer) cached.insert(row.digest);
  for (const auto& layer : layers) unpacked.insert(layer.blob);
  std::erase_if(blobs, [&](const auto& blob) {
    return !cached.contains(blob.digest) || !unpacked.contains(blob.digest) || stores_.leases.leased(blob.digest);
  });
  std::ranges::stable_sort(blobs, {}, &content::Store::Item::mtime_seconds);
  return blobs;
}

Result<Freed> Reclaimer::FreeCache(const task::Context& ctx, std::uint64_t wanted) {
  ASSIGN_OR_RETURN(const auto blobs, CachedBlobs());
  Freed freed;
  for (const auto& blob : blobs) {
    if (freed.bytes >= wanted) break;
    RETURN_IF_ERROR(ctx.Check());
    const auto claim = stores_.leases.ClaimFree({blob.digest});
    if (claim.objects().empty()) continue;
    // A row can need space that only the file can give: nobody depends on it, and whoever finds it missing fetches it again.
    auto forgotten = stores_.catalog.ForgetBlob(blob.digest);
    if (!forgotten && forgotten.error().reason() != Reason::kNoSpace) return forgotten.error();
    BERTH_FAULT_IN(ctx, kRemoveMarked);
    ASSIGN_OR_RETURN(const bool removed, stores_.content.Remove(blob.digest));
    BERTH_FAULT_IN(ctx, kRemoveDeleted);
    if (!forgotten) RETURN_IF_ERROR(stores_.catalog.ForgetBlob(blob.digest));
    if (removed) freed.Add(ObjectOf("blob", blob.digest, blob.disk_bytes));
  }
  stores_.catalog.FillReserve();
  return freed;
}

Result<Freed> Reclaimer::MakeRoom(const task::Context& ctx, std::uint64_t wanted) {
  ASSIGN_OR_RETURN(auto partials, stores_.content.Partials());
  std::erase_if(partials, [&](const auto& partial) { return stores_.leases.leased(partial.digest); });
  if (wanted != kAllThereIs) {
    ASSIGN_OR_RETURN(const auto cached, CachedBlobs());
    std::uint64_t most = 0;
    for (const auto& items : {cached, partials})
      for (const auto& item : items) most += item.disk_bytes;
    if (most < wanted) return Freed();
  }
  Freed freed;
  if (auto cache = FreeCache(ctx, wanted)) freed = *std::move(cache);
  else if (cache.error().cancelled()) return cache.error();
  else log::Warning("compressed layers could not make room for a pull", {{"error", cache.error()}});  // or not all that they could
  std::ranges::stable_sort(partials, {}, &content::Store::Item::mtime_seconds);
  for (const auto& partial : partials) {
    if (freed.bytes >= wanted) break;
    RETURN_IF_ERROR(ctx.Check());
    // Also one that waits for its turn: its pull counts on it.
    const auto claim = stores_.leases.ClaimFree({partial.digest});
    if (claim.objects().empty()) continue;
    ASSIGN_OR_RETURN(const bool removed, stores_.content.RemovePartial(partial.digest));
    if (removed) freed.Add(ObjectOf("partial", partial.digest, partial.disk_bytes));
  }
  if (!freed.objects.empty()) log::Info("room made for a pull", {{"bytes", freed.bytes}, {"objects", freed.objects.size()}});
  return freed;
}

Result<std::set<Digest>> Reclaimer::LayersOf(const std::vector<Digest>& manifests) {
  std::set<Digest> layers;
  for (const auto& manifest : manifests) {
    ASSIGN_OR_RETURN(const auto image, stores_.catalog.FindImage(manifest));
    if (!image) continue;
    for (const auto& layer : image->layers) layers.insert(layer.blob);
  }
  return layers;
}

// Layers that a failed pull left are spared: its retry will want them, and age takes them otherwise. Documents are small
// and those of running pulls are leased.
Result<Freed> Reclaimer::DeleteAfter(const task::Context& ctx, const std::set<Digest>& layers) {
  ASSIGN_OR_RETURN(auto free, stores_.catalog.FindUnreferenced(kAnyAge));
  std::erase_if(free.layers, [&](const Digest& d) { return !layers.contains(d); });
  std::erase_if(free.blobs, [&](const catalog::BlobRecord& b) { return b.kind == BlobKind::kLayer && !layers.contains(b.digest); });
  auto freed = Delete(ctx, free);
  stores_.catalog.FillReserve();
  return freed;
}

Result<Freed> Reclaimer::Delete(const task::Context& ctx, const catalog::Unreferenced& candidates) {
  std::set<Digest> wanted(candidates.layers.begin(), candidates.layers.end());
  for (const auto& blob : candidates.blobs) wanted.insert(blob.digest);
  const auto claim = stores_.leases.ClaimFree({wanted.begin(), wanted.end()});
  const auto claimed = [&](const Digest& d) { return std::ranges::find(claim.objects(), d) != claim.objects().end(); };
  catalog::Unreferenced mine;
  std::ranges::copy_if(candidates.layers, std::back_inserter(mine.layers), claimed);
  std::ranges::copy_if(candidates.blobs, std::back_inserter(mine.blobs), [&](const auto& b) { return claimed(b.digest); });
  ASSIGN_OR_RETURN(const auto gone, stores_.catalog.Forget(mine));
  BERTH_FAULT_IN(ctx, kRemoveMarked);
  // Nobody knows these any more: they go also when who asked has gone, and each whatever becomes of the others.
  const task::Context to_the_end({}, ctx.clock());
  Freed freed;
  Result<> failed;
  const auto note = [&](const Result<bool>& removed, const char* kind, const Digest& digest, std::uint64_t bytes) {
    if (!removed && failed) failed = removed.error();
    if (removed && *removed) freed.Add(ObjectOf(kind, digest, bytes));
  };
  // Kept blobs before their layers: found alone after a crash, one could be anything.
  for (const auto& blob : gone.blobs) {
    const auto bytes = stores_.content.DiskBytes(blob.digest);
    note(stores_.content.Remove(blob.digest), "blob", blob.digest, bytes && *bytes ? **bytes : 0);
    BERTH_FAULT_IN(ctx, kRemoveDeleted);
  }
  const std::set<Digest> going(gone.layers.begin(), gone.layers.end());
  const auto taken = stores_.layers.DiskBytes(&going);
  for (const auto& layer : gone.layers) {
    note(stores_.layers.Remove(to_the_end, layer), "layer", layer, taken && taken->contains(layer) ? taken->at(layer) : 0);
    BERTH_FAULT_IN(ctx, kRemoveTrashed);
  }
  RETURN_IF_ERROR(failed);
  RETURN_IF_ERROR(stores_.layers.layers().Sync());
  BERTH_FAULT_IN(ctx, kRemoveSynced);
  BERTH_FAULT_IN(ctx, kRemovePurged);
  return freed;
}

// Of layers that live on. Who fits an image has leased its layers until it is published, and names its variants.
Result<> Reclaimer::DropVariants(Freed& freed) {
  ASSIGN_OR_RETURN(const auto stored, stores_.layers.List());
  std::vector<Digest> fitted;
  for (const auto& info : stored)
    if (!info.variants.empty()) fitted.push_back(info.report.blob);
  if (fitted.empty()) return {};
  const auto claim = stores_.leases.ClaimFree(fitted);
  const std::set<Digest> claimed(claim.objects().begin(), claim.objects().end());
  ASSIGN_OR_RETURN(const auto images, stores_.catalog.ListImages());
  std::set<std::pair<Digest, std::string>> named;
  for (const auto& image : images)
    for (const auto& layer : image.layers) named.emplace(layer.blob, layer.variant);
  for (const auto& info : stored) {
    const Digest& blob = info.report.blob;
    if (!claimed.contains(blob)) continue;
    std::uint64_t bytes = 0;
    for (const auto& variant : info.variants) {
      if (named.contains({blob, variant})) continue;
      ASSIGN_OR_RETURN(const std::uint64_t size, stores_.layers.VariantBytes(blob, variant));
      ASSIGN_OR_RETURN(const bool removed, stores_.layers.RemoveVariant(blob, variant));
      bytes += removed ? size : 0;
    }
    if (bytes > 0) freed.Add(ObjectOf("variants of layer", blob, bytes));
  }
  return {};
}

// Documents of a pull that failed before it published, what a crash left.
Result<std::vector<Digest>> Reclaimer::Strays() {
  ASSIGN_OR_RETURN(const auto files, stores_.content.List());
  ASSIGN_OR_RETURN(const auto rows, stores_.catalog.ListBlobs());
  std::set<Digest> known;
  for (const auto& row : rows) known.insert(row.digest);
  std::vector<Digest> strays;
  for (const auto& file : files)
    if (!known.contains(file.digest)) strays.push_back(file.digest);
  return strays;
}

// Claimed meanwhile, so that neither a pull that is about to record them nor another removal comes in between.
Result<std::size_t> Reclaimer::AdoptBlobs() {
  ASSIGN_OR_RETURN(const auto strays, Strays());
  const auto claim = stores_.leases.ClaimFree(strays);
  std::size_t adopted = 0;
  for (const auto& stray : claim.objects()) {
    ASSIGN_OR_RETURN(const auto bytes, stores_.content.Size(stray));
    if (!bytes) continue;
    ASSIGN_OR_RETURN(const auto row, stores_.catalog.FindLayer(stray));
    const auto files = stores_.layers.Find(stray);
    RETURN_IF_ERROR(stores_.catalog.AddBlob({stray, *bytes, row || (files && *files) ? BlobKind::kLayer : BlobKind::kDocument}));
    ++adopted;
  }
  return adopted;
}

Result<Freed> Reclaimer::Sweep(const task::Context& ctx, const Ages& ages) {
  BERTH_FAULT_IN(ctx, kGcMark);
  // What gets no row on a full disk gets it when there is room.
  if (const auto adopted = AdoptBlobs(); !adopted && adopted.error().reason() != Reason::kNoSpace) return adopted.error();
  BERTH_FAULT_IN(ctx, kGcRoots);
  ASSIGN_OR_RETURN(const auto free, stores_.catalog.FindUnreferenced(Before(ages.unneeded, clock_)));
  BERTH_FAULT_IN(ctx, kGcCandidates);
  ASSIGN_OR_RETURN(Freed freed, Delete(ctx, free));
  // One that the disk does not give holds up nothing else.
  if (const auto dropped = DropVariants(freed); !dropped)
    log::Warning("variants of layers that no image needs could not be removed", {{"error", dropped.error()}});
  BERTH_FAULT_IN(ctx, kGcDelete);
  ASSIGN_OR_RETURN(const auto partials, OldPartials(ages));
  for (const auto& partial : partials) {
    ASSIGN_OR_RETURN(const bool removed, stores_.content.RemovePartial(partial.digest));
    if (removed) freed.Add(ObjectOf("partial", partial.digest, partial.disk_bytes));
  }
  BERTH_FAULT_IN(ctx, kGcDone);
  stores_.catalog.FillReserve();
  if (!freed.objects.empty()) log::Info("space given back", {{"bytes", freed.bytes}, {"objects", freed.objects.size()}});
  return freed;
}

Result<Freed> Reclaimer::WouldFree(const Ages& ages, std::uint64_t wanted, const std::set<std::string>& gone) {
  const auto taken = [&](const Digest& d) { return stores_.leases.leased(d) || stores_.leases.claimed(d); };
  ASSIGN_OR_RETURN(const auto free, stores_.catalog.FindUnreferenced(Before(ages.unneeded, clock_)));
  std::set<Digest> layers(free.layers.begin(), free.layers.end());
  std::erase_if(layers, taken);
  std::vector<Digest> blobs;
  for (const auto& blob : free.blobs) blobs.push_back(blob.digest);
  // Those get their rows, and their age, when they are found; then age zero takes them.
  if (ages.unneeded == time::Duration::zero()) {
    ASSIGN_OR_RETURN(const auto strays, Strays());
    blobs.insert(blobs.end(), strays.begin(), strays.end());
  }
  std::erase_if(blobs, taken);

  Freed freed;
  ASSIGN_OR_RETURN(const auto sizes, stores_.layers.DiskBytes(&layers));
  for (const auto& blob : blobs) {
    ASSIGN_OR_RETURN(const auto bytes, stores_.content.DiskBytes(blob));
    if (bytes) freed.Add(ObjectOf("blob", blob, *bytes));
  }
  for (const auto& layer : free.layers)
    if (const auto size = sizes.find(layer); layers.contains(layer) && size != sizes.end()) freed.Add(ObjectOf("layer", layer, size->second));
  ASSIGN_OR_RETURN(const auto partials, OldPartials(ages));
  for (const auto& partial : partials)
    if (!stores_.content.InUse(partial.digest)) freed.Add(ObjectOf("partial", partial.digest, partial.disk_bytes));
  // By then the layers above are gone, and with them their blobs are no cache any more.
  ASSIGN_OR_RETURN(const auto cached, CachedBlobs());
  for (const auto& blob : cached) {
    if (freed.bytes >= wanted) break;
    const bool swept = layers.contains(blob.digest) || std::ranges::find(blobs, blob.digest) != blobs.end();
    if (swept || stores_.leases.claimed(blob.digest)) continue;
    if (Object object = ObjectOf("blob", blob.digest, blob.disk_bytes); !gone.contains(object.first)) freed.Add(std::move(object));
  }
  return freed;
}

// From the future by less than that: the clock was set back, which costs nobody his partial.
Result<std::vector<content::Store::Item>> Reclaimer::OldPartials(const Ages& ages) {
  using std::chrono::seconds;
  const auto now = std::chrono::duration_cast<seconds>(clock_.WallNow().time_since_epoch()).count();
  const auto age = std::chrono::duration_cast<seconds>(ages.partials).count();
  ASSIGN_OR_RETURN(auto partials, stores_.content.Partials());
  if (ages.partials > time::Duration::zero())
    std::erase_if(partials, [&](const auto& partial) { return std::abs(partial.mtime_seconds - now) < age; });
  return partials;
}

// A daemon that cannot start cannot free anything either.
Result<Reclaimer::Recovery> Reclaimer::Recover(const task::Context& ctx) {
  return stores_.catalog.WithReserve([&] { return RecoverOnce(ctx); });
}

Result<Reclaimer::Recovery> Reclaimer::RecoverOnce(const task::Context& ctx) {
  Recovery recovery;
  std::vector<std::string> damaged;
  ASSIGN_OR_RETURN(const auto layers, stores_.layers.List(&damaged));
  std::vector<std::string> unread;
  for (const auto& name : damaged) {
    if (!LayerReadable(stores_.layers.layers(), name)) {
      log::Warning("the disk does not give a stored layer, which is left as it is; a pull or fsck --repair makes it anew", {{"file", name}});
      unread.push_back(name);
      continue;
    }
    log::Warning("a stored layer is damaged and is removed", {{"file", name}});
    ASSIGN_OR_RETURN([[maybe_unused]] const bool gone, stores_.layers.layers().Unlink(name));
  }
  // After that: contents without a descriptor are left-overs, too.
  ASSIGN_OR_RETURN(const std::size_t unfinished, stores_.layers.RecoverTmp());
  ASSIGN_OR_RETURN(const std::size_t temporary, stores_.content.Recover());
  recovery.leftovers = damaged.size() - unread.size() + unfinished + temporary;

  ASSIGN_OR_RETURN(const auto rows, stores_.catalog.ListLayers());
  std::set<Digest> with_files, with_rows;
  for (const auto& layer : layers) with_files.insert(layer.report.blob);
  for (const auto& row : rows) with_rows.insert(row.blob);
  for (const auto& layer : layers) {
    if (with_rows.contains(layer.report.blob)) continue;
    RETURN_IF_ERROR(stores_.catalog.AddLayer({.blob = layer.report.blob, .diff_id = layer.report.diff_id,
                                              .compressed_bytes = layer.report.compressed_bytes,
                                              .uncompressed_bytes = layer.report.uncompressed_bytes,
                                              .stored_bytes = layer.disk_bytes, .entries = layer.report.entries}));
    ++recovery.adopted;
  }
  const auto lose = [&](const Digest& object, const char* what) -> Result<> {
    log::Warning("an object of the store is gone; its images are not here any more", {{"object", object.ToString()}, {"kind", what}});
    ++recovery.lost;
    return stores_.catalog.ForgetDamaged(object);
  };
  for (const auto& row : rows) {
    const auto is_of = [&](const std::string& file) { return file.find(row.blob.Hex()) != file.npos; };
    if (!with_files.contains(row.blob) && std::ranges::none_of(unread, is_of)) RETURN_IF_ERROR(lose(row.blob, "layer"));
  }

  ASSIGN_OR_RETURN(const auto blobs, stores_.content.List());
  ASSIGN_OR_RETURN(const auto blob_rows, stores_.catalog.ListBlobs());
  std::set<Digest> blob_files;
  for (const auto& blob : blobs) blob_files.insert(blob.digest);
  for (const auto& row : blob_rows) {
    if (blob_files.contains(row.digest)) continue;
    RETURN_IF_ERROR(row.kind == BlobKind::kLayer ? stores_.catalog.ForgetBlob(row.digest) : lose(row.digest, "document"));
  }
  ASSIGN_OR_RETURN(const std::size_t adopted, AdoptBlobs());
  recovery.adopted += adopted;
  // Last: a crash in here must not leave layers beside a catalog without a single row, which looks like a lost one.
  ASSIGN_OR_RETURN(const auto pulls, stores_.catalog.OpenPulls());
  for (const auto& pull : pulls) {
    RETURN_IF_ERROR(stores_.catalog.EndPull(pull.id, ""));
    ++recovery.interrupted;
  }
  RETURN_IF_ERROR(ctx.Check());
  return recovery;
}

}  // namespace berth::reclaim
