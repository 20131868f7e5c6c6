#include "web/ops_pages.h"

#include <algorithm>

#include "host/listen.h"
#include "log/log.h"

namespace berth::web {
namespace {

constexpr std::string_view kUnix = "unix://";
constexpr auto kPatience = std::chrono::seconds(5);  // for all checks of one answer

}  // namespace

httpd::Response OpsPages::Answer(const task::Context& ctx, const httpd::Request& request) const {
  if (request.method != "GET" && request.method != "HEAD") {
    auto wrong = httpd::Response::Text(405, "these pages can only be read\n");
    wrong.fields.emplace_back("Allow", "GET, HEAD");
    return wrong;
  }
  const std::string_view path = request.path;
  if (path == "/metrics") return {200, {{"Content-Type", std::string(metrics::Registry::kContentType)}}, parts_.metrics.Text(), {}};
  if (path == "/configz") return {200, {{"Content-Type", "application/yaml"}}, parts_.settings(), {}};
  for (const std::string_view page : {"livez", "readyz", "healthz"}) {
    if (!path.substr(1).starts_with(page)) continue;
    const std::string_view rest = path.substr(1 + page.size());
    if (rest.empty() || rest == "/") return Health(ctx, request, page, {});
    if (rest.starts_with('/')) return Health(ctx, request, page, rest.substr(1));
  }
  return httpd::Response::Text(404, "there are: /metrics /livez /readyz /healthz /configz\n");
}

httpd::Response OpsPages::Health(const task::Context& ctx, const httpd::Request& request, std::string_view page,
                                 std::string_view only) const {
  const task::Context limited = ctx.WithTimeout(kPatience);
  std::vector<std::string> excluded;
  for (const auto& [key, value] : request.query)
    if (key == "exclude") excluded.push_back(value);
  std::string list;
  bool good = true, any = false;
  for (const auto& check : parts_.checks) {
    if (!only.empty() ? check.name != only : page == "livez" && !check.live) continue;
    any = true;
    if (const auto it = std::ranges::find(excluded, check.name); it != excluded.end()) {
      excluded.erase(it);
      list += "[+]" + check.name + " excluded: ok\n";
      continue;
    }
    const auto answer = check.ask(limited);
    good &= answer.has_value();
    list += answer ? "[+]" + check.name + " ok\n"
                   : "[-]" + check.name + " failed: " + std::string(answer.error().info().code) + " " + answer.error().Text() + "\n";
  }
  if (!only.empty() && !any) return httpd::Response::Text(404, "there is no check of that name\n");
  for (const auto& name : excluded) list += "warn: there is no check " + Quoted(name) + " to exclude\n";
  list += std::string(page) + (good ? " check passed\n" : " check failed\n");
  auto answer = good && !request.Query("verbose") ? httpd::Response::Text(200, "ok") : httpd::Response::Text(good ? 200 : 500, std::move(list));
  answer.fields.emplace_back("Cache-Control", "no-cache, private");
  return answer;
}

Result<> OpsPages::Live(const task::Context& ctx) const {
  for (const auto& check : parts_.checks)
    if (check.live)
      if (auto answer = check.ask(ctx); !answer) return std::move(answer).error().Context(check.name);
  return {};
}

OpsServers::OpsServers(const OpsPages& pages, std::vector<host::Fd> inherited) : pages_(pages) {
  for (auto& fd : inherited) {
    auto server = Serve(std::move(fd));
    if (server) inherited_.push_back(*std::move(server));
    else log::Failure("an inherited socket cannot be served", {{"error", server.error()}});
  }
}

Result<std::unique_ptr<httpd::Server>> OpsServers::Serve(host::Fd listener) const {
  const auto answer = [this](const task::Context& ctx, const httpd::Request& r) { return pages_.Answer(ctx, r); };
  return httpd::Server::Start(std::move(listener), answer,
                              {.name = "ops", .connections = 64, .head_bytes = 8u << 10, .body_bytes = 0, .idle = std::chrono::minutes(2)});
}

Result<OpsServers::Served> OpsServers::Start(const std::string& address) const {
  host::Fd listener;
  std::string path;
  if (address.starts_with(kUnix)) {
    path = address.substr(kUnix.size());
    ASSIGN_OR_RETURN(listener, host::ListenUnix(path));
  } else {
    ASSIGN_OR_RETURN(const auto tcp, host::ParseTcpAddress(address));
    if (!tcp.loopback) log::Warning("metrics and health are served to other machines", {{"address", address}});
    ASSIGN_OR_RETURN(listener, host::ListenTcp(tcp));
  }
  ASSIGN_OR_RETURN(auto server, Serve(std::move(listener)));
  return Served{std::move(server), std::move(path)};
}

std::size_t OpsServers::Serve(const std::vector<std::string>& addresses) {
  std::lock_guard lock(mutex_);
  std::erase_if(served_, [&](const auto& entry) {
    if (std::ranges::find(addresses, entry.first) != addresses.end()) return false;
    if (!entry.second.path.empty()) host::RemoveSocket(entry.second.path);
    return true;
  });
  std::size_t missing = 0;
  for (const auto& address : addresses) {
    if (served_.contains(address)) continue;
    auto started = Start(address);
    if (started) {
      served_.emplace(address, *std::move(started));
    } else {
      ++missing;
      log::Failure("metrics and health are not served there", {{"address", address}, {"error", started.error()}});
    }
  }
  return missing;
}

std::vector<std::string> OpsServers::addresses() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> all;
  for (const auto& [address, served] : served_)
    all.push_back(served.path.empty() ? address.substr(0, address.rfind(':') + 1) + std::to_string(served.server->port()) : address);
  return all;
}

void OpsServers::Stop() {
  std::lock_guard lock(mutex_);
  for (const auto& [address, served] : served_)
    if (!served.path.empty()) host::RemoveSocket(served.path);
  served_.clear();
  inherited_.clear();
}

}  // namespace berth::web
