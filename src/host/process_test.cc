// Rows of reliability-security 3.d and 5.3 that concern the process itself. Children block on pipes, never on time.
#include "host/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "host/poll.h"
#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::host {
namespace {

using bytes::AsView;
using ::testing::HasSubstr;
using time::testing::ManualClock;

ProcessSpec Shell(std::string script) {
  ProcessSpec spec;
  spec.program = "/bin/sh";
  spec.argv = {"sh", "-c", std::move(script)};
  spec.env = {"PATH=/usr/bin:/bin"};
  return spec;
}

ProcessSpec Program(std::vector<std::string> argv) {
  ProcessSpec spec;
  spec.program = argv[0];
  spec.argv = std::move(argv);
  return spec;
}

std::string Out(const ProcessSpec& spec, std::string_view input = "") {
  auto captured = RunCaptured(task::Context(), spec, AsView(input));
  if (!captured) return "error: " + captured.error().Text();
  return captured->out + (captured->status.success() ? "" : "[" + captured->status.Text() + "]");
}

// Everything until the end, that is until nobody holds the other side.
std::string Drain(int fd) {
  std::string all, room(4096, '\0');
  while (true) {
    const auto n = ReadSome(fd, std::as_writable_bytes(std::span(room)));
    if (!n || *n == 0) return all;
    all.append(room, 0, *n);
  }
}
char ReadByte(int fd) {
  char c = 0;
  return ReadExact(fd, std::as_writable_bytes(std::span(&c, 1))) ? c : '\0';
}

struct ExitRow { const char* script; bool signalled; int code; const char* text; };
class Exits : public ::testing::TestWithParam<ExitRow> {};
TEST_P(Exits, AreToldApart) {
  auto process = Process::Spawn(Shell(GetParam().script));
  ASSERT_TRUE(process);
  const ExitStatus status = *process->Wait(task::Context());
  EXPECT_EQ(status.signalled, GetParam().signalled);
  EXPECT_EQ(status.code, GetParam().code);
  EXPECT_EQ(status.Text(), GetParam().text);
  EXPECT_EQ(status.success(), GetParam().code == 0);
  EXPECT_EQ(process->Wait(task::Context())->code, GetParam().code);  // again
  EXPECT_TRUE(process->Kill(SIGKILL));                               // nobody is hit
}
INSTANTIATE_TEST_SUITE_P(Process, Exits,
                         ::testing::Values(ExitRow{"exit 0", false, 0, "exit status 0"}, ExitRow{"exit 3", false, 3, "exit status 3"},
                                           ExitRow{"kill -9 $$", true, 9, "killed by signal 9"},
                                           ExitRow{"kill -15 $$", true, 15, "killed by signal 15"}));

TEST(Process, GetsExactlyWhatIsGiven) {
  ProcessSpec env = Program({"/usr/bin/env"});
  env.env = {"A=1", "B=two words"};
  EXPECT_EQ(Out(env), "A=1\nB=two words\n");
  // 3 is the folder that ls reads.
  const Pipe noise = *MakePipe();
  const Fd leaky(::dup(noise.read.get()));  // not close-on-exec
  EXPECT_EQ(Out(Program({"/bin/ls", "/proc/self/fd"})), "0\n1\n2\n3\n");
  EXPECT_EQ(Out(Shell("pwd; umask")), "/\n0077\n");
}

TEST(Process, SignalsAreReset) {
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction before {};
  ::sigaction(SIGPIPE, &ignore, &before);
  sigset_t blocked, old;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &old);
  const std::string status = Out(Program({"/bin/grep", "-E", "^Sig(Blk|Ign)|^NoNewPrivs", "/proc/self/status"}));
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ::sigaction(SIGPIPE, &before, nullptr);
  EXPECT_EQ(status, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nNoNewPrivs:\t1\n");
}

TEST(Process, DescriptorsLandWhereTheyAreMapped) {
  const Fd a = *MemFd("a", AsView("A")), b = *MemFd("b", AsView("B"));
  ProcessSpec spec = Shell("cat <&5; cat <&6; ls /proc/self/fd | tr '\\n' ' '");
  // Numbers that collide with the sources, both ways round.
  const Fd five(::fcntl(a.get(), F_DUPFD_CLOEXEC, 5)), six(::fcntl(b.get(), F_DUPFD_CLOEXEC, 5));
  spec.fds = {{5, six.get()}, {6, five.get()}};
  EXPECT_EQ(Out(spec), "BA0 1 2 3 5 6 ");
}

TEST(Process, StdinIsTheNullDeviceUnlessMapped) {
  Pipe out = *MakePipe();
  ProcessSpec spec = Shell("cat; readlink /proc/self/fd/0 /proc/self/fd/2");
  spec.fds = {{1, out.write.get()}};
  Process process = *Process::Spawn(spec);
  out.write.reset();
  EXPECT_EQ(Drain(out.read.get()), "/dev/null\n/dev/null\n");
  EXPECT_TRUE(process.Wait(task::Context())->success());
}

TEST(Process, FailuresOfTheChildAreOurs) {
  const auto error = [](const ProcessSpec& spec) { return Process::Spawn(spec).error(); };
  EXPECT_EQ(error(Program({"/no/such/program"})).reason(), Reason::kMissing);
  EXPECT_THAT(error(Program({"/no/such/program"})).Text(), HasSubstr("start \"/no/such/program\": execute"));
  EXPECT_EQ(error(Program({"true"})).reason(), Reason::kUsage);
  EXPECT_EQ(error(Program({"/etc/passwd"})).reason(), Reason::kIo);  // no right to execute
  ProcessSpec nowhere = Program({"/bin/true"});
  nowhere.working_directory = "/no/such";
  EXPECT_THAT(error(nowhere).Text(), HasSubstr("enter the working directory"));
  ProcessSpec bad_fd = Program({"/bin/true"});
  bad_fd.fds = {{5, 9999}};
  EXPECT_THAT(error(bad_fd).Text(), HasSubstr("map descriptors"));
  EXPECT_EQ(error(Program({"/bin/echo", std::string("a\0b", 3)})).reason(), Reason::kUsage);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);  // no zombie is left of any
  EXPECT_EQ(errno, ECHILD);
}

