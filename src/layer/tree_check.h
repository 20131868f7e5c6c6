// layer/tree_check.h: is the folder of a layer in tree form still what was unpacked?
//
// The EROFS image in the layer's .meta describes the tree: names, types, modes, owners, sizes, times, links, devices and
// extended attributes (of those that a layer can have; what a security module adds is not looked at). Contents have their
// CRCs in the descriptor. Of times, those before 1901 or after 2038 are not compared, and a missing fraction of a second
// passes: file systems differ there.
// Reads by descriptor, follows no link, opens nothing but directories and regular files. Memory: 32 bytes a node.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "erofs/tree.h"
#include "host/dir.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::layer {

// The inodes that are regular files, by the first of their names in `order` (CanonicalOrder): that of the CRCs.
std::vector<std::uint32_t> FilesInOrder(const erofs::Tree& tree, std::span<const std::uint32_t> order);

// `crcs`: of the whole contents of each file, holes included; empty where an older version wrote none: contents are not looked at
// then. kCorrupt names the first difference.
Result<> CheckTree(const task::Context& ctx, const host::Dir& root, const erofs::Tree& tree, std::span<const std::uint32_t> crcs);

}  // namespace berth::layer
