#include "host/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>

#include "host/machine.h"
#include "host/poll.h"
#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::host {
namespace {

using bytes::AsView;

bytes::MutableView Room(std::string& s) { return std::as_writable_bytes(std::span(s)); }

TEST(Fd, OwnsAndMoves) {
  Pipe pipe = *MakePipe();
  const int raw = pipe.read.get();
  Fd a = std::move(pipe.read);
  EXPECT_FALSE(pipe.read.valid());
  EXPECT_EQ(a.get(), raw);
  EXPECT_EQ(::fcntl(raw, F_GETFD), FD_CLOEXEC);
  a = Fd();
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1);
}

struct ErrnoRow { int error; Reason reason; };
class OsErrorRows : public ::testing::TestWithParam<ErrnoRow> {};
TEST_P(OsErrorRows, MapsToReason) {
  const Error e = OsError(GetParam().error, "open layer");
  EXPECT_EQ(e.reason(), GetParam().reason);
  EXPECT_TRUE(e.message().starts_with("open layer: ")) << e.message();
}
INSTANTIATE_TEST_SUITE_P(Fd, OsErrorRows,
                         ::testing::Values(ErrnoRow{ENOSPC, Reason::kNoSpace}, ErrnoRow{EDQUOT, Reason::kNoSpace},
                                           ErrnoRow{ENOENT, Reason::kMissing}, ErrnoRow{EEXIST, Reason::kConflict},
                                           ErrnoRow{EBUSY, Reason::kInUse}, ErrnoRow{ENOTEMPTY, Reason::kInUse},
                                           ErrnoRow{EMFILE, Reason::kUnavailable}, ErrnoRow{ENFILE, Reason::kUnavailable},
                                           ErrnoRow{ENOMEM, Reason::kUnavailable}, ErrnoRow{EROFS, Reason::kUnavailable},
                                           ErrnoRow{EIO, Reason::kIo}, ErrnoRow{ELOOP, Reason::kIo}));

TEST(Fd, WritesMoreThanAPipeHolds) {
  Pipe pipe = *MakePipe();
  const std::string sent(3u << 20, 'x');
  std::string got;
  std::jthread reader([&] {
    std::string room(65537, '\0');
    while (const std::size_t n = *ReadSome(pipe.read.get(), Room(room))) got.append(room, 0, n);
  });
  EXPECT_TRUE(WriteAll(pipe.write.get(), AsView(sent)));
  pipe.write.reset();
  reader.join();
  EXPECT_EQ(got, sent);
}

TEST(Fd, SignalsAreInvisible) {  // E-17
  static std::atomic<int> signals;
  signals = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { ++signals; };  // no SA_RESTART
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  Pipe pipe = *MakePipe();
  std::string got(5, '\0');
  bool ok = false;
  std::jthread reader([&] { ok = ReadExact(pipe.read.get(), Room(got)).has_value(); });
  for (int i = 1; i <= 20; ++i) {
    ASSERT_EQ(::pthread_kill(reader.native_handle(), SIGUSR1), 0);
    while (signals < i) std::this_thread::yield();
  }
  ASSERT_TRUE(WriteAll(pipe.write.get(), AsView("hel")));
  ASSERT_EQ(::pthread_kill(reader.native_handle(), SIGUSR1), 0);
  ASSERT_TRUE(WriteAll(pipe.write.get(), AsView("lo")));
  reader.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_TRUE(ok);
  EXPECT_EQ(got, "hello");
}

TEST(Fd, VectorsOfAnyLengthLandInOrder) {
  testing::Scratch scratch;
  const Fd file = *scratch.dir().CreateNew("f", 0600);
  std::string expected = "....";
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 300; ++i) texts.emplace_back(i % 7 == 0 ? 0 : i, static_cast<char>('a' + i % 26));
  std::vector<bytes::View> pieces;
  for (const auto& t : texts) pieces.push_back(AsView(t)), expected += t;
  ASSERT_TRUE(PwriteAll(file.get(), AsView("...."), 0));
  ASSERT_TRUE(PwritevAll(file.get(), pieces, 4));
  ASSERT_TRUE(PwritevAll(file.get(), {}, 0));
  std::string got(expected.size(), '\0');
  ASSERT_TRUE(PreadExact(file.get(), Room(got), 0));
  EXPECT_EQ(got, expected);
  EXPECT_EQ(PreadExact(file.get(), Room(got), 1).error().reason(), Reason::kUnexpectedEof);
  EXPECT_EQ(Stat(file.get())->size, expected.size());
}

TEST(Fd, ClosedPeerIsAnErrorNotASignal) {
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction before {};
  ::sigaction(SIGPIPE, &ignore, &before);
  Pipe pipe = *MakePipe();
  pipe.read.reset();
  EXPECT_EQ(WriteAll(pipe.write.get(), AsView("x")).error().reason(), Reason::kConnectionReset);
  ::sigaction(SIGPIPE, &before, nullptr);
}

TEST(Fd, NonBlockingMistakesDoNotSpin) {
  Pipe pipe = *MakePipe();
  ASSERT_TRUE(SetNonBlocking(pipe.read.get(), true));
  ASSERT_TRUE(SetNonBlocking(pipe.write.get(), true));
  std::string room(10, '\0');
  EXPECT_EQ(ReadSome(pipe.read.get(), Room(room)).error().reason(), Reason::kInternal);
  EXPECT_EQ(WriteAll(pipe.write.get(), AsView(std::string(1u << 20, 'x'))).error().reason(), Reason::kInternal);
}

