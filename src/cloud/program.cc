#include "cloud/program.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <random>

#include "host/fd.h"
#include "host/machine.h"
#include "host/poll.h"
#include "log/log.h"

namespace berth::cloud {
namespace {

constexpr int kOk = 0, kFailed = 1, kUsage = 64;

Result<secret::Secret> Run(const Program& program) {
  const task::Context ctx = task::Context().WithTimeout(kLongestCall);
  ASSIGN_OR_RETURN(const auto text, ReadRequest(ctx, STDIN_FILENO));
  ASSIGN_OR_RETURN(auto proxies, http::ProxyRules::FromEnvironment(host::Variable));
  http::Client client({.proxies = std::make_shared<http::ProxyRules>(std::move(proxies)), .get_env = host::Variable});
  std::mt19937_64 engine(std::random_device{}());
  World world{.client = &client, .env = host::Variable, .random = [&] { return std::uniform_real_distribution<>(0, 1)(engine); }};
  return Respond(ctx, world, program, text.Reveal());
}

}  // namespace

std::string HelpOf(const Program& program) {
  std::string out = std::string(program.name) + ": " + std::string(program.summary) +
                    "\n\nA kubelet credential provider: reads a CredentialProviderRequest from stdin and writes a CredentialProviderResponse"
                    "\nto stdout. See docs/credential-plugins.md.\n\n";
  for (const Option& option : program.options)
    out += "  " + (option.name.empty() ? "FILE" : std::string(option.name) + "=VALUE") + "\n      " + std::string(option.help) + "\n";
  return out + "  -v\n      log every step to stderr\n  --version, --help\n";
}

Result<bool> ParseArguments(const Program& program, std::span<const char* const> arguments) {
  bool verbose = false;
  for (const std::string_view argument : arguments) {
    if (argument == "-v") {
      verbose = true;
      continue;
    }
    const bool positional = !argument.starts_with('-');
    const std::string_view name = positional ? "" : argument.substr(0, argument.find('='));
    bool taken = false;
    for (const Option& option : program.options) {
      if (option.name != name) continue;
      if (!positional && name.size() == argument.size()) return Error(Reason::kUsage, std::string(name) + " wants a value: " + std::string(name) + "=VALUE");
      *option.value = positional ? argument : argument.substr(name.size() + 1);
      taken = true;
    }
    if (!taken) return Error(Reason::kUsage, positional ? "an argument too many" : "unknown option " + Quoted(name));
  }
  return verbose;
}

Result<secret::Secret> ReadRequest(const task::Context& ctx, int fd) {
  std::string text(kMaxRequestBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    RETURN_IF_ERROR(host::AwaitReadable(ctx, fd));
    ASSIGN_OR_RETURN(const std::size_t n, host::ReadSome(fd, std::as_writable_bytes(std::span(text).subspan(size))));
    if (n == 0) break;
    size += n;
  }
  text.resize(size);
  if (size > kMaxRequestBytes) return Error(Reason::kLimitExceeded, "the request is larger than 1 MiB");
  return secret::Secret::Take(text);
}

Result<secret::Secret> Respond(const task::Context& ctx, const World& world, const Program& program, std::string_view text) {
  auto request = ExecRequest::Parse(text);
  if (!request) return std::move(request).error().Context("request");
  auto login = program.login(ctx, world, *request);
  if (!login) return std::move(login).error().Context(Quoted(request->image));
  log::Debug("login made", {{"image", request->image}, {"seconds", CacheDuration(login->expires, ctx.clock().WallNow()).count()}});
  return RenderResponse(*request, *login, ctx.clock().WallNow());
}

int Main(const Program& program, int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const std::span<const char* const> arguments(argv + 1, argv + argc);
  for (const std::string_view argument : arguments) {
    const std::string text = argument == "--help"      ? HelpOf(program)
                             : argument == "--version" ? std::string(program.name) + " " BERTH_VERSION "\n"
                                                       : "";
    if (!text.empty()) return host::WriteAll(STDOUT_FILENO, bytes::AsView(text)) ? kOk : kFailed;
  }
  const auto verbose = ParseArguments(program, arguments);
  if (!verbose) {
    std::fprintf(stderr, "%s: %s\n", std::string(program.name).c_str(), verbose.error().Text().c_str());
    return kUsage;
  }
  log::Init({.level = *verbose ? log::Level::kDebug : log::Level::kInfo});
  auto response = Run(program);
  if (response)
    if (auto written = host::WriteAll(STDOUT_FILENO, bytes::AsView(response->Reveal())); !written) response = std::move(written).error();
  if (response) return kOk;
  const Error& e = response.error();
  log::Failure("no credentials", {{"provider", program.name}, {"error", e}, {"next", e.next_step()}});
  return kFailed;
}

}  // namespace berth::cloud
