#include <cstdlib>

#include "apps/berth/commands.h"
#include "apps/berth/format.h"
#include "apps/berth/json.h"

namespace berth::cli {

int DiskUsage(Session& session, bool verbose) {
  v1::DiskUsageResponse usage;
  v1::ListImagesResponse list;
  if (const auto failure = session.Call(&v1::Berth::Stub::DiskUsage, v1::DiskUsageRequest(), usage)) return session.Fail(*failure);
  if (verbose)
    if (const auto failure = session.Call(&v1::Berth::Stub::ListImages, v1::ListImagesRequest(), list)) return session.Fail(*failure);
  if (session.json()) {
    const bool lines = session.globals().output == Output::kJsonl;
    json::Writer w;
    WriteDiskUsage(w, usage, verbose && !lines ? &list.images() : nullptr);
    session.OutJson(w.text());
    for (int i = 0; lines && i < list.images_size(); ++i) {
      json::Writer one;
      WriteImage(one, list.images(i));
      session.OutJson(one.text());
    }
    return 0;
  }
  Table table({"WHAT", "SIZE", "NOTE"});
  table.Row({"layers", Size(usage.layer_bytes()),
             Count(usage.layers(), "layer") + " of " + Count(usage.images(), "image") + ", unpacked, each once"});
  table.Row({"  shared", Size(usage.shared_bytes()), "of them in more than one image"});
  table.Row({"compressed", Size(usage.compressed_bytes()), "kept downloads: a cache, freed before any image"});
  table.Row({"documents", Size(usage.document_bytes()), "manifests, indexes, configs; " + Count(usage.names(), "name")});
  table.Row({"partial", Size(usage.partial_bytes()), "downloads that the next pull resumes"});
  table.Row({"pods", Size(usage.pod_bytes()), "volumes and what containers wrote"});
  table.Row({"logs", Size(usage.log_bytes()), "of containers"});
  table.Row({"databases", Size(usage.database_bytes()), "catalog and objects"});
  table.Row({"other", Size(usage.other_bytes()), "folders, unfinished work, the reserve for a full disk"});
  table.Row({"store", Size(usage.store_bytes()), "all of these: what du -sx says"});
  table.Row({"unreferenced", Size(usage.unreferenced_bytes()), "of the layers: left by crashes and failed pulls: berth reclaim"});
  const std::uint64_t used = usage.disk_total() - std::min(usage.disk_total(), usage.disk_available());
  table.Row({"disk", Size(usage.disk_total()),
             usage.disk_total() == 0 ? UnknownDisk(usage.path())
                                     : std::to_string(Percent(used, usage.disk_total())) + "% used, " +
                                           Size(usage.disk_available()) + " available at " + usage.path()});
  std::string out = table.Text(!session.globals().no_headers);
  if (verbose) {
    Table images({"IMAGE", "UNPACKED", "UNIQUE", "SHARED", "COMPRESSED", "LAYERS"});
    for (const auto& image : list.images())
      images.Row({image.names_size() > 0 ? image.names(0) : Digest(image.manifest(), session.whole()), Size(image.unpacked_size()),
                  Size(image.unique_size()), Size(SharedSize(image)),
                  Size(image.size()), std::to_string(image.layers_size())});
    out += "\n" + images.Text(!session.globals().no_headers);
  }
  session.Out(out);
  return 0;
}

int CheckStore(Session& session, bool repair, const std::string& depth) {
  const auto stub = session.Stub();
  if (!stub) return session.Fail(FromError(stub.error()));
  v1::CheckStoreRequest request;
  request.set_repair(repair);
  request.set_depth(depth);
  grpc::ClientContext context;
  session.Prepare(context);
  const std::stop_callback cancel(session.world().stop, [&] { context.TryCancel(); });
  const bool live = session.world().SmartTerminal() && !session.globals().quiet && !session.json();
  const auto reader = (*stub)->CheckStore(&context, request);
  v1::CheckStoreEvent event;
  v1::CheckSummary summary;
  bool on_screen = false, ended = false;
  const bool lines = session.globals().output == Output::kJsonl;
  json::Writer all;
  all.BeginObject().Key("findings").BeginArray();
  const auto clear = [&] { if (std::exchange(on_screen, false)) session.world().err.Write("\r\x1b[K"); };
  for (; reader->Read(&event); event.Clear()) {
    if (event.has_progress() && live) {
      const auto& progress = event.progress();
      std::string line = "checked " + std::to_string(progress.checked());
      if (progress.total() > 0) line += " of " + std::to_string(progress.total());
      session.world().err.Write("\r" + Cut(line, session.world().size().columns - 1) + "\x1b[K");
      on_screen = true;
    } else if (event.has_finding()) {
      clear();
      const v1::Finding& finding = event.finding();
      if (session.json()) {
        json::Writer w;
        WriteFinding(w, finding);
        if (lines) session.OutJson(w.text());
        else all.Raw(w.text());
        continue;
      }
      std::string line = finding.kind() + " " + finding.object() + ": " + finding.problem();
      if (!finding.action().empty()) line += std::string(finding.repaired() ? "; repaired: " : repair ? "; not repaired: " : "; --repair would: ") + finding.action();
      for (int i = 0; i < finding.images_size(); ++i) line += (i == 0 ? "; needed by " : ", ") + finding.images(i);
      session.Out(Escape(line) + "\n");
    } else if (event.has_summary()) {
      summary = event.summary();
      ended = true;
    }
  }
  clear();
  const grpc::Status status = reader->Finish();
  if (session.json()) {  // of a check that was broken off: what it found, and no summary
    json::Writer w;
    if (ended) WriteSummary(w, summary);
    else w.Null();
    if (lines) session.Talk("{\"summary\":" + w.text() + "}\n");  // on stdout: a line a finding
    else session.OutJson(std::move(all.EndArray().Key("summary").Raw(w.text()).EndObject()).Take());
  }
  if (!status.ok()) return session.Fail(session.Judge(status, context));
  if (!ended) return session.Fail(FromError(Error(Reason::kSocket, "berthd ended the check without a summary")));
  if (!session.json())
    session.Talk("checked " + Count(summary.objects(), "object") + ", " + Size(summary.bytes()) + " in " + Took(summary.seconds()) + ": " +
               Count(summary.findings(), "finding") + (repair ? ", " + std::to_string(summary.repaired()) + " repaired\n" : "\n"));
  if (summary.findings() <= summary.repaired()) return 0;
  const std::uint64_t left = summary.findings() - summary.repaired();
  return session.Fail(FromError(Error(Reason::kCorrupt, "the store has " + Count(left, "finding") + (repair ? " that could not be repaired" : ""))
                                    .Next(repair ? "pull the images named above again" : "berth fsck --repair")));
}

int Reclaim(Session& session, const std::string& age) {
  v1::ReclaimRequest request;
  v1::ReclaimResponse answer;
  request.set_min_age_seconds(static_cast<std::uint64_t>(
      std::chrono::ceil<std::chrono::seconds>(ParseDuration(age).value_or(time::Duration::zero())).count()));
  if (const auto failure = session.Call(&v1::Berth::Stub::Reclaim, request, answer)) return session.Fail(*failure);
  if (session.json()) {
    json::Writer w;
    w.BeginObject().Key("freed_bytes").Uint(answer.freed_bytes()).Key("objects").Uint(answer.objects()).EndObject();
    session.OutJson(w.text());
  } else {
    session.Out("freed " + Size(answer.freed_bytes()) + " in " + Count(answer.objects(), "object") + "\n");
  }
  return 0;
}

namespace {

void WriteCollected(json::Writer& w, const v1::CollectImagesResponse& answer, bool dry_run) {
  w.BeginObject();
  w.Key("dry_run").Bool(dry_run);
  w.Key("disk_total").Uint(answer.disk_total()).Key("disk_available").Uint(answer.disk_available());
  w.Key("used_percent").Int(answer.used_percent()).Key("high_percent").Int(answer.high_percent()).Key("low_percent").Int(answer.low_percent());
  w.Key("wanted_bytes").Uint(answer.wanted_bytes()).Key("freed_bytes").Uint(answer.freed_bytes());
  w.Key("unneeded_bytes").Uint(answer.unneeded_bytes()).Key("grown_bytes").Int(answer.grown_bytes());
  w.Key("unneeded").BeginArray();
  for (const auto& object : answer.unneeded())
    w.BeginObject().Key("object").String(object.object()).Key("bytes").Uint(object.bytes()).EndObject();
  w.EndArray();
  w.Key("images").BeginArray();
  for (const auto& image : answer.images()) {
    w.BeginObject();
    w.Key("id").String(image.id());
    WriteStrings(w, "names", image.names());
    w.Key("last_used_at").String(image.last_used_at()).Key("frees").Uint(image.frees());
    w.Key("action").String(image.action()).Key("why").String(image.why());
    w.EndObject();
  }
  w.EndArray().EndObject();
}

}  // namespace

int Collect(Session& session, const CollectOptions& options) {
  v1::CollectImagesRequest request;
  v1::CollectImagesResponse answer;
  request.set_dry_run(options.dry_run);
  request.set_unused(options.unused);
  request.set_why(options.why);
  if (!options.target.empty()) request.set_target_percent(std::atoi(options.target.c_str()));
  if (const auto failure = session.Call(&v1::Berth::Stub::CollectImages, request, answer)) return session.Fail(*failure);
  const bool dry_run = options.dry_run || !options.why.empty();
  if (session.json()) {
    json::Writer w;
    WriteCollected(w, answer, dry_run);
    session.OutJson(w.text());
  } else {
    std::string out = "disk " + std::to_string(answer.used_percent()) + "% of " + Size(answer.disk_total()) + " (high " +
                      std::to_string(answer.high_percent()) + ", low " + std::to_string(answer.low_percent()) + "): ";
    out += (dry_run ? "would free " : "freed ") + Size(answer.freed_bytes());
    if (answer.wanted_bytes() > 0) out += " (" + Size(answer.wanted_bytes()) + " needed to reach " + std::to_string(answer.low_percent()) + "%)";
    out += "\n";
    if (answer.unneeded_bytes() > 0) out += Size(answer.unneeded_bytes()) + " of it leftovers and compressed layers, before any image\n";
    Table table({"ORDER", "IMAGE", "LAST USED", "FREES", "ACTION", "WHY"});
    int order = 0;
    for (const auto& image : answer.images()) {
      const auto then = ParseTime(image.last_used_at());
      table.Row({image.action() == "remove" ? std::to_string(++order) : "-",
                 image.names_size() > 0 ? image.names(0) : Digest(image.id(), session.whole()),
                 then ? Ago(*then, session.world().clock.WallNow()) : "never", Size(image.frees()), image.action(), image.why()});
    }
    if (answer.images_size() > 0) out += table.Text(!session.globals().no_headers);
    session.Out(out);
  }
  if (!answer.has_failure()) return 0;
  const auto& failure = answer.failure();
  return session.Fail({failure.code(), Escape(failure.message()), Escape(failure.next_step()), failure.exit_status()});
}

}  // namespace berth::cli
