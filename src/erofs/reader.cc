#include "erofs/reader.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "erofs/format.h"

namespace berth::erofs {
namespace {

using format::Blocks;
using format::kBlock;
using format::kSlot;

// An inode as the image has it, whichever of its two forms it is in.
struct Inode {
  std::uint64_t nid = 0;
  format::Inode head{};
  format::Layout layout = format::kFlatPlain;
  std::uint64_t xattrs_at = 0;
  std::uint64_t data_at = 0;  // behind the xattrs: inline tail or chunk indexes
};

struct Directory {
  Inode inode;
  std::uint32_t node = 0;
  std::uint64_t parent_nid = 0;
};

Error Damage(std::string what) {
  return Error(Reason::kCorrupt, "EROFS image: " + std::move(what)).Next("run: berth fsck --repair, or pull the image again");
}

class Reader {
 public:
  explicit Reader(bytes::View image) : image_(image) {}

  Result<ReadImage> Read() {
    RETURN_IF_ERROR(ReadSuper());
    named_.resize(image_.size() / kSlot);
    ASSIGN_OR_RETURN(const Inode root, ReadInode(super_.root_nid));
    if (!S_ISDIR(root.head.mode)) return Corrupt(root, "the root is no directory");
    RETURN_IF_ERROR(AddNode(root, "", 0));
    queue_.push_back({root, 0, root.nid});
    for (std::size_t next = 0; next < queue_.size(); ++next) {
      const Directory directory = queue_[next];
      RETURN_IF_ERROR(ReadDirectory(directory));
    }
    for (const auto& [nid, linked] : linked_) {
      if (out_.tree.nodes[linked.node].links != linked.names) return Damage("inode " + std::to_string(nid) + ": its link count is wrong");
    }
    if (inodes_ != super_.inodes) return Damage("it has another number of inodes than it says");
    return std::move(out_);
  }

 private:
  struct Linked {
    std::uint32_t node = 0, names = 0;
  };

  static Error Corrupt(const Inode& inode, std::string_view what) {
    return Damage("inode " + std::to_string(inode.nid) + ": " + std::string(what));
  }

  bool Inside(std::uint64_t at, std::uint64_t bytes) const { return at <= image_.size() && bytes <= image_.size() - at; }

  // Parts of an image do not overlap, so all that is read fits in its size; this bounds what a damaged one can cost.
  Result<> Claim(const Inode& inode, std::uint64_t at, std::uint64_t bytes) {
    if (!Inside(at, bytes)) return Corrupt(inode, "a part of it is outside of the image");
    if (bytes > unclaimed_) return Corrupt(inode, "the parts of the image overlap");
    unclaimed_ -= bytes;
    return {};
  }

  Result<> ReadSuper() {
    RETURN_IF_ERROR(CheckSuperblock(image_));
    super_ = format::Load<format::SuperBlock>(image_, format::kSuperOffset);
    if ((super_.incompat & ~(format::kIncompatChunked | format::kIncompatDevices)) != 0 ||
        super_.block_bits != format::kBlockBits || super_.dir_block_bits != 0) {
      return Error(Reason::kUnsupported, "EROFS image: it uses features that this version does not know")
          .Next("run: berth fsck --repair, or pull the image again");
    }
    const std::uint64_t bytes = super_.blocks * kBlock;
    if (bytes == 0 || bytes > image_.size()) return Damage("the file is shorter than its superblock says");
    image_ = image_.first(bytes);
    unclaimed_ = out_.image_bytes = bytes;
    if ((super_.incompat & format::kIncompatDevices) != 0) {
      const std::uint64_t at = super_.device_slot * sizeof(format::DeviceSlot);
      if (!Inside(at, super_.devices * sizeof(format::DeviceSlot))) return Damage("its device table is outside of it");
      for (std::uint64_t i = 0; i < super_.devices; ++i) {
        out_.device_blocks.push_back(format::Load<format::DeviceSlot>(image_, at + i * sizeof(format::DeviceSlot)).blocks);
      }
    }
    return {};
  }

  // The number of its slot in the image; nothing when that is outside.
  std::optional<std::uint64_t> SlotOf(std::uint64_t nid) const {
    const std::uint64_t slot = super_.meta_block * (kBlock / kSlot) + nid;
    if (nid >= named_.size() || slot >= named_.size()) return std::nullopt;
    return slot;
  }

