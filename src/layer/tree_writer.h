// layer/tree_writer.h: the decisions of TreeBuilder as files: for machines without EROFS.
//
// Contents are written while the archive streams by, at their final place; directories, links, devices, whiteouts (0:0)
// and the attributes of directories follow at the end, when the tree is known. Parents are directories that this writer
// made, by descriptor, never following a link: the builder has resolved all links before. The last parent stays open.
// Order on each file: chown, chmod, xattrs, times. Runs in the worker, jailed to the layer's folder (kTree), which may not
// set trusted.*: what overlayfs wants is named to the parent process (Marks in overlay.h), which sets it.
// Errors: kNoSpace, kIo, kUnsupported (a file system without the xattrs that a layer needs).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "layer/builder.h"
#include "result/result.h"

namespace berth::layer {

class TreeWriter final : public ContentSink {
 public:
  // `root_fd`: an empty directory, borrowed.
  explicit TreeWriter(int root_fd);
  ~TreeWriter() override;
  Result<std::uint64_t> Start(const erofs::Tree& tree, std::uint32_t node) override;
  Result<> Append(bytes::View data) override;
  Result<> End(const erofs::Tree& tree, std::uint32_t node) override;
  Result<> Link(const erofs::Tree& tree, std::uint32_t name, std::uint32_t node) override;
  Result<> Remove(const erofs::Tree& tree, std::uint32_t node) override;
  // Everything else, and the attributes of directories. Once, with the finished tree.
  Result<> Finish(const erofs::Tree& tree);
  // After that: the CRC32C of each file's contents, holes included, in the order of FilesInOrder (tree_check.h).
  const std::vector<std::uint32_t>& crcs() const;
  std::uint64_t bytes() const;  // of contents, each file in whole pages

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::layer
