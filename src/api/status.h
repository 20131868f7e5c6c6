// api/status.h: how an Error leaves the daemon: the only place that knows both our errors and gRPC's.
//
// The status has the canonical code of the reason (result/reason.h) and the text "E-CODE place: sentence". The trailer
// "berth-failure-bin" holds a serialised berth.v1.Failure for clients that show or script it. Both are cut at 1 KiB: one
// line, printable.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include "berth/v1/berth.pb.h"
#include "result/result.h"

namespace berth::api {

inline constexpr const char* kFailureTrailer = "berth-failure-bin";

void Fill(const Error& error, v1::Failure* out);
// Adds the trailer; call it once, before the call is finished.
grpc::Status ToStatus(grpc::CallbackServerContext& call, const Error& error);

}  // namespace berth::api
