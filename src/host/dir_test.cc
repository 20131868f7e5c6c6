// The rules of reliability-security 5.2 as far as they concern our own store.
#include "host/dir.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ostream>

#include "host/lock.h"
#include "host/resolve.h"
#include "host/testing/mounts.h"
#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::host {
namespace {

using bytes::AsView;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DirTest : public ::testing::Test {
 protected:
  void Put(std::string_view name, std::string_view text) { ASSERT_TRUE(dir().WriteDurably(name, AsView(text), 0600)); }
  std::string Get(std::string_view name) {
    auto text = dir().ReadSmall(name, 1u << 20);
    return text ? *text : "error: " + text.error().Text();
  }
  const Dir& dir() { return scratch_.dir(); }
  std::string path(std::string_view name) { return scratch_.path(name); }

 private:
  testing::Scratch scratch_;
};

struct BadName { const char* what; std::string name; };
std::ostream& operator<<(std::ostream& out, const BadName& b) { return out << b.what; }
class BadNames : public ::testing::TestWithParam<BadName> {};
TEST_P(BadNames, AreRefusedEverywhere) {
  testing::Scratch scratch;
  const Dir& dir = scratch.dir();
  const std::string& name = GetParam().name;
  EXPECT_EQ(dir.OpenRead(name).error().reason(), Reason::kUsage);
  EXPECT_EQ(dir.CreateNew(name, 0600).error().reason(), Reason::kUsage);
  EXPECT_EQ(dir.MakeDir(name, 0700).error().reason(), Reason::kUsage);
  EXPECT_EQ(dir.Unlink(name).error().reason(), Reason::kUsage);
  EXPECT_EQ(dir.RemoveTree(name).error().reason(), Reason::kUsage);
  EXPECT_EQ(dir.Stat(name).error().reason(), Reason::kUsage);
  EXPECT_EQ(dir.Rename(name, dir, "x", Replace::kNo).error().reason(), Reason::kUsage);
  EXPECT_EQ(dir.Rename("x", dir, name, Replace::kNo).error().reason(), Reason::kUsage);
}
INSTANTIATE_TEST_SUITE_P(Dir, BadNames,
                         ::testing::Values(BadName{"empty", ""}, BadName{"dot", "."}, BadName{"dotdot", ".."},
                                           BadName{"climbs", "a/../b"}, BadName{"absolute", "/etc"}, BadName{"ends in slash", "a/"},
                                           BadName{"double slash", "a//b"}, BadName{"nul", std::string("a\0b", 3)},
                                           BadName{"too long", std::string(4096, 'a')}, BadName{"dot inside", "a/./b"}));

TEST_F(DirTest, ModesAreExact) {
  const mode_t before = ::umask(077);
  ASSERT_TRUE(dir().MakeDir("d", 02755));
  ASSERT_TRUE(dir().MakeDir("d", 0700));  // exists: fine, and unchanged
  EXPECT_EQ(dir().Stat("d")->mode, 02755u);
  ASSERT_TRUE(dir().WriteDurably("d/f", AsView("x"), 0644));
  EXPECT_EQ(dir().Stat("d/f")->mode, 0644u);
  ::umask(before);
  EXPECT_EQ(dir().MakeDir("d/f", 0700).error().reason(), Reason::kConflict);
  EXPECT_EQ(dir().MakeDir("no/d", 0700).error().reason(), Reason::kMissing);
  EXPECT_TRUE(dir().MakeAndOpenDir("e", 0700)->CreateNew("f", 0600));
  EXPECT_TRUE(*dir().Exists("e/f"));
}

TEST_F(DirTest, CreateRenameUnlink) {
  ASSERT_TRUE(dir().CreateNew("a", 0600));
  EXPECT_EQ(dir().CreateNew("a", 0600).error().reason(), Reason::kConflict);
  ASSERT_TRUE(dir().CreateOrOpen("a"));
  ASSERT_TRUE(dir().MakeDir("sub", 0700));
  const Dir sub = *dir().OpenDir("sub");
  ASSERT_TRUE(WriteAll(dir().CreateOrOpen("a")->get(), AsView("one")));
  ASSERT_TRUE(dir().Rename("a", sub, "b", Replace::kNo));
  EXPECT_FALSE(*dir().Exists("a"));
  EXPECT_EQ(Get("sub/b"), "one");
  Put("c", "two");
  EXPECT_EQ(dir().Rename("c", sub, "b", Replace::kNo).error().reason(), Reason::kConflict);
  EXPECT_EQ(Get("sub/b"), "one");
  ASSERT_TRUE(dir().Rename("c", sub, "b", Replace::kYes));
  EXPECT_EQ(Get("sub/b"), "two");
  EXPECT_EQ(dir().Rename("gone", sub, "x", Replace::kNo).error().reason(), Reason::kMissing);
  EXPECT_EQ(dir().RemoveDir("sub").error().reason(), Reason::kInUse);
  EXPECT_TRUE(*dir().Unlink("sub/b"));
  EXPECT_FALSE(*dir().Unlink("sub/b"));
  EXPECT_FALSE(*dir().Unlink("nowhere/b"));
  EXPECT_TRUE(*dir().RemoveDir("sub"));
  EXPECT_FALSE(*dir().RemoveDir("sub"));
  EXPECT_TRUE(dir().Sync());
}

// File systems that know no flags (OpenZFS before 2.2, NFS, 9p, FUSE without rename2), as their renameat2 answers.
template <int kAnswer>
int RefusesFlags(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) {
  if (flags == 0) return ::renameat2(from_dir, from, to_dir, to, 0);
  errno = kAnswer;
  return -1;
}
struct RenameRow { const char* name; internal::RenameCall call; bool works; };
class Renames : public DirTest, public ::testing::WithParamInterface<RenameRow> {};
TEST_P(Renames, ReplaceNothing) {
  const auto rename = [&](const char* from, const char* to) {
    errno = 0;
    return internal::RenameNew(dir().fd(), from, dir().fd(), to, GetParam().call) == 0 ? 0 : errno;
  };
  Put("a", "one");
  Put("b", "two");
  ASSERT_EQ(::symlink("nothing", path("l").c_str()), 0);
  for (const char* folder : {"d", "e"}) ASSERT_TRUE(dir().MakeDir(folder, 0700));
  Put("d/f", "deep");
  if (!GetParam().works) {
    EXPECT_EQ(rename("a", "c"), EIO);
    EXPECT_EQ(Get("a"), "one");
    return;
  }
  for (const char* there : {"b", "l", "e", "d"}) EXPECT_EQ(rename("a", there), EEXIST) << there;
  for (const char* there : {"b", "l", "e"}) EXPECT_EQ(rename("d", there), EEXIST) << there;
  EXPECT_EQ(rename("gone", "x"), ENOENT);
  EXPECT_EQ(Get("a") + Get("b") + Get("d/f"), "onetwodeep");
  const std::uint64_t inode = dir().Stat("a")->inode;
  ASSERT_EQ(rename("a", "c"), 0);
  ASSERT_EQ(rename("d", "g"), 0);
  ASSERT_EQ(rename("l", "m"), 0);
  EXPECT_EQ(Get("c") + Get("g/f"), "onedeep");
  EXPECT_EQ(dir().Stat("c")->inode, inode);
  EXPECT_EQ(dir().Stat("c")->links, 1u);
  EXPECT_THAT(*dir().List(), ElementsAre("b", "c", "e", "g", "m"));
}
INSTANTIATE_TEST_SUITE_P(FileSystems, Renames,
                         ::testing::Values(RenameRow{"Flags", &::renameat2, true}, RenameRow{"Einval", &RefusesFlags<EINVAL>, true},
                                           RenameRow{"Enosys", &RefusesFlags<ENOSYS>, true},
                                           RenameRow{"Eopnotsupp", &RefusesFlags<EOPNOTSUPP>, true},
                                           RenameRow{"Eio", &RefusesFlags<EIO>, false}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_F(DirTest, ListIsSorted) {
  for (const char* name : {"b", "a", "\xff", "A"}) Put(name, "");
  EXPECT_THAT(*dir().List(), ElementsAre("A", "a", "b", "\xff"));
  EXPECT_THAT(*dir().List(), ElementsAre("A", "a", "b", "\xff"));  // again: no shared position
}

// Each way in, with openat2 and with the walk.
struct LinkRow { const char* name; int flags; };
class Links : public ::testing::TestWithParam<LinkRow> {};
TEST_P(Links, AreNeverFollowed) {
  testing::Scratch scratch;
  ASSERT_TRUE(scratch.dir().MakeDir("real", 0700));
  ASSERT_TRUE(scratch.dir().WriteDurably("real/f", AsView("x"), 0600));
  ASSERT_EQ(::symlink("real", scratch.path("dirlink").c_str()), 0);
  ASSERT_EQ(::symlink("real/f", scratch.path("filelink").c_str()), 0);
  ASSERT_EQ(::symlink("/etc/passwd", scratch.path("absolute").c_str()), 0);
  ASSERT_EQ(::symlink("nothing", scratch.path("dangling").c_str()), 0);
  ASSERT_EQ(::symlink("..", scratch.path("up").c_str()), 0);
  const auto& [name, flags] = GetParam();
  errno = 0;
  EXPECT_LT(internal::OpenBeneath(scratch.dir().fd(), name, flags | O_CLOEXEC, 0600), 0);
  EXPECT_TRUE(errno == ELOOP || errno == ENOTDIR || errno == EEXIST) << errno;
  errno = 0;
  EXPECT_LT(internal::WalkBeneath(scratch.dir().fd(), name, flags | O_CLOEXEC, 0600, false), 0);
  EXPECT_TRUE(errno == ELOOP || errno == ENOTDIR || errno == EEXIST) << errno;
  EXPECT_FALSE(*scratch.dir().Exists("nothing"));
}
INSTANTIATE_TEST_SUITE_P(Dir, Links,
                         ::testing::Values(LinkRow{"filelink", O_RDONLY}, LinkRow{"dirlink", O_PATH | O_DIRECTORY},
                                           LinkRow{"dirlink/f", O_RDONLY}, LinkRow{"absolute", O_RDONLY},
                                           LinkRow{"dangling", O_RDWR | O_CREAT},
                                           LinkRow{"dangling", O_RDWR | O_CREAT | O_EXCL}, LinkRow{"up/x", O_RDWR | O_CREAT},
                                           LinkRow{"filelink", O_RDWR | O_CREAT}));

TEST_F(DirTest, TheWalkOpensWhatOpenAt2Opens) {
  ASSERT_TRUE(dir().MakeDir("a", 0700));
  ASSERT_TRUE(dir().MakeDir("a/b", 0700));
  const Fd made(internal::WalkBeneath(dir().fd(), "a/b/f", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, true));
  ASSERT_TRUE(made.valid());
  EXPECT_EQ(Stat(made.get())->inode, dir().Stat("a/b/f")->inode);
  EXPECT_EQ(internal::WalkBeneath(dir().fd(), "a/x/f", O_RDONLY, 0, false), -1);
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(DirTest, ErrorsNameTheFileAndTheTrouble) {
  ASSERT_EQ(::symlink("x", path("l").c_str()), 0);
  EXPECT_THAT(dir().OpenRead("l").error().Text(), HasSubstr("symbolic link"));
  EXPECT_THAT(dir().OpenRead("no\nsuch").error().Text(), HasSubstr("\"no\\x0asuch\""));
}

TEST_F(DirTest, WriteDurablyIsAllOrNothing) {
  Put("f", "old");
  Put("f", "new");
  EXPECT_EQ(Get("f"), "new");
  ASSERT_TRUE(dir().MakeDir("d", 0700));
  ASSERT_TRUE(dir().MakeDir("d/inner", 0700));
  EXPECT_FALSE(dir().WriteDurably("d", AsView("x"), 0600));  // a directory is in the way
  EXPECT_FALSE(dir().WriteDurably("none/f", AsView("x"), 0600));
  Put("d/g", "deep");
  EXPECT_EQ(Get("d/g"), "deep");
  EXPECT_THAT(*dir().List(), ElementsAre("d", "f"));  // no temporary is left
}

TEST_F(DirTest, ReadSmallIsBounded) {
  Put("f", "12345");
  EXPECT_EQ(*dir().ReadSmall("f", 5), "12345");
  EXPECT_EQ(dir().ReadSmall("f", 4).error().reason(), Reason::kLimitExceeded);
  EXPECT_EQ(dir().ReadSmall("gone", 4).error().reason(), Reason::kMissing);
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(dir().ReadSmall("fifo", 4).error().reason(), Reason::kIo);  // and does not wait for a writer
  ASSERT_TRUE(dir().MakeDir("d", 0700));
  EXPECT_EQ(dir().ReadSmall("d", 4).error().reason(), Reason::kIo);
  // /proc says size 0; the limit counts what is read.
  EXPECT_GT(ReadSmallFile("/proc/self/status", 1u << 20)->size(), 100u);
  EXPECT_EQ(ReadSmallFile("/proc/self/status", 100).error().reason(), Reason::kLimitExceeded);
  Put("large", std::string(100'000, 'x'));
  EXPECT_EQ(Get("large").size(), 100'000u);
}

TEST_F(DirTest, FreeSpace) {
  const Space s = *dir().FreeSpace();
  EXPECT_GT(s.total_bytes, 0u);
  EXPECT_LE(s.available_bytes, s.free_bytes);
  EXPECT_LE(s.free_bytes, s.total_bytes);
}

TEST_F(DirTest, RemoveTreeTakesEverythingAndNothingElse) {
  Put("canary", "alive");
  ASSERT_TRUE(dir().MakeDir("outside", 0700));
  Put("outside/f", "alive");
  ASSERT_TRUE(dir().MakeDir("t", 0700));
  ASSERT_TRUE(dir().MakeDir("t/a", 0700));
  ASSERT_TRUE(dir().MakeDir("t/a/b", 0700));
  Put("t/a/b/f", "x");
  ASSERT_EQ(::symlink("../outside", path("t/dirlink").c_str()), 0);
  ASSERT_EQ(::symlink("../canary", path("t/link").c_str()), 0);
  ASSERT_EQ(::mkfifo(path("t/fifo").c_str(), 0600), 0);
  ASSERT_TRUE(dir().MakeDir("t/locked", 0));
  EXPECT_TRUE(*dir().RemoveTree("t"));
  EXPECT_FALSE(*dir().RemoveTree("t"));
  EXPECT_FALSE(*dir().RemoveTree("no/such"));
  EXPECT_EQ(Get("canary"), "alive");
  EXPECT_EQ(Get("outside/f"), "alive");
  EXPECT_TRUE(*dir().RemoveTree("canary"));
  ASSERT_EQ(::symlink("outside", path("l").c_str()), 0);
  EXPECT_TRUE(*dir().RemoveTree("l"));
  EXPECT_EQ(Get("outside/f"), "alive");
}

TEST_F(DirTest, RemoveTreeOfManyAndDeep) {
  const std::size_t before = testing::OpenDescriptors();
  ASSERT_TRUE(dir().MakeDir("t", 0700));
  {
    const Dir wide = *dir().MakeAndOpenDir("t/wide", 0700);
    for (int i = 0; i < 1500; ++i) {
      const std::string name = "entry-" + std::to_string(i);
      if (i % 5 != 0) { ASSERT_TRUE(wide.CreateNew(name, 0600)); continue; }
      ASSERT_TRUE(wide.MakeDir(name, 0700));
      ASSERT_TRUE(wide.CreateNew(name + "/f", 0600));
    }
    Dir deep = *dir().MakeAndOpenDir("t/deep", 0700);
    for (int i = 0; i < 500; ++i) {  // far beyond PATH_MAX
      ASSERT_TRUE(deep.CreateNew("a", 0600));
      ASSERT_TRUE(deep.CreateNew("z", 0600));
      Dir next = *deep.MakeAndOpenDir("one more level", 0700);
      deep = std::move(next);
    }
  }
  // With few descriptors, in a child so that the limit is its own (E-16).
  EXPECT_EXIT(
      {
        rlimit few{};
        few.rlim_cur = few.rlim_max = 64;
        ::setrlimit(RLIMIT_NOFILE, &few);
        const auto removed = dir().RemoveTree("t");
        ::_exit(removed && *removed ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
  EXPECT_FALSE(*dir().Exists("t"));
  EXPECT_EQ(testing::OpenDescriptors(), before);
}

TEST_F(DirTest, RemoveTreeStops) {
  ASSERT_TRUE(dir().MakeDir("t", 0700));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(dir().RemoveTree(task::Context(stop.get_token()), "t").error().reason(), Reason::kCanceled);
  EXPECT_TRUE(*dir().Exists("t"));
}

TEST_F(DirTest, RemoveTreeCrossesNoMount) {
  ASSERT_TRUE(dir().MakeDir("t", 0700));
  ASSERT_TRUE(dir().MakeDir("t/m", 0700));
  if (!testing::PrivateMounts() || ::mount("tmpfs", path("t/m").c_str(), "tmpfs", 0, nullptr) != 0)
    GTEST_SKIP() << "no right to mount here";
  ASSERT_TRUE(dir().WriteDurably("t/m/canary", AsView("alive"), 0600));
  EXPECT_EQ(dir().RemoveTree("t").error().reason(), Reason::kInUse);
  EXPECT_EQ(Get("t/m/canary"), "alive");
  ::umount(path("t/m").c_str());
  EXPECT_TRUE(*dir().RemoveTree("t"));
}

TEST_F(DirTest, OneLockPerStore) {  // E-23
  time::testing::ManualClock clock{time::testing::AutoAdvance::kYes};
  {
    const auto lock = StoreLock::Acquire(dir(), clock);
    ASSERT_TRUE(lock);
    EXPECT_TRUE(clock.sleeps().empty());
    const auto second = StoreLock::Acquire(dir(), clock);
    EXPECT_FALSE(clock.sleeps().empty()) << "a child of one that was killed may have it for a moment";
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().reason(), Reason::kConflict);
    EXPECT_EQ(second.error().Text(), "another berthd uses this store");
  }
  EXPECT_TRUE(StoreLock::Acquire(dir(), clock));  // the file of a dead owner is no obstacle (E-20)
}

}  // namespace
}  // namespace berth::host
