// erofs/writer.h: writes EROFS metadata for a Tree.
//
// The image is a file of metadata only (superblock, inodes, directories, xattrs, symlinks); file contents are on
// `devices` extra data files, named when mounting: mount -t erofs -o device=L.data L.meta DIR. 4096-byte blocks,
// extended inodes (64-bit times with nanoseconds), inline directory and symlink tails, chunk indexes for sparse files,
// superblock checksum. Readable by kernels from 5.16 (multi-device), file-backed without a loop device from 6.12.
// Deterministic: the same Tree gives the same bytes. Directory entries are sorted by bytes as EROFS demands.
// Errors: kLimitExceeded when the image would pass a format limit (2^32 blocks, xattr area of an inode).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bytes/bytes.h"
#include "erofs/tree.h"
#include "result/result.h"

namespace berth::erofs {

struct WriteOptions {
  // Size in bytes of each data device, rounded up to 4096 by the writer; most layers have exactly one.
  std::vector<std::uint64_t> device_bytes;
  // 16 bytes of volume identity (for instance the first half of the blob digest).
  std::array<std::uint8_t, 16> uuid{};
};

// Sets `links` of the tree's nodes on the way.
Result<std::vector<std::byte>> WriteImage(Tree& tree, const WriteOptions& options);

}  // namespace berth::erofs
