#include "content/store.h"

#include <algorithm>
#include <vector>

#include "host/fault.h"

namespace berth::content {
namespace {

using digest::Digest;

std::string BlobName(const Digest& d) { return std::string(digest::Name(d.algorithm())) + "/" + d.Hex(); }
std::string PartialName(const Digest& d) { return std::string(digest::Name(d.algorithm())) + "-" + d.Hex(); }

Error Damaged(const Digest& d) {
  return Error(Reason::kDigestMismatch, "the stored blob " + d.ToString() + " is damaged").Next("run: berth fsck --repair, then pull again");
}

}  // namespace

Ingest::~Ingest() {
  std::lock_guard lock(store_->mutex_);
  store_->ingesting_.erase(digest_);
}

Result<> Ingest::Append(bytes::View chunk) {
  if (too_long_) RETURN_IF_ERROR(Restart());
  RETURN_IF_ERROR(host::PwriteAll(file_.get(), chunk, length_));
  length_ += chunk.size();
  return {};
}

Result<std::size_t> Ingest::ReadAt(std::uint64_t offset, bytes::MutableView room) const {
  if (too_long_) return std::size_t{0};
  return host::PreadSome(file_.get(), room, offset);
}

Result<> Ingest::Restart() {
  RETURN_IF_ERROR(host::Truncate(file_.get(), 0));
  length_ = 0;
  too_long_ = false;
  return {};
}

Result<> Ingest::Keep() {
  RETURN_IF_ERROR(host::Truncate(file_.get(), length_));  // an Append() that failed may have left a tail
  RETURN_IF_ERROR(store_->ingest_.Rename(PartialName(digest_), store_->blobs_, BlobName(digest_), host::Replace::kYes));
  BERTH_FAULT(kBlobRenamed);
  return {};
}

Result<> Ingest::Discard() {
  ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, store_->ingest_.Unlink(PartialName(digest_)));
  return {};
}

Result<std::unique_ptr<Store>> Store::Open(const host::Dir& root) {
  std::unique_ptr<Store> store(new Store);
  ASSIGN_OR_RETURN(store->blobs_, root.MakeAndOpenDir("blobs", 0700));
  ASSIGN_OR_RETURN(store->ingest_, root.MakeAndOpenDir("ingest", 0700));
  for (const auto algorithm : digest::kAlgorithms) RETURN_IF_ERROR(store->blobs_.MakeDir(digest::Name(algorithm), 0700));
  RETURN_IF_ERROR(store->blobs_.Sync());
  RETURN_IF_ERROR(root.Sync());
  return store;
}

Result<> Store::Put(const Digest& digest, std::string_view document) {
  if (Digest::Of(bytes::AsView(document), digest.algorithm()) != digest)
    return Error(Reason::kDigestMismatch, "a document does not hash to " + digest.ToString());
  ASSIGN_OR_RETURN(const host::Dir folder, host::Made(blobs_.OpenDir(digest::Name(digest.algorithm()))));
  return folder.WriteDurably(digest.Hex(), bytes::AsView(document), 0600);
}

Result<std::string> Store::ReadDocument(const Digest& digest, std::size_t limit) const {
  auto document = blobs_.ReadSmall(BlobName(digest), limit);
  if (!document && document.error().reason() == Reason::kMissing)
    return Error(Reason::kMissing, "the store has no blob " + digest.ToString()).Next("run: berth fsck --repair");
  if (document && Digest::Of(bytes::AsView(*document), digest.algorithm()) != digest) return Damaged(digest);
  return document;
}

Result<host::Fd> Store::Open(const Digest& digest) const { return blobs_.OpenRead(BlobName(digest)); }

Result<std::optional<std::uint64_t>> Store::Size(const Digest& digest) const {
  const auto info = blobs_.Stat(BlobName(digest));
  if (!info && info.error().reason() == Reason::kMissing) return std::optional<std::uint64_t>();
  if (!info) return info.error();
  return std::optional(info->size);
}

Result<std::optional<std::uint64_t>> Store::DiskBytes(const Digest& digest) const {
  const auto info = blobs_.Stat(BlobName(digest));
  if (!info && info.error().reason() == Reason::kMissing) return std::optional<std::uint64_t>();
  if (!info) return info.error();
  return std::optional(info->allocated);
}

