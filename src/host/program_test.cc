// Row D-26 of reliability-security 3.d.
#include "host/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/process.h"
#include "host/testing/scratch.h"

namespace berth::host {
namespace {

using ::testing::HasSubstr;

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest() { BERTH_CHECK(scratch_.dir().WriteDurably("tool", bytes::AsView("#!/bin/sh\necho hello\n"), 0755).has_value()); }
  std::string Problem(std::string_view name, Trust trust = Trust::kStrict) {
    const auto fd = OpenProgram(scratch_.path(), name, trust);
    return fd ? "none" : fd.error().Text();
  }
  testing::Scratch scratch_;
};

TEST_F(ProgramTest, WhatWasCheckedRuns) {
  const auto fd = OpenProgram(scratch_.path(), "tool", Trust::kStrict);
  ASSERT_TRUE(fd) << fd.error().Text();
  ASSERT_TRUE(scratch_.dir().WriteDurably("tool", bytes::AsView("#!/bin/sh\necho replaced\n"), 0755));
  ProcessSpec spec{.program = "tool", .program_fd = fd->get(), .argv = {"tool"}};
  const auto got = RunCaptured(task::Context(), spec, {});
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(got->out, "hello\n");
}

TEST_F(ProgramTest, WhatIsNoProgram) {
  EXPECT_EQ(OpenProgram(scratch_.path(), "none", Trust::kStrict).error().reason(), Reason::kMissing);
  EXPECT_EQ(OpenProgram(scratch_.path("none"), "tool", Trust::kStrict).error().reason(), Reason::kMissing);
  for (const char* name : {"", ".", "..", "a/b", "../tool"}) EXPECT_EQ(OpenProgram(scratch_.path(), name, Trust::kAny).error().reason(), Reason::kUsage);
  ASSERT_EQ(::chmod(scratch_.path("tool").c_str(), 0644), 0);
  EXPECT_THAT(Problem("tool", Trust::kAny), HasSubstr("is not executable"));
  ASSERT_TRUE(scratch_.dir().MakeDir("folder", 0755));
  EXPECT_THAT(Problem("folder", Trust::kAny), HasSubstr("is no regular file"));
  ASSERT_EQ(::mkfifo(scratch_.path("fifo").c_str(), 0755), 0);
  EXPECT_THAT(Problem("fifo"), HasSubstr("is no regular file"));
}

TEST_F(ProgramTest, StrangersAreNotTrusted) {
  ASSERT_EQ(::symlink("tool", scratch_.path("link").c_str()), 0);
  EXPECT_THAT(Problem("link"), HasSubstr("is a symbolic link"));
  EXPECT_EQ(Problem("link", Trust::kAny), "none");
  ASSERT_EQ(::chmod(scratch_.path("tool").c_str(), 0757), 0);
  EXPECT_THAT(Problem("tool"), HasSubstr("may be written by everybody"));
  EXPECT_EQ(Problem("tool", Trust::kAny), "none");
  ASSERT_EQ(::chmod(scratch_.path("tool").c_str(), 0755), 0);
  ASSERT_EQ(::chmod(scratch_.path().c_str(), 0777), 0);
  EXPECT_THAT(Problem("tool"), HasSubstr("folder"));
  ASSERT_EQ(::chmod(scratch_.path().c_str(), 0755), 0);
  EXPECT_EQ(Problem("tool"), "none");
  if (::geteuid() != 0) return;
  ASSERT_EQ(::chown(scratch_.path("tool").c_str(), 1234, 1234), 0);
  EXPECT_THAT(Problem("tool"), HasSubstr("belongs to user 1234"));
}

TEST_F(ProgramTest, AParentThatOthersWriteCounts) {
  ASSERT_TRUE(scratch_.dir().MakeDir("a", 0777));
  ASSERT_TRUE(scratch_.dir().MakeDir("a/bin", 0755));
  const auto folder = *scratch_.dir().OpenDir("a/bin");
  ASSERT_TRUE(folder.WriteDurably("tool", bytes::AsView("#!/bin/sh\n"), 0755));
  const auto got = OpenProgram(scratch_.path("a/bin"), "tool", Trust::kStrict);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kPolicy);
}

}  // namespace
}  // namespace berth::host
