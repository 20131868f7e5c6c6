#include "launch/sandbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

#include "host/mount.h"
#include "host/poll.h"
#include "host/testing/mounts.h"
#include "launch/gc.h"
#include "launch/mounts.h"
#include "launch/shim.h"
#include "launch/testing/machine.h"
#include "launch/testing/objects.h"
#include "launch/volumes.h"

namespace berth::launch {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::Gate;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::TestContainer;

const task::Context kForever;

kube::Pod PodNamed(const std::string& name) {
  kube::Pod pod;
  pod.metadata = {.name = name, .ns = "ns", .uid = "u"};
  return pod;
}

TEST(PodFiles, Hostname) {
  kube::Pod pod = PodNamed(std::string(62, 'a') + "-bcd");
  EXPECT_EQ(PodHostname(pod, "node"), std::string(62, 'a'));
  pod.spec.hostname = "own";
  EXPECT_EQ(PodHostname(pod, "node"), "own");
  pod.spec.host_network = true;
  EXPECT_EQ(PodHostname(pod, "node"), "node");
}

TEST(PodFiles, Hosts) {
  kube::Pod pod = PodNamed("web");
  EXPECT_THAT(HostsText(pod, "web"),
              AllOf(::testing::StartsWith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"),
                    HasSubstr("127.0.0.1\tweb\n")));
  pod.status.pod_ips = {"10.0.0.1", "fd00::1"};
  pod.spec.subdomain = "sub";
  pod.spec.host_aliases = {{"1.2.3.4", {"a", "b"}}};
  EXPECT_THAT(
      HostsText(pod, "web"),
      HasSubstr("10.0.0.1\tweb.sub.ns.svc.cluster.local\tweb\nfd00::1\tweb.sub.ns.svc.cluster.local\tweb\n\n"
                "# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
}

struct ResolvRow {
  const char *name, *policy, *host;
  kube::DnsConfig config;
  const char* want;
};
class Resolv : public ::testing::TestWithParam<ResolvRow> {};
TEST_P(Resolv, Text) {
  kube::Pod pod = PodNamed("p");
  pod.spec.dns_policy = GetParam().policy;
  pod.spec.dns_config = GetParam().config;
  EXPECT_EQ(ResolvConfText(pod, GetParam().host), GetParam().want);
}
constexpr const char* kHost =
    "# c\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nsearch old\nsearch a b\noptions ndots:5 rotate\n";
INSTANTIATE_TEST_SUITE_P(
    Policies, Resolv,
    ::testing::Values(
        ResolvRow{"default",
                  "Default",
                  kHost,
                  {},
                  "search a b\nnameserver 1.1.1.1\nnameserver 2.2.2.2\noptions ndots:5 rotate\n"},
        ResolvRow{"cluster_first", "ClusterFirst", "nameserver 1.1.1.1", {}, "nameserver 1.1.1.1\n"},
        ResolvRow{"none",
                  "None",
                  kHost,
                  {{"9.9.9.9"}, {"x"}, {{"ndots", "2"}, {"edns0", ""}}},
                  "search x\nnameserver 9.9.9.9\noptions ndots:2 edns0\n"},
        ResolvRow{"merged",
                  "Default",
                  kHost,
                  {{"1.1.1.1", "3.3.3.3", "4.4.4.4"}, {"b", "c"}, {{"ndots", "2"}}},
                  "search a b c\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\noptions rotate "
                  "ndots:2\n"},
        ResolvRow{"nothing", "Default", "", {}, ""}),
    [](const auto& i) { return i.param.name; });

struct SysctlRow {
  const char *name, *sysctl;
  bool host_network, host_ipc;
  const char* refusal;  // nullptr: fine
};
class Sysctls : public ::testing::TestWithParam<SysctlRow> {};
TEST_P(Sysctls, AsTheKubeletAdmits) {
  kube::Pod pod = PodNamed("p");
  pod.spec.host_network = GetParam().host_network;
  pod.spec.host_ipc = GetParam().host_ipc;
  pod.spec.security_context.sysctls = {{GetParam().sysctl, "1"}};
  const auto checked = CheckSysctls(pod, {"net.core.*", "kernel.msgmax", "kernel.panic"});
  if (GetParam().refusal == nullptr)
    EXPECT_TRUE(checked);
  else
    EXPECT_EQ(checked.error().message(),
              std::string("forbidden sysctl: \"") + GetParam().sysctl + "\" " + GetParam().refusal);
}
INSTANTIATE_TEST_SUITE_P(
    Rules, Sysctls,
    ::testing::Values(
        SysctlRow{"safe", "net.ipv4.tcp_syncookies", false, false, nullptr},
        SysctlRow{"slashes", "net/ipv4/tcp_syncookies", false, false, nullptr},
        SysctlRow{"unsafe", "net.ipv4.ip_forward", false, false, "not allowlisted"},
        SysctlRow{"prefix", "net.core.somaxconn", false, false, nullptr},
        SysctlRow{"listed", "kernel.msgmax", false, false, nullptr},
        SysctlRow{"not_namespaced", "kernel.panic", false, false, "not allowlisted"},
        SysctlRow{"host_net", "net.core.somaxconn", true, false, "not allowed with host net enabled"},
        SysctlRow{"host_ipc", "kernel.msgmax", false, true, "not allowed with host ipc enabled"}),
    [](const auto& i) { return i.param.name; });

class Sandboxes : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const char* why = testing::WhyNoContainers(GetParam())) GTEST_SKIP() << why;
    if (!host::testing::PrivateMounts()) GTEST_SKIP() << "mounts need root";
    c.emplace(GetParam());
    pods = c->pods_root();
    fs::create_directories(pods + "/" + uid());
  }
  void TearDown() override {
    if (c) (void)Sweep(kForever, *c->runtime, pods, {});
  }
  std::string uid() const { return c->pod.metadata.uid; }
  std::string pod_dir() const { return pods + "/" + uid(); }
  Result<Sandbox> Start() {
    return StartSandbox(kForever, {.pod = c->pod,
                                   .dir = pod_dir() + "/" + kSandboxName,
                                   .shim = testing::ShimPath(),
                                   .node_name = "node"});
  }
  void Use(const Sandbox& sandbox) {
    c->namespaces = sandbox.namespaces;
    for (auto& mount : SandboxMounts(sandbox, c->container)) c->mounts.push_back(std::move(mount));
    c->mounts.push_back({"/dev/shm", sandbox.shm, {"rbind", "rprivate", "rw"}});
  }
  std::vector<std::string> MountsLeft() {
    return *internal::MountsBelow(fs::canonical(c->scratch.path()).string());
  }

