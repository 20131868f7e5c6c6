// Any bytes give an error or a tree; a tree is one: it can be written again (or passes a limit), what is written reads
// as the same tree, and every name in it is found.
#include <cstdlib>
#include <cstring>

#include "erofs/format.h"
#include "erofs/reader.h"
#include "erofs/testing/tree_builder.h"
#include "erofs/writer.h"

namespace {

void Require(bool truth) {
  if (!truth) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  using namespace berth::erofs;
  // The first kilobyte means nothing and a fuzzer does not guess checksums: the input starts with the superblock.
  if (size > (64u << 10)) return 0;
  std::vector<std::byte> image(format::RoundUp(format::kSuperOffset + size, format::kBlock));
  if (size != 0) std::memcpy(image.data() + format::kSuperOffset, data, size);
  auto super = format::Load<format::SuperBlock>(image, format::kSuperOffset);
  super.checksum = format::Checksum(image);
  format::Store(bytes::MutableView(image), format::kSuperOffset, super);

  auto read = ReadMetadata(image);
  if (!read) {
    Require(read.error().reason() == Reason::kCorrupt || read.error().reason() == Reason::kUnsupported);
    return 0;
  }
  const auto before = testing::Listing(read->tree);
  const PathIndex index(read->tree);
  for (const auto& [path, text] : before) Require(index.Find(path) != nullptr);
  WriteOptions options{.image_bytes = 16u << 20};
  for (const std::uint64_t blocks : read->device_blocks) options.device_bytes.push_back(blocks * format::kBlock);
  const auto written = WriteImage(read->tree, options);
  if (!written) {
    Require(written.error().reason() == Reason::kLimitExceeded);
    return 0;
  }
  const auto again = ReadMetadata(*written);
  Require(again.has_value());
  Require(testing::Listing(again->tree) == before);
  return 0;
}
