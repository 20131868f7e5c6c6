// kube/openapi.h: what the API offers, as OpenAPI v2 and v3: for `kubectl explain`, and for clients that check files or ask what a field is.
//
// Both are made from kube/schema.h, as compact JSON: every kind we speak with its fields, types and merge keys, without descriptions; for
// each kind one path, whose PATCH says that dryRun and fieldValidation are understood. Neither offers strategic merge patches there, so that
// `kubectl apply` from 1.27 on computes them from its own, complete types; older ones compute them from the v2 document without asking.
#pragma once

#include <string>

namespace berth::kube {

std::string OpenApiV3();  // "/openapi/v3/api/v1"
std::string OpenApiV2();  // "/openapi/v2"; parts we never look into have no type: clients take anything there

}  // namespace berth::kube
