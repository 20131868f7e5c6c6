// Any archive gives a tree that keeps the promises of layer/builder.h, or an error; twice the same.
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "codec/crc32c.h"
#include "erofs/reader.h"
#include "erofs/writer.h"
#include "layer/descriptor.h"
#include "layer/overlay.h"
#include "layer/testing/tree_text.h"
#include "tar/testing/tar_builder.h"

namespace berth::layer {
namespace {

constexpr BuildOptions kOptions{.block_devices = true, .entries = 500, .unpacked_bytes = 4u << 20, .depth = 20, .hard_links = 10};
constexpr tar::Limits kTar{.entries = 200, .extension_bytes = 16u << 10, .sparse_segments = 64, .file_bytes = 2u << 20};

void Require(bool truth) {
  if (!truth) std::abort();
}

void Check(const Built& built, std::uint64_t data_bytes) {
  const auto& nodes = built.tree.nodes;
  const auto order = CanonicalOrder(built.tree);
  Require(order.size() == built.nodes && nodes.size() <= kOptions.entries + 1);
  std::set<std::pair<std::uint32_t, std::string>> names;
  for (const std::uint32_t i : order) {
    const erofs::Node& n = nodes[i];
    const erofs::Node& inode = n.hard_link == erofs::kNoNode ? n : nodes[n.hard_link];
    Require(!n.removed && !inode.removed && inode.hard_link == erofs::kNoNode);
    if (i == 0) continue;
    Require(!n.name.empty() && n.name.size() <= 255 && n.name.find('/') == std::string::npos && n.name.find('\0') == std::string::npos);
    Require(n.name != "." && n.name != ".." && !n.name.starts_with(".wh."));
    Require(names.emplace(n.parent, n.name).second);
    const erofs::Node& parent = nodes[n.parent];
    Require(!parent.removed && S_ISDIR(parent.mode) && parent.hard_link == erofs::kNoNode && n.parent < i);
    Require(&inode == &n || !S_ISDIR(inode.mode));
    Require(inode.uid != 0xffffffffu && inode.gid != 0xffffffffu);
    Require(!S_ISLNK(inode.mode) || (!inode.link.empty() && inode.link.size() < 4096));
    if (inode.xattrs) {
      for (const auto& [name, value] : *inode.xattrs) {
        Require(name == "security.capability" || (name == "trusted.overlay.opaque" && S_ISDIR(inode.mode)) ||
                (name.starts_with("user.") && !name.starts_with("user.overlay.")));
      }
    }
    if (!S_ISREG(inode.mode)) continue;
    if (!inode.sparse) {
      Require(inode.data_offset % 4096 == 0 && (inode.size == 0 || inode.data_offset + inode.size <= data_bytes));
      continue;
    }
    std::uint64_t end = 0;
    for (const erofs::Extent& e : *inode.sparse) {
      Require(e.length > 0 && e.file_offset % 4096 == 0 && e.device_offset % 4096 == 0 && e.file_offset >= end);
      end = e.file_offset + e.length;
      Require(end <= inode.size && (end % 4096 == 0 || end == inode.size));
      Require(e.device_offset + e.length <= (data_bytes + 4095) / 4096 * 4096);
    }
  }
  for (const std::uint32_t i : built.fixups.implied) Require(!nodes[i].removed && S_ISDIR(nodes[i].mode));
  for (const Fixups::Link& link : built.fixups.links) {
    Require(!nodes[link.node].removed && S_ISREG(nodes[link.node].mode) && nodes[link.node].size == 0 && !link.target.empty());
  }
}

}  // namespace
}  // namespace berth::layer

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  using namespace berth::layer;
  const std::string archive = tar::testing::WithChecksums({reinterpret_cast<const char*>(data), size});
  testing::MemorySink sink, again_sink;
  auto built = testing::Build(archive, sink, kOptions, kTar);
  auto again = testing::Build(archive, again_sink, kOptions, kTar, 1 + size % 1500);
  Require(built.has_value() == again.has_value());
  if (!built) {
    Require(built.error().Text() == again.error().Text() && built.error().reason() == again.error().reason());
    return 0;
  }
  Check(*built, sink.data.size());
  const auto lines = testing::Describe(built->tree, {sink.data}, built->fixups);
  Require(sink.data == again_sink.data && lines == testing::Describe(again->tree, {again_sink.data}, again->fixups));
  // As it is written: a directory is marked if, and only if, it holds a whiteout; each mark is listed.
  MarkWhiteouts(built->tree);
  std::set<std::uint32_t> holders;
  std::size_t opaque = 0;
  for (const std::uint32_t i : CanonicalOrder(built->tree)) {
    const erofs::Node& n = built->tree.nodes[i];
    if (IsWhiteout(n.hard_link == erofs::kNoNode ? n : built->tree.nodes[n.hard_link])) holders.insert(n.parent);
    opaque += IsOpaque(n);
  }
  for (const std::uint32_t i : CanonicalOrder(built->tree)) {
    const auto& xattrs = built->tree.nodes[i].xattrs;
    const bool marked = xattrs && std::ranges::any_of(*xattrs, [](const auto& x) { return x.first == kOriginXattr; });
    Require(marked == holders.contains(i));
  }
  const auto marks = MarksOf(built->tree);
  Require(marks || marks.error().reason() == Reason::kLimitExceeded);
  Require(!marks || (marks->origin.size() == holders.size() && marks->opaque.size() == opaque));
  // What was built can be written, and read again with its fixups. Only a format limit may refuse it.
  const std::string fixups = EncodeFixups(built->fixups, built->tree, erofs::ChildrenByName(built->tree));
  const auto image = erofs::WriteImage(built->tree, {.device_bytes = {std::max<std::uint64_t>(sink.data.size(), 4096)}});
  Require(image || image.error().reason() == Reason::kLimitExceeded);
  if (!image) return 0;
  auto read = erofs::ReadMetadata(*image);
  Require(read.has_value());
  const auto read_fixups = DecodeFixups(bytes::AsView(fixups), read->tree);
  Require(read_fixups.has_value() && EncodeFixups(*read_fixups, read->tree, erofs::ChildrenByName(read->tree)) == fixups);
  Require(CanonicalOrder(read->tree).size() == built->nodes);
  return 0;
}