TEST(Process, SearchesThePathOnlyWhenAsked) {
  ProcessSpec spec = Program({"true"});
  spec.search_path = true;
  EXPECT_TRUE(Process::Spawn(spec)->Wait(task::Context())->success());
  spec.program = "no-such-program-anywhere";
  EXPECT_EQ(Process::Spawn(spec).error().reason(), Reason::kMissing);
  spec.program = "bin/true";
  EXPECT_EQ(Process::Spawn(spec).error().reason(), Reason::kUsage);
}

TEST(Process, RunsByDescriptor) {
  testing::Scratch scratch;
  ProcessSpec spec = Program({"/replaced/meanwhile", "hello"});
  const Fd echo(::open("/bin/echo", O_PATH | O_CLOEXEC));
  spec.program_fd = echo.get();
  EXPECT_EQ(Out(spec), "hello\n");
  ASSERT_TRUE(scratch.dir().WriteDurably("script", AsView("#!/bin/sh\necho script $1\n"), 0700));
  const Fd script(::open(scratch.path("script").c_str(), O_PATH | O_CLOEXEC));
  spec.program_fd = script.get();
  EXPECT_EQ(Out(spec), "script hello\n");
}

TEST(Process, LimitsAndSession) {
  ProcessSpec spec = Shell("ulimit -n; ulimit -Hc; cut -d' ' -f6 /proc/$$/stat; echo $$");
  spec.limits = {{RLIMIT_NOFILE, 33}};
  const std::string out = Out(spec);
  EXPECT_THAT(out, ::testing::StartsWith("33\n0\n"));
  const auto numbers = out.substr(5);
  const auto middle = numbers.find('\n');
  EXPECT_EQ(numbers.substr(0, middle + 1), numbers.substr(middle + 1)) << "leader of its own session";
}

