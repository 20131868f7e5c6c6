// cri/images_bench.cc: what the list of a thousand images costs: made anew after a change, and looked up.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>

#include "cri/images.h"
#include "host/dir.h"
#include "time/testing/manual_clock.h"

namespace berth::cri {
namespace {

constexpr int kImages = 1000, kLayers = 3;

digest::Digest Of(const std::string& text) { return digest::Digest::Of(bytes::AsView(text)); }

struct Store {
  Store() {
    folder = ::mkdtemp((std::filesystem::temp_directory_path() / "berth-bench-XXXXXX").string().data());
    root = *host::Dir::Open(folder);
    content = *content::Store::Open(root);
    catalog = *catalog::Catalog::Open(folder, clock);
    for (int i = 0; i < kImages; ++i) {
      const std::string n = std::to_string(i);
      const std::string config =
          R"({"os":"linux","architecture":"amd64","config":{"User":"1"},"rootfs":{"type":"layers","diff_ids":[]},"n":)" + n + "}";
      (void)content->Put(Of(config), config);
      catalog::ImageRecord image{.manifest = Of("m" + n), .config = Of(config), .platform = "linux/amd64", .size = 1};
      for (int l = 0; l < kLayers; ++l) {
        const auto blob = Of("l" + std::to_string(l == 0 ? 0 : i * kLayers + l));
        (void)catalog->AddLayer({.blob = blob, .diff_id = blob, .stored_bytes = 1});
        image.layers.push_back({blob, blob, ""});
      }
      const std::string repository = "reg.test:5000/team" + std::to_string(i % 7) + "/app" + n;
      (void)catalog->PublishImage({.name = repository + ":v1", .implied_name = repository + "@" + image.manifest.ToString(),
                                   .target = image.manifest, .media_type = "m", .documents = {{image.manifest, 1}}, .images = {image}});
    }
  }
  ~Store() {
    catalog.reset();
    std::filesystem::remove_all(folder);
  }
  time::testing::ManualClock clock;
  std::string folder;
  host::Dir root;
  std::unique_ptr<content::Store> content;
  std::unique_ptr<catalog::Catalog> catalog;
};
Store& Shared() {
  static Store store;
  return store;
}

void First(benchmark::State& state) {  // as at the start: configs are read
  Store& store = Shared();
  for (auto _ : state) {
    Images images(*store.catalog, *store.content, *oci::Platform::Parse("linux/amd64"));
    benchmark::DoNotOptimize(images.Get());
  }
}
void AfterAChange(benchmark::State& state) {
  Store& store = Shared();
  Images images(*store.catalog, *store.content, *oci::Platform::Parse("linux/amd64"));
  (void)images.Get();
  for (auto _ : state) {
    state.PauseTiming();
    (void)store.catalog->AddBlob({Of("blob"), 1, catalog::BlobKind::kLayer});
    state.ResumeTiming();
    benchmark::DoNotOptimize(images.Get());
  }
}
void Found(benchmark::State& state) {
  Store& store = Shared();
  Images images(*store.catalog, *store.content, *oci::Platform::Parse("linux/amd64"));
  (void)images.Get();
  for (auto _ : state) benchmark::DoNotOptimize((*images.Get())->Find("reg.test:5000/team3/app3:v1", kDigitsToLook));
}
BENCHMARK(First)->Unit(benchmark::kMillisecond);
BENCHMARK(AfterAChange)->Unit(benchmark::kMillisecond);
BENCHMARK(Found)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace berth::cri
