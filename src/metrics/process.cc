#include "metrics/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "host/dir.h"

namespace berth::metrics {
namespace {

template <class T>
std::optional<T> Number(std::string_view text) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end != text.data() ? std::optional(value) : std::nullopt;
}

std::vector<Sample> Maybe(std::optional<double> value) {
  return value ? std::vector<Sample>{{.labels = {}, .value = *value}} : std::vector<Sample>{};
}

// Field n of proc_pid_stat(5), counted from 1.
std::optional<double> Stat(std::size_t n) {
  const auto text = host::ReadSmallFile("/proc/self/stat", 4096);
  if (!text) return std::nullopt;
  const auto fields = StatFields(*text);
  return n - 3 < fields.size() ? Number<double>(fields[n - 3]) : std::nullopt;
}

std::optional<double> BootTime() {
  const auto text = host::ReadSmallFile("/proc/stat", 4u << 20);
  const auto at = text ? text->find("\nbtime ") : std::string::npos;
  return at == std::string::npos ? std::nullopt : Number<double>(std::string_view(*text).substr(at + 7));
}

}  // namespace

std::vector<std::string_view> StatFields(std::string_view stat) {
  std::vector<std::string_view> fields;
  const auto name_end = stat.rfind(") ");
  if (name_end == stat.npos) return fields;
  for (std::string_view rest = stat.substr(name_end + 2); !rest.empty();) {
    const auto end = std::min(rest.find_first_of(" \n"), rest.size());
    if (end > 0) fields.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return fields;
}

void AddProcess(Registry& registry) {
  const double tick = static_cast<double>(::sysconf(_SC_CLK_TCK)), page = static_cast<double>(::sysconf(_SC_PAGESIZE));
  const auto add = [&](const char* name, const char* help, Kind kind, std::function<std::optional<double>()> value) {
    registry.Collect(name, help, kind, [value = std::move(value)] { return Maybe(value()); });
  };
  const auto scaled = [](std::size_t field, double factor) {
    return [=]() -> std::optional<double> {
      const auto value = Stat(field);
      return value ? std::optional(*value * factor) : std::nullopt;
    };
  };
  add("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", Kind::kCounter, [tick]() -> std::optional<double> {
    const auto user = Stat(14), system = Stat(15);
    return user && system ? std::optional((*user + *system) / tick) : std::nullopt;
  });
  add("process_resident_memory_bytes", "Resident memory size in bytes.", Kind::kGauge, scaled(24, page));
  add("process_virtual_memory_bytes", "Virtual memory size in bytes.", Kind::kGauge, scaled(23, 1));
  add("process_threads", "Number of threads.", Kind::kGauge, scaled(20, 1));
  const auto boot = BootTime(), start = Stat(22);
  add("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", Kind::kGauge,
      [began = boot && start ? std::optional(*boot + *start / tick) : std::nullopt] { return began; });
  add("process_open_fds", "Number of open file descriptors.", Kind::kGauge, []() -> std::optional<double> {
    const auto folder = host::Dir::Open("/proc/self/fd");
    const auto names = folder ? folder->List() : Result<std::vector<std::string>>(folder.error());
    return names ? std::optional(static_cast<double>(names->size())) : std::nullopt;
  });
  add("process_max_fds", "Maximum number of open file descriptors.", Kind::kGauge, []() -> std::optional<double> {
    rlimit limit{};
    return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? std::optional(static_cast<double>(limit.rlim_cur)) : std::nullopt;
  });
}

}  // namespace berth::metrics
