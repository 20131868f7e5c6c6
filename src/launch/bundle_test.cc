// Golden files: testdata/bundle_*.json, one a row. BERTH_GOLDEN=write makes them anew (then read the diff).
#include "launch/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "host/dir.h"
#include "json/document.h"
#include "launch/resources.h"
#include "launch/seccomp.h"
#include "result/testing/dirs.h"

namespace berth::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint64_t kAll = (std::uint64_t{1} << kCapabilities) - 1;

// One member or item a line: diffs of golden files can be read.
void Pretty(const json::Value& v, const std::string& indent, std::string& out) {
  const bool object = v.IsObject();
  if ((!object && !v.IsArray()) || v.size() == 0) {
    out += v.Dump();
    return;
  }
  out += object ? "{\n" : "[\n";
  const std::string inner = indent + " ";
  bool first = true;
  const auto item = [&](const std::string& key, const json::Value& value) {
    out += (first ? "" : ",\n") + inner + key;
    first = false;
    Pretty(value, inner, out);
  };
  if (object)
    for (const auto& [key, value] : v.Members()) item("\"" + std::string(key) + "\": ", value);
  else
    for (std::size_t i = 0; i < v.size(); ++i) item("", v.at(i));
  out += "\n" + indent + (object ? "}" : "]");
}

struct Fixture {
  Fixture() {
    pod.metadata = {.name = "web", .ns = "default", .uid = "0a1b"};
    container.name = "app";
    command = {{"/bin/app", "-v"}, {"PATH=/bin", "A=b"}, "/srv"};
    user = {1000, 1000, {4, 1000}, "/home/app"};
    machine.cgroups = CgroupMode::kLegacy;
    machine.bounding = kAll;
    machine.sys_resource = true;
    machine.open_files_hard = 1 << 20;
    machine.memory_bytes = std::uint64_t{8} << 30;
    machine.seccomp = true;
    namespaces = {"/run/p/net", "/run/p/ipc", "/run/p/uts", ""};
  }
  Result<Bundle> Make() {
    pod.spec.containers = {container};
    return MakeBundle(
        {.pod = pod,
         .container = container,
         .command = command,
         .user = user,
         .machine = machine,
         .rootfs = "/run/p/rootfs",
         .cgroups_path = "/berthd/0a1b/app",
         .hostname = "web",
         .namespaces = namespaces,
         .shm = shm,
         .mounts = mounts,
         .devices = {{"/dev/null", false, 1, 3, 0666, 0, 0}, {"/dev/vda", true, 254, 0, 0660, 0, 6}},
         .localhost_seccomp = localhost,
         .annotations = {{"io.kubernetes.cri.container-name", "app"}}});
  }
  kube::Pod pod;
  kube::Container container;
  Command command;
  User user;
  Machine machine;
  Namespaces namespaces;
  std::string shm = "/run/p/shm", localhost;
  std::vector<BundleMount> mounts;
};

