#include "erofs/writer.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "erofs/format.h"

namespace berth::erofs {
namespace {

using format::Blocks;
using format::kBlock;
using format::kSlot;
using format::RoundUp;

// 2 GiB: more saves nothing, and 32-bit kernels shift a chunk's size in 32 bits.
constexpr unsigned kMaxChunkBits = 31 - format::kBlockBits;
constexpr std::uint8_t kDirectoryType = format::FileType(S_IFDIR);

// Where an inode goes. Of no use for further names of it.
struct Place {
  std::uint64_t at = 0;      // of its inode; 0: not placed
  std::uint64_t blocks = 0;  // of a directory or symlink: its first whole block, counted from the first of all those
  std::uint64_t size = 0;    // what the inode says
  std::uint32_t xattrs = 0;  // bytes of the area
  std::uint32_t first_name = 0, names = 0;  // of a directory: its part of Writer::names_
  format::Layout layout = format::kFlatPlain;
  std::uint8_t chunk_bits = 0;
};

struct Name {
  std::string_view text;
  std::uint32_t inode;
  std::uint8_t type;
};

// Calls visit(names, bytes) for each block of a directory, as many names in each as fit.
template <class Visit>
void ForEachDirectoryBlock(std::span<const Name> names, Visit visit) {
  while (!names.empty()) {
    std::size_t count = 0, used = 0;
    for (; count < names.size(); ++count) {
      const std::size_t more = sizeof(format::Dirent) + names[count].text.size();
      if (used + more > kBlock) break;
      used += more;
    }
    visit(names.first(count), used);
    names = names.subspan(count);
  }
}

// Calls visit(first, past, device_block) for each run of an extent's blocks, in order, joined where they touch on both
// sides. The extents are checked already.
template <class Visit>
void ForEachRun(const std::vector<Extent>& extents, Visit visit) {
  std::uint64_t first = 0, past = 0, device = 0;
  for (const Extent& e : extents) {
    if (e.length == 0) continue;
    const std::uint64_t from = e.file_offset / kBlock, to = from + Blocks(e.length), on = e.device_offset / kBlock;
    if (first == past || from != past || on != device + (past - first)) {
      if (first != past) visit(first, past, device);
      first = from;
      device = on;
    }
    past = to;
  }
  if (first != past) visit(first, past, device);
}

class Writer {
 public:
  Writer(Tree& tree, const Children& children, const WriteOptions& options)
      : nodes_(tree.nodes), children_(children), options_(options), limit_(std::min(options.image_bytes, format::kNullBlock * kBlock)) {}

  Result<std::vector<std::byte>> Write() {
    RETURN_IF_ERROR(CheckDevices());
    RETURN_IF_ERROR(CheckNames());
    places_.resize(nodes_.size());
    names_.reserve(nodes_.size() + 2 * directories_);
    RETURN_IF_ERROR(Walk());
    const std::uint64_t table_end = format::kSuperOffset + sizeof(format::SuperBlock) + devices_.size() * sizeof(format::DeviceSlot);
    inodes_end_ = RoundUp(table_end, kSlot);
    for (const std::uint32_t inode : order_) RETURN_IF_ERROR(PlaceInode(inode));
    if (places_[0].at / kSlot > std::numeric_limits<std::uint16_t>::max()) {
      return Error(Reason::kLimitExceeded, "EROFS image: too many devices, their table has no room before the root");
    }
    first_block_ = Blocks(inodes_end_);
    image_.resize((first_block_ + blocks_) * kBlock);
    for (const std::uint32_t inode : order_) WriteInode(inode);
    WriteSuper();
    return std::move(image_);
  }

 private:
  Error Fail(Reason reason, std::uint32_t node, std::string what) const {
    return Error(reason, "EROFS tree, node " + std::to_string(node) + " named " + Quoted(nodes_[node].name) + ": " + std::move(what));
  }
  Error Defect(std::uint32_t node, std::string what) const { return Fail(Reason::kInternal, node, std::move(what)); }
  Error Limit(std::uint32_t node, std::string what) const { return Fail(Reason::kLimitExceeded, node, std::move(what)); }

  bool IsDirectory(const Node& node) const { return node.hard_link == kNoNode && S_ISDIR(node.mode); }

  Result<> CheckDevices() {
    for (const std::uint64_t bytes : options_.device_bytes) {
      // One block less than 2^32: the last number means a hole.
      if (bytes > format::kNullBlock * kBlock) return Error(Reason::kLimitExceeded, "EROFS image: a data device is larger than 16 TiB");
      devices_.push_back(static_cast<std::uint32_t>(Blocks(bytes)));
    }
    return {};
  }

