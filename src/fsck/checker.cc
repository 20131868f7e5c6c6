#include "fsck/checker.h"

#include <algorithm>
#include <memory>

namespace berth::fsck {
namespace {

using catalog::BlobKind;
using digest::Digest;

constexpr std::size_t kDocumentBytes = 64u << 20;  // far above any limit under which one was stored

}  // namespace

Result<Summary> Checker::Run(const task::Context& ctx, const Options& options, const Observer& observer) {
  Summary summary;
  const bool repair = options.repair == Repair::kYes;
  const auto report = [&](Finding finding) {
    ++summary.findings;
    summary.repaired += finding.repaired ? 1 : 0;
    if (observer.finding) observer.finding(finding);
  };

  ASSIGN_OR_RETURN(const std::string catalog, stores_.catalog.Check());
  if (catalog != "ok")
    report({.kind = "catalog", .object = "catalog.db", .problem = catalog, .action = "move the store away and pull again", .images = {}});

  ASSIGN_OR_RETURN(const auto layers, stores_.catalog.ListLayers());
  ASSIGN_OR_RETURN(const auto blobs, stores_.catalog.ListBlobs());
  const std::uint64_t total = layers.size() + blobs.size();
  const auto step = [&](std::uint64_t bytes) -> Result<> {
    ++summary.objects;
    summary.bytes += bytes;
    if (observer.progress) observer.progress(summary.objects, total);
    return ctx.Check();
  };

  for (const auto& blob : blobs) {
    const bool document = blob.kind == BlobKind::kDocument;
    if (!document && options.depth != layer::Depth::kData) {
      RETURN_IF_ERROR(step(0));
      continue;
    }
    Result<> whole = document ? Result<>() : stores_.content.Verify(blob.digest);
    if (document) {
      if (auto text = stores_.content.ReadDocument(blob.digest, kDocumentBytes); !text) whole = text.error();
    }
    if (!whole) {
      Finding finding{.kind = document ? "document" : "blob", .object = blob.digest.ToString(), .problem = whole.error().message(),
                      .action = document ? "forget it with its images; the next pull fetches them" : "remove it: it is a cache", .images = {}};
      if (document) {
        ASSIGN_OR_RETURN(finding.images, stores_.catalog.NamesThatNeed(blob.digest));
      }
      if (repair) {
        if (const auto claim = stores_.leases.ClaimFree({blob.digest}); claim.objects().empty()) {
          finding.action = "left alone: a pull is using it";
        } else {
          RETURN_IF_ERROR(document ? stores_.catalog.ForgetDamaged(blob.digest) : stores_.catalog.ForgetBlob(blob.digest));
          ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, stores_.content.Remove(blob.digest));
          finding.action = document ? "forgotten with its images; pull them again" : "removed";
          finding.repaired = true;
        }
      }
      report(std::move(finding));
    }
    RETURN_IF_ERROR(step(blob.bytes));
  }

  for (const auto& layer : layers) {
    if (auto whole = stores_.layers.Verify(ctx, layer.blob, options.depth); !whole) {
      if (whole.error().cancelled()) return whole.error();
      Finding finding{.kind = "layer", .object = layer.blob.ToString(), .problem = whole.error().Text(),
                      .action = "unpack it again from its kept blob, or forget it with its images", .images = {}};
      ASSIGN_OR_RETURN(finding.images, stores_.catalog.NamesThatNeed(layer.blob));
      if (repair) {
        ASSIGN_OR_RETURN(finding, RepairLayer(ctx, layer, std::move(finding)));
      }
      report(std::move(finding));
    }
    RETURN_IF_ERROR(step(layer.stored_bytes));
  }
  return summary;
}

Result<Finding> Checker::RepairLayer(const task::Context& ctx, const catalog::LayerRecord& layer, Finding finding) {
  const auto claim = stores_.leases.ClaimFree({layer.blob});
  if (claim.objects().empty()) {
    finding.action = "left alone: a pull is using it";
    return finding;
  }
  // Variants were made from the damaged metadata, and their images are made again with them: they go in both cases.
  ASSIGN_OR_RETURN(const auto images, stores_.catalog.ListImages());
  const bool variants = std::ranges::any_of(images, [&](const auto& image) {
    return std::ranges::any_of(image.layers, [&](const auto& l) { return l.blob == layer.blob && !l.variant.empty(); });
  });
  if (!variants && stores_.content.Verify(layer.blob)) {
    if (auto again = Reunpack(ctx, layer); again) {
      finding.action = "unpacked again from its kept blob";
      finding.repaired = true;
      return finding;
    }
  }
  RETURN_IF_ERROR(stores_.catalog.ForgetDamaged(layer.blob));
  ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, stores_.layers.Remove(ctx, layer.blob));
  finding.action = "forgotten with its images; pull them again";
  finding.repaired = true;
  return finding;
}

Result<> Checker::Reunpack(const task::Context& ctx, const catalog::LayerRecord& layer) {
  ASSIGN_OR_RETURN(const host::Fd file, stores_.content.Open(layer.blob));
  ASSIGN_OR_RETURN(auto staging, stores_.layers.Stage(ctx, layer.blob, layer::Form::kErofs, layer.diff_id.algorithm()));
  for (;;) {
    ASSIGN_OR_RETURN(const bytes::MutableView room, staging->Room());
    ASSIGN_OR_RETURN(const std::size_t got, host::ReadSome(file.get(), room));
    if (got == 0) break;
    RETURN_IF_ERROR(staging->HandOver(got));
  }
  RETURN_IF_ERROR(staging->Finish(layer.diff_id));
  // The damaged files go at the last moment; a crash before Commit costs a fetch, nothing else (reclaim's Recover).
  ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, stores_.layers.Remove(ctx, layer.blob));
  RETURN_IF_ERROR(staging->Commit());
  return {};
}

}  // namespace berth::fsck
