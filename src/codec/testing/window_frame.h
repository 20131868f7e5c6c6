// codec/testing/window_frame.h: zstd frames with windows of any size, for tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace berth::codec::testing {

// One raw block, of at most 128 KiB, in a frame that wants a window of 2^log bytes.
inline std::string WindowFrame(int log, std::string_view contents) {
  std::string frame("\x28\xb5\x2f\xfd\0", 5);
  frame += static_cast<char>((log - 10) << 3);
  const auto header = static_cast<std::uint32_t>(contents.size() << 3 | 1);
  for (int i = 0; i < 3; ++i) frame += static_cast<char>(header >> (8 * i));
  return frame.append(contents);
}

}  // namespace berth::codec::testing