  std::optional<TestContainer> c;
  std::string pods;
};
INSTANTIATE_TEST_SUITE_P(Oci, Sandboxes, ::testing::Values("crun", "runc"),
                         [](const auto& i) { return std::string(i.param); });

TEST_P(Sandboxes, ContainersShareThem) {
  c->pod.spec.security_context.sysctls = {{"net.ipv4.ip_unprivileged_port_start", "81"}};
  const auto sandbox = Start();
  ASSERT_TRUE(sandbox) << sandbox.error().Text();
  EXPECT_TRUE(sandbox->made);
  EXPECT_FALSE(Start()->made);
  Use(*sandbox);
  const std::string ns = "for n in net ipc uts; do readlink /proc/self/ns/$n; done; ";
  const std::string first = c->Output(ns +
                                      "hostname; ip addr show lo; cat /etc/hostname "
                                      "/proc/sys/net/ipv4/ip_unprivileged_port_start; echo x >/dev/shm/f");
  EXPECT_THAT(first, AllOf(HasSubstr("stdout F p\n"), HasSubstr("127.0.0.1/8"), HasSubstr("F 81\n"),
                           ::testing::EndsWith("=0")))
      << first;
  ASSERT_TRUE(c->runtime->Delete(kForever, c->id, c->folder()));
  for (const char* file : {"created.json", "exit.json", "pid", "shim.lock"})
    fs::remove(c->folder() + "/" + file);
  fs::remove(c->scratch.path("app.log"));
  const std::string second = c->Output(ns + "cat /dev/shm/f");
  EXPECT_EQ(second.substr(0, second.find("F x\n")), first.substr(0, first.find("stdout F p\n")) + "stdout ")
      << second;
}

