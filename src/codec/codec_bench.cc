// Decoding speed over a bare ISA-L loop. BERTH_BENCH_GZIP and BERTH_BENCH_ZSTD name files to decode; without them a
// generated stream is used. bytes_per_second counts the output.
#include <benchmark/benchmark.h>
#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
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

// Text-like bytes that compress about 3:1.
std::string Plain() {
  std::string plain;
  std::uint64_t state = 88172645463325252ull;
  while (plain.size() < (64u << 20)) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    plain += "word" + std::to_string(state % 5000) + (state % 7 == 0 ? "\n" : " ");
  }
  return plain;
}

std::string FromFile(const char* variable) {
  const char* const path = std::getenv(variable);
  if (path == nullptr) return {};
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

const std::string& Gzip() {
  static const std::string stream = [] {
    if (std::string given = FromFile("BERTH_BENCH_GZIP"); !given.empty()) return given;
    std::string plain = Plain();
    std::string out(plain.size() + (1u << 20), '\0');
    std::vector<std::uint8_t> level(ISAL_DEF_LVL2_LARGE);
    isal_zstream z;
    isal_deflate_stateless_init(&z);
    z.level = 2;
    z.level_buf = level.data();
    z.level_buf_size = static_cast<std::uint32_t>(level.size());
    z.gzip_flag = IGZIP_GZIP;
    z.end_of_stream = 1;
    z.next_in = reinterpret_cast<std::uint8_t*>(plain.data());
    z.avail_in = static_cast<std::uint32_t>(plain.size());
    z.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    z.avail_out = static_cast<std::uint32_t>(out.size());
    if (isal_deflate_stateless(&z) != COMP_OK) std::abort();
    out.resize(z.total_out);
    return out;
  }();
  return stream;
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

void Decode(benchmark::State& state, const std::string& stream) {
  std::vector<std::byte> room(static_cast<std::size_t>(state.range(0)));
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
void BM_Gzip(benchmark::State& state) { Decode(state, Gzip()); }
void BM_Zstd(benchmark::State& state) { Decode(state, Zstd()); }

// The floor: ISA-L's own gzip mode, input copied in 256 KiB pieces like a socket's.
void BM_RawIsal(benchmark::State& state) {
  const std::string& stream = Gzip();
  std::vector<std::uint8_t> room(static_cast<std::size_t>(state.range(0)));
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

BENCHMARK(BM_RawIsal)->Arg(64 << 10)->Arg(256 << 10)->Arg(1 << 20)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Gzip)->Arg(64 << 10)->Arg(256 << 10)->Arg(1 << 20)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_RawZstd)->Arg(256 << 10)->Arg(1 << 20)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Zstd)->Arg(256 << 10)->Arg(1 << 20)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace berth::codec
