// 100,000 names: as an archive lists them (by folder, sorted), in no order, and all in one folder.
#include <benchmark/benchmark.h>
#include <sys/stat.h>

#include <numeric>

#include "erofs/reader.h"
#include "erofs/writer.h"

namespace berth::erofs {
namespace {

constexpr std::uint32_t kNames = 100'000;
const WriteOptions kOptions{.device_bytes = {kNames * 4096ull}};

Tree Make(std::uint32_t folders, bool shuffled) {
  Tree tree;
  tree.nodes.resize(1 + folders);
  for (std::uint32_t i = 0; i <= folders; ++i) {
    tree.nodes[i].mode = S_IFDIR | 0755;
    if (i != 0) tree.nodes[i].name = "folder" + std::to_string(i);
  }
  for (std::uint32_t i = 0; i < kNames; ++i) {
    const auto number = shuffled ? static_cast<std::uint32_t>(i * 7'919ull % kNames) : i;
    Node node;
    node.name = "some-file-name-" + std::to_string(1'000'000 + number) + ".so";
    node.parent = folders == 0 ? 0 : 1 + static_cast<std::uint32_t>(number * std::uint64_t{folders} / kNames);
    node.mode = S_IFREG | 0644;
    node.size = 1000;
    node.data_offset = number * 4096ull;
    tree.nodes.push_back(std::move(node));
  }
  return tree;
}

void BM_Write(benchmark::State& state) {
  Tree tree = Make(static_cast<std::uint32_t>(state.range(0)), state.range(1) != 0);
  std::size_t bytes = 0;
  for (auto _ : state) {
    const auto image = WriteImage(tree, kOptions);
    if (!image) return state.SkipWithError(image.error().Text().c_str());
    bytes = image->size();
  }
  state.counters["image_KiB"] = static_cast<double>(bytes) / 1024;
}
BENCHMARK(BM_Write)->ArgNames({"folders", "shuffled"})->ArgsProduct({{5000, 0}, {0, 1}})->Unit(benchmark::kMillisecond);

void BM_Read(benchmark::State& state) {
  Tree tree = Make(5000, true);
  const auto image = WriteImage(tree, kOptions);
  for (auto _ : state) benchmark::DoNotOptimize(ReadMetadata(*image));
}
BENCHMARK(BM_Read)->Unit(benchmark::kMillisecond);

void BM_Index(benchmark::State& state) {
  Tree tree = Make(5000, true);
  const auto image = WriteImage(tree, kOptions);
  const auto read = ReadMetadata(*image);
  for (auto _ : state) benchmark::DoNotOptimize(PathIndex(state.range(0) != 0 ? tree : read->tree));
}
BENCHMARK(BM_Index)->ArgName("shuffled")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

void BM_Find(benchmark::State& state) {
  Tree tree = Make(5000, true);
  const PathIndex index(tree);
  std::uint32_t i = 0;
  for (auto _ : state) {
    const Node& node = tree.nodes[5001 + (i += 7919) % kNames];
    const std::string path = tree.nodes[node.parent].name + "/" + node.name;
    if (index.Find(path) != &node) return state.SkipWithError("not found");
  }
}
BENCHMARK(BM_Find);

}  // namespace
}  // namespace berth::erofs