  Result<> CheckNames() {
    if (nodes_.empty() || nodes_.size() >= kNoNode || !IsDirectory(nodes_[0]) || nodes_[0].removed) {
      return Error(Reason::kInternal, "EROFS tree: its first node is no root directory");
    }
    for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
      const Node& node = nodes_[i];
      if (node.hard_link != kNoNode) {
        const bool inside = node.hard_link < nodes_.size();
        if (!inside || nodes_[node.hard_link].hard_link != kNoNode) return Defect(i, "the link's target is no inode");
        if (S_ISDIR(nodes_[node.hard_link].mode)) return Defect(i, "the link's target is a directory");
      } else if (format::FileType(node.mode) == 0 || node.mtime_nanos >= 1'000'000'000) {
        return Defect(i, "its type or time is none");
      }
      directories_ += IsDirectory(node) ? 1 : 0;
      if (i == 0) continue;
      if (node.parent >= nodes_.size() || !IsDirectory(nodes_[node.parent])) return Defect(i, "its parent is no directory");
      if (node.name.empty() || node.name == "." || node.name == ".." ||
          std::ranges::any_of(node.name, [](char c) { return c == '/' || c == '\0'; })) {
        return Defect(i, "that is no name of a file");
      }
      if (node.name.size() > format::kNameMax) return Limit(i, "the name is longer than 255 bytes");
    }
    return {};
  }

  // Finds what is to be written: inodes, and the names of each directory in order. Breadth first, so that the inodes of
  // a directory lie together in the order in which they are listed.
  Result<> Walk() {
    struct Directory {
      std::uint32_t node;
      bool gone;
    };
    std::vector<Directory> queue{{0, false}};
    std::size_t reached = 1;
    std::vector<bool> listed(nodes_.size());
    order_.push_back(0);
    nodes_[0].links = 2;
    for (std::size_t next = 0; next < queue.size(); ++next) {
      const auto [directory, all_gone] = queue[next];
      const std::uint32_t parent = directory == 0 ? 0 : nodes_[directory].parent;
      const std::array<Name, 2> dots{{{".", directory, kDirectoryType}, {"..", parent, kDirectoryType}}};
      std::size_t dot = 0;
      const Node* before = nullptr;
      places_[directory].first_name = static_cast<std::uint32_t>(names_.size());
      for (const std::uint32_t child : children_.Of(directory)) {
        Node& node = nodes_[child];
        const bool gone = all_gone || node.removed;
        const bool is_directory = IsDirectory(node);
        ++reached;
        if (is_directory) queue.push_back({child, gone});
        if (gone) continue;
        if (before != nullptr && before->name == node.name) return Defect(child, "its directory has that name twice");
        before = &node;
        const std::uint32_t inode = node.hard_link == kNoNode ? child : node.hard_link;
        if (!listed[inode]) {
          listed[inode] = true;
          order_.push_back(inode);
          nodes_[inode].links = is_directory ? 1 : 0;  // "." counts too
        }
        ++nodes_[inode].links;
        if (is_directory) ++nodes_[directory].links;
        while (dot < dots.size() && dots[dot].text < node.name) names_.push_back(dots[dot++]);
        names_.push_back({node.name, inode, format::FileType(nodes_[inode].mode)});
      }
      if (all_gone) continue;
      names_.insert(names_.end(), dots.begin() + static_cast<std::ptrdiff_t>(dot), dots.end());
      places_[directory].names = static_cast<std::uint32_t>(names_.size()) - places_[directory].first_name;
    }
    if (reached != nodes_.size()) return Error(Reason::kInternal, "EROFS tree: a directory is inside itself");
    return {};
  }

  std::span<const Name> NamesOf(const Place& place) const { return std::span(names_).subspan(place.first_name, place.names); }

  Result<> PlaceInode(std::uint32_t index) {
    const Node& node = nodes_[index];
    Place& place = places_[index];
    RETURN_IF_ERROR(MeasureXattrs(index));
    std::uint64_t bytes = sizeof(format::Inode) + place.xattrs;
    if (S_ISREG(node.mode)) {
      RETURN_IF_ERROR(MeasureFile(index));
      if (place.layout == format::kChunked) bytes = RoundUp(bytes, 8) + sizeof(format::ChunkIndex) * Chunks(place);
    } else if (S_ISDIR(node.mode)) {
      ForEachDirectoryBlock(NamesOf(place), [&](std::span<const Name>, std::size_t used) {
        place.size = RoundUp(place.size, kBlock) + used;
      });
      bytes += PlaceData(place);
    } else if (S_ISLNK(node.mode)) {
      if (node.link.empty() || node.link.find('\0') != std::string::npos) return Defect(index, "that is no symlink target");
      if (node.link.size() > format::kLinkMax) return Limit(index, "the symlink target is longer than 4095 bytes");
      place.size = node.link.size();
      bytes += PlaceData(place);
    } else if (node.rdev_major > format::kMajorMax || node.rdev_minor > format::kMinorMax) {
      return Limit(index, "the device number has more than 12 or 20 bits");
    }
    if (bytes > limit_) return TooLarge(index);
    place.at = Allocate(RoundUp(bytes, kSlot));
    if (RoundUp(inodes_end_, kBlock) + blocks_ * kBlock > limit_) return TooLarge(index);
    return {};
  }

