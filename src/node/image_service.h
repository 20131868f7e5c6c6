// node/image_service.h: the image service that policy::ImageManager asks: our store and puller, spoken to as a CRI.
//
// An image is present when its name is in the catalog with an image for this machine's platform whose layers are all there; its id
// is the digest of that image's config ("sha256:…"), which is also what Pull() returns (CRI 1.36 wants the two equal). Names are
// looked up by the user's spelling, normalised; an id finds the image, too. One that garbage collection is removing is absent: who
// counts as its user first (Node::ImagesInUse) and then looks has it, or pulls it again.
// Errors are one line that fits an Event: `E-AUTH-401 reg.test:5712/team/app:v1: …`, at most 900 bytes. What says that the
// registry cannot be reached at all begins with "RegistryUnavailable: ", a refusal of verification with "SignatureValidationFailed: ",
// which gives those waiting reasons. What is here and may not be used (pull/gate.h) is as if it were not here.
// Safe for concurrent use.
#pragma once

#include <string>

#include "catalog/catalog.h"
#include "catalog/leases.h"
#include "layer/store.h"
#include "oci/oci.h"
#include "policy/image_manager.h"
#include "pull/puller.h"

namespace berth::node {

class ImageService final : public policy::ImageService {
 public:
  ImageService(pull::Puller& puller, catalog::Catalog& catalog, const catalog::Leases& leases, const layer::LayerStore& layers,
               oci::Platform host)
      : puller_(puller), catalog_(catalog), leases_(leases), layers_(layers), host_(std::move(host)) {}

  Result<std::string> ImageRef(const task::Context& ctx, const std::string& image) override;
  Result<std::string> KnownId(const std::string& image) override;
  Result<std::string> Pull(const task::Context& ctx, const std::string& image, const credentials::Credential* credential,
                           const BeforeVisible& before) override;
  Result<std::uint64_t> Size(const task::Context& ctx, const std::string& image_ref) override;

  // The image that a container is started from. kNotFound when it is not here (any more).
  Result<catalog::ImageRecord> Find(const std::string& image_ref) const;

 private:
  Result<std::vector<catalog::ImageRecord>> ById(const std::string& id) const;
  Result<std::vector<catalog::ImageRecord>> ByName(const catalog::NameRecord& name) const;

  pull::Puller& puller_;
  catalog::Catalog& catalog_;
  const catalog::Leases& leases_;
  const layer::LayerStore& layers_;
  const oci::Platform host_;
};

// The text of an error as above.
std::string CriText(const Error& error, const std::string& image);

}  // namespace berth::node
