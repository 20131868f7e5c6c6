// kube/patch.h: the three ways in which a client of the API changes a part of an object.
//
// JSON merge patch (RFC 7386) and JSON patch (RFC 6902) know nothing of Kubernetes. A strategic merge patch does: lists whose items
// have a name merge by it (the keys are those of kube/schema.h), and directives inside the patch say what merging cannot:
//   $patch: replace | delete | merge      of an object, or of a list as an item of its own; delete also of one item
//   $deleteFromPrimitiveList/NAME         values to be taken out of the list NAME
//   $setElementOrder/NAME                 how the items of NAME shall be ordered; those of others keep their places between
//   $retainKeys                           members of the object that stay; all others go
// Pure. What comes out is not yet a valid object.
#pragma once

#include <string_view>

#include "json/tree.h"
#include "kube/status.h"

namespace berth::kube {

enum class PatchType : std::uint8_t { kMerge, kStrategic, kJson };

// Changes `object`, which is of `kind`. Refusals are the API server's: BadRequest for a patch that is none, Invalid (422) for
// one that does not fit. `object` is void after a refusal.
Answer<> ApplyPatch(json::Tree& object, PatchType type, const json::Value& patch, std::string_view kind);

}  // namespace berth::kube
