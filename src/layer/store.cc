#include "layer/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <utility>

#include "codec/crc32c.h"
#include "erofs/reader.h"
#include "host/disk_usage.h"
#include "host/fault.h"
#include "host/fd.h"
#include "host/machine.h"
#include "layer/data_writer.h"
#include "layer/descriptor.h"
#include "layer/fit.h"
#include "layer/tree_check.h"

namespace berth::layer {
namespace {

using digest::Digest;
using host::Dir;
using host::Fd;

constexpr std::string_view kMeta = ".meta", kData = ".data", kTree = ".tree";
constexpr std::size_t kVariantDigits = 16;

std::string Stem(const Digest& blob) {
  return blob.algorithm() == digest::Algorithm::kSha256 ? blob.Hex() : std::string(digest::Name(blob.algorithm())) + "-" + blob.Hex();
}
std::optional<Digest> FromStem(std::string_view stem) {
  const std::size_t dash = stem.find('-');
  const std::string text = dash == stem.npos
                               ? "sha256:" + std::string(stem)
                               : std::string(stem.substr(0, dash)) + ":" + std::string(stem.substr(dash + 1));
  auto parsed = Digest::Parse(text);
  return parsed && Stem(*parsed) == stem ? std::optional(*parsed) : std::nullopt;
}

// A name in layers/, taken apart.
struct FileName {
  Digest blob;
  std::string variant;
  std::string_view kind;  // kMeta, kData, kTree
};
std::optional<FileName> ParseName(std::string_view name) {
  FileName file;
  for (const std::string_view kind : {kMeta, kData, kTree}) {
    if (name.ends_with(kind)) file.kind = kind;
  }
  if (file.kind.empty()) return std::nullopt;
  name.remove_suffix(file.kind.size());
  if (const std::size_t at = name.find('@'); at != name.npos) {
    file.variant = name.substr(at + 1);
    name = name.substr(0, at);
    if (file.variant.size() != kVariantDigits) return std::nullopt;
  }
  const auto blob = FromStem(name);
  if (!blob) return std::nullopt;
  file.blob = *blob;
  return file;
}

Result<> CheckVariantName(std::string_view variant) {
  const bool good = variant.size() == kVariantDigits &&
                    std::ranges::all_of(variant, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  return good ? Result<>{} : Error(Reason::kUsage, "this is no name of a layer's variant: " + Quoted(variant));
}
std::string MetaName(const Digest& blob, std::string_view variant) {
  return Stem(blob) + (variant.empty() ? "" : "@" + std::string(variant)) + std::string(kMeta);
}

Error Corrupt(std::string text) {
  return Error(Reason::kCorrupt, std::move(text)).Next("run: berth fsck --repair, or pull the image again");
}
bool IsDamage(const Error& error) { return error.reason() == Reason::kCorrupt || error.reason() == Reason::kUnexpectedEof; }

// What can be told about a .meta file without reading all of it.
Result<Descriptor> LookAt(int meta) {
  ASSIGN_OR_RETURN(Descriptor descriptor, ReadDescriptor(meta, Parts::kJson));
  std::array<std::byte, erofs::kFirstBlock> block;
  if (descriptor.image_bytes < block.size()) return Corrupt("its image is shorter than one block");
  RETURN_IF_ERROR(host::PreadExact(meta, block, 0));
  RETURN_IF_ERROR(erofs::CheckSuperblock(block));
  return descriptor;
}

Error Missing(const Digest& blob) { return Error(Reason::kMissing, "the store has no layer " + blob.ToString()); }

std::string ContentsName(const UnpackReport& report) {
  return Stem(report.blob) + std::string(report.form == Form::kErofs ? kData : kTree);
}

// The chain of blobs up to a layer, as a name.
std::string VariantName(std::span<const Digest> chain) {
  std::string text;
  for (const Digest& blob : chain) text += blob.ToString() + "\n";
  return Digest::Of(bytes::AsView(text)).Hex().substr(0, kVariantDigits);
}

// Every byte. What cannot be read is not the same.
bool SameBytes(int a, int b) {
  const auto info_a = host::Stat(a), info_b = host::Stat(b);
  if (!info_a || !info_b || info_a->size != info_b->size) return false;
  std::vector<std::byte> part_a(64u << 10), part_b(part_a.size());
  for (std::uint64_t at = 0; at < info_a->size; at += part_a.size()) {
    part_a.resize(std::min<std::uint64_t>(part_a.size(), info_a->size - at));
    part_b.resize(part_a.size());
    if (!host::PreadExact(a, part_a, at) || !host::PreadExact(b, part_b, at) || part_a != part_b) return false;
  }
  return true;
}

// Where on its device a file's contents are.
std::vector<std::uint64_t> PlaceOf(const erofs::Node& file) {
  if (!file.sparse) return {file.size, file.data_offset};
  std::vector<std::uint64_t> place{file.size};
  for (const erofs::Extent& e : *file.sparse) place.insert(place.end(), {e.file_offset, e.device_offset, e.length});
  return place;
}
// One of holes only has none, and no device.
bool HasContents(const erofs::Node& n) {
  return n.hard_link == erofs::kNoNode && S_ISREG(n.mode) && n.size > 0 && !(n.sparse && n.sparse->empty());
}

// Opens the directory and all above it step by step; a name is a name, not a path.
Result<Dir> Descend(const Dir& root, std::string_view path) {
  ASSIGN_OR_RETURN(Fd copy, root.Duplicate());
  Dir here(std::move(copy));
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    ASSIGN_OR_RETURN(here, here.OpenDir(part));
  }
  return here;
}

Result<> Mark(const Dir& tree, const std::vector<std::string>& paths, std::string_view xattr, std::string_view value) {
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const Dir dir, Descend(tree, path));
    const Fd open(::openat(dir.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!open.valid() || ::fsetxattr(open.get(), xattr.data(), value.data(), value.size(), 0) != 0)
      return host::OsError(errno, "set overlayfs's attribute of a layer's directory");
  }
  return {};
}

}  // namespace

