// policy/messages.h: waiting reasons, event texts and error mapping, letter by letter those of the kubelet v1.36.
//
// Rules: kubelet-images 4.1, 4.2, 4.5; product 3.5. `image` is always the user's spelling, before ":latest" is added.
// It stands in the texts through Quoted(), which is Go's %q for every name that parses; of one that does not, control
// characters are \xNN and at most 256 bytes are shown. Error texts are taken as they are: whoever makes them keeps
// secrets and remote bodies out (result/result.h).
// Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "time/clock.h"

namespace berth::policy {

// state.waiting.reason. An unexpected error (a pull secret that is no JSON) is its own reason, verbatim.
inline constexpr std::string_view kInvalidImageName = "InvalidImageName";
inline constexpr std::string_view kImageInspectError = "ImageInspectError";
inline constexpr std::string_view kErrImageNeverPull = "ErrImageNeverPull";
inline constexpr std::string_view kErrImagePull = "ErrImagePull";
inline constexpr std::string_view kImagePullBackOff = "ImagePullBackOff";
inline constexpr std::string_view kRegistryUnavailable = "RegistryUnavailable";
inline constexpr std::string_view kSignatureValidationFailed = "SignatureValidationFailed";

inline constexpr std::string_view kQpsExceeded = "pull QPS exceeded";

struct Event {
  std::string reason;    // "Pulling"
  bool warning = false;  // type Warning, else Normal
  std::string message;
  friend bool operator==(const Event&, const Event&) = default;
};

Event Pulling(std::string_view image);
// `pull`: in the puller, size query included; `total`: waiting included. Both are cut to milliseconds.
Event Pulled(std::string_view image, time::Duration pull, time::Duration total, std::uint64_t bytes);
Event AlreadyPresent(std::string_view image, bool verification);  // verification: KubeletEnsureSecretPulledImages
Event FailedToPull(std::string_view image, std::string_view error);
Event StartFailed(std::string_view reason);  // "Error: ErrImagePull", by the container's starter, after each failure
Event BackingOff(std::string_view image);
Event InspectFailed(std::string_view message);  // of InspectFailure() or TagFailure()
Event NeverPull(std::string_view image);
Event SecretsMissing(std::span<const std::string> names);  // FailedToRetrieveImagePullSecret; in the order of the Pod's list

// Messages of the waiting state that are no event's.
std::string InspectFailure(std::string_view error);                     // names no image: the kubelet's slip, kept
std::string TagFailure(std::string_view image, std::string_view error);
std::string BackOffMessage(std::string_view image, std::string_view previous);  // previous: "ErrImagePull: …" or ""
std::string IntentFailure(std::string_view image, std::string_view error);

struct Failure {
  std::string reason;
  std::string message;
  friend bool operator==(const Failure&, const Failure&) = default;
};
// 4.5: by the text's first word.
Failure MapPullError(std::string_view image, std::string_view error);

// One text plain, several "[a, b]", equal ones once, "" for none.
std::string AggregateErrors(std::span<const std::string> errors);

}  // namespace berth::policy
