// Damage is found or harmless, and costs no more than the image is large; names are found as the header says.
#include "erofs/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "erofs/format.h"
#include "erofs/testing/tree_builder.h"
#include "erofs/writer.h"

namespace berth::erofs {
namespace {

using ::testing::HasSubstr;
using testing::Listing;
using testing::SetXattr;
using testing::TreeBuilder;
using Image = std::vector<std::byte>;

void Build(TreeBuilder& b) {
  b.Directory("d");
  b.Directory("d/e");
  b.File("d/f", 5000, 4096);
  b.Hard("g", "d/f");
  b.Link("l", "target");
  b.Link("long", std::string(4090, 'l'));
  b.Sparse("s", 20'000, {{4096, 0, 4096}});
  b.Device("c", S_IFCHR, 1, 3);
  SetXattr(b.File("x", 1), "user.name", "value");
}

Image Small() {
  TreeBuilder b;
  Build(b);
  auto image = WriteImage(b.tree, {.device_bytes = {1u << 20, 1u << 16}});
  BERTH_CHECK(image.has_value());
  return *std::move(image);
}

void Seal(Image& image) {
  auto super = format::Load<format::SuperBlock>(image, format::kSuperOffset);
  super.checksum = format::Checksum(image);
  format::Store(bytes::MutableView(image), format::kSuperOffset, super);
}

std::uint64_t RootAt(const Image& image) {
  return format::Load<format::SuperBlock>(image, format::kSuperOffset).root_nid * format::kSlot;
}

// Where the inode of a name in the root is.
std::uint64_t InodeAt(const Image& image, std::string_view name) {
  const std::uint64_t root = RootAt(image), data = root + sizeof(format::Inode);
  const std::string_view text = bytes::AsText(image);
  const std::size_t entries = format::Load<format::Dirent>(image, data).name_offset / sizeof(format::Dirent);
  for (std::size_t i = 0; i < entries; ++i) {
    const auto entry = format::Load<format::Dirent>(image, data + i * sizeof(format::Dirent));
    if (text.substr(data + entry.name_offset).starts_with(name)) return entry.nid * format::kSlot;
  }
  ADD_FAILURE() << "no name in the root begins with " << name;
  return 0;
}

// The first slot from `at` on that holds an inode `wanted`.
std::uint64_t InodeAtSlot(const Image& image, bool (*wanted)(const format::Inode&), std::uint64_t at) {
  while (!wanted(format::Load<format::Inode>(image, at))) at += format::kSlot;
  return at;
}

TEST(Reader, EveryFlippedByteIsFoundOrHarmless) {
  const Image image = Small();
  std::size_t refused = 0;
  for (const unsigned flip : {0x01u, 0x80u, 0xffu}) {
    for (std::size_t at = 0; at < image.size(); ++at) {
      Image damaged = image;
      damaged[at] ^= static_cast<std::byte>(flip);
      if (at < format::kBlock) Seal(damaged);  // else it would hide behind its checksum
      const auto read = ReadMetadata(damaged);
      if (read) {
        EXPECT_FALSE(read->tree.nodes.empty());
      } else {
        ++refused;
        EXPECT_TRUE(read.error().reason() == Reason::kCorrupt || read.error().reason() == Reason::kUnsupported) << at;
      }
    }
  }
  EXPECT_GT(refused, 1000u);
}

TEST(Reader, EveryFlippedByteOfTheFirstBlockIsFoundByTheChecksum) {
  const Image image = Small();
  for (std::size_t at = format::kSuperOffset; at < format::kBlock; ++at) {
    Image damaged = image;
    damaged[at] ^= std::byte{0x10};
    const auto read = ReadMetadata(damaged);
    ASSERT_FALSE(read) << at;
    EXPECT_EQ(read.error().reason(), Reason::kCorrupt);
  }
}

TEST(Reader, CutOffAnywhereIsFound) {
  const Image image = Small();
  for (std::size_t bytes = 0; bytes < image.size(); bytes += 61) {
    const auto read = ReadMetadata(bytes::View(image).first(bytes));
    ASSERT_FALSE(read) << bytes;
    EXPECT_EQ(read.error().reason(), Reason::kCorrupt);
    EXPECT_FALSE(read.error().next_step().empty());
  }
}

TEST(Reader, BytesBehindTheImageAreIgnored) {
  Image image = Small();
  const std::size_t bytes = image.size();
  image.resize(bytes + 5000, std::byte{0xaa});
  const auto read = ReadMetadata(image);
  ASSERT_TRUE(read) << read.error().Text();
  EXPECT_EQ(read->image_bytes, bytes);
}

struct Damaged {
  std::string row;
  std::function<void(Image&)> damage;
  std::string says;
  Reason reason = Reason::kCorrupt;
};
void PrintTo(const Damaged& d, std::ostream* out) { *out << d.row; }

class DamagedRows : public ::testing::TestWithParam<Damaged> {};

TEST_P(DamagedRows, SayWhat) {
  Image image = Small();
  ASSERT_TRUE(ReadMetadata(image));
  GetParam().damage(image);
  Seal(image);
  const auto read = ReadMetadata(image);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().reason(), GetParam().reason) << read.error().Text();
  EXPECT_THAT(read.error().Text(), HasSubstr(GetParam().says));
}

template <class T, class Change>
std::function<void(Image&)> Edit(std::function<std::uint64_t(const Image&)> where, Change change) {
  return [=](Image& image) {
    const std::uint64_t at = where(image);
    T value = format::Load<T>(image, at);
    change(value, image);
    format::Store(bytes::MutableView(image), at, value);
  };
}
template <class Change>
std::function<void(Image&)> Super(Change change) {
  return Edit<format::SuperBlock>([](const Image&) { return format::kSuperOffset; },
                                  [=](format::SuperBlock& s, const Image&) { change(s); });
}
template <class Change>
std::function<void(Image&)> InodeOf(std::string name, Change change) {
  return Edit<format::Inode>([=](const Image& image) { return name.empty() ? RootAt(image) : InodeAt(image, name); },
                             [=](format::Inode& inode, const Image&) { change(inode); });
}
// The n-th entry of the root: "." ".." "c" "d" "g" "l" "long" "s" "x".
template <class Change>
std::function<void(Image&)> Entry(std::uint64_t number, Change change) {
  return Edit<format::Dirent>(
      [=](const Image& image) { return RootAt(image) + sizeof(format::Inode) + number * sizeof(format::Dirent); }, change);
}

std::vector<Damaged> DamagedTable() {
  using format::Dirent;
  return {
      {"magic", Super([](auto& s) { s.magic ^= 1; }), "no EROFS superblock"},
      {"checksum_off", Super([](auto& s) { s.compat = 2; }), "checksum"},
      {"later_features", Super([](auto& s) { s.incompat |= 1; }), "does not know", Reason::kUnsupported},
      {"other_blocks", Super([](auto& s) { s.block_bits = 9; }), "does not know", Reason::kUnsupported},
      {"no_blocks", Super([](auto& s) { s.blocks = 0; }), "shorter"},
      {"more_blocks", Super([](auto& s) { ++s.blocks; }), "shorter"},
      {"fewer_blocks", Super([](auto& s) { s.blocks = 1; }), "outside"},
      {"device_table_outside", Super([](auto& s) { s.device_slot = 0xffff; }), "device table"},
      {"devices_outside", Super([](auto& s) { s.devices = 0xffff; }), "device table"},
      {"root_outside", Super([](auto& s) { s.root_nid = 0xffff; }), "outside"},
      {"metadata_elsewhere", Super([](auto& s) { s.meta_block = ~0u; }), "outside"},
      {"count_of_inodes", Super([](auto& s) { ++s.inodes; }), "number of inodes"},
      {"root_a_file", InodeOf("", [](auto& i) { i.mode = S_IFREG; }), "root"},
      {"root_links", InodeOf("", [](auto& i) { ++i.links; }), "link count"},
      {"file_links_more", InodeOf("g", [](auto& i) { ++i.links; }), "link count"},
      {"file_links_one", InodeOf("g", [](auto& i) { i.links = 1; }), "more names than links"},
      {"file_links_none", InodeOf("x", [](auto& i) { i.links = 0; }), "link count"},
      {"layout_compressed", InodeOf("g", [](auto& i) { i.format = 1 | 3 << 1; }), "layout"},
      {"layout_later", InodeOf("g", [](auto& i) { i.format |= 0x10; }), "layout"},
      {"type_none", InodeOf("x", [](auto& i) { i.mode = 0644; }), "type"},
      {"type_other", InodeOf("x", [](auto& i) { i.mode = S_IFIFO; }), ""},
      {"nanos", InodeOf("x", [](auto& i) { i.mtime_nanos = 1'000'000'000; }), "time"},
      {"size_2_63", InodeOf("s", [](auto& i) { i.size = 1ull << 63; }), "size"},
      {"size_2_63_less_1", InodeOf("s", [](auto& i) { i.size = (1ull << 63) - 1; }), "outside of the image"},
      {"directory_size_huge", InodeOf("", [](auto& i) { i.size = 1ull << 60; }), ""},
      {"directory_chunked", InodeOf("d", [](auto& i) { i.format = 1 | 4 << 1; }), "layout"},
      {"device_with_contents", InodeOf("c", [](auto& i) { i.size = 1; }), "contents"},
      {"target_empty", InodeOf("l", [](auto& i) { i.size = 0; }), "target"},
      {"target_long", InodeOf("l", [](auto& i) { i.size = 4096; }), "target"},
      {"target_outside", InodeOf("long", [](auto& i) { i.block = 0xfffffff0; }), "outside"},
      {"contents_inside", InodeOf("x", [](auto& i) { i.format = 1; }), "in the image itself"},
      {"chunk_format", InodeOf("s", [](auto& i) { i.block |= 0x40; }), "chunk format"},
      {"chunk_without_index", InodeOf("s", [](auto& i) { i.block &= 0x1f; }), "chunk format"},
      {"xattrs_outside", InodeOf("x", [](auto& i) { i.xattr_count = 0xffff; }), "outside"},
      {"xattrs_header_only", InodeOf("x", [](auto& i) { i.xattr_count = 1; }), "empty xattr"},
      {"xattrs_cut", InodeOf("x", [](auto& i) { --i.xattr_count; }), "xattr"},
      {"dot_elsewhere", Entry(0, [](Dirent& e, const Image&) { ++e.nid; }), "itself"},
      {"dots_elsewhere", Entry(1, [](Dirent& e, const Image&) { ++e.nid; }), "parent"},
      {"dots_a_file", Entry(1, [](Dirent& e, const Image&) { e.type = 1; }), "parent"},
      {"entry_outside", Entry(2, [](Dirent& e, const Image&) { e.nid = ~0ull; }), "outside"},
      {"entry_far", Entry(2, [](Dirent& e, const Image&) { e.nid = 1ull << 59; }), "outside"},
      {"entry_type", Entry(2, [](Dirent& e, const Image&) { e.type = 1; }), "type"},
      {"link_type", Entry(4, [](Dirent& e, const Image&) { e.type = 7; }), "type"},
      {"cycle", Entry(3, [](Dirent& e, const Image& image) { e.nid = RootAt(image) / format::kSlot; }), "more names than links"},
      {"directory_twice",
       Entry(4, [](Dirent& e, const Image& image) { e.nid = InodeAt(image, "d") / format::kSlot; e.type = 2; }), "more names than links"},
      {"first_name_offset", Entry(0, [](Dirent& e, const Image&) { e.name_offset = 0; }), "damaged"},
      {"first_name_offset_odd", Entry(0, [](Dirent& e, const Image&) { ++e.name_offset; }), "damaged"},
      {"first_name_offset_far", Entry(0, [](Dirent& e, const Image&) { e.name_offset = 12 * 5000; }), "damaged"},
      {"name_backwards", Entry(3, [](Dirent& e, const Image&) { e.name_offset = 12; }), "names are damaged"},
      {"name_empty", Entry(3, [](Dirent& e, const Image&) { ++e.name_offset; }), "none"},
      {"name_far", Entry(3, [](Dirent& e, const Image&) { e.name_offset = 60'000; }), "damaged"},
      {"not_sorted", [](Image& image) {
         const std::uint64_t names = RootAt(image) + sizeof(format::Inode) + 9 * sizeof(Dirent);
         image[names + 3] = std::byte{'z'};  // "c"
       }, "sorted"},
      {"slash_in_a_name", [](Image& image) {
         const std::uint64_t names = RootAt(image) + sizeof(format::Inode) + 9 * sizeof(Dirent);
         image[names + 3] = std::byte{'/'};
       }, "none"},
  };
}
INSTANTIATE_TEST_SUITE_P(Rows, DamagedRows, ::testing::ValuesIn(DamagedTable()), [](const auto& row) { return row.param.row; });

TEST(Reader, PartsThatAreSharedAreRefusedBeforeTheyMultiply) {
  TreeBuilder b;
  b.Link("0", std::string(4090, 'l'));
  for (int i = 1; i < 1000; ++i) b.Link(std::to_string(i), "marked!");
  auto image = WriteImage(b.tree, {});
  ASSERT_TRUE(image);
  ASSERT_LT(image->size(), 200u * 1024);
  // Every link says that its target is the one block of the first: 4 MB out of 0.2.
  const auto first = format::Load<format::Inode>(*image, InodeAtSlot(*image, [](const format::Inode& i) { return i.size == 4090; }, 0));
  for (std::uint64_t at = 0, count = 0; count < 999; ++count) {
    at = InodeAtSlot(*image, [](const format::Inode& i) { return i.mode == (S_IFLNK | 0777) && i.size == 7; }, at);
    format::Store(bytes::MutableView(*image), at, first);
  }
  Seal(*image);
  const auto read = ReadMetadata(*image);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().Text(), HasSubstr("overlap"));
}

TEST(Reader, CompactInodes) {
  TreeBuilder b;
  b.File("f", 4096, 0).uid = 7;
  auto image = WriteImage(b.tree, {.device_bytes = {4096}});
  ASSERT_TRUE(image);
  const std::uint64_t at = InodeAt(*image, "f");
  const auto inode = format::Load<format::Inode>(*image, at);
  const auto chunk = format::Load<format::ChunkIndex>(*image, at + sizeof inode);
  format::CompactInode compact{};
  compact.format = format::kChunked << 1;
  compact.mode = inode.mode;
  compact.links = 1;
  compact.size = 4096;
  compact.block = inode.block;
  compact.uid = 7;
  format::Store(bytes::MutableView(*image), at, compact);
  format::Store(bytes::MutableView(*image), at + sizeof compact, chunk);
  auto super = format::Load<format::SuperBlock>(*image, format::kSuperOffset);
  super.build_seconds = 1'700'000'000;
  format::Store(bytes::MutableView(*image), format::kSuperOffset, super);
  Seal(*image);
  const auto read = ReadMetadata(*image);
  ASSERT_TRUE(read) << read.error().Text();
  EXPECT_EQ(Listing(read->tree), Listing(b.tree));
}

TEST(PathIndex, FindsInodes) {
  TreeBuilder b;
  Build(b);
  b.File("gone").removed = true;
  b.File("gone", 3, 0);
  b.Directory("old").removed = true;
  b.File("old/f");
  ASSERT_TRUE(WriteImage(b.tree, {.device_bytes = {1u << 20, 1u << 16}}));
  const PathIndex index(b.tree);
  const auto place = [&](std::string_view path) -> int {
    const Node* const node = index.Find(path);
    return node == nullptr ? -1 : static_cast<int>(node - b.tree.nodes.data());
  };
  const auto at = [&](const std::string& path) { return static_cast<int>(b.Place(path)); };
  struct Row {
    const char* path;
    int place;
  };
  for (const Row& row : {Row{"", 0}, Row{"/", 0}, Row{"d", at("d")}, Row{"d/f", at("d/f")}, Row{"/d//f/", at("d/f")},
                         Row{"g", at("d/f")}, Row{"l", at("l")}, Row{"c", at("c")}, Row{"gone", at("gone")},
                         Row{"l/x", -1}, Row{"d/f/x", -1}, Row{"d/..", -1}, Row{"./d", -1}, Row{"..", -1}, Row{"D", -1},
                         Row{"d/ff", -1}, Row{"old", -1}, Row{"old/f", -1}, Row{"zzz", -1}, Row{"\x01", -1}}) {
    EXPECT_EQ(place(row.path), row.place) << row.path;
  }
  EXPECT_EQ(PathIndex(Tree{}).Find(""), nullptr);
}

TEST(PathIndex, FindsEveryNameOfALargeTree) {
  TreeBuilder b;
  std::vector<std::string> paths;
  for (int i = 0; i < 50; ++i) {
    const std::string folder = "folder" + std::to_string(i * 37 % 50);
    b.Directory(folder);
    for (int j = 0; j < 60; ++j) {
      paths.push_back(folder + "/" + std::string(static_cast<std::size_t>(j % 13), 'p') + std::to_string(j * 11 % 60));
    }
  }
  for (const std::string& path : paths) b.File(path);
  const PathIndex index(b.tree);
  for (const std::string& path : paths) EXPECT_EQ(index.Find(path), &b.At(path)) << path;
}

TEST(CopyInode, CopiesAllButThePlace) {
  TreeBuilder b;
  Node& node = b.Sparse("f", 20'000, {{4096, 0, 4096}});
  SetXattr(node, "user.a", "b");
  node.uid = 3;
  node.gid = 4;
  node.mtime_nanos = 5;
  node.links = 9;
  TreeBuilder copy;
  Node& copied = copy.Add("f", 0);
  copied = CopyInode(node, 2);
  copied.name = "f";
  EXPECT_EQ(copied.device, 2);
  EXPECT_EQ(copied.links, 1u);
  copied.device = 0;
  copied.links = 9;
  EXPECT_EQ(Listing(copy.tree), Listing(b.tree));
  EXPECT_NE(copied.xattrs.get(), node.xattrs.get());
}

}  // namespace
}  // namespace berth::erofs