  Error TooLarge(std::uint32_t index) const {
    return Limit(index, "with it the metadata is larger than the limit of " + std::to_string(limit_) + " bytes");
  }

  // An inode with its tail never crosses a block if it can fit in one: the kernel demands it of inline tails, and reads
  // less. The largest gap left so is filled by later, smaller ones.
  std::uint64_t Allocate(std::uint64_t bytes) {
    if (bytes <= gap_end_ - gap_) return std::exchange(gap_, gap_ + bytes);
    const std::uint64_t room = RoundUp(inodes_end_, kBlock) - inodes_end_;
    if (room < bytes && room != 0) {
      if (room > gap_end_ - gap_) {
        gap_ = inodes_end_;
        gap_end_ = inodes_end_ + room;
      }
      inodes_end_ += room;
    }
    return std::exchange(inodes_end_, inodes_end_ + bytes);
  }

  // Takes the whole blocks of a directory or symlink; returns the length of the tail that goes behind the inode.
  std::uint64_t PlaceData(Place& place) {
    const std::uint64_t tail = place.size % kBlock;
    const bool fits = tail != 0 && sizeof(format::Inode) + place.xattrs + tail <= kBlock;
    place.layout = fits ? format::kFlatInline : format::kFlatPlain;
    place.blocks = blocks_;
    blocks_ += fits ? place.size / kBlock : Blocks(place.size);
    return fits ? tail : 0;
  }

  Result<> MeasureXattrs(std::uint32_t index) {
    const Node& node = nodes_[index];
    if (node.xattrs == nullptr || node.xattrs->empty()) return {};
    std::uint64_t bytes = sizeof(format::XattrHeader);
    for (const auto& [name, value] : *node.xattrs) {
      if (name.empty() || name.find('\0') != std::string::npos) return Defect(index, "an xattr has no name, or NUL in it");
      const std::uint64_t rest = name.size() - format::kXattrPrefixes[format::XattrPrefix(name)].size();
      if (rest > 255) return Limit(index, "the name of an xattr is longer than 255 bytes");
      if (value.size() > 65535) return Limit(index, "the value of an xattr is longer than 65535 bytes");
      bytes += RoundUp(sizeof(format::XattrEntry) + rest + value.size(), 4);
      if (bytes > format::kXattrMax) return Limit(index, "its xattrs take more than 262148 bytes");
    }
    places_[index].xattrs = static_cast<std::uint32_t>(bytes);
    return {};
  }

  static std::uint64_t Chunks(const Place& place) { return ((Blocks(place.size) - 1) >> place.chunk_bits) + 1; }

  Result<> MeasureFile(std::uint32_t index) {
    const Node& node = nodes_[index];
    Place& place = places_[index];
    place.size = node.size;
    if (node.size == 0) return {};
    if (node.size > std::numeric_limits<std::int64_t>::max()) return Limit(index, "the file is larger than 2^63 - 1 bytes");
    const std::uint64_t blocks = Blocks(node.size);
    unsigned bits = std::min<unsigned>(kMaxChunkBits, static_cast<unsigned>(std::bit_width(blocks - 1)));
    if (node.sparse == nullptr) {
      RETURN_IF_ERROR(CheckExtent(index, {0, node.data_offset, node.size}));
    } else {
      std::uint64_t end = 0;
      for (const Extent& e : *node.sparse) {
        if (e.length == 0) continue;
        if (e.file_offset % kBlock != 0 || e.file_offset < end || e.file_offset >= node.size || e.length > node.size - e.file_offset) {
          return Defect(index, "its extents are out of place or order");
        }
        RETURN_IF_ERROR(CheckExtent(index, e));
        end = e.file_offset + RoundUp(e.length, kBlock);
      }
      // A chunk is all data or all hole: every bound but the end of the file must be one of chunks.
      ForEachRun(*node.sparse, [&](std::uint64_t first, std::uint64_t past, std::uint64_t) {
        for (const std::uint64_t bound : {first, past}) {
          if (bound != blocks && bound != 0) bits = std::min<unsigned>(bits, static_cast<unsigned>(std::countr_zero(bound)));
        }
      });
    }
    place.layout = format::kChunked;
    place.chunk_bits = static_cast<std::uint8_t>(bits);
    return {};
  }

