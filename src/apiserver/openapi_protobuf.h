// apiserver/openapi_protobuf.h: an OpenAPI v2 document in the protobuf form of github.com/google/gnostic, package openapi.v2.
//
// kubectl reads "/openapi/v2" in this form only: up to 1.20 it creates nothing from a file before it has checked the file by it, later
// ones ask it for what "/openapi/v3" does not have.
#pragma once

#include <string>
#include <string_view>

#include "json/tree.h"

namespace berth::apiserver {

// As clients write it into Accept. Go's mime package refuses its '@' in an answer, which is why that spells it otherwise.
inline constexpr std::string_view kAcceptsOpenApiProtobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
inline constexpr std::string_view kOpenApiProtobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

// `document`: one of kube/openapi.h. What it has no use for (examples, security, limits of numbers) is left out.
std::string OpenApiProtobuf(const json::Tree& document);

}  // namespace berth::apiserver
