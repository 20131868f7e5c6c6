// Real containers by real runtimes. Waiting is for FIFOs and for ends of processes.
#include "launch/runtime.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/process.h"
#include "launch/testing/machine.h"

namespace berth::launch {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using testing::Gate;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;
using testing::TestContainer;

const task::Context kForever;

class WithRuntime : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const char* why = testing::WhyNoContainers(GetParam())) GTEST_SKIP() << why;
  }
};
INSTANTIATE_TEST_SUITE_P(Oci, WithRuntime, ::testing::Values("crun", "runc"),
                         [](const auto& i) { return std::string(i.param); });

TEST_P(WithRuntime, RunsLogsAndTellsTheExitCode) {
  TestContainer c(GetParam());
  // Between the two streams there is no order.
  EXPECT_THAT(c.Output("echo out; echo err >&2; printf end; exit 7"),
              AllOf(HasSubstr("stdout F out\n"), HasSubstr("stderr F err\n"), HasSubstr("stdout P end\n"),
                    EndsWith("\n=7")));
  EXPECT_THAT(c.log(),
              MatchesRegex("20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9:]+\\.[0-9]+Z stdout F out\n(.|\n)*"));
  const auto exit = ReadExit(c.folder());
  ASSERT_TRUE(exit && *exit);
  EXPECT_EQ((*exit)->Reason(), "Error");
  EXPECT_EQ((*exit)->signal, 0);
  EXPECT_THAT(*c.runtime->List(), ElementsAre(c.id));
  ASSERT_TRUE(c.runtime->Delete(kForever, c.id, c.folder()));
  EXPECT_TRUE(c.runtime->List()->empty());
  ASSERT_TRUE(c.runtime->Delete(kForever, c.id, c.folder())) << "a second time";
  EXPECT_EQ(c.runtime->State(kForever, c.id).error().reason(), Reason::kNotFound);
}

TEST_P(WithRuntime, IdentityEnvironmentAndLimits) {
  TestContainer c(GetParam());
  c.image.user = "1000:1001";
  c.image.env = {"FROM=image"};
  c.image.working_dir = "/usr";
  c.pod.spec.security_context.supplemental_groups = {7};
  c.mounts.push_back({"/mnt/deep/er", c.scratch.path("share"), {"rbind", "ro"}});
  c.container.security_context = kube::SecurityContext{.read_only_root_filesystem = true,
                                                       .allow_privilege_escalation = false,
                                                       .drop_capabilities = {"ALL"},
                                                       .seccomp = kube::SeccompProfile{"RuntimeDefault", ""}};
  c.container.resources.limits = {{"memory", "64Mi"}, {"cpu", "500m"}};
  const auto out = c.Output(
      "id -u; id -g; id -G; echo $FROM $HOME; echo ~$(readlink /proc/self/cwd)~; touch /x 2>&1; unshare -n "
      "true 2>&1; hostname; echo pid $$$$; umask; ls /mnt/deep; stat -c %a /dev;"
      "while read k v; do case $k in CapBnd:|NoNewPrivs:|Seccomp:) echo $k $v;; esac; done "
      "</proc/self/status; ls /proc/self/fd | wc -l");
  EXPECT_THAT(out, AllOf(HasSubstr("stdout F 1000\nstdout F 1001\nstdout F 1001 7\n"),
                         HasSubstr("F image /\n"), HasSubstr("~/usr~"), HasSubstr("Read-only file system"),
                         HasSubstr("Operation not permitted"), HasSubstr("F web\n"),
                         HasSubstr("F pid 1\nstdout F 0022\nstdout F er\nstdout F 755\n")));
  EXPECT_THAT(out, AllOf(HasSubstr("CapBnd: 0000000000000000\n"), HasSubstr("NoNewPrivs: 1\n"),
                         HasSubstr("Seccomp: 2\n"), HasSubstr("=0")));
}

TEST_P(WithRuntime, PrivilegedHasWhatTheMachineHas) {
  TestContainer c(GetParam());
  c.container.security_context = kube::SecurityContext{.privileged = true};
  EXPECT_THAT(c.Output("while read k v; do case $k in CapBnd:|Seccomp:) echo $k $v;; esac; done "
                       "</proc/self/status; mount -t tmpfs x /tmp && echo mounted"),
              AllOf(HasSubstr("Seccomp: 0\n"), HasSubstr("mounted\n=0")));
}

