#include "fsck/checker.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <string_view>

namespace berth::fsck {
namespace {

using catalog::BlobKind;
using digest::Digest;

constexpr std::string_view kLeftAlone = "left alone: a pull is using it";

void NoteRepaired(Finding& finding, std::string action) {
  finding.action = std::move(action);
  finding.repaired = true;
}
// On the bytes, as opposed to trouble of this machine: the same again would end the same.
bool IsVerdict(const Error& error) {
  switch (error.reason()) {
    case Reason::kInvalidLayer:
    case Reason::kDigestMismatch:
    case Reason::kSizeMismatch:
    case Reason::kLimitExceeded:
    case Reason::kUnsupported:
    case Reason::kCorrupt: return true;
    default: return false;
  }
}
// What is there is not what was promised. Anything else is this machine's trouble (no descriptor, no memory), and says nothing of it.
bool IsDamage(const Error& error) {
  return IsVerdict(error) || error.reason() == Reason::kMissing || layer::IsLost(error);
}
std::string Unread(const Error& error) { return "left as it is: it could not be read: " + error.Text(); }

// What was promised is gone, unless nobody needed it.
void NoteForgotten(Finding& finding) {
  if (finding.images.empty()) return NoteRepaired(finding, "forgotten; no image needed it");
  finding.action = "forgotten with its images; pull them again";
}

}  // namespace

Result<Summary> Checker::Run(const task::Context& ctx, const Options& options, const Observer& observer) {
  Summary summary;
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
    const bool looked_at = blob.kind == BlobKind::kDocument || options.depth == layer::Depth::kData;
    if (looked_at) {
      ASSIGN_OR_RETURN(auto finding, CheckBlob(ctx, blob, options));
      if (finding) report(*std::move(finding));
    }
    RETURN_IF_ERROR(step(looked_at ? blob.bytes : 0));
  }

  ASSIGN_OR_RETURN(auto named, NamedVariants());
  for (const auto& layer : layers) {
    ASSIGN_OR_RETURN(auto finding, CheckLayer(ctx, layer.blob, named[layer.blob], options));
    if (finding) report(*std::move(finding));
    RETURN_IF_ERROR(step(layer.stored_bytes));
  }
  return summary;
}

Result<std::optional<Finding>> Checker::CheckBlob(const task::Context& ctx, const catalog::BlobRecord& blob, const Options& options) {
  if (stores_.content.Verify(blob.digest)) return std::optional<Finding>();
  RETURN_IF_ERROR(ctx.Check());
  const bool repair = options.repair == Repair::kYes;
  const auto claim = repair ? stores_.leases.ClaimFree({blob.digest}) : catalog::Leases::Claim();
  const auto whole = stores_.content.Verify(blob.digest);
  ASSIGN_OR_RETURN(const bool promised, stores_.catalog.HasBlob(blob.digest));
  if (whole || !promised) return std::optional<Finding>();
  const bool missing = whole.error().reason() == Reason::kMissing;
  bool document = blob.kind == BlobKind::kDocument;
  if (document) {
    // A crash can leave a kept layer blob that looks like a document. The layer does not depend on it.
    ASSIGN_OR_RETURN(const auto layer, stores_.catalog.FindLayer(blob.digest));
    if (layer && missing) return std::optional<Finding>();
    document = !layer;
  }
  Finding finding{.kind = document ? "document" : "blob", .object = blob.digest.ToString(),
                  .problem = missing ? "the store has no blob " + blob.digest.ToString() : whole.error().message(),
                  .action = document ? "forget it with its images; the next pull fetches them" : "remove it: it is a cache", .images = {}};
  if (document) {
    ASSIGN_OR_RETURN(finding.images, stores_.catalog.NamesThatNeed(blob.digest));
  }
  if (!IsDamage(whole.error())) {
    finding.action = Unread(whole.error());
    return finding;
  }
  if (!repair) return finding;
  if (claim.objects().empty()) {
    finding.action = kLeftAlone;
    return finding;
  }
  RETURN_IF_ERROR(ctx.Check());
  RETURN_IF_ERROR(document ? stores_.catalog.ForgetDamaged(blob.digest) : stores_.catalog.ForgetBlob(blob.digest));
  ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, stores_.content.Remove(blob.digest));
  document ? NoteForgotten(finding) : NoteRepaired(finding, "removed");
  return finding;
}

