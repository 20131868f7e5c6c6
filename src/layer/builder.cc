#include "layer/builder.h"

#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <span>
#include <unordered_map>
#include <utility>

#include "erofs/writer.h"
#include "layer/overlay.h"
#include "layer/report.h"

namespace berth::layer {
namespace {

using erofs::kNoNode;
using erofs::Node;

constexpr std::uint64_t kPage = 4096;
constexpr std::size_t kNameBytes = 255, kPathBytes = 4096, kTargetBytes = 4095;
constexpr std::size_t kUsualNodes = 256u << 10;
constexpr int kLinks = 40;
constexpr int kSteps = 8192;  // of one walk, links expanded: 40 links of 2,000 components each are an attack
constexpr std::string_view kWhiteout = ".wh.", kAufs = ".wh..wh.", kOpaqueMarker = ".wh..wh..opq";
constexpr std::uint32_t kMaxMajor = 0xfff, kMaxMinor = 0xfffff;
constexpr std::array<std::byte, kPage> kZeros{};

enum Flag : std::uint8_t {
  kImplied = 1,
  kOpaque = 2,   // lower children are hidden
  kFresh = 4,    // nothing of that name remains below: opaque, and nothing to take over
  kOutside = 8,  // placeholder of a hard link into lower layers
};

struct Extra {
  std::uint16_t depth = 0;
  std::uint8_t flags = 0;
};

Error Invalid(std::string text) { return Error(Reason::kInvalidLayer, std::move(text)); }
Error Limit(std::string what, std::uint64_t limit, std::string_view name) {
  return Error(Reason::kLimitExceeded,
               std::move(what) + " than " + std::to_string(limit) + " (limit " + std::string(name) + ")");
}

std::uint64_t Mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// (parent, name) -> node. Seeded: an archive cannot choose names that collide. Nodes are replaced, never taken out.
class Index {
 public:
  Index() {
    if (getrandom(&seed_, sizeof seed_, 0) != sizeof seed_) seed_ = reinterpret_cast<std::uintptr_t>(this);
  }

  std::uint32_t Find(const std::vector<Node>& nodes, std::uint32_t parent, std::string_view name) const {
    const Slot* slot = Probe(nodes, Hash(parent, name), parent, name);
    return slot ? slot->node : kNoNode;
  }
  // `node`, which need not be there yet, is found from now on; who was found before, or kNoNode.
  std::uint32_t Put(const std::vector<Node>& nodes, std::uint32_t parent, std::string_view name, std::uint32_t node) {
    const std::uint32_t hash = Hash(parent, name);
    if (Slot* slot = const_cast<Slot*>(Probe(nodes, hash, parent, name))) return std::exchange(slot->node, node);
    if (4 * (count_ + 1) > 3 * slots_.size()) Grow();  // fuller than usual: the caches hold more of it
    Free(hash) = {hash, node};
    ++count_;
    return kNoNode;
  }

 private:
  struct Slot {
    std::uint32_t hash = 0, node = kNoNode;
  };

  std::uint32_t Hash(std::uint32_t parent, std::string_view name) const {
    std::uint64_t h = Mix(seed_ ^ parent, 0x9E3779B97F4A7C15ull + name.size());
    const char* at = name.data();
    std::size_t left = name.size();
    for (std::uint64_t word; left >= sizeof word; at += sizeof word, left -= sizeof word) {
      std::memcpy(&word, at, sizeof word);
      h = Mix(h ^ word, seed_ | 1);
    }
    std::uint64_t last = 0;
    std::memcpy(&last, at, left);
    h = Mix(h ^ last, seed_ ^ 0xE7037ED1A0B428DBull);
    return static_cast<std::uint32_t>(h ^ (h >> 32));
  }
  const Slot* Probe(const std::vector<Node>& nodes, std::uint32_t hash, std::uint32_t parent, std::string_view name) const {
    if (slots_.empty()) return nullptr;
    for (std::size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[i];
      if (slot.node == kNoNode) return nullptr;
      if (slot.hash == hash && nodes[slot.node].parent == parent && nodes[slot.node].name == name) return &slot;
    }
  }
  Slot& Free(std::uint32_t hash) {
    std::size_t i = hash & (slots_.size() - 1);
    while (slots_[i].node != kNoNode) i = (i + 1) & (slots_.size() - 1);
    return slots_[i];
  }
  void Grow() {
    std::vector<Slot> old(std::max<std::size_t>(1024, 2 * slots_.size()));
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.node != kNoNode) Free(slot.hash) = slot;
    }
  }

