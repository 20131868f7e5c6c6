// A descriptor that is read is written again byte by byte; anything else is kCorrupt. Checksums are mended first, or the
// fuzzer would never get behind them.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "codec/crc32c.h"
#include "digest/digest.h"
#include "layer/descriptor.h"
#include "layer/fit.h"

namespace {

void Require(bool truth) {
  if (!truth) std::abort();
}

std::uint64_t Number(const std::string& file, std::size_t at) {
  std::uint64_t value = 0;
  std::memcpy(&value, file.data() + at, sizeof value);
  return value;
}

void Mend(std::string& file) {
  using namespace berth;
  const std::size_t footer = file.size() - layer::kFooterBytes;
  const std::uint64_t image = Number(file, footer + 16), json = Number(file, footer + 24), fixups = Number(file, footer + 32);
  if (image > footer || json > footer - image || fixups > footer - image - json) return;
  const bytes::View all = bytes::AsView(file);
  const std::uint32_t crcs[] = {codec::Crc32c(all.subspan(image + json, fixups)),
                                codec::Crc32c(all.subspan(image + json + fixups, footer - image - json - fixups))};
  std::memcpy(file.data() + footer + 48, crcs, sizeof crcs);
  const std::string hashed = file.substr(footer, 64) + file.substr(image, json);
  const digest::Digest sum = digest::Digest::Of(bytes::AsView(hashed));
  std::memcpy(file.data() + footer + 64, sum.raw().data(), 32);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  using namespace berth::layer;
  std::string file(reinterpret_cast<const char*>(data), size);
  if (size >= kFooterBytes) Mend(file);
  const auto descriptor = DecodeDescriptor(bytes::AsView(file));
  if (!descriptor) {
    Require(descriptor.error().reason() == Reason::kCorrupt);
  } else {
    Require(EncodeDescriptor(*descriptor) == file.substr(descriptor->image_bytes));
    if (const auto report = UnpackReport::FromJson(descriptor->json)) {
      const auto again = UnpackReport::FromJson(report->ToJson());
      Require(again && *again == *report);
    }
    if (const auto report = VariantReport::FromJson(descriptor->json)) {
      const auto again = VariantReport::FromJson(report->ToJson());
      Require(again && *again == *report);
    }
  }
  // Fixups on a small tree: a directory, two files.
  erofs::Tree tree;
  for (const auto& [name, mode] : {std::pair("", 0040755), std::pair("d", 0040755), std::pair("e", 0100644), std::pair("f", 0100644)}) {
    erofs::Node& n = tree.nodes.emplace_back();
    n.name = name;
    n.mode = static_cast<std::uint16_t>(mode);
  }
  const bytes::View input = std::as_bytes(std::span(data, size));
  if (const auto fixups = DecodeFixups(input, tree)) {
    Require(EncodeFixups(*fixups, tree, erofs::ChildrenByName(tree)) == bytes::AsText(input));
  }
  return 0;
}