  Result<> CheckExtent(std::uint32_t index, const Extent& e) const {
    const std::uint16_t device = nodes_[index].device;
    if (device >= devices_.size()) return Defect(index, "its data device is none of the image's");
    const std::uint64_t blocks = devices_[device];
    if (e.device_offset % kBlock != 0 || e.device_offset / kBlock > blocks || Blocks(e.length) > blocks - e.device_offset / kBlock) {
      return Defect(index, "its contents are out of place or outside of their device");
    }
    return {};
  }

  void WriteInode(std::uint32_t index) {
    const Node& node = nodes_[index];
    const Place& place = places_[index];
    format::Inode inode{};
    inode.format = static_cast<std::uint16_t>(1 | place.layout << 1);
    inode.xattr_count = static_cast<std::uint16_t>(place.xattrs == 0 ? 0 : (place.xattrs - sizeof(format::XattrHeader)) / 4 + 1);
    inode.mode = node.mode;
    inode.size = place.size;
    inode.ino = ++inodes_;
    inode.uid = node.uid;
    inode.gid = node.gid;
    inode.mtime_seconds = node.mtime_seconds;
    inode.mtime_nanos = node.mtime_nanos;
    inode.links = node.links;
    std::uint64_t at = place.at + sizeof inode;
    if (place.xattrs != 0) at = WriteXattrs(*node.xattrs, at);
    if (S_ISREG(node.mode)) {
      inode.block = place.layout == format::kChunked ? format::kChunkIndexes | place.chunk_bits : format::kNullBlock;
      if (place.layout == format::kChunked) WriteChunks(node, place, RoundUp(at, 8));
    } else if (S_ISDIR(node.mode) || S_ISLNK(node.mode)) {
      const bool whole = place.layout == format::kFlatPlain || place.size >= kBlock;
      inode.block = whole ? static_cast<std::uint32_t>(first_block_ + place.blocks) : format::kNullBlock;
      if (S_ISDIR(node.mode)) {
        WriteDirectory(place, at);
      } else {
        WriteBytes(DataAt(place, 0, at), node.link);
      }
    } else if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) {
      inode.block = format::EncodeDevice(node.rdev_major, node.rdev_minor);
    }
    Put(place.at, inode);
  }

  // Where the byte at `offset` of a directory or symlink goes, given where the tail does.
  std::uint64_t DataAt(const Place& place, std::uint64_t offset, std::uint64_t tail_at) const {
    const bool in_tail = place.layout == format::kFlatInline && offset >= place.size / kBlock * kBlock;
    return in_tail ? tail_at + offset % kBlock : (first_block_ + place.blocks) * kBlock + offset;
  }

  std::uint64_t WriteXattrs(const Xattrs& xattrs, std::uint64_t at) {
    at += sizeof(format::XattrHeader);  // all zero: nothing shared, no filter
    for (const auto& [name, value] : xattrs) {
      const std::uint8_t prefix = format::XattrPrefix(name);
      const std::string_view rest = std::string_view(name).substr(format::kXattrPrefixes[prefix].size());
      Put(at, format::XattrEntry{static_cast<std::uint8_t>(rest.size()), prefix, static_cast<std::uint16_t>(value.size())});
      WriteBytes(at + sizeof(format::XattrEntry), rest);
      WriteBytes(at + sizeof(format::XattrEntry) + rest.size(), value);
      at += RoundUp(sizeof(format::XattrEntry) + rest.size() + value.size(), 4);
    }
    return at;
  }

  void WriteChunks(const Node& node, const Place& place, std::uint64_t at) {
    const auto device = static_cast<std::uint16_t>(node.device + 1);
    const auto put = [&](std::uint64_t chunk, std::uint16_t on, std::uint64_t block) {
      Put(at + chunk * sizeof(format::ChunkIndex), format::ChunkIndex{0, on, static_cast<std::uint32_t>(block)});
    };
    // A chunk that starts before `first` belongs to the run before, which ends in it.
    const auto run = [&](std::uint64_t first, std::uint64_t past, std::uint64_t on) {
      const std::uint64_t chunk_blocks = 1ull << place.chunk_bits;
      for (std::uint64_t b = RoundUp(first, chunk_blocks); b < past; b += chunk_blocks) {
        put(b >> place.chunk_bits, device, on + (b - first));
      }
    };
    if (node.sparse == nullptr) return run(0, Blocks(node.size), node.data_offset / kBlock);
    for (std::uint64_t chunk = 0; chunk < Chunks(place); ++chunk) put(chunk, 0, format::kNullBlock);
    ForEachRun(*node.sparse, run);
  }

