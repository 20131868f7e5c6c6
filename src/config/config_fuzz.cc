// A configuration is read or refused with a place; what was read prints as one that reads back the same.
#include <cstdint>
#include <cstdlib>

#include "config/daemon_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const auto config = config::ParseConfig({reinterpret_cast<const char*>(data), size}, "fuzz", {});
  if (!config) {
    if (config.error().reason() != Reason::kConfig) std::abort();
    return 0;
  }
  for (const auto& [key, origin] : config->origins)
    if (origin.find("fuzz:") != 0) std::abort();
  const std::string printed = config::PrintConfig(*config);
  // Control characters in values are kept; YAML folds some of them when they are printed plainly.
  for (std::size_t i = 0; i < size; ++i)
    if (data[i] < 0x20 || data[i] >= 0x7f) return 0;
  const auto again = config::ParseConfig(printed, "again", {});
  if (!again || config::ListLimits(*again) != config::ListLimits(*config)) std::abort();
  return 0;
}
