#include "oci/platform.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

#include "bytes/text.h"

namespace berth::oci {
namespace {

#if defined(__x86_64__)
constexpr std::string_view kArchitecture = "amd64";
#elif defined(__i386__)
constexpr std::string_view kArchitecture = "386";
#elif defined(__aarch64__)
constexpr std::string_view kArchitecture = "arm64";
#elif defined(__arm__)
constexpr std::string_view kArchitecture = "arm";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
constexpr std::string_view kArchitecture = "ppc64le";
#elif defined(__s390x__)
constexpr std::string_view kArchitecture = "s390x";
#elif defined(__riscv) && __riscv_xlen == 64
constexpr std::string_view kArchitecture = "riscv64";
#elif defined(__loongarch64)
constexpr std::string_view kArchitecture = "loong64";
#else
#error "name this architecture as the OCI image specification (Go) does"
#endif
constexpr std::string_view kOs = "linux";

// What a single word can be: all others need both parts.
constexpr std::array<std::string_view, 17> kSystems{"aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js",
                                                    "linux", "nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos"};
constexpr std::array<std::string_view, 21> kArchitectures{
    "386", "amd64", "arm", "arm64", "armbe", "arm64be", "loong64", "mips", "mips64", "mips64le", "mipsle",
    "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm"};

template <std::size_t N>
bool Contains(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// N of "vN": one or two digits.
std::optional<int> VersionOf(std::string_view variant) {
  if (!variant.starts_with('v') || variant.size() < 2 || variant.size() > 3) return std::nullopt;
  int n = 0;
  for (const char c : variant.substr(1)) {
    if (c < '0' || c > '9') return std::nullopt;
    n = n * 10 + (c - '0');
  }
  return n;
}

// The variants that `host` (normalised) accepts of its own architecture, best first.
std::vector<std::string> OwnVariants(const Platform& host) {
  const auto numbered = [](int from, int to, const std::string& prefix) {
    std::vector<std::string> out;
    for (int n = from; n >= to; --n) out.push_back(prefix + std::to_string(n));
    return out;
  };
  const std::optional<int> version = VersionOf(host.variant);
  std::vector<std::string> out{host.variant};
  const auto append = [&](const std::vector<std::string>& more) { out.insert(out.end(), more.begin(), more.end()); };
  if (host.architecture == "amd64" && version && *version > 1) {
    append(numbered(*version - 1, 2, "v"));
    out.emplace_back();
  } else if (host.architecture == "arm" && version) {
    append(numbered(*version - 1, 5, "v"));
  } else if (host.architecture == "arm64") {
    const bool nine = host.variant.starts_with("v9");
    int minor = 0;
    if (!host.variant.empty() && host.variant != "v9") {
      const bool dotted = host.variant.size() == 4 && (nine || host.variant.starts_with("v8")) && host.variant[2] == '.';
      minor = dotted ? host.variant[3] - '0' : -1;
      if (minor < 1 || minor > (nine ? 7 : 9)) return {};
    }
    out = numbered(minor, 1, nine ? "v9." : "v8.");
    if (nine) {
      out.emplace_back("v9");
      append(numbered(std::min(minor + 5, 9), 1, "v8."));
    }
    out.emplace_back();
  }
  return out;
}

}  // namespace

Result<Platform> Platform::Parse(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Error(Reason::kUsage, "platform " + Quoted(text) + " " + std::string(why)).Next("write it as os/architecture[/variant]: linux/arm64");
  };
  std::vector<std::string> parts{""};
  for (const char c : text) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
    if (c == '/') {
      parts.emplace_back();
    } else if (word && parts.back().size() < 64) {
      parts.back() += c;
    } else {
      return bad("has a character that no platform has, or a part of more than 64");
    }
    if (parts.size() > 3) return bad("has more than three parts");
  }
  if (std::find(parts.begin(), parts.end(), "") != parts.end()) return bad("has an empty part");
  Platform out;
  if (parts.size() > 1) {
    out.os = parts[0];
    out.architecture = parts[1];
    if (parts.size() == 3) out.variant = parts[2];
    return out.Normalized();
  }
  out = HostPlatform();
  const Platform as_os = Platform{parts[0], "", "", "", {}}.Normalized();
  const Platform as_architecture = Platform{"", parts[0], "", "", {}}.Normalized();
  if (Contains(kSystems, as_os.os)) {
    out.os = as_os.os;
  } else if (Contains(kArchitectures, as_architecture.architecture)) {
    out.architecture = as_architecture.architecture;
    out.variant = as_architecture.variant;
  } else {
    return bad("is neither an operating system nor an architecture");
  }
  return out.Normalized();
}