bool IsLost(const Error& error) { return IsDamage(error) || error.reason() == Reason::kIo; }

// ---- Staging

struct Staging::State {
  State(const task::Context& context, const LayerStore& owner) : ctx(context), store(&owner), windows(owner.windows_) {}
  task::Context ctx;
  const LayerStore* store;
  Digest blob;
  Form form = Form::kErofs;
  std::string stem;  // of the files in tmp/
  Fd data, meta;
  UnpackOptions options;
  codec::ZstdWindows frames;
  WindowBudget::Share windows;  // of them
  std::unique_ptr<Unpack> unpack;
  bytes::MutableView room;
  LayerInfo info;
  bool finished = false, written = false;
  bool at_work = false;

  // How many others are at work.
  int Leave() { return std::exchange(at_work, false) ? --store->at_work_ : 0; }

  std::string DataName() const { return stem + std::string(form == Form::kErofs ? kData : kTree); }
  std::string Meta() const { return stem + std::string(kMeta); }
};

Staging::Staging(std::unique_ptr<State> state) : state_(std::move(state)) {}

Staging::~Staging() {
  if (state_->stem.empty()) return;
  (void)state_->Leave();
  state_->unpack.reset();  // the worker first: it must not write into what is being removed
  // What cannot be removed now is removed at the next start.
  (void)state_->store->tmp_.Unlink(state_->Meta());
  (void)state_->store->tmp_.RemoveTree(state_->DataName());
}

pid_t Staging::worker_pid() const { return state_->unpack->pid(); }
bool Staging::holds_window() const { return state_->windows.units() > 0; }

Result<bytes::MutableView> Staging::Room() {
  ASSIGN_OR_RETURN(state_->room, state_->unpack->Room());
  return state_->room;
}

// Before a worker can allocate a zstd window, memory for it comes out of what all workers share.
Result<> Staging::Admit(bytes::View next) {
  State& s = *state_;
  const std::uint64_t window = s.frames.Take(next);
  if (window <= s.windows.units()) return {};
  const std::uint64_t allowed = s.store->windows_.most();
  if (window > allowed) {
    const bool budget = s.store->options_.zstd_budget_bytes < s.store->options_.unpack.codec.zstd_window_bytes;
    const std::string limit = budget ? "zstd_budget_bytes" : "zstd_window_bytes";
    return Error(Reason::kLimitExceeded, "a zstd frame needs a window of " + std::to_string(window) + " bytes, allowed are " + std::to_string(allowed) +
                                             " (limit " + limit + ")")
        .Next("raise limits." + limit + ", if you trust this image");
  }
  return s.windows.Grow(s.ctx, window);
}

