// layer/worker.h: the daemon's end of the jailed unpack worker (berth-unpack).
//
// The daemon never parses layer bytes: it gives them to a channel, and reads back one bounded report or one error. Both
// come from a process that had hostile bytes in its hands: the report is parsed strictly, an error's text is re-quoted
// and cut. A worker that crashes or is killed fails its layer with kInternal and the signal (transient when it was SIGKILL),
// never the daemon; so does one that makes no progress for 30 minutes. One that reaches its memory limit says kLimitExceeded itself. (reliability-security 5.1, E-03, E-06)
// The process must ignore SIGPIPE (host/fd.h).
// One thread at a time for each object; any number of objects.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bytes/bytes.h"
#include "host/channel.h"
#include "host/fd.h"
#include "host/process.h"
#include "layer/overlay.h"
#include "layer/report.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::layer {

// The next step of whoever finds the disk full, the worker's included: it has no words of ours.
inline constexpr const char* kFreeSpace = "free space: berth df, berth rm";

// Memory, lengths, freed (host/channel.h).
inline constexpr std::array kChannelFds{3, 6, 7};

// A running worker, the channel to it and the pipe back.
class Worker {
 public:
  // `fds`: what it gets besides, as number there and our descriptor. `input`: it gets a channel from us (kChannelFds).
  static Result<Worker> Start(const std::string& program, const std::string& options, std::vector<std::pair<int, int>> fds, bool input);
  // Where the next bytes for it go, never empty. Blocks while it is behind. Ends early, with its error, when it has one.
  Result<bytes::MutableView> Room(const task::Context& ctx);
  Result<> HandOver(const task::Context& ctx, std::size_t count);
  // No more input: it works on with what it has.
  void Close();
  // Closes the input, waits for answer and exit. The answer as JSON. Once.
  Result<std::string> Finish(const task::Context& ctx);
  pid_t pid() const { return process_.pid(); }

 private:
  Worker(host::Process process, std::optional<host::ChannelWriter> input, host::Fd output)
      : process_(std::move(process)), input_(std::move(input)), output_(std::move(output)) {}
  Error EndedEarly(const task::Context& ctx);
  Result<std::string> Answer(const task::Context& ctx);
  host::Process process_;
  std::optional<host::ChannelWriter> input_;
  host::Fd output_;
};

class Unpack {
 public:
  struct Answer {
    UnpackReport report;
    Marks marks;  // tree form: what the caller sets
  };

  // `program`: absolute path of berth-unpack. data_fd, meta_fd: as for UnpackStream, borrowed until this returns. `ctx`
  // holds for every later call.
  static Result<std::unique_ptr<Unpack>> Start(const task::Context& ctx, const std::string& program, int data_fd, int meta_fd,
                                               const UnpackOptions& options);
  // Where the next compressed bytes go, never empty; HandOver gives the worker the first `count` of them, which stay readable
  // until the next Room(). Back-pressure: Room() blocks until the worker has taken enough. An error is final.
  Result<bytes::MutableView> Room();
  Result<> HandOver(std::size_t count);
  // The input is complete; the worker works on.
  void Close() { worker_.Close(); }
  // The same, and waits for the worker. The caller compares diff_id. Once.
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

// main() of berth-unpack. Descriptors: 0 options, 1 answer, kChannelFds the input if there is one, else from 3 on what the
// mode needs. Returns the exit status.
int WorkerMain();

}  // namespace berth::layer