  std::uint64_t seed_ = 0;
  std::vector<Slot> slots_;
  std::size_t count_ = 0;
};

// Pops components off `text`, front first.
bool NextPart(std::string_view& text, std::string_view& part) {
  while (!text.empty() && text.front() == '/') text.remove_prefix(1);
  if (text.empty()) return false;
  part = text.substr(0, text.find('/'));
  text.remove_prefix(part.size());
  return true;
}

// security.capability as the kernel accepts it: VFS_CAP_REVISION_2 (20 bytes) or 3 (24 bytes), and no flag but the
// effective bit: with another one no file system takes it, and no overlay can copy the file up.
bool IsCapability(std::string_view value) {
  if (value.size() != 20 && value.size() != 24) return false;
  return (value[0] & ~1) == 0 && value[1] == 0 && value[2] == 0 && value[3] == (value.size() == 20 ? 2 : 3);
}

}  // namespace

struct TreeBuilder::State {
  State(ContentSink& s, const BuildOptions& o) : sink(s), options(o) {
    const std::size_t usual = std::min<std::size_t>(kUsualNodes, o.entries + 1);
    tree.nodes.reserve(usual);  // address space only, until they come
    extra.reserve(usual);
    tree.nodes.emplace_back().mode = S_IFDIR | 0755;
    extra.push_back({0, kImplied});
  }

  ContentSink& sink;
  const BuildOptions options;
  erofs::Tree tree;
  std::vector<Extra> extra;  // of tree.nodes
  Index index;
  std::vector<std::pair<std::uint32_t, std::string>> whiteouts;  // directory, name
  std::unordered_map<std::uint32_t, std::string> outside;        // placeholder -> target
  Built out;

  // The file whose contents come now; kNoNode: they are dropped.
  std::uint32_t current = kNoNode;
  std::uint64_t run_end = 0;  // of the segment being written
  std::uint64_t chunk = kPage;  // of a sparse file: its extents begin and end at multiples of it

  std::vector<std::string_view> parts, target_parts;
  std::string last_folder;  // the parent part of the last name, as it stood there
  std::uint32_t last_parent = kNoNode;

  Node& at(std::uint32_t i) { return tree.nodes[i]; }
  bool IsDir(std::uint32_t i) const { return S_ISDIR(tree.nodes[i].mode) && tree.nodes[i].hard_link == kNoNode; }
  std::uint32_t Find(std::uint32_t parent, std::string_view name) const { return index.Find(tree.nodes, parent, name); }

  Result<> Split(std::string_view name, std::vector<std::string_view>& into) const {
    into.clear();
    std::string_view rest = name, part;
    while (NextPart(rest, part)) {
      if (part == ".") continue;
      if (part != "..") {
        const std::size_t most = kNameBytes + (part.starts_with(kWhiteout) ? kWhiteout.size() : 0);  // no file has a marker's name
        if (part.size() > most) return Invalid("a component of the name is longer than 255 bytes");
        into.push_back(part);
      } else if (into.empty()) {
        return Invalid("the name climbs out of the root");
      } else {
        into.pop_back();
      }
    }
    if (into.size() > options.depth) return Limit("the name is deeper", options.depth, "depth");
    if (name.size() > kPathBytes) return Invalid("the name is longer than 4,096 bytes");
    return {};
  }

  // A new node in place of whatever has its name.
  Result<std::uint32_t> Add(std::uint32_t parent, std::string_view name, std::uint32_t mode, std::uint8_t flags = 0) {
    if (tree.nodes.size() + whiteouts.size() >= options.entries) return Limit("the layer has more entries", options.entries, "entries");
    if (name.size() > kNameBytes) return Invalid("a link leads to a name with a component longer than 255 bytes");
    if (name.starts_with(kWhiteout)) return Invalid("a link leads to a name that is reserved for whiteouts");
    const auto depth = static_cast<std::uint16_t>(extra[parent].depth + 1);
    if (depth > options.depth) return Limit("the tree is deeper", options.depth, "depth");
    const auto node = static_cast<std::uint32_t>(tree.nodes.size());
    if (const std::uint32_t old = index.Put(tree.nodes, parent, name, node); old != kNoNode) {
      RETURN_IF_ERROR(sink.Remove(tree, old));
      at(old).removed = true;
      last_parent = kNoNode;
      ++out.ignored.replaced;
      if (S_ISDIR(mode)) flags |= kFresh;
    }
    Node& n = tree.nodes.emplace_back();
    n.name = name;
    n.parent = parent;
    n.mode = static_cast<std::uint16_t>(mode);
    extra.push_back({depth, flags});
    return node;
  }

