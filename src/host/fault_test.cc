#include "host/fault.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "host/process.h"
#include "host/testing/mounts.h"
#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::host {
namespace {

using bytes::AsView;
using ::testing::HasSubstr;

TEST(FaultTable, NamesEveryStepOfAPullOnce) {  // reliability-security 3.e
  std::set<std::string_view> names;
  int step = 0;
  for (const FaultPointInfo& info : AllFaultPoints()) {
    EXPECT_EQ(info.step, step++);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
  }
  EXPECT_EQ(step, 35);
}

#if BERTH_FAULTS

Result<> Work(const task::Context& ctx = {}) {
  BERTH_FAULT_IN(ctx, kBlobRenamed);
  return {};
}
Result<int> Other() {
  BERTH_FAULT(kGcMark);
  return 7;
}

class Fault : public ::testing::Test {
 protected:
  ~Fault() override { EXPECT_TRUE(ConfigureFaults("")); }
};

TEST_F(Fault, ErrorReturnsFromTheFunction) {
  EXPECT_TRUE(Work());
  ASSERT_TRUE(ConfigureFaults("blob.renamed=error(ENOSPC);gc.mark=error(EIO)"));
  EXPECT_EQ(Work().error().reason(), Reason::kNoSpace);
  EXPECT_THAT(Work().error().Text(), HasSubstr("fault point blob.renamed"));
  EXPECT_EQ(Other().error().reason(), Reason::kIo);
  ASSERT_TRUE(ConfigureFaults(""));
  EXPECT_TRUE(Work());
  EXPECT_EQ(*Other(), 7);
}

TEST_F(Fault, CountsAndSkips) {
  ASSERT_TRUE(ConfigureFaults("blob.renamed=error(EIO)*2@1"));
  const bool expected[] = {true, false, false, true, true};
  for (const bool good : expected) EXPECT_EQ(Work().has_value(), good);
}

struct BadSpec { const char* spec; const char* says; };
class BadSpecs : public Fault, public ::testing::WithParamInterface<BadSpec> {};
TEST_P(BadSpecs, AreRefusedAndChangeNothing) {
  ASSERT_TRUE(ConfigureFaults("blob.renamed=error(EIO)"));
  const auto result = ConfigureFaults(GetParam().spec);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason(), Reason::kConfig);
  EXPECT_THAT(result.error().Text(), HasSubstr(GetParam().says));
  EXPECT_FALSE(Work());
}
INSTANTIATE_TEST_SUITE_P(Fault, BadSpecs,
                         ::testing::Values(BadSpec{"blob.renamed", "not name=action"}, BadSpec{"no.such=kill", "unknown point"},
                                           BadSpec{"gc.mark=explode", "unknown action"}, BadSpec{"gc.mark=error(EWHAT)", "unknown action"},
                                           BadSpec{"gc.mark=error(EIO)*x", "take a number"}, BadSpec{"gc.mark=kill@", "take a number"},
                                           BadSpec{"gc.mark=delay(-1)", "unknown action"},
                                           BadSpec{"gc.mark=pause(relative)", "unknown action"},
                                           BadSpec{"gc.mark=kill;x", "not name=action"}));

TEST_F(Fault, KillAndExitEndTheProcess) {
  EXPECT_EXIT(
      {
        (void)!ConfigureFaults("blob.renamed=kill");
        (void)!Work();
      },
      ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(
      {
        (void)!ConfigureFaults("blob.renamed=exit");
        (void)!Work();
      },
      ::testing::ExitedWithCode(1), "");
}

TEST_F(Fault, TheEnvironmentConfigures) {
  EXPECT_EXIT(
      {
        ::setenv("BERTH_FAULTS", "blob.renamed=exit", 1);
        (void)!ConfigureFaultsFromEnvironment();
        (void)!Work();
      },
      ::testing::ExitedWithCode(1), "");
}

TEST_F(Fault, DelayWaitsByTheClockAndCanBeStopped) {
  ASSERT_TRUE(ConfigureFaults("blob.renamed=delay(60000)"));
  time::testing::ManualClock clock(time::testing::AutoAdvance::kYes);
  EXPECT_TRUE(Work(task::Context({}, clock)));
  EXPECT_THAT(clock.sleeps(), ::testing::ElementsAre(std::chrono::minutes(1)));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(Work(task::Context(stop.get_token(), clock)).error().cancelled());
}

TEST_F(Fault, PauseTellsAndWaits) {
  testing::Scratch scratch;
  ASSERT_EQ(::mkfifo(scratch.path("p").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo(scratch.path("p.reached").c_str(), 0600), 0);
  const Fd reached(::open(scratch.path("p.reached").c_str(), O_RDWR | O_CLOEXEC));
  const Fd release(::open(scratch.path("p").c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(ConfigureFaults("blob.renamed=pause(" + scratch.path("p") + ")*1"));
  Result<> result = Error(Reason::kInternal, "not run");
  std::jthread worker([&] { result = Work(); });
  char byte = 0;
  ASSERT_TRUE(ReadExact(reached.get(), std::as_writable_bytes(std::span(&byte, 1))));
  EXPECT_EQ(byte, '!');
  ASSERT_TRUE(WriteAll(release.get(), AsView("x")));
  worker.join();
  EXPECT_TRUE(result);
  EXPECT_TRUE(Work());  // *1
}

TEST_F(Fault, ShutdownfsIsAPowerCut) {  // reliability-security 4.6 layer 0
  testing::Scratch scratch;
  const auto run = [](std::vector<std::string> argv) {
    ProcessSpec spec;
    spec.program = argv[0];
    spec.argv = std::move(argv);
    spec.search_path = true;
    auto captured = RunCaptured(task::Context(), spec, {});
    return captured && captured->status.success();
  };
  ASSERT_TRUE(Truncate(scratch.dir().CreateNew("image", 0600)->get(), 16u << 20));
  ASSERT_TRUE(scratch.dir().MakeDir("m", 0700));
  if (!testing::PrivateMounts() || !run({"mkfs.ext4", "-q", scratch.path("image")}) ||
      !run({"mount", "-o", "loop", scratch.path("image"), scratch.path("m")}))
    GTEST_SKIP() << "cannot make and mount an ext4 file here";
  {
    const Dir mounted = *Dir::Open(scratch.path("m"));
    ASSERT_TRUE(mounted.WriteDurably("kept", AsView("x"), 0600));
    ASSERT_TRUE(WriteAll(mounted.CreateNew("lost", 0600)->get(), AsView("x")));
    ::setenv("BERTH_FAULT_FS", scratch.path("m").c_str(), 1);
    ASSERT_TRUE(ConfigureFaults("blob.renamed=shutdownfs"));
    EXPECT_TRUE(Work());
    ::unsetenv("BERTH_FAULT_FS");
    EXPECT_FALSE(mounted.WriteDurably("later", AsView("x"), 0600));
  }
  EXPECT_TRUE(run({"umount", scratch.path("m")}));
  ASSERT_TRUE(run({"mount", "-o", "loop", scratch.path("image"), scratch.path("m")}));
  {
    const Dir again = *Dir::Open(scratch.path("m"));
    EXPECT_TRUE(*again.Exists("kept"));
    EXPECT_FALSE(*again.Exists("lost"));
  }
  EXPECT_TRUE(run({"umount", scratch.path("m")}));
}

#else

TEST(Fault, AbsentFromThisBuild) {
  EXPECT_TRUE(ConfigureFaults(""));
  EXPECT_EQ(ConfigureFaults("gc.mark=kill").error().reason(), Reason::kConfig);
}

#endif

}  // namespace
}  // namespace berth::host
