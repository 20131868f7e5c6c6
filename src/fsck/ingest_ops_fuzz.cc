// What pulls, removals, sweeps, crashes and power cuts do to a store, two bytes a step, with errors injected into steps, against a model
// (reliability-security 4.4, ingest_ops): names are those that were published; what has a name or a lease is whole; what is in blobs/
// hashes to its name, unless the power took the end of a cache; partials hold what was appended; fsck finds nothing else; and when all
// names are gone, nothing is left. The store is a temporary one, in memory where there is /dev/shm. The store's layers are
// those of fsck/testing/world.h.
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fsck/checker.h"
#include "fsck/testing/world.h"
#include "host/fault.h"
#include "log/log.h"
#include "reclaim/reclaimer.h"
#include "time/testing/manual_clock.h"

namespace {

using namespace berth;
using digest::Digest;
using namespace fsck::testing;

class Store {
 public:
  explicit Store(const World& world) : world_(world), folder_(NewFolder()) {
    const auto behind = std::chrono::duration_cast<time::Duration>(std::chrono::system_clock::now() - clock_.WallNow());
    clock_.JumpWall(behind + std::chrono::seconds(1));  // files have the system's times
    Open();
  }
  ~Store() {
    Close();
    fs::remove_all(folder_);
  }

  void Step(std::uint8_t what, std::uint8_t how) {
    const std::size_t i = how % 3, n = how / 3;
    const std::string name = "r:" + std::to_string(n % 4);
    switch (what % 20) {
      case 0: (void)Ok(content_->Put(Of(Document(how)), Document(how))); break;
      case 1: {
        const auto wrong = content_->Put(Of(Document(how)), "something else");
        Require(!wrong && wrong.error().reason() == Reason::kDigestMismatch, "stored unseen");
        break;
      }
      case 2: Resume(i); break;
      case 3: Append(i, world_.layers[i].blob.substr(std::min<std::size_t>(At(i), world_.layers[i].blob.size()), 200u * n)); break;
      case 4: Append(i, std::string(20u * n, 'w')); break;
      case 5: Finish(i, n % 2 == 0); break;
      case 6: ingests_[i].reset(); break;
      case 7: (void)AddLayer(i, n % 4); break;
      case 8: Publish(name, i); break;
      case 9: RemoveName(name); break;
      case 10: RemoveImage(i); break;
      case 11: Sweep(n % 2 == 0 ? time::Duration::zero() : time::Duration(std::chrono::hours(1))); break;
      case 12: (void)Ok(reclaimer_->FreeCache({}, 300u * how)); break;
      case 13: held_[i] = *leases_->Acquire({}, world_.Objects(world_.images[i])); break;
      case 14: held_.erase(i); break;
      case 15: n % 2 == 0 ? Mount("/m/" + name, i) : Unmount("/m/" + name); break;
      case 16: clock_.Advance(std::chrono::minutes(how)); break;
      case 17: Crash(n % 2 == 0, how); break;
      case 18: Fsck(true); break;
      default: Arm(how); return;  // for the step that comes
    }
    Disarm();
  }

  void End() {
    Crash(false, 0);
    for (const auto& [target, image] : std::map(mounts_)) Unmount(target);
    for (std::size_t i = 0; i < world_.images.size(); ++i) RemoveImage(i);
    Fsck(true);
    Require(reclaimer_->Sweep({}, time::Duration::zero()).has_value(), "the last sweep");
    for (const char* place : {"blobs/sha256", "ingest", "layers", "tmp"}) Require(fs::is_empty(folder_ / place), std::string("left in ") + place);
    Require(catalog_->ListBlobs()->empty() && catalog_->ListLayers()->empty() && catalog_->ListImages()->empty(), "rows are left");
    Require(catalog_->OpenPulls()->empty(), "a pull is left");
  }