Result<Checker::Variants> Checker::NamedVariants() {
  ASSIGN_OR_RETURN(const auto images, stores_.catalog.ListImages());
  Variants named;
  for (const auto& image : images)
    for (const auto& layer : image.layers)
      if (!layer.variant.empty()) named[layer.blob].insert(layer.variant);
  return named;
}

Result<std::optional<std::string>> Checker::MissingVariant(const Digest& blob, const std::set<std::string>& variants) {
  for (const auto& variant : variants) {
    ASSIGN_OR_RETURN(const bool here, stores_.layers.Has(blob, variant));
    if (!here) return std::optional(variant);
  }
  return std::optional<std::string>();
}

Result<> Checker::VerifyLayer(const task::Context& ctx, const Digest& blob, const std::set<std::string>& variants, layer::Depth depth) {
  RETURN_IF_ERROR(stores_.layers.Verify(ctx, blob, depth));
  ASSIGN_OR_RETURN(const auto missing, MissingVariant(blob, variants));
  if (missing) return Error(Reason::kMissing, "the store has no variant " + *missing + " of layer " + blob.ToString());
  return {};
}

Result<std::optional<Finding>> Checker::CheckLayer(const task::Context& ctx, const Digest& blob, const std::set<std::string>& variants,
                                                   const Options& options) {
  if (VerifyLayer(ctx, blob, variants, options.depth)) return std::optional<Finding>();
  RETURN_IF_ERROR(ctx.Check());
  const bool repair = options.repair == Repair::kYes;
  const auto claim = repair ? stores_.leases.ClaimFree({blob}) : catalog::Leases::Claim();
  ASSIGN_OR_RETURN(auto named, NamedVariants());
  const auto whole = VerifyLayer(ctx, blob, named[blob], options.depth);
  if (!whole) RETURN_IF_ERROR(ctx.Check());
  ASSIGN_OR_RETURN(const auto layer, stores_.catalog.FindLayer(blob));
  if (whole || !layer) return std::optional<Finding>();
  Finding finding{.kind = "layer", .object = blob.ToString(), .problem = whole.error().Text(),
                  .action = "unpack it again from its kept blob, or forget it with its images", .images = {}};
  ASSIGN_OR_RETURN(finding.images, stores_.catalog.NamesThatNeed(blob));
  if (!IsDamage(whole.error())) {
    finding.action = Unread(whole.error());
    return finding;
  }
  if (!repair) return finding;
  if (claim.objects().empty()) {
    finding.action = kLeftAlone;
    return finding;
  }
  ASSIGN_OR_RETURN(finding, RepairLayer(ctx, *layer, options, std::move(finding)));
  return finding;
}

Result<Finding> Checker::RepairLayer(const task::Context& ctx, const catalog::LayerRecord& layer, const Options& options,
                                     Finding finding) {
  ASSIGN_OR_RETURN(const auto images, stores_.catalog.ListImages());
  ASSIGN_OR_RETURN(auto named, NamedVariants());
  // Perhaps only variants are damaged. Those that no image has go in any case.
  ASSIGN_OR_RETURN(const auto stored, stores_.layers.List());
  for (const auto& info : stored)
    for (const std::string& variant : info.variants) {
      if (info.report.blob != layer.blob) continue;
      if (named[layer.blob].contains(variant)) {
        const auto good = stores_.layers.VerifyVariant(layer.blob, variant, options.depth);
        if (good) continue;
        if (!IsDamage(good.error())) {
          finding.action = Unread(good.error());
          return finding;
        }
      }
      RETURN_IF_ERROR(stores_.layers.RemoveVariant(layer.blob, variant));
    }
  const auto whole = stores_.layers.Verify(ctx, layer.blob, options.depth);
  RETURN_IF_ERROR(ctx.Check());
  if (!whole && !IsDamage(whole.error())) {
    finding.action = Unread(whole.error());
    return finding;
  }
  auto again = whole ? Result<>() : stores_.content.Verify(layer.blob);
  const bool kept = again || again.error().reason() != Reason::kMissing;
  if (!whole && again) again = Reunpack(ctx, layer, options.form);
  RETURN_IF_ERROR(ctx.Check());
  if (again) {
    ASSIGN_OR_RETURN(const auto missing, MissingVariant(layer.blob, named[layer.blob]));
    std::vector<std::string> lost;
    ASSIGN_OR_RETURN(auto left, RefitImages(ctx, images, layer.blob, !whole, lost));
    if (!lost.empty()) {
      finding.images = std::move(lost);
      finding.action = "images that it cannot be fitted to any more were forgotten; pull them again";
    } else if (left) {
      finding.action = *std::move(left);
    } else {
      NoteRepaired(finding, !whole    ? "unpacked again from its kept blob"
                            : missing ? "its variants are made again"
                                      : "removed a variant of it that no image needs");
    }
    return finding;
  }
  if (!IsVerdict(again.error()) && kept) {
    finding.action = "left as it is: it could not be unpacked again: " + again.error().Text();
    return finding;
  }
  RETURN_IF_ERROR(ctx.Check());
  RETURN_IF_ERROR(stores_.catalog.ForgetDamaged(layer.blob));
  ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, stores_.layers.Remove(ctx, layer.blob));
  NoteForgotten(finding);
  return finding;
}

