#include "verify/programs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "host/testing/scratch.h"

namespace berth::verify {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Outcome = ProgramsVerdict::Outcome;

class Programs : public ::testing::Test {
 protected:
  Programs() { EXPECT_TRUE(scratch.dir().MakeDir("verifiers", 0755)); }
  void Write(const std::string& name, const std::string& script, mode_t mode = 0755) {
    const std::string path = options.dir + "/" + name;
    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
  }
  ProgramsVerdict Run(const task::Context& ctx = {}) {
    auto verdict = RunPrograms(ctx, options, image);
    EXPECT_TRUE(verdict) << verdict.error().Text();
    return *std::move(verdict);
  }
  std::string Read(const std::string& name) {
    std::ifstream in(scratch.path(name));
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
  }

  host::testing::Scratch scratch;
  ProgramOptions options{.dir = scratch.path("verifiers"), .timeout = std::chrono::seconds(20)};
  const Descriptor image{"docker.io/library/busybox:1", digest::Digest::Of(bytes::AsView("x")), "application/vnd.oci.image.index.v1+json", 7};
};

TEST_F(Programs, TheContractIsContainerds) {
  Write("20-second", "exit 0");
  Write("10-first", "printf '%s\\n' \"$@\" > " + scratch.path("args") + "; cat > " + scratch.path("stdin") + "; env > " + scratch.path("env") + "; echo fine");
  const auto verdict = Run();
  EXPECT_EQ(verdict.outcome, Outcome::kAccepted) << verdict.why;
  EXPECT_THAT(verdict.accepted, ElementsAre("10-first", "20-second"));
  EXPECT_EQ(Read("args"), "-name\ndocker.io/library/busybox:1\n-digest\n" + image.digest.ToString() + "\n-stdin-media-type\napplication/vnd.oci.descriptor.v1+json\n");
  EXPECT_EQ(Read("stdin"), R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")" + image.digest.ToString() + R"(","size":7})");
  EXPECT_THAT(Read("env"), HasSubstr("HOME=/root\n"));
  EXPECT_EQ(Read("env").find("LD_"), std::string::npos);
}

TEST_F(Programs, OneThatRefusesIsEnough) {
  Write("a", "exit 0");
  Write("b", "printf '\\n not today\\033[31m\\nmore'; exit 3");
  Write("c", "touch " + scratch.path("ran"));
  const auto verdict = Run();
  EXPECT_EQ(verdict.outcome, Outcome::kRefused);
  EXPECT_EQ(verdict.program, "b");
  EXPECT_EQ(verdict.why, "\"not today\\x1b[31m\"");
  EXPECT_FALSE(*scratch.dir().Exists("ran"));
}

// B-63, P21: every way in which a verifier can fail to say yes.
TEST_F(Programs, FailClosed) {
  EXPECT_THAT(Run().why, HasSubstr("is empty"));
  Write("a", "kill -9 $$");
  EXPECT_EQ(Run().outcome, Outcome::kFailed);
  EXPECT_THAT(Run().why, HasSubstr("killed by signal 9"));
  Write("a", "yes; exit 0");
  EXPECT_EQ(Run().outcome, Outcome::kFailed) << "floods";
  Write("a", "exit 0", 0644);
  EXPECT_THAT(Run().why, HasSubstr("not executable"));
  Write("a", "exit 0", 0777);
  EXPECT_THAT(Run().why, HasSubstr("may be written by everybody"));
  EXPECT_TRUE(scratch.dir().Unlink(std::string("verifiers/a")));
  ASSERT_EQ(::symlink("/bin/true", (options.dir + "/a").c_str()), 0);
  EXPECT_THAT(Run().why, HasSubstr("symbolic link"));
  EXPECT_TRUE(scratch.dir().Unlink(std::string("verifiers/a")));
  EXPECT_TRUE(scratch.dir().MakeDir("verifiers/folder", 0755));
  EXPECT_EQ(Run().outcome, Outcome::kFailed) << "a folder is no program";
  EXPECT_TRUE(scratch.dir().RemoveTree("verifiers"));
  EXPECT_THAT(Run().why, HasSubstr("cannot be read"));
}

TEST_F(Programs, AreNotSkippedWhenThereAreMany) {
  for (int i = 0; i < 11; ++i) Write("v" + std::to_string(i), "touch " + scratch.path("ran"));
  const auto verdict = Run();
  EXPECT_EQ(verdict.outcome, Outcome::kFailed);
  EXPECT_THAT(verdict.why, HasSubstr("holds 11 files; the limit is 10 (programs.max)"));
  EXPECT_FALSE(*scratch.dir().Exists("ran"));
  options.max = 11;
  EXPECT_EQ(Run().outcome, Outcome::kAccepted);
}

// P25: what hangs, ignores SIGTERM and leaves children is over when the limit is.
TEST_F(Programs, ThatHangAreEnded) {
  options.timeout = std::chrono::milliseconds(50);
  Write("a", "trap '' TERM; sleep 600 & sleep 600");
  const auto verdict = Run();
  EXPECT_EQ(verdict.outcome, Outcome::kFailed);
  EXPECT_EQ(verdict.why, "gave no answer within 50ms");
}

TEST_F(Programs, StopWithTheirCaller) {
  Write("a", "exit 0");
  std::stop_source stop;
  stop.request_stop();
  const auto verdict = RunPrograms(task::Context(stop.get_token()), options, image);
  ASSERT_FALSE(verdict);
  EXPECT_TRUE(verdict.error().cancelled());
}

TEST_F(Programs, TheFingerprintSeesChanges) {
  EXPECT_EQ(Fingerprint({.dir = scratch.path("nowhere")}), "");
  Write("a", "exit 0");
  const std::string before = Fingerprint(options);
  EXPECT_EQ(before.size(), 16u);
  EXPECT_EQ(before, Fingerprint(options));
  Write("a", "exit 10");
  EXPECT_NE(before, Fingerprint(options));
}

}  // namespace
}  // namespace berth::verify
