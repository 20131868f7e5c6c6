#include "launch/volumes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>

#include "host/mount.h"
#include "host/testing/mounts.h"
#include "host/testing/scratch.h"
#include "launch/mounts.h"
#include "launch/projected.h"
#include "launch/testing/objects.h"

namespace berth::launch {
namespace {

namespace fs = std::filesystem;
using host::testing::Scratch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using Kind = kube::Volume::Kind;
using Source = kube::FilesSource;

const task::Context kForever;

struct stat StatOf(const std::string& path) {
  struct stat info {};
  BERTH_CHECK(::stat(path.c_str(), &info) == 0);
  return info;
}
std::string Read(const std::string& path) { return host::ReadSmallFile(path, 1 << 20).value_or("(none)"); }

class Volumes : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!host::testing::PrivateMounts()) GTEST_SKIP() << "mounts need root";
    fs::create_directory(pod_dir);
    pod.metadata.name = "p";
    pod.metadata.labels = {{"app", "web"}};
    container.name = "c";
    objects.AddSecret("s", {{"user", "joe"}, {"password", "pw"}});
    objects.AddConfigMap("m", {{"conf", "x=1"}}, {{"bin", std::string("\0\1", 2)}});
  }
  ~Volumes() override { (void)RemovePodDir(kForever, pod_dir); }
  VolumeContext Context() { return {pod_dir, {pod, 2000, 1 << 20}, objects, images}; }
  Result<std::string> SetUpOf(const kube::Volume& v) {
    std::erase_if(pod.spec.volumes, [&](const auto& o) { return o.name == v.name; });
    pod.spec.volumes.push_back(v);
    return SetUpVolume(kForever, Context(), v);
  }
  std::string Refusal(const kube::Volume& v) {
    auto made = SetUpOf(v);
    return made ? "(none)" : made.error().Text();
  }
  Result<std::vector<BundleMount>> Mounts(std::vector<kube::VolumeMount> mounts,
                                          const kube::StringMap& env = {}) {
    container.volume_mounts = std::move(mounts);
    return VolumeMounts(Context(), container, env);
  }
  static kube::Volume Files(std::vector<Source> sources, std::int32_t mode = 0644) {
    kube::Volume v;
    v.kind = Kind::kFiles;
    v.name = "f";
    v.files = std::move(sources);
    v.default_mode = mode;
    return v;
  }
  std::vector<std::string> MountsLeft() {
    return *internal::MountsBelow(fs::canonical(scratch.path()).string());
  }

  Scratch scratch;
  std::string pod_dir = scratch.path("pod");
  kube::Pod pod;
  kube::Container container;
  testing::FakeObjects objects;
  std::map<std::string, std::string> images;
};

TEST_F(Volumes, EmptyDir) {
  const auto path = SetUpOf({.kind = Kind::kEmptyDir, .name = "e"});
  ASSERT_TRUE(path) << path.error().Text();
  EXPECT_EQ(*path, pod_dir + "/volumes/e");
  EXPECT_EQ(StatOf(*path).st_mode & 07777, 0777u);
  ASSERT_TRUE(host::Dir::Open(*path)->WriteDurably("kept", {}, 0600));
  ASSERT_TRUE(SetUpOf({.kind = Kind::kEmptyDir, .name = "e"}));
  EXPECT_TRUE(fs::exists(*path + "/kept"));
}

TEST_F(Volumes, EmptyDirInMemoryWithFsGroup) {
  pod.spec.security_context.fs_group = 1234;
  kube::Volume v{.kind = Kind::kEmptyDir, .name = "e", .medium = "Memory", .size_limit = "1Mi"};
  const auto path = SetUpOf(v);
  ASSERT_TRUE(path) << path.error().Text();
  EXPECT_EQ(StatOf(*path).st_mode & 07777, 02777u);
  EXPECT_EQ(StatOf(*path).st_gid, 1234u);
  EXPECT_EQ(host::Dir::Open(*path)->FreeSpace()->total_bytes, 1u << 20);
  ASSERT_TRUE(SetUpOf(v));
  EXPECT_EQ(MountsLeft().size(), 1u) << "mounted once";
  ASSERT_TRUE(*RemovePodDir(kForever, pod_dir));
  EXPECT_THAT(MountsLeft(), IsEmpty());
  EXPECT_FALSE(*RemovePodDir(kForever, pod_dir)) << "nothing is left";
  v.medium = "Rocks";
  EXPECT_THAT(Refusal(v), HasSubstr("unknown storage medium"));
}

