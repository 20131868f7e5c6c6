// apps/berth-webhook/service.h: POST /mutate and /validate: one AdmissionReview in, one out.
//
// The API server's own time-out (?timeout=10s) counts where it is shorter than ours, less a second for the way back (H-03). What is no
// review is refused before it is read: method, type, encoding (H-05). While more than half of the workers are busy, a review waits
// `hurried` at most for a registry: look-ups go on without it, and those who find their answer in the cache find a worker (H-10).
#pragma once

#include <array>
#include <atomic>

#include "admission/review.h"
#include "httpd/message.h"
#include "metrics/registry.h"

namespace berth::webhook {

struct ServiceOptions {
  time::Duration timeout = std::chrono::seconds(10);   // of the API server, when it does not say
  time::Duration hurried = std::chrono::milliseconds(200);
  unsigned workers = 0;                                // 0: answers on the server's threads, nothing is waited for
  admission::ReviewOptions review;
};

// Safe for concurrent use.
class Service {
 public:
  Service(const admission::Admission& mutating, const admission::Admission& validating, metrics::Registry& metrics, ServiceOptions options);
  httpd::Response Answer(const task::Context& ctx, const httpd::Request& request);

 private:
  struct Page {
    const admission::Admission& admission;
    std::array<metrics::Counter, 5> results;
    metrics::Histogram seconds;
  };
  httpd::Response Review(const task::Context& ctx, const httpd::Request& request, const Page& page);

  const ServiceOptions options_;
  std::atomic<unsigned> running_{0};
  Page mutate_, validate_;
};

}  // namespace berth::webhook
