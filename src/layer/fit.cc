#include "layer/fit.h"

#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "erofs/children.h"
#include "layer/overlay.h"

namespace berth::layer {
namespace {

using erofs::kNoNode;
using erofs::Node;
using erofs::Tree;

constexpr int kLinks = 40;
constexpr int kSteps = 8192;

Error Invalid(std::string text) { return Error(Reason::kInvalidLayer, std::move(text)); }
Error CorruptFixups() { return Error(Reason::kCorrupt, "the fixups of the layer are not what its writer makes"); }

const Node& InodeOf(const Tree& tree, std::uint32_t node) {
  const Node& n = tree.nodes[node];
  return n.hard_link == kNoNode ? n : tree.nodes[n.hard_link];
}
Node Clone(const Node& n) {
  Node c;
  c.name = n.name, c.parent = n.parent, c.hard_link = n.hard_link, c.mode = n.mode, c.device = n.device;
  c.uid = n.uid, c.gid = n.gid, c.links = n.links, c.mtime_seconds = n.mtime_seconds, c.mtime_nanos = n.mtime_nanos;
  c.size = n.size, c.data_offset = n.data_offset, c.rdev_major = n.rdev_major, c.rdev_minor = n.rdev_minor;
  c.link = n.link, c.removed = n.removed;
  if (n.sparse) c.sparse = std::make_unique<std::vector<erofs::Extent>>(*n.sparse);
  if (n.xattrs) c.xattrs = std::make_unique<erofs::Xattrs>(*n.xattrs);
  return c;
}
erofs::Xattrs OwnXattrs(const Node& n) {  // those that are not overlayfs's
  erofs::Xattrs own;
  const auto is_own = [](const auto& x) { return !x.first.starts_with(kOverlayXattrs); };
  if (n.xattrs) std::ranges::copy_if(*n.xattrs, std::back_inserter(own), is_own);
  std::ranges::sort(own);
  return own;
}

bool NextPart(std::string_view& text, std::string_view& part) {
  while (!text.empty() && text.front() == '/') text.remove_prefix(1);
  if (text.empty()) return false;
  part = text.substr(0, text.find('/'));
  text.remove_prefix(part.size());
  return true;
}

// What one name means in the lower layers: directories that merge (topmost first), or one thing that is none.
struct Found {
  struct Ref {
    std::uint32_t layer = 0, node = 0;  // of lowers
  };
  std::vector<Ref> dirs;
  std::optional<Ref> other;
};

class Lowers {
 public:
  explicit Lowers(std::span<const LowerTree> trees) : trees_(trees), children_(trees.size()) {}

  const Tree& tree(std::uint32_t layer) const { return *trees_[layer].tree; }
  const Node& node(Found::Ref r) const { return InodeOf(tree(r.layer), r.node); }
  std::uint32_t device(std::uint32_t layer, std::uint16_t device) const { return trees_[layer].devices[device]; }
  bool has_device(std::uint32_t layer, std::uint16_t device) const { return device < trees_[layer].devices.size(); }

  std::vector<Found::Ref> Root() const {
    std::vector<Found::Ref> root;
    for (std::uint32_t i = 0; i < trees_.size(); ++i) {
      root.push_back({i, 0});
      if (IsOpaque(tree(i).nodes[0])) break;
    }
    return root;
  }
  Found Lookup(std::span<const Found::Ref> dirs, std::string_view name) {
    Found found;
    for (const Found::Ref dir : dirs) {
      const std::uint32_t child = Child(dir, name);
      if (child == kNoNode) continue;
      const Node& n = InodeOf(tree(dir.layer), child);
      if (S_ISDIR(n.mode)) {
        found.dirs.push_back({dir.layer, child});
        if (!IsOpaque(n)) continue;
      } else if (found.dirs.empty() && !IsWhiteout(n)) {
        found.other = Found::Ref{dir.layer, child};
      }
      break;
    }
    return found;
  }

 private:
  std::uint32_t Child(Found::Ref dir, std::string_view name) {
    auto& children = children_[dir.layer];
    const Tree& t = tree(dir.layer);
    if (!children) children = erofs::ChildrenByName(t);
    const auto names = children->Of(dir.node);
    const auto name_of = [&](std::uint32_t i) -> std::string_view { return t.nodes[i].name; };
    // Not equal_range: clang 14, which builds the fuzz targets, does not take it over a span.
    for (auto it = std::ranges::lower_bound(names, name, {}, name_of); it != names.end() && name_of(*it) == name; ++it) {
      if (!t.nodes[*it].removed) return *it;
    }
    return kNoNode;
  }