struct HostPathRow {
  const char *name, *path, *type;
  const char* refusal;  // nullptr: fine
};
class HostPath : public Volumes, public ::testing::WithParamInterface<HostPathRow> {};
TEST_P(HostPath, TypesAreChecked) {
  fs::create_directory(scratch.path("dir"));
  ASSERT_TRUE(scratch.dir().WriteDurably("file", {}, 0600));
  const host::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  scratch.path("sock").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const auto& row = GetParam();
  const std::string path = row.path[0] == '/' ? row.path : scratch.path(row.path);
  kube::Volume v{.kind = Kind::kHostPath, .name = "h"};
  v.path = path;
  v.type = row.type;
  if (row.refusal == nullptr) {
    EXPECT_EQ(Refusal(v), "(none)");
    EXPECT_TRUE(fs::exists(path));
  } else {
    EXPECT_EQ(Refusal(v), "hostPath type check failed: " + path + " is not " + row.refusal);
  }
}
INSTANTIATE_TEST_SUITE_P(
    Types, HostPath,
    ::testing::Values(HostPathRow{"any", "dir", "", nullptr},
                      HostPathRow{"any_missing", "new/deep", "", nullptr},
                      HostPathRow{"dir", "dir", "Directory", nullptr},
                      HostPathRow{"dir_file", "file", "Directory", "a directory"},
                      HostPathRow{"dir_missing", "new", "Directory", "a directory"},
                      HostPathRow{"create", "new/deep", "DirectoryOrCreate", nullptr},
                      HostPathRow{"create_file", "file", "DirectoryOrCreate", "a directory"},
                      HostPathRow{"file", "file", "File", nullptr},
                      HostPathRow{"file_dir", "dir", "File", "a file"},
                      HostPathRow{"file_missing", "new", "File", "a file"},
                      HostPathRow{"file_create", "new", "FileOrCreate", nullptr},
                      HostPathRow{"socket", "sock", "Socket", nullptr},
                      HostPathRow{"socket_file", "file", "Socket", "a socket file"},
                      HostPathRow{"char", "/dev/null", "CharDevice", nullptr},
                      HostPathRow{"char_file", "file", "CharDevice", "a character device"},
                      HostPathRow{"block", "/dev/null", "BlockDevice", "a block device"}),
    [](const auto& i) { return i.param.name; });

TEST_F(Volumes, SecretFilesAreInMemoryAndReplacedInOneStep) {
  const auto volume = Files({{.kind = Source::Kind::kSecret, .name = "s"}}, 0400);
  const auto path = SetUpOf(volume);
  ASSERT_TRUE(path) << path.error().Text();
  EXPECT_EQ(Read(*path + "/user"), "joe");
  EXPECT_EQ(StatOf(*path + "/password").st_mode & 07777, 0400u);
  EXPECT_EQ(fs::read_symlink(*path + "/user").string(), "..data/user");
  EXPECT_EQ(MountsLeft().size(), 1u) << "a tmpfs";
  const std::string version = fs::read_symlink(*path + "/..data").string();
  EXPECT_THAT(version, ::testing::StartsWith("..20"));

  ASSERT_TRUE(SetUpOf(volume));
  EXPECT_EQ(fs::read_symlink(*path + "/..data").string(), version) << "nothing changed";
  const host::Fd old(::open((*path + "/user").c_str(), O_RDONLY | O_CLOEXEC));
  objects.AddSecret("s", {{"user", "ann"}, {"more", "1"}});
  fs::create_directory(*path + "/..2020_left_over");
  ASSERT_TRUE(SetUpOf(volume));
  EXPECT_EQ(Read(*path + "/user"), "ann");
  EXPECT_EQ(Read(*path + "/more"), "1");
  EXPECT_FALSE(fs::exists(fs::symlink_status(*path + "/password")));
  std::string kept(3, '\0');
  ASSERT_TRUE(host::ReadExact(old.get(), std::as_writable_bytes(std::span(kept))));
  EXPECT_EQ(kept, "joe") << "who had it open reads on";
  EXPECT_THAT(*host::Dir::Open(*path)->List(),
              UnorderedElementsAre("..data", fs::read_symlink(*path + "/..data").string(), "more", "user"));
}

