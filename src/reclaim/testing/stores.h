// reclaim/testing/stores.h: all stores of one node in a folder of its own, with the real unpack worker, for tests.
//
//   Stores stores;
//   const auto image = stores.Publish("reg/app:1", {Tar("a", "x"), Tar("b", "y")});   // as a finished pull leaves it
//   stores.Reopen();                                                                  // as a restart finds it
#pragma once

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/leases.h"
#include "content/store.h"
#include "host/dir.h"
#include "layer/store.h"
#include "result/testing/dirs.h"
#include "tar/testing/tar_builder.h"
#include "time/testing/manual_clock.h"

namespace berth::reclaim::testing {

// A sanitizer's build has a worker that its own jail stops: such runs name another build's.
inline std::string WorkerPath() {
  const char* other = std::getenv("BERTH_TEST_WORKER");
  return other != nullptr ? other : berth::result::testing::kBinaryDir + std::string("/src/apps/berth-unpack/berth-unpack");
}

// An archive of one file.
inline std::string Tar(std::string_view name, std::string_view contents) {
  return tar::testing::Builder().File(name, contents).Finish();
}

// Damage: one bit of the byte at `at`.
inline void Flip(const std::string& file, std::streamoff at) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(at);
  const char c = static_cast<char>(stream.get() ^ 0x20);
  stream.seekp(at);
  stream.put(c);
  if (!stream.flush()) throw std::runtime_error("cannot damage " + file);
}

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "berth-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class Stores {
 public:
  struct Image {
    digest::Digest manifest, config;
    std::vector<digest::Digest> layers;
  };

  explicit Stores(layer::UnpackOptions unpack = {}) : unpack_(unpack) {
    std::signal(SIGPIPE, SIG_IGN);  // as the daemon does: a worker may end before its input
    // Files have the system's times.
    const auto behind = std::chrono::duration_cast<time::Duration>(std::chrono::system_clock::now() - clock.WallNow());
    clock.JumpWall(behind + std::chrono::seconds(1));
    Reopen();
  }
  void Reopen() {
    catalog.reset();
    leases = std::make_unique<catalog::Leases>();
    root = *host::Dir::Open(folder.path());
    content = *content::Store::Open(root);
    layers = *layer::LayerStore::Open(folder.path(), {.worker = WorkerPath(), .unpack = unpack_});
    catalog = *catalog::Catalog::Open(folder.path(), clock);
  }

  // Unpacks and records an archive; the digest of its (uncompressed) blob.
  digest::Digest AddLayer(const std::string& archive, bool keep_blob = false, layer::Form form = layer::Form::kErofs) {
    const auto digest = digest::Digest::Of(bytes::AsView(archive));
    auto staging = *layers->Stage({}, digest, form);
    Must(staging->Write(bytes::AsView(archive)));
    Must(staging->Finish(digest));
    const auto info = *staging->Commit();
    Must(catalog->AddLayer({.blob = digest, .diff_id = digest, .compressed_bytes = archive.size(),
                            .uncompressed_bytes = archive.size(), .stored_bytes = info.disk_bytes, .entries = info.report.entries}));
    if (keep_blob) {
      auto ingest = *content->Resume(digest, archive.size());
      Must(ingest->Append(bytes::AsView(archive)));
      Must(ingest->Keep());
      Must(catalog->AddBlob({digest, archive.size(), catalog::BlobKind::kLayer}));
    }
    return digest;
  }

  Image Publish(const std::string& name, const std::vector<std::string>& archives, bool keep_blobs = false,
                layer::Form form = layer::Form::kErofs) {
    Image image;
    catalog::ImageRecord row{.platform = "linux/amd64", .size = 1};
    for (const auto& archive : archives) image.layers.push_back(AddLayer(archive, keep_blobs, form));
    const auto variants = *layers->FitToImage({}, image.layers);
    for (std::size_t i = 0; i < variants.size(); ++i) row.layers.push_back({image.layers[i], image.layers[i], variants[i]});
    std::string text;
    for (const auto& layer : image.layers) text += layer.ToString();
    image.manifest = AddDocument("manifest " + text);
    image.config = AddDocument("config " + text);
    row.manifest = image.manifest;
    row.config = image.config;
    Must(catalog->PublishImage({.name = name, .implied_name = std::nullopt, .target = image.manifest, .media_type = "m",
                                .documents = {{image.manifest, 1}, {image.config, 1}}, .images = {row}, .pull = std::nullopt,
                                .journal = "{}"}));
    return image;
  }

  // A name of several images that are here.
  void PublishIndex(const std::string& name, const std::vector<Image>& images) {
    catalog::Publication p{.name = name, .implied_name = std::nullopt, .target = AddDocument("index " + name), .media_type = "m",
                           .documents = {}, .images = {}, .pull = std::nullopt, .journal = "{}"};
    p.documents.push_back({p.target, 1});
    for (const auto& image : images) {
      p.images.push_back(**catalog->FindImage(image.manifest));
      p.documents.push_back({image.manifest, 1});
      p.documents.push_back({image.config, 1});
    }
    Must(catalog->PublishImage(p));
  }

  std::string LayerFile(const digest::Digest& layer, std::string_view kind) const {
    return folder.path() + "/layers/" + layer.Hex() + std::string(kind);
  }

  Folder folder;
  time::testing::ManualClock clock;
  host::Dir root;
  std::unique_ptr<content::Store> content;
  std::unique_ptr<layer::LayerStore> layers;
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<catalog::Leases> leases;

 private:
  template <class R>
  static void Must(const R& result) {
    if (!result) throw std::runtime_error(result.error().Text());
  }
  digest::Digest AddDocument(const std::string& text) {
    const auto digest = digest::Digest::Of(bytes::AsView(text));
    Must(content->Put(digest, text));
    return digest;
  }
  layer::UnpackOptions unpack_;
};

}  // namespace berth::reclaim::testing