TEST(Process, ChildrenGetTheSoftLimitOfDescriptorsThatWasOurs) {
  rlimit ours{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &ours), 0);
  const rlimit few{200, ours.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  RaiseOpenFiles();
  rlimit raised{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &raised), 0);
  EXPECT_EQ(raised.rlim_cur, std::min<rlim_t>(ours.rlim_max, 1 << 20));
  EXPECT_EQ(raised.rlim_max, ours.rlim_max);
  RaiseOpenFiles();  // changes nothing
  ProcessSpec spec = Shell("ulimit -Sn; ulimit -Hn");
  const std::string hard = ours.rlim_max == RLIM_INFINITY ? "unlimited" : std::to_string(ours.rlim_max);
  EXPECT_EQ(Out(spec), "200\n" + hard + "\n");
  spec.own = ProcessSpec::Own::kContained;
  EXPECT_EQ(Out(spec), "200\n" + hard + "\n");
  spec.limits = {{RLIMIT_NOFILE, 33}};
  EXPECT_EQ(Out(spec), "33\n33\n");
  // A descriptor in the child may have a number beyond.
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  spec = Program({"/bin/readlink", "/proc/self/fd/250"});
  spec.fds = {{250, null.get()}};
  EXPECT_EQ(Out(spec), "/dev/null\n");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &ours), 0);
  RaiseOpenFiles();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &ours), 0);
}

TEST(Process, ChangesIdentity) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ProcessSpec spec = Program({"/bin/grep", "-E", "^(Uid|Gid|Groups)", "/proc/self/status"});
  spec.identity = Identity{65534, 65533};
  EXPECT_EQ(Out(spec), "Uid:\t65534\t65534\t65534\t65534\nGid:\t65533\t65533\t65533\t65533\nGroups:\t \n");
}

TEST(Process, WaitStopsAndTheChildLives) {
  Pipe hold = *MakePipe();
  ProcessSpec spec = Program({"/bin/cat"});
  spec.fds = {{0, hold.read.get()}};
  Process process = *Process::Spawn(spec);
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  EXPECT_EQ(process.Wait(task::Context(stop.get_token())).error().reason(), Reason::kCanceled);
  ManualClock clock;
  std::jthread hand([&] { clock.AwaitSleeps(1); clock.Advance(std::chrono::seconds(60)); });
  EXPECT_EQ(process.Wait(task::Context({}, clock).WithTimeout(std::chrono::seconds(60))).error().reason(), Reason::kTimeout);
  EXPECT_FALSE(process.reaped());
  hold.read.reset();
  hold.write.reset();
  EXPECT_TRUE(process.Wait(task::Context())->success());
}

TEST(Process, DestructorEndsTheWholeGroup) {
  Pipe hold = *MakePipe(), alive = *MakePipe();
  ProcessSpec spec = Shell("cat <&5 >&6 & cat <&5 >&6 & echo x >&6; wait");
  spec.fds = {{5, hold.read.get()}, {6, alive.write.get()}};
  pid_t pid = 0;
  {
    Process process = *Process::Spawn(spec);
    pid = process.pid();
    alive.write.reset();
    ASSERT_EQ(ReadByte(alive.read.get()), 'x');
    Process moved = std::move(process);
    EXPECT_EQ(moved.pid(), pid);
  }
  EXPECT_EQ(Drain(alive.read.get()), "\n");  // the end: nobody of them holds the pipe
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), -1);
}

TEST(Process, TheGroupEndsWithItsLeader) {
  Pipe hold = *MakePipe(), alive = *MakePipe();
  ProcessSpec spec = Shell("cat <&5 >&6 &");
  spec.fds = {{5, hold.read.get()}, {6, alive.write.get()}};
  Process process = *Process::Spawn(spec);
  alive.write.reset();
  EXPECT_TRUE(process.Wait(task::Context())->success());
  EXPECT_EQ(Drain(alive.read.get()), "");
}