TEST_F(Volumes, ProjectedItemsModesAndFsGroup) {
  pod.spec.security_context.fs_group = 1234;
  kube::DownwardFile label{
      .path = "meta/labels", .field = kube::FieldSelector{"v1", "metadata.labels"}, .mode = 0600};
  const auto path =
      SetUpOf(Files({{.kind = Source::Kind::kSecret, .name = "s", .items = {{"user", "creds/u", 0400}}},
                     {.kind = Source::Kind::kConfigMap, .name = "m"},
                     {.kind = Source::Kind::kConfigMap, .name = "gone", .optional = true},
                     {.kind = Source::Kind::kDownward, .downward = {label}}}));
  ASSERT_TRUE(path) << path.error().Text();
  EXPECT_EQ(Read(*path + "/creds/u"), "joe");
  EXPECT_EQ(Read(*path + "/conf"), "x=1");
  EXPECT_EQ(Read(*path + "/bin").size(), 2u);
  EXPECT_EQ(Read(*path + "/meta/labels"), "app=\"web\"");
  EXPECT_EQ(StatOf(*path + "/creds/u").st_mode & 07777, 0440u);
  EXPECT_EQ(StatOf(*path + "/meta/labels").st_mode & 07777, 0640u);
  EXPECT_EQ(StatOf(*path + "/creds").st_mode & 07777, 02755u);
  EXPECT_EQ(StatOf(*path + "/conf").st_gid, 1234u);
}

TEST_F(Volumes, MissingObjectsAndKeys) {
  EXPECT_EQ(Refusal(Files({{.kind = Source::Kind::kSecret, .name = "x"}})), "secret \"x\" not found");
  EXPECT_EQ(Refusal(Files({{.kind = Source::Kind::kConfigMap, .name = "x"}})), "configmap \"x\" not found");
  EXPECT_EQ(Refusal(Files({{.kind = Source::Kind::kSecret, .name = "s", .items = {{"k", "k", {}}}}})),
            "references non-existent secret key: k");
  EXPECT_EQ(Refusal(Files({{.kind = Source::Kind::kConfigMap, .name = "m", .items = {{"k", "k", {}}}}})),
            "references non-existent config key: k");
  EXPECT_EQ(Refusal(Files(
                {{.kind = Source::Kind::kSecret, .name = "s", .items = {{"k", "k", {}}}, .optional = true}})),
            "(none)");
  EXPECT_THAT(Refusal(Files({{.kind = Source::Kind::kServiceAccountToken, .path = "token"}})),
              HasSubstr("need an API server"));
  for (const char* bad : {"/abs", "../up", "a/../b", "a/..", "..data"})
    EXPECT_THAT(Refusal(Files({{.kind = Source::Kind::kSecret, .name = "s", .items = {{"user", bad, {}}}}})),
                HasSubstr("invalid path"))
        << bad;
  EXPECT_THAT(Refusal(Files({{.kind = Source::Kind::kSecret,
                              .name = "s",
                              .items = {{"user", "a", {}}, {"password", "a/b", {}}}}})),
              HasSubstr("needs a directory"));
  kube::Volume nfs{.kind = Kind::kUnsupported, .name = "n", .source = "nfs"};
  EXPECT_THAT(Refusal(nfs), HasSubstr("\"nfs\" are not supported"));
}