 private:
  void Open() {
    root_ = *host::Dir::Open(folder_.string());
    content_ = *content::Store::Open(root_);
    layers_ = *layer::LayerStore::Open(folder_.string(), {.worker = "/none", .unpack = {}});
    catalog_ = *catalog::Catalog::Open(folder_.string(), clock_);
    leases_ = std::make_unique<catalog::Leases>();
    reclaimer_ = std::make_unique<reclaim::Reclaimer>(reclaim::Reclaimer::Stores{*content_, *layers_, *catalog_, *leases_}, clock_);
    const auto recovered = reclaimer_->Recover({});
    Require(recovered.has_value(), recovered ? "" : recovered.error().Text());
    Require(recovered->lost == 0, "something that has a row is lost");
  }
  void Close() {
    for (auto& ingest : ingests_) ingest.reset();
    held_.clear();
    reclaimer_.reset(), catalog_.reset(), layers_.reset(), content_.reset(), leases_.reset();
  }

  // An error that nobody asked for is a finding.
  template <class R>
  bool Ok(const R& result) {
    if (!result) Require(armed_, "not done: " + result.error().Text());
    return result.has_value();
  }
  template <class R>
  void Refused(const R& result, Reason reason, const char* what) {
    Require(!result && (armed_ || result.error().reason() == reason), what);
  }
  void Arm(std::uint8_t how) {
    static constexpr const char* kPoints[] = {"ingest.created", "blob.renamed", "remove.name-deleted", "remove.marked", "remove.trashed",
                                              "remove.deleted", "remove.synced", "gc.mark", "gc.roots", "gc.candidates", "gc.delete", "gc.done"};
    Disarm();
    armed_ = true;
    if (how < 128) {
      const std::string point = kPoints[how % 12];
      (void)host::ConfigureFaults(point + "=error(ENOSPC)*1@" + std::to_string(how / 12 % 3));  // without fault points: none
    } else {
      ::getrlimit(RLIMIT_FSIZE, &files_);
      const rlimit less{static_cast<rlim_t>(how - 128) * 96, files_.rlim_max};
      ::setrlimit(RLIMIT_FSIZE, &less);
      limited_ = true;
    }
  }
  void Disarm() {
    if (!armed_) return;
    (void)host::ConfigureFaults("");
    if (limited_) ::setrlimit(RLIMIT_FSIZE, &files_);
    armed_ = limited_ = false;
    // What a step that failed did to names is one thing or the other.
    for (auto& [name, choices] : unsure_) {
      const auto now = Named(name);
      Require(choices.contains(now), name + " is neither as before nor as asked for");
      now ? void(named_[name] = *now) : void(named_.erase(name));
    }
    unsure_.clear();
    for (std::size_t i = 0; i < partials_.size(); ++i) Look(i);
  }
  std::optional<std::size_t> Named(const std::string& name) {
    const auto found = *catalog_->FindName(name);
    for (std::size_t i = 0; found && i < world_.images.size(); ++i)
      if (found->images == std::vector{world_.images[i].id()}) return i;
    Require(!found, name + " has other images");
    return std::nullopt;
  }
  std::optional<std::size_t> Before(const std::string& name) const {
    const auto at = named_.find(name);
    return at == named_.end() ? std::nullopt : std::optional(at->second);
  }
  std::string Implied(std::size_t i) const { return "r@" + world_.images[i].id().ToString(); }
  bool HasName(std::size_t image) const {
    return std::ranges::any_of(named_, [&](const auto& entry) { return entry.second == image; });
  }
  bool Mounted(std::size_t image) const {
    return std::ranges::any_of(mounts_, [&](const auto& entry) { return entry.second == image; });
  }
  std::string Document(std::uint8_t how) const {
    const Image& image = world_.images[how / 2 % 3];
    return how % 2 == 0 ? image.manifest : image.config;
  }

