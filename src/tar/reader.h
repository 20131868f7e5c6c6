// tar/reader.h: a streaming reader of layer archives: V7, ustar, GNU, PAX, star.
//
// Push it bytes in pieces of any size; it calls the Handler with each entry, its contents in order, and its end. The
// same stream gives the same calls whatever the pieces. It copies no contents: content spans point into the caller's
// buffer (except for at most one 512-byte block that straddles two pieces).
//
// Reading rules: runtime-registry 6.1 and 6.2, reliability-security 3.a (A-80 … A-101): PAX wins over ustar, global
// headers never change names, sizes or links; GNU L/K; GNU old sparse and PAX sparse 0.0, 0.1, 1.0 are delivered as
// data segments with their real offsets; base-256 numbers; checksums verified (signed-sum variant accepted);
// everything after the end-of-archive blocks is ignored here (the caller hashes it).
// What a name means (climbing, whiteouts, links) is layer/'s business; the reader guarantees only that names have no
// NUL and are within Limits.
//
// One reading where others differ (differential_test.cc holds it against libarchive and GNU tar):
// - Links, directories, devices and FIFOs have no contents whatever their size fields say; sizes of the '\0' type
//   with a directory's name must be 0.
// - Refused instead of guessed: two extension headers of one kind before an entry, a PAX path (linkpath) that differs
//   from the GNU L (K) name, a single zero block inside the archive, a sparse segment that is not whole blocks before
//   another one (GNU tar aligns there, others do not), an unknown GNU.sparse key or version.
// - '\0' with a trailing slash is a directory, '0' with one is a file (as container runtimes have it).
// - The padding of the last file may be missing; its contents may not. One end block, or none, is enough.
// - A ustar prefix is always joined with one '/'. Sparse segments of length 0 are dropped.
// - An xattr whose PAX key contains '=' cannot be told from a shorter name: the first '=' ends it.
// Errors: kInvalidLayer with the byte offset of the header ("tar header at byte N: …"), also for the limits of xattrs
// which name their limit all the same; kLimitExceeded naming the limit; kUnsupported never. A handler's error
// passes as it is. After an error every call returns it again.
// Memory: bounded by Limits, independent of the archive. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bytes/bytes.h"
#include "result/result.h"

namespace berth::tar {

struct Limits {
  std::uint64_t entries = 2'000'000;
  std::size_t extension_bytes = 1u << 20;     // one PAX header or GNU long name
  std::size_t extensions_in_a_row = 8;
  std::size_t xattr_value_bytes = 64u << 10;
  std::size_t xattr_total_bytes = 256u << 10; // per entry
  std::size_t xattrs = 64;                    // per entry
  std::size_t sparse_segments = 1u << 16;
  std::uint64_t file_bytes = 256ull << 30;    // apparent size of one file
};

enum class Type : std::uint8_t { kFile, kHardLink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };

struct Entry {
  Type type = Type::kFile;
  std::string name;       // as in the archive, bytes kept; not cleaned
  std::string link;       // of links
  std::uint32_t mode = 0; // low 12 bits
  std::uint32_t uid = 0, gid = 0;
  std::int64_t mtime_seconds = 0;   // clamped to [0, 9223372036]
  std::uint32_t mtime_nanos = 0;
  std::uint64_t size = 0;           // apparent size of a file's contents; 0 for all else
  std::uint32_t dev_major = 0, dev_minor = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;  // SCHILY.xattr.*, full names, order of the archive
  // Sparse files: data lies only in these (offset, length) segments, ascending, within size. Empty and !sparse: dense.
  bool sparse = false;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> segments;
  std::uint64_t header_offset = 0;  // in the archive, for errors
};

class Handler {
 public:
  virtual ~Handler() = default;
  virtual Result<> OnEntry(const Entry& entry) = 0;
  // Contents of the file of the last OnEntry. `offset` is its place in the file; calls ascend.
  virtual Result<> OnData(std::uint64_t offset, bytes::View data) = 0;
  // After the last byte of a file (also of an empty one); not called for other types.
  virtual Result<> OnFileEnd() = 0;
};

class Reader {
 public:
  explicit Reader(Handler& handler, const Limits& limits = {});
  ~Reader();
  Result<> Feed(bytes::View piece);
  // The input ended. An error when it ended inside an entry; a missing end-of-archive marker is fine.
  Result<> Finish();
  std::uint64_t entries() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::tar
