// kube/openapi.h: what the API offers, as OpenAPI v3: for `kubectl explain` and for clients that ask what a field is.
#pragma once

#include <string>

namespace berth::kube {

// The document of group version v1 ("/openapi/v3/api/v1"), made from kube/schema.h: every kind we speak with its fields, types and merge
// keys, without descriptions; for each kind one path, whose PATCH says that fieldValidation is understood. It does not offer
// strategic merge patches there, so that `kubectl apply` computes them from its own, complete types. Compact JSON.
std::string OpenApiV3();

}  // namespace berth::kube
