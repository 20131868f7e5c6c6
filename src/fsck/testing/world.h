// fsck/testing/world.h: three layers and three images of them, for fuzz targets that make stores of their own.
//
// The layers are unpacked once, in this process; a target puts their files to where layer::Staging would.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "codec/testing/pieces.h"
#include "digest/digest.h"
#include "host/dir.h"
#include "layer/unpacker.h"
#include "tar/testing/tar_builder.h"

namespace berth::fsck::testing {

namespace fs = std::filesystem;
using digest::Digest;

inline void Require(bool truth, const std::string& what) {
  if (truth) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}
inline std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
inline Digest Of(std::string_view text) { return Digest::Of(bytes::AsView(text)); }

// In memory where there is /dev/shm.
inline fs::path NewFolder() {
  std::error_code none;
  const bool memory = fs::is_directory("/dev/shm", none) && ::access("/dev/shm", W_OK) == 0;
  std::string pattern = ((memory ? fs::path("/dev/shm") : fs::temp_directory_path()) / "berth-store-XXXXXX").string();
  Require(::mkdtemp(pattern.data()) != nullptr, "mkdtemp");
  return pattern;
}

// What there is to pull.
struct Layer {
  std::string blob, data, meta;
  Digest digest;
  layer::UnpackReport report;
};
struct Image {
  std::string manifest, config;
  std::vector<std::size_t> layers;
  Digest id() const { return Of(manifest); }
};
struct World {
  std::array<Layer, 3> layers;
  std::array<Image, 3> images;

  World() {
    const fs::path folder = NewFolder();
    const auto root = *host::Dir::Open(folder.string());
    for (std::size_t i = 0; i < layers.size(); ++i) {
      Layer& l = layers[i];
      l.blob = tar::testing::Builder().File("f" + std::to_string(i), std::string(700 * (i + 1), static_cast<char>('a' + i))).Finish();
      l.digest = Of(l.blob);
      const std::string name = std::to_string(i);
      const auto data = *root.CreateNew(name + "d", 0600), meta = *root.CreateNew(name + "m", 0600);
      codec::testing::Pieces source(l.blob, 1);
      layer::UnpackOptions options;
      options.blob = l.digest;
      l.report = *layer::UnpackStream(source, data.get(), meta.get(), options);
      l.data = ReadFile(folder / (name + "d")), l.meta = ReadFile(folder / (name + "m"));
    }
    for (std::size_t i = 0; i < images.size(); ++i)
      images[i] = {"manifest " + std::to_string(i), "config " + std::to_string(i), {0, std::max<std::size_t>(i, 1)}};
    fs::remove_all(folder);
  }
  std::vector<Digest> Objects(const Image& image) const {
    std::vector<Digest> objects{Of(image.manifest), Of(image.config)};
    for (const std::size_t l : image.layers) objects.push_back(layers[l].digest);
    return objects;
  }
};

}  // namespace berth::fsck::testing
