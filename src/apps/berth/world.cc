#include "apps/berth/world.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace berth::cli {
namespace {

// This thread's writes raise no SIGPIPE while this lives.
class NoSigPipe {
 public:
  NoSigPipe() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~NoSigPipe() {
    if (sigismember(&before_, SIGPIPE) == 1) return;
    const timespec now{};
    while (sigtimedwait(&set_, nullptr, &now) < 0 && errno == EINTR) {}
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoSigPipe(const NoSigPipe&) = delete;
  NoSigPipe& operator=(const NoSigPipe&) = delete;

 private:
  sigset_t set_, before_;
};

}  // namespace

void Stream::Write(std::string_view text) {
  std::optional<NoSigPipe> quiet;
  if (of_ == Of::kTalk) quiet.emplace();
  while (!text.empty() && !broken_) {
    const ssize_t n = ::write(fd_, text.data(), text.size());
    if (n >= 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      const int saved = errno;
      pollfd room{.fd = fd_, .events = POLLOUT, .revents = 0};
      if (saved == EAGAIN && (::poll(&room, 1, -1) > 0 || errno == EINTR)) continue;
      closed_pipe_ = saved == EPIPE;
      broken_ = result::FromErrno(saved, "write the output").Next("check where the output goes: a file there may be incomplete");
    }
  }
}

Result<std::string> World::Absolute(std::string_view given) const {
  if (given.starts_with('/')) return std::string(given);
  if (!directory.starts_with('/'))
    return Error(Reason::kUsage, "the path " + Quoted(given) + " is relative, and the working directory is gone").Next("give an absolute path");
  while (given.starts_with("./")) given.remove_prefix(std::min(given.find_first_not_of('/', 1), given.size()));
  return directory + (directory.ends_with('/') ? "" : "/") + std::string(given);
}

void World::Trace(int level, std::string_view text) {
  if (verbosity < level) return;
  const auto now = clock.WallNow().time_since_epoch();
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  std::tm parts{};
  localtime_r(&seconds, &parts);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now).count() % 1'000'000;
  std::array<char, 64> head{};
  std::snprintf(head.data(), head.size(), "I%02d%02d %02d:%02d:%02d.%06d %7d berth] ", parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
                parts.tm_sec, static_cast<int>(micros), static_cast<int>(getpid()));
  err.Write(std::string(head.data()) + std::string(text) + "\n");
}

World RealWorld() {
  std::array<char, PATH_MAX> directory{};
  return {.out = Stream(1, isatty(1) != 0),
          .err = Stream(2, isatty(2) != 0, Stream::Of::kTalk),
          .stdin_fd = 0,
          .stdin_terminal = isatty(0) != 0,
          .variable = [](const char* name) -> const char* { return std::getenv(name); },
          .size = [] {
            winsize w{};
            if (ioctl(2, TIOCGWINSZ, &w) != 0 || w.ws_col == 0 || w.ws_row == 0) return TerminalSize{};
            return TerminalSize{w.ws_col, w.ws_row};
          },
          .directory = getcwd(directory.data(), directory.size()) != nullptr ? directory.data() : ""};
}

}  // namespace berth::cli