TEST_F(Volumes, MountsOfAContainer) {
  ASSERT_TRUE(SetUpOf({.kind = Kind::kEmptyDir, .name = "e"}));
  kube::Volume image{.kind = Kind::kImage, .name = "i"};
  EXPECT_THAT(Refusal(image), HasSubstr("is not mounted"));
  images["i"] = scratch.path("image");
  ASSERT_TRUE(SetUpOf(image));
  const auto mounts =
      Mounts({{.name = "e", .mount_path = "/a/b", .mount_propagation = "Bidirectional"},
              {.name = "e", .mount_path = "/a", .mount_propagation = "HostToContainer", .read_only = true},
              {.name = "e", .mount_path = "/r", .recursive_read_only = "Enabled", .read_only = true},
              {.name = "i", .mount_path = "/img"}});
  ASSERT_TRUE(mounts) << mounts.error().Text();
  ASSERT_TRUE(SetUpOf(Files({})));
  EXPECT_THAT((*Mounts({{.name = "f", .mount_path = "/f"}}))[0].options,
              ElementsAre("rbind", "rprivate", "ro"))
      << "files are ours";
  const std::string e = pod_dir + "/volumes/e";
  EXPECT_THAT(
      *mounts,
      ElementsAre(BundleMount{"/a", e, {"rbind", "rslave", "ro"}},
                  BundleMount{"/r", e, {"rbind", "rprivate", "rro"}},
                  BundleMount{"/img", scratch.path("image"), {"rbind", "rprivate", "ro", "nosuid", "nodev"}},
                  BundleMount{"/a/b", e, {"rbind", "rshared", "rw"}}));
  EXPECT_THAT(Mounts({{.name = "nope", .mount_path = "/x"}}).error().message(), HasSubstr("not in the Pod"));
}

TEST_F(Volumes, SubPathsStayInTheVolume) {
  const auto volume = SetUpOf({.kind = Kind::kEmptyDir, .name = "e"});
  ASSERT_TRUE(volume);
  fs::create_directories(*volume + "/real/sub");
  ASSERT_TRUE(host::Dir::Open(*volume)->WriteDurably("real/file", bytes::AsView("in"), 0600));
  ASSERT_TRUE(scratch.dir().WriteDurably("secret", bytes::AsView("out"), 0600));
  fs::create_symlink("real", *volume + "/inside");
  fs::create_symlink("../../..", *volume + "/outside");
  fs::create_symlink(scratch.path("secret"), *volume + "/absolute");
  for (const char* bad :
       {"outside", "outside/secret", "absolute", "outside/new/dir", "../x", "a/../b", "/abs"}) {
    const auto mounts = Mounts({{.name = "e", .mount_path = "/x", .sub_path = bad}});
    ASSERT_FALSE(mounts) << bad;
    EXPECT_THAT(mounts.error().Text(),
                HasSubstr("failed to prepare subPath for volumeMount \"e\" of container \"c\""))
        << bad;
  }
  EXPECT_FALSE(fs::exists(scratch.path("new")));
  const auto mounts = Mounts({{.name = "e", .mount_path = "/f", .sub_path = "inside/file"},
                              {.name = "e", .mount_path = "/d", .sub_path = "inside/made/deep"},
                              {.name = "e", .mount_path = "/v", .sub_path_expr = "$(POD)/x"}},
                             {{"POD", "p"}});
  ASSERT_TRUE(mounts) << mounts.error().Text();
  EXPECT_EQ((*mounts)[0].source, pod_dir + "/volume-subpaths/e/c/0");
  EXPECT_EQ(Read((*mounts)[0].source), "in");
  EXPECT_TRUE(fs::is_directory(*volume + "/real/made/deep"));
  EXPECT_EQ(StatOf((*mounts)[1].source).st_ino, StatOf(*volume + "/real/made/deep").st_ino);
  EXPECT_TRUE(fs::is_directory(*volume + "/p/x"));
  EXPECT_EQ(MountsLeft().size(), 3u);
  // A second start binds what has the name then, of whatever kind.
  fs::remove(*volume + "/real/file");
  fs::create_directory(*volume + "/real/file");
  ASSERT_TRUE(Mounts({{.name = "e", .mount_path = "/f", .sub_path = "inside/file"}}));
  EXPECT_TRUE(fs::is_directory(pod_dir + "/volume-subpaths/e/c/0"));
  EXPECT_THAT(Mounts({{.name = "e", .mount_path = "/v", .sub_path_expr = "$(NO)"}}).error().message(),
              HasSubstr("missing value for"));
}

