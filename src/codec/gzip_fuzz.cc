// The gzip decoder says the same whatever the pieces it reads and the room it is given, and agrees with zlib.
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

#include "codec/testing/pieces.h"

namespace berth::codec {
namespace {

constexpr std::uint64_t kOutput = 4u << 20;

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
  const testing::Verdict whole = testing::DecodeEveryWay(input, {.output_bytes = kOutput});
  const std::optional<std::string> oracle = Zlib(input);
  if (oracle.has_value() == whole.failed.has_value()) std::abort();
  if (oracle && *oracle != whole.out) std::abort();
  return 0;
}
