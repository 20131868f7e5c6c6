// Decoding speed beside bare loops of ISA-L, zlib and libzstd, all with their checksums. BERTH_BENCH_GZIP and
// BERTH_BENCH_ZSTD name files to decode; without them files of this machine are compressed first (a minute).
// bytes_per_second counts the output. Rows to compare need --benchmark_enable_random_interleaving=true and
// --benchmark_repetitions=9: the clock of a shared machine drifts.
#include <benchmark/benchmark.h>
#include <isa-l/igzip_lib.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "codec/decoder.h"

namespace berth::codec {
namespace {

class Memory : public bytes::Source {
 public:
  explicit Memory(std::string_view data) : rest_(data) {}
  Result<std::size_t> Read(bytes::MutableView room) override {
    const std::size_t count = std::min(room.size(), rest_.size());
    std::memcpy(room.data(), rest_.data(), count);
    rest_.remove_prefix(count);
    return count;
  }

 private:
  std::string_view rest_;
};

// What layers are made of: every n-th file of /usr/lib and /usr/share, each behind a tar header's worth of bytes.
const std::string& Plain() {
  static const std::string plain = [] {
    namespace fs = std::filesystem;
    constexpr std::uint64_t kWanted = 300'000'000, kLargest = 16u << 20;
    std::vector<std::pair<std::string, std::uint64_t>> files;
    std::uint64_t all = 0;
    for (const char* const root : {"/usr/lib", "/usr/share"}) {
      std::error_code error;
      for (fs::recursive_directory_iterator at(root, fs::directory_options::skip_permission_denied, error), end; at != end;
           at.increment(error)) {
        if (at->is_symlink(error) || !at->is_regular_file(error)) continue;
        const std::uint64_t size = at->file_size(error);
        if (error || size > kLargest) continue;
        files.emplace_back(at->path().string(), size);
        all += size;
      }
    }
    std::ranges::sort(files);
    const std::size_t step = std::max<std::size_t>(1, static_cast<std::size_t>(all / kWanted));
    std::string out;
    for (std::size_t i = 0; i < files.size() && out.size() < kWanted; i += step) {
      out += files[i].first.substr(0, 99);
      out.resize((out.size() + 511) / 512 * 512);
      std::ifstream file(files[i].first, std::ios::binary);
      const std::size_t at = out.size();
      out.resize(at + files[i].second);
      file.read(out.data() + at, static_cast<std::streamsize>(files[i].second));
      out.resize((out.size() + 511) / 512 * 512);
    }
    return out;
  }();
  return plain;
}

std::string FromFile(const char* variable) {
  const char* const path = std::getenv(variable);
  if (path == nullptr) return {};
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The encoders that layers come from: gzip's block size, pigz's cuts every 128 KiB, a laxer search as Go's and BuildKit's.
enum Encoder : std::int64_t { kGzip6, kPigz6, kLevel4, kEncoders };
constexpr const char* kEncoderNames[] = {"gzip -6", "pigz -6", "level 4"};

const std::string& Gzip(std::int64_t encoder) {
  static std::array<std::string, kEncoders> streams;
  std::string& out = streams[static_cast<std::size_t>(encoder)];
  if (!out.empty()) return out;
  if (out = FromFile("BERTH_BENCH_GZIP"); !out.empty()) return out;
  const std::string& plain = Plain();
  z_stream z{};
  if (deflateInit2(&z, encoder == kLevel4 ? 4 : 6, Z_DEFLATED, 31, encoder == kGzip6 ? 9 : 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  out.resize(plain.size() + (1u << 20));
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  std::size_t left = plain.size();
  for (constexpr std::size_t kCut = 128u << 10; encoder == kPigz6 && left > kCut; left -= kCut) {
    z.avail_in = kCut;
    if (deflate(&z, Z_SYNC_FLUSH) != Z_OK) std::abort();
  }
  z.avail_in = static_cast<uInt>(left);
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

const std::string& Zstd() {
  static const std::string stream = [] {
    if (std::string given = FromFile("BERTH_BENCH_ZSTD"); !given.empty()) return given;
    const std::string plain = Plain();
    std::string out(ZSTD_compressBound(plain.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 3));
    return out;
  }();
  return stream;
}

void Decode(benchmark::State& state, const std::string& stream, std::int64_t size) {
  std::vector<std::byte> room(static_cast<std::size_t>(size));
  std::uint64_t total = 0;
  for (auto _ : state) {
    Memory memory(stream);
    auto decoder = Decoder::Open(memory);
    for (;;) {
      const auto got = (*decoder)->Read(room);
      if (!got) return state.SkipWithError(got.error().Text().c_str());
      if (*got == 0) break;
      total += *got;
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(total));
}
void BM_Gzip(benchmark::State& state) {
  state.SetLabel(kEncoderNames[state.range(0)]);
  Decode(state, Gzip(state.range(0)), state.range(1));
}
void BM_Zstd(benchmark::State& state) { Decode(state, Zstd(), state.range(0)); }

// ISA-L's own gzip mode, input copied in 256 KiB pieces like a socket's.
void BM_RawIsal(benchmark::State& state) {
  state.SetLabel(kEncoderNames[state.range(0)]);
  const std::string& stream = Gzip(state.range(0));
  std::vector<std::uint8_t> room(static_cast<std::size_t>(state.range(1)));
  std::vector<std::uint8_t> in(256u << 10);
  auto s = std::make_unique<inflate_state>();
  std::uint64_t total = 0;
  for (auto _ : state) {
    isal_inflate_init(s.get());
    s->crc_flag = ISAL_GZIP;
    std::size_t at = 0;
    s->avail_in = 0;
    while (s->block_state != ISAL_BLOCK_FINISH) {
      if (s->avail_in == 0) {
        const std::size_t count = std::min(in.size(), stream.size() - at);
        std::memcpy(in.data(), stream.data() + at, count);
        at += count;
        s->next_in = in.data();
        s->avail_in = static_cast<std::uint32_t>(count);
      }
      s->next_out = room.data();
      s->avail_out = static_cast<std::uint32_t>(room.size());
      if (isal_inflate(s.get()) < 0) return state.SkipWithError("isal_inflate");
      total += room.size() - s->avail_out;
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(total));
}
void BM_RawZlib(benchmark::State& state) {
  state.SetLabel(kEncoderNames[state.range(0)]);
  const std::string& stream = Gzip(state.range(0));
  std::vector<Bytef> room(static_cast<std::size_t>(state.range(1)));
  std::uint64_t total = 0;
  for (auto _ : state) {
    z_stream z{};
    if (inflateInit2(&z, 31) != Z_OK) std::abort();
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stream.data()));
    z.avail_in = static_cast<uInt>(stream.size());
    int status = Z_OK;
    while (status == Z_OK) {
      z.next_out = room.data();
      z.avail_out = static_cast<uInt>(room.size());
      status = inflate(&z, Z_NO_FLUSH);
      total += room.size() - z.avail_out;
    }
    inflateEnd(&z);
    if (status != Z_STREAM_END) return state.SkipWithError("inflate");
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(total));
}
void BM_RawZstd(benchmark::State& state) {
  const std::string& stream = Zstd();
  std::vector<char> room(static_cast<std::size_t>(state.range(0)));
  ZSTD_DStream* const s = ZSTD_createDStream();
  std::uint64_t total = 0;
  for (auto _ : state) {
    ZSTD_initDStream(s);
    ZSTD_inBuffer in{stream.data(), stream.size(), 0};
    std::size_t status = 1;
    while (status != 0 && !ZSTD_isError(status)) {
      ZSTD_outBuffer out{room.data(), room.size(), 0};
      status = ZSTD_decompressStream(s, &out, &in);
      total += out.pos;
    }
  }
  ZSTD_freeDStream(s);
  state.SetBytesProcessed(static_cast<std::int64_t>(total));
}

void Rooms(benchmark::internal::Benchmark* b) {
  b->ArgsProduct({{kGzip6, kPigz6, kLevel4}, {64 << 10, 256 << 10, 1 << 20}})->Unit(benchmark::kMillisecond);
}
BENCHMARK(BM_Gzip)->Apply(Rooms);
BENCHMARK(BM_RawIsal)->Apply(Rooms);
BENCHMARK(BM_RawZlib)->ArgsProduct({{kGzip6, kPigz6, kLevel4}, {256 << 10}})->Unit(benchmark::kMillisecond);
BENCHMARK(BM_RawZstd)->Arg(256 << 10)->Arg(1 << 20)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Zstd)->Arg(256 << 10)->Arg(1 << 20)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace berth::codec