  std::span<const LowerTree> trees_;
  std::vector<std::optional<erofs::Children>> children_;
};

class Fitter {
 public:
  Fitter(const Tree& layer, std::uint32_t self, const Fixups& fixups, std::span<const LowerTree> lowers)
      : fixups_(fixups), lowers_(lowers), most_nodes_(4 * layer.nodes.size() + (64u << 10)) {
    out_.devices.push_back(self);
    out_.tree.nodes.reserve(layer.nodes.size());
    for (const Node& n : layer.nodes) out_.tree.nodes.push_back(Clone(n));
    for (std::uint32_t i = 1; i < layer.nodes.size(); ++i) {
      if (!at(i).removed) children_[at(i).parent].emplace(at(i).name, i);
    }
    implied_.resize(layer.nodes.size());
    for (const std::uint32_t i : fixups.implied) implied_[i] = true;
  }

  Result<std::optional<Fitted>> Run() {
    TakeFromBelow(0, lowers_.Root());
    todo_.push_back({0, lowers_.Root()});
    while (!todo_.empty()) {
      const Item item = std::move(todo_.back());
      todo_.pop_back();
      RETURN_IF_ERROR(FitChildren(item));
    }
    RETURN_IF_ERROR(FitLinks());
    if (!folded_.empty()) {
      for (Node& n : out_.tree.nodes) {
        if (const auto to = folded_.find(n.hard_link); to != folded_.end()) n.hard_link = to->second;
      }
    }
    if (!changed_) return std::nullopt;
    return std::move(out_);
  }

 private:
  using Names = std::map<std::string, std::uint32_t, std::less<>>;
  struct Item {
    std::uint32_t dir;
    std::vector<Found::Ref> below;
  };
  // A place on a walk through this layer on top of the lower ones.
  struct Place {
    std::string name;
    std::uint32_t own = kNoNode;
    std::vector<Found::Ref> below;
  };

  Node& at(std::uint32_t i) { return out_.tree.nodes[i]; }
  std::uint32_t Own(std::uint32_t dir, std::string_view name) const {
    const auto names = children_.find(dir);
    if (names == children_.end()) return kNoNode;
    const auto child = names->second.find(name);
    return child == names->second.end() ? kNoNode : child->second;
  }

  void TakeFromBelow(std::uint32_t dir, std::span<const Found::Ref> below) {
    if (!implied_[dir] || below.empty()) return;
    // The topmost counts: where it was implied itself, it has already taken from below.
    const Node& from = lowers_.node(below.front());
    Node& to = at(dir);
    erofs::Xattrs xattrs = OwnXattrs(from);
    if (to.mode == from.mode && to.uid == from.uid && to.gid == from.gid && to.mtime_seconds == from.mtime_seconds &&
        to.mtime_nanos == from.mtime_nanos && OwnXattrs(to) == xattrs) {
      return;
    }
    changed_ = true;
    out_.only_times &= to.mode == from.mode && to.uid == from.uid && to.gid == from.gid && OwnXattrs(to) == xattrs;
    to.mode = from.mode, to.uid = from.uid, to.gid = from.gid;
    to.mtime_seconds = from.mtime_seconds, to.mtime_nanos = from.mtime_nanos;
    const bool opaque = IsOpaque(to);
    to.xattrs = xattrs.empty() ? nullptr : std::make_unique<erofs::Xattrs>(std::move(xattrs));
    if (opaque) MakeOpaque(to);
  }

  Result<> FitChildren(const Item& item) {
    std::vector<std::uint32_t> dirs;
    if (const auto names = children_.find(item.dir); names != children_.end()) {
      for (const auto& [name, child] : names->second) {
        if (S_ISDIR(at(child).mode) && at(child).hard_link == kNoNode) dirs.push_back(child);
      }
    }
    for (const std::uint32_t dir : dirs) {
      if (!at(dir).removed) RETURN_IF_ERROR(FitDirectory(dir, item.below));
    }
    return {};
  }

