// Three archives as the layers of one image: whatever they are, each fits those below it or is refused, the result is a
// tree that can be written and read, and a second Fit() of it says the same.
#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "erofs/reader.h"
#include "erofs/writer.h"
#include "layer/fit.h"
#include "layer/testing/tree_text.h"
#include "tar/testing/tar_builder.h"

namespace {

void Require(bool truth) {
  if (!truth) std::abort();
}

// A byte each for what, where and to where: small names that meet often.
std::string Archive(const std::uint8_t*& at, const std::uint8_t* end) {
  static constexpr const char* kPaths[] = {"a", "b", "a/b", "a/c", "b/a", "c", "c/a", "c/b", "a/b/c", "c/d/e", "d", "b/b", "a/d", "d/a", "b/c/d", "e"};
  static constexpr const char* kTargets[] = {"a", "/b", "../c", "b/c", ".", "..", "/", "d/../a"};
  berth::tar::testing::Builder b;
  for (; at + 2 < end && *at != 0xff; at += 3) {
    const std::string path = kPaths[at[1] % 16];
    const std::size_t slash = path.rfind('/') + 1;
    const std::string marker = path.substr(0, slash) + ".wh." + path.substr(slash);
    switch (at[0] % 8) {
      case 0: b.File(path, path).Mode(at[2]); break;
      case 1: b.Dir(path).Mode(at[2]).Uid(at[2]); break;
      case 2: b.Symlink(path, kTargets[at[2] % 8]); break;
      case 3: b.HardLink(path, kPaths[at[2] % 16]).Mode(at[2]); break;
      case 4: b.File(marker); break;
      case 5: b.File(path.substr(0, slash) + ".wh..wh..opq"); break;
      case 6: b.CharDevice(path, 1, at[2]); break;
      default: b.Dir(path).Mode(0755).Xattr("user.k", path); break;
    }
  }
  if (at < end) ++at;
  return b.Finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  using namespace berth::layer;
  if (size > 600) return 0;
  const std::uint8_t* at = data;
  std::vector<Built> built;
  std::vector<std::string> contents;
  std::vector<std::vector<std::uint32_t>> devices;
  for (std::uint32_t i = 0; i < 3; ++i) {
    testing::MemorySink sink;
    auto made = testing::Build(Archive(at, data + size), sink);
    if (!made) return 0;
    built.push_back(std::move(*made));
    contents.push_back(sink.data);
    devices.push_back({i});
    std::vector<LowerTree> lowers;
    for (std::uint32_t below = i; below-- > 0;) lowers.push_back({&built[below].tree, devices[below]});
    Built& top = built.back();
    auto fitted = Fit(top.tree, i, top.fixups, lowers);
    if (!fitted) {
      Require(fitted.error().reason() == Reason::kInvalidLayer);
      return 0;
    }
    const auto again = Fit(top.tree, i, top.fixups, lowers);
    Require(again && again->has_value() == fitted->has_value());
    if (!*fitted) continue;
    std::vector<std::string> parts;
    std::vector<std::uint64_t> bytes;
    for (const std::uint32_t device : (*fitted)->devices) {
      Require(device <= i);
      parts.push_back(contents[device]);
      bytes.push_back(std::max<std::uint64_t>(contents[device].size(), 4096));
    }
    const auto lines = testing::Describe((*fitted)->tree, parts);
    Require(lines == testing::Describe((*again)->tree, parts));
    const auto image = erofs::WriteImage((*fitted)->tree, {.device_bytes = bytes});
    Require(image.has_value());
    const auto read = erofs::ReadMetadata(*image);
    Require(read.has_value() && CanonicalOrder(read->tree).size() == lines.size() + (lines.empty() || lines[0][0] != '/' ? 1 : 0));
    top.tree = std::move((*fitted)->tree);
    devices.back() = std::move((*fitted)->devices);
  }
  return 0;
}
