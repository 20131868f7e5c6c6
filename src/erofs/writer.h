// erofs/writer.h: writes EROFS metadata for a Tree.
//
// The image is a file of metadata only (superblock, inodes, directories, xattrs, symlinks); file contents are on
// `devices` extra data files, named when mounting: mount -t erofs -o device=L.data L.meta DIR (one device= for each, in
// order). 4096-byte blocks, extended inodes (64-bit times with nanoseconds), inline directory and symlink tails,
// chunk-based files (one 8-byte index for each 2 GiB of a dense file), superblock checksum. Readable by kernels from
// 5.16 (multi-device), file-backed without a loop device from 6.12. Source: Linux Documentation/filesystems/erofs.rst.
// Deterministic: the same Tree gives the same bytes. Directory entries are sorted by bytes as EROFS demands.
//
// What is written: every name that the root reaches and that is not `removed`, nor under a removed directory. An inode
// lives as long as one of its names does: hard links to a removed name keep its inode, as on any file system.
// Xattrs: the name spaces user, trusted, security, lustre and the two POSIX ACLs have their place in EROFS. Any other
// name is stored whole under prefix 0: no mount shows it (no Linux file system would), ReadMetadata gives it back.
// Of equal names the first counts.
//
// Errors, all naming the node:
// - kLimitExceeded when a format limit is passed: 16 TiB of a device, names of 255 bytes, symlink targets of 4095,
//   xattr names (behind the prefix) of 255, values of 65535 and 262148 in all for an inode, device numbers of 12 and 20
//   bits, 2^63 - 1 bytes of a file, about 16,000 devices; or image_bytes.
// - kInternal when the Tree is none (a cycle, two equal names, a parent that is no directory, a link to a link, '/' in a
//   name, contents outside of their device, ...): layer/ refuses what the archive did, so that is a defect of ours.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "bytes/bytes.h"
#include "erofs/children.h"
#include "erofs/tree.h"
#include "result/result.h"

namespace berth::erofs {

struct WriteOptions {
  // Size in bytes of each data device, rounded up to 4096 by the writer; most layers have exactly one.
  std::vector<std::uint64_t> device_bytes;
  // 16 bytes of volume identity (for instance the first half of the blob digest).
  std::array<std::uint8_t, 16> uuid{};
  // The most that a hostile layer may make us allocate; a million names need about 150 MiB.
  std::uint64_t image_bytes = 1ull << 30;
};

// Sets `links` of the tree's nodes on the way. Time: about 25 ms for 100,000 names in the order of an archive, 65 ms in
// none; memory: the image (about 150 bytes a name), and 90 bytes a node while it runs.
// `children`: ChildrenByName(tree), for those who have it already.
Result<std::vector<std::byte>> WriteImage(Tree& tree, const WriteOptions& options);
Result<std::vector<std::byte>> WriteImage(Tree& tree, const Children& children, const WriteOptions& options);

// A sparse file costs 8 bytes of metadata for each chunk, and a chunk can be no larger than what divides all bounds of
// its extents: one stray 4 KiB extent in a 256 GiB file makes that 512 MiB. So start and end the extents of a file of
// `size` bytes with data in `segments` (offset and length, ascending, inside the file) at multiples of this in the file, or
// at its end: the power of two, 4096 or more, with which index and zeros around the data take the least room together.
// About sqrt(8 * size * segments) bytes of each: 1 to 2 MiB in the example.
std::uint64_t SparseAlignment(std::uint64_t size, std::span<const std::pair<std::uint64_t, std::uint64_t>> segments);

}  // namespace berth::erofs
