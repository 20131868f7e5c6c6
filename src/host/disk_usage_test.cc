#include "host/disk_usage.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "host/process.h"
#include "host/testing/scratch.h"

namespace berth::host {
namespace {

std::uint64_t Du(const std::string& path) {
  ProcessSpec spec;
  spec.program = "du";
  spec.search_path = true;
  spec.argv = {"du", "-sx", "--block-size=1", path};
  const auto captured = RunCaptured(task::Context(), spec, {});
  return captured && captured->status.success() ? std::stoull(captured->out) : 0;
}

TEST(DiskUsage, IsWhatDuSays) {
  testing::Scratch scratch;
  std::ofstream(scratch.path("file")) << std::string(100'000, 'x');
  ASSERT_EQ(::link(scratch.path("file").c_str(), scratch.path("twin").c_str()), 0);
  ASSERT_EQ(::symlink("/usr", scratch.path("link").c_str()), 0);
  ASSERT_EQ(::mkfifo(scratch.path("fifo").c_str(), 0600), 0);
  ASSERT_EQ(::truncate(scratch.path("twin").c_str(), 50'000'000), 0);  // sparse
  ASSERT_TRUE(scratch.dir().MakeDir("empty", 0700));
  // Deeper than any path may be long.
  auto at = *Dir::Open(scratch.path());
  for (int i = 0; i < 300; ++i) at = *at.MakeAndOpenDir("a-folder-with-a-longer-name", 0700);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(at.MakeDir("d" + std::to_string(i), 0700));
  const auto used = DiskUsage({}, scratch.dir());
  ASSERT_TRUE(used) << used.error().Text();
  EXPECT_EQ(*used, Du(scratch.path()));
  EXPECT_GT(*used, 100'000u);
}

TEST(DiskUsage, StopsWhenItIsTold) {
  testing::Scratch scratch;
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(DiskUsage(task::Context(stop.get_token()), scratch.dir()));
}

}  // namespace
}  // namespace berth::host
