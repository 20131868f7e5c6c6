// erofs/testing/tree_builder.h: trees by path, and a tree as text to compare.
#pragma once

#include <sys/stat.h>

#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "erofs/tree.h"
#include "erofs/writer.h"
#include "result/result.h"

namespace berth::erofs::testing {

// Every Add names a new file by its path; the folders above must be there. References are valid until the next Add.
class TreeBuilder {
 public:
  TreeBuilder() {
    tree.nodes.emplace_back();
    tree.nodes[0].mode = S_IFDIR | 0755;
    places_[""] = 0;
  }

  Node& Add(const std::string& path, std::uint32_t mode) {
    const std::size_t slash = path.rfind('/');
    Node node;
    node.name = slash == path.npos ? path : path.substr(slash + 1);
    const auto parent = places_.find(slash == path.npos ? "" : path.substr(0, slash));
    BERTH_CHECK(parent != places_.end());
    node.parent = parent->second;
    node.mode = static_cast<std::uint16_t>(mode);
    node.mtime_seconds = 1'700'000'000;
    places_[path] = static_cast<std::uint32_t>(tree.nodes.size());
    tree.nodes.push_back(std::move(node));
    return tree.nodes.back();
  }
  Node& Directory(const std::string& path, std::uint32_t mode = 0755) { return Add(path, S_IFDIR | mode); }
  Node& File(const std::string& path, std::uint64_t size = 0, std::uint64_t data_offset = 0) {
    Node& node = Add(path, S_IFREG | 0644);
    node.size = size;
    node.data_offset = data_offset;
    return node;
  }
  Node& Sparse(const std::string& path, std::uint64_t size, std::vector<Extent> extents) {
    Node& node = File(path, size);
    node.sparse = std::make_unique<std::vector<Extent>>(std::move(extents));
    return node;
  }
  Node& Link(const std::string& path, std::string target) {
    Node& node = Add(path, S_IFLNK | 0777);
    node.link = std::move(target);
    return node;
  }
  Node& Hard(const std::string& path, const std::string& target) {
    const std::uint32_t inode = Place(target);
    Node& node = Add(path, 0);
    node.hard_link = inode;
    return node;
  }
  Node& Device(const std::string& path, std::uint32_t type, std::uint32_t major, std::uint32_t minor) {
    Node& node = Add(path, type | 0600);
    node.rdev_major = major;
    node.rdev_minor = minor;
    return node;
  }

  std::uint32_t Place(const std::string& path) const { return places_.at(path); }
  Node& At(const std::string& path) { return tree.nodes[Place(path)]; }

  Tree tree;

 private:
  std::map<std::string, std::uint32_t> places_;
};

inline void SetXattr(Node& node, std::string name, std::string value) {
  if (node.xattrs == nullptr) node.xattrs = std::make_unique<Xattrs>();
  node.xattrs->emplace_back(std::move(name), std::move(value));
}

// Path -> everything that counts of the file, live names only. Names of one inode say the first of them by bytes.
inline std::map<std::string, std::string> Listing(const Tree& tree) {
  std::map<std::string, std::uint32_t> inodes;
  for (std::uint32_t i = 0; i < tree.nodes.size(); ++i) {
    std::string path;
    bool live = true;
    for (std::uint32_t at = i; at != 0; at = tree.nodes[at].parent) {
      live = live && !tree.nodes[at].removed;
      path = "/" + tree.nodes[at].name + path;
    }
    if (live) inodes[path] = tree.nodes[i].hard_link == kNoNode ? i : tree.nodes[i].hard_link;
  }
  std::map<std::uint32_t, std::string> first;
  for (const auto& [path, inode] : inodes) first.emplace(inode, path);
  std::map<std::string, std::string> listing;
  for (const auto& [path, inode] : inodes) {
    const Node& n = tree.nodes[inode];
    std::ostringstream out;
    out << "inode of '" << first[inode] << "' links " << n.links << std::oct << " mode " << n.mode << std::dec << " owner " << n.uid << ':'
        << n.gid << " mtime " << n.mtime_seconds << '+' << n.mtime_nanos;
    if (S_ISREG(n.mode)) {
      out << " size " << n.size;
      if (n.size != 0 && n.sparse == nullptr) out << " at " << n.device << ':' << n.data_offset;
      if (n.size != 0 && n.sparse != nullptr) {
        out << " sparse";
        for (const Extent& e : *n.sparse) out << ' ' << e.file_offset << '+' << e.length << " at " << n.device << ':' << e.device_offset;
      }
    }
    if (S_ISLNK(n.mode)) out << " to '" << n.link << '\'';
    if (S_ISCHR(n.mode) || S_ISBLK(n.mode)) out << " device " << n.rdev_major << ':' << n.rdev_minor;
    if (n.xattrs != nullptr) {
      for (const auto& [name, value] : *n.xattrs) out << ' ' << name << '=' << value.size() << ':' << std::hash<std::string>()(value);
    }
    listing[path] = out.str();
  }
  return listing;
}

}  // namespace berth::erofs::testing