  std::vector<std::string> PathOf(std::uint32_t dir) {
    std::vector<std::string> path;
    for (; dir != 0; dir = at(dir).parent) path.push_back(at(dir).name);
    std::ranges::reverse(path);
    return path;
  }

  // Follows directories and links from the root. Missing directories are made, or, with `missing`, end the walk: then
  // it gets the components of the whole path and kNoNode is returned.
  Result<std::uint32_t> Walk(std::span<const std::string_view> path, std::vector<std::string>* missing) {
    std::deque<std::string> targets;  // what the views in `todo` point into
    std::vector<std::string_view> todo(path.rbegin(), path.rend());
    std::uint32_t here = 0;
    int links = 0, steps = 0;
    while (!todo.empty()) {
      const std::string_view part = todo.back();
      todo.pop_back();
      if (++steps > kSteps) return Invalid("the links among the parents lead through too many directories");
      if (part == "..") {
        here = at(here).parent;
        continue;
      }
      std::uint32_t next = Find(here, part);
      if (next == kNoNode && missing) {
        *missing = PathOf(here);
        missing->emplace_back(part);
        for (; !todo.empty(); todo.pop_back()) {
          if (todo.back() != "..") {
            missing->emplace_back(todo.back());
          } else if (!missing->empty()) {
            missing->pop_back();
          }
        }
        return kNoNode;
      }
      if (next == kNoNode) {
        ASSIGN_OR_RETURN(next, Add(here, part, S_IFDIR | 0755, kImplied));
      } else if (const Node& inode = at(tree.Inode(next)); S_ISLNK(inode.mode)) {
        if (++links > kLinks) return Invalid("more than 40 links, or a loop of links, among the parents");
        std::string_view rest = targets.emplace_back(inode.link), piece;
        if (rest.starts_with('/')) here = 0;
        const auto mark = static_cast<std::ptrdiff_t>(todo.size());
        while (NextPart(rest, piece)) {
          if (piece != ".") todo.push_back(piece);
        }
        std::reverse(todo.begin() + mark, todo.end());
        continue;
      } else if (!IsDir(next)) {
        if (missing || links > 0) return Invalid("a parent of the name is not a directory");
        ASSIGN_OR_RETURN(next, Add(here, part, S_IFDIR | 0755));  // the later entry wins
      }
      here = next;
    }
    return here;
  }

  // The directory that parts[0 … last) lead to.
  Result<std::uint32_t> Parent(std::string_view name) {
    const std::string_view folder = name.substr(0, static_cast<std::size_t>(parts.back().data() - name.data()));
    if (last_parent != kNoNode && folder == last_folder) return last_parent;
    ASSIGN_OR_RETURN(const std::uint32_t parent, Walk(std::span(parts).first(parts.size() - 1), nullptr));
    last_folder = folder;
    last_parent = parent;
    return parent;
  }

  Result<> SetXattrs(Node& n, const tar::Entry& e, bool merge) {
    if (!merge) n.xattrs.reset();
    for (const auto& [name, value] : e.xattrs) {
      const bool capability = name == "security.capability" && S_ISREG(n.mode);
      const bool user = name.starts_with("user.") && !name.starts_with("user.overlay.") && (S_ISREG(n.mode) || S_ISDIR(n.mode));
      if (!capability && !user) {
        ++out.ignored.xattrs;
        continue;
      }
      if (capability && !IsCapability(value)) return Invalid("security.capability has a value that no kernel accepts");
      if (!n.xattrs) n.xattrs = std::make_unique<erofs::Xattrs>();
      const auto same = std::ranges::find(*n.xattrs, name, [](const auto& x) -> const std::string& { return x.first; });
      if (same == n.xattrs->end()) {
        n.xattrs->emplace_back(name, value);
      } else {
        same->second = value;
      }
    }
    return {};
  }
  Result<> SetAttributes(std::uint32_t node, const tar::Entry& e, bool merge = false) {
    Node& n = at(node);
    if (e.uid == 0xFFFFFFFFu || e.gid == 0xFFFFFFFFu) return Invalid("the owner or the group is -1");
    if (!S_ISLNK(n.mode)) n.mode = static_cast<std::uint16_t>((n.mode & S_IFMT) | (e.mode & 07777));
    n.uid = e.uid;
    n.gid = e.gid;
    n.mtime_seconds = std::clamp<std::int64_t>(e.mtime_seconds, 0, 9223372036);
    n.mtime_nanos = e.mtime_nanos;
    return SetXattrs(n, e, merge);
  }