struct GoldenRow {
  const char* name;
  void (*change)(Fixture&);
};
class Golden : public ::testing::TestWithParam<GoldenRow> {};
TEST_P(Golden, Matches) {
  Fixture f;
  GetParam().change(f);
  const auto bundle = f.Make();
  ASSERT_TRUE(bundle) << bundle.error().Text();
  const auto document = json::Document::Parse(bundle->config_json, Reason::kInternal);
  ASSERT_TRUE(document) << document.error().Text();
  std::string text;
  Pretty(document->root(), "", text);
  text += "\n";
  const auto folder = *host::Dir::Open(berth::result::testing::kSourceDir + std::string("/src/launch/testdata"));
  const std::string file = std::string("bundle_") + GetParam().name + ".json";
  if (::getenv("BERTH_GOLDEN") != nullptr) {
    ASSERT_TRUE(folder.WriteDurably(file, bytes::AsView(text), 0644));
  }
  EXPECT_EQ(text, *folder.ReadSmall(file, 1 << 20));
}
INSTANTIATE_TEST_SUITE_P(
    Files, Golden,
    ::testing::Values(GoldenRow{"plain", [](Fixture&) {}},
                      GoldenRow{"limits",
                                [](Fixture& f) {
                                  f.machine.cgroups = CgroupMode::kUnified;
                                  f.container.resources = {
                                      {{"cpu", "500m"}, {"memory", "64Mi"}, {"hugepages-2Mi", "4Mi"}},
                                      {{"cpu", "250m"}, {"memory", "64Mi"}}};
                                  f.mounts = {{"/etc/hosts", "/run/p/hosts", {"rbind", "rprivate", "rw"}},
                                              {"/data", "/v/data", {"rbind", "rslave", "ro"}}};
                                }},
                      GoldenRow{"restricted",
                                [](Fixture& f) {
                                  f.container.security_context = kube::SecurityContext{
                                      .read_only_root_filesystem = true,
                                      .allow_privilege_escalation = false,
                                      .drop_capabilities = {"ALL"},
                                      .seccomp = kube::SeccompProfile{"RuntimeDefault", ""}};
                                  f.container.security_context->add_capabilities = {"net_bind_service"};
                                }},
                      GoldenRow{"privileged",
                                [](Fixture& f) {
                                  f.container.security_context = kube::SecurityContext{.privileged = true};
                                  f.mounts = {{"/host", "/", {"rbind", "rshared", "rw"}}};
                                }},
                      GoldenRow{"host",
                                [](Fixture& f) {
                                  f.pod.spec.host_network = f.pod.spec.host_pid = f.pod.spec.host_ipc = true;
                                  f.namespaces = {};
                                  f.shm = "/dev/shm";
                                  f.machine.cgroups = CgroupMode::kNone;
                                  f.machine.sys_resource = false;
                                  f.machine.open_files_hard = 512;
                                }},
                      GoldenRow{
                          "localhost",
                          [](Fixture& f) {
                            f.pod.spec.security_context.seccomp = kube::SeccompProfile{"Localhost", "x.json"};
                            f.localhost = R"({"defaultAction":"SCMP_ACT_LOG"})";
                            f.container.security_context = kube::SecurityContext{.proc_mount = "Unmasked"};
                            f.machine.apparmor = true;
                            f.machine.apparmor_profiles = {"docker-default"};
                            f.namespaces.pid = "/run/p/pid";
                            f.shm = "";
                          }}),
    [](const auto& i) { return i.param.name; });

struct RefusedRow {
  const char* name;
  void (*change)(Fixture&);
  const char* want;
};
class Refused : public ::testing::TestWithParam<RefusedRow> {};
TEST_P(Refused, Says) {
  Fixture f;
  f.container.security_context.emplace();
  GetParam().change(f);
  const auto bundle = f.Make();
  ASSERT_FALSE(bundle);
  EXPECT_THAT(bundle.error().message(), HasSubstr(GetParam().want));
}
INSTANTIATE_TEST_SUITE_P(
    Reasons, Refused,
    ::testing::Values(
        RefusedRow{"users", [](Fixture& f) { f.pod.spec.host_users = false; }, "hostUsers"},
        RefusedRow{"capability", [](Fixture& f) { f.container.security_context->add_capabilities = {"FLY"}; },
                   "unknown capability \"FLY\""},
        RefusedRow{"bounding",
                   [](Fixture& f) {
                     f.machine.bounding = kAll & ~(std::uint64_t{1} << 24);
                     f.container.security_context->add_capabilities = {"SYS_RESOURCE"};
                   },
                   "has no CAP_SYS_RESOURCE"},
        RefusedRow{"escalation",
                   [](Fixture& f) {
                     f.container.security_context->privileged = true;
                     f.container.security_context->allow_privilege_escalation = false;
                   },
                   "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"},
        RefusedRow{"apparmor",
                   [](Fixture& f) {
                     f.container.security_context->apparmor = kube::SeccompProfile{"RuntimeDefault", ""};
                   },
                   "AppArmor is not enabled on the host"},
        RefusedRow{"apparmor_profile",
                   [](Fixture& f) {
                     f.machine.apparmor = true;
                     f.container.security_context->apparmor = kube::SeccompProfile{"Localhost", "mine"};
                   },
                   "apparmor profile not found mine"},
        RefusedRow{"seccomp",
                   [](Fixture& f) {
                     f.container.security_context->seccomp = kube::SeccompProfile{"Localhost", "x"};
                   },
                   "has no profile"},
        RefusedRow{"devices",
                   [](Fixture& f) {
                     f.container.volume_devices = {{"d", "/dev/x"}};
                   },
                   "volumeDevices"}),
    [](const auto& i) { return i.param.name; });

TEST(BundleNotes, SayWhatIsNotApplied) {
  Fixture f;
  f.machine.cgroups = CgroupMode::kNone;
  f.container.resources.limits = {{"memory", "1Mi"}};
  f.container.tty = true;
  f.container.ports = {{.host_port = 80}};
  EXPECT_THAT(f.Make()->notes,
              ElementsAre(HasSubstr("limits not applied"), HasSubstr("hostPort"), HasSubstr("tty")));
}

