// No text crashes the parser; what it accepts can be written by the kernel's rules and reads the same again.
#include <cstdlib>
#include <string>

#include "host/mount.h"

namespace berth::host {
namespace {

std::string Escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\' || c == '#') {
      const auto u = static_cast<unsigned char>(c);
      out += {'\\', static_cast<char>('0' + u / 64), static_cast<char>('0' + u / 8 % 8), static_cast<char>('0' + u % 8)};
    } else {
      out += c;
    }
  }
  return out;
}

std::string Write(const MountInfo& m) {
  return std::to_string(m.id) + ' ' + std::to_string(m.parent) + ' ' + std::to_string(m.major) + ':' + std::to_string(m.minor) + ' ' +
         Escape(m.root) + ' ' + Escape(m.target) + ' ' + m.options + " shared:1 - " + Escape(m.type) + ' ' + Escape(m.source) + ' ' +
         m.super_options + '\n';
}

}  // namespace
}  // namespace berth::host

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::host;
  const auto mounts = ParseMountInfo({reinterpret_cast<const char*>(data), size});
  if (!mounts) return 0;
  std::string text;
  for (const MountInfo& m : *mounts) text += Write(m);
  const auto again = ParseMountInfo(text);
  if (!again || *again != *mounts) std::abort();
  return 0;
}