TEST(Process, DiesWithTheThreadThatStartedIt) {
  Pipe hold = *MakePipe();
  ProcessSpec spec = Program({"/bin/cat"});
  spec.fds = {{0, hold.read.get()}};
  const auto spawn = [&](bool die) {
    spec.die_with_thread = die;
    std::optional<Process> process;
    std::thread([&] { process.emplace(*Process::Spawn(spec)); }).join();
    return *std::move(process);
  };
  EXPECT_EQ(spawn(true).Wait(task::Context())->Text(), "killed by signal 9");
  Process survivor = spawn(false);
  hold.read.reset();
  hold.write.reset();
  EXPECT_TRUE(survivor.Wait(task::Context())->success());
}

TEST(Process, ManyAtOnceLeakNothing) {
  const std::size_t before = testing::OpenDescriptors();
  std::vector<std::jthread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        good += Out(Shell("cat; echo x >&2"), "in") == "in";
        good += !Process::Spawn(Program({"/no/such"}));
      }
    });
  threads.clear();
  EXPECT_EQ(good, 80);
  EXPECT_EQ(testing::OpenDescriptors(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

ProcessSpec Contained(std::string script) {
  ProcessSpec spec = Shell(std::move(script));
  spec.own = ProcessSpec::Own::kContained;
  return spec;
}

TEST(Contained, EndsAsItEndsAndTalksAsItTalks) {
  EXPECT_EQ(Out(Contained("cat; echo b"), "a\n"), "a\nb\n");
  EXPECT_EQ(Out(Contained("exit 3")), "[exit status 3]");
  EXPECT_EQ(Out(Contained("kill -SEGV $$")), "[killed by signal 11]");
  EXPECT_EQ(Out(Contained("test $$ -ne 1 && ls /proc/self/fd | wc -l")), "4\n") << "0 to 2, and that of ls";
  ProcessSpec none = Program({"/no/such/program"});
  none.own = ProcessSpec::Own::kContained;
  const auto spawned = Process::Spawn(none);
  ASSERT_FALSE(spawned);
  EXPECT_EQ(spawned.error().reason(), Reason::kMissing);
}

#ifndef __SANITIZE_THREAD__  // which has to know of every fork
TEST(Contained, WhatLeftTheGroupEndsWithIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  Pipe alive = *MakePipe(), ready = *MakePipe();
  ProcessSpec spec = Contained("setsid sh -c 'setsid sleep 1000 & sleep 1000 & echo >&9; wait' & head -c 1 <&8 >/dev/null");
  spec.fds = {{7, alive.write.get()}, {8, ready.read.get()}, {9, ready.write.get()}};
  const auto captured = RunCaptured(task::Context(), spec, {});
  ASSERT_TRUE(captured) << captured.error().Text();
  EXPECT_TRUE(captured->status.success());
  alive.write.reset();
  EXPECT_EQ(Drain(alive.read.get()), "") << "all who had the pipe are gone, or this would not return";
}

TEST(Contained, TheDeadlineAsksAndThenKillsAll) {
  for (const bool deaf : {false, true}) {
    ManualClock clock;
    Pipe alive = *MakePipe(), ready = *MakePipe();
    ProcessSpec spec = Contained(std::string(deaf ? "trap '' TERM; " : "") + "setsid sleep 1000 & echo >&9; while :; do sleep 1000; done");
    spec.fds = {{7, alive.write.get()}, {9, ready.write.get()}};
    std::jthread hand([&] {
      ReadByte(ready.read.get());
      for (std::size_t i = 1; i <= (deaf ? 2u : 1u); ++i) {
        clock.AwaitSleeps(i);
        clock.Advance(std::chrono::seconds(i == 1 ? 60 : 2));
      }
    });
    const auto captured = RunCaptured(task::Context({}, clock).WithTimeout(std::chrono::seconds(60)), spec, {});
    ASSERT_FALSE(captured);
    EXPECT_EQ(captured.error().reason(), Reason::kTimeout);
    alive.write.reset();
    EXPECT_EQ(Drain(alive.read.get()), "");
  }
}
#endif

TEST(RunCaptured, CollectsBothOutputs) {
  auto captured = RunCaptured(task::Context(), Shell("cat; echo oops >&2; exit 4"), AsView("hello"));
  ASSERT_TRUE(captured);
  EXPECT_EQ(captured->out, "hello");
  EXPECT_EQ(captured->stderr_tail, "oops\n");
  EXPECT_EQ(captured->stderr_bytes, 5u);
  EXPECT_EQ(captured->status.code, 4);
}

TEST(RunCaptured, InputThatIsNeverReadBlocksNobody) {
  EXPECT_EQ(Out(Program({"/bin/true"}), std::string(4u << 20, 'x')), "");
}

TEST(RunCaptured, OutputIsBounded) {
  CaptureLimits limits;
  limits.stdout_bytes = 5;
  EXPECT_EQ(RunCaptured(task::Context(), Shell("printf 12345"), {}, limits)->out, "12345");
  EXPECT_EQ(RunCaptured(task::Context(), Shell("printf 123456"), {}, limits).error().reason(), Reason::kLimitExceeded);
  EXPECT_EQ(RunCaptured(task::Context(), Program({"/usr/bin/yes"}), {}, limits).error().reason(), Reason::kLimitExceeded);
  limits.stderr_tail_bytes = 4;
  auto noisy = RunCaptured(task::Context(), Shell("head -c 100000 /dev/zero >&2; printf tail >&2"), {}, limits);
  ASSERT_TRUE(noisy);
  EXPECT_EQ(noisy->stderr_tail, "tail");
  EXPECT_EQ(noisy->stderr_bytes, 100004u);
}

TEST(RunCaptured, DeadlineTerminatesThenKills) {
  struct Row { const char* script; std::size_t sleeps; };
  // One ends on SIGTERM, the other has to be killed after the grace.
  for (const Row& row : {Row{"echo r >&5; exec cat <&6", 1},
                         Row{"trap '' TERM; echo r >&5; exec cat <&6", 2}}) {
    ManualClock clock;
    Pipe ready = *MakePipe(), hold = *MakePipe();
    ProcessSpec spec = Shell(row.script);
    spec.fds = {{5, ready.write.get()}, {6, hold.read.get()}};
    std::jthread hand([&] {
      ReadByte(ready.read.get());
      for (std::size_t i = 1; i <= row.sleeps; ++i) {
        clock.AwaitSleeps(i);
        clock.Advance(std::chrono::seconds(i == 1 ? 60 : 2));
      }
    });
    const auto result = RunCaptured(task::Context({}, clock).WithTimeout(std::chrono::seconds(60)), spec, {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().reason(), Reason::kTimeout);
    hand.join();
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  }
}

TEST(RunCaptured, CancelEndsATalker) {
  std::stop_source stop;
  Pipe ready = *MakePipe();
  ProcessSpec spec = Shell("echo r >&5; exec yes >&2");
  spec.fds = {{5, ready.write.get()}};
  std::jthread stopper([&] { ReadByte(ready.read.get()); stop.request_stop(); });
  const auto result = RunCaptured(task::Context(stop.get_token()), spec, {});
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().cancelled());
  EXPECT_TRUE(RunCaptured(task::Context(stop.get_token()), spec, {}).error().cancelled());
}

TEST(RunCaptured, AGrandchildThatHoldsThePipesDelaysByTheLingerOnly) {
  ManualClock clock;
  Pipe hold = *MakePipe(), ready = *MakePipe();
  ProcessSpec spec = Shell("setsid -f sh -c 'echo ready >&6; exec cat <&5'; head -c 1 <&7 >/dev/null; echo hi");
  spec.fds = {{5, hold.read.get()}, {6, ready.write.get()}, {7, ready.read.get()}};
  std::jthread hand([&] { clock.AwaitSleeps(1); clock.Advance(std::chrono::milliseconds(500)); });
  auto captured = RunCaptured(task::Context({}, clock), spec, {});
  ASSERT_TRUE(captured);
  EXPECT_EQ(captured->out, "hi\n");
}

}  // namespace
}  // namespace berth::host
