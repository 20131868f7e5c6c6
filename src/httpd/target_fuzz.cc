// A target that is taken is what a router may rely on, and says the same when its path is written again.
#include <cstdint>

#include "httpd/target.h"
#include "result/result.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto target = berth::httpd::ParseTarget(text);
  if (!target) return 0;
  BERTH_CHECK(target->path.starts_with('/') && target->path.size() <= size);
  BERTH_CHECK(target->path.find('\0') == std::string::npos && target->path.find("/../") == std::string::npos && !target->path.ends_with("/.."));
  std::string again;
  for (const char c : target->path) {
    constexpr char kHex[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '/') again += c;
    else again += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  const auto twice = berth::httpd::ParseTarget(again);
  BERTH_CHECK(twice && twice->path == target->path && twice->query.empty());
  return 0;
}