  // True when `name`'s last component is a marker, or lies in AUFS's own folders: nothing else is to be done.
  Result<bool> TakeMarker(const tar::Entry& e) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::string_view part = parts[i];
      if (!part.starts_with(kWhiteout)) continue;
      const bool last = i + 1 == parts.size();
      if (part.starts_with(kAufs) && !(last && part == kOpaqueMarker)) {
        ++out.ignored.aufs_entries;
        return true;
      }
      if (!last) return Invalid("a directory has a name that is reserved for whiteouts");
      if (e.type != tar::Type::kFile && e.type != tar::Type::kHardLink) return Invalid("a whiteout is not a regular file");
      const std::string_view hidden = part.substr(kWhiteout.size());
      if (part != kOpaqueMarker && (hidden.empty() || hidden == "." || hidden == "..")) {
        return Invalid("a whiteout that hides no name");
      }
      ASSIGN_OR_RETURN(const std::uint32_t parent, Parent(e.name));
      if (part == kOpaqueMarker) {
        extra[parent].flags |= kOpaque;
      } else if (tree.nodes.size() + whiteouts.size() >= options.entries) {
        return Limit("the layer has more entries", options.entries, "entries");
      } else {
        whiteouts.emplace_back(parent, hidden);
      }
      return true;
    }
    return false;
  }

  Result<> CheckDevice(const tar::Entry& e) const {
    if (e.dev_major > kMaxMajor || e.dev_minor > kMaxMinor) return Invalid("the device number is larger than Linux has");
    const bool block = e.type == tar::Type::kBlockDevice;
    if (!block && e.dev_major == 0 && e.dev_minor == 0) {
      return Error(Reason::kPolicy, "a character device 0:0 would hide a file without a whiteout");
    }
    if (block ? !options.block_devices : !options.char_devices) {
      return Error(Reason::kPolicy, block ? "block devices are not allowed in images" : "character devices are not allowed in images");
    }
    return {};
  }

  Result<> TakeLink(const tar::Entry& e) {
    if (e.link.empty()) return Invalid("a hard link without a target");
    if (auto split = Split(e.link, target_parts); !split) return Error(std::move(split).error()).Context("target of the hard link");
    if (target_parts.empty()) return Invalid("a hard link to a directory");
    if (std::ranges::any_of(target_parts, [](std::string_view p) { return p.starts_with(kAufs); })) {
      ++out.ignored.aufs_entries;
      return {};
    }
    std::vector<std::string> path;
    ASSIGN_OR_RETURN(const std::uint32_t folder, Walk(std::span(target_parts).first(target_parts.size() - 1), &path));
    const std::uint32_t target = folder == kNoNode ? kNoNode : Find(folder, target_parts.back());
    ASSIGN_OR_RETURN(const std::uint32_t parent, Parent(e.name));
    if (target == kNoNode) {
      if (folder != kNoNode) path = PathOf(folder);
      path.emplace_back(target_parts.back());
      std::string text;
      for (const std::string& part : path) text.append(text.empty() ? "" : "/").append(part);
      if (text.size() > kPathBytes) return Invalid("the target of the hard link is longer than 4,096 bytes");
      ASSIGN_OR_RETURN(const std::uint32_t node, Add(parent, parts.back(), S_IFREG, kOutside));
      RETURN_IF_ERROR(SetAttributes(node, e));
      outside.emplace(node, std::move(text));
      return sink.End(tree, node);
    }
    if (at(target).removed) return Invalid("a hard link to a parent of itself");
    if (IsDir(target)) return Invalid("a hard link to a directory");
    const std::uint32_t old = Find(parent, parts.back());
    if (target == old) return Invalid("a hard link to itself");
    if (old != kNoNode && IsDir(old)) {
      for (std::uint32_t up = target; up != 0; up = at(up).parent) {
        if (up == old) return Invalid("a hard link to a file in the directory that it replaces");
      }
    }
    const std::uint32_t inode = tree.Inode(target);
    if (++at(inode).links > options.hard_links) return Limit("a file has more names", options.hard_links, "hard_links");
    ASSIGN_OR_RETURN(const std::uint32_t node, Add(parent, parts.back(), at(inode).mode));
    at(node).hard_link = inode;
    RETURN_IF_ERROR(SetAttributes(inode, e, /*merge=*/true));
    return S_ISREG(at(inode).mode) ? sink.Link(tree, node, target) : Result<>{};
  }

  Result<> TakeFile(const tar::Entry& e, std::uint32_t parent) {
    if (e.size > options.unpacked_bytes - out.unpacked_bytes) {
      return Limit("the files of the layer are larger", options.unpacked_bytes, "unpacked_bytes");
    }
    out.unpacked_bytes += e.size;
    ASSIGN_OR_RETURN(current, Add(parent, parts.back(), S_IFREG));
    at(current).size = e.size;
    RETURN_IF_ERROR(SetAttributes(current, e));
    const bool whole = e.segments.size() == 1 && e.segments[0] == std::pair<std::uint64_t, std::uint64_t>(0, e.size);
    if (e.sparse && !whole) {
      at(current).sparse = std::make_unique<std::vector<erofs::Extent>>();
      chunk = erofs::SparseAlignment(e.size, e.segments);
    } else if (e.size > 0) {
      ASSIGN_OR_RETURN(at(current).data_offset, sink.Start(tree, current));
    }
    return {};
  }

  Result<> Take(const tar::Entry& e) {
    RETURN_IF_ERROR(Split(e.name, parts));
    if (parts.empty()) {
      if (e.type != tar::Type::kDirectory) return Invalid("the root of the layer is not a directory");
      extra[0].flags &= static_cast<std::uint8_t>(~kImplied);
      return SetAttributes(0, e);
    }
    ASSIGN_OR_RETURN(const bool marker, TakeMarker(e));
    if (marker) return {};
    if (e.type == tar::Type::kHardLink) return TakeLink(e);
    const bool device = e.type == tar::Type::kCharDevice || e.type == tar::Type::kBlockDevice;
    if (device) RETURN_IF_ERROR(CheckDevice(e));
    if (e.type == tar::Type::kSymlink && (e.link.empty() || e.link.size() > kTargetBytes)) {
      return Invalid("a symbolic link whose target is empty or longer than 4,095 bytes");
    }
    ASSIGN_OR_RETURN(const std::uint32_t parent, Parent(e.name));
    if (e.type == tar::Type::kFile) return TakeFile(e, parent);
    if (e.type == tar::Type::kDirectory) {
      const std::uint32_t old = Find(parent, parts.back());
      if (old != kNoNode && IsDir(old)) {
        extra[old].flags &= static_cast<std::uint8_t>(~kImplied);
        return SetAttributes(old, e);
      }
    }
    static constexpr std::uint32_t kModes[] = {S_IFREG, S_IFREG, S_IFLNK | 0777, S_IFCHR, S_IFBLK, S_IFDIR, S_IFIFO};
    ASSIGN_OR_RETURN(const std::uint32_t node, Add(parent, parts.back(), kModes[static_cast<int>(e.type)]));
    if (e.type == tar::Type::kSymlink) at(node).link = e.link;
    if (device) {
      at(node).rdev_major = e.dev_major;
      at(node).rdev_minor = e.dev_minor;
    }
    return SetAttributes(node, e);
  }

  // Data of a sparse file: extents begin and end at chunks; what else is in those is written as zeros.
  Result<> TakeSparse(std::uint64_t offset, bytes::View data) {
    auto& extents = *at(current).sparse;
    const std::uint64_t begin = offset / chunk * chunk;
    if (extents.empty() || begin > ChunkEnd()) {
      RETURN_IF_ERROR(CloseExtent());
      extents.push_back({.file_offset = begin});
      ASSIGN_OR_RETURN(extents.back().device_offset, sink.Start(tree, current));
      run_end = begin;
    }
    RETURN_IF_ERROR(FillTo(offset));
    run_end += data.size();
    return sink.Append(data);
  }
  std::uint64_t ChunkEnd() const { return (run_end + chunk - 1) / chunk * chunk; }
  Result<> FillTo(std::uint64_t offset) {
    while (run_end < offset) {
      const std::uint64_t gap = std::min<std::uint64_t>(offset - run_end, kPage);
      RETURN_IF_ERROR(sink.Append(bytes::View(kZeros).first(gap)));
      run_end += gap;
    }
    return {};
  }
  Result<> CloseExtent() {
    auto& extents = *at(current).sparse;
    if (extents.empty()) return {};
    erofs::Extent& last = extents.back();
    RETURN_IF_ERROR(FillTo(std::min(ChunkEnd(), at(current).size)));
    last.length = run_end - last.file_offset;
    return {};
  }

  void PlaceWhiteouts() {
    for (auto& [parent, name] : whiteouts) {
      if (at(parent).removed) continue;
      if (const std::uint32_t node = Find(parent, name); node != kNoNode) {
        if (IsDir(node)) extra[node].flags |= kFresh;
        continue;
      }
      index.Put(tree.nodes, parent, name, static_cast<std::uint32_t>(tree.nodes.size()));
      Node& n = tree.nodes.emplace_back();
      n.name = std::move(name);
      n.parent = parent;
      n.mode = S_IFCHR;
      extra.emplace_back();
    }
    whiteouts.clear();
  }

  // Names whose first name was replaced keep its inode.
  void PromoteLinks() {
    std::unordered_map<std::uint32_t, std::uint32_t> heirs;
    for (std::uint32_t i = 0; i < tree.nodes.size(); ++i) {
      Node& n = at(i);
      if (n.removed || n.hard_link == kNoNode || !at(n.hard_link).removed) continue;
      const std::uint32_t dead = n.hard_link;
      const auto [heir, first] = heirs.try_emplace(dead, i);
      if (!first) {
        n.hard_link = heir->second;
        continue;
      }
      Node inode = std::move(at(dead));
      at(dead).name = std::move(inode.name);
      inode.name = std::move(n.name);
      inode.parent = n.parent;
      inode.removed = false;
      n = std::move(inode);
      if (auto target = outside.extract(dead)) {
        target.key() = i;
        outside.insert(std::move(target));
        extra[i].flags |= kOutside;
      }
    }
  }
};

