// admission/review.h: AdmissionReview v1 (admission.k8s.io), bytes in, bytes out: what a webhook answers. No HTTP here.
//
// Strict about the envelope: version, kind, uid, operation, and a resource, kind and object that say the same. What cannot be read at all,
// says a member twice, or is too large gets 400 or 413 and no verdict; the API server's failurePolicy then decides, so it is to be Fail.
// Objects of other kinds, other operations (DELETE, CONNECT) and other subresources are allowed untouched. A version of a Pod or template
// that is not understood is denied, not let through.
//
// Any trouble of our own denies (`deny_on_error`). Texts in the answer are ours or Kubernetes': names, images and fields, never env
// values or secrets. Rules: reliability-security 3.h.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "admission/admission.h"
#include "json/document.h"
#include "task/context.h"

namespace berth::admission {

struct ReviewOptions {
  json::Limits limits{.bytes = 8u << 20, .depth = 64, .values = 500'000};  // an object and its old self, 3 MiB each at most
  bool deny_on_error = true;            // false: allow, with a warning
  std::size_t warnings = 20;            // most that are sent; kubectl prints each
  std::size_t warning_bytes = 256;      // of one
};

struct Reply {
  int status = 200;      // HTTP: 200, 400, 413
  std::string body;      // JSON: AdmissionReview, else metav1.Status
  bool allowed = false, changed = false, failed = false;  // failed: trouble of our own. For metrics.
  std::string uid;       // of the request, for the log; "" when it could not be read
};

// `ctx`: the deadline is the API server's time-out minus what the way back takes.
Reply Review(const task::Context& ctx, std::string_view body, const Admission& admission, const ReviewOptions& options = {});

}  // namespace berth::admission
