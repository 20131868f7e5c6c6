// node/admission.h: the admission plug-in AlwaysPullImages, an option of the node (kubelet-images 3.2).
//
// Sets imagePullPolicy and the pullPolicy of image volumes to Always. An update whose images (of init, ordinary and ephemeral
// containers, as a set of strings) were all in the old Pod is left alone. Only Pods; service account admission and defaulting are the
// object store's. Pure.
#pragma once

#include "json/tree.h"

namespace berth::node {

// `old`: the stored Pod of an update, else nullptr.
void AlwaysPullImages(json::Tree& pod, const json::Tree* old = nullptr);

}  // namespace berth::node
