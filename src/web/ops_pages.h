// web/ops_pages.h: the pages for those who look after the daemon: metrics and health, as Kubernetes components have them.
//
//   GET /metrics                Prometheus text
//   GET /livez, /readyz, /healthz   "ok", or 500 with the list of checks; ?verbose: the list in any case; ?exclude=NAME leaves one out
//   GET /livez/NAME, …          one check
//   GET /configz                the settings in force
//
// /livez asks the checks that only a restart can mend (`live`), /readyz all. Unlike Kubernetes' components we say why a check
// failed: who reads this is on the machine. An error is our own text, and no secret is in one.
// No page changes anything. Safe for concurrent use.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "host/fd.h"
#include "httpd/server.h"
#include "metrics/registry.h"

namespace berth::web {

struct Check {
  std::string name;   // "catalog"; what a path may have
  bool live = false;
  std::function<Result<>(const task::Context&)> ask;  // within a second or so
};

class OpsPages {
 public:
  struct Parts {
    const metrics::Registry& metrics;
    std::vector<Check> checks;
    std::function<std::string()> settings;
  };
  explicit OpsPages(Parts parts) : parts_(std::move(parts)) {}
  httpd::Response Answer(const task::Context& ctx, const httpd::Request& request) const;
  // The live checks, for the watchdog: the first that fails.
  Result<> Live(const task::Context& ctx) const;

 private:
  httpd::Response Health(const task::Context& ctx, const httpd::Request& request, std::string_view page, std::string_view only) const;
  const Parts parts_;
};

// The sockets on which they are served; what is wanted may change while it runs.
class OpsServers {
 public:
  // `pages` outlives it. `inherited`: from the service manager, served besides what is asked for.
  OpsServers(const OpsPages& pages, std::vector<host::Fd> inherited);
  ~OpsServers() { Stop(); }
  // "127.0.0.1:10290", "[::1]:0" or "unix:///run/berth/ops.sock" (0600). Those already served stay, others end, new ones begin. What
  // cannot be served is told in the log and tried again by the next call: pages for people must not keep images from Pods.
  // Returns how many were not.
  std::size_t Serve(const std::vector<std::string>& addresses);
  std::vector<std::string> addresses() const;  // served, with the ports they got
  void Stop();

 private:
  struct Served {
    std::unique_ptr<httpd::Server> server;
    std::string path;  // of a Unix socket of ours
  };
  Result<Served> Start(const std::string& address) const;
  Result<std::unique_ptr<httpd::Server>> Serve(host::Fd listener) const;

  const OpsPages& pages_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<httpd::Server>> inherited_;  // guarded by mutex_
  std::map<std::string, Served> served_;                   // guarded by mutex_: by address as asked for
};

}  // namespace berth::web