Result<> Staging::HandOver(std::size_t count) {
  if (std::exchange(state_->written, true)) {
    BERTH_FAULT_IN(state_->ctx, kUnpackHalf);
  }
  RETURN_IF_ERROR(Admit(state_->room.first(count)));
  state_->room = state_->room.subspan(count);
  return state_->unpack->HandOver(count);
}

Result<> Staging::Write(bytes::View chunk) {
  while (!chunk.empty()) {
    ASSIGN_OR_RETURN(const bytes::MutableView room, Room());
    const std::size_t count = std::min(room.size(), chunk.size());
    std::copy_n(chunk.data(), count, room.data());
    RETURN_IF_ERROR(HandOver(count));
    chunk = chunk.subspan(count);
  }
  return {};
}

Result<LayerInfo> Staging::Finish(const std::optional<Digest>& expected) {
  State& s = *state_;
  s.unpack->Close();
  // A worker is busy for a while with what it has: most of a tree is on the disk when it ends. Not beside others at work, whom a
  // sync of the whole file system holds up.
  if (s.Leave() == 0 && s.form == Form::kTree) RETURN_IF_ERROR(host::SyncFileSystem(s.meta.get()));
  ASSIGN_OR_RETURN(const Unpack::Answer answer, s.unpack->Finish());
  s.windows.Release();
  const UnpackReport& report = answer.report;
  BERTH_FAULT_IN(s.ctx, kUnpackLast);
  if (expected && *expected != report.diff_id) {
    return Error(Reason::kDigestMismatch, "the unpacked layer has the digest " + report.diff_id.ToString() + ", its image says " + expected->ToString());
  }
  BERTH_FAULT_IN(s.ctx, kUnpackCompared);
  if (s.form == Form::kTree) {
    const Dir tree(std::move(s.data));
    RETURN_IF_ERROR(Mark(tree, answer.marks.opaque, kOpaqueXattr, kOpaqueValue));
    RETURN_IF_ERROR(Mark(tree, answer.marks.origin, kOriginXattr, {}));
    RETURN_IF_ERROR(host::SyncFileSystem(s.meta.get()));
  } else {
    ASSIGN_OR_RETURN(const host::FileInfo data, host::Stat(s.data.get()));
    if (data.size != report.data_bytes) return Error(Reason::kInternal, "the unpack worker wrote another number of bytes than it says");
    RETURN_IF_ERROR(host::SyncFile(s.data.get()));
    RETURN_IF_ERROR(host::SyncFile(s.meta.get()));
  }
  ASSIGN_OR_RETURN(const Descriptor descriptor, ReadDescriptor(s.meta.get(), Parts::kJson));
  if (descriptor.json != report.ToJson()) return Error(Reason::kInternal, "the unpack worker wrote another descriptor than it says");
  BERTH_FAULT_IN(s.ctx, kLayerSynced);
  ASSIGN_OR_RETURN(const host::FileInfo meta, host::Stat(s.meta.get()));
  s.info = {.report = report, .disk_bytes = report.data_bytes + meta.allocated};
  s.finished = true;
  return s.info;
}