TEST_P(WithRuntime, SignalsAndKill) {
  TestContainer c(GetParam());
  Gate ready(c.scratch.path("share/ready"));
  ASSERT_TRUE(
      c.Start({"/bin/sh", "-c",
               "trap 'echo got it; exit 3' TERM; echo >/t/ready; while :; do sleep 1000 & wait; done"}));
  ready.Await();
  EXPECT_EQ(*c.runtime->State(kForever, c.id), "running");
  ASSERT_TRUE(c.runtime->Kill(kForever, c.id, SIGTERM));
  auto exit = c.Await();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 3);
  EXPECT_EQ(c.Lines(), "stdout F got it\n");
  EXPECT_TRUE(c.runtime->Kill(kForever, c.id, SIGKILL)) << "fine when it has ended";
  EXPECT_EQ(*c.runtime->State(kForever, c.id), "stopped");
}

TEST_P(WithRuntime, KilledIs137AndDeleteKillsWhatRuns) {
  TestContainer c(GetParam());
  Gate ready(c.scratch.path("share/ready"));
  ASSERT_TRUE(c.Start({"/bin/sh", "-c", "echo >/t/ready; exec sleep 1000"}));
  ready.Await();
  const auto created = ReadCreated(c.folder());
  ASSERT_TRUE(created && *created);
  EXPECT_TRUE((*created)->Alive());
  ASSERT_TRUE(c.runtime->Delete(kForever, c.id, c.folder()));
  EXPECT_FALSE((*created)->Alive());
  const auto exit = ReadExit(c.folder());
  ASSERT_TRUE(exit && *exit);
  EXPECT_EQ((*exit)->code, 137);
  EXPECT_EQ((*exit)->signal, 9);
  EXPECT_EQ(ExitWatch::Open(c.folder())->fd(), -1) << "the shim has ended";
}

TEST_P(WithRuntime, OutOfMemoryIsTold) {
  TestContainer c(GetParam());
  if (std::find(c.machine.controllers.begin(), c.machine.controllers.end(), "memory") ==
      c.machine.controllers.end())
    GTEST_SKIP() << "needs the memory cgroup controller";
  c.container.resources.limits = {{"memory", "16Mi"}};
  ASSERT_TRUE(c.Start({"/bin/tail", "/dev/zero"}));
  const auto exit = c.Await();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 137);
  EXPECT_TRUE(exit->oom_killed);
  EXPECT_EQ(exit->Reason(), "OOMKilled");
}

TEST_P(WithRuntime, ProgramThatIsNotThere) {
  TestContainer c(GetParam());
  const auto started = c.Start({"/bin/nope"});
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().reason(), Reason::kConfig);
  EXPECT_THAT(started.error().message(),
              AllOf(StartsWith("OCI runtime create failed: "), HasSubstr("/bin/nope"),
                    HasSubstr("o such file or directory")));
  ASSERT_TRUE(c.runtime->Delete(kForever, c.id, c.folder()));
  EXPECT_TRUE(c.runtime->List()->empty());
}

TEST_P(WithRuntime, Exec) {
  TestContainer c(GetParam());
  Gate ready(c.scratch.path("share/ready"));
  ASSERT_TRUE(c.Start({"/bin/sh", "-c", "echo >/t/ready; exec sleep 1000"}));
  ready.Await();
  auto done = c.runtime->Exec(kForever, c.id, {"/bin/sh", "-c", "echo hook; echo no >&2; exit 4"});
  ASSERT_TRUE(done) << done.error().Text();
  EXPECT_EQ(done->code, 4);
  EXPECT_EQ(done->out, "hook\n");
  EXPECT_EQ(done->err_tail, "no\n");
}

