// layer/overlay.h: how a layer says to overlayfs what it hides.
//
// A whiteout is a character device 0:0. An opaque directory (trusted.overlay.opaque=y) shows nothing of its name from below.
// overlayfs leaves whiteouts out of a listing only where it merges directories. In one that a single layer has, they would be
// listed as names that cannot be opened; it looks for them there, too, when the directory has trusted.overlay.origin, as
// one that was copied up has (ovl_path_check_origin_xattr; an empty value: from nobody knows where). So each directory that
// holds a whiteout gets that (MarkWhiteouts; ).
// No archive can bring such attributes: TreeBuilder drops them. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "erofs/tree.h"
#include "result/result.h"

namespace berth::layer {

inline constexpr std::string_view kOverlayXattrs = "trusted.overlay.";
inline constexpr std::string_view kOpaqueXattr = "trusted.overlay.opaque", kOpaqueValue = "y";
inline constexpr std::string_view kOriginXattr = "trusted.overlay.origin";  // no value

// Of inodes: not of a node that has a hard_link.
bool IsWhiteout(const erofs::Node& inode);
bool IsOpaque(const erofs::Node& inode);
void MakeOpaque(erofs::Node& inode);
// Every directory that holds a whiteout. MakeImage does this to all that it writes.
void MarkWhiteouts(erofs::Tree& tree);

// The same for the tree form, whose worker may not set trusted.*: the directories that have these attributes, for the
// daemon to set them. Paths in canonical order (fit.h); "" is the root.
struct Marks {
  std::vector<std::string> opaque, origin;
};
// What all paths may take, each with kMarkBytesEach more. They cross the pipe from worker to daemon, who must hold them.
inline constexpr std::size_t kMarkBytes = 3u << 19, kMarkBytesEach = 8;
// kLimitExceeded.
Result<Marks> MarksOf(const erofs::Tree& tree);

}  // namespace berth::layer