struct LimitRow {
  const char* name;
  kube::ResourceRequirements resources;
  std::uint64_t shares;
  std::int64_t quota, memory;  // 0: none
};
class Limits : public ::testing::TestWithParam<LimitRow> {};
TEST_P(Limits, AsTheKubeletComputes) {
  const auto limits = LimitsOf(GetParam().resources);
  ASSERT_TRUE(limits);
  EXPECT_EQ(limits->cpu_shares, GetParam().shares);
  EXPECT_EQ(limits->cpu_quota.value_or(0), GetParam().quota);
  EXPECT_EQ(limits->memory_limit.value_or(0), GetParam().memory);
}
INSTANTIATE_TEST_SUITE_P(
    Kubelet, Limits,
    ::testing::Values(LimitRow{"none", {}, 2, 0, 0}, LimitRow{"one", {{}, {{"cpu", "1"}}}, 1024, 0, 0},
                      LimitRow{"half", {{{"cpu", "500m"}}, {}}, 512, 50'000, 0},
                      LimitRow{"tiny", {{{"cpu", "1m"}}, {}}, 2, 1000, 0},
                      LimitRow{"huge", {{}, {{"cpu", "999999"}}}, 262'144, 0, 0},
                      LimitRow{"memory", {{{"memory", "100Mi"}}, {}}, 2, 0, 104'857'600},
                      LimitRow{"both", {{{"cpu", "2"}}, {{"cpu", "100m"}}}, 102, 200'000, 0}),
    [](const auto& i) { return i.param.name; });
TEST(LimitsOf, RefusesWhatIsNoQuantity) { EXPECT_FALSE(LimitsOf({{{"memory", "lots"}}, {}})); }

struct QosRow {
  const char* name;
  std::vector<kube::ResourceRequirements> containers;
  QosClass want;
  int oom;  // of the first container
};
class Qos : public ::testing::TestWithParam<QosRow> {};
TEST_P(Qos, ClassAndScore) {
  kube::Pod pod;
  for (const auto& r : GetParam().containers) pod.spec.containers.emplace_back().resources = r;
  EXPECT_EQ(QosOf(pod.spec), GetParam().want);
  Machine machine;
  machine.memory_bytes = 1000 << 20;
  machine.sys_resource = true;
  EXPECT_EQ(OomScoreAdj(pod, pod.spec.containers[0], machine), GetParam().oom);
  machine.sys_resource = false;
  machine.oom_score_adj = 10;
  EXPECT_EQ(OomScoreAdj(pod, pod.spec.containers[0], machine), std::max(10, GetParam().oom));
}
const kube::StringMap kBoth{{"cpu", "1"}, {"memory", "250Mi"}};
INSTANTIATE_TEST_SUITE_P(
    Kubelet, Qos,
    ::testing::Values(QosRow{"best_effort", {{}}, QosClass::kBestEffort, 1000},
                      QosRow{"guaranteed", {{kBoth, kBoth}}, QosClass::kGuaranteed, -997},
                      QosRow{"limits_stand_in", {{kBoth, {}}}, QosClass::kGuaranteed, -997},
                      QosRow{"requests_only", {{{}, kBoth}}, QosClass::kBurstable, 750},
                      QosRow{"cpu_only", {{{{"cpu", "1"}}, {}}}, QosClass::kBurstable, 999},
                      QosRow{"one_of_two", {{kBoth, kBoth}, {}}, QosClass::kBurstable, 750},
                      QosRow{"all_memory", {{{}, {{"memory", "2000Mi"}}}}, QosClass::kBurstable, 3},
                      QosRow{"zero", {{{{"cpu", "0"}}, {}}}, QosClass::kBestEffort, 1000}),
    [](const auto& i) { return i.param.name; });

TEST(Capabilities, NamesAndNumbersAgree) {
  for (int i = 0; i < kCapabilities; ++i) EXPECT_EQ(CapabilityNumber(CapabilityName(i)), i);
  EXPECT_EQ(CapabilityNumber("net_raw"), 13);
  EXPECT_EQ(CapabilityNumber("CAP_CHECKPOINT_RESTORE"), 40);
  EXPECT_EQ(CapabilityNumber("ALL"), -1);
  EXPECT_EQ(CapabilityName(kCapabilities), nullptr);
}

}  // namespace
}  // namespace berth::launch
