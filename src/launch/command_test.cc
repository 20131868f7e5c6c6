// Rules of Kubernetes and of containerd's CRI plug-in for arguments and environment, as tables.
#include "launch/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/testing/objects.h"

namespace berth::launch {
namespace {

using ::testing::ElementsAre;
using testing::FakeObjects;
using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

struct ExpandRow {
  const char* text;
  const char* want;
};
class Expand : public ::testing::TestWithParam<ExpandRow> {};
TEST_P(Expand, Follows) {
  const kube::StringMap values{{"VAR", "value"}, {"EMPTY", ""}, {"NEST", "$(VAR)"}, {"a)b", "x"}};
  EXPECT_EQ(ExpandVariables(GetParam().text,
                            [&](std::string_view n) {
                              const auto f = values.find(std::string(n));
                              return f == values.end() ? std::nullopt : std::optional(f->second);
                            }),
            GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(
    Rules, Expand,
    ::testing::Values(ExpandRow{"plain", "plain"}, ExpandRow{"", ""}, ExpandRow{"$(VAR)", "value"},
                      ExpandRow{"a$(VAR)b$(VAR)", "avaluebvalue"}, ExpandRow{"$$(VAR)", "$(VAR)"},
                      ExpandRow{"$$$(VAR)", "$value"}, ExpandRow{"$$$$(VAR)", "$$(VAR)"}, ExpandRow{"$", "$"},
                      ExpandRow{"$$", "$"}, ExpandRow{"a$", "a$"}, ExpandRow{"$x", "$x"},
                      ExpandRow{"${VAR}", "${VAR}"}, ExpandRow{"$(NOPE)", "$(NOPE)"},
                      ExpandRow{"$(EMPTY)", ""}, ExpandRow{"$(NEST)", "$(VAR)"}, ExpandRow{"$(VAR", "$(VAR"},
                      ExpandRow{"$(VAR$(VAR)", "$(VAR$(VAR)"}, ExpandRow{"$()", "$()"},
                      ExpandRow{"$(VAR)$", "value$"}, ExpandRow{"$VAR)", "$VAR)"}));

struct ArgvRow {
  const char* name;
  Strings entrypoint, cmd, command, args, want;  // want empty: "no command specified"
};
class Argv : public ::testing::TestWithParam<ArgvRow> {};
TEST_P(Argv, Follows) {
  const auto& row = GetParam();
  oci::ImageConfig image;
  image.entrypoint = row.entrypoint;
  image.cmd = row.cmd;
  kube::Container container;
  container.command = row.command;
  container.args = row.args;
  const auto command = MakeCommand(image, container, {{"V", "1"}}, "host");
  if (row.want.empty()) {
    ASSERT_FALSE(command);
    EXPECT_EQ(command.error().message(), "no command specified");
    return;
  }
  ASSERT_TRUE(command) << command.error().Text();
  EXPECT_EQ(command->argv, row.want);
}
INSTANTIATE_TEST_SUITE_P(
    Kubernetes, Argv,
    ::testing::Values(
        ArgvRow{"image", {"/ep-1"}, {"foo", "bar"}, {}, {}, {"/ep-1", "foo", "bar"}},
        ArgvRow{"command", {"/ep-1"}, {"foo", "bar"}, {"/ep-2"}, {}, {"/ep-2"}},
        ArgvRow{"args", {"/ep-1"}, {"foo", "bar"}, {}, {"zoo", "boo"}, {"/ep-1", "zoo", "boo"}},
        ArgvRow{"both", {"/ep-1"}, {"foo", "bar"}, {"/ep-2"}, {"zoo", "boo"}, {"/ep-2", "zoo", "boo"}},
        ArgvRow{"cmd_only", {}, {"sh"}, {}, {}, {"sh"}}, ArgvRow{"args_only", {}, {"sh"}, {}, {"ls"}, {"ls"}},
        ArgvRow{"nothing", {}, {}, {}, {}, {}}, ArgvRow{"empty_word", {""}, {}, {}, {}, {}},
        ArgvRow{"expands", {}, {}, {"e$(V)"}, {"$(V)$$(V)"}, {"e1", "1$(V)"}},
        ArgvRow{"image_is_literal", {"e$(V)"}, {"$(V)"}, {}, {}, {"e$(V)", "$(V)"}}),
    [](const auto& i) { return i.param.name; });

TEST(Command, EnvironmentMergesInOrderOfFirstAppearance) {
  oci::ImageConfig image;
  image.env = {"A=image", "PATH=/x", "EMPTY=", "B=image=2"};
  image.cmd = {"c"};
  const auto command = MakeCommand(image, kube::Container{}, {{"A", "pod"}, {"Z", "pod"}}, "h");
  ASSERT_TRUE(command);
  EXPECT_THAT(command->env, ElementsAre("PATH=/x", "HOSTNAME=h", "A=pod", "EMPTY=", "B=image=2", "Z=pod"));
  EXPECT_EQ(command->working_dir, "/");
}

TEST(Command, WorkingDirectory) {
  oci::ImageConfig image;
  image.cmd = {"c"};
  image.working_dir = "srv";
  EXPECT_EQ(MakeCommand(image, {}, {}, "h")->working_dir, "/srv");
  kube::Container container;
  container.working_dir = "/own";
  EXPECT_EQ(MakeCommand(image, container, {}, "h")->working_dir, "/own");
  container.working_dir = "own";
  EXPECT_FALSE(MakeCommand(image, container, {}, "h"));
}

TEST(Command, NulBytesAreRefused) {
  kube::Container container;
  container.command = {std::string("a\0b", 3)};
  EXPECT_FALSE(MakeCommand({}, container, {}, "h"));
  container.command = {"a"};
  EXPECT_FALSE(MakeCommand({}, container, {{"X", std::string("a\0b", 3)}}, "h"));
}

struct EnvCase : ::testing::Test {
  EnvCase() {
    pod.metadata.name = "p";
    pod.metadata.ns = "ns";
    pod.metadata.uid = "u-1";
    pod.metadata.labels = {{"app", "web"}, {"q", "a\"b"}};
    pod.status.pod_ip = "10.0.0.1";
    pod.status.pod_ips = {"10.0.0.1", "fd00::1"};
    container.name = "c";
    container.resources.limits = {{"cpu", "1500m"}, {"memory", "64Mi"}};
    pod.spec.containers = {container};
    objects.AddSecret("s", {{"user", "joe"}, {"1=bad", "x"}});
    objects.AddConfigMap("m", {{"k", "v"}, {"user", "map"}});
  }
  Result<Environment> Make() { return MakeEnvironment({pod, 4000, 1 << 30}, container, objects); }
  kube::Pod pod;
  kube::Container container;
  FakeObjects objects;
};

TEST_F(EnvCase, EnvFromThenEnvLaterWins) {
  container.env_from = {
      {.prefix = "", .secret = "s"}, {.prefix = "P_", .config_map = "m"}, {.config_map = "m"}};
  container.env = {{.name = "k", .value = "own-$(user)-$(P_user)-$(later)"},
                   {.name = "later", .value = "$(k)"}};
  const auto env = Make();
  ASSERT_TRUE(env) << env.error().Text();
  EXPECT_EQ(env->values, (kube::StringMap{{"user", "map"},
                                          {"P_k", "v"},
                                          {"P_user", "map"},
                                          {"k", "own-map-map-$(later)"},
                                          {"later", "own-map-map-$(later)"}}));
  EXPECT_THAT(env->skipped, ElementsAre("1=bad"));
}

TEST_F(EnvCase, MissingObjectsAndKeys) {
  container.env = {{.name = "X", .secret_key = kube::KeySelector{"s", "nope", false}}};
  EXPECT_EQ(Make().error().message(), "couldn't find key nope in Secret ns/s");
  container.env = {{.name = "X", .config_map_key = kube::KeySelector{"m", "nope", false}}};
  EXPECT_EQ(Make().error().message(), "couldn't find key nope in ConfigMap ns/m");
  container.env = {{.name = "X", .secret_key = kube::KeySelector{"gone", "nope", false}}};
  EXPECT_EQ(Make().error().message(), "secret \"gone\" not found");
  container.env = {{.name = "X", .secret_key = kube::KeySelector{"gone", "nope", true}},
                   {.name = "Y", .config_map_key = kube::KeySelector{"m", "nope", true}},
                   {.name = "Z", .config_map_key = kube::KeySelector{"m", "k", true}}};
  EXPECT_EQ(Make()->values, (kube::StringMap{{"Z", "v"}}));
  container.env = {};
  container.env_from = {{.config_map = "gone"}};
  EXPECT_EQ(Make().error().message(), "configmap \"gone\" not found");
  container.env_from = {{.config_map = "gone", .optional = true}, {.secret = "gone", .optional = true}};
  EXPECT_TRUE(Make()->values.empty());
}

struct FieldRow {
  const char* path;
  const char* want;  // nullptr: refused
};
class Field : public EnvCase, public ::testing::WithParamInterface<FieldRow> {};
TEST_P(Field, Value) {
  const auto value = FieldValue({pod}, {"v1", GetParam().path});
  if (GetParam().want == nullptr)
    EXPECT_FALSE(value);
  else
    EXPECT_EQ(*value, GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(
    Paths, Field,
    ::testing::Values(FieldRow{"metadata.name", "p"}, FieldRow{"metadata.namespace", "ns"},
                      FieldRow{"metadata.uid", "u-1"},
                      FieldRow{"metadata.labels", "app=\"web\"\nq=\"a\\\"b\""},
                      FieldRow{"metadata.labels['app']", "web"}, FieldRow{"metadata.labels['none']", ""},
                      FieldRow{"metadata.annotations", ""}, FieldRow{"status.podIP", "10.0.0.1"},
                      FieldRow{"status.podIPs", "10.0.0.1,fd00::1"}, FieldRow{"spec.hostname", nullptr},
                      FieldRow{"metadata.labels['", nullptr}));

struct ResourceRow {
  const char *resource, *divisor;
  const char* want;
};
class Resource : public EnvCase, public ::testing::WithParamInterface<ResourceRow> {};
TEST_P(Resource, Value) {
  const auto value = ResourceValue({pod, 4000, 1 << 30}, {"", GetParam().resource, GetParam().divisor}, "c");
  if (GetParam().want == nullptr)
    EXPECT_FALSE(value);
  else
    EXPECT_EQ(*value, GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(Rules, Resource,
                         ::testing::Values(ResourceRow{"limits.cpu", "", "2"},
                                           ResourceRow{"limits.cpu", "1m", "1500"},
                                           ResourceRow{"limits.memory", "1Mi", "64"},
                                           ResourceRow{"limits.memory", "0", "67108864"},
                                           ResourceRow{"requests.cpu", "1m", "1500"},
                                           ResourceRow{"requests.ephemeral-storage", "", "0"},
                                           ResourceRow{"limits.gpu", "", nullptr},
                                           ResourceRow{"cpu", "", nullptr},
                                           ResourceRow{"limits.cpu", "-1", nullptr}));
TEST_F(EnvCase, AbsentLimitIsWhatTheNodeHas) {
  pod.spec.containers[0].resources = {};
  EXPECT_EQ(*ResourceValue({pod, 4000, 1 << 30}, {"", "limits.cpu", ""}, "c"), "4");
  EXPECT_EQ(*ResourceValue({pod, 4000, 1 << 30}, {"", "limits.memory", ""}, "c"), "1073741824");
  EXPECT_EQ(*ResourceValue({pod, 4000, 1 << 30}, {"", "requests.cpu", ""}, "c"), "0");
  EXPECT_FALSE(ResourceValue({pod}, {"other", "limits.cpu", ""}, "c"));
}

}  // namespace
}  // namespace berth::launch
