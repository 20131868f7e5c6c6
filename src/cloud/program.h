// cloud/program.h: what the three berth-credential programs have in common.
//
//   int main(int argc, char** argv) { return berth::cloud::Main({.name = "berth-credential-ecr", …}, argc, argv); }
//
// Reads the request from stdin, asks the provider, writes the response to stdout. Exit status 0 with a response, 1 without, 64 for
// wrong arguments; why is one line on stderr, which never holds a secret. Options are --name=value; -v logs each step.
// The whole call ends within 45 s: the kubelet kills at 60 s, and would not say why.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cloud/exchange.h"
#include "cloud/exec.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::cloud {

inline constexpr time::Duration kLongestCall = std::chrono::seconds(45);

struct Option {
  std::string_view name;   // "--scope"; "" takes the one argument that is no option
  std::string* value;      // set when the option is given
  std::string_view help;
};

struct Program {
  std::string_view name, summary;
  std::vector<Option> options;
  std::function<Result<Login>(const task::Context&, const World&, const ExecRequest&)> login;
};

// The text of --help.
std::string HelpOf(const Program& program);
// Sets the options. kUsage: values are not quoted. True when -v is among the arguments.
Result<bool> ParseArguments(const Program& program, std::span<const char* const> arguments);
// All that `fd` gives until its end, at most kMaxRequestBytes; gives up when `ctx` does.
Result<secret::Secret> ReadRequest(const task::Context& ctx, int fd);
// Request to response, without any process around it.
Result<secret::Secret> Respond(const task::Context& ctx, const World& world, const Program& program, std::string_view request);

int Main(const Program& program, int argc, char** argv);

}  // namespace berth::cloud
