// Parsing speed: many small files (headers count), few large ones (nothing should), PAX headers on every file.
// BERTH_BENCH_TAR names an archive to read as well.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "tar/reader.h"
#include "tar/testing/tar_builder.h"

namespace berth::tar {
namespace {

class Counter : public Handler {
 public:
  Result<> OnEntry(const Entry& entry) override { names += entry.name.size(); return {}; }
  Result<> OnData(std::uint64_t, bytes::View data) override { bytes += data.size(); return {}; }
  Result<> OnFileEnd() override { return {}; }
  std::uint64_t names = 0, bytes = 0;
};

void Read(benchmark::State& state, const std::string& archive) {
  constexpr std::size_t kPiece = 256u << 10;
  std::uint64_t entries = 0;
  for (auto _ : state) {
    Counter counter;
    Reader reader(counter);
    for (std::size_t at = 0; at < archive.size(); at += kPiece) {
      if (auto fed = reader.Feed(bytes::AsView(std::string_view(archive).substr(at, kPiece))); !fed) {
        return state.SkipWithError(fed.error().Text().c_str());
      }
    }
    benchmark::DoNotOptimize(counter.bytes + counter.names);
    entries += reader.entries();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(entries));
  state.SetBytesProcessed(static_cast<std::int64_t>(archive.size() * state.iterations()));
}

void BM_SmallFiles(benchmark::State& state) {
  testing::Builder b;
  for (int i = 0; i < 20'000; ++i) b.File("usr/share/doc/package/file" + std::to_string(i), std::string(700, 'x'));
  Read(state, b.Finish());
}
void BM_PaxFiles(benchmark::State& state) {
  testing::Builder b;
  for (int i = 0; i < 20'000; ++i) {
    b.Pax({{"mtime", "1700000000.123456789"}, {"SCHILY.xattr.user.key", "value"}, {"path", "usr/share/" + std::to_string(i)}})
        .File("f", std::string(700, 'x'));
  }
  Read(state, b.Finish());
}
void BM_LargeFiles(benchmark::State& state) {
  testing::Builder b;
  for (int i = 0; i < 8; ++i) b.File(std::to_string(i), std::string(8u << 20, 'x'));
  Read(state, b.Finish());
}
void BM_Given(benchmark::State& state) {
  const char* const path = std::getenv("BERTH_BENCH_TAR");
  if (path == nullptr) return state.SkipWithError("BERTH_BENCH_TAR is not set");
  std::ifstream file(path, std::ios::binary);
  Read(state, {std::istreambuf_iterator<char>(file), {}});
}

BENCHMARK(BM_SmallFiles)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PaxFiles)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_LargeFiles)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Given)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace berth::tar
