// Up to eight archives as the layers of one image (reliability-security 4.4, tar_apply_mem): whatever they are, each fits those below it
// or is refused, as the naive model (layer/testing/naive_image.h) says; the result is a tree that can be written and read, a second Fit()
// of it says the same, and all of them, one over the other, are the image that the model has.
#include <sys/stat.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "erofs/reader.h"
#include "erofs/writer.h"
#include "layer/fit.h"
#include "layer/overlay.h"
#include "layer/testing/naive_image.h"
#include "layer/testing/tree_text.h"
#include "tar/testing/tar_builder.h"

namespace {

using berth::layer::testing::NaiveEntry;
using What = NaiveEntry::What;

std::vector<std::vector<NaiveEntry>> g_layers;  // of the input at work

void Require(bool truth) {
  if (truth) return;
  for (std::size_t i = 0; i < g_layers.size(); ++i) {
    static constexpr const char* kWhat[] = {"file", "directory", "symlink", "hard link", "device", "whiteout", "opaque"};
    for (const NaiveEntry& e : g_layers[i])
      std::fprintf(stderr, "layer %zu: %s %s -> %s, %o %u\n", i, kWhat[static_cast<int>(e.what)], e.path.c_str(), e.text.c_str(), e.mode, e.owner);
  }
  std::abort();
}

// A byte each for what, where and to where: small names that meet often.
std::vector<NaiveEntry> Layer(const std::uint8_t*& at, const std::uint8_t* end) {
  static constexpr const char* kPaths[] = {"a", "b", "a/b", "a/c", "b/a", "c", "c/a", "c/b", "a/b/c", "c/d/e", "d", "b/b", "a/d", "d/a", "b/c/d", "e"};
  static constexpr const char* kTargets[] = {"a", "/b", "../c", "b/c", ".", "..", "/", "d/../a"};
  std::vector<NaiveEntry> layer;
  for (; at + 2 < end && *at != 0xff; at += 3) {
    const std::string path = kPaths[at[1] % 16];
    const std::string folder = path.substr(0, path.rfind('/') == path.npos ? 0 : path.rfind('/'));
    const std::uint32_t n = at[2];
    switch (at[0] % 8) {
      case 0: layer.push_back({What::kFile, path, path, n}); break;
      case 1: layer.push_back({What::kDirectory, path, "", n, n}); break;
      case 2: layer.push_back({What::kSymlink, path, n == 0xf8 ? ".wh.a" : n == 0xf9 ? "/b/.wh.c/d" : kTargets[n % 8]}); break;
      case 3: layer.push_back({What::kHardLink, path, kPaths[n % 16], n}); break;
      case 4: layer.push_back({What::kWhiteout, path, ""}); break;
      case 5: layer.push_back({What::kOpaque, folder, ""}); break;
      case 6: layer.push_back({.what = What::kDevice, .path = path, .minor = n}); break;
      default: layer.push_back({.what = What::kDirectory, .path = path, .mode = 0755, .xattr = path}); break;
    }
  }
  if (at < end) ++at;
  return layer;
}
std::string Archive(const std::vector<NaiveEntry>& layer) {
  berth::tar::testing::Builder b;
  for (const NaiveEntry& e : layer) {
    const std::size_t slash = e.path.rfind('/') + 1;
    switch (e.what) {
      case What::kFile: b.File(e.path, e.text).Mode(e.mode); break;
      case What::kDirectory:
        b.Dir(e.path).Mode(e.mode).Uid(e.owner);
        if (!e.xattr.empty()) b.Xattr("user.k", e.xattr);
        break;
      case What::kSymlink: b.Symlink(e.path, e.text); break;
      case What::kHardLink: b.HardLink(e.path, e.text).Mode(e.mode); break;
      case What::kDevice: b.CharDevice(e.path, 1, e.minor).Mode(e.mode); break;
      case What::kWhiteout: b.File(e.path.substr(0, slash) + ".wh." + e.path.substr(slash)); break;
      case What::kOpaque: b.File((e.path.empty() ? "" : e.path + "/") + ".wh..wh..opq"); break;
    }
  }
  return b.Finish();
}

// What overlayfs makes of layers that fit, topmost first, as NaiveImage::Lines().
class Merged {
 public:
  struct Layer {
    const berth::erofs::Tree& tree;
    std::vector<std::string> devices;
  };
  explicit Merged(const std::vector<Layer>& layers) : layers_(layers) {
    std::vector<Place> roots;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      children_.push_back(berth::erofs::ChildrenByName(layers[i].tree));
      roots.push_back({i, 0});
    }
    Show("", roots);
    for (const auto& [path, place] : shown_) {
      const auto& [tree, devices] = layers_[place.first];
      const std::uint32_t inode = tree.Inode(place.second);
      const berth::erofs::Node& n = tree.nodes[inode];
      const std::string& first = first_.try_emplace({place.first, inode}, path).first->second;
      const char type = S_ISDIR(n.mode) ? 'd' : S_ISLNK(n.mode) ? 'l' : S_ISCHR(n.mode) ? 'c' : 'f';
      std::string xattr;
      if (n.xattrs)
        for (const auto& [name, value] : *n.xattrs)
          if (name == "user.k") xattr = value;
      const std::string text = type == 'l'   ? n.link
                               : type == 'f' ? berth::layer::testing::Contents(n, devices)
                               : type == 'c' ? std::to_string(n.rdev_major) + ":" + std::to_string(n.rdev_minor)
                                             : "";
      lines.push_back(berth::layer::testing::NaiveImage::Line(path, type, n.mode & 07777u, n.uid, text, xattr, first));
    }
  }
  std::vector<std::string> lines;

