#include <map>

#include "apps/berth/commands.h"
#include "apps/berth/format.h"
#include "host/fd.h"
#include "host/probe.h"
#include "json/document.h"

namespace berth::cli {
namespace {

struct Check {
  std::string who;      // "berth", "berthd"
  std::string name, verdict, detail;  // ok, degraded, missing; unknown
  std::string means;    // what follows for the person; empty when ok
};

// What a verdict other than ok means for the person who runs this machine.
std::string Meaning(std::string_view name) {
  static const std::map<std::string_view, std::string_view> kMeanings{
      {"erofs", "layers become directories instead of EROFS images: pulls of many small files are slower; modprobe erofs"},
      {"erofs-file", "EROFS images are mounted through loop devices: kernel 6.12 and newer mount files directly"},
      {"loop", "EROFS images cannot be mounted before kernel 6.12 without it: modprobe loop"},
      {"overlay", "images cannot be mounted at all: modprobe overlay"},
      {"mount", "berthd cannot mount images: it needs CAP_SYS_ADMIN"},
      {"sandbox", "layers are unpacked with less protection against hostile archives"},
      {"seccomp", "layers are unpacked with less protection against hostile archives"},
      {"landlock", "layers are unpacked without Landlock: kernel 5.13 and newer have it"},
      {"openat2", "directories of images cannot be written safely: kernel 5.6 and newer have it"},
      {"cgroup", "memory and CPU of unpacking cannot be limited by cgroup v2"},
      {"disk", "the kubelet removes images from 85% on; pulls fail when nothing is left: berth reclaim, berth df -v"},
      {"version", "berth and berthd are of different releases: some commands may not work; restart berthd after an upgrade"},
      {"store", "berth fsck tells what is damaged"},
  };
  const auto found = kMeanings.find(name);
  return found == kMeanings.end() ? "" : std::string(found->second);
}

Check DiskCheck(const v1::DiskUsageResponse& usage) {
  if (usage.disk_total() == 0) return {"berth", "disk", "unknown", UnknownDisk(usage.path()), ""};
  const std::uint64_t used = usage.disk_total() - std::min(usage.disk_total(), usage.disk_available());
  const std::uint64_t percent = Percent(used, usage.disk_total());
  return {"berth", "disk", percent >= 95 ? "missing" : percent >= 85 ? "degraded" : "ok",
          std::to_string(percent) + "% of " + Size(usage.disk_total()) + " used, " + Size(usage.disk_available()) + " available at " + usage.path(), ""};
}

// What the CLI sees by itself, daemon or not.
void OwnChecks(std::vector<Check>& checks, bool daemon) {
  const host::Capabilities here = host::Probe();
  const auto add = [&](std::string name, bool ok, std::string_view otherwise, std::string detail) {
    checks.push_back({"berth", std::move(name), ok ? "ok" : std::string(otherwise), std::move(detail), ""});
  };
  add("kernel", true, "", here.kernel_release);
  add("cgroup", here.cgroup_version == 2, "degraded", here.cgroup_version == 0 ? "not mounted" : "version " + std::to_string(here.cgroup_version));
  if (daemon) return;  // which tells the rest, of its own surroundings
  add("mount", here.can_mount, "missing", here.can_mount ? "allowed" : "not allowed for this user or in this sandbox");
  if (!here.can_mount) return;  // the others are found out by mounting
  add("overlay", here.overlay, "missing", here.overlay ? "present" : "not in this kernel");
  add("erofs", here.erofs, "degraded", here.erofs ? "present" : "not in this kernel");
  add("loop", here.loop, "degraded", here.loop ? "present" : "no /dev/loop-control");
}

}  // namespace

int Doctor(Session& session, bool verbose) {
  std::vector<Check> checks;
  int status = 0;
  std::optional<Failure> unreachable;
  v1::StatusResponse daemon;
  v1::DiskUsageResponse usage;
  const auto endpoint = FindEndpoint(session.world(), session.globals().socket);
  if (!endpoint) return session.Fail(FromError(endpoint.error()));
  session.BeImpatient(session.world().patience);
  unreachable = session.Call(&v1::Berth::Stub::Status, v1::StatusRequest(), daemon);
  if (unreachable) {
    checks.push_back({"berth", "socket", "missing", unreachable->message, unreachable->next});
  } else {
    checks.push_back({"berth", "socket", "ok", endpoint->path + " (" + endpoint->origin + "), up " + Took(daemon.uptime_seconds()), ""});
    const bool same = daemon.version() == BERTH_VERSION;
    checks.push_back({"berth", "version", same ? "ok" : "degraded", std::string("berth ") + BERTH_VERSION + ", berthd " + daemon.version(), ""});
    session.BeImpatient(session.world().usage_patience);
    const auto unknown = session.Call(&v1::Berth::Stub::DiskUsage, v1::DiskUsageRequest(), usage);
    const std::string late = "not known within " + Took(std::chrono::duration<double>(session.world().usage_patience).count());
    checks.push_back(!unknown              ? DiskCheck(usage)
                     : session.unanswered() ? Check{"berth", "disk", "unknown", late, ""}  // a large store ails nobody
                                            : Check{"berth", "disk", "degraded", unknown->message, unknown->next});
  }
  OwnChecks(checks, !unreachable);
  for (const auto& probe : daemon.probes()) {  // the daemon knows its own surroundings better
    std::erase_if(checks, [&](const Check& check) { return check.name == probe.name(); });
    checks.push_back({"berthd", probe.name(), probe.verdict(), probe.detail(), ""});
  }
  for (Check& check : checks) {
    if (check.verdict != "ok" && check.verdict != "unknown" && check.means.empty()) check.means = Meaning(check.name);
    if (check.verdict == "missing" && status == 0) status = 1;
  }
  if (unreachable) status = unreachable->exit_status;

  if (session.json()) {
    json::Writer w;
    w.BeginObject().Key("checks").BeginArray();
    for (const Check& check : checks) {
      w.BeginObject().Key("source").String(check.who).Key("name").String(check.name).Key("verdict").String(check.verdict);
      w.Key("detail").String(check.detail).Key("means").String(check.means).EndObject();
    }
    w.EndArray();
    w.Key("root").String(daemon.root()).Key("form").String(daemon.form()).Key("limits").BeginArray();
    for (const auto& limit : daemon.limits()) w.String(limit);
    w.EndArray();
    w.Key("running_pulls").Uint(daemon.running_pulls()).Key("waiting_pulls").Uint(daemon.waiting_pulls()).EndObject();
    session.OutJson(w.text());
    return status;
  }
  Table table({"CHECK", "VERDICT", "BY", "DETAIL"});
  for (const Check& check : checks) table.Row({check.name, check.verdict, check.who, check.detail});
  std::string out = table.Text(!session.globals().no_headers);
  if (!unreachable) {
    out += "\nstore " + Escape(daemon.root()) + ", layers as " + Escape(daemon.form()) + ", " + Count(daemon.running_pulls(), "pull") +
           " running, " + std::to_string(daemon.waiting_pulls()) + " waiting\n";
    if (verbose)
      for (const auto& limit : daemon.limits()) out += "limit " + Escape(limit) + "\n";
  }
  bool first = true;
  for (const Check& check : checks) {
    if (check.means.empty()) continue;
    out += (std::exchange(first, false) ? "\n" : "") + Escape(check.name) + " " + Escape(check.verdict) + ": " + Escape(check.means) + "\n";
  }
  session.Out(out);
  return status;
}

int Version(Session& session) {
  v1::StatusResponse daemon;
  session.BeImpatient(session.world().patience);
  const bool reached = !session.Call(&v1::Berth::Stub::Status, v1::StatusRequest(), daemon);
  if (session.json()) {
    json::Writer w;
    w.BeginObject().Key("client").BeginObject().Key("version").String(BERTH_VERSION).Key("api").String("berth.v1").EndObject();
    w.Key("server");
    if (reached) w.BeginObject().Key("version").String(daemon.version()).EndObject();
    else w.Null();
    w.EndObject();
    session.OutJson(w.text());
    return 0;
  }
  session.Out(std::string("berth ") + BERTH_VERSION + "\n" + (reached ? "berthd " + Escape(daemon.version()) + "\n" : ""));
  return 0;
}

}  // namespace berth::cli