Platform Platform::Normalized() const {
  Platform out = *this;
  out.os = bytes::Lower(os);
  out.architecture = bytes::Lower(architecture);
  out.variant = bytes::Lower(variant);
  std::string &arch = out.architecture, &v = out.variant;
  if (out.os == "macos") out.os = "darwin";
  if (arch == "i386") {
    arch = "386";
    v.clear();
  } else if (arch == "x86_64" || arch == "x86-64" || arch == "amd64") {
    arch = "amd64";
    if (v == "v1") v.clear();
  } else if (arch == "aarch64" || arch == "arm64") {
    arch = "arm64";
    if (v == "8" || v == "v8" || v == "v8.0") v.clear();
    if (v == "9" || v == "9.0" || v == "v9.0") v = "v9";
  } else if (arch == "armhf" || arch == "armel") {
    v = arch == "armhf" ? "v7" : "v6";
    arch = "arm";
  } else if (arch == "arm") {
    if (v.empty()) v = "v7";
    if (v.size() == 1 && v[0] >= '5' && v[0] <= '8') v.insert(0, "v");
  }
  return out;
}

std::string Platform::ToString() const {
  const auto shown = [](std::string_view part) {
    constexpr std::size_t kShown = 32;
    const std::string quoted = Quoted(part.substr(0, kShown));
    return quoted.substr(1, quoted.size() - 2) + (part.size() > kShown ? "..." : "");
  };
  const Platform n = Normalized();
  return shown(n.os) + '/' + shown(n.architecture) + (n.variant.empty() ? "" : '/' + shown(n.variant));
}

std::string ArmVariant(std::string_view architecture, std::string_view cpuinfo, std::string_view machine) {
  // The value of the first line "key : value", lower case.
  const auto field = [&](std::string_view key) -> std::string {
    for (std::string_view rest = cpuinfo; !rest.empty();) {
      const std::string line = bytes::Lower(rest.substr(0, rest.find('\n')));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      const std::size_t colon = line.find(':');
      if (colon == std::string::npos) continue;
      const std::size_t end = line.find_last_not_of(" \t", colon - (colon > 0 ? 1 : 0));
      if (end == std::string::npos || line.substr(0, end + 1) != key) continue;
      const std::size_t from = line.find_first_not_of(" \t", colon + 1);
      return from == std::string::npos ? "" : line.substr(from, line.find_last_not_of(" \t\r") - from + 1);
    }
    return "";
  };
  std::string found = field("cpu architecture");
  if (found.empty()) found = machine == "aarch64" ? "8" : machine.starts_with("armv") ? std::string(machine.substr(4, 1)) : "";
  if (architecture == "arm" && found == "7" && field("model name").starts_with("armv6-compatible")) found = "6";
  // Kernels also write "5TEJ", "6TEJ", "7M", "AArch64" and, for cores newer than themselves, "?(12)" and up.
  if (found == "aarch64") found = "8";
  if (found.size() == 5 && found.starts_with("?(1") && found[3] >= '2' && found[3] <= '7') found = "7";
  return !found.empty() && found[0] >= '3' && found[0] <= '8' ? std::string("v") + found[0] : "";
}

Platform HostPlatform() {
  Platform out{std::string(kOs), std::string(kArchitecture), "", "", {}};
  if (kArchitecture == "arm" || kArchitecture == "arm64") {
    std::ifstream file("/proc/cpuinfo", std::ios::binary);
    const std::string cpuinfo((std::istreambuf_iterator<char>(file)), {});
    utsname name{};
    out.variant = ArmVariant(kArchitecture, cpuinfo, ::uname(&name) == 0 ? name.machine : "");
  }
  return out.Normalized();
}

PlatformMatcher::PlatformMatcher(const Platform& host) : host_(host.Normalized()) {
  const auto add = [&](std::string_view architecture, std::string variant) {
    Platform p = host_;
    p.architecture = architecture;
    p.variant = std::move(variant);
    acceptable_.push_back(std::move(p));
  };
  for (std::string& variant : OwnVariants(host_)) add(host_.architecture, std::move(variant));
  if (acceptable_.empty()) return;
  if (host_.architecture == "amd64") add("386", "");
  if (host_.architecture == "arm64") {
    for (const char* variant : {"v8", "v7", "v6", "v5"}) add("arm", variant);
  }
}

std::optional<std::size_t> PlatformMatcher::Rank(const Platform& candidate) const {
  Platform p = candidate.Normalized();
  if (p.os.empty()) p.os = host_.os;
  std::sort(p.os_features.begin(), p.os_features.end());
  p.os_features.erase(std::unique(p.os_features.begin(), p.os_features.end()), p.os_features.end());
  const auto& features = host_.os_features;
  for (const std::string& wanted : p.os_features) {
    if (std::find(features.begin(), features.end(), wanted) == features.end()) return std::nullopt;
  }
  for (std::size_t i = 0; i < acceptable_.size(); ++i) {
    const Platform& a = acceptable_[i];
    if (a.os != p.os || a.architecture != p.architecture || a.variant != p.variant) continue;
    const std::size_t unused = features.size() - std::min(features.size(), p.os_features.size());
    return i * (features.size() + 1) + unused;
  }
  return std::nullopt;
}

std::optional<std::size_t> PlatformMatcher::Rank(std::string_view candidate) const {
  const auto platform = Platform::Parse(candidate);
  return platform ? Rank(*platform) : std::nullopt;
}

}  // namespace berth::oci