TEST_F(Volumes, RemovalKeepsWhatItDoesNotOwn) {
  fs::create_directory(scratch.path("host"));
  ASSERT_TRUE(scratch.dir().WriteDurably("host/kept", {}, 0600));
  kube::Volume v{.kind = Kind::kHostPath, .name = "h"};
  v.path = scratch.path("host");
  ASSERT_TRUE(SetUpOf(v));
  fs::create_directory(scratch.path("host/sub"));
  ASSERT_TRUE(scratch.dir().WriteDurably("host/sub/kept", {}, 0600));
  ASSERT_TRUE(Mounts({{.name = "h", .mount_path = "/h", .sub_path = "sub"}}));
  ASSERT_TRUE(SetUpOf({.kind = Kind::kEmptyDir, .name = "e", .medium = "Memory"}));
  const host::Fd busy(::open((pod_dir + "/volumes/e").c_str(), O_RDONLY | O_CLOEXEC));
  fs::create_symlink(scratch.path("host"), pod_dir + "/link");
  const auto removed = RemovePodDir(kForever, pod_dir);
  ASSERT_TRUE(removed) << removed.error().Text();
  EXPECT_TRUE(*removed);
  EXPECT_TRUE(fs::exists(scratch.path("host/kept")));
  EXPECT_TRUE(fs::exists(scratch.path("host/sub/kept")));
  EXPECT_FALSE(fs::exists(pod_dir));
  EXPECT_THAT(MountsLeft(), IsEmpty());
  EXPECT_EQ(RemovePodDir(kForever, "/").error().reason(), Reason::kUsage);
}

TEST_F(Volumes, TerminationMessages) {
  container.termination_message_policy = "FallbackToLogsOnError";
  const auto mount = MakeTerminationFile(pod_dir, container, "id1");
  ASSERT_TRUE(mount);
  EXPECT_EQ(*mount, (BundleMount{
                        "/dev/termination-log", pod_dir + "/containers/c/id1", {"rbind", "rprivate", "rw"}}));
  EXPECT_EQ(StatOf(mount->source).st_mode & 07777, 0666u);
  const std::string t = "2026-11-25T14:50:00.1Z ";
  ASSERT_TRUE(scratch.dir().WriteDurably(
      "log", bytes::AsView(t + "stdout P one \n" + t + "stdout F line\n" + t + "stderr F two\n"), 0600));
  Exit exit;
  EXPECT_EQ(TerminationMessage(pod_dir, container, "id1", exit, scratch.path("log")), "");
  exit.code = 1;
  EXPECT_EQ(TerminationMessage(pod_dir, container, "id1", exit, scratch.path("log")), "one line\ntwo\n");
  const std::string message = std::string(5000, 'x') + "end";
  ASSERT_TRUE(host::WriteAll(host::Fd(::open(mount->source.c_str(), O_WRONLY | O_CLOEXEC)).get(),
                             bytes::AsView(message)));
  EXPECT_EQ(TerminationMessage(pod_dir, container, "id1", exit, scratch.path("log")),
            message.substr(message.size() - 4096));
  fs::remove(mount->source);
  ASSERT_EQ(::mkfifo(mount->source.c_str(), 0666), 0);
  container.termination_message_policy = "File";
  EXPECT_EQ(TerminationMessage(pod_dir, container, "id1", exit, scratch.path("log")), "")
      << "a FIFO blocks nobody";
}

}  // namespace
}  // namespace berth::launch
