#include "node/image_service.h"

#include "bytes/text.h"

namespace berth::node {
namespace {

constexpr std::size_t kTextBytes = 900;

bool Unreachable(Reason reason) {
  switch (reason) {
    case Reason::kDns: case Reason::kRefused: case Reason::kUnavailable: case Reason::kConnectionReset: case Reason::kServerError:
    case Reason::kTimeout: case Reason::kStalled: return true;
    default: return false;
  }
}

}  // namespace

std::string CriText(const Error& error, const std::string& image) {
  const std::string text = error.Text();
  std::string out(error.info().code);
  if (text.find(image) == text.npos) out += " " + image + ":";
  const char* word = Unreachable(error.reason()) ? "RegistryUnavailable: " : error.reason() == Reason::kSignature ? "SignatureValidationFailed: " : "";
  return bytes::Ellipsized(word + out + " " + text, kTextBytes);
}

Result<catalog::ImageRecord> ImageService::Find(const std::string& image_ref) const {
  ASSIGN_OR_RETURN(auto images, ById(image_ref));
  const auto* image = oci::PlatformMatcher(host_).Best(images);
  if (image == nullptr && !images.empty()) image = &images.front();
  if (image == nullptr) return Error(Reason::kNotFound, "the image " + Quoted(image_ref) + " is no longer here");
  return *image;
}

Result<std::vector<catalog::ImageRecord>> ImageService::ById(const std::string& id) const {
  return catalog_.FindImagesById(id);
}

Result<std::vector<catalog::ImageRecord>> ImageService::ByName(const catalog::NameRecord& name) const {
  std::vector<catalog::ImageRecord> images;
  for (const auto& digest : name.images) {
    ASSIGN_OR_RETURN(auto found, catalog_.FindImage(digest));
    if (found) images.push_back(*std::move(found));
  }
  return images;
}

Result<std::string> ImageService::KnownId(const std::string& image) {
  std::vector<catalog::ImageRecord> images;
  if (reference::IsImageId(image)) {
    ASSIGN_OR_RETURN(images, ById(image));
  } else {
    ASSIGN_OR_RETURN(const auto name, reference::Reference::Parse(image));
    ASSIGN_OR_RETURN(const auto record, catalog_.FindName(name.Canonical()));
    if (!record) return std::string();
    ASSIGN_OR_RETURN(images, ByName(*record));
  }
  const auto* found = oci::PlatformMatcher(host_).Best(images);
  return found == nullptr ? std::string() : found->config.ToString();
}

Result<std::string> ImageService::ImageRef(const task::Context&, const std::string& image) {
  std::vector<catalog::ImageRecord> images;
  if (reference::IsImageId(image)) {
    ASSIGN_OR_RETURN(images, ById(image));
    RETURN_IF_ERROR(puller_.gate().DropRefused(images));  // there is no name to verify: any of its own will do
  } else {
    ASSIGN_OR_RETURN(const auto name, reference::Reference::Parse(image));
    ASSIGN_OR_RETURN(const auto record, catalog_.FindName(name.Canonical()));
    if (!record) return std::string();
    // As if it were not here: the pull that follows has the credentials to verify it, and tells why when it may not be used.
    if (const auto usable = puller_.gate().CheckPresent(name, record->target); !usable) {
      if (usable.error().reason() == Reason::kSignature) return std::string();
      return usable.error();
    }
    ASSIGN_OR_RETURN(images, ByName(*record));
  }
  const auto* found = oci::PlatformMatcher(host_).Best(images);
  if (found == nullptr) return std::string();
  ASSIGN_OR_RETURN(const bool whole, pull::IsWhole(*found, leases_, layers_));
  return whole ? found->config.ToString() : std::string();
}

Result<std::string> ImageService::Pull(const task::Context& ctx, const std::string& image, const credentials::Credential* credential,
                                       const BeforeVisible& before) {
  ASSIGN_OR_RETURN(const auto name, reference::Reference::Parse(image));
  pull::Request request{.reference = name, .policy = pull::Policy::kAlways, .before_publish = before};
  if (credential != nullptr) request.credentials.push_back(credential->Clone());
  auto pull = puller_.Start(ctx, std::move(request));
  const auto pulled = pull.Wait(ctx);
  if (!pulled) {
    if (pulled.error().cancelled()) return pulled.error();
    return Error(pulled.error().reason(), CriText(pulled.error(), image));
  }
  // The rules may be others by now, and a container will be started from it.
  if (const auto usable = puller_.gate().CheckPresent(name, pulled->target); !usable)
    return Error(usable.error().reason(), CriText(usable.error(), image));
  const auto* found = oci::PlatformMatcher(host_).Best(pulled->images);
  if (found == nullptr) return Error(Reason::kNoMatch, "E-PLATFORM " + image + ": there is no image for " + host_.ToString() + " under this name");
  return found->config.ToString();
}

Result<std::uint64_t> ImageService::Size(const task::Context&, const std::string& image_ref) {
  ASSIGN_OR_RETURN(const auto image, Find(image_ref));
  return image.size;
}

}  // namespace berth::node