TEST(Fd, MemFdIsSealed) {
  const Fd fd = *MemFd("stdin", AsView("secret"));
  std::string got(6, '\0');
  ASSERT_TRUE(ReadExact(fd.get(), Room(got)));
  EXPECT_EQ(got, "secret");
  EXPECT_FALSE(WriteAll(fd.get(), AsView("x")));
  EXPECT_FALSE(Truncate(fd.get(), 0));
}

TEST(Fd, StatTellsTheKind) {
  testing::Scratch scratch;
  ASSERT_EQ(::mkfifo(scratch.path("fifo").c_str(), 0640), 0);
  ASSERT_EQ(::symlink("nowhere", scratch.path("link").c_str()), 0);
  ASSERT_TRUE(scratch.dir().MakeDir("dir", 0751));
  EXPECT_EQ(scratch.dir().Stat("fifo")->kind, FileKind::kFifo);
  EXPECT_EQ(scratch.dir().Stat("link")->kind, FileKind::kSymlink);
  EXPECT_EQ(scratch.dir().Stat("dir")->kind, FileKind::kDirectory);
  EXPECT_EQ(scratch.dir().Stat("dir")->mode, 0751u);
  EXPECT_EQ(Stat(Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)).get())->kind, FileKind::kCharDevice);
  EXPECT_EQ(Stat(Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)).get())->kind, FileKind::kSocket);
}

TEST(Fd, DurabilityCallsReportWhatTheyCannotDo) {
  testing::Scratch scratch;
  const Fd file = *scratch.dir().CreateNew("f", 0600);
  ASSERT_TRUE(WriteAll(file.get(), AsView("data")));
  EXPECT_TRUE(StartWriteback(file.get(), 0, 4));
  EXPECT_TRUE(SyncFile(file.get()));
  EXPECT_TRUE(SyncFileSystem(file.get()));
  EXPECT_TRUE(Preallocate(file.get(), 1u << 20));
  EXPECT_EQ(Stat(file.get())->size, 4u);
  EXPECT_GE(Stat(file.get())->allocated, 4096u);
  Pipe pipe = *MakePipe();
  EXPECT_TRUE(StartWriteback(pipe.write.get(), 0, 0));  // a hint
  EXPECT_FALSE(SyncFile(pipe.write.get()));
  EXPECT_FALSE(SyncFile(-1));
}

TEST(Fd, FullDeviceIsNoSpace) {
  const Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full.valid());
  EXPECT_EQ(WriteAll(full.get(), AsView("x")).error().reason(), Reason::kNoSpace);
}

TEST(Poll, ReadyWinsOverTheDeadline) {
  time::testing::ManualClock clock;
  Pipe pipe = *MakePipe();
  ASSERT_TRUE(WriteAll(pipe.write.get(), AsView("x")));
  const task::Context late = task::Context({}, clock).WithTimeout(time::Duration(0));
  EXPECT_TRUE(AwaitReadable(late, pipe.read.get()));
}

TEST(Poll, StopWakes) {
  Pipe pipe = *MakePipe();
  std::stop_source stop;
  Result<> result;
  std::jthread waiter([&] { result = AwaitReadable(task::Context(stop.get_token()), pipe.read.get()); });
  stop.request_stop();
  waiter.join();
  EXPECT_EQ(result.error().reason(), Reason::kCanceled);
}

TEST(Poll, DeadlineOfAManualClockWakes) {
  time::testing::ManualClock clock;
  Pipe pipe = *MakePipe();
  Result<> result;
  std::jthread waiter(
      [&] { result = AwaitReadable(task::Context({}, clock).WithTimeout(std::chrono::seconds(5)), pipe.read.get()); });
  clock.AwaitSleeps(1);
  clock.Advance(std::chrono::seconds(5));
  waiter.join();
  EXPECT_EQ(result.error().reason(), Reason::kTimeout);
}

TEST(Poll, DeadlineOfTheMachineClockWakes) {
  Pipe pipe = *MakePipe();
  EXPECT_EQ(AwaitReadable(task::Context().WithTimeout(std::chrono::milliseconds(1)), pipe.read.get()).error().reason(), Reason::kTimeout);
}

TEST(Machine, TellsFacts) {
  ASSERT_EQ(::setenv("BERTH_TEST_VARIABLE", "", 1), 0);
  EXPECT_EQ(Variable("BERTH_TEST_VARIABLE"), "");
  ASSERT_EQ(::unsetenv("BERTH_TEST_VARIABLE"), 0);
  EXPECT_EQ(Variable("BERTH_TEST_VARIABLE"), std::nullopt);
  EXPECT_EQ(BootId()->size(), 36u);
  EXPECT_EQ(*BootId(), *BootId());
  EXPECT_FALSE(Hostname().empty());
  EXPECT_GE(CpuCount(), 1u);
  EXPECT_GE(*MemoryBytes(), 1u << 26);
  EXPECT_EQ(RandomName().size(), 16u);
  EXPECT_NE(RandomName(), RandomName());
}

}  // namespace
}  // namespace berth::host
