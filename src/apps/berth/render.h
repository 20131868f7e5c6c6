// apps/berth/render.h: progress of pulls for a terminal, for a log, for a program (product 4.4).
//
// A Reporter turns the state of the pulls at a moment into the bytes that go to stderr then; it keeps what it said last
// and decides what is new. Nothing here reads a clock or writes: equal calls give equal bytes. One thread.
//
//   tty    at most 12 rows, redrawn at most five times a second; one image: a row per layer, several: a row per image,
//          and with `layers` those of its layers that are at work below it, as far as there are rows.
//          When an image has ended its summary takes the frame's place, and nothing is redrawn after that.
//   plain  one line per state of a pull and a heartbeat every 10 s: a heartbeat gives way when there were six lines in
//          the last minute. "resolved" waits until the layers are known.
//   json   one object per line: start, resolved, progress (per layer that changed, at most once a second, phases at
//          once), waiting (for a registry; text "" when that is over), warning (of a registry), pulled, failed.
//   none   failures only.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "apps/berth/failure.h"
#include "apps/berth/progress.h"
#include "apps/berth/world.h"
#include "time/clock.h"

namespace berth::cli {

struct Moment {
  time::SteadyTime steady;
  time::WallTime wall;
};

class Reporter {
 public:
  virtual ~Reporter() = default;
  // Something may have changed, or kBeat has passed.
  virtual std::string Update(const Snapshot& pulls, const Moment& now) = 0;
  // This pull has ended just now. Leaves no frame on the screen.
  virtual std::string Ended(const PullView& pull, const Moment& now) = 0;
  // A registry wants its users to know this.
  virtual std::string Warned(const PullView& pull, const std::string& host, const std::string& text, const Moment& now) = 0;
  // Takes the frame away: somebody else wants to write.
  virtual std::string Clear() { return ""; }
};
inline constexpr time::Duration kBeat = std::chrono::milliseconds(200);

enum class ProgressMode : std::uint8_t { kTty, kPlain, kJson, kNone };
struct RenderOptions {
  std::function<TerminalSize()> size;
  Colour colour = Colour::kNo;
  bool json_failures = false;  // of the modes that are not JSON themselves
  bool layers = false;         // of several images, on a terminal
};
std::unique_ptr<Reporter> MakeReporter(ProgressMode mode, RenderOptions options);

// One frame, without control sequences: lines of at most size.columns - 1 columns, at most size.rows - 1 of them.
std::vector<std::string> Frame(const Snapshot& pulls, const TerminalSize& size, bool layers = false);
// "[======####>........]" of `width` cells between the brackets.
std::string Bar(std::uint64_t resumed, std::uint64_t current, std::uint64_t total, std::size_t width);
// "pulled NAME@sha256:a08b224f3ace 86.9 MiB in 1.3s (…)"
std::string Summary(const PullView& pull);

}  // namespace berth::cli
