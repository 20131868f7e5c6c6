// layer/unpacker.h: a compressed layer in, an EROFS image out, in one pass.
//
// Two threads: one reads and decompresses into a pool of buffers (at most 4 MiB), the other hashes, parses and writes.
// Every byte up to the end of the stream is decoded and hashed, also what follows the archive's end. Runs inside the
// jailed worker (worker.h); opens nothing. Deterministic: the same blob gives the same bytes.
// Errors: of codec, tar and TreeBuilder; kNoSpace, kIo; kLimitExceeded when memory runs out. Nothing in the files is
// durable or complete after an error: throw them away.
#pragma once

#include "bytes/bytes.h"
#include "layer/report.h"
#include "result/result.h"

namespace berth::layer {

// data_fd, meta_fd: empty files, open for writing. In tree form data_fd is the layer's directory (tree_writer.h).
Result<UnpackReport> UnpackStream(bytes::Source& compressed, int data_fd, int meta_fd, const UnpackOptions& options);

// Touches what the first layer would load or allocate lazily (CPU dispatch, unwinder): call it before the jail closes.
void Prewarm();

}  // namespace berth::layer