  Result<Inode> ReadInode(std::uint64_t nid) {
    Inode inode;
    inode.nid = nid;
    const std::optional<std::uint64_t> slot = SlotOf(nid);
    if (!slot) return Corrupt(inode, "it is outside of the image");
    if (named_[*slot]) return Corrupt(inode, "it has more names than links");
    named_[*slot] = true;
    ++inodes_;
    const std::uint64_t at = *slot * kSlot;
    const auto format = format::Load<std::uint16_t>(image_, at);
    format::Inode& head = inode.head;
    if ((format & 1) != 0) {
      if (!Inside(at, sizeof head)) return Corrupt(inode, "it is outside of the image");
      head = format::Load<format::Inode>(image_, at);
      inode.xattrs_at = at + sizeof head;
    } else {
      const auto compact = format::Load<format::CompactInode>(image_, at);
      head.xattr_count = compact.xattr_count;
      head.mode = compact.mode;
      head.size = compact.size;
      head.block = compact.block;
      head.uid = compact.uid;
      head.gid = compact.gid;
      head.mtime_seconds = static_cast<std::int64_t>(super_.build_seconds);
      head.mtime_nanos = super_.build_nanos;
      head.links = compact.links;
      inode.xattrs_at = at + sizeof compact;
    }
    inode.layout = static_cast<format::Layout>(format >> 1);
    const std::uint64_t xattrs = head.xattr_count == 0 ? 0 : sizeof(format::XattrHeader) + (head.xattr_count - 1) * 4ull;
    inode.data_at = inode.xattrs_at + xattrs;
    RETURN_IF_ERROR(Claim(inode, at, inode.data_at - at));
    if (inode.layout != format::kFlatPlain && inode.layout != format::kFlatInline && inode.layout != format::kChunked) {
      return Corrupt(inode, "its data layout is none that we write");
    }
    if (format::FileType(head.mode) == 0) return Corrupt(inode, "its type is none");
    if (head.mtime_nanos >= 1'000'000'000) return Corrupt(inode, "its time is none");
    if (head.size > std::numeric_limits<std::int64_t>::max()) return Corrupt(inode, "its size is none");
    return inode;
  }

  Result<> AddNode(const Inode& inode, std::string_view name, std::uint32_t parent) {
    const format::Inode& head = inode.head;
    Node node;
    node.name = name;
    node.parent = parent;
    node.mode = head.mode;
    node.uid = head.uid;
    node.gid = head.gid;
    node.links = head.links;
    node.mtime_seconds = head.mtime_seconds;
    node.mtime_nanos = head.mtime_nanos;
    RETURN_IF_ERROR(ReadXattrs(inode, node));
    if (S_ISREG(head.mode)) {
      RETURN_IF_ERROR(ReadFile(inode, node));
    } else if (S_ISLNK(head.mode)) {
      RETURN_IF_ERROR(ReadLink(inode, node));
    } else if (!S_ISDIR(head.mode)) {
      if (inode.layout != format::kFlatPlain || head.size != 0) return Corrupt(inode, "it has contents, which its type cannot");
      if (S_ISCHR(head.mode) || S_ISBLK(head.mode)) {
        node.rdev_major = format::DeviceMajor(head.block);
        node.rdev_minor = format::DeviceMinor(head.block);
      }
    }
    out_.tree.nodes.push_back(std::move(node));
    return {};
  }

  Result<> ReadXattrs(const Inode& inode, Node& node) const {
    if (inode.head.xattr_count == 0) return {};
    if (format::Load<format::XattrHeader>(image_, inode.xattrs_at).shared != 0) return Corrupt(inode, "it has shared xattrs");
    node.xattrs = std::make_unique<Xattrs>();
    std::uint64_t at = inode.xattrs_at + sizeof(format::XattrHeader);
    while (at < inode.data_at) {
      const auto entry = format::Load<format::XattrEntry>(image_, at);
      const std::uint64_t bytes = sizeof entry + entry.name_bytes + entry.value_bytes;
      if (bytes > inode.data_at - at || entry.prefix >= format::kXattrPrefixes.size()) return Corrupt(inode, "an xattr of it is damaged");
      const std::string_view text = bytes::AsText(image_.subspan(at + sizeof entry, bytes - sizeof entry));
      std::string name(format::kXattrPrefixes[entry.prefix]);
      name += text.substr(0, entry.name_bytes);
      if (name.empty() || name.find('\0') != std::string::npos || format::XattrPrefix(name) != entry.prefix) {
        return Corrupt(inode, "the name of an xattr of it is damaged");
      }
      node.xattrs->emplace_back(std::move(name), text.substr(entry.name_bytes));
      at += format::RoundUp(bytes, 4);
    }
    if (node.xattrs->empty()) return Corrupt(inode, "it has an empty xattr area");
    return {};
  }

  Result<> ReadFile(const Inode& inode, Node& node) {
    node.size = inode.head.size;
    if (inode.layout != format::kChunked) {
      if (node.size != 0) return Corrupt(inode, "its contents are in the image itself");
      return {};
    }
    const std::uint32_t chunk_format = inode.head.block;
    if ((chunk_format & ~format::kChunkBitsMask) != format::kChunkIndexes) return Corrupt(inode, "its chunk format is none that we write");
    if (node.size == 0) return {};
    const unsigned bits = chunk_format & format::kChunkBitsMask;
    const std::uint64_t chunks = ((Blocks(node.size) - 1) >> bits) + 1;
    const std::uint64_t at = format::RoundUp(inode.data_at, sizeof(format::ChunkIndex));
    if (chunks > image_.size() / sizeof(format::ChunkIndex)) return Corrupt(inode, "its chunks are outside of the image");
    RETURN_IF_ERROR(Claim(inode, at, chunks * sizeof(format::ChunkIndex)));
    std::vector<Extent> extents;
    std::uint16_t device = 0;
    for (std::uint64_t i = 0; i < chunks; ++i) {
      const auto chunk = format::Load<format::ChunkIndex>(image_, at + i * sizeof(format::ChunkIndex));
      if (chunk.block == format::kNullBlock) continue;
      if (chunk.device == 0 || chunk.device > out_.device_blocks.size() || (device != 0 && chunk.device != device)) {
        return Corrupt(inode, "a chunk of it is on a device that is none, or another than the rest");
      }
      device = chunk.device;
      Extent e{.file_offset = (i << bits) * kBlock, .device_offset = chunk.block * kBlock, .length = 0};
      e.length = std::min(kBlock << bits, node.size - e.file_offset);
      if (chunk.block + Blocks(e.length) > out_.device_blocks[device - 1]) return Corrupt(inode, "a chunk of it is outside of its device");
      if (!extents.empty() && extents.back().file_offset + extents.back().length == e.file_offset &&
          extents.back().device_offset + extents.back().length == e.device_offset) {
        extents.back().length += e.length;
      } else {
        extents.push_back(e);
      }
    }
    if (device != 0) node.device = static_cast<std::uint16_t>(device - 1);
    if (extents.size() == 1 && extents[0].length == node.size) {
      node.data_offset = extents[0].device_offset;
    } else {
      node.sparse = std::make_unique<std::vector<Extent>>(std::move(extents));
    }
    return {};
  }

  // The piece of a directory or symlink that starts at `offset`, a multiple of the block: a block of it, or what is left.
  Result<bytes::View> Piece(const Inode& inode, std::uint64_t offset) {
    const std::uint64_t bytes = std::min(kBlock, inode.head.size - offset);
    std::uint64_t at = inode.head.block * kBlock + offset;
    if (inode.layout == format::kFlatInline && bytes < kBlock) {
      at = inode.data_at;
      if (at % kBlock + bytes > kBlock) return Corrupt(inode, "its tail crosses a block");
    } else if (inode.layout == format::kChunked || (inode.layout == format::kFlatInline && offset + bytes == inode.head.size)) {
      return Corrupt(inode, "its data layout is none of its type");
    }
    RETURN_IF_ERROR(Claim(inode, at, bytes));
    return image_.subspan(at, bytes);
  }

  Result<> ReadLink(const Inode& inode, Node& node) {
    if (inode.head.size == 0 || inode.head.size > format::kLinkMax) return Corrupt(inode, "its target is empty or too long");
    ASSIGN_OR_RETURN(const bytes::View piece, Piece(inode, 0));
    node.link = bytes::AsText(piece);
    if (node.link.find('\0') != std::string::npos) return Corrupt(inode, "its target has NUL in it");
    return {};
  }

  Result<> ReadDirectory(const Directory& directory) {
    const Inode& inode = directory.inode;
    std::string_view before;
    bool dot = false, dots = false;
    std::uint64_t directories = 0;
    for (std::uint64_t offset = 0; offset < inode.head.size; offset += kBlock) {
      ASSIGN_OR_RETURN(const bytes::View block, Piece(inode, offset));
      if (block.size() < sizeof(format::Dirent)) return Corrupt(inode, "an entry of it is cut off");
      const std::uint64_t first = format::Load<format::Dirent>(block, 0).name_offset;
      const std::uint64_t count = first / sizeof(format::Dirent);
      if (count == 0 || first % sizeof(format::Dirent) != 0 || first > block.size()) return Corrupt(inode, "its entries are damaged");
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto entry = format::Load<format::Dirent>(block, i * sizeof(format::Dirent));
        const bool last = i + 1 == count;
        const std::uint64_t end =
            last ? block.size() : format::Load<format::Dirent>(block, (i + 1) * sizeof(format::Dirent)).name_offset;
        if (entry.name_offset < first || end < entry.name_offset || end > block.size()) return Corrupt(inode, "its names are damaged");
        std::string_view name = bytes::AsText(block.subspan(entry.name_offset, end - entry.name_offset));
        if (last) name = name.substr(0, name.find('\0'));
        if (name.empty() || name.size() > format::kNameMax || name.find_first_of(std::string_view("/\0", 2)) != name.npos) {
          return Corrupt(inode, "a name in it is none");
        }
        if (name <= before) return Corrupt(inode, "its names are not sorted");
        before = name;
        if (name == "." || name == "..") {
          const std::uint64_t nid = name == "." ? inode.nid : directory.parent_nid;
          if (entry.nid != nid || entry.type != format::FileType(S_IFDIR)) {
            return Corrupt(inode, "its entry for itself or its parent is wrong");
          }
          (name == "." ? dot : dots) = true;
          continue;
        }
        RETURN_IF_ERROR(ReadEntry(directory, entry, name));
        if (entry.type == format::FileType(S_IFDIR)) ++directories;
      }
    }
    if (!dot || !dots) return Corrupt(inode, "it has no entry for itself or its parent");
    if (inode.head.links != 2 + directories) return Corrupt(inode, "its link count is wrong");
    return {};
  }