Result<> Store::Verify(const Digest& digest) const {
  ASSIGN_OR_RETURN(const host::Fd file, Open(digest));
  digest::Hasher hasher(digest.algorithm());
  std::vector<std::byte> room(256u << 10);
  for (;;) {
    ASSIGN_OR_RETURN(const std::size_t got, host::ReadSome(file.get(), room));
    if (got == 0) break;
    hasher.Update(bytes::View(room).first(got));
  }
  if (hasher.Finish() != digest) return Damaged(digest);
  return {};
}

Result<bool> Store::Remove(const Digest& digest) { return blobs_.Unlink(BlobName(digest)); }

Result<std::vector<Store::Item>> Store::List() const {
  std::vector<Item> items;
  for (const auto algorithm : digest::kAlgorithms) {
    ASSIGN_OR_RETURN(const host::Dir folder, blobs_.OpenDir(digest::Name(algorithm)));
    ASSIGN_OR_RETURN(const auto names, folder.List());
    for (const auto& name : names) {
      auto digest = Digest::Parse(std::string(digest::Name(algorithm)) + ":" + name);
      const auto info = folder.Stat(name);
      if (digest && info) items.push_back({*std::move(digest), info->size, info->mtime_seconds, info->allocated});
    }
  }
  return items;
}

Result<std::unique_ptr<Ingest>> Store::Resume(const Digest& digest, std::uint64_t size) {
  {
    std::lock_guard lock(mutex_);
    if (!ingesting_.insert(digest).second)
      return Error(Reason::kConflict, "the blob " + digest.ToString() + " is being downloaded already");
  }
  // From here on the Ingest owns the claim, also when opening fails.
  std::unique_ptr<Ingest> ingest(new Ingest(this, digest, host::Fd(), 0));
  ASSIGN_OR_RETURN(ingest->file_, host::Made(ingest_.CreateOrOpen(PartialName(digest), 0600)));
  ASSIGN_OR_RETURN(const auto info, host::Stat(ingest->file_.get()));
  ingest->too_long_ = info.size > size;
  ingest->length_ = ingest->too_long_ ? 0 : info.size;
  BERTH_FAULT(kIngestCreated);
  return ingest;
}

Result<std::vector<Store::Item>> Store::Partials() const {
  ASSIGN_OR_RETURN(const auto names, ingest_.List());
  std::vector<Item> items;
  for (std::string name : names) {
    const auto dash = name.find('-');
    if (dash == name.npos) continue;
    auto digest = Digest::Parse(name.replace(dash, 1, ":"));
    if (!digest) continue;
    const auto info = ingest_.Stat(PartialName(*digest));
    if (info) items.push_back({*std::move(digest), info->size, info->mtime_seconds, info->allocated});
  }
  return items;
}

bool Store::InUse(const Digest& partial) const {
  std::lock_guard lock(mutex_);
  return ingesting_.contains(partial);
}

Result<bool> Store::RemovePartial(const Digest& digest) {
  std::lock_guard lock(mutex_);
  if (ingesting_.contains(digest)) return false;
  return ingest_.Unlink(PartialName(digest));
}

Result<std::size_t> Store::Recover() {
  std::size_t removed = 0;
  const auto sweep = [&](const host::Dir& folder, std::string_view prefix, char separator) -> Result<> {
    ASSIGN_OR_RETURN(const auto names, folder.List());
    for (const auto& name : names) {
      std::string text = std::string(prefix) + name;
      if (const auto at = text.find(separator); at != text.npos) text[at] = ':';
      if (Digest::Parse(text)) continue;
      ASSIGN_OR_RETURN(const bool gone, folder.RemoveTree(name));
      removed += gone ? 1 : 0;
    }
    return {};
  };
  for (const auto algorithm : digest::kAlgorithms) {
    ASSIGN_OR_RETURN(const host::Dir folder, blobs_.OpenDir(digest::Name(algorithm)));
    RETURN_IF_ERROR(sweep(folder, std::string(digest::Name(algorithm)) + ":", ':'));
  }
  RETURN_IF_ERROR(sweep(ingest_, "", '-'));
  return removed;
}

}  // namespace berth::content
