#include "erofs/children.h"

#include <algorithm>
#include <string_view>

namespace berth::erofs {
namespace {

// Most comparisons end in the first eight bytes in which the names of a directory differ: they are kept beside the place.
struct Key {
  std::uint64_t head;
  std::uint32_t node;
};

std::uint64_t Head(std::string_view name, std::size_t common) {
  name.remove_prefix(common);
  std::uint64_t head = 0;
  for (std::size_t i = 0; i < 8; ++i) head = head << 8 | (i < name.size() ? static_cast<unsigned char>(name[i]) : 0u);
  return head;
}

}  // namespace

Children ChildrenByName(const Tree& tree) {
  const std::size_t count = tree.nodes.size();
  Children out;
  out.first.assign(count + 1, 0);
  const auto each = [&](auto&& visit) {
    for (std::size_t i = 1; i < count; ++i) {
      if (const std::uint32_t parent = tree.nodes[i].parent; parent < count) visit(static_cast<std::uint32_t>(i), parent);
    }
  };
  // first[i + 1] counts, then is the place of the next child, then (all placed) the end, which is what it should be.
  each([&](std::uint32_t, std::uint32_t parent) { ++out.first[parent + 1]; });
  std::uint32_t start = 0;
  for (std::size_t i = 1; i <= count; ++i) {
    const std::uint32_t children = out.first[i];
    out.first[i] = start;
    start += children;
  }
  out.nodes.resize(start);
  each([&](std::uint32_t node, std::uint32_t parent) { out.nodes[out.first[parent + 1]++] = node; });

  const auto before = [&](const Key& a, const Key& b) {
    if (a.head != b.head) return a.head < b.head;
    const int order = tree.nodes[a.node].name.compare(tree.nodes[b.node].name);
    return order != 0 ? order < 0 : a.node < b.node;
  };
  std::vector<Key> keys;
  for (std::size_t i = 0; i < count; ++i) {
    const std::span<std::uint32_t> children(out.nodes.data() + out.first[i], out.first[i + 1] - out.first[i]);
    if (children.size() < 2) continue;
    const std::string_view one = tree.nodes[children[0]].name;
    std::size_t common = one.size();
    for (const std::uint32_t node : children) {
      const std::string_view name = tree.nodes[node].name;
      std::size_t same = 0;
      while (same < common && same < name.size() && name[same] == one[same]) ++same;
      common = same;
    }
    keys.clear();
    for (const std::uint32_t node : children) keys.push_back({Head(tree.nodes[node].name, common), node});
    if (std::is_sorted(keys.begin(), keys.end(), before)) continue;
    std::sort(keys.begin(), keys.end(), before);
    std::transform(keys.begin(), keys.end(), children.begin(), [](const Key& key) { return key.node; });
  }
  return out;
}

}  // namespace berth::erofs