TEST_P(WithRuntime, OutlivesTheDaemon) {
  TestContainer c(GetParam());
  Gate ready(c.scratch.path("share/ready")), go(c.scratch.path("share/go"));
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    const bool good =
        c.Start({"/bin/sh", "-c", "echo before; echo >/t/ready; read x </t/go; echo after; exit 5"})
            .has_value();
    (void)::kill(::getpid(), good ? SIGKILL : SIGABRT);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
  ASSERT_EQ(WTERMSIG(status), SIGKILL);
  ready.Await();
  const auto watch = ExitWatch::Open(c.folder());
  ASSERT_TRUE(watch);
  EXPECT_FALSE(*watch->Check());
  go.Open();
  const auto exit = watch->Await(kForever);
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 5);
  EXPECT_EQ(c.Lines(), "stdout F before\nstdout F after\n");
}

TEST_P(WithRuntime, LostShim) {
  TestContainer c(GetParam());
  Gate ready(c.scratch.path("share/ready"));
  ASSERT_TRUE(c.Start({"/bin/sh", "-c", "echo >/t/ready; exec sleep 1000"}));
  ready.Await();
  const auto lock = *host::ReadSmallFile(c.folder() + "/shim.lock", 100);
  const auto watch = ExitWatch::Open(c.folder());
  ASSERT_EQ(::kill(std::stoi(lock), SIGKILL), 0);
  const auto exit = watch->Await(kForever);
  ASSERT_TRUE(exit);
  EXPECT_FALSE(exit->known);
  EXPECT_EQ(exit->code, 255);
  EXPECT_EQ(exit->Reason(), "Unknown");
  const auto created = ReadCreated(c.folder());
  EXPECT_TRUE((*created)->Alive());
  ASSERT_TRUE(c.runtime->Delete(kForever, c.id, c.folder()));
  EXPECT_FALSE((*created)->Alive());
}

TEST_P(WithRuntime, CreateThatIsTakenBackLeavesNothing) {
  TestContainer c(GetParam());
  ASSERT_TRUE(c.Create({"/bin/true"}));  // writes config.json
  ASSERT_TRUE(c.runtime->Delete(kForever, c.id, c.folder()));
  for (const char* file : {"created.json", "exit.json", "pid", "shim.lock"})
    (void)::unlink((c.folder() + "/" + file).c_str());
  std::stop_source stop;
  stop.request_stop();
  const auto created = c.runtime->Create(task::Context(stop.get_token()),
                                         {.id = c.id, .folder = c.folder(), .log_path = c.scratch.path("l")});
  ASSERT_FALSE(created);
  EXPECT_TRUE(created.error().cancelled());
  ASSERT_TRUE(c.runtime->Delete(kForever, c.id, c.folder()));
  EXPECT_TRUE(c.runtime->List()->empty());
}

TEST(WithoutCgroups, CrunStillRuns) {
  if (const char* why = testing::WhyNoContainers("crun")) GTEST_SKIP() << why;
  TestContainer c("crun");
  c.machine.cgroups = CgroupMode::kNone;
  const auto probe = ProbeRuntime(
      c.machine, {.runtime = "", .shim = testing::ShimPath(), .state_root = c.scratch.path("state")});
  ASSERT_TRUE(probe.setup);
  EXPECT_EQ(probe.setup->view, "none");
  c.runtime = *Runtime::Open(*probe.setup);
  c.container.resources.limits = {{"memory", "64Mi"}};
  EXPECT_EQ(c.Output("echo runs"), "stdout F runs\n=0");
}

TEST(RuntimeIds, AreChecked) {
  host::testing::Scratch scratch;
  const auto runtime = Runtime::Open({.program = "/nope", .shim = "/nope", .state_root = scratch.path("s")});
  ASSERT_TRUE(runtime);
  for (const char* id : {"", "-x", ".", "a/b", "a b", "--root"})
    EXPECT_EQ(runtime->Start(kForever, id).error().reason(), Reason::kUsage) << id;
  EXPECT_EQ(NewContainerId().size(), 64u);
}

TEST(ReadExit, RefusesWhatItDidNotWrite) {
  host::testing::Scratch scratch;
  EXPECT_FALSE(*ReadExit(scratch.path()));
  for (const char* text : {"", "{}", R"({"exitCode":300,"signal":0,"oomKilled":false,"finishedAt":"1"})",
                           R"({"exitCode":0,"signal":0,"oomKilled":false,"finishedAt":"x"})"}) {
    ASSERT_TRUE(scratch.dir().WriteDurably("exit.json", bytes::AsView(text), 0600));
    EXPECT_EQ(ReadExit(scratch.path()).error().reason(), Reason::kCorrupt) << text;
  }
}

