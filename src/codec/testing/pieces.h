// codec/testing/pieces.h: for the fuzz targets: a decoder's verdict on input that comes in pieces of any size.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "codec/decoder.h"

namespace berth::codec::testing {

// Gives 1 to 37 bytes at a time as `seed` says; all there is with seed 0 for the first time.
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

inline Verdict Decode(std::string_view input, std::uint32_t seed, std::size_t room, const Limits& limits) {
  Pieces pieces(input, seed);
  Verdict verdict;
  auto decoder = Decoder::Open(pieces, limits);
  if (!decoder) return {.failed = decoder.error().reason()};
  std::string buffer(room, '\0');
  for (;;) {
    const auto got = (*decoder)->Read(std::as_writable_bytes(std::span(buffer)));
    if (!got) return {.failed = got.error().reason(), .out = {}};
    if (*got == 0) return verdict;
    verdict.out.append(buffer, 0, *got);
    if (verdict.out.size() > limits.output_bytes) std::abort();
  }
}

// Aborts when the verdict depends on how the input was cut, or on the room given.
inline Verdict DecodeEveryWay(std::string_view input, const Limits& limits) {
  const Verdict whole = Decode(input, 0, 65'536, limits);
  for (const std::size_t room : {1u, 77u, 40'000u}) {
    if (room == 1 && whole.out.size() > 20'000) continue;
    const Verdict pieces = Decode(input, static_cast<std::uint32_t>(input.size() + room), room, limits);
    if (pieces.failed.has_value() != whole.failed.has_value() || pieces.out != whole.out) std::abort();
  }
  return whole;
}

}  // namespace berth::codec::testing
