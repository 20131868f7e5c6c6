// task/spawn.h: a thread that nobody joins, where the kernel may have none to give.
#pragma once

#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "result/result.h"

namespace berth::task {

// Runs `body` on a thread of its own; throws std::system_error, as std::thread does, when there is none. Tests give another.
using Spawn = std::function<void(std::function<void()> body)>;

inline void SpawnDetached(std::function<void()> body) { std::thread(std::move(body)).detach(); }

// kUnavailable: the process has as many threads as it may. Then `body` does not run; what it holds is gone.
inline Result<> Start(const Spawn& spawn, std::function<void()> body) {
  try {
    spawn(std::move(body));
  } catch (const std::system_error& error) {
    return Error(Reason::kUnavailable, std::string("no thread can be started: ") + error.what())
        .Next("raise the limit of tasks of the service (TasksMax), or ask for less at once");
  }
  return {};
}

}  // namespace berth::task
