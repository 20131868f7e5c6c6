#include "log/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>

namespace berth::log {
namespace {

using ::testing::MatchesRegex;

enum class Journal : bool { kNo, kYes };

// What a process writes that does `body`: the sink is a process's own, and looks at its stderr once.
std::string Written(Options options, Journal journal, const std::function<void()>& body) {
  std::array<int, 2> pipe{};
  EXPECT_EQ(::pipe(pipe.data()), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(pipe[1], STDERR_FILENO);
    struct stat st {};
    ::fstat(STDERR_FILENO, &st);
    ::unsetenv("JOURNAL_STREAM");
    if (journal == Journal::kYes) ::setenv("JOURNAL_STREAM", (std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino)).c_str(), 1);
    Init(options);
    body();
    ::_exit(0);
  }
  ::close(pipe[1]);
  std::string all;
  std::array<char, 4096> room;
  for (ssize_t n; (n = ::read(pipe[0], room.data(), room.size())) > 0;) all.append(room.data(), static_cast<std::size_t>(n));
  ::close(pipe[0]);
  ::waitpid(pid, nullptr, 0);
  return all;
}

struct Row {
  const char* name;
  Options options;
  Journal journal;
  std::function<void()> body;
  const char* wanted;  // a regular expression of the whole output
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class LogTest : public ::testing::TestWithParam<Row> {};
TEST_P(LogTest, Writes) { EXPECT_THAT(Written(GetParam().options, GetParam().journal, GetParam().body), MatchesRegex(GetParam().wanted)); }

void Pulled() { Info("image pulled", {{"image", "a/b:1"}, {"bytes", 12}, {"resumed", true}}); }
void Failed() { Failure("cannot", {{"error", Error(Reason::kIo, "no disk")}}); }
void Hostile() { Warning("odd", {{"name", "a\"b\n\x01\xff"}}); }

INSTANTIATE_TEST_SUITE_P(All, LogTest, ::testing::Values(
    Row{"Text", {}, Journal::kNo, Pulled,
        "I[01][0-9][0-3][0-9] [0-9:]{8}\\.[0-9]{6} +[0-9]+ log_test.cc:[0-9]+\\] \"image pulled\" image=\"a/b:1\" bytes=12 resumed=true\n"},
    Row{"ErrorText", {}, Journal::kNo, Failed, "E[^\n]*\\] \"cannot\" err=\"E-IO no disk\"\n"},
    Row{"NothingBreaksALine", {}, Journal::kNo, Hostile, "W[^\n]*\\] \"odd\" name=\"a\\\\\"b[^\n]*\"\n"},
    Row{"Json", {.format = Format::kJson}, Journal::kNo, Pulled,
        "\\{\"ts\":[0-9]{13}\\.[0-9]{3},\"level\":\"info\",\"caller\":\"log_test.cc:[0-9]+\",\"msg\":\"image pulled\",\"v\":0,\"image\":\"a/b:1\","
        "\"bytes\":12,\"resumed\":true\\}\n"},
    Row{"ErrorJson", {.format = Format::kJson}, Journal::kNo, Failed, "\\{[^\n]*\"level\":\"error\"[^\n]*\"msg\":\"cannot\",\"err\":\"E-IO no disk\"\\}\n"},
    Row{"JsonEscapes", {.format = Format::kJson}, Journal::kNo, Hostile, "\\{[^\n]*\"name\":\"a\\\\\"b[^\n\x01\xff]*\"\\}\n"},
    Row{"JournalText", {}, Journal::kYes, Pulled, "<6>log_test.cc:[0-9]+\\] \"image pulled\" [^\n]*\n"},
    Row{"JournalError", {}, Journal::kYes, Failed, "<3>log_test.cc:[0-9]+\\] \"cannot\" [^\n]*\n"},
    Row{"JournalWarning", {}, Journal::kYes, Hostile, "<4>[^\n]*\n"},
    Row{"JournalJson", {.format = Format::kJson}, Journal::kYes, Pulled, "<6>\\{\"ts\"[^\n]*\\}\n"},
    Row{"BelowTheLevel", {.level = Level::kWarning}, Journal::kNo, Pulled, ""},
    Row{"DebugIsOff", {}, Journal::kNo, [] { Debug("x"); }, ""},
    Row{"DebugIsOn", {.level = Level::kDebug}, Journal::kNo, [] { Debug("x"); }, "D[^\n]*\\] \"x\"\n"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace berth::log
