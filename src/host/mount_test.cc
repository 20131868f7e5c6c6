// Real mounts, in a mount namespace of this program's own. The EROFS images are made by mkfs.erofs.
#include "host/mount.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <ostream>

#include "host/loop.h"
#include "host/probe.h"
#include "host/process.h"
#include "host/testing/mounts.h"
#include "host/testing/scratch.h"

namespace berth::host {
namespace {

using bytes::AsView;
using ::testing::HasSubstr;

struct Line { const char* what; const char* text; bool good; MountInfo want; };
std::ostream& operator<<(std::ostream& out, const Line& l) { return out << l.what; }
class MountInfoLines : public ::testing::TestWithParam<Line> {};
TEST_P(MountInfoLines, AreReadByTheKernelsRules) {
  const auto mounts = ParseMountInfo(GetParam().text);
  ASSERT_EQ(mounts.has_value(), GetParam().good);
  if (mounts) {
    EXPECT_EQ(mounts->at(0), GetParam().want);
  } else {
    EXPECT_EQ(mounts.error().reason(), Reason::kCorrupt);
  }
}
INSTANTIATE_TEST_SUITE_P(
    Mount, MountInfoLines,
    ::testing::Values(
        Line{"optional fields", "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n", true,
             {36, 35, 98, 0, "/mnt1", "/mnt2", "rw,noatime", "ext3", "/dev/root", "rw,errors=continue"}},
        Line{"no optional fields", "1 0 0:5 / / ro - erofs none ro", true, {1, 0, 0, 5, "/", "/", "ro", "erofs", "none", "ro"}},
        Line{"escapes", R"(1 0 0:5 / /a\040b\011c\134d\043 ro - tmpfs x\012y rw)", true,
             {1, 0, 0, 5, "/", "/a b\tc\\d#", "ro", "tmpfs", "x\ny", "rw"}},
        Line{"half an escape stays", R"(1 0 0:5 / /a\04 ro - tmpfs x rw)", true, {1, 0, 0, 5, "/", "/a\\04", "ro", "tmpfs", "x", "rw"}},
        Line{"empty source", "1 0 0:5 / / ro - tmpfs  rw", true, {1, 0, 0, 5, "/", "/", "ro", "tmpfs", "", "rw"}},
        Line{"options keep their escapes", R"(1 0 0:5 / / ro - overlay overlay rw,lowerdir=/a\134:b)", true,
             {1, 0, 0, 5, "/", "/", "ro", "overlay", "overlay", R"(rw,lowerdir=/a\134:b)"}},
        Line{"no separator", "1 0 0:5 / / ro shared:1", false, {}}, Line{"no device", "1 0 5 / / ro - a b c", false, {}},
        Line{"letters", "x 0 0:5 / / ro - a b c", false, {}}, Line{"negative", "-1 0 0:5 / / ro - a b c", false, {}},
        Line{"cut", "1 0 0:5 / / ro - a b", false, {}}, Line{"blank line", "\n", false, {}}));

TEST(MountInfo, ErrorsNameTheLine) {
  EXPECT_THAT(ParseMountInfo("1 0 0:5 / / ro - a b c\nrubbish\n").error().Text(), HasSubstr("line 2"));
  EXPECT_TRUE(ParseMountInfo("")->empty());
  EXPECT_GE(ListMounts()->size(), 1u);
}

class MountTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::PrivateMounts()) GTEST_SKIP() << "no right to mount here (CAP_SYS_ADMIN)";
    ASSERT_TRUE(dir().MakeDir("m", 0755));
  }
  void TearDown() override {
    while (true) {
      const auto unmounted = Unmount(target(), Lazy::kYes);
      if (!unmounted || !*unmounted) break;
    }
  }

  const Dir& dir() { return scratch_.dir(); }
  std::string path(std::string_view name) { return scratch_.path(name); }
  std::string target() { return path("m"); }
  void Put(const std::string& name, std::string_view text) {
    const Fd fd = *dir().CreateOrOpen(name, 0644);
    ASSERT_TRUE(WriteAll(fd.get(), AsView(text)));
  }
  std::string Get(const std::string& absolute) {
    auto text = ReadSmallFile(absolute, 1u << 20);
    return text ? *text : "error: " + text.error().Text();
  }
  std::optional<MountInfo> At(const std::string& where) {
    std::optional<MountInfo> found;
    const std::vector<MountInfo> mounts = *ListMounts();
    for (const MountInfo& m : mounts)
      if (m.target == where) found = m;
    return found;
  }

  // "meta" and "data": a tree with the file `hello` of 5000 bytes. False without mkfs.erofs.
  bool MakeErofs() {
    EXPECT_TRUE(dir().MakeDir("tree", 0755));
    Put("tree/hello", contents_);
    ProcessSpec spec;
    spec.program = "mkfs.erofs";
    spec.search_path = true;
    spec.argv = {"mkfs.erofs", "--quiet", "-Eforce-inode-extended", "--chunksize=4096",
                 "--blobdev=" + path("data"), path("meta"), path("tree")};
    Put("data", "");
    const auto made = RunCaptured(task::Context(), spec, {});
    return made && made->status.success();
  }
  ErofsImage Image() { return {path("meta"), {path("data")}}; }
  bool HaveErofs() { return Probe().erofs; }

  const std::string contents_ = std::string(4990, 'x') + "the end.\n.";

 private:
  testing::Scratch scratch_;
};

