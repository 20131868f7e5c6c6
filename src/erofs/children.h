// erofs/children.h: the names of a Tree, grouped by directory and sorted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "erofs/tree.h"

namespace berth::erofs {

// 8 bytes a node. Holds places in the tree it was made from, no names.
struct Children {
  std::vector<std::uint32_t> first;  // of node i: nodes[first[i]] to nodes[first[i + 1]]
  std::vector<std::uint32_t> nodes;

  std::span<const std::uint32_t> Of(std::uint32_t node) const {
    return std::span(nodes).subspan(first[node], first[node + 1] - first[node]);
  }
};

// Every node but the root under its parent, removed ones too, by the bytes of the name, equal names by their place in
// the tree. A parent that is no node of the tree has no children.
Children ChildrenByName(const Tree& tree);

}  // namespace berth::erofs
