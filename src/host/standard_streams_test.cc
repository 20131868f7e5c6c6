#include "host/standard_streams.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace berth::host {
namespace {

bool IsNull(int fd) {
  struct stat info{};
  return ::fstat(fd, &info) == 0 && S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3);
}

struct Closed {
  int fd;
};
class Streams : public testing::TestWithParam<Closed> {};
TEST_P(Streams, ThatAreClosedStayUnusableAndNoOtherFileTakesTheirPlace) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(GetParam().fd);
    KeepStandardStreams();
    const int next = ::open("/dev/zero", O_RDONLY);
    char byte = 0;
    const auto done = GetParam().fd == STDIN_FILENO ? ::read(GetParam().fd, &byte, 1) : ::write(GetParam().fd, &byte, 1);
    ::_exit(done == -1 && errno == EBADF && IsNull(GetParam().fd) && next > STDERR_FILENO ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}
INSTANTIATE_TEST_SUITE_P(Table, Streams, testing::Values(Closed{0}, Closed{1}, Closed{2}));

TEST(Streams, ThatAreOpenStayWhatTheyAre) {
  struct stat before[3]{}, after[3]{};
  for (int fd = 0; fd < 3; ++fd) ASSERT_EQ(::fstat(fd, &before[fd]), 0);
  KeepStandardStreams();
  for (int fd = 0; fd < 3; ++fd) {
    ASSERT_EQ(::fstat(fd, &after[fd]), 0);
    EXPECT_EQ(before[fd].st_ino, after[fd].st_ino);
  }
}

}  // namespace
}  // namespace berth::host
