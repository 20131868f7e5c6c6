// verify/programs.h: programs that judge images, by the contract of containerd's image verifier plug-ins (runtime-registry 3.10).
//
// Every file of the folder, sorted by name, is run as
//   FILE -name REFERENCE -digest DIGEST -stdin-media-type application/vnd.oci.descriptor.v1+json      < descriptor (JSON)
// Exit status 0 accepts, any other refuses; what it prints is the reason. All must accept. Differently from containerd nothing is
// let through when the folder is missing or empty, holds more than `max` files or one that cannot be run, and when a program crashes,
// hangs or floods.
//
// How one is run (reliability-security 5.3): checked (root's or ours, written by nobody else, its folders too) and run by descriptor
// in a session of its own; environment PATH and HOME, nothing else; the descriptor from memory; SIGTERM at the timeout, SIGKILL 2 s
// later, with all that it started. It sees no credential.
// Safe for concurrent use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "digest/digest.h"
#include "result/result.h"
#include "task/context.h"
#include "verify/rules.h"

namespace berth::verify {

struct ProgramsVerdict {
  enum class Outcome : std::uint8_t { kAccepted, kRefused, kFailed } outcome = Outcome::kFailed;
  std::string program;                 // that refused or failed; "" when it was not one of them
  std::string why;                     // its own words quoted and cut, or ours
  std::vector<std::string> accepted;   // names
};

struct Descriptor {
  std::string name;                    // "docker.io/library/busybox:1"
  digest::Digest digest;
  std::string media_type;
  std::uint64_t size = 0;
};

// Fails only when `ctx` ends it.
Result<ProgramsVerdict> RunPrograms(const task::Context& ctx, const ProgramOptions& options, const Descriptor& image);

// Changes when a file of the folder does; "" when it cannot be looked at.
std::string Fingerprint(const ProgramOptions& options);

}  // namespace berth::verify
