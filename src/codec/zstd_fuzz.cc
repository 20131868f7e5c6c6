// The decoder says the same of zstd (and any other) input whatever the pieces it reads and the room it is given, never
// gives more than its limit, and agrees with libzstd's one-shot call where that can tell.
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <string>

#include "codec/testing/pieces.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::codec;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const testing::Verdict whole = testing::DecodeEveryWay(input, {.output_bytes = 4u << 20, .zstd_window_bytes = 8u << 20});
  // What the headers say suffices for all of it, however they are cut.
  ZstdWindows at_once, in_pieces;
  const std::uint64_t window = at_once.Take(berth::bytes::AsView(input));
  std::uint64_t found = 0;
  for (std::size_t at = 0, step = 1; at < input.size(); at += step, step = step % 7 + 1)
    found = in_pieces.Take(berth::bytes::AsView(input.substr(at, step)));
  if (found != window) std::abort();
  if (!whole.failed) {
    if (window > 8u << 20) std::abort();
    const std::uint64_t enough = std::bit_ceil(std::max<std::uint64_t>({window, input.size(), 1024}));  // also for what is skipped
    if (testing::Decode(input, 0, 65'536, {.output_bytes = 4u << 20, .zstd_window_bytes = enough}).failed) std::abort();
  }
  if (!whole.failed && input.substr(0, 4) == "\x28\xb5\x2f\xfd") {
    std::string out(whole.out.size() + 1, '\0');
    const std::size_t got = ZSTD_decompress(out.data(), out.size(), input.data(), input.size());
    if (ZSTD_isError(got) || std::string_view(out).substr(0, got) != whole.out) std::abort();
  }
  return 0;
}
