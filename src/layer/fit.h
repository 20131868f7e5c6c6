// layer/fit.h: the same layer on other lower layers: what an archive leaves to the layers below.
//
// A layer is unpacked without knowing what lies below it. Three things in it may depend on that (Fixups): directories
// that have children but no entry of their own, which below may have other attributes or be a link to elsewhere (A-30 to
// A-33); and hard links to files of lower layers. Fit() looks them up in the layers of one image and, where the answer is
// another one than the defaults in the layer's own image, makes a tree for this chain only.
// Pure: values in, values out. Threads: none.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bytes/bytes.h"
#include "erofs/children.h"
#include "erofs/tree.h"
#include "result/result.h"

namespace berth::layer {

struct Fixups {
  struct Link {
    std::uint32_t node = 0;  // the placeholder: an empty regular file with the attributes of the link's header
    std::string target;      // cleaned path, parents resolved as far as this layer knows them
    friend bool operator==(const Link&, const Link&) = default;
  };
  std::vector<std::uint32_t> implied;  // nodes, ascending; 0 is the root
  std::vector<Link> links;             // by node, ascending
  bool empty() const { return implied.empty() && links.empty(); }
  friend bool operator==(const Fixups&, const Fixups&) = default;
};

// Node numbers change when a tree is written and read back; ranks do not. Order[rank] is a node: depth first, children
// by the bytes of their names, removed nodes left out.
std::vector<std::uint32_t> CanonicalOrder(const erofs::Tree& tree, const erofs::Children& children);
inline std::vector<std::uint32_t> CanonicalOrder(const erofs::Tree& tree) { return CanonicalOrder(tree, erofs::ChildrenByName(tree)); }

// Fixups as bytes, nodes as ranks; and back. Strict: kCorrupt for anything that EncodeFixups does not write and for ranks
// that are no directory (implied) or no file (links) of `tree`.
std::string EncodeFixups(const Fixups& fixups, const erofs::Tree& tree, const erofs::Children& children);
Result<Fixups> DecodeFixups(bytes::View data, const erofs::Tree& tree);

// One lower layer as it is mounted for this image (its own variant, if it has one).
struct LowerTree {
  const erofs::Tree* tree = nullptr;
  std::vector<std::uint32_t> devices;  // for each data device of the tree, the layer of the image that it belongs to
};

struct Fitted {
  erofs::Tree tree;
  std::vector<std::uint32_t> devices;  // as above; the first is the layer's own
  bool only_times = true;  // nothing but times of implied directories differs from the layer as it is
};

// `self`: the number of this layer in its image; lowers: topmost first. nullopt: the layer is right as it is.
// - An implied directory takes owner, mode, times and attributes of the directory below it.
// - Below it is a link: its children move to where that leads (root of the image as "/", at most 40 links), made there if
//   missing; where both places have a name, the one in the real place stays. A link to a file, or a loop: kInvalidLayer.
// - A hard link is given a copy of the lower inode (contents stay on the lower layer's device, the link's owner, mode and
//   time apply); links to one lower file share it, and so does the lower name itself, which is made here with its parents unless
//   this layer has another thing there: they stay one file. Not there, or a directory: kInvalidLayer. One all of
//   whose names lost their places to other files (where a link led) is none.
Result<std::optional<Fitted>> Fit(const erofs::Tree& layer, std::uint32_t self, const Fixups& fixups,
                                  std::span<const LowerTree> lowers);

}  // namespace berth::layer
