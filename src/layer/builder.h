// layer/builder.h: archive entries in, the tree of one layer out.
//
// TreeBuilder decides what every entry means; it touches no file system. Its decisions are the same for both forms.
// Rules: runtime-registry 6.1-6.4 and 6.8, reliability-security 3.a and 5.2:
// - Names are split on '/', "" and "." dropped, ".." resolved lexically; what climbs is refused. Component 255 (of a whiteout:
//   what it hides), path 4,096 bytes, depth 1,024. An entry for the root itself must be a directory; its attributes are applied.
// - Links among the parents are resolved inside the layer with the root as "/", at most 40; the last component never.
// - Missing parents are made root:root 0755, mtime 0, and recorded as implied: Fit (fit.h) looks below for the real one.
// - Of two entries with one name the later wins; directory over directory replaces attributes and keeps children;
//   anything else replaces the whole tree. A directory that comes after a file or link of its name (also one that a
//   child implies, A-99), or together with a whiteout of its name, starts empty: it is made opaque.
// - Whiteouts (".wh.NAME") and opaque markers affect lower layers only, whatever the order: a whiteout becomes a
//   character device 0:0 unless this layer has NAME itself; opaque is an attribute (overlay.h). Markers are regular
//   files (contents ignored) or hard links; other types are refused. ".wh..wh.*" is skipped and counted. Links do not
//   lead to such a name either.
// - Hard links share the inode and apply their header's owner, mode and time to it (as container runtimes do); a link to
//   a file that is replaced later keeps the first inode. A target that this layer does not have is a fixup. Links to
//   directories, to itself, and to what is in the directory that they replace are refused.
// - Extended attributes: security.capability (well-formed v2 or v3, else refused) and user.* on files and directories
//   are kept, user.overlay.* and all others dropped and counted. Devices by policy (kPolicy), 0:0 always refused.
// Errors: kInvalidLayer, kPolicy, kLimitExceeded; with the entry's quoted name and byte offset.
// Memory: about 200 bytes and the name for each node. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "erofs/tree.h"
#include "layer/fit.h"
#include "layer/report.h"
#include "result/result.h"
#include "tar/reader.h"

namespace berth::layer {

// Where file contents go. One file at a time: Start, Append…, End.
class ContentSink {
 public:
  virtual ~ContentSink() = default;
  // Contents that follow belong to `node` of `tree`. Returns their place in the data device, a multiple of 4096.
  // Called again inside one file for each further segment of a sparse file.
  virtual Result<std::uint64_t> Start(const erofs::Tree& tree, std::uint32_t node) = 0;
  // The sink may keep `data` until its buffer is asked back (DataWriter::Flush).
  virtual Result<> Append(bytes::View data) = 0;
  // All of the file was appended; its attributes are final but for hard links to it.
  virtual Result<> End(const erofs::Tree& tree, std::uint32_t node) = 0;
  // `name` became one more name of the regular file that `existing` is a name of, and gave it new attributes.
  virtual Result<> Link(const erofs::Tree& tree, std::uint32_t name, std::uint32_t existing) = 0;
  // `node`, and all below it, makes room for another of its name.
  virtual Result<> Remove(const erofs::Tree& tree, std::uint32_t node) = 0;
};

// What Finish() gives.
struct Built {
  erofs::Tree tree;  // no removed nodes but those marked; every hard_link points to a living inode
  Fixups fixups;
  RootAttributes root;
  Ignored ignored;
  std::uint64_t entries = 0, nodes = 0, unpacked_bytes = 0;
};

class TreeBuilder : public tar::Handler {
 public:
  TreeBuilder(ContentSink& sink, const BuildOptions& options);
  ~TreeBuilder() override;
  Result<> OnEntry(const tar::Entry& entry) override;
  Result<> OnData(std::uint64_t offset, bytes::View data) override;
  Result<> OnFileEnd() override;
  // After the reader's Finish(). Once.
  Result<Built> Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::layer
