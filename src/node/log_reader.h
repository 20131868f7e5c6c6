// node/log_reader.h: container logs in the CRI's format, read as `kubectl logs` shows them.
//
//   2006-01-02T15:04:05.999999999Z stdout F a whole line
//   2006-01-02T15:04:05.999999999Z stderr P the beginning of a long one
//
// Parts (P) are joined by not ending the line. What is not in this format is passed on as it is: it is the container's text, and losing
// it helps nobody. Following goes on through rotation (the file is renamed, a new one takes its name) and ends when `ended` is stopped
// and everything written until then has been given.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "result/result.h"
#include "task/context.h"
#include "time/clock.h"

namespace berth::node {

struct CriLine {
  std::string_view time, stream, text;  // stream: "stdout", "stderr"
  bool partial = false;
};
// `line` without its line break. nullopt: not in the format.
std::optional<CriLine> ParseCriLine(std::string_view line);

struct LogOptions {
  std::optional<std::int64_t> tail;     // the last so many lines
  std::optional<time::WallTime> since;  // lines from then on
  std::optional<std::int64_t> limit_bytes;
  bool timestamps = false;
  bool follow = false;
};
using LogSink = std::function<Result<>(std::string data)>;  // at most some 64 KiB at once; may block

// Errors: kMissing when there is no file (yet), kCanceled, those of `sink`.
Result<> ReadLog(const task::Context& ctx, const std::string& path, const LogOptions& options, const std::stop_token& ended,
                 const LogSink& sink);

}  // namespace berth::node
