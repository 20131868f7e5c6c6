// A store that something went through (reliability-security 4.4, store_recovery): its files, catalog.db among them, are cut, overwritten, mixed up,
// removed and joined by others, its catalog gets rows that no pull would write. Starting on it ends, as does fsck with and without repair;
// whatever the catalog says then, no whole object that an image needs is gone; after a repair every image that is left is whole, and a second
// one finds nothing, but for layers whose kept blob is whole (there is no worker here that could unpack it); an image that nobody touched is still there; and nothing outside the store changes. Four bytes of input a step.
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "fsck/checker.h"
#include "fsck/testing/world.h"
#include "log/log.h"
#include "reclaim/reclaimer.h"
#include "time/testing/manual_clock.h"

namespace {

using namespace berth;
using digest::Digest;
using namespace fsck::testing;

void WriteFile(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

struct Stores {
  time::testing::ManualClock clock;
  std::unique_ptr<content::Store> content;
  std::unique_ptr<layer::LayerStore> layers;
  std::unique_ptr<catalog::Catalog> catalog;
  catalog::Leases leases;
  std::unique_ptr<reclaim::Reclaimer> reclaimer;

  // As berthd does, which refuses a store with layers and a catalog that knows none.
  Result<> Open(const fs::path& folder, bool fresh = false) {
    ASSIGN_OR_RETURN(const host::Dir root, host::Dir::Open(folder.string()));
    ASSIGN_OR_RETURN(content, content::Store::Open(root));
    ASSIGN_OR_RETURN(layers, layer::LayerStore::Open(folder.string(), {.worker = "/none", .unpack = {}}));
    std::error_code none;
    const auto refused = [] { return Error(Reason::kCorrupt, "the catalog knows nothing"); };
    if (!fresh && (!fs::is_regular_file(folder / "catalog.db", none) || fs::file_size(folder / "catalog.db", none) == 0)) return refused();
    ASSIGN_OR_RETURN(catalog, catalog::Catalog::Open(folder.string(), clock));
    ASSIGN_OR_RETURN(const bool empty, catalog->Empty());
    if (empty && !fresh) return refused();
    reclaimer = std::make_unique<reclaim::Reclaimer>(reclaim::Reclaimer::Stores{*content, *layers, *catalog, leases}, clock);
    return {};
  }
};

// The store as it was: images 0 and 2, the blob of layer 1 kept, a part of layer 2 in ingest/.
struct Template {
  World world;
  fs::path folder = NewFolder();

  Template() {
    Stores stores;
    Require(stores.Open(folder, true).has_value(), "a new store");
    for (const Layer& l : world.layers) {
      const std::string stem = (folder / "layers" / l.digest.Hex()).string();
      WriteFile(stem + ".data", l.data), WriteFile(stem + ".meta", l.meta);
      Require(stores.catalog->AddLayer({.blob = l.digest, .diff_id = l.report.diff_id, .stored_bytes = l.data.size()}).has_value(), "layer");
    }
    for (const std::size_t i : {0, 2}) Require(Publish(stores, i, "r:" + std::to_string(i)).has_value(), "image");
    WriteFile(folder / "blobs/sha256" / world.layers[1].digest.Hex(), world.layers[1].blob);
    Require(stores.catalog->AddBlob({world.layers[1].digest, world.layers[1].blob.size(), catalog::BlobKind::kLayer}).has_value(), "blob");
    WriteFile(folder / "ingest" / ("sha256-" + world.layers[2].digest.Hex()), world.layers[2].blob.substr(0, 300));
    // Where links that a step makes lead to.
    WriteFile(folder.string() + ".canary", "canary");
  }
  ~Template() {
    std::error_code none;
    fs::remove_all(folder, none), fs::remove(folder.string() + ".canary", none);
  }

  Result<> Publish(Stores& stores, std::size_t i, const std::string& name) const {
    const Image& image = world.images[i];
    for (const std::string& document : {image.manifest, image.config}) RETURN_IF_ERROR(stores.content->Put(Of(document), document));
    catalog::ImageRecord row{.manifest = image.id(), .config = Of(image.config), .platform = "linux/amd64", .size = 1};
    for (const std::size_t l : image.layers) row.layers.push_back({world.layers[l].digest, world.layers[l].report.diff_id, ""});
    return stores.catalog->PublishImage({.name = name, .implied_name = "r@" + image.id().ToString(), .target = image.id(), .media_type = "m",
                                         .documents = {{image.id(), 1}, {row.config, 1}}, .images = {row}, .pull = {}, .journal = "{}"});
  }
};

class Trial {
 public:
  explicit Trial(const Template& given) : given_(given), folder_(NewFolder()) {
    fs::copy(given.folder, folder_, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    for (const auto& l : given.world.layers) {
      const std::string hex = l.digest.Hex();
      good_["layers/" + hex + ".data"] = l.data, good_["layers/" + hex + ".meta"] = l.meta;
    }
    for (const auto& image : given.world.images)
      for (const std::string& document : {image.manifest, image.config}) good_["blobs/sha256/" + Of(document).Hex()] = document;
  }
  ~Trial() {
    std::error_code none;
    fs::remove_all(folder_, none);
  }

  void Step(std::uint8_t what, std::uint8_t which, std::uint8_t a, std::uint8_t b) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_))
      if (entry.is_regular_file() && !entry.is_symlink()) files.push_back(entry.path());
    std::ranges::sort(files);
    if (files.empty()) return;
    const fs::path file = files[which % files.size()];
    std::string text = ReadFile(file);
    std::error_code none;
    switch (what % 10) {
      case 0: text.resize(text.size() * a / 255); break;
      case 1:
        if (!text.empty()) text[((a << 8 | b) * 7u) % text.size()] ^= static_cast<char>(1u << b % 8 | (a & 0x80u));
        break;
      case 2: return Gone(file), void(fs::remove(file, none));
      case 3: text = ReadFile(files[a % files.size()]); break;
      case 4: return Gone(file), fs::rename(file, NewName(file, a, b), none);
      case 5: text.append(b, static_cast<char>(a)); break;
      case 6: return Add(NewName(file, a, b), b, text);
      case 7: std::fill_n(text.begin(), std::min<std::size_t>(text.size(), 16u * b), '\0'); break;
      case 8: {
        if (text.empty()) return;
        const std::size_t at = a * text.size() / 256, n = std::min<std::size_t>(b, text.size() - at);
        text.replace(at, n, text.substr(0, n));
        break;
      }
      default: return Rows(a, b);
    }
    Gone(file);
    WriteFile(file, text);
  }

