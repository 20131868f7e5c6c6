#include "apps/berthd/probe.h"

#include <algorithm>

#include "erofs/writer.h"
#include "layer/worker.h"
#include "log/log.h"

namespace berth::berthd {
namespace {

// One file of one block: enough to prove metadata and a data device.
Result<host::ErofsProbe> TryErofs(const host::Dir& scratch) {
  erofs::Tree tree;
  tree.nodes.push_back({.name = "", .mode = 0040755});
  tree.nodes.push_back({.name = "probe", .parent = 0, .mode = 0100644, .size = 4096});
  ASSIGN_OR_RETURN(const auto image, erofs::WriteImage(tree, {.device_bytes = {4096}}));
  const std::vector<std::byte> data(4096);
  return host::ProbeErofs(image, data, scratch);
}

api::Probe Row(std::string name, bool works, std::string detail, std::string_view without = "missing") {
  return {std::move(name), works ? "ok" : std::string(without), std::move(detail)};
}

// "seccomp,no_new_privs,…;missing=landlock", as host::JailReport says it.
api::Probe Sandbox(const Result<std::string>& jail) {
  if (!jail) return {"sandbox", "missing", "no layer can be unpacked: " + jail.error().Text()};
  const std::size_t lacks = jail->find(";missing=");
  return {"sandbox", lacks == std::string::npos ? "ok" : "degraded", *jail};
}

}  // namespace

Result<layer::Form> ChooseForm(config::FormChoice wanted, const Machine& found, bool all_are_trees) {
  if (wanted == config::FormChoice::kTree) return layer::Form::kTree;
  if (found.erofs.usable()) return layer::Form::kErofs;
  if (!found.can.can_mount) {
    const bool keep = wanted == config::FormChoice::kAuto && all_are_trees && !found.can.erofs;
    return keep ? layer::Form::kTree : layer::Form::kErofs;
  }
  if (wanted == config::FormChoice::kErofs)
    return Error(Reason::kConfig, "form is erofs, but this kernel does not mount it: " + found.erofs.file_backed_error)
        .Next("say form: auto, or load the erofs module");
  return layer::Form::kTree;
}

Result<Machine> LookAround(const host::Dir& scratch, const config::DaemonConfig& config, const std::string& worker,
                           const layer::LayerStore& layers) {
  const config::FormChoice wanted = config.form;
  const auto is_tree = [](const layer::LayerInfo& info) { return info.report.form == layer::Form::kTree; };
  const auto all_are_trees = [&] {
    const auto stored = layers.List();
    return stored && !stored->empty() && std::ranges::all_of(*stored, is_tree);
  };
  Machine machine{.can = host::Probe()};
  if (wanted != config::FormChoice::kTree) {
    auto tried = TryErofs(scratch);
    // A full disk says nothing about the kernel. A file in memory would not either: tmpfs backs no mount.
    if (!tried && tried.error().reason() == Reason::kNoSpace) {
      log::Warning("the disk is full: the stored layers or the kernel's version say whether EROFS works", {{"error", tried.error()}});
      tried = host::ExpectErofs(machine.can);
      // What was found when there was room: the layers would be of another form for one start.
      if (wanted == config::FormChoice::kAuto && all_are_trees())
        tried = host::ErofsProbe{.file_backed_error = "not tried on a full disk; the stored layers are trees", .loop_error = "not tried"};
    }
    if (!tried) return std::move(tried).error();
    machine.erofs = *std::move(tried);
  }
  ASSIGN_OR_RETURN(machine.form, ChooseForm(wanted, machine, !machine.can.can_mount && all_are_trees()));
  layer::UnpackOptions unpack = config.unpack;
  unpack.form = machine.form;
  machine.jail = layer::TryJail({}, worker, scratch.fd(), unpack);
  return machine;
}

std::vector<api::Probe> Describe(const Machine& m, const host::Dir& root) {
  std::vector<api::Probe> rows;
  rows.push_back({"kernel", "ok", m.can.kernel_release});
  rows.push_back(Row("mount", m.can.can_mount, m.can.can_mount ? "may mount" : m.jail ? "no CAP_SYS_ADMIN: images can be pulled, not mounted"
                     : "no CAP_SYS_ADMIN: images can be neither pulled nor mounted"));
  const std::string as = m.form == layer::Form::kErofs ? "layers are unpacked as EROFS images" : "layers are unpacked as directory trees";
  if (!m.erofs.usable() && !m.can.can_mount) {
    rows.push_back({"erofs", "unknown", "not tried without the right to mount; " + as});
  } else {
    rows.push_back(Row("erofs", m.erofs.usable(),
                       m.erofs.file_backed ? "layers are mounted from files"
                       : m.erofs.loop      ? "layers are mounted through loop devices; from files: " + m.erofs.file_backed_error : as, "degraded"));
  }
  rows.push_back(Row("overlay", m.can.overlay, m.can.overlay ? (m.can.overlay_append ? "up to 500 layers, added one by one" : "up to 500 layers by short names") : "images cannot be mounted"));
  rows.push_back(Row("openat2", m.can.openat2, m.can.openat2 ? "paths are resolved beneath their root" : "paths are walked one by one", "degraded"));
  rows.push_back(Row("seccomp", m.can.seccomp, m.can.seccomp ? "unpack workers run under a filter" : "unpack workers run without a filter", "degraded"));
  rows.push_back(Row("landlock", m.can.landlock_abi > 0, m.can.landlock_abi > 0 ? "ABI " + std::to_string(m.can.landlock_abi) : "not in this kernel", "degraded"));
  rows.push_back(Sandbox(m.jail));
  rows.push_back(Row("cgroup", m.can.cgroup_version == 2, m.can.cgroup_version > 0 ? "version " + std::to_string(m.can.cgroup_version) : "not mounted", "degraded"));
  if (const auto space = root.FreeSpace()) {
    const std::uint64_t percent = space->total_bytes == 0 ? 0 : space->available_bytes * 100 / space->total_bytes;
    rows.push_back(space->total_bytes == 0 ? api::Probe{"disk", "unknown", "the file system of the store does not say how large it is"}
                                           : Row("disk", percent >= 10, std::to_string(percent) + "% free below the store", "degraded"));
  }
  return rows;
}

}  // namespace berth::berthd