TEST_F(MountTest, ErofsFromFilesAndLoops) {
  if (!HaveErofs() || !MakeErofs()) GTEST_SKIP() << "no EROFS in this kernel, or no mkfs.erofs";
  for (const Backing backing : {Backing::kAuto, Backing::kFile, Backing::kLoop}) {
    SCOPED_TRACE(static_cast<int>(backing));
    const auto mounted = MountErofs(Image(), target(), {}, backing);
    if (!mounted && backing != Backing::kAuto && mounted.error().reason() == Reason::kUnsupported) continue;
    ASSERT_TRUE(mounted) << mounted.error().Text();
    EXPECT_EQ(Get(path("m/hello")), contents_);
    const auto info = At(target());
    ASSERT_TRUE(info);
    EXPECT_EQ(info->type, "erofs");
    EXPECT_THAT(info->options, HasSubstr("ro"));
    EXPECT_THAT(info->options, HasSubstr("nosuid"));
    EXPECT_THAT(info->options, HasSubstr("nodev"));
    EXPECT_EQ(::open(path("m/new").c_str(), O_CREAT | O_WRONLY, 0600), -1);
    EXPECT_EQ(errno, EROFS);
    EXPECT_TRUE(*Unmount(target()));
    EXPECT_FALSE(*Unmount(target()));
  }
}

TEST_F(MountTest, ErofsByDescriptorAndWithOddNames) {
  if (!HaveErofs() || !MakeErofs()) GTEST_SKIP() << "no EROFS in this kernel, or no mkfs.erofs";
  const Fd meta = *dir().OpenRead("meta"), data = *dir().OpenRead("data"), at(::open(target().c_str(), O_PATH | O_CLOEXEC));
  ASSERT_TRUE(MountErofs({meta, {Place(data)}}, at, {.noexec = true}));
  EXPECT_EQ(Get(path("m/hello")), contents_);
  EXPECT_THAT(At(target())->options, HasSubstr("noexec"));
  ASSERT_TRUE(*Unmount(target()));
  const std::string odd = "a,b:c\\d " + std::string(240, 'x');
  ASSERT_TRUE(dir().MakeDir(odd, 0700));
  ASSERT_TRUE(dir().Rename("meta", dir(), odd + "/meta", Replace::kNo));
  ASSERT_TRUE(dir().Rename("data", dir(), odd + "/data", Replace::kNo));
  ASSERT_TRUE(MountErofs({path(odd + "/meta"), {path(odd + "/data")}}, target()));
  EXPECT_EQ(Get(path("m/hello")), contents_);
}

