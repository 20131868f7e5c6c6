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
    json::Writer w;
    WriteDiskUsage(w, usage);
    session.OutJson(w.text());
    for (const auto& image : list.images()) {
      json::Writer one;
      WriteImage(one, image);
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
  table.Row({"unreferenced", Size(usage.unreferenced_bytes()), "left by crashes and failed pulls: berth reclaim"});
  const std::uint64_t used = usage.disk_total() - std::min(usage.disk_total(), usage.disk_available());
  table.Row({"disk", Size(usage.disk_total()),
             std::to_string(Percent(used, usage.disk_total())) + "% used, " +
                 Size(usage.disk_available()) + " available at " + usage.path()});
  std::string out = table.Text(!session.globals().no_headers);
  if (verbose) {
    Table images({"IMAGE", "UNPACKED", "UNIQUE", "SHARED", "COMPRESSED", "LAYERS"});
    for (const auto& image : list.images())
      images.Row({image.names_size() > 0 ? image.names(0) : Digest(image.manifest(), session.whole()), Size(image.unpacked_size()),
                  Size(image.unique_size()), Size(image.unpacked_size() - std::min(image.unpacked_size(), image.unique_size())),
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
      json::Writer w;
      if (session.json()) {
        WriteFinding(w, finding);
        session.OutJson(w.text());
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
  if (!status.ok()) return session.Fail(session.Judge(status, context));
  if (!ended) return session.Fail(FromError(Error(Reason::kSocket, "berthd ended the check without a summary")));
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
      std::chrono::duration_cast<std::chrono::seconds>(ParseDuration(age).value_or(time::Duration::zero())).count()));
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

}  // namespace berth::cli