  // `above`: what lies below the parent of `dir`.
  Result<> FitDirectory(std::uint32_t dir, std::span<const Found::Ref> above) {
    Found found = lowers_.Lookup(above, at(dir).name);
    if (implied_[dir] && found.other && S_ISLNK(lowers_.node(*found.other).mode)) {
      if (auto moved = FollowLink(dir, lowers_.node(*found.other).link); !moved) {
        return Error(std::move(moved).error()).Context("directory " + Quoted(at(dir).name) + ", which is a link in a lower layer");
      }
      return {};
    }
    TakeFromBelow(dir, found.dirs);
    if (!found.dirs.empty() && !IsOpaque(at(dir))) todo_.push_back({dir, std::move(found.dirs)});
    return {};
  }

  std::vector<Place> PathTo(std::uint32_t dir) {
    std::vector<std::uint32_t> up;
    for (; dir != 0; dir = at(dir).parent) up.push_back(dir);
    std::vector<Place> path{{"", 0, IsOpaque(at(0)) ? std::vector<Found::Ref>{} : lowers_.Root()}};
    for (; !up.empty(); up.pop_back()) {
      const Node& n = at(up.back());
      path.push_back({n.name, up.back(), IsOpaque(n) ? std::vector<Found::Ref>{} : lowers_.Lookup(path.back().below, n.name).dirs});
    }
    return path;
  }

  // `path` becomes the place that `target` leads to from there; directories that nobody has are part of it.
  Result<> Resolve(std::vector<Place>& path, std::string_view target) {
    std::deque<std::string> texts;
    std::vector<std::string_view> todo;
    int links = 0, steps = 0;
    const auto expand = [&](std::string_view link) -> Result<> {
      if (++links > kLinks) return Invalid("more than 40 links, or a loop of links, among the parents");
      std::string_view rest = texts.emplace_back(link), part;
      if (rest.starts_with('/')) path.resize(1);
      const auto mark = static_cast<std::ptrdiff_t>(todo.size());
      while (NextPart(rest, part)) {
        if (part != ".") todo.push_back(part);
      }
      std::reverse(todo.begin() + mark, todo.end());
      return {};
    };
    RETURN_IF_ERROR(expand(target));
    while (!todo.empty()) {
      const std::string_view part = todo.back();
      todo.pop_back();
      if (++steps > kSteps) return Invalid("the links among the parents lead through too many directories");
      if (part == "..") {
        if (path.size() > 1) path.pop_back();
        continue;
      }
      const Place& here = path.back();
      const std::uint32_t own = here.own == kNoNode ? kNoNode : Own(here.own, part);
      Found found;
      if (own == kNoNode || S_ISDIR(InodeOf(out_.tree, own).mode)) found = lowers_.Lookup(here.below, part);
      const bool take_lower = own == kNoNode || (implied_[own] && S_ISDIR(at(own).mode));
      if (take_lower && found.other) {
        const Node& n = lowers_.node(*found.other);
        if (S_ISLNK(n.mode)) {
          RETURN_IF_ERROR(expand(n.link));
          continue;
        }
        if (own == kNoNode) return Invalid("a link among the parents leads to something that is not a directory");
      }
      if (own != kNoNode) {
        const Node& n = InodeOf(out_.tree, own);
        if (S_ISLNK(n.mode)) {
          RETURN_IF_ERROR(expand(n.link));
          continue;
        }
        if (!S_ISDIR(n.mode) && !IsWhiteout(n)) return Invalid("a link among the parents leads to something that is not a directory");
        if (IsOpaque(n)) found.dirs.clear();
      }
      if (part.size() > 255) return Invalid("a link leads to a name with a component longer than 255 bytes");
      if (part.starts_with(".wh.")) return Invalid("a link leads to a name that is reserved for whiteouts");
      path.push_back({std::string(part), own, std::move(found.dirs)});
    }
    return {};
  }

  // Directories of this layer all along the path.
  std::uint32_t Make(std::vector<Place>& path) {
    for (std::size_t i = 1; i < path.size(); ++i) {
      Place& place = path[i];
      const std::uint32_t parent = path[i - 1].own;
      if (place.own == kNoNode) place.own = Own(parent, place.name);
      if (place.own != kNoNode && S_ISDIR(at(place.own).mode)) continue;
      const bool hidden = place.own != kNoNode;  // by a whiteout, which turns into the directory
      if (!hidden) {
        place.own = static_cast<std::uint32_t>(out_.tree.nodes.size());
        out_.tree.nodes.emplace_back();
        implied_.push_back(true);
      }
      Node& n = at(place.own);
      n.name = place.name;
      n.parent = parent;
      n.mode = S_IFDIR | 0755;
      if (hidden) MakeOpaque(n);
      children_[parent].insert_or_assign(place.name, place.own);
      TakeFromBelow(place.own, place.below);
    }
    return path.back().own;
  }