TEST_F(MountTest, ADetachedMountGoesWithItsDescriptor) {
  if (!HaveErofs() || !MakeErofs()) GTEST_SKIP() << "no EROFS in this kernel, or no mkfs.erofs";
  Fd mount = *OpenErofs(Image());
  const Dir inside(*DuplicateFd(mount.get()));
  EXPECT_EQ(*inside.ReadSmall("hello", 1u << 20), contents_);
  EXPECT_FALSE(At(target()));
  ASSERT_TRUE(Attach(mount, target()));
  EXPECT_EQ(Get(path("m/hello")), contents_);
}

TEST_F(MountTest, LoopDevicesClearThemselves) {
  if (!HaveErofs() || !MakeErofs()) GTEST_SKIP() << "no EROFS in this kernel, or no mkfs.erofs";
  std::string device;
  {
    const auto loop = AttachLoop(dir().OpenRead("meta")->get());
    if (!loop && loop.error().reason() == Reason::kUnsupported) GTEST_SKIP() << loop.error().Text();
    ASSERT_TRUE(loop) << loop.error().Text();
    device = loop->path;
    loop_info64 info{};
    ASSERT_EQ(::ioctl(loop->fd.get(), LOOP_GET_STATUS64, &info), 0);
    constexpr std::uint32_t kWanted = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    EXPECT_EQ(info.lo_flags & (kWanted | LO_FLAGS_DIRECT_IO), kWanted);
    EXPECT_EQ(info.lo_inode, dir().Stat("meta")->inode);
  }
  const Fd again(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  loop_info64 info{};
  // Free, or somebody else's by now.
  const bool taken = again.valid() && ::ioctl(again.get(), LOOP_GET_STATUS64, &info) == 0;
  EXPECT_TRUE(!taken || info.lo_inode != dir().Stat("meta")->inode);
}

TEST_F(MountTest, BrokenImagesAreErrorsWithTheKernelsReason) {
  if (!HaveErofs()) GTEST_SKIP() << "no EROFS in this kernel";
  Put("meta", std::string(8192, 'x'));
  Put("data", std::string(4096, 'x'));
  for (const Backing backing : {Backing::kFile, Backing::kLoop, Backing::kAuto}) {
    const auto mounted = MountErofs(Image(), target(), {}, backing);
    ASSERT_FALSE(mounted);
    EXPECT_THAT(mounted.error().Text(), HasSubstr("EROFS image"));
  }
  if (MakeErofs()) {
    std::fstream meta(path("meta"), std::ios::in | std::ios::out | std::ios::binary);
    meta.seekp(1100);
    meta << "damage";
    meta.close();
    const auto mounted = MountErofs(Image(), target());
    ASSERT_FALSE(mounted);
    EXPECT_EQ(mounted.error().reason(), Reason::kCorrupt) << mounted.error().Text();
    EXPECT_THAT(mounted.error().next_step(), HasSubstr("berth fsck --repair"));
  }
  EXPECT_EQ(MountErofs({path("gone"), {}}, target(), {}, Backing::kFile).error().reason(), Reason::kMissing);
  EXPECT_FALSE(At(target()));
}

class Overlay : public MountTest, public ::testing::WithParamInterface<OverlaySpec::Method> {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    if (!Probe().overlay) GTEST_SKIP() << "no overlayfs in this kernel";
    if (GetParam() == OverlaySpec::Method::kAppend && !OverlayAppends()) GTEST_SKIP() << "no lowerdir+ in this kernel";
  }
  OverlaySpec Lowers(std::size_t count) {
    OverlaySpec spec;
    spec.method = GetParam();
    for (std::size_t i = 0; i < count; ++i) {
      // Long names, as those of a store are.
      const std::string name = "layer-" + std::string(64, 'd') + std::to_string(i);
      EXPECT_TRUE(dir().MakeDir(name, 0755));
      Put(name + "/f" + std::to_string(i), "own " + std::to_string(i));
      Put(name + "/shared", "from " + std::to_string(i));
      spec.lowers.push_back(path(name));
    }
    return spec;
  }
};

