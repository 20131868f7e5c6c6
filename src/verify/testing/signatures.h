// verify/testing/signatures.h: cosign's documents, written by hand as its specifications say, and put into a registry of tests.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bytes/encoding.h"
#include "digest/testing/signer.h"
#include "oci/testing/documents.h"
#include "registry/testing/fake_registry.h"
#include "verify/payload.h"

namespace berth::verify::testing {

using digest::testing::Signer;
using registry::testing::FakeRegistry;

inline constexpr std::string_view kBundle = "application/vnd.dev.sigstore.bundle.v0.3+json";

inline std::string Base64(std::string_view text) { return bytes::ToBase64(bytes::AsView(text)); }
inline std::string DescriptorOf(const oci::Descriptor& d, std::string_view more = "") {
  return oci::testing::DescriptorText(d.media_type, d.digest.ToString(), std::to_string(d.size), more);
}
inline std::string TagOf(const digest::Digest& image) { return "sha256-" + image.Hex() + ".sig"; }

inline std::string PayloadText(const std::string& reference, const digest::Digest& image, const std::string& optional = "null") {
  return R"({"critical":{"identity":{"docker-reference":")" + reference + R"("},"image":{"docker-manifest-digest":")" + image.ToString() +
         R"("},"type":"cosign container image signature"},"optional":)" + optional + "}";
}

// Payload and what is in its annotation.
using Signature = std::pair<std::string, std::string>;
inline Signature Sign(const Signer& signer, const std::string& payload) { return {payload, Base64(signer.Sign(payload))}; }

// The manifest that holds simple signatures. `more`: ,"subject":{…}
inline oci::Descriptor PutSignatures(FakeRegistry& registry, const std::string& repository, const std::vector<Signature>& signatures,
                                     const std::string& tag, const std::string& more = "") {
  std::vector<std::string> layers;
  for (const auto& [payload, signature] : signatures)
    layers.push_back(DescriptorOf(registry.PutBlob(repository, payload, std::string(kSimpleSigningType)),
                                  R"(,"annotations":{"dev.cosignproject.cosign/signature":")" + signature + R"("})"));
  const auto config = registry.PutBlob(repository, "{}", std::string(oci::kOciConfig));
  return registry.PutManifest(repository, oci::testing::ManifestText(layers, DescriptorOf(config), more),
                              std::string(oci::kOciManifest), tag);
}

inline std::string StatementText(const digest::Digest& image, const std::string& name = "", std::string_view predicate = kSignPredicate) {
  return R"({"_type":"https://in-toto.io/Statement/v1","subject":[{)" + (name.empty() ? "" : R"("name":")" + name + R"(",)") +
         R"("digest":{"sha256":")" + image.Hex() + R"("},"annotations":{}}],"predicateType":")" + std::string(predicate) + R"(","predicate":{}})";
}
inline std::string EnvelopeBundle(const Signer& signer, const std::string& statement) {
  return R"({"mediaType":")" + std::string(kBundle) + R"(","verificationMaterial":{"publicKey":{"hint":"x"},"tlogEntries":[]},"dsseEnvelope":{"payload":")" +
         Base64(statement) + R"(","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":")" +
         Base64(signer.Sign(PreAuthentication(kInTotoType, statement))) + R"("}]}})";
}
inline std::string MessageBundle(const Signer& signer, const std::string& manifest) {
  return R"({"mediaType":")" + std::string(kBundle) +
         R"(","verificationMaterial":{"publicKey":{"hint":"x"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":")" +
         Base64(bytes::AsText(digest::Digest::Of(bytes::AsView(manifest)).raw())) + R"("},"signature":")" + Base64(signer.Sign(manifest)) + R"("}})";
}
inline std::string SubjectText(const digest::Digest& image) {
  return R"(,"subject":)" + oci::testing::DescriptorText(oci::kOciManifest, image.ToString(), "7");
}
inline oci::Descriptor PutBundle(FakeRegistry& registry, const std::string& repository,
                                 const std::string& bundle, const digest::Digest& image) {
  const auto blob = registry.PutBlob(repository, bundle, std::string(kBundle));
  const auto config = registry.PutBlob(repository, "{}", "application/vnd.oci.empty.v1+json");
  return registry.PutManifest(repository,
                              oci::testing::ManifestText({DescriptorOf(blob)}, DescriptorOf(config),
                                                         R"(,"artifactType":")" + std::string(kBundle) + R"(")" + SubjectText(image)),
                              std::string(oci::kOciManifest));
}

// The index of what belongs to an image: under the fall-back tag, or as the answer of the API.
inline std::string ReferrersIndex(const std::vector<std::pair<oci::Descriptor, std::string>>& entries) {
  std::vector<std::string> texts;
  for (const auto& [descriptor, type] : entries)
    texts.push_back(DescriptorOf(descriptor, type.empty() ? "" : R"(,"artifactType":")" + type + R"(")"));
  return oci::testing::IndexText(texts);
}
inline void PutFallbackIndex(FakeRegistry& registry, const std::string& repository, const digest::Digest& image,
                             const std::vector<std::pair<oci::Descriptor, std::string>>& entries) {
  registry.PutManifest(repository, ReferrersIndex(entries), std::string(oci::kOciIndex), "sha256-" + image.Hex());
}

}  // namespace berth::verify::testing