  // The implied directory `from` is a link below: its children belong to where that leads.
  Result<> FollowLink(std::uint32_t from, std::string_view target) {
    std::vector<Place> path = PathTo(at(from).parent);
    RETURN_IF_ERROR(Resolve(path, target));
    changed_ = true, out_.only_times = false;
    const std::uint32_t to = Make(path);
    children_[at(from).parent].erase(at(from).name);
    at(from).removed = true;
    Merge(from, to);
    std::vector<Found::Ref> below = IsOpaque(at(to)) ? std::vector<Found::Ref>{} : std::move(path.back().below);
    // Again, for what is new there; once for all links that lead to it from one directory.
    if (std::ranges::none_of(todo_, [&](const Item& item) { return item.dir == to; })) todo_.push_back({to, std::move(below)});
    return {};
  }

  void Merge(std::uint32_t from, std::uint32_t to) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs{{from, to}};
    while (!pairs.empty()) {
      const auto [source, target] = pairs.back();
      pairs.pop_back();
      if (IsOpaque(at(source))) MakeOpaque(at(target));
      const Names names = std::exchange(children_[source], {});
      for (const auto& [name, child] : names) {
        const std::uint32_t there = Own(target, name);
        const bool child_dir = S_ISDIR(at(child).mode), there_dir = there != kNoNode && S_ISDIR(at(there).mode);
        if (there == kNoNode || IsWhiteout(InodeOf(out_.tree, there))) {
          if (there != kNoNode) {
            at(there).removed = true;
            if (child_dir) MakeOpaque(at(child));
          }
          at(child).parent = target;
          children_[target].insert_or_assign(name, child);
          continue;
        }
        if (child_dir && there_dir) {
          if (implied_[there] && !implied_[child]) CopyAttributes(child, there);
          pairs.emplace_back(child, there);
        } else if (there_dir && IsWhiteout(InodeOf(out_.tree, child))) {
          MakeOpaque(at(there));
        }
        at(child).removed = true;  // what hangs on it and did not move is left out by the writer
      }
    }
  }
  void CopyAttributes(std::uint32_t from, std::uint32_t to) {
    const bool opaque = IsOpaque(at(to));
    at(to).mode = at(from).mode, at(to).uid = at(from).uid, at(to).gid = at(from).gid;
    at(to).mtime_seconds = at(from).mtime_seconds, at(to).mtime_nanos = at(from).mtime_nanos;
    at(to).xattrs = at(from).xattrs ? std::make_unique<erofs::Xattrs>(*at(from).xattrs) : nullptr;
    if (opaque) MakeOpaque(at(to));
    implied_[to] = false;
  }

  Result<> FitLinks() {
    if (fixups_.links.empty()) return {};
    std::vector<bool> named(out_.tree.nodes.size());
    for (const std::uint32_t i : CanonicalOrder(out_.tree)) named[out_.tree.Inode(i)] = true;
    for (const Fixups::Link& link : fixups_.links) {
      if (!named[out_.tree.Inode(link.node)]) continue;  // another file has its place
      if (auto done = FitLink(link); !done) return Error(std::move(done).error()).Context("hard link to " + Quoted(link.target));
    }
    return {};
  }

  Result<> FitLink(const Fixups::Link& link) {
    std::vector<std::string_view> parts;
    for (std::string_view rest = link.target, part; NextPart(rest, part);) parts.push_back(part);
    if (parts.empty()) return CorruptFixups();
    // As the tree was before this layer: its own entries play no part.
    std::deque<std::string> texts;
    std::vector<Place> path{{"", 0, lowers_.Root()}};
    std::vector<std::string_view> todo(parts.rbegin(), parts.rend());
    int links = 0, steps = 0;
    while (!todo.empty()) {
      const std::string_view part = todo.back();
      todo.pop_back();
      if (++steps > kSteps) return Invalid("the links among the parents lead through too many directories");
      if (part == "..") {
        if (path.size() > 1) path.pop_back();
        continue;
      }
      Found found = lowers_.Lookup(path.back().below, part);
      if (!found.other && found.dirs.empty()) return Invalid("no layer below has this file");
      if (todo.empty()) {
        if (!found.other) return Invalid("it is a directory");
        TakeInode(link.node, *found.other);
        return KeepBelow(path, part, InodeHere(link.node));
      }
      if (found.other) {
        const Node& n = lowers_.node(*found.other);
        if (!S_ISLNK(n.mode)) return Invalid("no layer below has this file");
        if (++links > kLinks) return Invalid("more than 40 links, or a loop of links, among the parents");
        std::string_view rest = texts.emplace_back(n.link), piece;
        if (rest.starts_with('/')) path.resize(1);
        const auto mark = static_cast<std::ptrdiff_t>(todo.size());
        while (NextPart(rest, piece)) {
          if (piece != ".") todo.push_back(piece);
        }
        std::reverse(todo.begin() + mark, todo.end());
        continue;
      }
      path.push_back({std::string(part), kNoNode, std::move(found.dirs)});
    }
    return Invalid("it is a directory");
  }

