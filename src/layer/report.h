// layer/report.h: the words that all of layer/ shares: forms, limits, what an unpack was asked and what it found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bytes/bytes.h"
#include "codec/decoder.h"
#include "digest/digest.h"
#include "result/result.h"
#include "tar/reader.h"

namespace berth::layer {

// kErofs: one data file and one EROFS metadata file. kTree: a directory of files, for machines without EROFS.
enum class Form : std::uint8_t { kErofs, kTree };
std::string_view Name(Form form);  // "erofs", "tree"

// Policy and limits of the tree that an archive may describe (reliability-security 5.12, 3.a). Every limit's error is
// kLimitExceeded and names it.
struct BuildOptions {
  bool char_devices = true;    // 1:3 and the like; 0:0 is refused whatever this says
  bool block_devices = false;
  std::uint64_t entries = 2'000'000;         // nodes, implied directories included
  std::uint64_t unpacked_bytes = 256ull << 30;  // apparent sizes of all files together
  std::uint32_t depth = 1'024;
  std::uint32_t hard_links = 65'000;         // names of one inode: what ext4 has, so that both forms agree
};

struct UnpackOptions {
  digest::Digest blob;  // becomes part of the descriptor; the caller verifies the compressed bytes against it
  digest::Algorithm diff_algorithm = digest::Algorithm::kSha256;  // of the diff ID that is expected
  Form form = Form::kErofs;
  codec::Limits codec;
  tar::Limits tar;
  BuildOptions build;

  std::uint64_t worker_bytes = 96ull << 20;  // memory of the worker, beside a zstd window and 256 bytes for each entry that is allowed

  // What the worker may allocate in all.
  std::uint64_t MemoryLimit() const { return worker_bytes + codec.zstd_window_bytes + 256 * build.entries; }
  // One line of JSON: how they reach the worker.
  std::string ToJson() const;
  static Result<UnpackOptions> FromJson(std::string_view text);
  friend bool operator==(const UnpackOptions& a, const UnpackOptions& b) { return a.ToJson() == b.ToJson(); }
};

// Things that were in the archive, are allowed there, and are not in the result. Counts, for a warning and `explain`.
struct Ignored {
  std::uint64_t xattrs = 0;        // outside the allow-list, or user.* where the kernel has none
  std::uint64_t aufs_entries = 0;  // ".wh..wh.*"
  std::uint64_t replaced = 0;      // entries that a later one of the same name replaced
  friend bool operator==(const Ignored&, const Ignored&) = default;
};

// Attributes of the root directory: what an upper layer without an entry for "/" takes from below.
struct RootAttributes {
  bool implied = true;  // no entry for it in this layer: the other members are the defaults
  std::uint32_t mode = 0755, uid = 0, gid = 0;
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanos = 0;
  bool xattrs = false;
  // Hides all layers below. The kernel ignores the mark on the root of an overlay layer: who mounts leaves them out.
  bool opaque = false;
  friend bool operator==(const RootAttributes&, const RootAttributes&) = default;
};

struct UnpackReport {
  digest::Digest blob, diff_id;
  Form form = Form::kErofs;
  codec::Format format = codec::Format::kPlain;
  std::uint64_t compressed_bytes = 0;    // consumed
  std::uint64_t uncompressed_bytes = 0;  // of the tar stream, all of it
  std::uint64_t entries = 0;             // of the archive
  std::uint64_t nodes = 0;               // of the result
  std::uint64_t unpacked_bytes = 0;      // apparent sizes of all files
  std::uint64_t data_bytes = 0;          // length of the data file
  std::uint64_t image_bytes = 0;         // of the EROFS metadata
  std::uint64_t implied = 0;             // fixups: directories without an entry (the root not counted)
  std::uint64_t outside_links = 0;       // fixups: hard links to files of lower layers
  std::uint32_t image_crc32c = 0;
  RootAttributes root;
  Ignored ignored;

  std::string ToJson() const;
  static Result<UnpackReport> FromJson(std::string_view text);  // strict; kCorrupt
  friend bool operator==(const UnpackReport&, const UnpackReport&) = default;
};

// A layer's image for one chain of lower layers (fit.h).
struct VariantReport {
  digest::Digest blob;                  // of the layer
  std::vector<digest::Digest> devices;  // blob of the layer that owns each data device, in the order of the image
  std::uint64_t image_bytes = 0;
  std::uint32_t image_crc32c = 0;

  std::string ToJson() const;
  static Result<VariantReport> FromJson(std::string_view text);  // strict; kCorrupt
  friend bool operator==(const VariantReport&, const VariantReport&) = default;
};

}  // namespace berth::layer