TEST_P(Overlay, FiveHundredLayers) {
  const OverlaySpec spec = Lowers(kMaxOverlayLowers);
  const std::size_t before = testing::OpenDescriptors();
  const auto mounted = MountOverlay(spec, target());
  ASSERT_TRUE(mounted) << mounted.error().Text();
  EXPECT_EQ(testing::OpenDescriptors(), before);
  EXPECT_EQ(Get(path("m/shared")), "from 0");
  EXPECT_EQ(Get(path("m/f0")), "own 0");
  EXPECT_EQ(Get(path("m/f499")), "own 499");
  EXPECT_THAT(At(target())->options, HasSubstr("ro"));
  EXPECT_FALSE(dir().CreateNew("m/x", 0600));
  EXPECT_TRUE(*Unmount(target()));
}

TEST_P(Overlay, OneMoreIsRefused) {
  OverlaySpec spec;
  spec.method = GetParam();
  spec.lowers.assign(kMaxOverlayLowers + 1, target());
  EXPECT_EQ(MountOverlay(spec, target()).error().reason(), Reason::kLimitExceeded);
}

TEST_P(Overlay, UpperTakesTheWrites) {
  OverlaySpec spec = Lowers(2);
  ASSERT_TRUE(dir().MakeDir("upper, with:odd\\name", 0755));
  ASSERT_TRUE(dir().MakeDir("work", 0755));
  spec.upper = path("upper, with:odd\\name");
  spec.work = path("work");
  const auto mounted = MountOverlay(spec, target());
  ASSERT_TRUE(mounted) << mounted.error().Text();
  {
    const Dir m = *Dir::Open(target());
    ASSERT_TRUE(m.WriteDurably("shared", AsView("changed"), 0644));
    ASSERT_TRUE(*m.Unlink("f1"));
    EXPECT_THAT(*m.List(), ::testing::ElementsAre("f0", "shared"));
  }
  EXPECT_EQ(*dir().ReadSmall("upper, with:odd\\name/shared", 100), "changed");
  EXPECT_EQ(dir().Stat("upper, with:odd\\name/f1")->kind, FileKind::kCharDevice);  // a whiteout
  EXPECT_EQ(Get(spec.lowers[0].path + "/shared"), "from 0");
  EXPECT_TRUE(*Unmount(target()));
}

TEST_P(Overlay, FollowsNoRedirect) {
  OverlaySpec spec = Lowers(2);
  ASSERT_TRUE(dir().MakeDir("secret", 0755));
  ASSERT_TRUE(dir().MakeDir(spec.lowers[1].path.substr(target().size() - 1) + "/hidden", 0755));
  Put(spec.lowers[1].path.substr(target().size() - 1) + "/hidden/f", "x");
  ASSERT_TRUE(dir().MakeDir(spec.lowers[0].path.substr(target().size() - 1) + "/door", 0755));
  if (::setxattr((spec.lowers[0].path + "/door").c_str(), "trusted.overlay.redirect", "/hidden", 7, 0) != 0)
    GTEST_SKIP() << "this file system has no trusted attributes";
  ASSERT_TRUE(MountOverlay(spec, target()));
  const auto seen = dir().Exists("m/door/f");  // the kernel may also refuse the door as a whole
  EXPECT_FALSE(seen && *seen);
}

TEST_P(Overlay, OneLayerIsABind) {
  const OverlaySpec spec = Lowers(1);
  ASSERT_TRUE(MountOverlay(spec, target()));
  EXPECT_EQ(Get(path("m/f0")), "own 0");
  EXPECT_FALSE(dir().CreateNew("m/x", 0600));
}

