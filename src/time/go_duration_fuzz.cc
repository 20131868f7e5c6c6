// What is read prints as something that reads as the same number; what is printed is the only text printed for it.
#include <cstdint>
#include <cstdlib>

#include "time/go_duration.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::time;
  const auto d = ParseGoDuration({reinterpret_cast<const char*>(data), size});
  if (!d) return 0;
  const std::string text = FormatGoDuration(*d);
  const auto back = ParseGoDuration(text);
  if (!back || *back != *d || FormatGoDuration(*back) != text) std::abort();
  return 0;
}
