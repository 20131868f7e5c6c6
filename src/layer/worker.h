// layer/worker.h: the daemon's end of the jailed unpack worker (berth-unpack).
//
// The daemon never parses layer bytes: it writes them into a pipe, and reads back one bounded report or one error. Both
// come from a process that had hostile bytes in its hands: the report is parsed strictly, an error's text is re-quoted
// and cut. A worker that crashes or is killed fails its layer with kInternal and the signal (transient when it was SIGKILL),
// never the daemon; one that reaches its memory limit says kLimitExceeded itself. (reliability-security 5.1, E-03, E-06)
// The process must ignore SIGPIPE (host/fd.h).
// One thread at a time for each object; any number of objects.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bytes/bytes.h"
#include "host/fd.h"
#include "host/process.h"
#include "layer/overlay.h"
#include "layer/report.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::layer {

// A running worker and the two pipes to it.
class Worker {
 public:
  // `fds`: what it gets besides, as number there and our descriptor. `input`: 3 there is a pipe from us.
  static Result<Worker> Start(const std::string& program, const std::string& options, std::vector<std::pair<int, int>> fds, bool input);
  // Blocks while the pipe is full. Ends early, with the worker's error, when it has one.
  Result<> Write(const task::Context& ctx, bytes::View chunk);
  // Closes the input, waits for answer and exit. The answer as JSON. Once.
  Result<std::string> Finish(const task::Context& ctx);
  pid_t pid() const { return process_.pid(); }

 private:
  Worker(host::Process process, host::Fd input, host::Fd output)
      : process_(std::move(process)), input_(std::move(input)), output_(std::move(output)) {}
  host::Process process_;
  host::Fd input_, output_;
};

class Unpack final : public bytes::Sink {
 public:
  struct Answer {
    UnpackReport report;
    Marks marks;  // tree form: what the caller sets
  };

  // `program`: absolute path of berth-unpack. data_fd, meta_fd: as for UnpackStream, borrowed until this returns. `ctx`
  // holds for every later call.
  static Result<std::unique_ptr<Unpack>> Start(const task::Context& ctx, const std::string& program, int data_fd, int meta_fd,
                                               const UnpackOptions& options);
  // Compressed bytes. Back-pressure: blocks until the worker took them. An error is final.
  Result<> Write(bytes::View chunk) override;
  // The input is complete. The caller compares diff_id. Once.
  Result<Answer> Finish();
  pid_t pid() const { return worker_.pid(); }

 private:
  Unpack(const task::Context& ctx, Worker worker, UnpackOptions options)
      : ctx_(ctx), worker_(std::move(worker)), options_(std::move(options)) {}
  task::Context ctx_;
  Worker worker_;
  UnpackOptions options_;
  std::uint64_t given_ = 0;
  std::optional<Error> failed_;
};

// One layer of an image for RunFit.
struct FitLayer {
  digest::Digest blob;
  int meta_fd = -1;     // its own .meta, for reading
  int variant_fd = -1;  // an empty file for its variant, should it need one; -1: it has no fixups
};
// Layers bottom first. For each whether its variant_fd was written (image and descriptor).
Result<std::vector<bool>> RunFit(const task::Context& ctx, const std::string& program, std::span<const FitLayer> layers,
                                 const UnpackOptions& options);

// What the jail of a worker is on this machine (host::JailReport::Text), from a worker that entered it and did nothing else.
// An Error: no worker can work here. `folder_fd`: any folder; the root of a worker for trees.
Result<std::string> TryJail(const task::Context& ctx, const std::string& program, int folder_fd, const UnpackOptions& options);

// main() of berth-unpack. Descriptors: 0 options, 1 answer, 3 and on what the mode needs. Returns the exit status.
int WorkerMain();

}  // namespace berth::layer