Result<std::optional<std::string>> Checker::RefitImages(const task::Context& ctx, const std::vector<catalog::ImageRecord>& images,
                                                        const Digest& blob, bool made_anew, std::vector<std::string>& lost) {
  std::optional<std::string> left;
  for (const auto& image : images) {
    std::vector<Digest> chain;
    std::vector<std::string> variants;
    bool fit = false, missing = false, above = false;
    for (const auto& layer : image.layers) {
      chain.push_back(layer.blob);
      variants.push_back(layer.variant);
      above = above || layer.blob == blob;
      if (!above || layer.variant.empty()) continue;
      fit = fit || made_anew;  // its own variant, and those above, which may have files of it
      if (layer.blob != blob) continue;
      ASSIGN_OR_RETURN(const bool here, stores_.layers.Has(blob, layer.variant));
      missing = missing || !here;
    }
    if (!fit && !missing) continue;
    const auto claim = stores_.leases.ClaimFree(chain);  // none of them is removed meanwhile
    const auto fitted = stores_.layers.FitToImage(ctx, chain);
    if (fitted && *fitted == variants) continue;
    RETURN_IF_ERROR(ctx.Check());
    // Another layer of the image may be damaged, and not mended yet.
    if (!fitted && (!IsVerdict(fitted.error()) || fitted.error().reason() == Reason::kCorrupt)) {
      if (missing) left = "left as it is: its variants could not be made again: " + fitted.error().Text();
      continue;
    }
    ASSIGN_OR_RETURN(const auto names, stores_.catalog.NamesThatNeed(image.manifest));
    RETURN_IF_ERROR(stores_.catalog.ForgetDamaged(image.manifest));
    lost.insert(lost.end(), names.begin(), names.end());
  }
  return left;
}

Result<> Checker::Reunpack(const task::Context& ctx, const catalog::LayerRecord& layer, layer::Form form) {
  ASSIGN_OR_RETURN(const host::Fd file, stores_.content.Open(layer.blob));
  ASSIGN_OR_RETURN(auto staging, stores_.layers.Stage(ctx, layer.blob, form, layer.diff_id.algorithm()));
  for (;;) {
    ASSIGN_OR_RETURN(const bytes::MutableView room, staging->Room());
    ASSIGN_OR_RETURN(const std::size_t got, host::ReadSome(file.get(), room));
    if (got == 0) break;
    RETURN_IF_ERROR(staging->HandOver(got));
  }
  RETURN_IF_ERROR(staging->Finish(layer.diff_id));
  // The damaged files go at the last moment; a crash before Commit costs a fetch, nothing else (reclaim's Recover).
  ASSIGN_OR_RETURN([[maybe_unused]] const bool removed, stores_.layers.RemoveDamaged(ctx, layer.blob, form));
  RETURN_IF_ERROR(staging->Commit());
  return {};
}

}  // namespace berth::fsck
