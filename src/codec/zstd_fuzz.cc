// The decoder says the same of zstd (and any other) input whatever the pieces it reads and the room it is given, never
// gives more than its limit, and agrees with libzstd's one-shot call where that can tell.
#include <zstd.h>

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
  auto decoder = Decoder::Open(pieces, {.output_bytes = kOutput, .zstd_window_bytes = 8u << 20});
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


}  // namespace
}  // namespace berth::codec

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::codec;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const Verdict whole = Decode(input, 0, 65'536);
  for (const std::size_t room : {1u, 77u, 40'000u}) {
    if (room == 1 && whole.out.size() > 20'000) continue;
    const Verdict pieces = Decode(input, static_cast<std::uint32_t>(size + room), room);
    if (pieces.failed.has_value() != whole.failed.has_value() || pieces.out != whole.out) std::abort();
  }
  if (!whole.failed && input.substr(0, 4) == "\x28\xb5\x2f\xfd") {
    std::string out(whole.out.size() + 1, '\0');
    const std::size_t got = ZSTD_decompress(out.data(), out.size(), input.data(), input.size());
    if (ZSTD_isError(got) || std::string_view(out).substr(0, got) != whole.out) std::abort();
  }
  return 0;
}
