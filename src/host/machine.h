// host/machine.h: facts about this machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "result/result.h"

namespace berth::host {

Result<std::string> BootId();  // 36 characters, new with every boot
std::string Hostname();        // as the kernel has it; "localhost" when it has none
unsigned CpuCount();           // processors this process may run on (affinity and cgroup quota, rounded up), at least 1
Result<std::uint64_t> MemoryBytes();  // physical, or the cgroup's limit where that is less
std::optional<std::string> Variable(std::string_view name);  // of our environment, which no thread of ours changes; "" may be set
// 16 hex digits from the kernel's generator: for temporary names and tokens that need not be kept secret.
std::string RandomName();

}  // namespace berth::host
