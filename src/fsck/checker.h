// fsck/checker.h: is what the catalog promises on the disk, byte for byte?
//
// Looks at the catalog itself, at every document (hashed), every layer (descriptor, metadata, its variants, CRC of all
// contents; a tree is compared with its metadata) and every kept blob (hashed at Depth::kData). Files that no row explains
// are what a crash leaves: reclaim's Recover() gives them rows. With repair:
//   a layer      kept when only a variant was damaged that no image has; else unpacked again from its kept blob if that is
//                whole, else forgotten with its images; left as it is when only this machine is in the way (a full disk)
//   a document   forgotten with its images
//   a kept blob  removed: it was a cache
// An image that was forgotten is not repaired (`repaired` stays false): the registry has it, and only a pull may ask there.
// Runs beside pulls, removals and mounts: objects are looked at one by one; what looks damaged is looked at once more, to be
// repaired under a claim (catalog/leases.h), and is no finding when it was removed or brought anew meanwhile. In-use ones are
// reported and left. Findings are passed on as they are found. kCanceled between two objects.
#pragma once

#include <functional>
#include <optional>
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
  Result<std::optional<Finding>> CheckLayer(const task::Context& ctx, const digest::Digest& blob, const Options& options);
  // REQUIRES: a claim on the layer.
  Result<Finding> RepairLayer(const task::Context& ctx, const catalog::LayerRecord& layer, const Options& options, Finding finding);
  Result<> Reunpack(const task::Context& ctx, const catalog::LayerRecord& layer, layer::Form form);
  Stores stores_;
};

}  // namespace berth::fsck
