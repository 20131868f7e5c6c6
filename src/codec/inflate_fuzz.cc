// A raw deflate stream gives what zlib gives: the verdict, the bytes, and where the stream ends. No CRC stands in the way
// of mutations here, and whatever the pieces read and the room given, the answer is the same.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "codec/testing/raw_deflate.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::codec::testing;
  constexpr std::size_t kOutput = 1u << 20;
  const std::string_view stream(reinterpret_cast<const char*>(data), size);
  const std::optional<Inflated> oracle = Zlib(stream, kOutput);
  struct Way {
    std::size_t piece, room;
  };
  for (const Way way : {Way{size + 1, 256u << 10}, Way{1 + size % 37, 40'000}, Way{1, 1 + size % 700}}) {
    const auto ours = Ours(stream, way.piece, way.room, kOutput);
    if (ours.has_value() != oracle.has_value() || (oracle && *ours != *oracle)) std::abort();
  }
  return 0;
}
