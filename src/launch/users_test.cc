#include "launch/users.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes/bytes.h"
#include "host/testing/scratch.h"

namespace berth::launch {
namespace {

using host::testing::Scratch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<std::uint32_t>;

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:,,,:/home/web:/bin/sh\nbad:x:-1:0::/"
    ":\nhuge:x:4294967296:0::/:\n"
    "short:x:5\n:x:7:7::/:\nweb:x:7:7::/again:/\n";
constexpr std::string_view kGroup =
    "root:x:0:\nweb:x:1001:\nadm:x:4:web,root\nvideo:x:44:nobody,web\nbad:x:1x:web\n";

struct UserRow {
  const char* name;
  std::string image_user;
  std::optional<std::int64_t> run_as_user, run_as_group;
  std::uint32_t uid, gid;
  Ids groups;
  const char* error = nullptr;
  const char* policy = "";
  std::vector<std::int64_t> supplemental = {};
  std::optional<std::int64_t> fs_group = {};
};

class Users : public ::testing::TestWithParam<UserRow> {
 protected:
  Users() {
    BERTH_CHECK(scratch.dir().MakeDir("etc", 0755).has_value());
    BERTH_CHECK(scratch.dir().WriteDurably("etc/passwd", bytes::AsView(kPasswd), 0644).has_value());
    BERTH_CHECK(scratch.dir().WriteDurably("etc/group", bytes::AsView(kGroup), 0644).has_value());
  }
  Scratch scratch;
};

TEST_P(Users, Resolve) {
  const auto& row = GetParam();
  oci::ImageConfig image;
  image.user = row.image_user;
  kube::Pod pod;
  kube::Container container;
  container.security_context.emplace();
  container.security_context->run_as_user = row.run_as_user;
  pod.spec.security_context.run_as_group = row.run_as_group;
  pod.spec.security_context.supplemental_groups = row.supplemental;
  pod.spec.security_context.supplemental_groups_policy = row.policy;
  pod.spec.security_context.fs_group = row.fs_group;
  const auto user = ResolveUser(scratch.dir(), pod, container, image);
  if (row.error != nullptr) {
    ASSERT_FALSE(user);
    EXPECT_EQ(user.error().message(), row.error);
    return;
  }
  ASSERT_TRUE(user) << user.error().Text();
  EXPECT_EQ(user->uid, row.uid);
  EXPECT_EQ(user->gid, row.gid);
  EXPECT_EQ(user->groups, row.groups);
}
INSTANTIATE_TEST_SUITE_P(
    Rules, Users,
    ::testing::Values(
        UserRow{"nothing", "", {}, {}, 0, 0, Ids{0, 4}},
        UserRow{"name", "web", {}, {}, 1000, 1001, Ids{4, 44, 1001}},
        UserRow{"number", "1000", {}, {}, 1000, 1001, Ids{4, 44, 1001}},
        UserRow{"unknown_number", "77", {}, {}, 77, 0, Ids{0}},
        UserRow{"group_name", "web:adm", {}, {}, 1000, 4, Ids{4, 44}},
        UserRow{"group_number", "web:9", {}, {}, 1000, 9, Ids{4, 9, 44}},
        UserRow{"run_as_user_drops_group", "web:9", 77, {}, 77, 0, Ids{0}},
        UserRow{"run_as_user_has_passwd_group", "", 1000, {}, 1000, 1001, Ids{4, 44, 1001}},
        UserRow{"run_as_group", "web", {}, 5, 1000, 5, Ids{4, 5, 44}},
        UserRow{"both", "", 77, 8, 77, 8, Ids{8}},
        UserRow{"no_name",
                "joe",
                {},
                {},
                0,
                0,
                {},
                "unable to find user \"joe\": no matching entries in passwd file"},
        UserRow{"no_group",
                "web:joes",
                {},
                {},
                0,
                0,
                {},
                "unable to find group \"joes\": no matching entries in group file"},
        UserRow{"skipped_lines",
                "bad",
                {},
                {},
                0,
                0,
                {},
                "unable to find user \"bad\": no matching entries in passwd file"},
        UserRow{"strict", "web", {}, {}, 1000, 1001, Ids{50, 60, 1001}, nullptr, "Strict", {60}, 50},
        UserRow{
            "merge", "web", {}, {}, 1000, 1001, Ids{4, 44, 50, 60, 1001}, nullptr, "Merge", {60, 60}, 50}),
    [](const auto& i) { return i.param.name; });

TEST(HostileRoot, LinksStayInsideAndOddFilesHaveNoEntries) {
  Scratch outside, image;
  ASSERT_TRUE(outside.dir().WriteDurably("passwd", bytes::AsView("web:x:5:5::/:/\n"), 0644));
  ASSERT_TRUE(image.dir().MakeDir("etc", 0755));
  ASSERT_EQ(::symlink(outside.path("passwd").c_str(), image.path("etc/passwd").c_str()), 0);
  ASSERT_EQ(::mkfifo(image.path("etc/group").c_str(), 0644), 0);
  oci::ImageConfig config;
  config.user = "web";
  EXPECT_THAT(ResolveUser(image.dir(), {}, {}, config).error().message(), HasSubstr("unable to find user"));
  config.user = "6:group";
  EXPECT_THAT(ResolveUser(image.dir(), {}, {}, config).error().message(), HasSubstr("unable to find group"));
  // An absolute link is the image's own.
  ASSERT_EQ(::unlink(image.path("etc/passwd").c_str()), 0);
  ASSERT_EQ(::symlink("/../../own", image.path("etc/passwd").c_str()), 0);
  ASSERT_TRUE(image.dir().WriteDurably("own", bytes::AsView("web:x:6:7::/h:/\n"), 0644));
  config.user = "web";
  const auto user = ResolveUser(image.dir(), {}, {}, config);
  ASSERT_TRUE(user) << user.error().Text();
  EXPECT_EQ(user->uid, 6u);
  EXPECT_EQ(user->home, "/h");
}

TEST(HostileRoot, HugeFileIsRefused) {
  Scratch image;
  ASSERT_TRUE(image.dir().MakeDir("etc", 0755));
  ASSERT_TRUE(image.dir().WriteDurably("etc/passwd", {}, 0644));
  ASSERT_EQ(::truncate(image.path("etc/passwd").c_str(), (1 << 20) + 1), 0);
  const auto user = ResolveUser(image.dir(), {}, {}, {});
  ASSERT_FALSE(user);
  EXPECT_EQ(user.error().reason(), Reason::kLimitExceeded);
  EXPECT_THAT(user.error().Text(), HasSubstr("has 1048577 bytes, at most 1048576 are read (limit account_file_bytes)"));
  EXPECT_TRUE(ResolveUser(image.dir(), {}, {}, {}, {.file_bytes = 2u << 20, .line_bytes = 2u << 20}));
}

TEST(HostileRoot, ALongLineIsRefused) {
  Scratch image;
  ASSERT_TRUE(image.dir().MakeDir("etc", 0755));
  const std::string good = "root:x:0:0:" + std::string((64u << 10) - 14, 'c') + ":/:\n";
  for (const bool long_line : {false, true}) {
    const std::string text = (long_line ? "x" : "") + good;
    ASSERT_TRUE(image.dir().WriteDurably("etc/passwd", bytes::AsView(text), 0644));
    const auto user = ResolveUser(image.dir(), {}, {}, {});
    EXPECT_EQ(user.has_value(), !long_line);
    if (!user) {
      EXPECT_EQ(user.error().reason(), Reason::kLimitExceeded);
      EXPECT_THAT(user.error().Text(), HasSubstr("a line of 65537 bytes, at most 65536 are read (limit account_line_bytes)"));
    }
    EXPECT_TRUE(ResolveUser(image.dir(), {}, {}, {}, {.line_bytes = 65537}));
  }
}

struct NonRootRow {
  const char* name;
  std::string image_user;
  std::optional<std::int64_t> run_as_user;
  const char* error;  // nullptr: fine
};
class NonRoot : public ::testing::TestWithParam<NonRootRow> {};
TEST_P(NonRoot, AsTheKubeletSays) {
  kube::Pod pod;
  pod.metadata.name = "p";
  pod.metadata.ns = "ns";
  pod.metadata.uid = "u";
  pod.spec.security_context.run_as_non_root = true;
  kube::Container container;
  container.name = "c";
  pod.spec.security_context.run_as_user = GetParam().run_as_user;
  oci::ImageConfig image;
  image.user = GetParam().image_user;
  const auto checked = CheckNonRoot(pod, container, image);
  if (GetParam().error == nullptr)
    EXPECT_TRUE(checked);
  else
    EXPECT_EQ(checked.error().message(), std::string(GetParam().error) + " (pod: \"p_ns(u)\", container: c)");
  container.security_context.emplace().run_as_non_root = false;
  EXPECT_TRUE(CheckNonRoot(pod, container, image));
}
INSTANTIATE_TEST_SUITE_P(
    Messages, NonRoot,
    ::testing::Values(NonRootRow{"number", "1000", {}, nullptr},
                      NonRootRow{"root", "0", {}, "container has runAsNonRoot and image will run as root"},
                      NonRootRow{"none", "", {}, "container has runAsNonRoot and image will run as root"},
                      NonRootRow{"name",
                                 "web",
                                 {},
                                 "container has runAsNonRoot and image has non-numeric user (web), cannot "
                                 "verify user is non-root"},
                      NonRootRow{"pod_zero", "1000", 0, "container's runAsUser breaks non-root policy"},
                      NonRootRow{"pod_sets", "", 5, nullptr}),
    [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace berth::launch