  // --- partial downloads
  fs::path Partial(std::size_t i) const { return folder_ / "ingest" / ("sha256-" + world_.layers[i].digest.Hex()); }
  std::uint64_t At(std::size_t i) const { return ingests_[i] ? ingests_[i]->length() : 0; }
  // After an injected error: as before, emptied, gone, or with the beginning of what was to be appended.
  void Look(std::size_t i) {
    if (!fs::exists(Partial(i))) return void(partials_[i].reset());
    const std::string now = ReadFile(Partial(i));
    const std::string before = partials_[i].value_or("");
    Require(now == before || now.empty() || (wanted_[i].starts_with(now) && now.size() >= before.size()), "a partial holds what nobody appended");
    partials_[i] = now, wanted_[i].clear();
  }
  void Resume(std::size_t i) {
    auto ingest = content_->Resume(world_.layers[i].digest, world_.layers[i].blob.size());
    if (ingests_[i]) return Refused(ingest, Reason::kConflict, "two ingests of one blob");
    if (!Ok(ingest)) return;
    if (!partials_[i]) partials_[i] = "";
    too_long_[i] = partials_[i]->size() > world_.layers[i].blob.size();
    Require((*ingest)->length() == (too_long_[i] ? 0 : partials_[i]->size()), "a partial does not go on where it ended");
    ingests_[i] = *std::move(ingest);
  }
  void Append(std::size_t i, const std::string& chunk) {
    if (!ingests_[i]) return;
    const std::uint64_t at = At(i);
    if (std::exchange(too_long_[i], false)) partials_[i] = "";
    std::string after = partials_[i]->substr(0, at) + chunk;
    if (partials_[i]->size() > after.size()) after += partials_[i]->substr(after.size());
    wanted_[i] = after;
    if (Ok(ingests_[i]->Append(bytes::AsView(chunk)))) partials_[i] = after, Require(At(i) == at + chunk.size(), "length");
  }
  void Finish(std::size_t i, bool keep) {
    if (!ingests_[i]) return;
    std::string text(static_cast<std::size_t>(At(i)), '\0');
    const auto got = text.empty() ? Result<std::size_t>(std::size_t{0}) : ingests_[i]->ReadAt(0, std::as_writable_bytes(std::span(text)));
    Require(got && *got == text.size() && partials_[i]->starts_with(text), "a partial reads as something else");
    if (Of(text) != world_.layers[i].digest) {
      if (Ok(ingests_[i]->Restart())) partials_[i] = "", too_long_[i] = false;
      return;
    }
    const bool done = Ok(keep ? ingests_[i]->Keep() : ingests_[i]->Discard());
    if (done) partials_[i].reset();
    if (done && keep) torn_.erase(i);
    if (done && keep) (void)Ok(catalog_->AddBlob({world_.layers[i].digest, text.size(), catalog::BlobKind::kLayer}));
    ingests_[i].reset();
  }