Result<LayerInfo> Staging::Commit() {
  State& s = *state_;
  BERTH_CHECK(s.finished);
  const LayerStore& store = *s.store;
  const std::string contents = ContentsName(s.info.report);
  ASSIGN_OR_RETURN(const bool known, store.layers_.Exists(MetaName(s.blob, {})));
  if (known) {
    if (auto found = store.Find(s.blob); found && *found) return **found;
    // A damaged one makes room.
    RETURN_IF_ERROR(store.RemoveDamaged(s.ctx, s.blob, s.form));
  }
  if (s.form == Form::kErofs) RETURN_IF_ERROR(store.DropMisplaced(s.blob, s.meta.get()));
  auto renamed = store.tmp_.Rename(s.DataName(), store.layers_, contents, host::Replace::kNo);
  if (!renamed && renamed.error().reason() == Reason::kConflict) {
    // Left by a crash, or just now by another unpack of this blob: the same bytes, but ours are known to be whole.
    if (s.form == Form::kTree) RETURN_IF_ERROR(store.layers_.RemoveTree(s.ctx, contents));
    renamed = store.tmp_.Rename(s.DataName(), store.layers_, contents, s.form == Form::kErofs ? host::Replace::kYes : host::Replace::kNo);
  }
  RETURN_IF_ERROR(host::Made(std::move(renamed)));
  renamed = store.tmp_.Rename(s.Meta(), store.layers_, MetaName(s.blob, {}), host::Replace::kNo);
  if (!renamed && renamed.error().reason() != Reason::kConflict) return std::move(renamed).error();
  BERTH_FAULT_IN(s.ctx, kLayerRenamed);
  RETURN_IF_ERROR(store.layers_.Sync());
  BERTH_FAULT_IN(s.ctx, kLayerDirSynced);
  return s.info;
}

// ---- LayerStore

LayerStore::LayerStore(std::string path, StoreOptions options)
    : path_(std::move(path)), options_(std::move(options)),
      windows_(options_.zstd_budget_bytes, std::min(options_.unpack.codec.zstd_window_bytes, options_.zstd_budget_bytes)) {}

Result<std::unique_ptr<LayerStore>> LayerStore::Open(const std::string& path, StoreOptions options) {
  std::unique_ptr<LayerStore> store(new LayerStore(path, std::move(options)));
  ASSIGN_OR_RETURN(const Dir root, Dir::Open(path));
  ASSIGN_OR_RETURN(store->layers_, root.MakeAndOpenDir("layers", 0700));
  ASSIGN_OR_RETURN(store->tmp_, root.MakeAndOpenDir("tmp", 0700));
  RETURN_IF_ERROR(root.Sync());
  return store;
}

