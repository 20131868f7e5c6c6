#include "codec/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace berth::codec {

std::uint32_t Crc32c(bytes::View data, std::uint32_t before) {
  constexpr std::size_t kMost = 1u << 30;  // ISA-L counts in int
  std::uint32_t crc = ~before;
  while (!data.empty()) {
    const std::size_t count = std::min(data.size(), kMost);
    // ISA-L only reads, whatever its signature says.
    auto* bytes = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(data.data()));
    crc = crc32_iscsi(bytes, static_cast<int>(count), crc);
    data = data.subspan(count);
  }
  return ~crc;
}

}  // namespace berth::codec
