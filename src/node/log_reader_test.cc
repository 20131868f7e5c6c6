#include "node/log_reader.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

namespace berth::node {
namespace {

const std::string kTime = "2026-11-25T15:04:05.999999999Z";
const std::string kOut = kTime + " stdout F ";

struct Line {
  std::string name, line, text;
  bool ok = true, partial = false;
};
std::ostream& operator<<(std::ostream& out, const Line& l) { return out << l.name; }
class CriLines : public ::testing::TestWithParam<Line> {};
TEST_P(CriLines, AreReadOrNot) {
  const auto line = ParseCriLine(GetParam().line);
  ASSERT_EQ(line.has_value(), GetParam().ok);
  if (!line) return;
  EXPECT_EQ(line->text, GetParam().text);
  EXPECT_EQ(line->partial, GetParam().partial);
}
INSTANTIATE_TEST_SUITE_P(All, CriLines,
                         ::testing::Values(Line{"full", kOut + "a b", "a b"}, Line{"empty", kOut, ""}, Line{"no_space", kTime + " stderr F", ""},
                                           Line{"part", kTime + " stderr P x", "x", true, true}, Line{"tags", kTime + " stdout P:z x", "x", true, true},
                                           Line{"spaces", kOut + "  x ", "  x "}, Line{"plain", "hello world", "", false},
                                           Line{"stream", kTime + " stdin F x", "", false}, Line{"tag", kTime + " stdout X x", "", false},
                                           Line{"nothing", "", "", false}),
                         [](const auto& row) { return row.param.name; });

class LogFile : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-log-XXXXXX";
    folder_ = ::mkdtemp(name);
    path_ = folder_ + "/0.log";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  std::string Read(const LogOptions& options) {
    std::string got;
    const auto read = ReadLog({}, path_, options, {}, [&](std::string data) -> Result<> { got += data; return {}; });
    EXPECT_TRUE(read) << read.error().Text();
    return got;
  }
  std::string folder_, path_;
};

TEST_F(LogFile, LinesPartsTailAndTimestamps) {
  Append(kOut + "one\n" + kTime + " stdout P tw\n" + kOut + "o\n" + kTime + " stderr F three\nodd\n");
  EXPECT_EQ(Read({}), "one\ntwo\nthree\nodd\n");
  EXPECT_EQ(Read({.tail = 2}), "three\nodd\n");
  EXPECT_EQ(Read({.tail = 0}), "");
  EXPECT_EQ(Read({.tail = 100}), "one\ntwo\nthree\nodd\n");
  EXPECT_EQ(Read({.tail = std::nullopt, .timestamps = true}), kTime + " one\n" + kTime + " two\n" + kTime + " three\nodd\n");
}

TEST_F(LogFile, TailOfALongFile) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += kOut + std::to_string(i) + "\n";
  Append(text);
  EXPECT_EQ(Read({.tail = 3}), "4997\n4998\n4999\n");
}

TEST_F(LogFile, AMissingFileIsAnError) {
  const auto read = ReadLog({}, path_, {}, {}, [](std::string) -> Result<> { return {}; });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().reason(), Reason::kMissing);
}

TEST_F(LogFile, FollowingSeesWhatComesGoesThroughRotationAndEnds) {
  Append(kOut + "first\n");
  std::mutex mutex;
  std::condition_variable changed;
  std::string got;
  std::stop_source ended;
  std::jthread reader([&] {
    const auto read = ReadLog({}, path_, {.tail = std::nullopt, .timestamps = false, .follow = true}, ended.get_token(),
                              [&](std::string data) -> Result<> {
                                std::lock_guard hold(mutex);
                                got += data;
                                changed.notify_all();
                                return {};
                              });
    EXPECT_TRUE(read);
  });
  const auto await = [&](const std::string& text) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return got == text; });
  };
  await("first\n");
  Append(kOut + "second\n");
  await("first\nsecond\n");
  std::filesystem::rename(path_, folder_ + "/0.log.1");
  Append(kOut + "third\n");
  await("first\nsecond\nthird\n");
  Append(kOut + "fourth\n");
  ended.request_stop();
  reader.join();
  EXPECT_EQ(got, "first\nsecond\nthird\nfourth\n");
}

TEST_F(LogFile, FollowingEndsWithItsCaller) {
  Append(kOut + "first\n");
  std::stop_source caller;
  const auto read = ReadLog(task::Context(caller.get_token()), path_, {.tail = std::nullopt, .timestamps = false, .follow = true}, {},
                            [&](std::string) -> Result<> { caller.request_stop(); return {}; });
  ASSERT_FALSE(read);
  EXPECT_TRUE(read.error().cancelled());
}

}  // namespace
}  // namespace berth::node
