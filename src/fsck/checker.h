// fsck/checker.h: is what the catalog promises on the disk, byte for byte?
//
// Looks at the catalog itself, at every document (hashed), every layer (descriptor, metadata, CRC of all contents, its
// variants) and every kept blob (hashed at Depth::kData). Files that no row explains are what a crash leaves: reclaim's
// Recover() gives them rows. With repair:
//   a layer      unpacked again from its kept blob if that is whole, else forgotten with its images: the next pull fetches
//   a document   forgotten with its images
//   a kept blob  removed: it was a cache
// Runs beside pulls and mounts: objects are looked at one by one, repaired ones are claimed (catalog/leases.h), in-use ones
// are reported and left. Findings are passed on as they are found. kCanceled between two objects.
#pragma once

#include <functional>
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
  Result<Finding> RepairLayer(const task::Context& ctx, const catalog::LayerRecord& layer, Finding finding);
  Result<> Reunpack(const task::Context& ctx, const catalog::LayerRecord& layer);
  Stores stores_;
};

}  // namespace berth::fsck
