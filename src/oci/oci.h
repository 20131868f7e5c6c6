// oci/oci.h: descriptors, manifests, indexes and configs of OCI and Docker images.
//
// Documents are parsed once, strictly (reliability-security 3.b, runtime-registry 4.9), and keep their raw bytes:
// digests are computed over those; nothing is ever re-serialised for hashing. Media-type confusion, schema 1,
// `fsLayers`, duplicate keys, unknown digest algorithms, impossible sizes and oversized documents are refused with
// their reason (kInvalidManifest, kInvalidDigest, kInvalidConfig, kUnsupported, kLimitExceeded).
// Immutable values; safe to share.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "digest/digest.h"
#include "oci/platform.h"
#include "result/result.h"

namespace berth::oci {

inline constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kOciConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kDockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";

// "Accept" for manifest requests, best first (runtime-registry 4.2, recommended).
std::string_view ManifestAccept();
// Without parameters ("; charset=…"), lower case, trimmed.
std::string BareMediaType(std::string_view content_type);
bool IsIndexType(std::string_view media_type);
bool IsManifestType(std::string_view media_type);

struct DocumentLimits {
  std::size_t document_bytes = 4u << 20;   // manifest, index, config each
  std::size_t layers = 500;
  std::size_t index_entries = 50000;
  std::uint64_t layer_bytes = 64ull << 30; // declared compressed size
};

struct Descriptor {
  std::string media_type;
  digest::Digest digest;
  std::uint64_t size = 0;
  std::optional<Platform> platform;
  std::map<std::string, std::string> annotations;
  std::optional<std::string> artifact_type;
  std::vector<std::string> urls;      // foreign layers: refused unless enabled, never with credentials
  bool has_inline_data = false;       // `data` was there, decoded, and equals digest and size
};

// How a layer's bytes are packed, by its media type; the content is sniffed all the same.
enum class LayerKind : std::uint8_t { kTar, kTarGzip, kTarZstd };
// kUnsupported for encrypted, foreign-only and unknown layer types.
Result<LayerKind> LayerKindOf(const Descriptor& layer);

class Manifest {
 public:
  // `content_type`: what the registry or the descriptor called it; "" when unknown.
  static Result<Manifest> Parse(std::string_view bytes, std::string_view content_type, const DocumentLimits& limits = {});
  const std::string& media_type() const { return media_type_; }
  const Descriptor& config() const { return config_; }
  const std::vector<Descriptor>& layers() const { return layers_; }
  const std::map<std::string, std::string>& annotations() const { return annotations_; }
  const std::string& raw() const { return raw_; }
  std::uint64_t TotalSize() const;  // manifest + config + layers, as CRI reports image size

 private:
  std::string media_type_, raw_;
  Descriptor config_;
  std::vector<Descriptor> layers_;
  std::map<std::string, std::string> annotations_;
};

class Index {
 public:
  static Result<Index> Parse(std::string_view bytes, std::string_view content_type, const DocumentLimits& limits = {});
  const std::string& media_type() const { return media_type_; }
  const std::vector<Descriptor>& manifests() const { return manifests_; }
  const std::string& raw() const { return raw_; }
  // Entries fit for `host`, best first (kubelet-images 11.3); attestations skipped. Nested indexes are kept as
  // candidates when they have no platform or a matching one.
  std::vector<const Descriptor*> Select(const PlatformMatcher& host) const;
  // "linux/arm64/v8, linux/s390x": at most 10, for the error that nothing matched.
  std::string OfferedPlatforms() const;

 private:
  std::string media_type_, raw_;
  std::vector<Descriptor> manifests_;
};

// Either one, told apart by structure, its own mediaType and `content_type`, which must agree.
Result<std::variant<Manifest, Index>> ParseManifestOrIndex(std::string_view bytes, std::string_view content_type,
                                                           const DocumentLimits& limits = {});

// The image config: what the container needs, and the diff IDs the layers must unpack to.
struct ImageConfig {
  Platform platform;
  std::vector<digest::Digest> diff_ids;
  std::string user;                       // as written
  std::vector<std::string> env, entrypoint, cmd;
  std::string working_dir, stop_signal, created;
  std::map<std::string, std::string> labels;
  std::vector<std::string> volumes, exposed_ports;
  std::string raw;

  static Result<ImageConfig> Parse(std::string_view bytes, const DocumentLimits& limits = {});
};

// runtime-registry 3.4: C0 = D0; Ci = sha256("C(i-1) Di"). One per layer, bottom first.
std::vector<digest::Digest> ChainIds(const std::vector<digest::Digest>& diff_ids);

}  // namespace berth::oci
