#include "verify/programs.h"

#include <sys/resource.h>

#include <algorithm>

#include "host/dir.h"
#include "host/process.h"
#include "host/program.h"
#include "json/document.h"
#include "log/log.h"
#include "time/go_duration.h"

namespace berth::verify {
namespace {

using Outcome = ProgramsVerdict::Outcome;

constexpr std::string_view kDescriptorType = "application/vnd.oci.descriptor.v1+json";

std::string DescriptorJson(const Descriptor& image) {
  json::Writer w;
  w.BeginObject().Key("mediaType").String(image.media_type).Key("digest").String(image.digest.ToString());
  w.Key("size").Uint(image.size).EndObject();
  return std::move(w).Take();
}

// The first line that says something, as a quotation.
std::string Words(std::string_view out) {
  const std::size_t start = out.find_first_not_of(" \t\r\n");
  if (start == out.npos) return "without a reason";
  out.remove_prefix(start);
  return Quoted(out.substr(0, out.find_first_of("\r\n")));
}

struct One {
  Outcome outcome;
  std::string why;
};

Result<One> Run(const task::Context& ctx, const ProgramOptions& options, const std::string& name, const Descriptor& image) {
  auto program = host::OpenProgram(options.dir, name, host::Trust::kStrict);
  if (!program) return One{Outcome::kFailed, "cannot be run: " + program.error().message()};
  host::ProcessSpec spec;
  spec.program = options.dir + "/" + name;
  spec.program_fd = program->get();
  spec.argv = {spec.program, "-name", image.name, "-digest", image.digest.ToString(), "-stdin-media-type", std::string(kDescriptorType)};
  spec.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"};
  spec.limits = {{RLIMIT_NOFILE, 1024}, {RLIMIT_FSIZE, 64u << 20}};
  const std::string input = DescriptorJson(image);
  auto captured = host::RunCaptured(ctx.WithTimeout(options.timeout), spec, bytes::AsView(input));
  RETURN_IF_ERROR(ctx.Check());
  if (!captured) {
    const bool late = captured.error().reason() == Reason::kTimeout;
    return One{Outcome::kFailed, late ? "gave no answer within " + time::FormatGoDuration(options.timeout) : captured.error().message()};
  }
  if (captured->status.signalled) return One{Outcome::kFailed, "ended with " + captured->status.Text()};
  if (captured->status.success()) return One{Outcome::kAccepted, ""};
  log::Debug("an image verifier refused", {{"program", name}, {"status", captured->status.Text()}, {"stderr_bytes", captured->stderr_bytes}});
  return One{Outcome::kRefused, Words(captured->out)};
}

}  // namespace

Result<ProgramsVerdict> RunPrograms(const task::Context& ctx, const ProgramOptions& options, const Descriptor& image) {
  ProgramsVerdict verdict;
  const auto failed = [&](std::string why) {
    verdict.why = std::move(why);
    return verdict;
  };
  const auto folder = host::Dir::Open(options.dir);
  const auto names = folder ? folder->List() : Result<std::vector<std::string>>(folder.error());
  if (!names) return failed("the folder of verifiers " + Quoted(options.dir) + " cannot be read: " + names.error().message());
  if (names->empty()) return failed("the folder of verifiers " + Quoted(options.dir) + " is empty");
  if (names->size() > options.max)
    return failed("the folder of verifiers " + Quoted(options.dir) + " holds " + std::to_string(names->size()) + " files; the limit is " +
                  std::to_string(options.max) + " (programs.max)");
  for (const std::string& name : *names) {
    ASSIGN_OR_RETURN(One one, Run(ctx, options, name, image));
    if (one.outcome != Outcome::kAccepted) {
      verdict.outcome = one.outcome;
      verdict.program = name;
      verdict.why = std::move(one.why);
      return verdict;
    }
    verdict.accepted.push_back(name);
  }
  verdict.outcome = Outcome::kAccepted;
  return verdict;
}

std::string Fingerprint(const ProgramOptions& options) {
  const auto folder = host::Dir::Open(options.dir);
  const auto names = folder ? folder->List() : Result<std::vector<std::string>>(folder.error());
  if (!names) return "";
  std::string all;
  for (const std::string& name : *names) {
    const auto info = folder->Stat(name);
    if (!info) return "";
    all += name + "\n" + std::to_string(info->inode) + " " + std::to_string(info->size) + " " + std::to_string(info->mtime_seconds) + "." +
           std::to_string(info->mtime_nanos) + " " + std::to_string(info->mode) + " " + std::to_string(info->uid) + "\n";
  }
  return digest::Digest::Of(bytes::AsView(all)).Hex().substr(0, 16);
}

}  // namespace berth::verify
