// apiserver/protobuf.h: objects in Kubernetes' protobuf, read as JSON.
//
// kubectl from 1.32 on sends what it makes itself (`kubectl create secret|configmap|serviceaccount|namespace`) in this form; files it
// sends as JSON. So these four kinds are read, all their fields. Answers are JSON, which those clients take, too.
// Pure. Unknown fields are passed over, as protobuf wants it.
#pragma once

#include <string_view>

#include "json/tree.h"
#include "result/result.h"

namespace berth::apiserver {

inline constexpr std::string_view kProtobuf = "application/vnd.kubernetes.protobuf";

// `body`: "k8s\0" and a runtime.Unknown around the message. kUsage for what is none, kUnsupported for other kinds than these;
// nothing of the contents is quoted.
Result<json::Tree> ReadProtobuf(std::string_view body, std::string_view kind);

}  // namespace berth::apiserver
