// Any bytes as Kubernetes' protobuf: what is read is JSON that our own reader takes.
#include <cstdint>
#include <cstdlib>

#include "apiserver/protobuf.h"
#include "json/document.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const auto tree = apiserver::ReadProtobuf({reinterpret_cast<const char*>(data), size}, "Secret");
  if (!tree) return 0;
  const std::string text = tree->Dump();
  const auto again = json::Document::Parse(text, Reason::kUsage, {.bytes = 64u << 20, .depth = 16, .values = 10'000'000});
  if (!again || again->root().Dump() != text) std::abort();
  return 0;
}
