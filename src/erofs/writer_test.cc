// What is written is what is read back, for every kind of node; what does not fit the format, or is no tree, is refused.
// Rows named A-nn are those of reliability-security 3.a.
#include "erofs/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "erofs/format.h"
#include "erofs/reader.h"
#include "erofs/testing/tree_builder.h"

namespace berth::erofs {
namespace {

using ::testing::HasSubstr;
using testing::Listing;
using testing::SetXattr;
using testing::TreeBuilder;

constexpr std::uint64_t kMiB = 1u << 20, kGiB = 1u << 30, kTiB = kGiB << 10;

WriteOptions Devices(std::vector<std::uint64_t> bytes) { return {.device_bytes = std::move(bytes), .uuid = {0xb, 0xe}}; }

// ---- round trips

struct RoundTrip {
  std::string row;
  std::function<void(TreeBuilder&)> build;
  std::vector<std::uint64_t> devices = {64 * kMiB};
};
void PrintTo(const RoundTrip& r, std::ostream* out) { *out << r.row; }

class RoundTrips : public ::testing::TestWithParam<RoundTrip> {};

TEST_P(RoundTrips, GivesTheTreeBackAndTheSameBytesAgain) {
  TreeBuilder b;
  GetParam().build(b);
  const auto image = WriteImage(b.tree, Devices(GetParam().devices));
  ASSERT_TRUE(image) << image.error().Text();
  EXPECT_EQ(image->size() % 4096, 0u);
  auto read = ReadMetadata(*image);
  ASSERT_TRUE(read) << read.error().Text();
  EXPECT_EQ(Listing(read->tree), Listing(b.tree));
  EXPECT_EQ(read->image_bytes, image->size());
  ASSERT_EQ(read->device_blocks.size(), GetParam().devices.size());
  for (std::size_t i = 0; i < read->device_blocks.size(); ++i) EXPECT_EQ(read->device_blocks[i], (GetParam().devices[i] + 4095) / 4096);
  // Another order of the nodes (the reader's), the same image.
  const auto again = WriteImage(read->tree, Devices(GetParam().devices));
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_EQ(*again, *image);
}

std::vector<RoundTrip> RoundTripTable() {
  const auto mode = [](std::uint32_t bits) {
    return [bits](TreeBuilder& b) {
      b.File("f").mode = static_cast<std::uint16_t>(S_IFREG | bits);
      b.Directory("d", bits);
    };
  };
  const auto time = [](std::int64_t seconds, std::uint32_t nanos) {
    return [=](TreeBuilder& b) {
      Node& f = b.File("f");
      f.mtime_seconds = seconds;
      f.mtime_nanos = nanos;
    };
  };
  const auto owner = [](std::uint32_t id) {
    return [id](TreeBuilder& b) { b.File("f").uid = id; b.At("f").gid = id - 1; };
  };
  const auto xattr = [](std::string name, std::string value) {
    return [=](TreeBuilder& b) {
      SetXattr(b.File("f", 5), name, value);
      SetXattr(b.Directory("d"), name, value);
      SetXattr(b.Link("l", "target"), name, value);
      SetXattr(b.tree.nodes[0], name, value);
    };
  };
  const auto target = [](std::size_t bytes) { return [=](TreeBuilder& b) { b.Link("l", std::string(bytes, 't')); }; };
  const auto dense = [](std::uint64_t size, std::uint64_t at) { return [=](TreeBuilder& b) { b.File("f", size, at); }; };
  const auto names = [](std::size_t count, std::size_t bytes) {
    return [=](TreeBuilder& b) {
      b.Directory("d");
      for (std::size_t i = 0; i < count; ++i) {
        const std::string number = std::to_string(i * 7919 % count);
        b.File("d/" + std::string(bytes - number.size(), 'n') + number);
      }
    };
  };
  return {
      {"root_only", [](TreeBuilder&) {}},
      {"no_devices", [](TreeBuilder& b) { b.File("empty"); b.Link("l", "x"); }, {}},
      {"an_empty_device", [](TreeBuilder& b) { b.File("empty"); }, {0}},
      {"every_kind", [](TreeBuilder& b) {
         b.Directory("d");
         b.File("d/f", 10);
         b.Link("d/l", "f");
         b.Device("d/c", S_IFCHR, 1, 3);
         b.Device("d/b", S_IFBLK, 8, 0);
         b.Add("d/p", S_IFIFO | 0600);
         b.Add("d/s", S_IFSOCK | 0600);
       }},
      {"A-50_device_numbers", [](TreeBuilder& b) {
         b.Device("a", S_IFCHR, 0xfff, 0xfffff);
         b.Device("b", S_IFBLK, 259, 0x12345);
         b.Device("c", S_IFCHR, 0xfff, 0);
         b.Device("d", S_IFCHR, 0, 0xff00);
       }},
      {"A-52_whiteout_and_opaque", [](TreeBuilder& b) {
         b.Device("gone", S_IFCHR, 0, 0);
         SetXattr(b.Directory("d"), "trusted.overlay.opaque", "y");
       }},
      {"A-67_modes_7777", mode(07777)},
      {"modes_0", mode(0)},
      {"A-66_uid_4294967294", owner(4294967294u)},
      {"A-66_uid_2147483648", owner(2147483648u)},
      {"A-69_before_1970", time(-1, 999'999'999)},
      {"A-69_year_1", time(-62'135'596'800, 1)},
      {"A-69_clamped", time(9'223'372'036, 0)},
      {"A-69_last_second", time(std::numeric_limits<std::int64_t>::max(), 5)},
      {"A-13_bytes_that_are_no_text", [](TreeBuilder& b) { b.Directory("\xff\xfe\x80"); b.File("\xff\xfe\x80/\x01\x7f\xc3"); }},
      {"A-20_both_spellings", [](TreeBuilder& b) { b.File("\xc3\xa9"); b.File("e\xcc\x81"); }},
      {"A-21_names_around_the_dots", [](TreeBuilder& b) {
         for (const char* name : {" ", "!", "-rf", "-", "...", ".a", "..a", "*", "~", "$(x)", "%s%n", "\\", "C:", "CON", "+", "\x01"}) {
           b.File(name);
         }
       }},
      {"A-14_name_of_255", names(1, 255)},
      {"one_block_exactly", [](TreeBuilder& b) {  // 13 + 14 + 270 * 15 + 19
         for (int i = 100; i < 370; ++i) b.File(std::to_string(i));
         b.File("longer!");
       }},
      {"one_block_and_a_byte", [](TreeBuilder& b) {
         for (int i = 100; i < 370; ++i) b.File(std::to_string(i));
         b.File("longer!!");
       }},
      {"names_that_fill_blocks", names(3000, 255)},
      {"names_short", names(3000, 4)},
      {"deep", [](TreeBuilder& b) {
         std::string path = "0";
         b.Directory(path);
         for (int i = 1; i < 300; ++i) b.Directory(path += "/" + std::to_string(i));
         b.File(path + "/f", 1);
       }},
      {"a_parent_after_its_child", [](TreeBuilder& b) {
         b.Directory("later");
         b.File("later/f", 3);
         std::swap(b.tree.nodes[1], b.tree.nodes[2]);
         b.tree.nodes[1].parent = 2;
       }},
      {"A-42_hard_links", [](TreeBuilder& b) {
         b.Directory("d");
         b.File("d/a", 9);
         b.Hard("b", "d/a");
         b.Hard("d/0", "d/a");
         b.Link("l", "target");
         b.Hard("l2", "l");
         b.Device("c", S_IFCHR, 5, 1);
         b.Hard("c2", "c");
       }},
      {"A-49_70000_hard_links", [](TreeBuilder& b) {
         b.File("a", 9);
         for (int i = 0; i < 70'000; ++i) b.Hard("l" + std::to_string(i), "a");
       }},
      {"A-48_hard_link_of_a_removed_name", [](TreeBuilder& b) {
         b.File("a", 9).removed = true;
         b.File("a", 7);
         b.tree.nodes.emplace_back();
         b.tree.nodes.back().name = "b";
         b.tree.nodes.back().hard_link = 1;
       }},
      {"removed_folder", [](TreeBuilder& b) {
         b.Directory("d");
         b.Directory("d/e");
         b.File("d/e/a", 9);
         b.Hard("kept", "d/e/a");
         b.File("d/f", 1);
         b.At("d").removed = true;
         b.File("d", 4);
       }},
      {"links_of_0", [](TreeBuilder& b) { b.File("a").removed = true; }},
      {"target_1", target(1)},
      {"target_fills_the_block", target(4096 - 64)},
      {"target_has_a_block_of_its_own", target(4096 - 63)},
      {"target_4095", target(4095)},
      {"file_0", dense(0, 0)},
      {"file_1", dense(1, 4096)},
      {"file_4096", dense(4096, 8192)},
      {"file_4097", dense(4097, 8192)},
      {"file_to_the_end", dense(64 * kMiB - 4096, 4096)},
      {"file_5GiB", dense(5 * kGiB + 1, 7 * kGiB + 4096), {16 * kGiB}},
      {"file_16TiB", dense(16 * kTiB - 4096, 0), {16 * kTiB - 4096}},
      {"last_block_of_16TiB", dense(1, 16 * kTiB - 8192), {16 * kTiB - 4096}},
      {"device_not_whole_blocks", dense(4097, 0), {4097}},
      {"three_devices", [](TreeBuilder& b) {
         for (std::uint16_t i = 0; i < 3; ++i) b.File(std::to_string(i), 5000, 4096u * i).device = i;
       }, {kMiB, 2 * kMiB, 3 * kMiB}},
      {"40_devices", [](TreeBuilder& b) { b.File("f", 4096).device = 39; }, std::vector<std::uint64_t>(40, 4096)},
      {"sparse_hole_only", [](TreeBuilder& b) { b.Sparse("f", 3 * kGiB + 5, {}); }},
      {"sparse_in_the_middle", [](TreeBuilder& b) { b.Sparse("f", kMiB, {{64 * 1024, 4096, 4096}}); }},
      {"sparse_end", [](TreeBuilder& b) { b.Sparse("f", kMiB + 5, {{kMiB, 4096, 5}}); }},
      {"sparse_trailing_hole", [](TreeBuilder& b) { b.Sparse("f", kMiB, {{0, 4096, 4096}}); }},
      {"sparse_touching_in_the_file_only", [](TreeBuilder& b) { b.Sparse("f", 12288, {{0, 8192, 4096}, {4096, 4096, 4096}}); }},
      {"A-95_sparse_large", [](TreeBuilder& b) {
         b.Sparse("f", 200 * kGiB, {{0, 0, 16 * kMiB}, {64 * kMiB, 16 * kMiB, 16 * kMiB}});
       }},
      {"xattr_user", xattr("user.x", "value")},
      {"xattr_empty_value", xattr("user.empty", "")},
      {"xattr_trusted", xattr("trusted.x", std::string("\0\xff", 2))},
      {"xattr_capability", xattr("security.capability", std::string("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20))},
      {"xattr_acl_access", xattr("system.posix_acl_access", "\x02")},
      {"xattr_acl_default", xattr("system.posix_acl_default", "\x02")},
      {"xattr_lustre", xattr("lustre.lov", "x")},
      {"xattr_without_a_place", xattr("system.nfs4_acl", "x")},
      {"xattr_acl_with_more", xattr("system.posix_acl_access2", "x")},
      {"xattr_without_a_dot", xattr("com", "x")},
      {"xattr_foreign", xattr("com.apple.provenance", "x")},
      {"xattr_4000", xattr("user.x", std::string(4000, 'x'))},
      {"xattr_65535", xattr("user.x", std::string(65535, 'x'))},
      {"xattr_name_255", xattr("user." + std::string(255, 'x'), "v")},
      {"xattrs_to_the_limit", [](TreeBuilder& b) {
         Node& f = b.File("f", 1);
         for (int i = 0; i < 3; ++i) SetXattr(f, "user." + std::to_string(i), std::string(65535 - 4, 'x'));
         SetXattr(f, "user.3", std::string(262148 - 12 - 3 * (4 + 1 + 65535 - 4) - 4 - 1, 'x'));
       }},
      {"tails_that_leave_gaps", [](TreeBuilder& b) {
         for (int i = 0; i < 200; ++i) {
           b.Link("l" + std::to_string(i), std::string(static_cast<std::size_t>(1 + i * 37 % 3000), 'x'));
           b.File("f" + std::to_string(i), 1);
         }
       }},
  };
}
INSTANTIATE_TEST_SUITE_P(Rows, RoundTrips, ::testing::ValuesIn(RoundTripTable()), [](const auto& row) {
  std::string name = row.param.row;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// ---- refused

struct Refused {
  std::string row;
  std::function<void(TreeBuilder&)> build;
  Reason reason;
  std::string says;
  std::vector<std::uint64_t> devices = {kMiB};
};
void PrintTo(const Refused& r, std::ostream* out) { *out << r.row; }

class RefusedRows : public ::testing::TestWithParam<Refused> {};

TEST_P(RefusedRows, SayWhy) {
  TreeBuilder b;
  GetParam().build(b);
  const auto image = WriteImage(b.tree, Devices(GetParam().devices));
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().reason(), GetParam().reason) << image.error().Text();
  EXPECT_THAT(image.error().Text(), HasSubstr(GetParam().says));
}

std::vector<Refused> RefusedTable() {
  const auto name = [](std::string text) { return [=](TreeBuilder& b) { b.File("f").name = text; }; };
  const auto sparse = [](std::uint64_t size, std::vector<Extent> extents) {
    return [=](TreeBuilder& b) { b.Sparse("f", size, extents); };
  };
  const auto dense = [](std::uint64_t size, std::uint64_t at) { return [=](TreeBuilder& b) { b.File("f", size, at); }; };
  const auto xattr = [](std::string key, std::string value) { return [=](TreeBuilder& b) { SetXattr(b.File("f"), key, value); }; };
  constexpr Reason kLimit = Reason::kLimitExceeded, kDefect = Reason::kInternal;
  return {
      {"A14_name_of_256", name(std::string(256, 'n')), kLimit, "longer than 255"},
      {"A61_value_of_65536", xattr("user.x", std::string(65536, 'v')), kLimit, "65535"},
      {"A62_xattr_name_of_300", xattr("user." + std::string(300, 'n'), ""), kLimit, "255"},
      {"A61_xattrs_in_all", [](TreeBuilder& b) {
         Node& f = b.File("f");
         for (int i = 0; i < 5; ++i) SetXattr(f, "user." + std::to_string(i), std::string(60'000, 'v'));
       }, kLimit, "262148"},
      {"device_16TiB", [](TreeBuilder&) {}, kLimit, "16 TiB", {16 * kTiB - 4095}},
      {"device_most", [](TreeBuilder&) {}, kLimit, "16 TiB", {~0ull}},
      {"devices_too_many", [](TreeBuilder&) {}, kLimit, "too many devices", std::vector<std::uint64_t>(17'000, 0)},
      {"target_4096", [](TreeBuilder& b) { b.Link("l", std::string(4096, 't')); }, kLimit, "4095"},
      {"major", [](TreeBuilder& b) { b.Device("c", S_IFCHR, 4096, 0); }, kLimit, "device number"},
      {"minor", [](TreeBuilder& b) { b.Device("c", S_IFBLK, 0, 1u << 20); }, kLimit, "device number"},
      {"size_2_63", sparse(1ull << 63, {}), kLimit, "2^63"},
      {"sparse_of_too_many_chunks", sparse(kTiB, {{4096, 0, 4096}}), kLimit, "larger than the limit of 1073741824"},
      {"sparse_of_most_chunks", sparse((1ull << 63) - 1, {{4096, 0, 4096}}), kLimit, "larger than the limit"},
      {"name_empty", name(""), kDefect, "no name"},
      {"name_dot", name("."), kDefect, "no name"},
      {"name_dots", name(".."), kDefect, "no name"},
      {"name_slash", name("a/b"), kDefect, "no name"},
      {"name_nul", name(std::string("a\0b", 3)), kDefect, "no name"},
      {"name_twice", [](TreeBuilder& b) { b.File("f"); b.Directory("f"); }, kDefect, "twice"},
      {"no_root", [](TreeBuilder& b) { b.tree.nodes.clear(); }, kDefect, "root"},
      {"root_a_file", [](TreeBuilder& b) { b.tree.nodes[0].mode = S_IFREG; }, kDefect, "root"},
      {"root_removed", [](TreeBuilder& b) { b.tree.nodes[0].removed = true; }, kDefect, "root"},
      {"parent_none", [](TreeBuilder& b) { b.File("f").parent = 9; }, kDefect, "parent"},
      {"parent_a_file", [](TreeBuilder& b) { b.File("f"); b.File("g").parent = 1; }, kDefect, "parent"},
      {"parent_a_hard_link",
       [](TreeBuilder& b) { b.File("f"); b.Hard("h", "f").mode = S_IFDIR; b.File("g").parent = 2; }, kDefect, "parent"},
      {"A47_hard_link_to_itself", [](TreeBuilder& b) { b.File("f").hard_link = 1; }, kDefect, "no inode"},
      {"A47_hard_link_to_a_hard_link",
       [](TreeBuilder& b) { b.File("f"); b.Hard("g", "f"); b.File("h").hard_link = 2; }, kDefect, "no inode"},
      {"A47_hard_link_to_nothing", [](TreeBuilder& b) { b.File("f").hard_link = 7; }, kDefect, "no inode"},
      {"A47_hard_link_to_a_directory", [](TreeBuilder& b) { b.Directory("d"); b.Hard("h", "d"); }, kDefect, "a directory"},
      {"cycle", [](TreeBuilder& b) { b.Directory("d"); b.Directory("d/e"); b.At("d").parent = 2; }, kDefect, "inside itself"},
      {"own_parent", [](TreeBuilder& b) { b.Directory("d").parent = 1; }, kDefect, "inside itself"},
      {"type_none", [](TreeBuilder& b) { b.Add("f", 0644); }, kDefect, "type"},
      {"nanos", [](TreeBuilder& b) { b.File("f").mtime_nanos = 1'000'000'000; }, kDefect, "time"},
      {"target_empty", [](TreeBuilder& b) { b.Link("l", ""); }, kDefect, "symlink"},
      {"target_nul", [](TreeBuilder& b) { b.Link("l", std::string("a\0", 2)); }, kDefect, "symlink"},
      {"A62_xattr_no_name", xattr("", ""), kDefect, "xattr"},
      {"A62_xattr_nul", xattr(std::string("user.a\0b", 8), ""), kDefect, "xattr"},
      {"contents_without_a_device", dense(1, 0), kDefect, "device", {}},
      {"contents_on_the_second_of_one", [](TreeBuilder& b) { b.File("f", 1).device = 1; }, kDefect, "device"},
      {"contents_not_aligned", dense(1, 512), kDefect, "outside of their device"},
      {"contents_outside", dense(8192, kMiB - 4096), kDefect, "outside of their device"},
      {"contents_far_outside", dense(1, ~0ull - 4095), kDefect, "outside of their device"},
      {"extent_not_aligned", sparse(kMiB, {{512, 0, 4096}}), kDefect, "extents"},
      {"extent_behind_the_end", sparse(kMiB, {{kMiB, 0, 4096}}), kDefect, "extents"},
      {"extent_over_the_end", sparse(kMiB, {{kMiB - 4096, 0, 4097}}), kDefect, "extents"},
      {"extent_of_all", sparse(kMiB, {{4096, 0, ~0ull}}), kDefect, "extents"},
      {"extents_overlap", sparse(kMiB, {{0, 0, 4097}, {4096, 0, 4096}}), kDefect, "extents"},
      {"extents_not_in_order", sparse(kMiB, {{8192, 0, 4096}, {0, 0, 4096}}), kDefect, "extents"},
      {"extent_outside", sparse(2 * kMiB, {{0, 0, kMiB + 1}}), kDefect, "outside of their device"},
  };
}
INSTANTIATE_TEST_SUITE_P(Rows, RefusedRows, ::testing::ValuesIn(RefusedTable()), [](const auto& row) { return row.param.row; });

TEST(Writer, NamesFromOutsideAreEscaped) {
  TreeBuilder b;
  b.File("evil\n\x1b[0m").mtime_nanos = 2'000'000'000;
  const auto image = WriteImage(b.tree, {});
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().Text().find('\n'), std::string::npos);
}

TEST(Writer, ImageBytesIsALimit) {
  TreeBuilder b;
  for (int i = 0; i < 1000; ++i) b.File("f" + std::to_string(i));
  auto image = WriteImage(b.tree, {});
  ASSERT_TRUE(image);
  const std::uint64_t bytes = image->size();
  EXPECT_TRUE(WriteImage(b.tree, {.image_bytes = bytes}));
  image = WriteImage(b.tree, {.image_bytes = bytes - 1});
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().reason(), Reason::kLimitExceeded);
}

// ---- shape of the image

struct ChunkRow {
  std::string row;
  std::uint64_t size;
  std::vector<Extent> extents;  // none: dense
  std::uint64_t chunk_bytes;
};
void PrintTo(const ChunkRow& r, std::ostream* out) { *out << r.row; }

class ChunkRows : public ::testing::TestWithParam<ChunkRow> {};

TEST_P(ChunkRows, AreAsLargeAsTheExtentsAllow) {
  TreeBuilder b;
  if (GetParam().extents.empty()) {
    b.File("f", GetParam().size);
  } else {
    b.Sparse("f", GetParam().size, GetParam().extents);
  }
  const auto image = WriteImage(b.tree, Devices({16 * kGiB}));
  ASSERT_TRUE(image) << image.error().Text();
  // The root is the first inode, with one inline tail, and the file is the second.
  const std::uint64_t root = format::Load<format::SuperBlock>(*image, 1024).root_nid * 32;
  const std::uint64_t file = format::RoundUp(root + 64 + format::Load<format::Inode>(*image, root).size, 32);
  const auto inode = format::Load<format::Inode>(*image, file);
  ASSERT_EQ(inode.size, GetParam().size);
  EXPECT_EQ(4096ull << (inode.block & 31), GetParam().chunk_bytes);
}

INSTANTIATE_TEST_SUITE_P(Rows, ChunkRows, ::testing::Values(
    ChunkRow{"one_byte", 1, {}, 4096}, ChunkRow{"one_block", 4096, {}, 4096}, ChunkRow{"two_blocks", 4097, {}, 8192},
    ChunkRow{"odd_blocks", 3 * kMiB + 1, {}, 4 * kMiB}, ChunkRow{"most", 2 * kGiB, {}, 2 * kGiB},
    ChunkRow{"more_than_one", 5 * kGiB, {}, 2 * kGiB},
    ChunkRow{"hole_first", kMiB, {{64 << 10, 0, kMiB - (64 << 10)}}, 64 << 10},
    ChunkRow{"hole_last", kMiB, {{0, 0, 32 << 10}}, 32 << 10},
    ChunkRow{"end_of_file_is_no_bound", kMiB + 4096 + 5, {{kMiB, 0, 4096 + 5}}, kMiB},
    ChunkRow{"the_odd_extent_counts", kMiB, {{0, 0, 512 << 10}, {(768 << 10) + 4096, kMiB, 4096}}, 4096},
    ChunkRow{"joined_extents_are_one", kMiB, {{0, 0, 4096}, {4096, 4096, (512 << 10) - 4096}}, 512 << 10},
    ChunkRow{"touching_extents_are_two", 2 * kMiB, {{0, 0, kMiB}, {kMiB, 4 * kMiB, kMiB}}, kMiB},
    ChunkRow{"empty_extents_do_not_count", kMiB, {{4096, 0, 0}, {512 << 10, 0, 512 << 10}}, 512 << 10}),
  [](const auto& row) { return row.param.row; });

TEST(Writer, SparseAlignmentKeepsIndexAndPaddingSmall) {
  using Segments = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
  EXPECT_EQ(SparseAlignment(0, {}), 4096u);
  EXPECT_EQ(SparseAlignment(4096, Segments{{0, 1}}), 4096u);
  EXPECT_EQ(SparseAlignment(kMiB, Segments{{4096, 4096}}), 4096u);
  EXPECT_EQ(SparseAlignment(256 * kMiB, Segments{{4096, 4096}}), 32u << 10);
  EXPECT_EQ(SparseAlignment(256 * kGiB, Segments{{4096, 4096}}), kMiB);
  EXPECT_EQ(SparseAlignment(256 * kGiB, Segments{{0, kMiB}, {128 * kGiB, 512}, {256 * kGiB - 512, 512}}), kMiB);
  EXPECT_EQ(SparseAlignment(5 * kMiB, Segments{{0, 4096}, {4096, 5 * kMiB - 4096}}), 8 * kMiB) << "what touches is one";
  EXPECT_EQ(SparseAlignment(std::uint64_t{1} << 62, Segments{{4096, 4096}}), 2 * kGiB);
  Segments many;
  for (std::uint64_t i = 0; i < 5000; ++i) many.emplace_back(i * 20 * kMiB, 512);
  const std::uint64_t some = SparseAlignment(100 * kGiB, many);
  EXPECT_LE(8 * (100 * kGiB / some) + many.size() * some, 140 * kMiB);
  TreeBuilder b;
  const std::uint64_t at = 16 * kMiB;
  b.Sparse("lastlog", kTiB, {{0, 0, at}, {kTiB / 2 + at, at, at}});
  const auto image = WriteImage(b.tree, Devices({kGiB}));
  ASSERT_TRUE(image) << image.error().Text();
  EXPECT_LE(image->size(), 600u << 10);
}

TEST(Writer, SuperblockAsTheKernelReadsIt) {
  TreeBuilder b;
  b.File("f", 1);
  const auto image = WriteImage(b.tree, Devices({4097, 0}));
  ASSERT_TRUE(image);
  const auto super = format::Load<format::SuperBlock>(*image, 1024);
  EXPECT_EQ(super.magic, 0xE0F5E1E2u);
  EXPECT_EQ(super.compat, 3u);    // checksum, mtime: known to every kernel
  EXPECT_EQ(super.incompat, 12u); // chunked files, device table: 5.16
  EXPECT_EQ(super.block_bits, 12);
  EXPECT_EQ(super.inodes, 2u);
  EXPECT_EQ(super.devices, 2);
  EXPECT_EQ(super.device_slot * 128, 1024 + 128);
  EXPECT_EQ(super.blocks * 4096ull, image->size());
  EXPECT_EQ(format::Load<format::DeviceSlot>(*image, 1152).blocks, 2u);
  EXPECT_EQ(super.uuid[0], 0xb);
  EXPECT_EQ(format::Checksum(*image), super.checksum);
}

TEST(Writer, ChecksumIsCrc32c) {
  // RFC 3720 B.4 knows 32 zero bytes; ours is not inverted, starts at 1024 and sees zeros for its own four bytes.
  std::vector<std::byte> zeros(4096);
  std::uint32_t crc = 0xFFFFFFFFu;
  for (int i = 0; i < 3072 * 8; ++i) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78u : crc >> 1;
  EXPECT_EQ(format::Checksum(zeros), crc);
  zeros[1024 + 4] = std::byte{0xff};
  EXPECT_EQ(format::Checksum(zeros), crc);
  zeros[4095] = std::byte{1};
  EXPECT_NE(format::Checksum(zeros), crc);
}

TEST(Writer, LinksOfTheTreeAreSet) {
  TreeBuilder b;
  b.Directory("d");
  b.Directory("d/e");
  b.File("f");
  b.Hard("d/g", "f");
  ASSERT_TRUE(WriteImage(b.tree, {}));
  EXPECT_EQ(b.tree.nodes[0].links, 3u);
  EXPECT_EQ(b.At("d").links, 3u);
  EXPECT_EQ(b.At("d/e").links, 2u);
  EXPECT_EQ(b.At("f").links, 2u);
}

TEST(Writer, SmallFilesTakeLittle) {
  TreeBuilder b;
  b.Directory("d");
  for (int i = 0; i < 10'000; ++i) b.File("d/file" + std::to_string(10'000 + i), 100);
  const auto image = WriteImage(b.tree, Devices({kMiB}));
  ASSERT_TRUE(image);
  EXPECT_LT(image->size(), 10'000u * (96 + 12 + 9) + 64 * 1024);
}

}  // namespace
}  // namespace berth::erofs
