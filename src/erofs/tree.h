// erofs/tree.h: a file tree as values: what one layer looks like, ready to be written as EROFS metadata.
//
// The builder (layer/) fills it while the archive streams by; erofs/writer.h turns it into an image; erofs/reader.h
// reads an image back into one. Contents of files are not here: a file points at extents of its data device.
// Memory: about 150 bytes and a long name per node.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace berth::erofs {

inline constexpr std::uint32_t kNoNode = 0xFFFFFFFFu;

// A run of a file's bytes in its device. Offsets of files and devices are multiples of 4096, extents of a file ascend and
// do not overlap. A length that is no multiple shows the rest of its last block too (up to the end of the file), which
// must be zeros in the device.
struct Extent {
  std::uint64_t file_offset = 0;
  std::uint64_t device_offset = 0;
  std::uint64_t length = 0;
};

using Xattrs = std::vector<std::pair<std::string, std::string>>;

struct Node {
  std::string name;               // last component; "" for the root
  std::uint32_t parent = 0;
  std::uint32_t hard_link = kNoNode;  // another name of this inode: only name and parent count here
  std::uint16_t mode = 0;         // S_IFMT | low 12 bits
  std::uint16_t device = 0;       // which data device the contents are on, from 0 (almost always 0)
  std::uint32_t uid = 0, gid = 0;
  std::uint32_t links = 1;        // names of this inode (directories: 2 + sub-directories), set by the writer
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanos = 0;
  std::uint64_t size = 0;         // of a file's contents
  std::uint64_t data_offset = 0;  // dense file: where its contents start in the device, 4096-aligned
  std::unique_ptr<std::vector<Extent>> sparse;  // set: the file has holes; data lies in these extents only
  std::uint32_t rdev_major = 0, rdev_minor = 0;
  std::string link;               // symlink target
  std::unique_ptr<Xattrs> xattrs; // full names: "user.x", "security.capability", "trusted.overlay.opaque"
  bool removed = false;           // name replaced later in the layer: not written, nor are names below it
};

struct Tree {
  std::vector<Node> nodes;  // nodes[0] is the root directory; a parent may come after its child

  // The node that has what `node`, a name, is a name of: itself, but for hard links.
  std::uint32_t Inode(std::uint32_t node) const { return nodes[node].hard_link == kNoNode ? node : nodes[node].hard_link; }
};

}  // namespace berth::erofs
