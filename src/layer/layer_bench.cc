// End to end from memory: a layer of about 300 MB of files from /usr/lib (or the blob named by BERTH_BENCH_LAYER), gzip,
// into files in the current directory. Compare wall time with Inflate: the pipeline hides all the rest behind it.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "codec/decoder.h"
#include "codec/testing/compress.h"
#include "digest/digest.h"
#include "layer/testing/layer_lab.h"
#include "layer/unpacker.h"
#include "tar/testing/tar_builder.h"

namespace berth::layer {
namespace {

class MemorySource final : public bytes::Source {
 public:
  explicit MemorySource(std::string_view data) : data_(data) {}
  Result<std::size_t> Read(bytes::MutableView room) override {
    const std::size_t count = std::min({room.size(), data_.size(), std::size_t{256} << 10});
    std::memcpy(room.data(), data_.data(), count);
    data_.remove_prefix(count);
    return count;
  }

 private:
  std::string_view data_;
};

const std::string& Blob() {
  static const std::string blob = [] {
    if (const char* path = std::getenv("BERTH_BENCH_LAYER")) return testing::ReadFile(path);
    tar::testing::Builder b;
    std::size_t total = 0;
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             "/usr/lib", std::filesystem::directory_options::skip_permission_denied)) {
      if (entry.is_regular_file() && !entry.is_symlink()) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
      const std::string data = testing::ReadFile(path);
      if (data.size() > (20u << 20)) continue;
      if ((total += data.size()) > (300u << 20)) break;
      b.File(path.substr(1), data);
    }
    return codec::testing::Gzip(b.Finish());
  }();
  return blob;
}

void Inflate(benchmark::State& state) {
  std::vector<std::byte> room(512u << 10);
  std::uint64_t bytes = 0;
  Blob();
  for (auto _ : state) {
    MemorySource source(Blob());
    auto decoder = codec::Decoder::Open(source);
    while (*(*decoder)->Read(room) > 0) {
    }
    bytes += (*decoder)->produced();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

// One thread: inflate and both digests, nothing written. The sum of what has to be done; two cores may halve it.
void InflateAndHash(benchmark::State& state) {
  std::vector<std::byte> room(512u << 10);
  std::uint64_t bytes = 0;
  Blob();
  for (auto _ : state) {
    MemorySource source(Blob());
    auto decoder = codec::Decoder::Open(source);
    digest::Hasher blob, diff;
    blob.Update(bytes::AsView(Blob()));
    for (std::size_t got; (got = *(*decoder)->Read(room)) > 0;) diff.Update(bytes::View(room).first(got));
    benchmark::DoNotOptimize(blob.Finish());
    benchmark::DoNotOptimize(diff.Finish());
    bytes += (*decoder)->produced();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

// Two threads that share nothing: what two cores (often two threads of one core) give at best.
void InflateBesideHash(benchmark::State& state) {
  std::vector<std::byte> room(512u << 10), other(512u << 10);
  std::uint64_t bytes = 0;
  Blob();
  for (auto _ : state) {
    MemorySource source(Blob());
    auto decoder = codec::Decoder::Open(source);
    std::atomic<std::uint64_t> ready = 0;
    std::jthread hasher([&](std::stop_token stop) {
      digest::Hasher diff;
      for (std::uint64_t done = 0; !stop.stop_requested() || done < ready; done += other.size()) {
        if (done < ready || !stop.stop_requested()) diff.Update(other);
      }
      benchmark::DoNotOptimize(diff.Finish());
    });
    for (std::size_t got; (got = *(*decoder)->Read(room)) > 0;) ready += got;
    bytes += (*decoder)->produced();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

void Unpack(benchmark::State& state, Form form) {
  std::uint64_t bytes = 0;
  UnpackOptions options;
  options.form = form;
  Blob();
  for (auto _ : state) {
    char folder[] = "berth_bench_XXXXXX";
    if (!mkdtemp(folder)) return state.SkipWithError("mkdtemp");
    const std::string path = folder, tree = path + "/tree";
    std::filesystem::create_directory(tree);
    const host::Fd data(form == Form::kErofs ? open((path + "/data").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)
                                             : open(tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const host::Fd meta(open((path + "/meta").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    MemorySource source(Blob());
    const auto report = UnpackStream(source, data.get(), meta.get(), options);
    if (!report) return state.SkipWithError(report.error().Text().c_str());
    bytes += report->uncompressed_bytes;
    state.PauseTiming();
    std::filesystem::remove_all(path);
    state.ResumeTiming();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

BENCHMARK(Inflate)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);
BENCHMARK(InflateAndHash)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);
BENCHMARK(InflateBesideHash)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Unpack, Erofs, Form::kErofs)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Unpack, Tree, Form::kTree)->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace berth::layer
