#include "reclaim/stored_images.h"

#include <algorithm>

#include "host/disk_usage.h"

namespace berth::reclaim {

using catalog::BlobKind;
using digest::Digest;

namespace {
// Of leftovers that go before an image does.
constexpr Ages kAnyAge{time::Duration::zero(), time::Duration::zero()};
}  // namespace

Result<std::vector<CollectableImage>> StoredImages::List(const task::Context& ctx, Sizes sizes) {
  ASSIGN_OR_RETURN(const auto records, stores_.catalog.ListImages());
  std::map<Digest, std::uint64_t> layers, blobs;
  std::map<std::string, std::vector<Digest>> documents;
  if (sizes == Sizes::kYes) {
    ASSIGN_OR_RETURN(layers, stores_.layers.DiskBytes());
    ASSIGN_OR_RETURN(const auto items, stores_.content.List());
    for (const auto& item : items) blobs.emplace(item.digest, item.disk_bytes);
    ASSIGN_OR_RETURN(documents, stores_.catalog.ListDocuments());
  }
  RETURN_IF_ERROR(ctx.Check());
  std::map<std::string, CollectableImage> images;
  for (const auto& record : records) {
    CollectableImage& image = images[record.config.ToString()];
    image.id = record.config.ToString();
    image.names.insert(image.names.end(), record.names.begin(), record.names.end());
    image.pulled = std::max(image.pulled, record.pulled);
    image.last_used = record.last_used;
    image.pin = record.pin;
    const auto add = [&](const std::map<Digest, std::uint64_t>& from, const char* what, const Digest& digest) {
      const auto found = from.find(digest);
      if (found == from.end()) return;
      std::pair part(what + digest.ToString(), found->second);
      if (std::ranges::find(image.parts, part) == image.parts.end()) image.parts.push_back(std::move(part));
    };
    for (const auto& layer : record.layers) {
      add(layers, "layer ", layer.blob);
      add(blobs, "blob ", layer.blob);
    }
    add(blobs, "blob ", record.manifest);
    add(blobs, "blob ", record.config);
    for (const auto& name : record.names)  // an index goes with the last image of its name
      for (const auto& document : documents[name]) add(blobs, "blob ", document);
  }
  std::vector<CollectableImage> out;
  for (auto& [id, image] : images) out.push_back(std::move(image));
  return out;
}

Result<std::optional<std::uint64_t>> StoredImages::Remove(const task::Context& ctx, const std::string& id, GcReason reason,
                                                          const std::function<Result<bool>()>& unused) {
  ASSIGN_OR_RETURN(const auto records, stores_.catalog.FindImagesById(id));
  const std::string why = "{\"by\":\"garbage collection\",\"reason\":\"" + std::string(Name(reason)) + "\"}";
  std::optional<std::uint64_t> freed;
  for (const auto& record : records) {
    if (record.config.ToString() != id) continue;
    ASSIGN_OR_RETURN(const auto removed, reclaimer_.RemoveUnused(ctx, record.manifest, unused, {.pinned = false, .record = why}));
    if (removed) freed = freed.value_or(0) + removed->freed.bytes;
  }
  return freed;
}

Result<std::vector<Object>> StoredImages::WouldFree(const task::Context&, std::uint64_t wanted, const std::set<std::string>& gone) {
  ASSIGN_OR_RETURN(auto would, reclaimer_.WouldFree(ages_, wanted, gone));
  if (would.bytes >= wanted) return std::move(would.objects);
  ASSIGN_OR_RETURN(auto young, reclaimer_.WouldFree(kAnyAge, 0, gone));
  std::set<Object> old(would.objects.begin(), would.objects.end());
  std::ranges::copy_if(young.objects, std::back_inserter(would.objects), [&](const Object& object) { return !old.contains(object); });
  return std::move(would.objects);
}

Result<std::vector<Object>> StoredImages::FreeUnneeded(const task::Context& ctx, std::uint64_t wanted) {
  auto swept = reclaimer_.Sweep(ctx, ages_);
  const bool full = !swept && swept.error().reason() == Reason::kNoSpace;
  if (!swept && !full) return std::move(swept).error();
  Freed freed = full ? Freed() : *std::move(swept);
  const auto add = [&](Freed more) {
    for (auto& object : more.objects) freed.Add(std::move(object));
  };
  if (freed.bytes < wanted) {
    ASSIGN_OR_RETURN(Freed cache, reclaimer_.FreeCache(ctx, wanted - freed.bytes));
    add(std::move(cache));
  }
  // What the cache gave back has room for the rows of the rest.
  if (!full && freed.bytes >= wanted) return std::move(freed.objects);
  auto rest = reclaimer_.Sweep(ctx, freed.bytes < wanted ? kAnyAge : ages_);
  if (!rest && (rest.error().reason() != Reason::kNoSpace || freed.objects.empty())) return std::move(rest).error();
  if (rest) add(*std::move(rest));
  return std::move(freed.objects);
}

Result<> StoredImages::MarkUsed(const std::vector<std::string>& ids, time::WallTime at) {
  std::vector<Digest> configs;
  for (const auto& id : ids) {
    ASSIGN_OR_RETURN(configs.emplace_back(), Digest::Parse(id));
  }
  return stores_.catalog.MarkUsed(configs, at);
}

Result<StoreUsage> MeasureStore(const task::Context& ctx, const host::Dir& root, const Reclaimer::Stores& stores) {
  StoreUsage usage;
  ASSIGN_OR_RETURN(const auto layers, stores.layers.DiskBytes());
  for (const auto& [digest, bytes] : layers) usage.layers += bytes;
  ASSIGN_OR_RETURN(const auto rows, stores.catalog.ListBlobs());
  std::set<Digest> cached;
  for (const auto& row : rows)
    if (row.kind == BlobKind::kLayer) cached.insert(row.digest);
  ASSIGN_OR_RETURN(const auto blobs, stores.content.List());
  for (const auto& blob : blobs) (cached.contains(blob.digest) ? usage.compressed : usage.documents) += blob.disk_bytes;
  ASSIGN_OR_RETURN(const auto partials, stores.content.Partials());
  for (const auto& partial : partials) usage.partials += partial.disk_bytes;
  for (const auto& [folder, bytes] : {std::pair("pods", &usage.pods), {"writable", &usage.pods}, {"logs", &usage.logs}}) {
    const auto dir = root.OpenDir(folder);
    if (!dir) continue;  // there are no Pods
    ASSIGN_OR_RETURN(const std::uint64_t taken, host::DiskUsage(ctx, *dir));
    *bytes += taken;
  }
  ASSIGN_OR_RETURN(const auto names, root.List());
  for (const auto& name : names) {
    const auto info = root.Stat(name);
    if (name.find(".db") != name.npos && info && info->kind == host::FileKind::kFile) usage.databases += info->allocated;
  }
  ASSIGN_OR_RETURN(usage.total, host::DiskUsage(ctx, root));
  const std::uint64_t known =
      usage.layers + usage.compressed + usage.documents + usage.partials + usage.pods + usage.logs + usage.databases;
  usage.total = std::max(usage.total, known);  // somebody may have written meanwhile
  usage.other = usage.total - known;
  return usage;
}

Result<InUse> MountedImages(catalog::Catalog& catalog) {
  ASSIGN_OR_RETURN(const auto mounts, catalog.ListMounts());
  InUse in_use;
  for (const auto& mount : mounts) {
    ASSIGN_OR_RETURN(const auto image, catalog.FindImage(mount.manifest));
    if (image) in_use.emplace(image->config.ToString(), "the mount at " + Quoted(mount.target));
  }
  return in_use;
}

}  // namespace berth::reclaim
