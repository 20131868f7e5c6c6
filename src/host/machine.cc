#include "host/machine.h"

#include <sched.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "host/dir.h"

namespace berth::host {
namespace {

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return text;
}

std::optional<std::uint64_t> Number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::string> SmallText(const std::string& path) {
  auto text = ReadSmallFile(path, 4096);
  if (!text) return std::nullopt;
  return std::string(Trimmed(*text));
}

// A file of our own cgroup, of either version; else of the top, which in a container is the container's.
std::optional<std::string> CgroupText(std::string_view controller, const std::string& v2, const std::string& v1) {
  const std::string top = "/sys/fs/cgroup/", v1_top = top + std::string(controller);
  const std::string table = SmallText("/proc/self/cgroup").value_or("");
  for (std::string_view rest = table; !rest.empty();) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const std::string path(line.substr(second + 1));
    if (controllers.empty()) {
      if (auto text = SmallText(top + path + "/" + v2)) return text;
    } else if (("," + std::string(controllers) + ",").find("," + std::string(controller) + ",") != std::string::npos) {
      if (auto text = SmallText(v1_top + path + "/" + v1)) return text;
    }
  }
  auto text = SmallText(top + v2);
  return text ? text : SmallText(v1_top + "/" + v1);
}

std::optional<std::uint64_t> CgroupMemory() {
  const auto text = CgroupText("memory", "memory.max", "memory.limit_in_bytes");
  return text ? Number(*text) : std::nullopt;  // "max" is no number
}

// Processors that the quota pays for.
std::optional<unsigned> CgroupCpus() {
  const auto text = CgroupText("cpu", "cpu.max", "cpu.cfs_quota_us");
  if (!text) return std::nullopt;
  const auto space = text->find(' ');  // "QUOTA PERIOD"; version 1 has the period in a file of its own
  const auto quota = Number(text->substr(0, space));
  std::optional<std::uint64_t> period;
  if (space != std::string::npos) period = Number(text->substr(space + 1));
  else if (const auto other = CgroupText("cpu", "cpu.cfs_period_us", "cpu.cfs_period_us")) period = Number(*other);
  if (!quota || !period || *quota == 0 || *period == 0) return std::nullopt;
  return static_cast<unsigned>(std::min<std::uint64_t>((*quota + *period - 1) / *period, 1u << 16));
}

}  // namespace

Result<std::string> BootId() {
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile("/proc/sys/kernel/random/boot_id", 64));
  const auto id = Trimmed(text);
  if (id.size() != 36) return Error(Reason::kIo, "the kernel's boot id is not 36 characters");
  return std::string(id);
}

std::optional<std::string> Variable(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::string Hostname() {
  utsname names;
  if (::uname(&names) != 0 || names.nodename[0] == '\0') return "localhost";
  return names.nodename;
}

unsigned CpuCount() {
  unsigned count = 1;
  // More processors than a cpu_set_t has room for: EINVAL until the set is large enough.
  for (int room = CPU_SETSIZE; room <= 1 << 16; room *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(room), [](cpu_set_t* s) { CPU_FREE(s); });
    if (!set) break;
    if (::sched_getaffinity(0, CPU_ALLOC_SIZE(room), set.get()) == 0) {
      count = static_cast<unsigned>(std::max(1, CPU_COUNT_S(CPU_ALLOC_SIZE(room), set.get())));
      break;
    }
    if (errno != EINVAL) break;
  }
  return std::max(1u, std::min(count, CgroupCpus().value_or(count)));
}

Result<std::uint64_t> MemoryBytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page <= 0) return Error(Reason::kIo, "the kernel does not say how much memory there is");
  const auto all = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
  return std::min(all, CgroupMemory().value_or(all));
}

std::string RandomName() {
  std::uint64_t bits = 0;
  // Eight bytes come whole or not at all; before the generator is seeded (early boot) the call waits.
  while (::getrandom(&bits, sizeof bits, 0) != sizeof bits) BERTH_CHECK(errno == EINTR);
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(bits));
  return hex;
}

}  // namespace berth::host