  // The file in the real place `path`, `name` below is the inode `inode` of this layer, too, unless this layer has something else
  // there: one file with two names, as after overlayfs's copy-up.
  Result<> KeepBelow(std::vector<Place>& path, std::string_view name, std::uint32_t inode) {
    if (IsOpaque(at(0))) return {};
    std::uint32_t dir = 0;
    for (std::size_t i = 1; i < path.size() && dir != kNoNode; ++i) {
      path[i].own = dir = Own(dir, path[i].name);
      if (dir != kNoNode && (!S_ISDIR(InodeOf(out_.tree, dir).mode) || IsOpaque(at(dir)))) return {};
    }
    if (dir != kNoNode && Own(dir, name) != kNoNode) return {};
    dir = Make(path);
    if (out_.tree.nodes.size() > most_nodes_) {
      return Error(Reason::kLimitExceeded, "the hard links of the layer to files of lower layers need more than " + std::to_string(most_nodes_) + " names");
    }
    const auto copy = static_cast<std::uint32_t>(out_.tree.nodes.size());
    Node& n = out_.tree.nodes.emplace_back();
    n.name = name, n.parent = dir, n.hard_link = inode;
    implied_.push_back(false);
    children_[dir].insert_or_assign(n.name, copy);
    return {};
  }

  std::uint32_t InodeHere(std::uint32_t name) {
    const std::uint32_t own = out_.tree.Inode(name);
    const auto fold = folded_.find(own);
    return fold == folded_.end() ? own : fold->second;
  }

  void TakeInode(std::uint32_t name, Found::Ref file) {
    changed_ = true, out_.only_times = false;
    const std::uint32_t own = InodeHere(name);
    const Tree& tree = lowers_.tree(file.layer);
    const std::uint32_t inode = tree.Inode(file.node);
    const Node& from = tree.nodes[inode];
    const auto [known, first] = copies_.try_emplace({file.layer, inode}, own);
    const std::uint32_t to = known->second;
    Node& n = at(to);
    if (to != own) {  // a second link to a file that this layer already has: one inode
      n.mode = static_cast<std::uint16_t>((n.mode & S_IFMT) | (S_ISLNK(n.mode) ? 0777 : at(own).mode & 07777));
      n.uid = at(own).uid, n.gid = at(own).gid;
      n.mtime_seconds = at(own).mtime_seconds, n.mtime_nanos = at(own).mtime_nanos;
      at(own).hard_link = to;
      folded_[own] = to;
      return;
    }
    if (!first) return;
    n.mode = static_cast<std::uint16_t>((from.mode & S_IFMT) | (S_ISLNK(from.mode) ? 0777 : n.mode & 07777));
    n.size = from.size;
    n.data_offset = from.data_offset;
    n.link = from.link;
    n.rdev_major = from.rdev_major;
    n.rdev_minor = from.rdev_minor;
    if (from.sparse) n.sparse = std::make_unique<std::vector<erofs::Extent>>(*from.sparse);
    if (from.xattrs) {
      if (!n.xattrs) n.xattrs = std::make_unique<erofs::Xattrs>();
      for (const auto& x : *from.xattrs) {
        if (std::ranges::none_of(*n.xattrs, [&](const auto& own_x) { return own_x.first == x.first; })) n.xattrs->push_back(x);
      }
    }
    if (S_ISREG(from.mode) && from.size > 0 && lowers_.has_device(file.layer, from.device)) {
      const std::uint32_t device = lowers_.device(file.layer, from.device);
      const auto place = std::ranges::find(out_.devices, device);
      n.device = static_cast<std::uint16_t>(place - out_.devices.begin());
      if (place == out_.devices.end()) out_.devices.push_back(device);
    }
  }