TEST_P(Sandboxes, PauseHoldsTheProcessNamespaceAndGivesNothingAway) {
  c->pod.spec.share_process_namespace = true;
  const auto sandbox = Start();
  ASSERT_TRUE(sandbox) << sandbox.error().Text();
  const auto pause = ReadCreated(sandbox->dir, kPauseFile);
  ASSERT_TRUE(pause && *pause && (*pause)->Alive());
  Use(*sandbox);
  c->container.security_context = kube::SecurityContext{.add_capabilities = {"SYS_PTRACE"}};
  const auto out = c->Output(
      "echo my pid $$$$; ls -a /proc/1/root; cat /proc/1/comm; cat /proc/1/exe | wc -c; readlink "
      "/proc/1/exe; touch /proc/1/root/x 2>&1; (sleep 0 &); true");
  EXPECT_THAT(out, AllOf(HasSubstr("F pause\n"), Not(HasSubstr("my pid 1\n")), Not(HasSubstr("etc")))) << out;
#ifndef BERTH_SANITIZED  // where it is the shim itself
  EXPECT_THAT(out, Not(HasSubstr("berth-shim")));
#endif
  const auto status = *host::ReadSmallFile("/proc/" + std::to_string((*pause)->pid) + "/status", 1 << 16);
  EXPECT_THAT(status, AllOf(HasSubstr("CapPrm:\t0000000000000000"), HasSubstr("Uid:\t65535"),
                            HasSubstr("NoNewPrivs:\t1")));
  ASSERT_TRUE(c->runtime->Delete(kForever, c->id, c->folder()));
  ASSERT_TRUE(*StopSandbox(kForever, sandbox->dir));
  EXPECT_FALSE((*pause)->Alive());
  EXPECT_FALSE(*StopSandbox(kForever, sandbox->dir));
}

TEST_P(Sandboxes, HostNamespacesAreNotMade) {
  c->pod.spec.host_network = c->pod.spec.host_ipc = true;
  const auto sandbox = Start();
  ASSERT_TRUE(sandbox) << sandbox.error().Text();
  EXPECT_EQ(
      sandbox->namespaces.net + sandbox->namespaces.ipc + sandbox->namespaces.uts + sandbox->namespaces.pid,
      "");
  EXPECT_EQ(sandbox->shm, "/dev/shm");
  EXPECT_THAT(MountsLeft(), IsEmpty());
  EXPECT_THAT(*host::ReadSmallFile(sandbox->dir + "/hosts", 1 << 20), HasSubstr("(host network)"));
}

TEST_P(Sandboxes, HalfMadeOnesAreMadeAnew) {
  const auto sandbox = Start();
  ASSERT_TRUE(sandbox);
  fs::remove(sandbox->dir + "/ready");
  EXPECT_TRUE(Start()->made);
  ASSERT_TRUE(*host::Unmount(sandbox->namespaces.ipc)) << "as after a reboot";
  EXPECT_TRUE(Start()->made);
  EXPECT_FALSE(Start()->made);
}

TEST_P(Sandboxes, BadSysctlLeavesNothing) {
  c->pod.spec.security_context.sysctls = {{"net.ipv4.ping_group_range", "not numbers"}};
  const auto sandbox = Start();
  ASSERT_FALSE(sandbox);
  EXPECT_THAT(sandbox.error().Text(), HasSubstr("ping_group_range"));
  EXPECT_THAT(MountsLeft(), IsEmpty());
  EXPECT_FALSE(fs::exists(pod_dir() + "/" + kSandboxName));
}

