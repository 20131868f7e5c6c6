#include "layer/overlay.h"

#include <sys/stat.h>

#include <algorithm>
#include <memory>

#include "layer/fit.h"

namespace berth::layer {
namespace {

using erofs::kNoNode;
using erofs::Node;
using erofs::Tree;

bool Has(const Node& n, std::string_view xattr) {
  return n.xattrs && std::ranges::any_of(*n.xattrs, [&](const auto& x) { return x.first == xattr; });
}
void Set(Node& n, std::string_view xattr, std::string_view value) {
  if (Has(n, xattr)) return;
  if (!n.xattrs) n.xattrs = std::make_unique<erofs::Xattrs>();
  n.xattrs->emplace_back(xattr, value);
}

}  // namespace

bool IsWhiteout(const Node& n) { return S_ISCHR(n.mode) && n.rdev_major == 0 && n.rdev_minor == 0; }
bool IsOpaque(const Node& n) { return Has(n, kOpaqueXattr); }
void MakeOpaque(Node& n) { Set(n, kOpaqueXattr, kOpaqueValue); }

void MarkWhiteouts(Tree& tree) {
  for (const Node& n : tree.nodes) {
    if (n.removed || !IsWhiteout(n.hard_link == kNoNode ? n : tree.nodes[n.hard_link])) continue;
    Set(tree.nodes[n.parent], kOriginXattr, {});
  }
}

Result<Marks> MarksOf(const Tree& tree) {
  Marks marks;
  std::size_t left = kMarkBytes;
  const auto add = [&](std::vector<std::string>& to, std::uint32_t node) {
    std::vector<std::uint32_t> up;
    std::size_t size = kMarkBytesEach;
    for (; node != 0; node = tree.nodes[node].parent) {
      up.push_back(node);
      size += tree.nodes[node].name.size() + 1;
    }
    if (size > left) return false;
    left -= size;
    std::string& path = to.emplace_back();
    for (; !up.empty(); up.pop_back()) path.append(path.empty() ? "" : "/").append(tree.nodes[up.back()].name);
    return true;
  };
  for (const std::uint32_t i : CanonicalOrder(tree)) {
    const Node& n = tree.nodes[i];
    if ((IsOpaque(n) && !add(marks.opaque, i)) || (Has(n, kOriginXattr) && !add(marks.origin, i))) {
      return Error(Reason::kLimitExceeded, "the layer hides names in more directories than its tree form can record (" +
                                               std::to_string(kMarkBytes >> 10) + " KiB of paths)")
          .Next("use a kernel with EROFS");
    }
  }
  return marks;
}

}  // namespace berth::layer
