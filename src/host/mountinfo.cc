#include <charconv>
#include <string>

#include "host/dir.h"
#include "host/mount.h"

namespace berth::host {
namespace {

template <class Int>
bool Number(std::string_view text, Int& out) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
  return problem == std::errc() && end == text.data() + text.size() && !text.empty();
}

// The kernel writes space, tab, newline, backslash and '#' as a backslash and three octal digits.
std::string Unescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  const auto octal = [&](std::size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '7'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && octal(i + 1) && text[i + 1] < '4' && octal(i + 2) && octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// Fields are separated by one space and may be empty.
bool ParseLine(std::string_view line, MountInfo& m) {
  bool more = true;
  const auto field = [&]() -> std::string_view {
    const auto space = line.find(' ');
    const auto text = line.substr(0, space);
    more = space != std::string_view::npos;
    line = more ? line.substr(space + 1) : std::string_view();
    return text;
  };
  const auto id = field(), parent = field(), device = field(), root = field(), target = field(), options = field();
  const auto colon = device.find(':');
  if (!more || colon == std::string_view::npos || !Number(id, m.id) || !Number(parent, m.parent) ||
      !Number(device.substr(0, colon), m.major) || !Number(device.substr(colon + 1), m.minor))
    return false;
  m.root = Unescape(root);
  m.target = Unescape(target);
  m.options = options;
  while (more && field() != "-") {}  // optional fields: propagation
  if (!more) return false;
  m.type = Unescape(field());
  if (!more) return false;
  m.source = Unescape(field());
  if (!more) return false;
  m.super_options = line;
  return true;
}

}  // namespace

Result<std::vector<MountInfo>> ParseMountInfo(std::string_view text) {
  std::vector<MountInfo> mounts;
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (!ParseLine(text.substr(0, end), mounts.emplace_back()))
      return Error(Reason::kCorrupt, "line " + std::to_string(mounts.size()) + " of the mount table makes no sense");
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return mounts;
}

Result<std::vector<MountInfo>> ListMounts() {
  // 100,000 mounts (the kernel's limit) of 600 bytes.
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile("/proc/self/mountinfo", 64u << 20));
  return ParseMountInfo(text);
}

}  // namespace berth::host
