// pull/observer.h: who wants to count what pulls do.
#pragma once

#include <cstdint>

#include "registry/attempt.h"
#include "result/result.h"

namespace berth::pull {

struct Pulled;

// Called on the pulls' own threads, several at once; must not block.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnAttempt(const registry::Attempt& attempt) = 0;  // every request to a registry
  // A layer went from its first byte to its place; `bytes` are of the tar stream.
  virtual void OnLayer(std::uint64_t bytes, double seconds) = 0;
  // `registry`: of the image's name. `pulled` is as far as it came; `error`: nullptr: it is there.
  virtual void OnPull(std::string_view registry, const Pulled& pulled, const Error* error) = 0;
};

}  // namespace berth::pull