Result<std::unique_ptr<Staging>> LayerStore::Stage(const task::Context& ctx, const Digest& blob, Form form,
                                                   digest::Algorithm diff_algorithm) const {
  auto state = std::make_unique<Staging::State>(ctx, *this);
  Staging::State& s = *state;
  s.blob = blob;
  s.form = form;
  s.stem = host::RandomName();
  std::unique_ptr<Staging> staging(new Staging(std::move(state)));  // cleans up from here on
  if (form == Form::kErofs) {
    ASSIGN_OR_RETURN(s.data, host::Made(tmp_.CreateNew(s.DataName(), 0600)));
  } else {
    ASSIGN_OR_RETURN(const Dir dir, host::Made(tmp_.MakeAndOpenDir(s.DataName(), 0700)));
    s.data.reset(::openat(dir.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!s.data.valid()) return host::OsError(errno, "open a layer's new folder");
  }
  ASSIGN_OR_RETURN(s.meta, tmp_.CreateNew(s.Meta(), 0600));
  s.options = options_.unpack;
  s.options.blob = blob;
  s.options.form = form;
  s.options.diff_algorithm = diff_algorithm;
  s.options.codec.zstd_window_bytes = std::bit_ceil(windows_.most());  // libzstd knows powers of two only; Admit() has the limit itself
  ASSIGN_OR_RETURN(s.unpack, Unpack::Start(ctx, options_.worker, s.data.get(), s.meta.get(), s.options));
  ++at_work_;
  s.at_work = true;
  BERTH_FAULT_IN(ctx, kUnpackStarted);
  return staging;
}

Result<std::optional<LayerInfo>> LayerStore::Find(const Digest& blob) const {
  auto meta = layers_.OpenRead(MetaName(blob, {}));
  if (!meta && meta.error().reason() == Reason::kMissing) return std::nullopt;
  auto looked = meta ? LookAt(meta->get()) : Result<Descriptor>(meta.error());
  if (!looked && IsLost(looked.error())) return Corrupt("the metadata of layer " + blob.ToString() + " is damaged: " + looked.error().message());
  if (!looked) return std::move(looked).error();
  const Descriptor& descriptor = *looked;
  LayerInfo info;
  ASSIGN_OR_RETURN(info.report, UnpackReport::FromJson(descriptor.json));
  if (info.report.blob != blob || info.report.image_bytes != descriptor.image_bytes) {
    return Corrupt("the descriptor of layer " + blob.ToString() + " belongs to another layer");
  }
  ASSIGN_OR_RETURN(const host::FileInfo meta_info, host::Stat(meta->get()));
  const auto contents = layers_.Stat(ContentsName(info.report));
  if (!contents && contents.error().reason() != Reason::kMissing) return Error(contents.error());
  const bool tree = info.report.form == Form::kTree;
  const bool whole = contents && contents->kind == (tree ? host::FileKind::kDirectory : host::FileKind::kFile) &&
                     (tree || contents->size == info.report.data_bytes);
  if (!whole) return Corrupt("the contents of layer " + blob.ToString() + " are missing or have a wrong length");
  info.disk_bytes = meta_info.allocated + (tree ? info.report.data_bytes : contents->allocated);
  return info;
}

Result<bool> LayerStore::Has(const Digest& blob, std::string_view variant) const {
  const auto found = Find(blob);
  if (!found && !IsDamage(found.error())) return found.error();
  if (!found || !*found) return false;
  if (variant.empty()) return true;
  const auto meta = layers_.OpenRead(MetaName(blob, variant));
  if (!meta && (meta.error().reason() == Reason::kMissing || IsLost(meta.error()))) return false;
  if (!meta) return meta.error();
  const auto whole = [&]() -> Result<bool> {
    ASSIGN_OR_RETURN(const Descriptor descriptor, LookAt(meta->get()));
    ASSIGN_OR_RETURN(const VariantReport report, VariantReport::FromJson(descriptor.json));
    return report.blob == blob;
  }();
  return whole || !IsLost(whole.error()) ? whole : Result<bool>(false);
}

Result<std::vector<LayerInfo>> LayerStore::List(std::vector<std::string>* damaged) const {
  std::vector<LayerInfo> all;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, layers_.List());
  std::vector<FileName> variants;
  for (const std::string& name : names) {
    const auto file = ParseName(name);
    if (!file || file->kind != kMeta) continue;
    if (!file->variant.empty()) {
      variants.push_back(*file);
      continue;
    }
    auto info = Find(file->blob);
    if (info && *info) {
      all.push_back(std::move(**info));
    } else if (!info && !IsLost(info.error())) {
      return std::move(info).error();
    } else if (!info && damaged) {
      damaged->push_back(name);
    }
  }
  for (const FileName& variant : variants) {
    const auto owner = std::ranges::find(all, variant.blob, [](const LayerInfo& info) { return info.report.blob; });
    if (owner == all.end()) continue;
    owner->variants.push_back(variant.variant);
    if (const auto info = layers_.Stat(MetaName(variant.blob, variant.variant))) owner->disk_bytes += info->allocated;
  }
  return all;
}

Result<std::map<Digest, std::uint64_t>> LayerStore::DiskBytes(const std::set<Digest>* only) const {
  std::map<Digest, std::uint64_t> taken;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, layers_.List());
  for (const std::string& name : names) {
    const auto file = ParseName(name);
    if (!file || (only != nullptr && !only->contains(file->blob))) continue;
    std::uint64_t& bytes = taken[file->blob];
    if (file->kind == kTree) {
      // A tree may go meanwhile: it is renamed, then emptied.
      const auto tree = layers_.OpenDir(name);
      if (!tree && tree.error().reason() == Reason::kMissing) continue;
      if (!tree) return tree.error();
      const auto size = host::DiskUsage({}, *tree);
      if (!size && size.error().reason() != Reason::kInUse) return size.error();
      bytes += size ? *size : 0;
    } else if (const auto info = layers_.Stat(name)) {
      bytes += info->allocated;
    }
  }
  return taken;
}

Result<bool> LayerStore::Remove(const task::Context& ctx, const Digest& blob) const { return RemoveFiles(ctx, blob, std::nullopt); }

Result<bool> LayerStore::RemoveDamaged(const task::Context& ctx, const Digest& blob, Form form) const {
  return RemoveFiles(ctx, blob, form);
}

