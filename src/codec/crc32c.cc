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

namespace {

// Polynomials modulo Castagnoli's, bits reversed: bit 31 is the coefficient of x^0.
std::uint32_t Times(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (; a != 0; a <<= 1) {
    if ((a & 0x80000000u) != 0) product ^= b;
    b = (b >> 1) ^ (0x82F63B78u & (0u - (b & 1)));
  }
  return product;
}

}  // namespace

std::uint32_t Crc32cOfZeros(std::uint64_t count, std::uint32_t before) {
  std::uint32_t shift = 0x80000000u;  // x^(8 * count), from the squares of x^8
  for (std::uint32_t power = 0x00800000u; count != 0; count >>= 1, power = Times(power, power)) {
    if ((count & 1) != 0) shift = Times(shift, power);
  }
  return ~Times(shift, ~before);
}

}  // namespace berth::codec
