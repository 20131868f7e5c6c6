// apps/berth/commands.h: one function per command: options in, exit status out.
//
// Each says what went wrong itself (Session::Fail). The parsing of arguments into these structs is cli.cc, and only there.
#pragma once

#include <string>
#include <vector>

#include "apps/berth/auth.h"
#include "apps/berth/session.h"

namespace berth::cli {

struct PullOptions {
  std::vector<std::string> images, platforms;
  bool all_platforms = false;
  std::string policy;                // "" or one of Kubernetes' words
  std::string progress = "auto";     // auto, tty, plain, json, none
  AuthOptions auth;
};
// Several run at once. stdout: repository@digest per image, in the order of the arguments; -o json: the results.
int Pull(Session& session, PullOptions options);

// For a request: secrets and all.
void FillCredential(const credentials::Credential& credential, v1::Credential& row);

struct ImagesOptions {
  std::string name;                  // only this repository or name
  std::vector<std::string> filters;  // "key=value", all of which must hold (list.h)
  std::string sort_by;               // list.h
};
int Images(Session& session, const ImagesOptions& options);

struct InspectOptions {
  std::vector<std::string> images;
  std::string platform;
  std::string document;  // "", "target", "manifest", "config": that document's bytes as the registry sent them
};
int Inspect(Session& session, const InspectOptions& options);

struct RemoveOptions {
  std::vector<std::string> images;
  bool all_names = false, force = false;   // force: also what is pinned
};
int Remove(Session& session, const RemoveOptions& options);

struct PinOptions {
  std::vector<std::string> images;
  std::string reason;
};
int Pin(Session& session, const PinOptions& options);
int Unpin(Session& session, const std::vector<std::string>& images);

struct CollectOptions {
  bool dry_run = false, unused = false;
  std::string target;   // "80%", "80"
  std::string why;      // only this image
};
int Collect(Session& session, const CollectOptions& options);   // gc

struct MountOptions {
  std::string image, directory, platform;
  bool writable = false;
};
int Mount(Session& session, const MountOptions& options);  // without an image: lists
int Unmount(Session& session, const std::vector<std::string>& directories);

int DiskUsage(Session& session, bool verbose);
int CheckStore(Session& session, bool repair, const std::string& depth);   // fsck
int Reclaim(Session& session, const std::string& age);
int Doctor(Session& session, bool verbose);  // verbose: the daemon's limits too
// Works without a daemon; names are lines of stdin when there are none here.
int Name(Session& session, const std::vector<std::string>& names);
int Version(Session& session);

}  // namespace berth::cli
