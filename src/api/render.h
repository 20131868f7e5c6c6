// api/render.h: our values as messages of berth.v1. Pure.
#pragma once

#include <map>
#include <string>

#include "berth/v1/berth.pb.h"
#include "catalog/catalog.h"
#include "fsck/checker.h"
#include "pull/puller.h"
#include "reclaim/image_gc.h"
#include "time/clock.h"

namespace berth::api {

std::string Rfc3339(time::WallTime time);  // "2026-01-02T03:04:05Z", seconds

// What each layer takes and how many images have it: for the share of the disk that is an image's own.
class LayerUse {
 public:
  LayerUse(const std::vector<catalog::ImageRecord>& images, const std::vector<catalog::LayerRecord>& layers);
  std::uint64_t Unique(const catalog::ImageRecord& image) const;

 private:
  struct Use { std::uint64_t bytes = 0, images = 0; };
  std::map<catalog::Digest, Use> uses_;
};

// `unique`: bytes of layers that no other image has.
void Render(const catalog::ImageRecord& image, std::uint64_t unique, v1::Image* out);
void Render(const pull::Snapshot& snapshot, v1::PullEvent* out);
void Render(const pull::Pulled& pulled, v1::Pulled* out);
void Render(const fsck::Finding& finding, v1::Finding* out);
void Render(const reclaim::GcReport& report, v1::CollectImagesResponse* out);

}  // namespace berth::api