Result<bool> LayerStore::RemoveFiles(const task::Context& ctx, const Digest& blob, std::optional<Form> next) const {
  ASSIGN_OR_RETURN(bool any, layers_.Unlink(MetaName(blob, {})));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, layers_.List());
  for (const std::string& name : names) {
    const auto file = ParseName(name);
    if (!file || file->blob != blob) continue;
    Descriptor variant;
    if (next == Form::kErofs && !file->variant.empty() && VerifyMeta(blob, file->variant, Depth::kMetadata, variant)) continue;
    any = true;
    if (file->kind != kTree) {
      RETURN_IF_ERROR(layers_.Unlink(name));
      continue;
    }
    // Out of sight first: a tree is not gone at once.
    const std::string gone = host::RandomName() + std::string(kTree);
    RETURN_IF_ERROR(layers_.Rename(name, tmp_, gone, host::Replace::kNo));
    RETURN_IF_ERROR(tmp_.RemoveTree(ctx, gone));
  }
  return any;
}

Result<> LayerStore::DropMisplaced(const Digest& blob, int meta) const {
  std::set<std::vector<std::uint64_t>> places;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, host::Made(layers_.List()));
  for (const std::string& name : names) {
    const auto file = ParseName(name);
    if (!file || file->blob != blob || file->variant.empty() || file->kind != kMeta) continue;
    if (places.empty()) {
      places.emplace();
      ASSIGN_OR_RETURN(const Descriptor descriptor, ReadDescriptor(meta, Parts::kJson));
      std::vector<std::byte> image(descriptor.image_bytes);
      RETURN_IF_ERROR(host::PreadExact(meta, image, 0));
      ASSIGN_OR_RETURN(const erofs::ReadImage read, erofs::ReadMetadata(image));
      for (const erofs::Node& n : read.tree.nodes)
        if (HasContents(n)) places.insert(PlaceOf(n));
    }
    Descriptor descriptor;
    erofs::Tree tree;
    const auto fits = [&]() -> Result<bool> {
      RETURN_IF_ERROR(VerifyMeta(blob, file->variant, Depth::kMetadata, descriptor, &tree));
      ASSIGN_OR_RETURN(const VariantReport report, VariantReport::FromJson(descriptor.json));
      return std::ranges::all_of(tree.nodes, [&](const erofs::Node& n) {
        return !HasContents(n) || (n.device < report.devices.size() && (report.devices[n.device] != blob || places.contains(PlaceOf(n))));
      });
    }();
    if (!fits && fits.error().reason() == Reason::kUnavailable) return fits.error();  // no descriptor, no memory
    if (!fits || !*fits) RETURN_IF_ERROR(layers_.Unlink(name));
  }
  return {};
}

Result<std::uint64_t> LayerStore::VariantBytes(const Digest& blob, std::string_view variant) const {
  RETURN_IF_ERROR(CheckVariantName(variant));
  const auto info = layers_.Stat(MetaName(blob, variant));
  if (!info && info.error().reason() == Reason::kMissing) return std::uint64_t{0};
  if (!info) return info.error();
  return info->allocated;
}

Result<bool> LayerStore::RemoveVariant(const Digest& blob, std::string_view variant) const {
  RETURN_IF_ERROR(CheckVariantName(variant));
  return layers_.Unlink(MetaName(blob, variant));
}

Result<> LayerStore::VerifyMeta(const Digest& blob, std::string_view variant, Depth depth, Descriptor& descriptor,
                                erofs::Tree* tree) const {
  ASSIGN_OR_RETURN(const Fd meta, layers_.OpenRead(MetaName(blob, variant)));
  ASSIGN_OR_RETURN(descriptor, ReadDescriptor(meta.get(), Parts::kAll));
  if (depth == Depth::kDescriptor) return {};
  std::uint32_t crc = 0;
  if (variant.empty()) {
    ASSIGN_OR_RETURN(const UnpackReport report, UnpackReport::FromJson(descriptor.json));
    crc = report.image_crc32c;
  } else {
    ASSIGN_OR_RETURN(const VariantReport report, VariantReport::FromJson(descriptor.json));
    if (report.blob != blob) return Corrupt("the variant belongs to another layer");
    crc = report.image_crc32c;
  }
  std::vector<std::byte> image(descriptor.image_bytes);
  RETURN_IF_ERROR(host::PreadExact(meta.get(), image, 0));
  if (codec::Crc32c(image) != crc) return Corrupt("the metadata of the layer is damaged: its checksum is wrong");
  ASSIGN_OR_RETURN(erofs::ReadImage read, erofs::ReadMetadata(image));
  if (variant.empty()) RETURN_IF_ERROR(DecodeFixups(bytes::AsView(descriptor.fixups), read.tree));
  if (tree != nullptr) *tree = std::move(read.tree);
  return {};
}