  const Fixups& fixups_;
  Lowers lowers_;
  const std::size_t most_nodes_;  // what a few links may make of a layer
  Fitted out_;
  std::unordered_map<std::uint32_t, Names> children_;
  std::vector<bool> implied_;
  std::vector<Item> todo_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> copies_;  // lower inode -> ours
  std::unordered_map<std::uint32_t, std::uint32_t> folded_;                 // placeholder -> the one that has the inode
  bool changed_ = false;
};

void PutNumber(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}
// LEB128 without needless bytes.
std::optional<std::uint32_t> TakeNumber(std::string_view& in) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 35 && !in.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte & 0x80) continue;
    if ((byte == 0 && shift > 0) || value > 0xFFFFFFFFu) return std::nullopt;
    return static_cast<std::uint32_t>(value);
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::uint32_t> CanonicalOrder(const Tree& tree, const erofs::Children& children) {
  std::vector<std::uint32_t> order, todo{0};
  while (!todo.empty()) {
    const std::uint32_t node = todo.back();
    todo.pop_back();
    order.push_back(node);
    const auto names = children.Of(node);
    for (auto child = names.rbegin(); child != names.rend(); ++child) {
      if (!tree.nodes[*child].removed) todo.push_back(*child);
    }
  }
  return order;
}

std::string EncodeFixups(const Fixups& fixups, const Tree& tree, const erofs::Children& children) {
  if (fixups.empty()) return {};
  const std::vector<std::uint32_t> order = CanonicalOrder(tree, children);
  std::vector<std::uint32_t> rank(tree.nodes.size(), kNoNode);
  for (std::uint32_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
  std::vector<std::uint32_t> implied;
  for (const std::uint32_t node : fixups.implied) implied.push_back(rank[node]);
  std::ranges::sort(implied);
  std::map<std::uint32_t, std::string_view> links;
  for (const Fixups::Link& link : fixups.links) links.emplace(rank[link.node], link.target);
  std::string out;
  PutNumber(out, implied.size());
  std::uint32_t last = 0;
  for (const std::uint32_t i : implied) PutNumber(out, i - std::exchange(last, i));
  PutNumber(out, links.size());
  last = 0;
  for (const auto& [i, target] : links) {
    PutNumber(out, i - std::exchange(last, i));
    PutNumber(out, target.size());
    out += target;
  }
  return out;
}

Result<Fixups> DecodeFixups(bytes::View data, const Tree& tree) {
  Fixups fixups;
  std::string_view in = bytes::AsText(data);
  if (in.empty()) return fixups;
  const std::vector<std::uint32_t> order = CanonicalOrder(tree);
  // A rank, given as the distance from the one before.
  std::uint32_t rank = 0;
  const auto take_rank = [&](bool first) {
    const std::optional<std::uint32_t> step = TakeNumber(in);
    if (!step || (!first && *step == 0) || *step >= order.size() - rank) return false;
    rank += *step;
    return true;
  };
  std::optional<std::uint32_t> count = TakeNumber(in);
  for (std::uint32_t i = 0; count && i < *count; ++i) {
    if (!take_rank(i == 0) || !S_ISDIR(tree.nodes[order[rank]].mode)) return CorruptFixups();
    fixups.implied.push_back(order[rank]);
  }
  if (count) count = TakeNumber(in);
  rank = 0;
  for (std::uint32_t i = 0; count && i < *count; ++i) {
    if (!take_rank(i == 0) || !S_ISREG(InodeOf(tree, order[rank]).mode)) return CorruptFixups();
    const std::optional<std::uint32_t> length = TakeNumber(in);
    if (!length || *length == 0 || *length > 4096 || *length > in.size()) return CorruptFixups();
    fixups.links.push_back({order[rank], std::string(in.substr(0, *length))});
    in.remove_prefix(*length);
  }
  if (!count || !in.empty() || fixups.empty()) return CorruptFixups();
  std::ranges::sort(fixups.implied);
  std::ranges::sort(fixups.links, {}, &Fixups::Link::node);
  return fixups;
}

Result<std::optional<Fitted>> Fit(const Tree& layer, std::uint32_t self, const Fixups& fixups, std::span<const LowerTree> lowers) {
  if (fixups.empty()) return std::nullopt;
  return Fitter(layer, self, fixups, lowers).Run();
}

}  // namespace berth::layer
