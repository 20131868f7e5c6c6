// fsck/checker.h: is what the catalog promises on the disk, byte for byte?
//
// Looks at the catalog itself, at every document (hashed), every layer (descriptor, metadata, its variants and that those which
// images name are there, CRC of all contents; a tree is compared with its metadata) and every kept blob (hashed at
// Depth::kData). Files that no row explains are what a crash leaves: reclaim's Recover() gives them rows. With repair:
//   a layer      kept when only variants were damaged or missing; else unpacked again from its kept blob if that is whole, else
//                forgotten with its images; left as it is when only this machine is in the way (a full disk)
//   a variant    removed when no image has it; else made again, else its images are forgotten
//   a document   forgotten with its images
//   a kept blob  removed: it was a cache
// What cannot be read for want of descriptors or memory is reported and left as it is: that is no damage.
// An image that was forgotten is not repaired (`repaired` stays false): the registry has it, and only a pull may ask there.
// Runs beside pulls, removals and mounts: objects are looked at one by one; what looks damaged is looked at once more, to be
// repaired under a claim (catalog/leases.h), and is no finding when it was removed or brought anew meanwhile. In-use ones are
// reported and left. Findings are passed on as they are found. kCanceled between two objects.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/leases.h"
#include "content/store.h"
#include "layer/store.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::fsck {

struct Finding {
  std::string kind;     // "catalog", "document", "layer", "blob"
  std::string object;   // digest, or "catalog.db"
  std::string problem;  // one sentence
  std::string action;   // what was done, or what --repair would do
  bool repaired = false;
  std::vector<std::string> images;  // names that need it
};

struct Summary {
  std::uint64_t objects = 0, bytes = 0, findings = 0, repaired = 0;
};

enum class Repair : bool { kNo, kYes };

struct Options {
  Repair repair = Repair::kNo;
  layer::Depth depth = layer::Depth::kData;
  layer::Form form = layer::Form::kErofs;  // of layers that are unpacked again: what this machine can mount
};

class Checker {
 public:
  struct Stores {
    content::Store& content;
    const layer::LayerStore& layers;
    catalog::Catalog& catalog;
    catalog::Leases& leases;
  };
  struct Observer {
    std::function<void(const Finding&)> finding;
    std::function<void(std::uint64_t checked, std::uint64_t total)> progress;
  };
  explicit Checker(Stores stores) : stores_(stores) {}
  Result<Summary> Run(const task::Context& ctx, const Options& options, const Observer& observer);

 private:
  // Nothing: it is as promised, or no longer promised.
  Result<std::optional<Finding>> CheckBlob(const task::Context& ctx, const catalog::BlobRecord& blob, const Options& options);
  // `variants`: that images named when the run began; who names what now is asked when one of them is missing.
  Result<std::optional<Finding>> CheckLayer(const task::Context& ctx, const digest::Digest& blob, const std::set<std::string>& variants,
                                            const Options& options);
  using Variants = std::map<digest::Digest, std::set<std::string>>;  // by layer, those that images are mounted by
  Result<Variants> NamedVariants();
  Result<std::optional<std::string>> MissingVariant(const digest::Digest& blob, const std::set<std::string>& variants);
  Result<> VerifyLayer(const task::Context& ctx, const digest::Digest& blob, const std::set<std::string>& variants, layer::Depth depth);
  // REQUIRES: a claim on the layer.
  Result<Finding> RepairLayer(const task::Context& ctx, const catalog::LayerRecord& layer, const Options& options, Finding finding);
  // Makes the variants of a layer anew: all of them, and those of layers above it, when it was itself, else those that are missing.
  // Images that it cannot be fitted to any more are forgotten, and their names noted in `lost`. Why others are still missing, if
  // there are such.
  Result<std::optional<std::string>> RefitImages(const task::Context& ctx, const std::vector<catalog::ImageRecord>& images,
                                                 const digest::Digest& blob, bool made_anew, std::vector<std::string>& lost);
  Result<> Reunpack(const task::Context& ctx, const catalog::LayerRecord& layer, layer::Form form);
  Stores stores_;
};

}  // namespace berth::fsck
