// layer/unpacker.h: a compressed layer in, an EROFS image out, in one pass.
//
// Four threads on one pool of buffers (12 MiB): one reads and decompresses, one hashes, one parses, one writes (in tree form the
// parser writes). Inflating and hashing cost about the same, parsing and writing as much together for small files and a third
// of that for large ones; on two cores the scheduler shares them out.
// Every byte up to the end of the stream is decoded and hashed, also what follows the archive's end. Runs inside the
// jailed worker (worker.h); opens nothing. Deterministic: the same blob gives the same bytes.
// Errors: of codec, tar and TreeBuilder; kNoSpace, kIo; kLimitExceeded when memory runs out. Nothing in the files is
// durable or complete after an error: throw them away.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "bytes/bytes.h"
#include "layer/builder.h"
#include "layer/overlay.h"
#include "layer/report.h"
#include "result/result.h"

namespace berth::layer {

// data_fd, meta_fd: empty files, open for writing. In tree form data_fd is the layer's directory (tree_writer.h).
// marks: in tree form, what the caller has to set (overlay.h).
// on_failure: called at once, from another thread, with what the parser refuses, while this thread may still wait for
// the input: a worker ends there. The call itself returns when the next piece of input (or its end) arrives.
Result<UnpackReport> UnpackStream(bytes::Source& compressed, int data_fd, int meta_fd, const UnpackOptions& options,
                                  const std::function<void(const Error&)>& on_failure = nullptr,
                                  Marks* marks = nullptr);

// Its last step: image and descriptor, from the start of the file. Completes the report.
Result<> WriteMeta(int meta_fd, Built& built, const std::vector<std::uint32_t>& crcs, UnpackReport& report);
// The EROFS image of a layer (or of its variant), whiteouts marked; the volume is named after the blob. A name takes about 150
// bytes: more than these in all is an attack (long targets, large xattrs, indexes of vast sparse files), kLimitExceeded. fsck
// has the image in the daemon's memory.
inline constexpr std::uint64_t kImageBytes = 128u << 20, kImageBytesPerNode = 256;
Result<std::vector<std::byte>> MakeImage(erofs::Tree& tree, const erofs::Children& children, const digest::Digest& blob,
                                         std::vector<std::uint64_t> device_bytes);

// Touches what the first layer would load or allocate lazily (CPU dispatch, unwinder): call it before the jail closes.
void Prewarm();

}  // namespace berth::layer