struct ProbeRow {
  const char* name;
  CgroupMode mode;
  bool crun, runc;
  const char* wish;
  const char *program, *view;  // "": cannot run
  bool limits;
};
class Probe : public ::testing::TestWithParam<ProbeRow> {};
TEST_P(Probe, ChoosesBySection62) {
  const auto& row = GetParam();
  host::testing::Scratch scratch;
  for (const auto& [have, name] :
       {std::pair(row.crun, "crun"), std::pair(row.runc, "runc"), std::pair(true, "shim")})
    if (have) {
      ASSERT_TRUE(scratch.dir().WriteDurably(name, {}, 0755)) << name;
    }
  Machine machine;
  machine.cgroups = row.mode;
  machine.controllers = {"memory"};
  const auto probe = ProbeRuntime(machine, {row.wish, scratch.path("shim"), "/s", {scratch.path()}});
  ASSERT_EQ(probe.setup.has_value(), row.program[0] != '\0');
  if (!probe.setup) {
    EXPECT_EQ(probe.findings[0].state, Finding::State::kMissing);
    EXPECT_THAT(probe.findings[0].next, StartsWith("apt-get install"));
    return;
  }
  EXPECT_EQ(probe.setup->program, scratch.path(row.program));
  EXPECT_EQ(probe.setup->view, row.view);
  EXPECT_EQ(probe.setup->limits, row.limits);
}
INSTANTIATE_TEST_SUITE_P(
    Cases, Probe,
    ::testing::Values(ProbeRow{"unified", CgroupMode::kUnified, true, true, "", "crun", "", true},
                      ProbeRow{"unified_runc", CgroupMode::kUnified, false, true, "", "runc", "", true},
                      ProbeRow{"hybrid", CgroupMode::kHybrid, true, true, "", "runc", "", true},
                      ProbeRow{"hybrid_crun", CgroupMode::kHybrid, true, false, "", "crun", "hybrid", true},
                      ProbeRow{"hybrid_wish", CgroupMode::kHybrid, true, true, "crun", "crun", "hybrid",
                               true},
                      ProbeRow{"legacy", CgroupMode::kLegacy, true, true, "", "crun", "", true},
                      ProbeRow{"legacy_wish", CgroupMode::kLegacy, true, true, "runc", "runc", "", true},
                      ProbeRow{"none", CgroupMode::kNone, true, true, "", "crun", "none", false},
                      ProbeRow{"none_runc", CgroupMode::kNone, false, true, "", "", "", false},
                      ProbeRow{"nothing", CgroupMode::kUnified, false, false, "", "", "", true},
                      ProbeRow{"wish_missing", CgroupMode::kUnified, true, false, "runc", "", "", true}),
    [](const auto& i) { return i.param.name; });

TEST(Probe, NamesTheMissingShim) {
  const auto probe = ProbeRuntime({}, {"", "/nope/berth-shim", "/s", {"/nope"}});
  EXPECT_FALSE(probe.setup);
  EXPECT_THAT(probe.findings.back().text, HasSubstr("/nope/berth-shim"));
}

struct SignalRow {
  const char* text;
  int want;  // 0: none
};
class Signals : public ::testing::TestWithParam<SignalRow> {};
TEST_P(Signals, ByNameOrNumber) { EXPECT_EQ(SignalNumber(GetParam().text).value_or(0), GetParam().want); }
INSTANTIATE_TEST_SUITE_P(Texts, Signals,
                         ::testing::Values(SignalRow{"SIGTERM", 15}, SignalRow{"TERM", 15},
                                           SignalRow{"15", 15}, SignalRow{"SIGQUIT", 3},
                                           SignalRow{"SIGRTMIN+3", 37}, SignalRow{"RTMIN", 34},
                                           SignalRow{"RTMAX-1", 63}, SignalRow{"", 0}, SignalRow{"0", 0},
                                           SignalRow{"99", 0}, SignalRow{"SIGNOPE", 0},
                                           SignalRow{"RTMIN-1", 0}, SignalRow{"RTMIN+99", 0},
                                           SignalRow{"term", 0}));

}  // namespace
}  // namespace berth::launch
