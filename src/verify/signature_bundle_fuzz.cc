// Sigstore bundles: what is read has signatures, and its pre-authentication text holds the payload whole.
#include <cstdint>
#include <cstdlib>

#include "verify/payload.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const auto bundle = verify::ParseBundle({reinterpret_cast<const char*>(data), size});
  if (!bundle) return 0;
  if (bundle->signatures.empty() || bundle->signatures.size() > 8 || (bundle->message && !bundle->payload.empty())) std::abort();
  const std::string text = verify::PreAuthentication(bundle->payload_type, bundle->payload);
  if (!text.starts_with("DSSEv1 ") || !text.ends_with(bundle->payload)) std::abort();
  if (bundle->payload.size() > size || text.size() > size + 64) std::abort();
  return 0;
}
