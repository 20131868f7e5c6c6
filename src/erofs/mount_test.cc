// The kernel and fsck.erofs read what we write: a tree of everything, mounted file-backed and through loop devices,
// compared name by name with what was put in. Skipped, saying why, where the kernel or our rights do not allow it.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <ostream>

#include "erofs/format.h"
#include "erofs/reader.h"
#include "erofs/testing/tree_builder.h"
#include "erofs/writer.h"

namespace berth::erofs {
namespace {

using testing::SetXattr;
using testing::TreeBuilder;

constexpr std::uint64_t kBlock = 4096;

// Bytes of a data device: different in every block of every device, none zero.
std::string Pattern(std::uint16_t device, std::uint64_t offset, std::uint64_t length) {
  std::string out(length, '\0');
  for (std::uint64_t i = 0; i < length; ++i) {
    const std::uint64_t at = offset + i;
    out[i] = static_cast<char>(1 + (at * 31 + at / kBlock * 17 + device * 101u) % 255);
  }
  return out;
}

std::string Contents(const Node& node) {
  if (node.sparse == nullptr) return Pattern(node.device, node.data_offset, node.size);
  std::string out(node.size, '\0');
  for (const Extent& e : *node.sparse) out.replace(e.file_offset, e.length, Pattern(node.device, e.device_offset, e.length));
  return out;
}

class Folder {
 public:
  Folder() : path_(::testing::TempDir() + "berth_erofs_XXXXXX") { BERTH_CHECK(mkdtemp(path_.data()) != nullptr); }
  ~Folder() {
    umount2((path_ + "/mnt").c_str(), MNT_DETACH);
    for (const int fd : loops_) close(fd);
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

  // A loop device on `file` that goes away with us; "" when there are none to be had.
  std::string Loop(const std::string& file) {
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    const int backing = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    std::string device;
    for (int attempt = 0; control >= 0 && attempt < 16 && device.empty(); ++attempt) {
      const int number = ioctl(control, LOOP_CTL_GET_FREE);
      if (number < 0) break;
      const std::string path = "/dev/loop" + std::to_string(number);
      const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
      if (fd < 0) break;
      loop_config config{};
      config.fd = static_cast<std::uint32_t>(backing);
      config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
      if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
        device = path;
        loops_.push_back(fd);
        break;
      }
      const int error = errno;
      close(fd);
      if (error != EBUSY) break;  // somebody else took it
    }
    close(control);
    close(backing);
    return device;
  }

 private:
  std::string path_;
  std::vector<int> loops_;
};

void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.flush().good()) << path;
}

// An access ACL that the kernel accepts: user::rw- user:1000:rw- group::r-- mask::rw- other::r--
std::string Acl() {
  std::string acl("\x02\0\0\0", 4);
  const auto entry = [&](std::uint16_t tag, std::uint16_t bits, std::uint32_t id) {
    for (const std::uint32_t word : {static_cast<std::uint32_t>(tag | bits << 16), id}) acl.append(reinterpret_cast<const char*>(&word), 4);
  };
  entry(0x01, 6, ~0u);
  entry(0x02, 6, 1000);
  entry(0x04, 4, ~0u);
  entry(0x10, 6, ~0u);
  entry(0x20, 4, ~0u);
  return acl;
}

