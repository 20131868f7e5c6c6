// kube/validate.h: what the API server would say to an object: field paths and words as Kubernetes v1.36 has them.
//
// Objects are validated after defaulting (kube/defaults.h), as there. Rules: kubelet-images 2.2 and 8.2 and, from the
// same source, those for the fields we use; fields we do not use are not judged. A policy, an image or a name is shown in a
// message, the contents of a Secret never.
#pragma once

#include <string_view>

#include "json/document.h"
#include "kube/status.h"

namespace berth::kube {

enum class PodPlace : std::uint8_t { kPod, kTemplate, kStatic };  // a few rules are for Pods only; static ones name no objects (8.1)

// The object as it is about to be created. REQUIRES: it passed kube/parse.h.
FieldErrors Validate(const json::Value& object, PodPlace place = PodPlace::kPod);
// Alone the spec; `path` is its field ("spec", "spec.template.spec").
FieldErrors ValidatePodSpec(const json::Value& spec, std::string_view path, PodPlace place);
// The change of a stored object (not of its status): Validate, and what must not change.
FieldErrors ValidateUpdate(const json::Value& object, const json::Value& old);
// Ephemeral containers come through a call of their own: they may be added, never changed or removed.
FieldErrors ValidateEphemeralUpdate(const json::Value& object, const json::Value& old);

// For names in paths and on command lines; "" when it is one, else Kubernetes' explanation.
std::string Dns1123Subdomain(std::string_view name);
std::string Dns1123Label(std::string_view name);
bool IsLabelKey(std::string_view key);      // a qualified name: [DNS subdomain/]name
bool IsLabelValue(std::string_view value);  // may be empty

}  // namespace berth::kube
