// host/program.h: a program of a configured folder, checked once and then run by descriptor.
//
// What was checked is what runs, also when somebody replaces the file meanwhile (ProcessSpec::program_fd).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "host/fd.h"
#include "result/result.h"

namespace berth::host {

enum class Trust : std::uint8_t {
  kStrict,  // file, folder and every parent: owner root or us; written by nobody else (sticky folders aside); the file is no link
  kAny,     // whatever can be executed; links are followed
};

// `name`: one component. Errors: kMissing (no folder, no such file), kPolicy (not trusted, and why), kIo (no regular file,
// not executable). The descriptor is O_PATH: fit for execution only.
Result<Fd> OpenProgram(const std::string& folder, std::string_view name, Trust trust);

}  // namespace berth::host