 private:
  using Place = std::pair<std::size_t, std::uint32_t>;  // layer, node
  void Show(const std::string& path, const std::vector<Place>& places) {
    const auto inode = [&](const Place& p) -> const berth::erofs::Node& {
      const berth::erofs::Tree& tree = layers_[p.first].tree;
      return tree.nodes[tree.Inode(p.second)];
    };
    if (berth::layer::IsWhiteout(inode(places[0]))) return;
    shown_[path] = places[0];
    std::map<std::string, std::vector<Place>> names;
    for (const Place& p : places) {
      if (!S_ISDIR(inode(p).mode)) break;
      for (const std::uint32_t child : children_[p.first].Of(p.second))
        if (!layers_[p.first].tree.nodes[child].removed) names[layers_[p.first].tree.nodes[child].name].push_back({p.first, child});
      if (berth::layer::IsOpaque(inode(p))) break;
    }
    for (const auto& [name, below] : names) Show(path.empty() ? name : path + "/" + name, below);
  }

  const std::vector<Layer>& layers_;
  std::vector<berth::erofs::Children> children_;
  std::map<std::string, Place> shown_;
  std::map<Place, std::string> first_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  using namespace berth::layer;
  if (size > 600) return 0;
  const std::uint8_t* at = data;
  std::vector<Built> built;
  std::vector<std::string> contents;
  std::vector<std::vector<std::uint32_t>> devices;
  testing::NaiveImage naive;
  g_layers.clear();
  for (std::uint32_t i = 0; i < 8 && at < data + size; ++i) {
    const std::vector<NaiveEntry>& layer = g_layers.emplace_back(Layer(at, data + size));
    const bool right = naive.Apply(layer);
    testing::MemorySink sink;
    auto made = testing::Build(Archive(layer), sink, {.entries = 1000});
    if (!made) return Require(!right || naive.ambiguous()), 0;
    built.push_back(std::move(*made));
    contents.push_back(sink.data);
    devices.push_back({i});
    std::vector<LowerTree> lowers;
    for (std::uint32_t below = i; below-- > 0;) lowers.push_back({&built[below].tree, devices[below]});
    Built& top = built.back();
    auto fitted = Fit(top.tree, i, top.fixups, lowers);
    if (!fitted) {
      Require(fitted.error().reason() == Reason::kInvalidLayer && (!right || naive.ambiguous()));
      return 0;
    }
    Require(right || naive.ambiguous());
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
  if (built.empty() || naive.ambiguous()) return 0;
  std::vector<Merged::Layer> layers;
  for (std::size_t i = built.size(); i-- > 0;) {
    layers.push_back({built[i].tree, {}});
    for (const std::uint32_t device : devices[i]) layers.back().devices.push_back(contents[device]);
  }
  const Merged merged(layers);
  const std::vector<std::string> expected = naive.Lines();
  for (std::size_t i = 0; i < std::max(expected.size(), merged.lines.size()); ++i) {
    const auto line = [&](const std::vector<std::string>& of) { return i < of.size() ? of[i] : "nothing"; };
    if (line(expected) == line(merged.lines)) continue;
    std::fprintf(stderr, "expected %s\n     got %s\n", line(expected).c_str(), line(merged.lines).c_str());
    Require(false);
  }
  return 0;
}
