// apps/berth/testing/test_world.h: a World made of memory files, for tests.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <string>

#include "apps/berth/cli.h"
#include "apps/berth/world.h"
#include "host/fd.h"
#include "time/testing/manual_clock.h"

namespace berth::cli::testing {

class TestWorld {
 public:
  explicit TestWorld(std::string input = "")
      : in_(*host::MemFd("stdin", bytes::AsView(input))), out_(memfd_create("out", MFD_CLOEXEC)), err_(memfd_create("err", MFD_CLOEXEC)) {}

  std::map<std::string, std::string> variables{{"TERM", "xterm"}};
  bool out_terminal = false, err_terminal = false;
  const time::Clock* clock = &manual;  // stands still
  time::testing::ManualClock manual;
  std::stop_source stop;
  TerminalSize size;
  int stdin_fd = -1;  // instead of the input
  std::string directory = "/work";
  time::Duration patience = kPatience, usage_patience = kUsagePatience;

  // What main() does, with these arguments.
  int Run(const std::vector<std::string>& arguments) {
    World world{.out = Stream(out_.get(), out_terminal),
                .err = Stream(err_.get(), err_terminal),
                .stdin_fd = stdin_fd >= 0 ? stdin_fd : in_.get(),
                .variable = [this](const char* name) -> const char* {
                  const auto found = variables.find(name);
                  return found == variables.end() ? nullptr : found->second.c_str();
                },
                .size = [this] { return size; },
                .clock = *clock,
                .stop = stop.get_token(),
                .directory = directory,
                .patience = patience,
                .usage_patience = usage_patience};
    return cli::Run(world, arguments);
  }
  std::string out() const { return Contents(out_.get()); }
  std::string err() const { return Contents(err_.get()); }

 private:
  static std::string Contents(int fd) {
    std::string text(static_cast<std::size_t>(lseek(fd, 0, SEEK_END)), '\0');
    const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
    text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return text;
  }
  host::Fd in_, out_, err_;
};

}  // namespace berth::cli::testing
