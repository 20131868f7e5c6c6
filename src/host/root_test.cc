// Rows of reliability-security 5.2 and of its matrix 3.a that a tree unpacker answers with path resolution; unpack
// semantics of runtime-registry 6.2 and 6.4.
#include "host/root.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <ostream>

#include "host/testing/scratch.h"

namespace berth::host {
namespace {

using bytes::AsView;
using ::testing::HasSubstr;

struct CleanRow { std::string name, want; };  // want "!": refused
std::ostream& operator<<(std::ostream& out, const CleanRow& r) { return out << Quoted(r.name.substr(0, 20)); }
class CleanRows : public ::testing::TestWithParam<CleanRow> {};
TEST_P(CleanRows, Lexically) {
  const auto clean = RootTree::Clean(GetParam().name);
  if (GetParam().want == "!") {
    ASSERT_FALSE(clean);
    EXPECT_EQ(clean.error().reason(), Reason::kInvalidLayer);
  } else {
    ASSERT_TRUE(clean);
    EXPECT_EQ(*clean, GetParam().want);
  }
}
std::string Repeat(std::string_view s, int n) {
  std::string out;
  while (n-- > 0) out += s;
  return out;
}
INSTANTIATE_TEST_SUITE_P(
    Root, CleanRows,
    ::testing::Values(CleanRow{"a/b", "a/b"}, CleanRow{"./a//b/", "a/b"}, CleanRow{"/etc/passwd", "etc/passwd"}, CleanRow{"", ""},
                      CleanRow{"./", ""}, CleanRow{"/", ""}, CleanRow{"a/../b", "b"}, CleanRow{"a/b/../../c", "c"}, CleanRow{"a/..", ""},
                      CleanRow{"..", "!"}, CleanRow{"../x", "!"}, CleanRow{"a/../../x", "!"}, CleanRow{"/..", "!"},
                      CleanRow{"...", "..."}, CleanRow{"..a", "..a"}, CleanRow{std::string("a\0b", 3), "!"},
                      CleanRow{"\xff\xfe", "\xff\xfe"}, CleanRow{std::string(255, 'x'), std::string(255, 'x')},
                      CleanRow{std::string(256, 'x'), "!"}, CleanRow{Repeat("a/", 1024), Repeat("a/", 1023) + "a"},
                      CleanRow{Repeat("a/", 1025), "!"}, CleanRow{Repeat(std::string(200, 'x') + "/", 21), "!"},
                      CleanRow{Repeat("a/../", 5000) + "b", "b"}));

class RootTest : public ::testing::Test {
 protected:
  RootTest() : old_umask_(::umask(0)) {
    EXPECT_TRUE(scratch_.dir().MakeDir("root", 0755));
    EXPECT_TRUE(scratch_.dir().MakeDir("outside", 0755));
    EXPECT_TRUE(scratch_.dir().WriteDurably("outside/canary", AsView("alive"), 0644));
    tree_.emplace(*scratch_.dir().OpenDir("root"));
    root_ = *scratch_.dir().OpenDir("root");
    if (::geteuid() != 0) me_ = Metadata{.uid = ::geteuid(), .gid = ::getegid(), .xattrs = {}};
  }
  ~RootTest() override {
    ::umask(old_umask_);
    EXPECT_EQ(*scratch_.dir().ReadSmall("outside/canary", 100), "alive");
    EXPECT_EQ(scratch_.dir().OpenDir("outside")->List()->size(), 1u) << "something was made outside";
    EXPECT_EQ(scratch_.dir().Stat("outside/canary")->mode, 0644u);
  }
  RootTree& tree() { return *tree_; }
  const Dir& root() { return root_; }
  std::string path(const std::string& name) { return scratch_.path("root/" + name); }
  std::string outside() { return scratch_.path("outside"); }
  Metadata Meta(std::uint32_t mode) {
    return {.mode = mode, .uid = me_.uid, .gid = me_.gid, .mtime_seconds = 1'000'000'000, .mtime_nanos = 123'456'789, .xattrs = {}};
  }

  Result<> Put(std::string_view name, std::string_view text) {
    ASSIGN_OR_RETURN(const Fd fd, tree().CreateFile(name));
    RETURN_IF_ERROR(WriteAll(fd.get(), AsView(text)));
    return tree().SetMetadata(fd.get(), Meta(0644));
  }
  Result<> Link(std::string_view name, std::string_view target) { return tree().MakeSymlink(name, target, Meta(0777)); }
  std::string Get(std::string_view name) {
    auto text = tree().ReadSmall(name, 1u << 20);
    return text ? *text : "error: " + text.error().Text();
  }
  bool AsRoot() { return ::geteuid() == 0; }

 private:
  mode_t old_umask_;
  testing::Scratch scratch_;
  std::optional<RootTree> tree_;
  Dir root_;
  Metadata me_;
};

TEST_F(RootTest, LinksCannotLeadOut) {
  const std::string up = "../../../../../../../../../..";
  for (const std::string& target : std::vector<std::string>{outside(), up + outside(), "..", "../outside", up, "/proc/self/root" + outside()}) {
    SCOPED_TRACE(target);
    ASSERT_TRUE(Link("door", target));
    (void)!Put("door/canary", "dead");
    (void)!Put("door/outside/canary", "dead");
    (void)!tree().MakeDirectory("door/new", Meta(0777));
    (void)!tree().MakeLink("door/link", "door/canary");
    (void)!tree().SetMetadata("door/canary", Meta(0));
    (void)!tree().Remove("door/canary");
    (void)!tree().Remove("door");
    (void)!tree().FinishDirectories();
  }
}

TEST_F(RootTest, AbsoluteLinksCountFromTheRoot) {
  ASSERT_TRUE(tree().MakeDirectory("usr/lib", Meta(0755)));
  ASSERT_TRUE(Link("lib", "/usr/lib"));
  ASSERT_TRUE(Put("lib/libc.so", "c"));
  EXPECT_EQ(Get("usr/lib/libc.so"), "c");
  EXPECT_EQ(*root().ReadSmall("usr/lib/libc.so", 10), "c");
}

TEST_F(RootTest, TheLeafIsReplacedNotFollowed) {
  ASSERT_TRUE(Link("f", outside() + "/canary"));
  ASSERT_TRUE(Put("f", "mine"));
  EXPECT_EQ(tree().Stat("f")->kind, FileKind::kFile);
  ASSERT_TRUE(Link("d", outside()));
  ASSERT_TRUE(tree().MakeDirectory("d", Meta(0700)));
  ASSERT_TRUE(Put("d/x", "mine"));
  EXPECT_EQ(Get("d/x"), "mine");
}

TEST_F(RootTest, ParentsThatAreNoDirectories) {
  ASSERT_TRUE(Put("f", "x"));
  EXPECT_EQ(Put("f/g", "x").error().reason(), Reason::kInvalidLayer);
  ASSERT_TRUE(Link("dangling", "nowhere"));
  EXPECT_EQ(Put("dangling/g", "x").error().reason(), Reason::kInvalidLayer);
  ASSERT_TRUE(Link("loop", "loop"));
  EXPECT_EQ(Put("loop/g", "x").error().reason(), Reason::kInvalidLayer);
  EXPECT_EQ(Put("", "x").error().reason(), Reason::kInvalidLayer);
  EXPECT_EQ(Put("a/../..", "x").error().reason(), Reason::kInvalidLayer);
}

TEST_F(RootTest, MissingParentsAreMadeTheSameEveryDay) {
  ASSERT_TRUE(Put("a/b/c/f", "x"));
  ASSERT_TRUE(tree().FinishDirectories());
  for (const char* name : {"a", "a/b", "a/b/c"}) {
    const FileInfo info = *tree().Stat(name);
    EXPECT_EQ(info.kind, FileKind::kDirectory);
    EXPECT_EQ(info.mode, 0755u);
    EXPECT_EQ(info.mtime_seconds, 0);
  }
}

TEST_F(RootTest, DirectoriesMergeAndKeepTheirLastAttributes) {
  ASSERT_TRUE(tree().MakeDirectory("d", Meta(0700)));
  ASSERT_TRUE(Put("d/f", "x"));
  ASSERT_TRUE(tree().MakeDirectory("d/", Meta(01777)));
  ASSERT_TRUE(Put("d/g", "y"));
  ASSERT_TRUE(tree().FinishDirectories());
  EXPECT_EQ(Get("d/f"), "x");
  EXPECT_EQ(tree().Stat("d")->mode, 01777u);
  EXPECT_EQ(tree().Stat("d")->mtime_seconds, 1'000'000'000);
  EXPECT_EQ(tree().Stat("d")->mtime_nanos, 123'456'789u);
}

TEST_F(RootTest, TheLastNameOfADirectoryWins) {
  ASSERT_TRUE(tree().MakeDirectory("z", Meta(0700)));
  ASSERT_TRUE(Link("a", "z"));
  ASSERT_TRUE(tree().MakeDirectory("z/d", Meta(0700)));
  ASSERT_TRUE(tree().MakeDirectory("a/d", Meta(0711)));
  ASSERT_TRUE(tree().FinishDirectories());
  EXPECT_EQ(tree().Stat("z/d")->mode, 0711u);
}

TEST_F(RootTest, RestrictiveModesComeLast) {
  ASSERT_TRUE(tree().MakeDirectory("closed", Meta(0)));
  ASSERT_TRUE(Put("closed/f", "x"));
  ASSERT_TRUE(tree().MakeDirectory("closed/deeper", Meta(0)));
  ASSERT_TRUE(Put("closed/deeper/g", "x"));
  ASSERT_TRUE(tree().FinishDirectories());
  EXPECT_EQ(tree().Stat("closed")->mode, 0u);
}

TEST_F(RootTest, DeferredAttributesSkipWhatWasReplaced) {
  ASSERT_TRUE(tree().MakeDirectory("d", Meta(0700)));
  ASSERT_TRUE(Link("d", outside()));
  ASSERT_TRUE(tree().MakeDirectory("e", Meta(0700)));
  ASSERT_TRUE(Put("e", "now a file"));
  ASSERT_TRUE(tree().MakeDirectory("gone", Meta(0700)));
  EXPECT_TRUE(*tree().Remove("gone"));
  EXPECT_TRUE(tree().FinishDirectories());
  EXPECT_EQ(tree().Stat("e")->mode, 0644u);
}

TEST_F(RootTest, TheCachedParentIsNotStale) {
  ASSERT_TRUE(Put("a/b/one", "1"));
  ASSERT_TRUE(tree().MakeDirectory("c/b", Meta(0755)));
  ASSERT_TRUE(Put("a/b/two", "2"));
  ASSERT_TRUE(Link("a", "c"));  // replaces the tree a/
  ASSERT_TRUE(Put("a/b/three", "3"));
  EXPECT_EQ(Get("c/b/three"), "3");
  EXPECT_EQ(tree().Stat("c/b/one").error().reason(), Reason::kMissing);
  ASSERT_TRUE(Put("x/y/one", "1"));
  EXPECT_TRUE(*tree().Remove("x"));
  ASSERT_TRUE(Put("x/y/two", "2"));
  EXPECT_EQ(Get("x/y/two"), "2");
}

TEST_F(RootTest, HardLinks) {
  ASSERT_TRUE(Put("f", "x"));
  ASSERT_TRUE(tree().MakeLink("d/g", "./f"));
  EXPECT_EQ(tree().Stat("d/g")->inode, tree().Stat("f")->inode);
  ASSERT_TRUE(tree().MakeLink("f", "f"));    // itself: nothing to do
  ASSERT_TRUE(tree().MakeLink("d/g", "f"));  // again
  EXPECT_EQ(tree().Stat("f")->links, 2u);
  ASSERT_TRUE(Link("l", outside() + "/canary"));
  ASSERT_TRUE(tree().MakeLink("l2", "l"));  // of the link itself
  EXPECT_EQ(tree().Stat("l2")->kind, FileKind::kSymlink);
  EXPECT_EQ(tree().MakeLink("h", "gone").error().reason(), Reason::kInvalidLayer);
  EXPECT_EQ(tree().MakeLink("h", "d").error().reason(), Reason::kInvalidLayer);
  EXPECT_EQ(tree().MakeLink("h", "").error().reason(), Reason::kInvalidLayer);
  EXPECT_EQ(tree().MakeLink("h", "../outside/canary").error().reason(), Reason::kInvalidLayer);
  EXPECT_EQ(tree().MakeLink("d", "d/g").error().reason(), Reason::kInvalidLayer);  // replaces its own source
  ASSERT_TRUE(Link("door", outside()));
  EXPECT_EQ(tree().MakeLink("h", "door/canary").error().reason(), Reason::kInvalidLayer);
}

TEST_F(RootTest, AttributesSurviveTheirOrder) {
  if (!AsRoot()) GTEST_SKIP() << "needs root";
  // cap_net_raw=ep, version 2.
  const std::string capability("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
  Metadata meta = Meta(06755);
  meta.uid = 1234;
  meta.gid = 4'000'000'000;
  meta.xattrs = {{"security.capability", capability}, {"user.note", "hello"}};
  {
    const Fd fd = *tree().CreateFile("ping");
    ASSERT_TRUE(tree().SetMetadata(fd.get(), meta));
  }
  const FileInfo info = *tree().Stat("ping");
  EXPECT_EQ(info.mode, 06755u);
  EXPECT_EQ(info.uid, 1234u);
  EXPECT_EQ(info.gid, 4'000'000'000u);
  EXPECT_EQ(info.mtime_nanos, 123'456'789u);
  char value[64];
  EXPECT_EQ(::getxattr(path("ping").c_str(), "security.capability", value, sizeof value), 20);
  EXPECT_EQ(::getxattr(path("ping").c_str(), "user.note", value, sizeof value), 5);
  EXPECT_EQ(tree().skipped_xattrs(), 0u);
  // By name, as for the entry of a hard link: the same again.
  meta.mode = 0600;
  meta.xattrs.clear();
  ASSERT_TRUE(tree().SetMetadata("ping", meta));
  EXPECT_EQ(tree().Stat("ping")->mode, 0600u);
}

TEST_F(RootTest, LinksKeepOwnerAndTimes) {
  Metadata meta = Meta(0777);
  if (AsRoot()) meta.uid = meta.gid = 77;
  meta.xattrs = {{"user.refused", "x"}};
  ASSERT_TRUE(tree().MakeSymlink("l", outside() + "/canary", meta));
  const FileInfo info = *tree().Stat("l");
  EXPECT_EQ(info.uid, meta.uid);
  EXPECT_EQ(info.mtime_seconds, 1'000'000'000);
  EXPECT_EQ(tree().skipped_xattrs(), 1u);
  EXPECT_EQ(tree().MakeSymlink("m", "", meta).error().reason(), Reason::kInvalidLayer);
  EXPECT_EQ(tree().MakeSymlink("m", std::string(4096, 'x'), meta).error().reason(), Reason::kInvalidLayer);
}

TEST_F(RootTest, Nodes) {
  ASSERT_TRUE(tree().MakeNode("fifo", FileKind::kFifo, 0, 0, Meta(0622)));
  EXPECT_EQ(tree().Stat("fifo")->mode, 0622u);
  EXPECT_EQ(tree().ReadSmall("fifo", 10).error().reason(), Reason::kIo);  // rule 9: does not block
  if (!AsRoot()) GTEST_SKIP() << "devices need root";
  ASSERT_TRUE(tree().MakeNode("dev/null", FileKind::kCharDevice, 1, 3, Meta(0666)));
  struct stat st;
  ASSERT_EQ(::lstat(path("dev/null").c_str(), &st), 0);
  EXPECT_EQ(st.st_rdev, ::makedev(1, 3));
  EXPECT_EQ(st.st_mode, S_IFCHR | 0666u);
  EXPECT_EQ(st.st_mtim.tv_sec, 1'000'000'000);
  ASSERT_TRUE(tree().MakeNode("hidden", FileKind::kCharDevice, 0, 0, Meta(0)));  // a whiteout
  ASSERT_TRUE(tree().MakeNode("dev/sda", FileKind::kBlockDevice, 8, 0, Meta(0660)));
  EXPECT_EQ(tree().Stat("dev/sda")->kind, FileKind::kBlockDevice);
}

TEST_F(RootTest, RemoveTakesTrees) {
  ASSERT_TRUE(Put("d/e/f", "x"));
  ASSERT_TRUE(Link("d/out", outside()));
  EXPECT_TRUE(*tree().Remove("d"));
  EXPECT_FALSE(*tree().Remove("d"));
  EXPECT_FALSE(*tree().Remove("no/such/thing"));
  EXPECT_EQ(tree().Remove("").error().reason(), Reason::kInvalidLayer);
  EXPECT_EQ(root().List()->size(), 0u);
}

TEST_F(RootTest, ReadSmallStaysInside) {
  ASSERT_TRUE(Put("etc/passwd", "root:x:0:0\n"));
  EXPECT_EQ(Get("/etc/passwd"), "root:x:0:0\n");
  EXPECT_EQ(tree().ReadSmall("etc/passwd", 5).error().reason(), Reason::kLimitExceeded);
  ASSERT_TRUE(Link("etc/shadow", outside() + "/canary"));
  EXPECT_FALSE(tree().ReadSmall("etc/shadow", 100));
}

}  // namespace
}  // namespace berth::host
