// apps/berth/world.h: everything of the process that a command may touch: streams, variables, clock, signals.
//
// main() makes one from the real process, tests one from memory files. Commands read nothing else, so a test sees
// exactly what a person or a script would.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "result/result.h"
#include "time/clock.h"

namespace berth::cli {

// One output stream; a non-blocking descriptor is waited for as a blocking one. After a failed write everything else is dropped:
// broken() says why (kIo with a closed pipe). A pipe whose reader went raises SIGPIPE, unless the stream is one of talk.
class Stream {
 public:
  enum class Of : bool { kData, kTalk };
  Stream(int fd, bool terminal, Of of = Of::kData) : fd_(fd), terminal_(terminal), of_(of) {}  // borrows the descriptor
  void Write(std::string_view text);
  bool terminal() const { return terminal_; }
  bool closed_pipe() const { return closed_pipe_; }
  const std::optional<Error>& broken() const { return broken_; }

 private:
  int fd_;
  bool terminal_;
  Of of_;
  bool closed_pipe_ = false;
  std::optional<Error> broken_;
};

inline constexpr time::Duration kPatience = std::chrono::seconds(5);  // of doctor and version with a berthd that does not answer

inline constexpr time::Duration kUsagePatience = std::chrono::seconds(30);  // of doctor with one that answers and has a large store to walk

struct TerminalSize { std::size_t columns = 80, rows = 24; };

struct World {
  Stream out, err;             // data; talk
  int stdin_fd = 0;
  bool stdin_terminal = false;
  std::function<const char*(const char*)> variable;  // getenv
  std::function<TerminalSize()> size;                // of the terminal behind err, asked again for every frame
  const time::Clock& clock = time::SystemClock();
  std::stop_token stop = {};                         // SIGINT or SIGTERM came
  std::function<int()> interrupted_status = [] { return 130; };  // exit status after that: 130, 143
  std::string directory = "/";                       // working directory; empty: it is gone
  int verbosity = 0;                                 // -v: 0 … 10
  time::Duration patience = kPatience;               // see Session::BeImpatient
  time::Duration usage_patience = kUsagePatience;

  std::string Variable(const char* name) const {
    const char* value = variable(name);
    return value == nullptr ? "" : value;
  }
  // A path as others understand it, too. Not tidied: what ".." means behind a symbolic link only the kernel knows. kUsage: it is
  // relative, and the working directory is gone.
  Result<std::string> Absolute(std::string_view given) const;
  // A line on err in klog's form, if -v is at least `level`: 1 what is done, 4 where and from which files, names and durations of
  // requests, 6 their statuses. Never a secret, nor an argument that could be one; text from outside comes escaped.
  void Trace(int level, std::string_view text);
  // A terminal that can move its cursor, on err.
  bool SmartTerminal() const { return err.terminal() && Variable("TERM") != "dumb" && !Variable("TERM").empty(); }
};

World RealWorld();

}  // namespace berth::cli