  void Start() {
    const auto before = Snapshot(Everything());
    {
      Stores stores;
      const auto opened = stores.Open(folder_);
      if (!opened) return Kept(before, "a start that was refused took something");
      const auto needed = Snapshot(Needed(stores));
      const auto recovered = stores.reclaimer->Recover({});
      Kept(needed, "Recover() took what an image needs");
      if (!recovered) return;
      (void)Fsck(stores, fsck::Repair::kNo);
      Kept(needed, "fsck took what an image needs");
      const auto repaired = Fsck(stores, fsck::Repair::kYes);
      Kept(needed, "a repair took what an image needs");
      if (!repaired || rows_) return;
      const auto again = Fsck(stores, fsck::Repair::kYes);
      Require(again && *again == left_.size(), "a second repair found something");
      for (const Digest& layer : left_) Require(stores.content->Verify(layer).has_value(), "a layer was left that no blob can mend");
      for (const auto& image : *stores.catalog->ListImages()) Whole(stores, image);
      for (const std::size_t i : {0, 2}) {
        bool touched = false;
        for (const std::string& path : Files(i)) touched |= touched_.contains(path);
        const auto name = *stores.catalog->FindName("r:" + std::to_string(i));
        Require(touched || (name && name->images == std::vector{given_.world.images[i].id()}), "an image that nobody touched is gone");
      }
    }
    Stores stores;
    Require(stores.Open(folder_).has_value() || touched_.size() > 0, "a second start failed");
  }
  void Canary() const { Require(ReadFile(given_.folder.string() + ".canary") == "canary", "something outside the store changed"); }

 private:
  std::string Inside(const fs::path& path) const { return path.string().substr(folder_.string().size() + 1); }
  void Gone(const fs::path& path) {
    touched_.insert(Inside(path));
    rows_ |= Inside(path).starts_with("catalog.db");
  }
  std::string Hex(std::uint8_t n) const { return n % 4 < 3 ? given_.world.layers[n % 4].digest.Hex() : std::string(64, 'a'); }
  fs::path NewName(const fs::path& file, std::uint8_t a, std::uint8_t b) {
    const std::string hex = Hex(b);
    const std::string names[] = {"layers/" + hex + ".meta", "layers/" + hex + ".data", "layers/" + hex + "@0123456789abcdef.meta",
                                 "layers/" + hex + ".tree", "layers/x", "layers/" + hex + ".meta.tmp", "blobs/sha256/" + hex, "blobs/sha256/x",
                                 "blobs/" + hex, "ingest/sha256-" + hex, "ingest/sha256-x", "tmp/" + hex, "tmp/x", hex, "blobs/sha512/" + hex + hex,
                                 "catalog.db-journal", "catalog.db-wal", "ingest/md5-" + hex.substr(32), "layers/sha512-" + hex + hex + ".meta",
                                 file.filename().string()};
    const fs::path made = folder_ / names[a % std::size(names)];
    std::error_code none;
    fs::create_directories(made.parent_path(), none);
    Gone(made);
    return made;
  }
  // A file, a folder with one, or a link to outside.
  void Add(const fs::path& path, std::uint8_t how, const std::string& text) {
    std::error_code none;
    fs::remove_all(path, none);  // it may be a link of an earlier step
    if (how / 4 % 3 == 0) return WriteFile(path, text);
    if (how / 4 % 3 == 1) return fs::create_symlink(given_.folder.string() + ".canary", path, none);
    fs::create_directories(path, none);
    WriteFile(path / "x", text);
  }
  void Rows(std::uint8_t a, std::uint8_t b) {
    Stores stores;
    if (!stores.Open(folder_)) return;
    auto& catalog = *stores.catalog;
    const Layer& l = given_.world.layers[b % 3];
    const Digest strange = Of(std::string(1, static_cast<char>(b)));
    switch (a % 6) {
      case 0: (void)catalog.AddLayer({.blob = strange, .diff_id = l.report.diff_id, .stored_bytes = b}); break;
      case 1: (void)catalog.AddBlob({strange, b, b % 2 ? catalog::BlobKind::kLayer : catalog::BlobKind::kDocument}); break;
      case 2: (void)catalog.BeginPull("r:" + std::to_string(b)); break;
      case 3: (void)catalog.AddMount({"/m/" + std::to_string(b), given_.world.images[b % 3].id(), b % 2 == 0}); break;
      case 4: (void)given_.Publish(stores, b % 3, "r:" + std::to_string(3 + b)); break;
      default: (void)catalog.AddLayer({.blob = l.digest, .diff_id = strange, .stored_bytes = l.data.size() + b}); rows_ = true; break;
    }
  }