  // --- layers and images
  // Up to `stage`: unfinished, contents in place, complete, on record.
  bool AddLayer(std::size_t i, std::size_t stage) {
    const Layer& l = world_.layers[i];
    const auto lease = *leases_->Acquire({}, {l.digest});
    const auto here = layers_->Find(l.digest);
    if (!Ok(here)) return false;
    if (!*here) {
      const auto tmp = *root_.OpenDir("tmp");
      const std::string stem = "x" + std::to_string(++count_);
      const auto write = [&](const char* kind, const std::string& text) {
        return Ok(tmp.WriteDurably(stem + kind, bytes::AsView(text), 0600));
      };
      const auto place = [&](const char* kind) {
        return Ok(tmp.Rename(stem + kind, layers_->layers(), l.digest.Hex() + kind, host::Replace::kYes));
      };
      if (!write(".data", l.data) || !write(".meta", l.meta)) return false;
      if (stage == 0 || !place(".data") || stage == 1 || !place(".meta")) return false;
    }
    return stage > 2 && Ok(catalog_->AddLayer({.blob = l.digest, .diff_id = l.report.diff_id, .stored_bytes = l.data.size()}));
  }
  void Publish(const std::string& name, std::size_t i) {
    const Image& image = world_.images[i];
    const auto lease = *leases_->Acquire({}, world_.Objects(image));
    const std::string implied = Implied(i);
    unsure_[name] = {Before(name), i}, unsure_[implied] = {Before(implied), i};
    const auto pull = catalog_->BeginPull(name);
    if (!Ok(pull)) return;
    catalog::ImageRecord row{.manifest = image.id(), .config = Of(image.config), .platform = "linux/amd64", .size = 1};
    for (const std::size_t l : image.layers) {
      if (!AddLayer(l, 3)) return;
      row.layers.push_back({world_.layers[l].digest, world_.layers[l].report.diff_id, ""});
    }
    for (const std::string& document : {image.manifest, image.config})
      if (!Ok(content_->Put(Of(document), document))) return;
    if (!Ok(catalog_->PublishImage({.name = name, .implied_name = implied, .target = image.id(), .media_type = "m",
                                    .documents = {{image.id(), 1}, {row.config, 1}}, .images = {row}, .pull = *pull, .journal = "{}"})))
      return;
    for (const std::string& given : {name, implied}) named_[given] = i, unsure_.erase(given);
  }
  void RemoveName(const std::string& name) {
    const auto image = Before(name);
    std::vector<std::string> names{name};
    if (image) {
      const auto other = [&](const auto& n) { return n.second == *image && n.first != name && n.first.starts_with("r:"); };
      if (std::ranges::none_of(named_, other)) names.push_back(Implied(*image));
    }
    Gone(reclaimer_->RemoveName({}, name), image, names, names.size() > 1);
  }
  void RemoveImage(std::size_t i) {
    std::vector<std::string> names;
    for (const auto& [name, image] : named_)
      if (image == i) names.push_back(name);
    Gone(reclaimer_->RemoveImage({}, world_.images[i].id()), HasName(i) ? std::optional(i) : std::nullopt, names, true);
  }
  // A removal of these names of `image`, and with `all` of the image, has said this.
  void Gone(const Result<reclaim::Removed>& removed, std::optional<std::size_t> image, const std::vector<std::string>& names, bool all) {
    if (!image) return Refused(removed, Reason::kNotFound, "removed what there was not");
    if (all && Mounted(*image)) return Refused(removed, Reason::kInUse, "removed a mounted image");
    const bool done = Ok(removed);
    for (const auto& name : names) done ? void(named_.erase(name)) : void(unsure_[name] = {image, std::nullopt});
  }
  void Mount(const std::string& target, std::size_t i) {
    if (mounts_.contains(target)) return;
    const bool here = HasName(i);
    const auto mounted = catalog_->AddMount({target, world_.images[i].id(), false});
    if (!here) return Refused(mounted, Reason::kNotFound, "mounted what is not there");
    if (Ok(mounted)) mounts_[target] = i;
  }
  void Unmount(const std::string& target) {
    if (mounts_.contains(target) && Ok(catalog_->RemoveMount(target))) mounts_.erase(target);
  }

  // --- removal
  void Sweep(time::Duration age) {
    std::vector<std::pair<Digest, bool>> leased;
    for (const auto& [i, lease] : held_)
      for (const Digest& object : world_.Objects(world_.images[i])) leased.emplace_back(object, Here(object));
    const bool done = Ok(reclaimer_->Sweep({}, age));
    for (const auto& [object, here] : leased) Require(Here(object) == here, "a leased object went");
    for (std::size_t i = 0; done && age == time::Duration::zero() && i < partials_.size(); ++i)
      if (!ingests_[i]) partials_[i].reset();
    if (age != time::Duration::zero())
      for (std::size_t i = 0; i < partials_.size(); ++i)
        if (!ingests_[i] && !fs::exists(Partial(i))) partials_[i].reset();  // by its age
  }
  bool Here(const Digest& object) const { return content_->Size(object)->has_value() || layers_->Find(object)->has_value(); }

