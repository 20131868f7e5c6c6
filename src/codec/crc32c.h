// codec/crc32c.h: CRC-32C (Castagnoli), to find damage at rest at the speed of memory. No protection against attackers.
#pragma once

#include <cstdint>

#include "bytes/bytes.h"

namespace berth::codec {

// Goes on from the CRC of what came before: Crc32c(b, Crc32c(a)) == Crc32c(a + b).
std::uint32_t Crc32c(bytes::View data, std::uint32_t before = 0);
// The same for `count` zeros, however many.
std::uint32_t Crc32cOfZeros(std::uint64_t count, std::uint32_t before = 0);

}  // namespace berth::codec
