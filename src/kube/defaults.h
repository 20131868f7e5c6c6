// kube/defaults.h: what Kubernetes fills in when an object is first read. Rules: kubelet-images 2.1; vectors in defaults_test.cc.
//
// Only absent fields are filled, so that defaulting twice is defaulting once, and a policy once stored does not follow a later
// change of the image. Works on the whole JSON (unknown fields stay), and on any JSON path to a pod spec.
#pragma once

#include <string>
#include <string_view>

#include "json/tree.h"

namespace berth::kube {

struct DefaultOptions {
  // What x:latest@sha256:… gets without a policy: the documentation says IfNotPresent (a digest is given), the kubelet's code
  // says Always (it looks at the tag only). architecture.md 2.
  bool digest_beats_latest = true;
};

// "Always" or "IfNotPresent"; an image that is no name is "IfNotPresent".
std::string_view DefaultPullPolicy(std::string_view image, const DefaultOptions& options = {});

void DefaultPodSpec(json::Tree& spec, const DefaultOptions& options = {});

// By `kind` in it: Pods and everything with a pod template, Secrets (type Opaque; stringData moves into data), Namespaces (label,
// finalizer, phase). Others stay as they are.
void DefaultObject(json::Tree& object, const DefaultOptions& options = {});

}  // namespace berth::kube