TreeBuilder::TreeBuilder(ContentSink& sink, const BuildOptions& options)
    : state_(std::make_unique<State>(sink, options)) {}
TreeBuilder::~TreeBuilder() = default;

Result<> TreeBuilder::OnEntry(const tar::Entry& entry) {
  state_->current = kNoNode;
  state_->run_end = 0;
  ++state_->out.entries;
  if (auto taken = state_->Take(entry); !taken) {
    return Error(std::move(taken).error()).Context("entry " + Quoted(entry.name) + " at byte " + std::to_string(entry.header_offset));
  }
  return {};
}

Result<> TreeBuilder::OnData(std::uint64_t offset, bytes::View data) {
  State& s = *state_;
  if (s.current == kNoNode) return {};
  return s.at(s.current).sparse ? s.TakeSparse(offset, data) : s.sink.Append(data);
}

Result<> TreeBuilder::OnFileEnd() {
  State& s = *state_;
  if (s.current == kNoNode) return {};
  if (s.at(s.current).sparse) RETURN_IF_ERROR(s.CloseExtent());
  return s.sink.End(s.tree, std::exchange(s.current, kNoNode));
}

Result<Built> TreeBuilder::Finish() {
  State& s = *state_;
  auto& nodes = s.tree.nodes;
  // A parent always has the lower number, so one pass spreads what holds for whole trees.
  for (Node& n : nodes) n.removed |= nodes[n.parent].removed;
  s.PlaceWhiteouts();
  s.PromoteLinks();
  std::vector<bool> hidden(nodes.size());  // lies in a directory that lower layers do not show through
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    Node& n = nodes[i];
    if (n.removed) continue;
    ++s.out.nodes;
    const std::uint8_t flags = s.extra[i].flags;
    if (i > 0) hidden[i] = hidden[n.parent] || (s.extra[n.parent].flags & (kOpaque | kFresh));
    if ((flags & kImplied) && !(flags & kFresh) && !hidden[i]) s.out.fixups.implied.push_back(i);
    if (flags & kOutside) s.out.fixups.links.push_back({i, std::move(s.outside[i])});
    if (flags & (kOpaque | kFresh)) MakeOpaque(n);
  }
  const Node& root = nodes[0];
  const bool opaque = s.extra[0].flags & kOpaque;
  s.out.root = {.implied = (s.extra[0].flags & kImplied) != 0,
                .mode = root.mode & 07777u,
                .uid = root.uid,
                .gid = root.gid,
                .mtime_seconds = root.mtime_seconds,
                .mtime_nanos = root.mtime_nanos,
                .xattrs = root.xattrs && root.xattrs->size() > (opaque ? 1u : 0u),
                .opaque = opaque};
  s.out.tree = std::move(s.tree);
  return std::move(s.out);
}

}  // namespace berth::layer