  void WriteDirectory(const Place& place, std::uint64_t tail_at) {
    std::uint64_t offset = 0;
    ForEachDirectoryBlock(NamesOf(place), [&](std::span<const Name> names, std::size_t) {
      const std::uint64_t block = DataAt(place, offset, tail_at);
      std::uint64_t text = names.size() * sizeof(format::Dirent);
      std::uint64_t entry = block;
      for (const Name& name : names) {
        Put(entry, format::Dirent{places_[name.inode].at / kSlot, static_cast<std::uint16_t>(text), name.type, 0});
        WriteBytes(block + text, name.text);
        entry += sizeof(format::Dirent);
        text += name.text.size();
      }
      offset += kBlock;
    });
  }

  void WriteSuper() {
    format::SuperBlock super{};
    super.magic = format::kMagic;
    super.compat = format::kCompatChecksum | format::kCompatMtime;
    super.block_bits = format::kBlockBits;
    super.root_nid = static_cast<std::uint16_t>(places_[0].at / kSlot);
    super.inodes = inodes_;
    super.blocks = static_cast<std::uint32_t>(image_.size() / kBlock);
    super.uuid = options_.uuid;
    super.incompat = format::kIncompatChunked;
    if (!devices_.empty()) {
      constexpr std::uint64_t kTable = format::kSuperOffset + sizeof super;
      super.incompat |= format::kIncompatDevices;
      super.devices = static_cast<std::uint16_t>(devices_.size());
      super.device_slot = kTable / sizeof(format::DeviceSlot);
      for (std::size_t i = 0; i < devices_.size(); ++i) {
        Put(kTable + i * sizeof(format::DeviceSlot), format::DeviceSlot{{}, devices_[i], 0, {}});
      }
    }
    Put(format::kSuperOffset, super);
    super.checksum = format::Checksum(image_);
    Put(format::kSuperOffset, super);
  }

  template <class T>
  void Put(std::uint64_t at, const T& value) { format::Store(bytes::MutableView(image_), at, value); }
  void WriteBytes(std::uint64_t at, std::string_view text) {
    std::ranges::copy(bytes::AsView(text), bytes::MutableView(image_).subspan(at, text.size()).begin());
  }

  std::vector<Node>& nodes_;
  const Children& children_;
  const WriteOptions& options_;
  const std::uint64_t limit_;           // bytes of the image
  std::vector<std::uint32_t> devices_;  // blocks of each
  std::size_t directories_ = 0;
  std::vector<Place> places_;           // of each node
  std::vector<std::uint32_t> order_;    // inodes, as they are written
  std::vector<Name> names_;             // of all directories
  std::uint64_t inodes_end_ = 0;        // the image is first the inodes, then whole blocks of directories and symlinks
  std::uint64_t gap_ = 0, gap_end_ = 0;
  std::uint64_t blocks_ = 0;
  std::uint64_t first_block_ = 0;
  std::uint32_t inodes_ = 0;
  std::vector<std::byte> image_;
};

}  // namespace

Result<std::vector<std::byte>> WriteImage(Tree& tree, const WriteOptions& options) {
  return WriteImage(tree, ChildrenByName(tree), options);
}
Result<std::vector<std::byte>> WriteImage(Tree& tree, const Children& children, const WriteOptions& options) {
  return Writer(tree, children, options).Write();
}

std::uint64_t SparseAlignment(std::uint64_t size, std::span<const std::pair<std::uint64_t, std::uint64_t>> segments) {
  std::uint64_t best = kBlock, least = std::numeric_limits<std::uint64_t>::max();
  for (unsigned bits = 0; bits <= kMaxChunkBits; ++bits) {
    const std::uint64_t chunk = kBlock << bits;
    std::uint64_t room = sizeof(format::ChunkIndex) * (size / chunk + 1), end = 0;
    for (const auto& [offset, length] : segments) {
      const std::uint64_t from = std::max(end, offset / chunk * chunk);
      end = std::max(end, std::min(size, RoundUp(offset + length, chunk)));
      room += end - std::min(from, end);
    }
    if (room < least) {
      least = room;
      best = chunk;
    }
    if (chunk >= size) break;
  }
  return best;
}

}  // namespace berth::erofs
