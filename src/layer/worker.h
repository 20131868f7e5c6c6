// layer/worker.h: the daemon's end of the jailed unpack worker (berth-unpack).
//
// The daemon never parses layer bytes: it writes them into a pipe, and reads back one bounded report or one error. Both
// come from a process that had hostile bytes in its hands: the report is parsed strictly, an error's text is re-quoted
// and cut. A worker that crashes or is killed fails its layer (kInternal with the signal; kLimitExceeded when the
// kernel's memory killer is the likely one), never the daemon. (reliability-security 5.1)
// One thread at a time for each object; any number of objects.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bytes/bytes.h"
#include "host/fd.h"
#include "host/process.h"
#include "layer/descriptor.h"
#include "layer/report.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::layer {

// A running worker and the two pipes to it.
class Worker {
 public:
  // `fds` are what it gets besides: number there, our descriptor. `options` is one line of JSON.
  static Result<Worker> Start(const std::string& program, const std::string& options,
                              const std::vector<std::pair<int, int>>& fds, bool input);
  // Blocks while the pipe is full; ends early when the worker does, with its error.
  Result<> Write(const task::Context& ctx, bytes::View chunk);
  // Closes the input, waits for the answer and the exit. The JSON of the report. Once.
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
  // `program`: absolute path of berth-unpack. data, meta: as for UnpackStream. `ctx` holds for every later call.
  static Result<std::unique_ptr<Unpack>> Start(const task::Context& ctx, const std::string& program, host::Fd data,
                                               host::Fd meta, const UnpackOptions& options);
  // Compressed bytes. Back-pressure: blocks until the worker took them.
  Result<> Write(bytes::View chunk) override;
  // The input is complete. The caller compares diff_id and sizes. Once.
  Result<UnpackReport> Finish(const task::Context& ctx);
  pid_t pid() const { return worker_.pid(); }

 private:
  Unpack(const task::Context& ctx, Worker worker, UnpackOptions options)
      : ctx_(ctx), worker_(std::move(worker)), options_(std::move(options)) {}
  task::Context ctx_;
  Worker worker_;
  UnpackOptions options_;
};

// Mode "fit" of the worker: for one image, layers bottom first.
struct FitLayer {
  digest::Digest blob;
  int meta_fd = -1;     // the layer's own .meta, for reading
  int variant_fd = -1;  // an empty file for its variant, should it need one; -1: it has no fixups
};
// For each layer whether its variant_fd was written (image and descriptor).
Result<std::vector<bool>> RunFit(const task::Context& ctx, const std::string& program, std::span<const FitLayer> layers,
                                 const UnpackOptions& options);

// main() of berth-unpack: descriptors 0 options, 1 answer, 2 nothing, 3 and on by mode.
int WorkerMain();

}  // namespace berth::layer