Result<> LayerStore::VerifyVariant(const Digest& blob, std::string_view variant, Depth depth) const {
  RETURN_IF_ERROR(CheckVariantName(variant));
  Descriptor descriptor;
  return VerifyMeta(blob, variant, depth, descriptor);
}

Result<> LayerStore::Verify(const task::Context& ctx, const Digest& blob, Depth depth) const {
  ASSIGN_OR_RETURN(const std::optional<LayerInfo> info, Find(blob));
  if (!info) return Missing(blob);
  const std::string place = "layer " + blob.ToString();
  Descriptor descriptor;
  erofs::Tree tree;
  if (auto good = VerifyMeta(blob, {}, depth, descriptor, &tree); !good) return Error(std::move(good).error()).Context(place);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, layers_.List());
  for (const std::string& name : names) {
    const auto file = ParseName(name);
    if (!file || file->blob != blob || file->variant.empty() || file->kind != kMeta) continue;
    RETURN_IF_ERROR(ctx.Check());
    Descriptor variant;
    if (auto good = VerifyMeta(blob, file->variant, depth, variant); !good)
      return Error(std::move(good).error()).Context("variant " + file->variant).Context(place);
  }
  if (depth != Depth::kData) return {};
  if (info->report.form == Form::kTree) {
    ASSIGN_OR_RETURN(const Dir root, layers_.OpenDir(ContentsName(info->report)));
    auto same = CheckTree(ctx, root, tree, descriptor.crcs);
    if (!same && same.error().reason() == Reason::kCorrupt) return Corrupt("the tree of " + place + " is damaged: " + same.error().message());
    return same;
  }
  if (descriptor.crcs.size() != (info->report.data_bytes + kCrcBlock - 1) / kCrcBlock) return Corrupt("the descriptor of " + place + " lacks checksums");
  ASSIGN_OR_RETURN(const Fd data, layers_.OpenRead(ContentsName(info->report)));
  std::vector<std::byte> block(kCrcBlock);
  for (std::size_t i = 0; i < descriptor.crcs.size(); ++i) {
    RETURN_IF_ERROR(ctx.Check());
    const auto part = std::span(block).first(std::min<std::uint64_t>(kCrcBlock, info->report.data_bytes - i * kCrcBlock));
    RETURN_IF_ERROR(host::PreadExact(data.get(), part, i * kCrcBlock));
    if (codec::Crc32c(part) != descriptor.crcs[i]) {
      return Corrupt("the contents of " + place + " are damaged between the bytes " + std::to_string(i * kCrcBlock) + " and " +
                     std::to_string(i * kCrcBlock + part.size()));
    }
  }
  return {};
}