TEST_P(Sandboxes, SweepLeavesNothingOfAPod) {
  c->pod.spec.share_process_namespace = true;
  const auto sandbox = Start();
  ASSERT_TRUE(sandbox) << sandbox.error().Text();
  Use(*sandbox);
  testing::FakeObjects objects;
  kube::Volume memory{.kind = kube::Volume::Kind::kEmptyDir, .name = "e", .medium = "Memory"};
  c->pod.spec.volumes = {memory};
  const VolumeContext volumes{pod_dir(), {c->pod}, objects, {}};
  ASSERT_TRUE(SetUpVolume(kForever, volumes, memory));
  c->container.volume_mounts = {{.name = "e", .mount_path = "/e", .sub_path = "deep/er"}};
  for (auto& mount : *VolumeMounts(volumes, c->container, {})) c->mounts.push_back(mount);
  // The container's folder is the Pod's own, as in the node.
  fs::create_directories(pod_dir() + "/runs/app_0");
  c->folder_path = pod_dir() + "/runs/app_0";
  Gate ready(c->scratch.path("share/ready"));
  ASSERT_TRUE(c->Create({"/bin/sh", "-c", "touch /e/made; echo >/t/ready; sleep 1000"}).has_value());
  ASSERT_TRUE(c->runtime->Start(kForever, c->id));
  ready.Await();
  const auto created = ReadCreated(c->folder());
  const auto pause = ReadCreated(sandbox->dir, kPauseFile);
  EXPECT_TRUE(Sweep(kForever, *c->runtime, pods, {uid()})->empty());
  const auto found = Sweep(kForever, *c->runtime, pods, {});
  ASSERT_TRUE(found);
  EXPECT_THAT(found->containers, ElementsAre(c->id));
  EXPECT_THAT(found->pods, ElementsAre(uid()));
  if (c->machine.cgroups != CgroupMode::kNone) {
    EXPECT_THAT(found->cgroups, ElementsAre(uid()));
  }

  EXPECT_FALSE((*created)->Alive());
  EXPECT_FALSE((*pause)->Alive());
  EXPECT_THAT(MountsLeft(), IsEmpty());
  EXPECT_FALSE(fs::exists(pod_dir()));
  EXPECT_THAT(*c->runtime->List(), IsEmpty());
  EXPECT_TRUE(Sweep(kForever, *c->runtime, pods, {})->empty());
  EXPECT_TRUE(RemovePodRest(kForever, *c->runtime, pods, uid())) << "again";
}

TEST_P(Sandboxes, SweepTakesOrphansOnly) {
  // A container whose shim and runtime state are gone: only its process and its cgroup tell of it.
  fs::create_directories(pod_dir() + "/runs/app_0");
  c->folder_path = pod_dir() + "/runs/app_0";
  fs::create_directories(pods + "/kept");
  Gate ready(c->scratch.path("share/ready"));
  ASSERT_TRUE(c->Start({"/bin/sh", "-c", "echo >/t/ready; sleep 1000"}));
  ready.Await();
  const auto created = ReadCreated(pod_dir() + "/runs/app_0");
  const auto lock = *host::ReadSmallFile(pod_dir() + "/runs/app_0/shim.lock", 100);
  const auto watch = ExitWatch::Open(pod_dir() + "/runs/app_0");
  ASSERT_EQ(::kill(std::stoi(lock), SIGKILL), 0);
  ASSERT_TRUE(watch->Await(kForever));
  fs::remove_all(c->scratch.path("state") + "/" + c->id);
  const auto swept = Sweep(kForever, *c->runtime, pods, {"kept"});
  ASSERT_TRUE(swept) << swept.error().Text();
  EXPECT_THAT(swept->pods, ElementsAre(uid()));
  EXPECT_FALSE((*created)->Alive());
  EXPECT_TRUE(fs::exists(pods + "/kept"));
  EXPECT_FALSE(fs::exists(pod_dir()));
  EXPECT_TRUE(Sweep(kForever, *c->runtime, pods, {"kept"})->empty());
}

TEST(RemovePodRest, RefusesNamesThatAreNoUid) {
  host::testing::Scratch scratch;
  const auto runtime = Runtime::Open({.program = "/nope", .shim = "/nope", .state_root = scratch.path("s")});
  for (const char* uid : {"", ".", "..", "a/b"})
    EXPECT_EQ(RemovePodRest(kForever, *runtime, scratch.path(), uid).error().reason(), Reason::kUsage);
}

}  // namespace
}  // namespace berth::launch