  Result<> ReadEntry(const Directory& directory, const format::Dirent& entry, std::string_view name) {
    std::vector<Node>& nodes = out_.tree.nodes;
    if (nodes.size() >= kNoNode - 1) return Damage("it has too many names");
    if (const auto linked = linked_.find(entry.nid); linked != linked_.end()) {
      if (entry.type != format::FileType(nodes[linked->second.node].mode)) return Corrupt(directory.inode, "an entry has the wrong type");
      Node link;
      link.name = name;
      link.parent = directory.node;
      link.hard_link = linked->second.node;
      nodes.push_back(std::move(link));
      ++linked->second.names;
      return {};
    }
    ASSIGN_OR_RETURN(const Inode inode, ReadInode(entry.nid));
    if (entry.type != format::FileType(inode.head.mode)) return Corrupt(directory.inode, "an entry has the wrong type");
    const auto node = static_cast<std::uint32_t>(nodes.size());
    RETURN_IF_ERROR(AddNode(inode, name, directory.node));
    if (S_ISDIR(inode.head.mode)) {
      queue_.push_back({inode, node, directory.inode.nid});
    } else if (inode.head.links != 1) {
      linked_[inode.nid] = {node, 1};
    }
    return {};
  }

  bytes::View image_;
  format::SuperBlock super_{};
  std::uint64_t unclaimed_ = 0;
  std::uint64_t inodes_ = 0;
  std::vector<bool> named_;          // slots whose inode has been read
  std::vector<Directory> queue_;
  std::map<std::uint64_t, Linked> linked_;  // by nid: inodes that say they have several names
  ReadImage out_;
};

}  // namespace

Result<> CheckSuperblock(bytes::View first_block) {
  if (first_block.size() < kBlock) return Damage("it is shorter than one block");
  const auto super = format::Load<format::SuperBlock>(first_block, format::kSuperOffset);
  if (super.magic != format::kMagic) return Damage("it has no EROFS superblock");
  if ((super.compat & format::kCompatChecksum) == 0 || super.checksum != format::Checksum(first_block))
    return Damage("the checksum of the superblock is wrong");
  return {};
}

Result<ReadImage> ReadMetadata(bytes::View image) { return Reader(image).Read(); }

const Node* PathIndex::Find(std::string_view path) const {
  const std::vector<Node>& nodes = tree_.nodes;
  if (nodes.empty()) return nullptr;
  std::uint32_t at = 0;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    path = slash == path.npos ? std::string_view() : path.substr(slash + 1);
    if (name.empty()) continue;
    const std::span<const std::uint32_t> children = children_.Of(at);
    auto child = std::lower_bound(children.begin(), children.end(), name,
                                  [&](std::uint32_t node, std::string_view sought) { return nodes[node].name < sought; });
    while (child != children.end() && nodes[*child].removed && nodes[*child].name == name) ++child;
    if (child == children.end() || nodes[*child].name != name) return nullptr;
    at = tree_.Inode(*child);
    if (at >= nodes.size()) return nullptr;
  }
  return &nodes[at];
}

Node CopyInode(const Node& inode, std::uint16_t device) {
  Node copy;
  copy.mode = inode.mode;
  copy.device = device;
  copy.uid = inode.uid;
  copy.gid = inode.gid;
  copy.mtime_seconds = inode.mtime_seconds;
  copy.mtime_nanos = inode.mtime_nanos;
  copy.size = inode.size;
  copy.data_offset = inode.data_offset;
  if (inode.sparse != nullptr) copy.sparse = std::make_unique<std::vector<Extent>>(*inode.sparse);
  copy.rdev_major = inode.rdev_major;
  copy.rdev_minor = inode.rdev_minor;
  copy.link = inode.link;
  if (inode.xattrs != nullptr) copy.xattrs = std::make_unique<Xattrs>(*inode.xattrs);
  return copy;
}

}  // namespace berth::erofs
