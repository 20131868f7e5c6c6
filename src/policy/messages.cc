#include "policy/messages.h"

#include <algorithm>
#include <vector>

#include "result/result.h"
#include "time/go_duration.h"

namespace berth::policy {
namespace {

std::string Join(std::span<const std::string> texts) {
  std::string out;
  for (const auto& text : texts) out += (out.empty() ? "" : ", ") + text;
  return out;
}

std::string Millis(time::Duration d) { return time::FormatGoDuration(time::TruncateToMillis(d)); }

}  // namespace

Event Pulling(std::string_view image) { return {"Pulling", false, "Pulling image " + Quoted(image)}; }

Event Pulled(std::string_view image, time::Duration pull, time::Duration total, std::uint64_t bytes) {
  return {"Pulled", false, "Successfully pulled image " + Quoted(image) + " in " + Millis(pull) + " (" + Millis(total) +
                               " including waiting). Image size: " + std::to_string(bytes) + " bytes."};
}

Event AlreadyPresent(std::string_view image, bool verification) {
  return {"Pulled", false, "Container image " + Quoted(image) + " already present on machine" + (verification ? " and can be accessed by the pod" : "")};
}

Event FailedToPull(std::string_view image, std::string_view error) {
  return {"Failed", true, "Failed to pull image " + Quoted(image) + ": " + std::string(error)};
}

Event StartFailed(std::string_view reason) { return {"Failed", true, "Error: " + std::string(reason)}; }
Event BackingOff(std::string_view image) { return {"BackOff", false, BackOffMessage(image, "")}; }
Event InspectFailed(std::string_view message) { return {"InspectFailed", true, std::string(message)}; }

Event NeverPull(std::string_view image) {
  return {std::string(kErrImageNeverPull), true, "Container image " + Quoted(image) + " is not present with pull policy of Never"};
}

Event SecretsMissing(std::span<const std::string> names) {
  return {"FailedToRetrieveImagePullSecret", true,
          "Unable to retrieve some image pull secrets (" + Join(names) + "); attempting to pull the image may not succeed."};
}

std::string InspectFailure(std::string_view error) { return "Failed to inspect image \"\": " + std::string(error); }

std::string TagFailure(std::string_view image, std::string_view error) {
  return "Failed to apply default image tag " + Quoted(image) + ": " + std::string(error);
}

std::string BackOffMessage(std::string_view image, std::string_view previous) {
  return "Back-off pulling image " + Quoted(image) + (previous.empty() ? "" : ": ") + std::string(previous);
}

std::string IntentFailure(std::string_view image, std::string_view error) {
  return "Failed to record image pull intent for container image " + Quoted(image) + ": " + std::string(error);
}

Failure MapPullError(std::string_view image, std::string_view error) {
  struct Row { std::string_view word, because; };
  for (const auto& [word, because] : {Row{kRegistryUnavailable, "the registry is unavailable"},
                                      Row{kSignatureValidationFailed, "the signature validation failed"}}) {
    if (error.starts_with(word))
      return {std::string(word), "image pull failed for " + std::string(image) + " because " + std::string(because) +
                                     std::string(error.substr(word.size()))};
  }
  return {std::string(kErrImagePull), std::string(error)};
}

std::string AggregateErrors(std::span<const std::string> errors) {
  std::vector<std::string> unique;
  for (const auto& error : errors)
    if (std::find(unique.begin(), unique.end(), error) == unique.end()) unique.push_back(error);
  return unique.size() == 1 ? unique[0] : unique.empty() ? "" : "[" + Join(unique) + "]";
}

}  // namespace berth::policy
