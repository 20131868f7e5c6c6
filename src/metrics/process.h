// metrics/process.h: what Prometheus clients say about the process they are in: process_cpu_seconds_total,
// process_resident_memory_bytes, process_virtual_memory_bytes, process_start_time_seconds, process_open_fds, process_max_fds,
// process_threads. Read from /proc/self at every scrape; what cannot be read is left out.
#pragma once

#include "metrics/registry.h"

namespace berth::metrics {

void AddProcess(Registry& registry);

// Fields of /proc/PID/stat, from the state on (field 3 is [0]); empty when it is not one. The name in it may hold anything.
std::vector<std::string_view> StatFields(std::string_view stat);

}  // namespace berth::metrics