Result<std::vector<std::string>> LayerStore::FitToImage(const task::Context& ctx, std::span<const Digest> blobs) const {
  struct Variant {
    std::string tmp, name;
    Fd fd;
  };
  std::vector<std::string> result(blobs.size());
  std::vector<Fd> metas;
  std::vector<Variant> variants(blobs.size());
  RootAttributes root;  // as the layers so far give it
  std::size_t count = 0;  // layers that the worker has to see
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    ASSIGN_OR_RETURN(const std::optional<LayerInfo> info, Find(blobs[i]));
    if (!info) return Missing(blobs[i]);
    const UnpackReport& r = info->report;
    RootAttributes plain = root;
    plain.implied = true;
    const bool other_root = r.root.implied && plain != RootAttributes{};
    if (!r.root.implied) root = r.root;
    root.opaque = false;
    if (r.outside_links == 0 && (i == 0 || (r.implied == 0 && !other_root))) continue;
    count = i + 1;
    variants[i].name = VariantName(blobs.first(i + 1));
  }
  if (count == 0) return result;

  std::vector<FitLayer> layers(count);
  const auto clean_up = [&] {
    for (const Variant& v : variants) {
      if (!v.tmp.empty()) (void)tmp_.Unlink(v.tmp);
    }
  };
  const auto fit = [&]() -> Result<> {
    for (std::size_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(Fd meta, layers_.OpenRead(MetaName(blobs[i], {})));
      layers[i] = {.blob = blobs[i], .meta_fd = meta.get()};
      metas.push_back(std::move(meta));
      if (variants[i].name.empty()) continue;
      variants[i].tmp = host::RandomName() + std::string(kMeta);
      ASSIGN_OR_RETURN(variants[i].fd, tmp_.CreateNew(variants[i].tmp, 0600));
      layers[i].variant_fd = variants[i].fd.get();
    }
    ASSIGN_OR_RETURN(const std::vector<bool> written, RunFit(ctx, options_.worker, layers, options_.unpack));
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) {
      if (!written[i]) continue;
      any = true;
      result[i] = variants[i].name;
      // The same chain gives the same bytes: an old one stays, as a mount of the same file is the same, unless it is damaged.
      const std::string name = MetaName(blobs[i], variants[i].name);
      if (const auto old = layers_.OpenRead(name); old && SameBytes(old->get(), variants[i].fd.get())) continue;
      RETURN_IF_ERROR(host::SyncFile(variants[i].fd.get()));
      RETURN_IF_ERROR(tmp_.Rename(variants[i].tmp, layers_, name, host::Replace::kYes));
      variants[i].tmp.clear();
    }
    return any ? layers_.Sync() : Result<>{};
  };
  auto done = fit();
  clean_up();
  RETURN_IF_ERROR(done);
  return result;
}

Result<MountSource> LayerStore::Sources(const Digest& blob, std::string_view variant) const {
  ASSIGN_OR_RETURN(const std::optional<LayerInfo> info, Find(blob));
  if (!info) return Missing(blob);
  const std::string base = path_ + "/layers/";
  const UnpackReport& report = info->report;
  if (report.form == Form::kTree) return MountSource{Form::kTree, base + ContentsName(report), {}};
  MountSource source{Form::kErofs, base + MetaName(blob, variant), {}};
  if (variant.empty()) {
    if (report.data_bytes > 0) source.data.push_back(base + ContentsName(report));
    return source;
  }
  RETURN_IF_ERROR(CheckVariantName(variant));
  ASSIGN_OR_RETURN(const Fd meta, layers_.OpenRead(MetaName(blob, variant)));
  ASSIGN_OR_RETURN(const Descriptor descriptor, ReadDescriptor(meta.get(), Parts::kJson));
  ASSIGN_OR_RETURN(const VariantReport devices, VariantReport::FromJson(descriptor.json));
  for (const Digest& device : devices.devices) source.data.push_back(base + Stem(device) + std::string(kData));
  return source;
}

Result<std::size_t> LayerStore::RecoverTmp() const {
  std::size_t removed = 0;
  ASSIGN_OR_RETURN(const std::vector<std::string> left, tmp_.List());
  for (const std::string& name : left) {
    ASSIGN_OR_RETURN(const bool gone, tmp_.RemoveTree(name));
    removed += gone;
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> names, layers_.List());
  for (const std::string& name : names) {
    const auto file = ParseName(name);
    if (!file || (file->kind == kMeta && file->variant.empty())) continue;
    ASSIGN_OR_RETURN(const bool owned, layers_.Exists(MetaName(file->blob, {})));
    if (owned) continue;
    ASSIGN_OR_RETURN(const bool gone, layers_.RemoveTree(name));
    removed += gone;
  }
  if (removed > 0) {
    RETURN_IF_ERROR(tmp_.Sync());
    RETURN_IF_ERROR(layers_.Sync());
  }
  return removed;
}

}  // namespace berth::layer