// Something of everything, and a folder of `many`. Devices 0 and 1, 256 blocks each.
void BuildEverything(TreeBuilder& b, std::uint64_t many) {
  b.tree.nodes[0].mode = S_IFDIR | 0711;
  b.tree.nodes[0].mtime_seconds = 12;
  b.Directory("bin");
  b.File("bin/one", 1, 0);
  b.File("bin/block", kBlock, kBlock);
  b.File("bin/more", 5 * kBlock + 7, 2 * kBlock).mode = S_IFREG | 06755;
  b.File("bin/empty");
  b.Hard("bin/more2", "bin/more");
  b.Hard("above", "bin/more");
  b.Link("link", "bin/one");
  b.Hard("link2", "link");
  b.Link("long", std::string(4095, 'l'));
  b.Link("long2", std::string(4096 - 64, 'm'));
  SetXattr(b.Link("long3", std::string(3000, 'n')), "trusted.x", std::string(1500, 'x'));
  b.File("second", 3 * kBlock - 1, 7 * kBlock).device = 1;
  b.File("last", 256 * kBlock, 0).device = 1;
  // holes: only, first, last, between; extents that touch in the file but not in the device
  b.Sparse("hole", 300'000, {});
  b.Sparse("hole_first", 64 * kBlock, {{32 * kBlock, 16 * kBlock, 32 * kBlock}});
  b.Sparse("hole_last", 64 * kBlock + 5, {{0, 3 * kBlock, 16 * kBlock}}).device = 1;
  b.Sparse("holes", 40 * kBlock + 9, {{kBlock, kBlock, kBlock}, {5 * kBlock, 9 * kBlock, 2 * kBlock}, {40 * kBlock, 0, 9}});
  b.Sparse("shuffled", 3 * kBlock, {{0, 9 * kBlock, kBlock}, {kBlock, 3 * kBlock, kBlock}, {2 * kBlock, 6 * kBlock, kBlock}});
  b.Sparse("far", 6'000'000'000, {{5'000'000'000 / kBlock * kBlock, kBlock, kBlock}});
  b.Device("null", S_IFCHR, 1, 3);
  b.Device("disk", S_IFBLK, 259, 70'000);
  b.Device("whiteout", S_IFCHR, 0, 0);
  b.Add("fifo", S_IFIFO | 0622);
  b.Add("socket", S_IFSOCK | 0600);
  b.Directory("sticky", 01777);
  b.Directory("names");
  b.File("names/" + std::string(255, 'n'), 9, 3 * kBlock);
  b.File("names/\xff\xfe\x80", 9, 4 * kBlock);
  for (const char* name : {"!", "-", " ", "...", ".a", "..a", "\x01", "caf\xc3\xa9", "cafe\xcc\x81", "new\nline"}) {
    b.File(std::string("names/") + name);
  }
  b.Directory("times");
  const auto at = [&](const char* name, std::int64_t seconds, std::uint32_t nanos) {
    Node& node = b.File(std::string("times/") + name);
    node.mtime_seconds = seconds;
    node.mtime_nanos = nanos;
  };
  at("nanos", 1'234'567'890, 123'456'789);
  at("before", -1, 999'999'999);
  at("long_before", -62'135'596'800, 0);
  at("clamped", 9'223'372'036, 854'775'807);
  at("year_2106", 4'294'967'296, 1);
  b.File("owned", 3, 5 * kBlock).uid = 4'294'967'294u;
  b.At("owned").gid = 4'294'967'294u;
  b.Directory("owned_folder").uid = 2'147'483'648u;
  Node& ping = b.File("ping", 100, 6 * kBlock);
  ping.mode = S_IFREG | 0755;
  SetXattr(ping, "security.capability", std::string("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20));
  SetXattr(ping, "user.empty", "");
  SetXattr(ping, "user." + std::string(250, 'k'), std::string(9000, 'v'));
  SetXattr(ping, "com.apple.provenance", "no mount shows this");
  SetXattr(ping, "system.nfs4_acl", "nor this");
  SetXattr(ping, "lustre.lov", "nor this");
  b.Directory("acl").mode = S_IFDIR | 0664;
  SetXattr(b.At("acl"), "system.posix_acl_access", Acl());
  SetXattr(b.At("acl"), "system.posix_acl_default", Acl());
  SetXattr(b.Directory("opaque"), "trusted.overlay.opaque", "y");
  SetXattr(b.Directory("heavy"), "user.v", std::string(65'535, 'v'));
  b.File("heavy/child", 1, 0);
  SetXattr(b.Device("marked", S_IFCHR, 5, 1), "trusted.x", "device");
  SetXattr(b.tree.nodes[0], "trusted.root", "root");
  std::string path = "deep";
  b.Directory(path);
  for (int i = 0; i < 60; ++i) b.Directory(path += "/" + std::to_string(i));
  b.File(path + "/leaf", 11, 8 * kBlock);
  b.File("gone", 5, 0).removed = true;
  b.Directory("big");
  for (std::uint64_t i = 0; i < many; ++i) b.File("big/entry-" + std::to_string(i * 7919 % many), 1, i % 256 * kBlock);
}

struct Backing {
  const char* name;
  bool loop;
};
void PrintTo(const Backing& b, std::ostream* out) { *out << b.name; }

class Mounted : public ::testing::TestWithParam<Backing> {
 protected:
  void SetUp() override {
    BuildEverything(b_, 100'000);
    const auto image = WriteImage(b_.tree, {.device_bytes = {256 * kBlock, 256 * kBlock}});
    ASSERT_TRUE(image) << image.error().Text();
    // Bytes behind the image are of no account to the kernel either.
    WriteFile(folder_ / "meta", std::string(bytes::AsText(*image)) + std::string(kBlock, 'z'));
    for (std::uint16_t i = 0; i < 2; ++i) WriteFile(folder_ / ("data" + std::to_string(i)), Pattern(i, 0, 256 * kBlock));
    ASSERT_EQ(mkdir((folder_ / "mnt").c_str(), 0700), 0);
  }

  // False: skipped or failed, and said so.
  bool Mount() {
    std::string meta = folder_ / "meta", data0 = folder_ / "data0", data1 = folder_ / "data1";
    if (GetParam().loop) {
      for (std::string* path : {&meta, &data0, &data1}) {
        *path = folder_.Loop(*path);
        if (path->empty()) return Skip("no loop device to be had (CONFIG_BLK_DEV_LOOP, or rights to /dev/loop-control)");
      }
    }
    const std::string options = "device=" + data0 + ",device=" + data1;
    if (mount(meta.c_str(), (folder_ / "mnt").c_str(), "erofs", MS_RDONLY, options.c_str()) == 0) return true;
    const int error = errno;
    if (error == EPERM || error == EACCES) return Skip("mount(2) is not permitted here (CAP_SYS_ADMIN)");
    if (error == ENODEV) return Skip("this kernel has no EROFS (CONFIG_EROFS_FS)");
    if (error == ENOTBLK) return Skip("this kernel has no file-backed EROFS mounts (6.12, CONFIG_EROFS_FS_BACKED_BY_FILE)");
    ADD_FAILURE() << "mount: errno " << error;
    return false;
  }
  static bool Skip(const char* why) {
    [&] { GTEST_SKIP() << why; }();
    return false;
  }

  std::string Path(const std::string& inside) const { return folder_ / ("mnt" + inside); }

  Folder folder_;
  TreeBuilder b_;
};

void CompareXattrs(const std::string& path, const Node& node) {
  std::map<std::string, std::string> expected, found;
  if (node.xattrs != nullptr) {
    for (const auto& [name, value] : *node.xattrs) {
      if (const auto prefix = format::XattrPrefix(name); prefix != 0 && prefix != 5) expected[name] = value;
    }
  }
  std::string names(65536, '\0');
  const ssize_t bytes = llistxattr(path.c_str(), names.data(), names.size());
  ASSERT_GE(bytes, 0) << path << " errno " << errno;
  names.resize(static_cast<std::size_t>(bytes));
  for (std::size_t at = 0; at < names.size(); at = names.find('\0', at) + 1) {
    const std::string name = names.c_str() + at;
    std::string value(65536, '\0');
    const ssize_t length = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    ASSERT_GE(length, 0) << path << ' ' << name << " errno " << errno;
    found[name] = value.substr(0, static_cast<std::size_t>(length));
  }
  EXPECT_EQ(found, expected) << path;
}

void CompareContents(const std::string& path, const Node& node) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0) << path << " errno " << errno;
  if (node.size < (64u << 20)) {
    std::string found(node.size + 1, 'x');
    std::size_t have = 0;
    for (ssize_t got = 1; got > 0 && have < found.size();) {
      got = pread(fd, found.data() + have, found.size() - have, static_cast<off_t>(have));
      ASSERT_GE(got, 0) << path << " errno " << errno;
      have += static_cast<std::size_t>(got);
    }
    found.resize(have);
    EXPECT_TRUE(found == Contents(node)) << path;
  } else {  // too large to hold: the data and one block on each side
    for (const Extent& e : *node.sparse) {
      std::string found(e.length + 2 * kBlock, 'x');
      ASSERT_EQ(pread(fd, found.data(), found.size(), static_cast<off_t>(e.file_offset - kBlock)), static_cast<ssize_t>(found.size()));
      EXPECT_TRUE(found == std::string(kBlock, '\0') + Pattern(node.device, e.device_offset, e.length) + std::string(kBlock, '\0')) << path;
    }
  }
  if (node.sparse != nullptr) {
    // The bounds between data and holes, as the kernel tells them.
    std::vector<off_t> expected, found;
    for (const Extent& e : *node.sparse) {
      if (!expected.empty() && expected.back() == static_cast<off_t>(e.file_offset)) {
        expected.pop_back();
      } else {
        expected.push_back(static_cast<off_t>(e.file_offset));
      }
      expected.push_back(static_cast<off_t>(std::min(e.file_offset + e.length, node.size)));
    }
    for (off_t at = 0;;) {
      at = lseek(fd, at, found.size() % 2 == 0 ? SEEK_DATA : SEEK_HOLE);
      if (at < 0) break;
      found.push_back(at);
    }
    EXPECT_EQ(errno, ENXIO) << path;
    EXPECT_EQ(found, expected) << path;
  }
  close(fd);
}

TEST_P(Mounted, IsTheTreeThatWasPutIn) {
  if (!Mount()) return;
  const std::vector<Node>& nodes = b_.tree.nodes;
  std::map<std::string, std::vector<std::string>> listed;  // folder -> names
  std::map<std::uint32_t, std::vector<std::string>> inodes; // node -> paths
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].removed) continue;
    std::string path;
    for (std::uint32_t at = i; at != 0; at = nodes[at].parent) path = "/" + nodes[at].name + path;
    const std::uint32_t inode = nodes[i].hard_link == kNoNode ? i : nodes[i].hard_link;
    inodes[inode].push_back(path);
    if (S_ISDIR(nodes[inode].mode)) listed[path];
    if (i != 0) listed[path.substr(0, path.rfind('/'))].push_back(nodes[i].name);
  }
  for (auto& [path, names] : listed) {
    std::vector<std::string> found;
    DIR* const folder = opendir(Path(path).c_str());
    ASSERT_NE(folder, nullptr) << path;
    while (const dirent* entry = readdir(folder)) {
      if (const std::string name = entry->d_name; name != "." && name != "..") found.push_back(name);
    }
    closedir(folder);
    std::sort(found.begin(), found.end());
    std::sort(names.begin(), names.end());
    ASSERT_EQ(found, names) << path;
  }
  for (const auto& [index, paths] : inodes) {
    const Node& node = nodes[index];
    if (node.name.starts_with("entry-") && index % 32 != 0) continue;  // of the many, some
    ino_t number = 0;
    for (const std::string& inside : paths) {
      const std::string path = Path(inside);
      struct stat st {};
      ASSERT_EQ(lstat(path.c_str(), &st), 0) << path << " errno " << errno;
      EXPECT_EQ(st.st_mode, node.mode) << path;
      EXPECT_EQ(st.st_uid, node.uid) << path;
      EXPECT_EQ(st.st_gid, node.gid) << path;
      EXPECT_EQ(st.st_nlink, node.links) << path;
      EXPECT_EQ(st.st_mtim.tv_sec, node.mtime_seconds) << path;
      EXPECT_EQ(st.st_mtim.tv_nsec, static_cast<long>(node.mtime_nanos)) << path;
      if (number != 0) {
        EXPECT_EQ(st.st_ino, number) << path;
      }
      number = st.st_ino;
      if (S_ISREG(node.mode)) {
        EXPECT_EQ(static_cast<std::uint64_t>(st.st_size), node.size) << path;
        CompareContents(path, node);
      } else if (S_ISLNK(node.mode)) {
        std::string target(8192, '\0');
        const ssize_t bytes = readlink(path.c_str(), target.data(), target.size());
        ASSERT_GE(bytes, 0) << path << " errno " << errno;
        EXPECT_EQ(target.substr(0, static_cast<std::size_t>(bytes)), node.link) << path;
      } else if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) {
        EXPECT_EQ(major(st.st_rdev), node.rdev_major) << path;
        EXPECT_EQ(minor(st.st_rdev), node.rdev_minor) << path;
      }
      if (index < 100 || node.xattrs != nullptr) CompareXattrs(path, node);
    }
  }
}

TEST_P(Mounted, MissingNamesAreMissing) {
  if (!Mount()) return;
  for (const char* name : {"/gone", "/nothing", "/big/entry-100000", "/big/entry-", "/big/zzz", "/big/A", "/names/nn", "/names/\xff"}) {
    struct stat st {};
    EXPECT_EQ(lstat(Path(name).c_str(), &st), -1) << name;
    EXPECT_EQ(errno, ENOENT) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Backings, Mounted, ::testing::Values(Backing{"files", false}, Backing{"loop", true}),
                         [](const auto& row) { return row.param.name; });

// Runs a program; its exit status, and what it printed into `output`.
int RunProgram(std::vector<std::string> words, const std::string& output) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return -error;
  int status = 0;
  BERTH_CHECK(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

TEST(Fsck, FindsNothing) {
  TreeBuilder b;
  BuildEverything(b, 10'000);  // fsck.erofs 1.5 is slow
  const auto image = WriteImage(b.tree, {.device_bytes = {256 * kBlock, 256 * kBlock}});
  ASSERT_TRUE(image) << image.error().Text();
  Folder folder;
  WriteFile(folder / "meta", bytes::AsText(*image));
  for (std::uint16_t i = 0; i < 2; ++i) WriteFile(folder / ("data" + std::to_string(i)), Pattern(i, 0, 256 * kBlock));
  const std::vector<std::string> fsck{"fsck.erofs", "--device=" + (folder / "data0"), "--device=" + (folder / "data1")};
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> words = fsck;
    words.insert(words.end(), more.begin(), more.end());
    const int status = RunProgram(words, folder / "out");
    std::ifstream out(folder / "out");
    return std::pair(status, std::string(std::istreambuf_iterator<char>(out), {}));
  };
  const auto [status, said] = with({folder / "meta"});
  if (status == -ENOENT) GTEST_SKIP() << "fsck.erofs is not installed (package erofs-utils)";
  EXPECT_EQ(status, 0) << said;
  EXPECT_EQ(said.find("<E>"), std::string::npos) << said;
  // It does look (version 1.5 says so only in words): a flipped byte in the superblock.
  std::string damaged(bytes::AsText(*image));
  damaged[1024 + 60] ^= 1;
  WriteFile(folder / "damaged", damaged);
  EXPECT_NE(with({folder / "damaged"}).second.find("<E>"), std::string::npos);
  // Contents, read by another reader than the kernel (not holes: version 1.5 leaves them out when it extracts).
  TreeBuilder plain;
  plain.File("one", 1, kBlock);
  plain.File("more", 5 * kBlock + 7, 2 * kBlock).device = 1;
  plain.Sparse("shuffled", 3 * kBlock, {{0, 9 * kBlock, kBlock}, {kBlock, 3 * kBlock, kBlock}, {2 * kBlock, 6 * kBlock, kBlock}});
  const auto small = WriteImage(plain.tree, {.device_bytes = {256 * kBlock, 256 * kBlock}});
  ASSERT_TRUE(small);
  WriteFile(folder / "small", bytes::AsText(*small));
  const auto [extracted, why] = with({"--extract=" + (folder / "tree"), folder / "small"});
  ASSERT_EQ(extracted, 0) << why;
  for (const char* name : {"one", "more", "shuffled"}) {
    std::ifstream in(folder / ("tree/" + std::string(name)), std::ios::binary);
    EXPECT_TRUE(std::string(std::istreambuf_iterator<char>(in), {}) == Contents(plain.At(name))) << name;
  }
}

// A new layer links to a file of the layer below: its contents stay in the lower layer's data file.
TEST(Layers, InodeOfALowerLayerKeepsItsContents) {
  TreeBuilder lower;
  lower.Directory("usr");
  SetXattr(lower.File("usr/tool", 2 * kBlock + 1, 4 * kBlock), "user.origin", "lower");
  const auto lower_image = WriteImage(lower.tree, {.device_bytes = {16 * kBlock}});
  ASSERT_TRUE(lower_image);
  const auto read = ReadMetadata(*lower_image);
  ASSERT_TRUE(read);
  const PathIndex index(read->tree);
  const Node* const tool = index.Find("usr/tool");
  ASSERT_NE(tool, nullptr);

  TreeBuilder upper;
  upper.File("own", kBlock, 0);
  const Node* const copy = &(upper.Add("tool", S_IFREG) = CopyInode(*tool, 1));
  ASSERT_EQ(copy->size, 2 * kBlock + 1);
  upper.tree.nodes.back().name = "tool";
  upper.Hard("alias", "tool");
  const auto image = WriteImage(upper.tree, {.device_bytes = {kBlock, read->device_blocks[0] * kBlock}});
  ASSERT_TRUE(image) << image.error().Text();

  Folder folder;
  WriteFile(folder / "meta", bytes::AsText(*image));
  WriteFile(folder / "data0", Pattern(0, 0, kBlock));
  WriteFile(folder / "data1", Pattern(1, 0, 16 * kBlock));
  ASSERT_EQ(mkdir((folder / "mnt").c_str(), 0700), 0);
  const std::string options = "device=" + (folder / "data0") + ",device=" + (folder / "data1");
  if (mount((folder / "meta").c_str(), (folder / "mnt").c_str(), "erofs", MS_RDONLY, options.c_str()) != 0) {
    GTEST_SKIP() << "no file-backed EROFS mounts here (6.12, CONFIG_EROFS_FS_BACKED_BY_FILE, CAP_SYS_ADMIN): errno " << errno;
  }
  for (const char* name : {"mnt/tool", "mnt/alias"}) {
    CompareContents(folder / name, upper.At("tool"));
    CompareXattrs(folder / name, upper.At("tool"));
  }
  CompareContents(folder / "mnt/own", upper.At("own"));
}

// What the kernel makes of an overlay with our whiteouts and opaque folders in the upper of two lower layers.
TEST(Layers, OverlayHonoursWhiteoutsAndOpaqueFolders) {
  TreeBuilder lower, upper;
  for (const char* folder : {"a", "b"}) {
    lower.Directory(folder);
    lower.File(std::string(folder) + "/low");
    upper.Directory(folder);
  }
  lower.File("file");
  upper.Device("file", S_IFCHR, 0, 0);
  upper.Device("a/low", S_IFCHR, 0, 0);
  SetXattr(upper.At("b"), "trusted.overlay.opaque", "y");
  upper.File("b/up");
  Folder folder;
  for (const auto& [name, tree] : {std::pair("lower", &lower.tree), std::pair("upper", &upper.tree)}) {
    const auto image = WriteImage(*tree, {});
    ASSERT_TRUE(image);
    const std::string meta = folder / (std::string(name) + ".meta"), at = folder / name;
    WriteFile(meta, bytes::AsText(*image));
    ASSERT_EQ(mkdir(at.c_str(), 0700), 0);
    if (mount(meta.c_str(), at.c_str(), "erofs", MS_RDONLY, "") != 0) {
      const int error = errno;
      umount2((folder / "lower").c_str(), MNT_DETACH);
      GTEST_SKIP() << "no file-backed EROFS mounts here (6.12, CONFIG_EROFS_FS_BACKED_BY_FILE, CAP_SYS_ADMIN): errno " << error;
    }
  }
  ASSERT_EQ(mkdir((folder / "mnt").c_str(), 0700), 0);
  const std::string options = "lowerdir=" + (folder / "upper") + ":" + (folder / "lower");
  const int mounted = mount("overlay", (folder / "mnt").c_str(), "overlay", MS_RDONLY, options.c_str());
  const int error = errno;
  std::vector<std::string> found;
  if (mounted == 0) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "mnt")) {
      found.push_back(entry.path().string().substr((folder / "mnt/").size()));
    }
  }
  umount2((folder / "mnt").c_str(), MNT_DETACH);
  for (const char* name : {"lower", "upper"}) umount2((folder / name).c_str(), MNT_DETACH);
  if (mounted != 0) GTEST_SKIP() << "no overlayfs here (CONFIG_OVERLAY_FS): errno " << error;
  EXPECT_THAT(found, ::testing::UnorderedElementsAre("a", "b", "b/up"));
}

}  // namespace
}  // namespace berth::erofs