  std::vector<std::string> Files(std::size_t image) const {
    const Image& i = given_.world.images[image];
    std::vector<std::string> files{"blobs/sha256/" + Of(i.manifest).Hex(), "blobs/sha256/" + Of(i.config).Hex(), "catalog.db", "catalog.db-wal",
                                   "catalog.db-journal"};
    for (const std::size_t l : i.layers) {
      const std::string hex = given_.world.layers[l].digest.Hex();
      for (const char* kind : {".data", ".meta", ".tree", "@0123456789abcdef.meta"}) files.push_back("layers/" + hex + kind);
    }
    return files;
  }
  std::vector<std::string> Everything() const {
    std::vector<std::string> paths;
    for (const auto& entry : fs::recursive_directory_iterator(folder_))
      if (entry.is_regular_file() && !Inside(entry.path()).starts_with("catalog.db")) paths.push_back(Inside(entry.path()));
    return paths;
  }
  // Files of the images on record that are as they were made. A layer whose other half is not is no layer.
  std::vector<std::string> Needed(Stores& stores) const {
    std::set<std::string> paths;
    const auto images = stores.catalog->ListImages();
    const auto whole = [&](const std::string& path) {
      const auto good = good_.find(path);
      return good != good_.end() && fs::is_regular_file(fs::symlink_status(folder_ / path)) && ReadFile(folder_ / path) == good->second;
    };
    if (!images) return {};
    for (const auto& image : *images) {
      for (const Digest& document : {image.manifest, image.config})
        if (const std::string path = "blobs/sha256/" + document.Hex(); whole(path)) paths.insert(path);
      for (const auto& l : image.layers) {
        const std::string stem = "layers/" + l.blob.Hex();
        if (whole(stem + ".data") && whole(stem + ".meta")) paths.insert(stem + ".data"), paths.insert(stem + ".meta");
      }
    }
    return {paths.begin(), paths.end()};
  }
  std::map<std::string, std::string> Snapshot(const std::vector<std::string>& paths) const {
    std::map<std::string, std::string> files;
    for (const std::string& path : paths) files[path] = ReadFile(folder_ / path);
    return files;
  }
  void Kept(const std::map<std::string, std::string>& files, const char* what) const {
    for (const auto& [path, text] : files)
      Require(fs::is_regular_file(folder_ / path) && ReadFile(folder_ / path) == text, std::string(what) + ": " + path);
  }
  Result<std::uint64_t> Fsck(Stores& stores, fsck::Repair repair) {
    fsck::Checker checker({*stores.content, *stores.layers, *stores.catalog, stores.leases});
    left_.clear();
    const auto note = [&](const fsck::Finding& finding) {
      if (finding.kind == "layer" && finding.action.starts_with("left as it is")) left_.insert(*Digest::Parse(finding.object));
    };
    ASSIGN_OR_RETURN(const auto summary, checker.Run({}, {.repair = repair, .depth = layer::Depth::kData},
                                                     {.finding = note, .progress = {}}));
    return summary.findings;
  }
  void Whole(Stores& stores, const catalog::ImageRecord& image) const {
    for (const Digest& document : {image.manifest, image.config}) Require(stores.content->Verify(document).has_value(), "a document is not whole");
    for (const auto& l : image.layers)
      Require(*stores.catalog->FindLayer(l.blob) &&
                  (left_.contains(l.blob) || stores.layers->Verify({}, l.blob, layer::Depth::kData).has_value()),
              "a layer is not whole");
  }

  const Template& given_;
  const fs::path folder_;
  std::map<std::string, std::string> good_;
  std::set<std::string> touched_;
  std::set<Digest> left_;  // layers that the last repair left as they were
  bool rows_ = false;  // the catalog may say anything
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Template given = [] {
    log::Init({.level = log::Level::kError});
    return Template();
  }();
  if (size > 64) return 0;
  Trial trial(given);
  for (std::size_t at = 0; at + 3 < size; at += 4) trial.Step(data[at], data[at + 1], data[at + 2], data[at + 3]);
  trial.Start();
  trial.Canary();
  return 0;
}
