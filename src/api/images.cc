#include "api/images.h"

#include <algorithm>

#include "reference/reference.h"

namespace berth::api {
namespace {

using catalog::ImageRecord;

constexpr std::size_t kCandidatesShown = 8;

Error Absent(std::string_view text) {
  return Error(Reason::kNotFound, "there is no image " + Quoted(text) + " here").Next("berth images lists what there is; berth pull fetches");
}

Result<Match> ById(catalog::Catalog& catalog, std::string_view text) {
  ASSIGN_OR_RETURN(auto images, catalog.FindImagesById(text));
  if (images.empty()) return Absent(text);
  const auto other = std::ranges::find_if(images, [&](const ImageRecord& i) { return i.config != images.front().config; });
  if (other == images.end()) return Match{std::nullopt, std::move(images)};
  std::string candidates;
  for (std::size_t i = 0; i < images.size() && i < kCandidatesShown; ++i)
    candidates += (i == 0 ? "" : ", ") + images[i].config.Short() + (images[i].names.empty() ? "" : " (" + images[i].names.front() + ")");
  return Error(Reason::kUsage, "the id " + Quoted(text) + " begins " + std::to_string(images.size()) + " images: " + candidates)
      .Next("give more digits");
}

}  // namespace

Result<Match> FindImages(catalog::Catalog& catalog, std::string_view text) {
  if (reference::IsImageId(text)) return ById(catalog, text);
  const std::string_view digits = reference::IdDigits(text);
  const bool maybe_id = digits.size() >= 4 && digits.size() < 2 * digest::ByteLength(digest::Algorithm::kSha512);
  const auto reference = reference::Reference::Parse(text);
  if (reference) {
    ASSIGN_OR_RETURN(auto name, catalog.FindName(reference->Canonical()));
    if (name) {
      Match match;
      for (const auto& manifest : name->images) {
        ASSIGN_OR_RETURN(auto image, catalog.FindImage(manifest));
        if (image) match.images.push_back(*std::move(image));
      }
      match.name = *std::move(name);
      if (match.images.empty()) return Absent(text);
      return match;
    }
  }
  if (maybe_id) return ById(catalog, text);
  if (!reference) return Error(reference.error()).Next("berth images lists names and ids; berth name NAME shows how a name is read");
  return Absent(text);
}

Result<ImageRecord> Choose(const Match& match, std::string_view platform, const oci::Platform& host) {
  oci::Platform wanted = host;
  if (!platform.empty()) {
    ASSIGN_OR_RETURN(wanted, oci::Platform::Parse(platform));
  }
  if (const auto* best = oci::PlatformMatcher(wanted).Best(match.images)) return *best;
  if (platform.empty()) return match.images.front();
  std::string offered;
  for (const auto& image : match.images) offered += (offered.empty() ? "" : ", ") + image.platform;
  return Error(Reason::kNoMatch, "the image is not here for " + wanted.ToString() + "; there are: " + offered)
      .Next("pull it with --platform " + wanted.ToString());
}

}  // namespace berth::api
