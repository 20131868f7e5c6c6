// erofs/reader.h: reads EROFS metadata written by writer.h back into a Tree, and finds names in it.
//
// For fsck, for hard links into lower layers, and for tests. Accepts what our writer makes (extended and compact
// inodes, flat plain, flat inline, chunk-based; superblock checksum; no compression, no shared xattrs, no contents of
// files in the image itself) and checks every offset, the checksum, that names are sorted, that "." and ".." are right
// and that every link count is: a damaged file gives kCorrupt, never a crash or a hang. Features that a later berth may
// write give kUnsupported. Time and memory are bounded by the image's size: what describes more than the image has
// room for (parts that overlap) is refused.
//
// WriteImage of what was read gives an equal tree again. What comes back in another form: removed names and names below
// them are gone; extents are joined where they touch, and rounded up to 4096 bytes where no end of file stops them; a
// sparse file without holes is dense; nodes are in breadth-first order, by name.
#pragma once

#include <string_view>

#include "bytes/bytes.h"
#include "erofs/children.h"
#include "erofs/tree.h"
#include "result/result.h"

namespace berth::erofs {

struct ReadImage {
  Tree tree;
  std::vector<std::uint64_t> device_blocks;  // of each extra device
  std::uint64_t image_bytes = 0;             // length of the metadata image as its superblock says
};

// The beginning of every image that the writer makes. With kFirstBlock bytes of it (or more): is there an EROFS superblock with
// the right checksum? A few microseconds, for whoever cannot afford the whole. kCorrupt.
inline constexpr std::size_t kFirstBlock = 4096;
Result<> CheckSuperblock(bytes::View first_block);

// `image` is the whole metadata file; bytes behind the image proper are ignored.
Result<ReadImage> ReadMetadata(bytes::View image);

// Looks inodes up by path; built once for a tree (8 bytes a node; 100,000 names take 3 ms when ReadMetadata made the
// tree), O(depth * log(names)) a lookup, from any number of threads. The tree must outlive it and keep its names.
class PathIndex {
 public:
  explicit PathIndex(const Tree& tree) : tree_(tree), children_(ChildrenByName(tree)) {}

  // The inode that `path` names, hard links resolved: its mode, owner, times, xattrs and contents are what count; its
  // name and parent are those of its first name. nullptr when there is none. "usr/bin/env": components between
  // slashes, empty ones skipped, "" is the root. Nothing is followed: "..", "." and a symlink or file before the end
  // find nothing, nor do removed names.
  const Node* Find(std::string_view path) const;

 private:
  const Tree& tree_;
  Children children_;
};

// A copy of an inode to put into another tree: everything but its place (name, parent) and its count of links. The
// contents stay where they are: `device` is the place of that data file among WriteOptions::device_bytes of the image
// that will have the copy.
Node CopyInode(const Node& inode, std::uint16_t device);

}  // namespace berth::erofs
