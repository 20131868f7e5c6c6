// launch/volumes.h: a Pod's volumes: made below the Pod's directory, bound into containers, removed without a trace.
//
//   <pod dir>/volumes/<name>                           emptyDir; files of Secrets and so on
//   <pod dir>/volume-subpaths/<name>/<container>/<n>   what a subPath named, pinned at the moment of the start
//   <pod dir>/containers/<container>/<id>              termination message
//
// - emptyDir: a directory, mode 0777, or (medium Memory) a tmpfs of sizeLimit; fsGroup owns it, set-gid. A sizeLimit on disk is not
//   enforced by mounts: the caller measures (as the kubelet does, to evict).
// - hostPath: the path as it is, after the kubelet's check of its type; with no type a missing path becomes a directory.
// - secret, configMap, downwardAPI, projected: files through a `..data` link that is replaced in one step, so that a reader sees all
//   files of one version; modes by item, defaultMode; fsGroup may read. On a tmpfs when a Secret is among them: never on disk. Always read-only in containers. Calling
//   SetUpVolume again brings the files up to date and changes nothing when they are. Tokens of service accounts need an API server:
//   kUnsupported.
// - image: the mount that the caller made of the image, read-only, without devices and set-id.
// - subPath: resolved beneath the volume by the kernel (no link leads out, no race counts), bound by descriptor. A missing one is
//   made as a directory (not in an image).
// Errors are those of the event FailedMount, without its beginning: `secret "x" not found`, `references non-existent secret key: k`,
// `hostPath type check failed: /x is not a directory`. kNotFound (an object), kMissing (a file), kConfig, kUnsupported, kDenied (a
// subPath that leads out).
// Threads: one call for a Pod at a time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kube/objects.h"
#include "launch/bundle.h"
#include "launch/runtime.h"
#include "launch/sources.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::launch {

struct VolumeContext {
  std::string pod_dir;                         // absolute; exists
  PodFacts facts;
  const ConfigSource& objects;
  std::map<std::string, std::string> images;   // image volumes: name -> where the image is mounted
};

// Idempotent. Returns the volume's place on the host.
Result<std::string> SetUpVolume(const task::Context& ctx, const VolumeContext& volumes, const kube::Volume& volume);

// The mounts of one container; `environment` expands subPathExpr. Volumes are set up before. Binds for subPaths replace those of an
// earlier start.
Result<std::vector<BundleMount>> VolumeMounts(const VolumeContext& volumes, const kube::Container& container,
                                              const kube::StringMap& environment);

// An empty file that the container may write, and its mount (at terminationMessagePath).
Result<BundleMount> MakeTerminationFile(const std::string& pod_dir, const kube::Container& container, const std::string& id);
// At most its last 4,096 bytes. With policy FallbackToLogsOnError, an empty message and a failure: the last 80 lines of the log, at
// most 2,048 bytes. "" when there is nothing.
std::string TerminationMessage(const std::string& pod_dir, const kube::Container& container, const std::string& id, const Exit& exit,
                               const std::string& log_path);

// Everything at and below `pod_dir`: mounts first, each of them; then the files, never through a mount or a link. False when there was
// nothing. After an error it can be called again.
Result<bool> RemovePodDir(const task::Context& ctx, const std::string& pod_dir);

}  // namespace berth::launch
