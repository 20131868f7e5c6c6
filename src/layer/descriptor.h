// layer/descriptor.h: the trailer of a .meta file: all that the catalog knows about a layer, in the layer's own file.
//
//   EROFS image | JSON (UnpackReport, or a variant's) | fixups | CRC32Cs | footer
//
// CRC32Cs: of each MiB of the data file; in tree form of each file's contents (FilesInOrder in tree_check.h), none at
// all where an older version wrote the tree.
//
// The kernel reads the image and never looks behind it. The footer is 96 bytes at the end of the file: magic "BERTHLYR",
// version, the four lengths, CRC32C of fixups and of CRCs, SHA-256 of these 64 bytes and the JSON; all
// numbers little-endian. A cut or mixed-up file is noticed. The catalog can be rebuilt from these files alone (reliability-security 5.4, E-12).
// Reading is strict (kCorrupt): our own worker wrote it, but it had hostile bytes in its hands.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bytes/bytes.h"
#include "digest/digest.h"
#include "layer/report.h"
#include "result/result.h"

namespace berth::layer {

inline constexpr std::uint32_t kDescriptorVersion = 1;
inline constexpr std::uint64_t kFooterBytes = 96;

struct Descriptor {
  std::string json;                 // UnpackReport or VariantReport
  std::string fixups;               // EncodeFixups
  std::vector<std::uint32_t> crcs;  // empty for variants
  std::uint64_t image_bytes = 0;    // where it begins
  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

// The bytes that follow the image.
std::string EncodeDescriptor(const Descriptor& descriptor);

// kJson leaves fixups and CRCs unread: for listings.
enum class Parts : std::uint8_t { kJson, kAll };
// Of a whole .meta file in memory, or by a descriptor open for reading.
Result<Descriptor> DecodeDescriptor(bytes::View file);
Result<Descriptor> ReadDescriptor(int meta_fd, Parts parts);

}  // namespace berth::layer
