// oci/oci.h: descriptors, manifests, indexes and configs of OCI and Docker images.
//
// Documents are parsed once, strictly (reliability-security 3.b, runtime-registry 4.9), and keep their raw bytes:
// digests are computed over those; nothing is ever re-serialised for hashing.
// - What a manifest may be is decided by its structure, its own mediaType and what the other side called it; the three
//   must agree. Unknown keys are ignored; a key that another reader could take for one of ours ("Layers",
//   "layer\u017f") is refused, and so is a key that is there twice.
// - An optional value that is null counts as absent (Go writes those); a required one that is null is refused.
// - Whether a document is fit to be run is asked separately: artifacts parse, CheckIsImage() refuses them.
// Reasons: kInvalidManifest, kInvalidConfig, kInvalidDigest (every malformed or unknown digest), kDigestMismatch (inline
// data, number of diff IDs), kLimitExceeded, kUnsupported (schema 1 and others, layer and config types), kNoMatch.
// Immutable values; safe to share.
#pragma once

#include <cstddef>
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

// The value of "Accept" for manifest requests, best first (runtime-registry 4.2, recommended).
std::string_view ManifestAccept();
// A Content-Type without parameters ("; charset=…"), lower case, trimmed.
std::string BareMediaType(std::string_view content_type);
bool IsIndexType(std::string_view media_type);
bool IsManifestType(std::string_view media_type);

struct DocumentLimits {
  std::size_t document_bytes = 4u << 20;   // manifest, index, config each: of the text and of what a descriptor declares
  std::size_t layers = 500;                // also diff IDs
  std::size_t index_entries = 50000;
  std::uint64_t layer_bytes = 64ull << 30; // declared compressed size
};

struct Descriptor {
  std::string media_type;             // as written: printable ASCII, at most 255 bytes; "" only when written so
  digest::Digest digest;
  std::uint64_t size = 0;             // bytes; 0 only for the digest of nothing
  std::optional<Platform> platform;   // as written
  std::map<std::string, std::string> annotations;
  std::optional<std::string> artifact_type;
  std::vector<std::string> urls;      // foreign layers: refused by LayerKindOf, never with credentials
  bool has_inline_data = false;       // `data` was there, decoded, and equals digest and size
};

// An entry of an index that says something about another entry (vnd.docker.reference.type) and is no image itself.
bool IsAttestation(const Descriptor& entry);

// Whether an index says what an entry is for: a platform without an operating system and an architecture says nothing.
bool HasPlatform(const Descriptor& entry);

// How a layer's bytes are packed, by its media type; the content is sniffed all the same.
enum class LayerKind : std::uint8_t { kTar, kTarGzip, kTarZstd };
// kUnsupported for encrypted, foreign and unknown layer types and for a layer that names a web address of its own
// (B-28); urls of other schemes are ignored.
Result<LayerKind> LayerKindOf(const Descriptor& layer);

class Manifest {
 public:
  // `content_type`: what the registry or the descriptor called it; "" when unknown. Generic types (application/json,
  // application/octet-stream, text/plain) say nothing.
  static Result<Manifest> Parse(std::string_view bytes, std::string_view content_type, const DocumentLimits& limits = {});
  const std::string& media_type() const { return media_type_; }  // never empty: its own, else as called, else guessed
  const std::optional<std::string>& artifact_type() const { return artifact_type_; }
  const Descriptor& config() const { return config_; }
  const std::vector<Descriptor>& layers() const { return layers_; }
  const std::map<std::string, std::string>& annotations() const { return annotations_; }
  const std::string& raw() const { return raw_; }
  std::uint64_t TotalSize() const;  // manifest + config + layers, as CRI reports image size

 private:
  friend struct Reader;
  std::string media_type_, raw_;
  std::optional<std::string> artifact_type_;
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
  // Entries fit for `host`, best first, equals in the order of the index, those without a platform last (kubelet-images
  // 11.3). Attestations and what is neither manifest nor index are skipped; nested indexes are candidates like any other.
  // The pointers are into manifests().
  std::vector<const Descriptor*> Select(const PlatformMatcher& host) const;
  // The same entries for every platform, in the order of the index.
  std::vector<const Descriptor*> Candidates() const;
  // Of the entries that say one, each once.
  std::vector<std::string> Platforms() const;
  // DescribePlatforms() of these.
  std::string OfferedPlatforms() const;

 private:
  friend struct Reader;
  std::string media_type_, raw_;
  std::vector<Descriptor> manifests_;
};

// "linux/arm64, linux/s390x": at most 10, for the error that nothing matched; "none" when there are none.
std::string DescribePlatforms(const std::vector<std::string>& platforms);

// Either one, told apart by structure, its own mediaType and `content_type`, which must agree.
Result<std::variant<Manifest, Index>> ParseManifestOrIndex(std::string_view bytes, std::string_view content_type,
                                                           const DocumentLimits& limits = {});

// kUnsupported when this is no image that can be unpacked: an artifact, an unknown config type, a layer that LayerKindOf
// refuses. An image without layers is one.
Result<> CheckIsImage(const Manifest& manifest);

// The image config: what the container needs, and the diff IDs the layers must unpack to.
// Texts are as written, and no text that would reach execve, the environment or a path has a NUL in it.
struct ImageConfig {
  Platform platform;                      // as written; parts may be missing
  std::vector<digest::Digest> diff_ids;   // claims, until the layers were unpacked
  // "user[:group]", names or numbers. Numbers are plain decimal and at most 2^31-1; anything that a careless reader could
  // take for another number (" 0", "+0", "-1", "00", 2^32) is refused.
  std::string user;
  std::vector<std::string> env, entrypoint, cmd;
  std::string working_dir, stop_signal, created;
  std::map<std::string, std::string> labels;
  std::vector<std::string> volumes, exposed_ports;  // sorted; no volume is empty or has ".." in it
  std::string raw;

  static Result<ImageConfig> Parse(std::string_view bytes, const DocumentLimits& limits = {});
  // CRI Image.uid and .username: at most one of the two, neither when no user is set.
  std::optional<std::int64_t> Uid() const;
  std::string Username() const;
};

// kDigestMismatch unless there are as many diff IDs as layers. Before any layer is fetched.
Result<> CheckConfigFits(const Manifest& manifest, const ImageConfig& config);
// kNoMatch when the config names an operating system or architecture that `host` does not accept, whatever the index said
// (B-48). Variants are not compared: builders leave them out.
Result<> CheckPlatform(const ImageConfig& config, const PlatformMatcher& host);
// What an image is for, for the record: what its entry in the index says (`promised`), else its config. Parts that both leave open are
// the host's, and so is a variant of the config that `host` has no rank for (CheckPlatform does not ask for it). So Platform::Parse
// takes the text of it, and whoever accepted the image by CheckPlatform finds it again by Rank.
Platform EffectivePlatform(const ImageConfig& config, const std::optional<Platform>& promised, const PlatformMatcher& host);

// runtime-registry 3.4: C0 = D0; Ci = sha256("C(i-1) Di"). One per layer, bottom first.
std::vector<digest::Digest> ChainIds(const std::vector<digest::Digest>& diff_ids);

}  // namespace berth::oci
