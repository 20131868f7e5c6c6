// api/credentials.h: credentials out of a request: secrets move into secret::Secret and are wiped in the message.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <vector>

#include "berth/v1/berth.pb.h"
#include "credentials/credential.h"
#include "result/result.h"

namespace berth::api {

namespace v1 = berth::v1;

// kUsage: empty ones, control characters, more than 64 KiB, more than 64 of them. Wiped whatever comes out.
Result<std::vector<credentials::Credential>> TakeCredentials(google::protobuf::RepeatedPtrField<v1::Credential>& from);

}  // namespace berth::api