  // --- fate
  void Crash(bool power, std::uint8_t how) {
    Disarm();
    Close();
    for (std::size_t i = 0; power && i < partials_.size(); ++i) {  // neither partials nor kept blobs are synced
      const fs::path kept = folder_ / "blobs/sha256" / world_.layers[i].digest.Hex();
      if (partials_[i]) partials_[i]->resize(partials_[i]->size() * how / 255), fs::resize_file(Partial(i), partials_[i]->size());
      if (how % 3 == i && fs::exists(kept)) fs::resize_file(kept, fs::file_size(kept) / 2), torn_.insert(i);
    }
    Open();
    Check();
  }
  void Check() {
    std::map<std::string, std::size_t> names;
    for (const auto& record : *catalog_->ListNames()) names[record.name] = *Named(record.name);
    Require(names == named_, "other names than those that were given");
    std::set<std::size_t> images;
    for (const auto& [name, i] : named_) images.insert(i);
    for (const auto& [target, i] : mounts_) Require(images.contains(i), "a mounted image went");
    Require(catalog_->ListImages()->size() == images.size(), "other images than those with names");
    for (const std::size_t i : images) {
      const Image& image = world_.images[i];
      Require(catalog_->FindImage(image.id())->has_value(), "an image that is needed is not there");
      for (const std::string& document : {image.manifest, image.config}) {
        const auto text = content_->ReadDocument(Of(document), 1000);
        Require(text && *text == document, "a document is not what it was");
      }
      for (const std::size_t l : image.layers)
        Require(layers_->Find(world_.layers[l].digest)->has_value() && catalog_->FindLayer(world_.layers[l].digest)->has_value(), "a layer is lost");
    }
    std::set<Digest> torn;
    for (const std::size_t i : torn_) torn.insert(world_.layers[i].digest);
    for (const auto& blob : *content_->List()) Require(torn.contains(blob.digest) || content_->Verify(blob.digest), "a blob is not what it is called");
    for (std::size_t i = 0; i < partials_.size(); ++i) {
      Require(fs::exists(Partial(i)) == partials_[i].has_value(), "a partial came or went");
      Require(!partials_[i] || ReadFile(Partial(i)) == *partials_[i], "a partial is not what was appended");
    }
    Fsck(false);
  }
  void Fsck(bool repair) {
    Disarm();  // an error while it looks is a finding of its own
    fsck::Checker checker({*content_, *layers_, *catalog_, *leases_});
    const auto look = [&](const fsck::Finding& finding) {
      const auto hurt = std::ranges::find_if(torn_, [&](std::size_t i) { return finding.object == world_.layers[i].digest.ToString(); });
      Require(finding.kind == "blob" && hurt != torn_.end(), finding.kind + " " + finding.object + ": " + finding.problem);
      if (finding.repaired) torn_.erase(hurt);
    };
    const auto summary = checker.Run({}, {.repair = repair ? fsck::Repair::kYes : fsck::Repair::kNo, .depth = layer::Depth::kData},
                                     {.finding = look, .progress = {}});
    Require(summary.has_value(), summary ? "" : summary.error().Text());
  }

  const World& world_;
  const fs::path folder_;
  time::testing::ManualClock clock_;
  host::Dir root_;
  std::unique_ptr<content::Store> content_;
  std::unique_ptr<layer::LayerStore> layers_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<catalog::Leases> leases_;
  std::unique_ptr<reclaim::Reclaimer> reclaimer_;
  std::array<std::unique_ptr<content::Ingest>, 3> ingests_;
  std::map<std::size_t, catalog::Leases::Lease> held_;
  int count_ = 0;
  bool armed_ = false, limited_ = false;
  rlimit files_{};
  // The model.
  std::map<std::string, std::size_t> named_, mounts_;                              // of images
  std::map<std::string, std::set<std::optional<std::size_t>>> unsure_;             // what a failed step may have left of a name
  std::array<std::optional<std::string>, 3> partials_;                             // of layers
  std::array<bool, 3> too_long_{};                                                 // which are, until something is appended
  std::array<std::string, 3> wanted_;
  std::set<std::size_t> torn_;                                                     // kept blobs that the power took part of
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const World world = [] {
    std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit is an error
    log::Init({.level = log::Level::kError});
    return World();
  }();
  if (size > 160) return 0;
  Store store(world);
  for (std::size_t at = 0; at + 1 < size; at += 2) store.Step(data[at], data[at + 1]);
  store.End();
  return 0;
}
