// berth-shim alone, with a shell as the runtime: the log format, rotation, exits. The "container" waits for a
// FIFO.
#include "launch/shim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "host/process.h"
#include "launch/testing/machine.h"

namespace berth::launch {
namespace {

using testing::Gate;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const task::Context kForever;

class Shim : public ::testing::Test {
 protected:
  Shim() : go_(scratch_.path("go")) { std::filesystem::create_directory(scratch_.path("c")); }
  host::Captured Run(const std::string& runtime, const std::string& max = "0",
                     const std::string& files = "5") {
    host::ProcessSpec spec;
    spec.program = testing::ShimPath();
    spec.argv = {"berth-shim", "run",  scratch_.path("c"), scratch_.path("log"), max, files, "--", "/bin/sh",
                 "-c",         runtime};
    return *host::RunCaptured(kForever, spec, {});
  }
  // A container that runs `script` when the gate opens.
  void Start(const std::string& script, const std::string& max = "0", const std::string& files = "5") {
    const auto said =
        Run("(read go <" + scratch_.path("go") + "; " + script + ") & echo $! >" + scratch_.path("c/pid"),
            max, files);
    ASSERT_TRUE(said.status.success()) << said.out;
  }
  Exit End() {
    const auto watch = *ExitWatch::Open(scratch_.path("c"));
    go_.Open();
    return *watch.Await(kForever);
  }
  // The log's records as "stream tag size", runs of equal ones once.
  std::string Shape(const std::string& text) {
    std::string out, last;
    for (std::size_t at = 0; at < text.size();) {
      const auto end = text.find('\n', at);
      const std::string line = text.substr(at, end - at);
      const auto space = line.find(' ');
      const std::string now =
          line.substr(space + 1, 8) + " " + std::to_string(line.size() - space - 10) + "\n";
      if (now != last) out += now;
      last = now;
      at = end + 1;
    }
    return out;
  }
  host::testing::Scratch scratch_;
  Gate go_;
};

TEST_F(Shim, LongLinesComeInParts) {
  Start(
      "head -c 40000 /dev/zero | tr '\\0' x; echo; head -c 16384 /dev/zero | tr '\\0' y; echo; echo; printf "
      "tail");
  EXPECT_EQ(End().code, 0);
  EXPECT_EQ(Shape(*host::ReadSmallFile(scratch_.path("log"), 1 << 20)),
            "stdout P 16384\nstdout F 7232\nstdout F 16384\nstdout F 0\nstdout P 4\n");
}

TEST_F(Shim, RotatesAndKeepsAFew) {
  Start("i=0; while [ $i -lt 200 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done",
        "1000", "3");
  EXPECT_EQ(End().code, 0);
  std::vector<std::string> logs;
  for (const auto& name : *scratch_.dir().List())
    if (name.starts_with("log")) logs.push_back(name);
  EXPECT_THAT(logs, SizeIs(3));
  for (const auto& name : logs) {
    const auto text = *scratch_.dir().ReadSmall(name, 1 << 20);
    EXPECT_EQ(text.back(), '\n') << "no record is cut";
    EXPECT_EQ(Shape(text), "stdout F 40\n");
  }
}

TEST_F(Shim, ExitOfASignal) {
  Start("exec sh -c 'kill -9 $$'");
  const Exit exit = End();
  EXPECT_EQ(exit.code, 137);
  EXPECT_EQ(exit.signal, 9);
  EXPECT_FALSE(exit.oom_killed);
  EXPECT_GT(exit.finished_at.time_since_epoch().count(), 0);
}

TEST_F(Shim, FailureOfTheRuntimeIsHandedOn) {
  auto said = Run("echo it is broken >&2; exit 3");
  EXPECT_EQ(said.status.code, 1);
  EXPECT_EQ(said.out, "it is broken\n");
  EXPECT_FALSE(std::filesystem::exists(scratch_.path("c/created.json")));
  said = Run("exit 4");
  EXPECT_EQ(said.out, "exit status 4");
  said = Run("exit 0");
  EXPECT_THAT(said.out, HasSubstr("read the runtime's pid file"));
}

TEST_F(Shim, OneForAFolder) {
  Start("exit 0");
  EXPECT_THAT(Run("exit 0").out, HasSubstr("lock the container's folder"));
  EXPECT_EQ(End().code, 0);
}

TEST_F(Shim, IsSmall) {
  Start("exit 0");
  const auto lock = *host::ReadSmallFile(scratch_.path("c/shim.lock"), 100);
  const auto status = *host::ReadSmallFile("/proc/" + lock.substr(0, lock.find(' ')) + "/status", 1 << 16);
  const auto at = status.find("VmRSS:");
  ASSERT_NE(at, std::string::npos);
#ifndef BERTH_SANITIZED
  EXPECT_LT(std::stoi(status.substr(at + 6)), 2048) << "KiB";
#endif
  RecordProperty("VmRSS_KiB", std::stoi(status.substr(at + 6)));
  EXPECT_EQ(End().code, 0);
}

TEST_F(Shim, WrongCommandLines) {
  for (const std::vector<std::string>& argv :
       std::initializer_list<std::vector<std::string>>{{"x"},
                                                       {"x", "run"},
                                                       {"x", "run", "c", "/l", "0", "1", "--", "/bin/true"},
                                                       {"x", "view", "odd", "/bin/true"},
                                                       {"x", "sandbox", "/x"}}) {
    host::ProcessSpec spec;
    spec.program = testing::ShimPath();
    spec.argv = argv;
    EXPECT_EQ(host::RunCaptured(kForever, spec, {})->status.code, 64);
  }
}

}  // namespace
}  // namespace berth::launch
