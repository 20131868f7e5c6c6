// layer/testing/tree_text.h: what an archive becomes, as lines to compare.
//
//   a/            directory 0755, owner 0:0, time 0; "a/ implied", "a/ opaque"
//   f=bytes       file 0644       l->target   symlink     h=>f   other name of f      h~>a/b   hard link to a lower file
//   c c1:3, b b8:0, p|            devices, FIFO           w!     whiteout
// then whatever differs from the defaults: " 0600" " 1:2" " @5.000000001" " {user.k=v}". Sorted by path.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "layer/builder.h"
#include "layer/fit.h"
#include "tar/reader.h"

namespace berth::layer::testing {

// A data file in memory.
class MemorySink final : public ContentSink {
 public:
  Result<std::uint64_t> Start(const erofs::Tree&, std::uint32_t) override {
    data.resize((data.size() + 4095) / 4096 * 4096);
    return data.size();
  }
  Result<> Append(bytes::View piece) override {
    data += bytes::AsText(piece);
    return {};
  }
  Result<> End(const erofs::Tree&, std::uint32_t) override { return {}; }
  Result<> Link(const erofs::Tree&, std::uint32_t, std::uint32_t) override { return {}; }
  Result<> Remove(const erofs::Tree&, std::uint32_t) override { return {}; }
  std::string data;
};

inline Result<Built> Build(std::string_view archive, MemorySink& sink, const BuildOptions& options = {},
                           const tar::Limits& limits = {}, std::size_t piece = 0) {
  TreeBuilder builder(sink, options);
  tar::Reader reader(builder, limits);
  if (piece == 0) piece = std::max<std::size_t>(archive.size(), 1);
  for (; !archive.empty(); archive.remove_prefix(std::min(piece, archive.size()))) {
    RETURN_IF_ERROR(reader.Feed(bytes::AsView(archive.substr(0, piece))));
  }
  RETURN_IF_ERROR(reader.Finish());
  return builder.Finish();
}

// `data`: of each device.
inline std::string Contents(const erofs::Node& n, const std::vector<std::string>& data) {
  if (n.device >= data.size()) return std::string(n.size, '?');
  std::string all(n.size, '\0');
  if (!n.sparse) return n.size == 0 ? all : data[n.device].substr(n.data_offset, n.size);
  for (const erofs::Extent& e : *n.sparse) {
    std::string piece = data[n.device].substr(e.device_offset, e.length);
    piece.resize(e.length);  // the writer pads the last page
    all.replace(e.file_offset, e.length, piece);
  }
  return all;
}

inline std::string PathOf(const erofs::Tree& tree, std::uint32_t node) {
  std::string path = tree.nodes[node].name;
  for (std::uint32_t up = tree.nodes[node].parent; node != 0 && up != 0; up = tree.nodes[up].parent) path = tree.nodes[up].name + "/" + path;
  return path;
}

// The root is a line only when it is not the default.
inline std::vector<std::string> Describe(const erofs::Tree& tree, const std::vector<std::string>& data, const Fixups& fixups = {}) {
  std::vector<std::string> lines;
  const std::vector<std::uint32_t> order = CanonicalOrder(tree);
  std::map<std::uint32_t, std::uint32_t> names;  // of an inode: its own, or the first where that is gone
  for (const std::uint32_t i : order)
    if (tree.Inode(i) == i) names.emplace(i, i);
  for (const std::uint32_t i : order) names.try_emplace(tree.Inode(i), i);
  for (const std::uint32_t i : order) {
    const erofs::Node& n = tree.nodes[tree.Inode(i)];
    std::string line = PathOf(tree, i);
    if (const std::uint32_t name = names.at(tree.Inode(i)); name != i) {
      lines.push_back(line + "=>" + PathOf(tree, name));
      continue;
    }
    std::uint32_t mode = 0644;
    char text[64];
    const auto outside = std::find_if(fixups.links.begin(), fixups.links.end(), [&](const auto& l) { return l.node == i; });
    if (S_ISDIR(n.mode)) {
      line += "/";
      mode = 0755;
    } else if (S_ISLNK(n.mode)) {
      line += "->" + n.link;
      mode = 0777;
    } else if (outside != fixups.links.end()) {
      line += "~>" + outside->target;
    } else if (S_ISREG(n.mode)) {
      line += "=" + Contents(n, data);
    } else if (S_ISFIFO(n.mode)) {
      line += "|";
    } else if (S_ISCHR(n.mode) && n.rdev_major == 0 && n.rdev_minor == 0) {
      line += "!";
      mode = 0;
    } else {
      std::snprintf(text, sizeof text, " %c%u:%u", S_ISCHR(n.mode) ? 'c' : 'b', n.rdev_major, n.rdev_minor);
      line += text;
    }
    const std::size_t plain = line.size();
    if (std::find(fixups.implied.begin(), fixups.implied.end(), i) != fixups.implied.end() && i != 0) line += " implied";
    if ((n.mode & 07777u) != mode) std::snprintf(text, sizeof text, " %04o", n.mode & 07777u), line += text;
    if (n.uid != 0 || n.gid != 0) line += " " + std::to_string(n.uid) + ":" + std::to_string(n.gid);
    if (n.mtime_seconds != 0 || n.mtime_nanos != 0) {
      std::snprintf(text, sizeof text, " @%lld.%09u", static_cast<long long>(n.mtime_seconds), n.mtime_nanos);
      line += text;
    }
    if (n.xattrs) {
      for (const auto& [name, value] : *n.xattrs) line += name == "trusted.overlay.opaque" ? " opaque" : " {" + name + "=" + value + "}";
    }
    if (i != 0 || line.size() != plain) lines.push_back(line);
  }
  return lines;
}

}  // namespace berth::layer::testing
