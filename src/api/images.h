// api/images.h: which image a person means.
//
// In this order: a whole digest (reference::IsImageId) is the id of an image or of its manifest; else a name as
// Kubernetes reads it ("busybox" is docker.io/library/busybox:latest); else at least four hex digits that begin exactly
// one id. Errors: kInvalidReference, kNotFound, kUsage for digits that fit several images (it lists them), kNoMatch for
// a platform that the name does not have here (it lists what it has).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "oci/oci.h"
#include "result/result.h"

namespace berth::api {

struct Match {
  std::optional<catalog::NameRecord> name;   // set when the text was a name
  std::vector<catalog::ImageRecord> images;  // at least one; several when a name has several platforms
};

Result<Match> FindImages(catalog::Catalog& catalog, std::string_view text);
// The one for `platform`; "" means the best for `host`, else the first.
Result<catalog::ImageRecord> Choose(const Match& match, std::string_view platform, const oci::Platform& host);

}  // namespace berth::api
