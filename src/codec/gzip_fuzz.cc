// The gzip decoder says the same whatever the pieces it reads and the room it is given, and agrees with zlib.
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "codec/decoder.h"

namespace berth::codec {
namespace {

constexpr std::uint64_t kOutput = 4u << 20;

class Pieces : public bytes::Source {
 public:
  Pieces(std::string_view rest, std::uint32_t seed) : rest_(rest), state_(seed) {}
  Result<std::size_t> Read(bytes::MutableView room) override {
    state_ = state_ * 1664525u + 1013904223u;
    const std::size_t most = state_ == 0 ? rest_.size() : 1 + (state_ >> 24) % 37;
    const std::size_t count = std::min({room.size(), rest_.size(), most});
    std::memcpy(room.data(), rest_.data(), count);
    rest_.remove_prefix(count);
    return count;
  }

 private:
  std::string_view rest_;
  std::uint32_t state_;
};

struct Verdict {
  std::optional<Reason> failed;
  std::string out;
};

Verdict Decode(std::string_view input, std::uint32_t seed, std::size_t room) {
  Pieces pieces(input, seed);
  Verdict verdict;
  auto decoder = Decoder::Open(pieces, {.output_bytes = kOutput});
  if (!decoder) return {.failed = decoder.error().reason()};
  std::string buffer(room, '\0');
  for (;;) {
    const auto got = (*decoder)->Read(std::as_writable_bytes(std::span(buffer)));
    if (!got) return {.failed = got.error().reason(), .out = {}};
    if (*got == 0) return verdict;
    verdict.out.append(buffer, 0, *got);
    if (verdict.out.size() > kOutput) std::abort();
  }
}

// What zlib makes of it: nullopt when it refuses; members one after the other, then nothing or zeros.
std::optional<std::string> Zlib(std::string_view input) {
  std::string out;
  while (!input.empty()) {
    if (!out.empty() && std::ranges::all_of(input, [](char c) { return c == 0; })) return out;
    z_stream z{};
    if (inflateInit2(&z, 31) != Z_OK) std::abort();
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    z.avail_in = static_cast<uInt>(input.size());
    char buffer[16384];
    int status = Z_OK;
    while (status == Z_OK && out.size() <= kOutput) {
      z.next_out = reinterpret_cast<Bytef*>(buffer);
      z.avail_out = sizeof buffer;
      status = inflate(&z, Z_NO_FLUSH);
      out.append(buffer, sizeof buffer - z.avail_out);
    }
    input = input.substr(input.size() - z.avail_in);
    inflateEnd(&z);
    if (status != Z_STREAM_END || out.size() > kOutput) return std::nullopt;
    if (out.empty() && std::ranges::all_of(input, [](char c) { return c == 0; })) return out;
  }
  return out;
}

}  // namespace
}  // namespace berth::codec

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::codec;
  std::string input(reinterpret_cast<const char*>(data), size);
  if (size < 2) return 0;
  input[0] = '\x1f', input[1] = '\x8b';
  const Verdict whole = Decode(input, 0, 65'536);
  for (const std::size_t room : {1u, 77u, 40'000u}) {
    if (room == 1 && whole.out.size() > 20'000) continue;
    const Verdict pieces = Decode(input, static_cast<std::uint32_t>(size + room), room);
    if (pieces.failed.has_value() != whole.failed.has_value() || pieces.out != whole.out) std::abort();
  }
  const std::optional<std::string> oracle = Zlib(input);
  if (oracle.has_value() == whole.failed.has_value()) std::abort();
  if (oracle && *oracle != whole.out) std::abort();
  return 0;
}
