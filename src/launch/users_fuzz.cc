// Account files of images: whatever their bytes are, what is parsed obeys the rules of users.h.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "launch/users.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto bad = [](std::string_view name) {
    return name.empty() || name.find_first_of(": \n\t") != std::string_view::npos;
  };
  for (const auto& a : berth::launch::ParsePasswd(text))
    if (bad(a.name) || a.uid > 0x7fffffffu || a.gid > 0x7fffffffu || a.home.find(':') != std::string::npos)
      std::abort();
  for (const auto& g : berth::launch::ParseGroup(text)) {
    if (bad(g.name) || g.gid > 0x7fffffffu) std::abort();
    for (const auto& member : g.members)
      if (member.empty() || member.find(',') != std::string::npos) std::abort();
  }
  return 0;
}