TEST_P(Overlay, OfMountedDescriptors) {
  OverlaySpec spec = Lowers(3);
  const Fd first(::open(spec.lowers[0].path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const Fd second(::open(spec.lowers[1].path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  spec.lowers[0] = Place(first);
  spec.lowers[1] = Place(second);
  const auto mounted = MountOverlay(spec, target());
  ASSERT_TRUE(mounted) << mounted.error().Text();
  EXPECT_EQ(Get(path("m/f1")), "own 1");
  EXPECT_EQ(Get(path("m/f2")), "own 2");
}

TEST_P(Overlay, OverErofs) {
  if (!HaveErofs() || !MakeErofs()) GTEST_SKIP() << "no EROFS in this kernel, or no mkfs.erofs";
  ASSERT_TRUE(dir().MakeDir("l0", 0755));
  const std::string lower = path("l0");
  ASSERT_TRUE(MountErofs(Image(), lower));
  OverlaySpec spec = Lowers(1);
  spec.lowers.emplace_back(lower);
  const auto mounted = MountOverlay(spec, target());
  EXPECT_TRUE(mounted) << mounted.error().Text();
  EXPECT_EQ(Get(path("m/hello")), contents_);
  // The overlay holds its own clone of the lower mount: that can go before the overlay does.
  EXPECT_TRUE(*Unmount(lower));
  EXPECT_EQ(Get(path("m/hello")), contents_);
  EXPECT_TRUE(*Unmount(target()));
}

TEST_P(Overlay, BadPlacesAreErrors) {
  OverlaySpec spec = Lowers(2);
  spec.lowers[1] = path("gone");
  EXPECT_FALSE(MountOverlay(spec, target()));
  spec = OverlaySpec{};
  EXPECT_EQ(MountOverlay(spec, target()).error().reason(), Reason::kUsage);
  spec.lowers = {target()};
  spec.upper = path("x");
  EXPECT_EQ(MountOverlay(spec, target()).error().reason(), Reason::kUsage);
  EXPECT_FALSE(At(target()));
}
INSTANTIATE_TEST_SUITE_P(Mount, Overlay, ::testing::Values(OverlaySpec::Method::kAppend, OverlaySpec::Method::kDescriptors));

TEST_F(MountTest, BindReadOnlyAndMove) {
  ASSERT_TRUE(dir().MakeDir("source", 0755));
  ASSERT_TRUE(dir().MakeDir("other", 0755));
  Put("source/f", "x");
  ASSERT_TRUE(BindReadOnly(path("source"), target(), {.read_only = false}));
  EXPECT_EQ(dir().CreateNew("m/new", 0600).error().reason(), Reason::kUnavailable);  // EROFS
  Put("source/g", "y");  // the source itself stays writable
  EXPECT_EQ(Get(path("m/g")), "y");
  {
    const Fd inside(::open(path("m/g").c_str(), O_RDONLY | O_CLOEXEC));
    const auto busy = Unmount(target());
    ASSERT_FALSE(busy);
    EXPECT_EQ(busy.error().reason(), Reason::kInUse);
    EXPECT_THAT(busy.error().next_step(), HasSubstr("leave the directory; fuser -vm "));
  }
  ASSERT_TRUE(MoveMount(target(), path("other")));
  EXPECT_FALSE(*Unmount(target()));
  EXPECT_EQ(Get(path("other/f")), "x");
  EXPECT_TRUE(*Unmount(path("other")));
  // Of a single file, as a plug-in's configuration is.
  Put("file", "contents");
  Put("place", "");
  ASSERT_TRUE(BindReadOnly(path("file"), path("place")));
  EXPECT_EQ(Get(path("place")), "contents");
  EXPECT_TRUE(*Unmount(path("place")));
}

TEST_F(MountTest, UnmountTellsBusyFromAbsent) {
  ASSERT_TRUE(dir().MakeDir("source", 0755));
  Put("source/f", "x");
  ASSERT_TRUE(BindReadOnly(path("source"), target()));
  const Fd held(::open(path("m/f").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(Unmount(target()).error().reason(), Reason::kInUse);
  EXPECT_TRUE(*Unmount(target(), Lazy::kYes));
  EXPECT_FALSE(*Unmount(target(), Lazy::kYes));
  EXPECT_FALSE(*Unmount(path("no/such/place")));
  ASSERT_EQ(::symlink("m", path("link").c_str()), 0);
  ASSERT_TRUE(BindReadOnly(path("source"), target()));
  EXPECT_FALSE(*Unmount(path("link"))) << "a link is not followed";
}

TEST_F(MountTest, WithoutTheRightItIsDenied) {
  EXPECT_EXIT(
      {
        (void)!::setresuid(65534, 65534, 65534);
        const auto bind = BindReadOnly("/usr", "/usr");
        ::_exit(!bind && bind.error().reason() == Reason::kDenied && !Probe().can_mount ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(MountTest, ProbeSeesWhatTheOthersUse) {
  const Capabilities c = Probe();
  utsname names{};
  ASSERT_EQ(::uname(&names), 0);
  EXPECT_EQ(c.kernel_release, names.release);
  EXPECT_GE(c.kernel_major, 5);
  EXPECT_TRUE(c.can_mount);
  EXPECT_TRUE(c.pidfd);
  EXPECT_EQ(c.overlay_append, c.overlay && OverlayAppends());
  const auto list = Get("/proc/filesystems");
  EXPECT_TRUE(c.erofs || list.find("\terofs\n") == std::string::npos);
  EXPECT_TRUE(c.overlay || list.find("\toverlay\n") == std::string::npos);
  EXPECT_GE(c.cgroup_version, 0);
}

TEST(Probe, ExpectsOfAKernelWhatItsVersionHas) {
  struct Row {
    Capabilities can;
    bool file_backed, loop;
  };
  constexpr bool kDevices = true, kLoop = true, kMount = true, kNo = false;
  const auto can = [](int major, int minor, bool mount, bool devices, bool loop) {
    return Capabilities{.kernel_major = major, .kernel_minor = minor, .can_mount = mount, .erofs_multi_device = devices, .loop = loop};
  };
  for (const Row& row : {Row{can(6, 12, kMount, kDevices, kNo), true, false}, Row{can(7, 0, kMount, kDevices, kLoop), true, true},
                         Row{can(6, 1, kMount, kDevices, kLoop), false, true}, Row{can(6, 1, kMount, kDevices, kNo), false, false},
                         Row{can(6, 12, kMount, kNo, kLoop), false, false}, Row{can(6, 12, kNo, kDevices, kLoop), false, false}}) {
    const ErofsProbe expected = ExpectErofs(row.can);
    EXPECT_EQ(expected.file_backed, row.file_backed);
    EXPECT_EQ(expected.loop, row.loop);
    EXPECT_EQ(expected.file_backed, expected.file_backed_error.empty());
    EXPECT_EQ(expected.loop, expected.loop_error.empty());
  }
}

TEST_F(MountTest, ProbeErofsMountsBothWays) {
  if (!HaveErofs() || !MakeErofs()) GTEST_SKIP() << "no EROFS in this kernel, or no mkfs.erofs";
  const std::string meta = *dir().ReadSmall("meta", 1u << 20), data = *dir().ReadSmall("data", 1u << 20);
  const std::size_t before = dir().List()->size();
  const ErofsProbe probe = *ProbeErofs(AsView(meta), AsView(data), dir());
  EXPECT_TRUE(probe.usable());
  EXPECT_EQ(probe.file_backed, probe.file_backed_error.empty()) << probe.file_backed_error;
  EXPECT_EQ(probe.loop, probe.loop_error.empty()) << probe.loop_error;
  EXPECT_EQ(dir().List()->size(), before);
  EXPECT_FALSE(ProbeErofs(AsView("x"), AsView("y"), dir())->usable());
}

}  // namespace
}  // namespace berth::host
