// erofs/reader.h: reads EROFS metadata written by writer.h back into a Tree.
//
// For fsck, for hard links into lower layers, and for tests. Accepts what our writer makes (extended and compact
// inodes, flat plain, flat inline, chunk-based; no compression) and checks every offset: a damaged file gives
// kCorrupt, never a crash or a hang. Memory is bounded by the image's size.
#pragma once

#include "bytes/bytes.h"
#include "erofs/tree.h"
#include "result/result.h"

namespace berth::erofs {

struct ReadImage {
  Tree tree;
  std::vector<std::uint64_t> device_blocks;  // of each extra device
  std::uint64_t image_bytes = 0;             // length of the metadata image as its superblock says
};

// `image` is the whole metadata file; bytes behind the image proper are ignored.
Result<ReadImage> ReadMetadata(bytes::View image);

}  // namespace berth::erofs
