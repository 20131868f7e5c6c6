// policy/record.h: which credential has proven itself for an image: the record, its file, and how records merge.
//
// Rules: kubelet-images 4.8.2, 4.8.5. The files are those of the kubelet (v1beta1, JSON, strict; v1alpha1 is read), so that
// a node that moves between it and us keeps what was proven. Pure functions; the store is policy/records.h.
// Errors of the decoders: kCorrupt, with the place and never a value.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "credentials/credential.h"
#include "result/result.h"

namespace berth::policy {

// A credential as far as access is concerned.
struct AccessCredential {
  // kNode: none at all, the node's own file, or a plug-in without a service account: every Pod of the node has it.
  enum class Kind : unsigned char { kNode, kSecret, kServiceAccount };
  Kind kind = Kind::kNode;
  std::string uid, space, name;  // space: the namespace
  std::string hash;              // of a secret's entry (4.8.3); "": could not be computed, equals nothing

  bool SameObject(const AccessCredential& o) const { return kind == o.kind && uid == o.uid && space == o.space && name == o.name; }
  // "secret shop/regcred", "service account shop/default", "node"
  std::string Describe() const;
  friend bool operator==(const AccessCredential&, const AccessCredential&) = default;
};

// By which object a credential may be remembered as proven.
AccessCredential AccessOf(const credentials::Credential& credential);

// Those that may use an image under one name.
struct Access {
  std::vector<AccessCredential> secrets, accounts;
  bool node_pods = false;  // every Pod of the node
  friend bool operator==(const Access&, const Access&) = default;
};

struct PulledRecord {
  std::string image_ref;                // the id under which the image service knows the image
  std::chrono::sys_seconds updated{};
  // By the user's spelling without tag and digest. Empty: pulled by this node, nobody knows how: always verified.
  std::map<std::string, Access> access;
  friend bool operator==(const PulledRecord&, const PulledRecord&) = default;
};

// Returns whether anything changed (but `updated`, which the caller sets). kNode is for good and makes the lists needless;
// secrets and accounts are unique by object, a new hash replaces the old, lists are sorted by namespace, name, UID.
bool Merge(PulledRecord& record, const std::string& name, const AccessCredential& credential);

std::string RecordFileName(std::string_view key);  // "sha256-<hex>"

struct DecodedIntent {
  std::string image;
  bool outdated = false;  // an older version: write it anew
};
struct DecodedRecord {
  PulledRecord record;
  bool outdated = false;
};
std::string EncodeIntent(std::string_view image);
Result<DecodedIntent> DecodeIntent(std::string_view text);
std::string EncodeRecord(const PulledRecord& record);
Result<DecodedRecord> DecodeRecord(std::string_view text);

}  // namespace berth::policy
