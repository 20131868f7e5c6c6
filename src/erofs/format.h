// erofs/format.h: the EROFS on-disk layout, as far as berth writes and reads it. Private to erofs/.
//
// All numbers little-endian, all places in bytes. Source: Linux Documentation/filesystems/erofs.rst and the field
// layout of kernel 5.16 (first with a device table); nothing used here has changed since. An inode is named by its
// nid: the 32-byte slot where it starts, counted from block meta_block.
#pragma once

#include <sys/stat.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "bytes/bytes.h"
#include "codec/crc32c.h"

namespace berth::erofs::format {

static_assert(std::endian::native == std::endian::little, "the structures below are memory images");

inline constexpr unsigned kBlockBits = 12;
inline constexpr std::uint64_t kBlock = 1ull << kBlockBits;
inline constexpr std::uint64_t kSlot = 32;
inline constexpr std::uint64_t kSuperOffset = 1024;
inline constexpr std::uint32_t kMagic = 0xE0F5E1E2u;
inline constexpr std::uint32_t kNullBlock = 0xFFFFFFFFu;  // of a chunk: a hole; of a flat inode: no whole block
inline constexpr std::size_t kNameMax = 255;
inline constexpr std::size_t kLinkMax = 4095;             // PATH_MAX without its NUL

inline constexpr std::uint32_t kCompatChecksum = 1, kCompatMtime = 2;
inline constexpr std::uint32_t kIncompatChunked = 4, kIncompatDevices = 8;

struct SuperBlock {
  std::uint32_t magic, checksum, compat;
  std::uint8_t block_bits, ext_slots;
  std::uint16_t root_nid;
  std::uint64_t inodes, build_seconds;
  std::uint32_t build_nanos, blocks, meta_block, xattr_block;
  std::array<std::uint8_t, 16> uuid, volume;
  std::uint32_t incompat;
  std::uint16_t compression, devices, device_slot;  // the table starts at device_slot * 128
  std::uint8_t dir_block_bits, prefixes;
  std::uint32_t prefix_start;
  std::uint64_t packed_nid;
  std::uint8_t xattr_filter, reserved[23];
};
struct DeviceSlot {
  std::uint8_t tag[64];
  std::uint32_t blocks, mapped_block;
  std::uint8_t reserved[56];
};

enum Layout : std::uint8_t { kFlatPlain = 0, kFlatInline = 2, kChunked = 4 };  // the inline tail follows the xattrs

struct Inode {  // "extended"
  std::uint16_t format;        // bit 0: extended; bits 1 to 3: Layout
  std::uint16_t xattr_count;   // 0: none; n: a header of 12 bytes and (n - 1) * 4 bytes of entries follow
  std::uint16_t mode, reserved;
  std::uint64_t size;
  std::uint32_t block;         // first block; of a device its number; of a chunked file bits 0 to 4 log2(chunk) - 12
  std::uint32_t ino, uid, gid;
  std::int64_t mtime_seconds;
  std::uint32_t mtime_nanos, links;
  std::uint8_t reserved2[16];
};
struct CompactInode {  // time is the superblock's
  std::uint16_t format, xattr_count, mode, links;
  std::uint32_t size, reserved, block, ino;
  std::uint16_t uid, gid;
  std::uint32_t reserved2;
};
inline constexpr std::uint32_t kChunkBitsMask = 0x1F, kChunkIndexes = 0x20;

struct ChunkIndex {  // at the first multiple of 8 behind the xattrs
  std::uint16_t advise, device;  // device 0: this image
  std::uint32_t block;
};
struct [[gnu::packed]] Dirent {  // a block: all its dirents, then all their names; the last may end early, by a NUL
  std::uint64_t nid;
  std::uint16_t name_offset;
  std::uint8_t type, reserved;
};
struct XattrHeader {
  std::uint32_t filter;
  std::uint8_t shared, reserved[7];
};
struct XattrEntry {  // then name and value, padded to 4
  std::uint8_t name_bytes, prefix;
  std::uint16_t value_bytes;
};
static_assert(sizeof(SuperBlock) == 128 && sizeof(DeviceSlot) == 128 && sizeof(Inode) == 64 && sizeof(CompactInode) == 32);
static_assert(sizeof(ChunkIndex) == 8 && sizeof(Dirent) == 12 && sizeof(XattrHeader) == 12 && sizeof(XattrEntry) == 4);

inline constexpr std::uint64_t kXattrMax = sizeof(XattrHeader) + 4ull * 0xFFFE;  // the area of one inode

// Prefix numbers are places in this table. Number 0 holds any other name whole: no Linux file system shows such an
// xattr (setxattr says EOPNOTSUPP), the kernel skips it, and it still comes back out of the image.
inline constexpr std::array<std::string_view, 7> kXattrPrefixes = {
    "", "user.", "system.posix_acl_access", "system.posix_acl_default", "trusted.", "lustre.", "security."};
inline std::uint8_t XattrPrefix(std::string_view name) {
  for (std::uint8_t i = 1; i < kXattrPrefixes.size(); ++i) {
    const std::string_view prefix = kXattrPrefixes[i];
    if (prefix.ends_with('.') ? name.starts_with(prefix) : name == prefix) return i;
  }
  return 0;
}

constexpr std::uint64_t RoundUp(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }
constexpr std::uint64_t Blocks(std::uint64_t bytes) { return bytes / kBlock + (bytes % kBlock != 0); }

// The type byte of a directory entry; 0 for a mode that is no file's.
constexpr std::uint8_t FileType(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return 1;
    case S_IFDIR: return 2;
    case S_IFCHR: return 3;
    case S_IFBLK: return 4;
    case S_IFIFO: return 5;
    case S_IFSOCK: return 6;
    case S_IFLNK: return 7;
    default: return 0;
  }
}

// Linux's 32-bit device number: 12 bits of major, 20 of minor.
inline constexpr std::uint32_t kMajorMax = 0xFFF, kMinorMax = 0xFFFFF;
constexpr std::uint32_t EncodeDevice(std::uint32_t major, std::uint32_t minor) {
  return (minor & 0xFF) | (major << 8) | ((minor & ~0xFFu) << 12);
}
constexpr std::uint32_t DeviceMajor(std::uint32_t device) { return (device >> 8) & kMajorMax; }
constexpr std::uint32_t DeviceMinor(std::uint32_t device) { return (device & 0xFF) | ((device >> 12) & 0xFFF00u); }

// The caller has checked that all of T is inside.
template <class T>
T Load(bytes::View from, std::uint64_t at) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, from.subspan(at, sizeof(T)).data(), sizeof(T));
  return value;
}
template <class T>
void Store(bytes::MutableView to, std::uint64_t at, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(to.subspan(at, sizeof(T)).data(), &value, sizeof(T));
}

// The superblock's checksum: CRC-32C, not inverted at the end, of the first block from the superblock on with the
// checksum taken as 0 (so it covers the device table as far as that is in the first block).
inline std::uint32_t Checksum(bytes::View image) {
  constexpr std::uint64_t kField = kSuperOffset + 4;
  constexpr std::array<std::byte, 4> kZeros{};
  const std::uint32_t before = codec::Crc32c(kZeros, codec::Crc32c(image.subspan(kSuperOffset, 4)));
  return ~codec::Crc32c(image.subspan(kField + 4, kBlock - kField - 4), before);
}

}  // namespace berth::erofs::format
