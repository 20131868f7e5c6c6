#include <algorithm>
#include <array>
#include <set>

#include "bytes/encoding.h"
#include "bytes/text.h"
#include "oci/fields.h"
#include "oci/oci.h"

namespace berth::oci {
namespace {

constexpr std::string_view kSchema1 = "application/vnd.docker.distribution.manifest.v1+json";
constexpr std::string_view kSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";

constexpr std::string_view kRootKeys[] = {"annotations", "artifactType", "config",  "fsLayers",      "history",   "layers",
                                          "manifests",   "mediaType",    "schemaVersion", "signatures", "subject"};
constexpr std::string_view kDescriptorKeys[] = {"annotations", "artifactType", "data", "digest", "mediaType", "platform", "size", "urls"};

constexpr std::array<std::string_view, 5> kGenericTypes{"", "application/json", "application/octet-stream", "binary/octet-stream",
                                                        "text/plain"};

struct LayerType {
  std::string_view media_type;
  LayerKind kind;
};
constexpr LayerType kLayerTypes[] = {
    {"application/vnd.oci.image.layer.v1.tar", LayerKind::kTar},
    {"application/vnd.oci.image.layer.v1.tar+gzip", LayerKind::kTarGzip},
    {"application/vnd.oci.image.layer.v1.tar+zstd", LayerKind::kTarZstd},
    {"application/vnd.docker.image.rootfs.diff.tar", LayerKind::kTar},
    {"application/vnd.docker.image.rootfs.diff.tar.gzip", LayerKind::kTarGzip},
    {"application/vnd.docker.image.rootfs.diff.tar.zstd", LayerKind::kTarZstd},
};
constexpr std::string_view kForeignTypes[] = {"application/vnd.oci.image.layer.nondistributable.v1.tar",
                                              "application/vnd.docker.image.rootfs.foreign.diff.tar"};

Error Invalid(std::string message) { return Error(Reason::kInvalidManifest, std::move(message)); }
Error Unsupported(std::string message) { return Error(Reason::kUnsupported, std::move(message)); }

bool IsSchema1(std::string_view type) { return type == kSchema1 || type == kSchema1Signed; }
Error Schema1() {
  return Unsupported("Docker schema 1 manifests are not supported").Next("push the image again with a current builder");
}

bool IsWebAddress(std::string_view url) {
  const auto begins = [&](std::string_view scheme) {
    return url.size() >= scheme.size() && std::equal(scheme.begin(), scheme.end(), url.begin(), [](char want, char c) {
             return want == (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
           });
  };
  return begins("http://") || begins("https://");
}

// What a document says about itself, checked against what it is.
struct Opened {
  json::Document document;  // `root` looks into it
  Fields root;
  bool is_index;
  std::string media_type;
};

Result<Opened> Open(std::string_view bytes, std::string_view content_type, const DocumentLimits& limits) {
  const std::string said = BareMediaType(content_type);
  if (IsSchema1(said)) return Schema1();
  ASSIGN_OR_RETURN(json::Document document, ParseJson(bytes, Reason::kInvalidManifest, limits.document_bytes, "manifest"));
  ASSIGN_OR_RETURN(Fields root, Fields::Of(document.root(), Reason::kInvalidManifest, kRootKeys));
  ASSIGN_OR_RETURN(const std::string own, root.Text("mediaType"));
  const std::optional<json::Value> schema = root.Find("schemaVersion");
  const std::int64_t version = schema ? schema->AsInt64().value_or(0) : 0;
  if (version == 1 || IsSchema1(own)) return Schema1();
  if (version != 2) return Unsupported("not a manifest that berth knows: $.schemaVersion must be 2");

  const auto known = [](const std::string& type) { return IsManifestType(type) || IsIndexType(type); };
  const bool generic = std::find(kGenericTypes.begin(), kGenericTypes.end(), said) != kGenericTypes.end();
  for (const std::string& type : {own, generic ? std::string() : said}) {
    if (!type.empty() && !known(type)) return Unsupported("documents of type " + Quoted(type) + " are not supported");
  }
  if (!generic && !own.empty() && said != own) {
    return Invalid("the document was announced as " + said + " and calls itself " + own);
  }

  for (const std::string_view key : {"fsLayers", "signatures", "history"}) {
    if (root.Has(key)) return root.Bad(key, "does not belong into a schema 2 document");
  }
  const bool manifest = root.Has("config") || root.Has("layers"), index = root.Has("manifests");
  if (manifest && index) return Invalid("the document is a manifest and an index at once");
  if (!manifest && !index) return Invalid("the document has neither a config with layers nor a list of manifests");
  std::string type = !own.empty() ? own : !generic ? said : std::string(index ? kOciIndex : kOciManifest);
  if (IsIndexType(type) != index) {
    return Invalid("the document is called " + type + " and has the members of " + (index ? "an index" : "a manifest"));
  }
  return Opened{std::move(document), std::move(root), index, std::move(type)};
}

// Greatest size that a descriptor may declare, and the limit's name.
struct Most {
  std::uint64_t bytes;
  std::string_view limit;
};

Result<digest::Digest> ReadDigest(const json::Value& value) {
  ASSIGN_OR_RETURN(const std::string_view text, value.AsString());
  Result<digest::Digest> digest = digest::Digest::Parse(text);
  if (!digest) return std::move(digest).error().Context(value.path());
  return digest;
}

Result<std::uint64_t> ReadSize(const Fields& fields, const digest::Digest& digest) {
  ASSIGN_OR_RETURN(const json::Value value, fields.Get("size"));
  ASSIGN_OR_RETURN(const std::int64_t size, value.AsInt64());
  if (size < 0) return fields.Bad("size", "is negative");
  if (size == 0 && digest != digest::Digest::Of({}, digest.algorithm())) {
    return fields.Bad("size", "is 0, but the digest is not that of nothing");
  }
  return static_cast<std::uint64_t>(size);
}

// Media types become request headers and text for people.
Result<std::string> ReadMediaType(const Fields& fields, std::string_view key) {
  ASSIGN_OR_RETURN(std::string type, fields.Text(key));
  const bool plain = std::all_of(type.begin(), type.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (!plain || type.size() > 255) return fields.Bad(key, "is no media type");
  return type;
}

Result<bool> ReadInlineData(const Fields& fields, const Descriptor& descriptor) {
  const std::optional<json::Value> data = fields.Find("data");
  if (!data) return false;
  ASSIGN_OR_RETURN(const std::string_view text, data->AsString());
  const std::optional<std::string> decoded = bytes::FromBase64(text);
  const auto mismatch = [&](std::string_view what) {
    return Error(Reason::kDigestMismatch, data->path() + ' ' + std::string(what));
  };
  if (!decoded) return mismatch("is not base64");
  if (decoded->size() != descriptor.size) return mismatch("is not as long as the descriptor says");
  if (digest::Digest::Of(bytes::AsView(*decoded), descriptor.digest.algorithm()) != descriptor.digest) {
    return mismatch("does not have the digest of the descriptor");
  }
  return true;
}

template <class MostOf>
Result<Descriptor> ReadDescriptor(const json::Value& value, MostOf most_of) {
  ASSIGN_OR_RETURN(const Fields fields, Fields::Of(value, Reason::kInvalidManifest, kDescriptorKeys));
  ASSIGN_OR_RETURN(const json::Value type, fields.Get("mediaType"));
  RETURN_IF_ERROR(type.AsString());
  Descriptor out;
  ASSIGN_OR_RETURN(out.media_type, ReadMediaType(fields, "mediaType"));
  ASSIGN_OR_RETURN(const json::Value digest, fields.Get("digest"));
  ASSIGN_OR_RETURN(out.digest, ReadDigest(digest));
  ASSIGN_OR_RETURN(out.size, ReadSize(fields, out.digest));
  if (const Most most = most_of(out); out.size > most.bytes) {
    return Error(Reason::kLimitExceeded, value.path() + " declares " + std::to_string(out.size) + " bytes: more than " +
                                             std::to_string(most.bytes) + " (limit: " + std::string(most.limit) + ")");
  }
  ASSIGN_OR_RETURN(out.annotations, fields.TextMap("annotations"));
  ASSIGN_OR_RETURN(out.urls, fields.Texts("urls"));
  if (fields.Find("artifactType")) {
    ASSIGN_OR_RETURN(out.artifact_type, ReadMediaType(fields, "artifactType"));
  }
  if (const std::optional<json::Value> platform = fields.Find("platform")) {
    ASSIGN_OR_RETURN(const Fields parts, Fields::Of(*platform, Reason::kInvalidManifest, kPlatformKeys));
    ASSIGN_OR_RETURN(out.platform, ReadPlatform(parts));
  }
  ASSIGN_OR_RETURN(out.has_inline_data, ReadInlineData(fields, out));
  return out;
}

bool IsCandidate(const Descriptor& entry) {
  return (IsManifestType(entry.media_type) || IsIndexType(entry.media_type)) && !IsAttestation(entry);
}

Result<std::vector<json::Value>> ReadList(const Fields& root, std::string_view key, std::size_t most, std::string_view limit) {
  ASSIGN_OR_RETURN(const json::Value list, root.Get(key));
  if (!list.IsArray()) return root.Bad(key, "must be an array");
  if (list.size() > most) {
    return Error(Reason::kLimitExceeded, list.path() + " has " + std::to_string(list.size()) + " entries: more than " +
                                             std::to_string(most) + " (limit: " + std::string(limit) + ")");
  }
  return root.Items(key);
}

}  // namespace

// What Manifest and Index have in common, and the only maker of both.
struct Reader {
  std::string_view bytes;
  const DocumentLimits& limits;

  Most Document() const { return {limits.document_bytes, "document_bytes"}; }
  Most Blob() const { return {limits.layer_bytes, "layer_bytes"}; }

  // A subject is checked and forgotten: nothing is ever fetched because of it.
  Result<> CheckSubject(const Fields& root) const {
    if (const std::optional<json::Value> subject = root.Find("subject")) {
      RETURN_IF_ERROR(ReadDescriptor(*subject, [&](const Descriptor&) { return Blob(); }));
    }
    return {};
  }

  Result<Manifest> ReadManifest(const Opened& opened) const {
    const Fields& root = opened.root;
    Manifest out;
    ASSIGN_OR_RETURN(const json::Value config, root.Get("config"));
    ASSIGN_OR_RETURN(out.config_, ReadDescriptor(config, [&](const Descriptor&) { return Document(); }));
    ASSIGN_OR_RETURN(const std::vector<json::Value> layers, ReadList(root, "layers", limits.layers, "layers"));
    out.layers_.reserve(layers.size());
    for (const json::Value& layer : layers) {
      ASSIGN_OR_RETURN(Descriptor descriptor, ReadDescriptor(layer, [&](const Descriptor&) { return Blob(); }));
      out.layers_.push_back(std::move(descriptor));
    }
    RETURN_IF_ERROR(CheckSubject(root));
    ASSIGN_OR_RETURN(out.annotations_, root.TextMap("annotations"));
    if (root.Find("artifactType")) {
      ASSIGN_OR_RETURN(out.artifact_type_, ReadMediaType(root, "artifactType"));
    }
    out.media_type_ = opened.media_type;
    out.raw_ = bytes;
    return out;
  }

  Result<Index> ReadIndex(const Opened& opened) const {
    Index out;
    ASSIGN_OR_RETURN(const std::vector<json::Value> entries,
                     ReadList(opened.root, "manifests", limits.index_entries, "index_entries"));
    out.manifests_.reserve(entries.size());
    const auto most = [&](const Descriptor& d) {
      return IsManifestType(d.media_type) || IsIndexType(d.media_type) ? Document() : Blob();
    };
    for (const json::Value& entry : entries) {
      ASSIGN_OR_RETURN(Descriptor descriptor, ReadDescriptor(entry, most));
      out.manifests_.push_back(std::move(descriptor));
    }
    RETURN_IF_ERROR(CheckSubject(opened.root));
    RETURN_IF_ERROR(opened.root.TextMap("annotations"));
    RETURN_IF_ERROR(ReadMediaType(opened.root, "artifactType"));
    out.media_type_ = opened.media_type;
    out.raw_ = bytes;
    return out;
  }
};

std::string_view ManifestAccept() {
  return "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
         "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, */*";
}

std::string BareMediaType(std::string_view content_type) {
  std::string_view bare = content_type.substr(0, content_type.find(';'));
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t from = bare.find_first_not_of(kSpace);
  if (from == std::string_view::npos) return "";
  return bytes::Lower(bare.substr(from, bare.find_last_not_of(kSpace) - from + 1));
}

bool IsIndexType(std::string_view media_type) { return media_type == kOciIndex || media_type == kDockerList; }
bool IsManifestType(std::string_view media_type) { return media_type == kOciManifest || media_type == kDockerManifest; }

bool IsAttestation(const Descriptor& entry) {
  static const std::string kMark = "vnd.docker.reference.type";
  return entry.annotations.contains(kMark);
}

bool HasPlatform(const Descriptor& entry) {
  return entry.platform && !(entry.platform->os.empty() && entry.platform->architecture.empty());
}

Result<LayerKind> LayerKindOf(const Descriptor& layer) {
  const std::string& type = layer.media_type;
  if (type.ends_with("+encrypted")) return Unsupported("encrypted layers are not supported");
  for (const std::string_view foreign : kForeignTypes) {
    if (type.starts_with(foreign)) return Unsupported("foreign layers, kept outside the registry, are not supported").Next("name the platforms that you want: --platform");
  }
  const auto known = std::find_if(std::begin(kLayerTypes), std::end(kLayerTypes), [&](const LayerType& t) { return t.media_type == type; });
  if (known == std::end(kLayerTypes)) return Unsupported("not an image layer: its type is " + Quoted(type));
  if (std::any_of(layer.urls.begin(), layer.urls.end(), IsWebAddress)) {
    return Unsupported("layers that name a web address of their own are not supported");
  }
  return known->kind;
}

Result<Manifest> Manifest::Parse(std::string_view bytes, std::string_view content_type, const DocumentLimits& limits) {
  ASSIGN_OR_RETURN(const Opened opened, Open(bytes, content_type, limits));
  if (opened.is_index) return Invalid("an index where a manifest was expected");
  return Reader{bytes, limits}.ReadManifest(opened);
}

std::uint64_t Manifest::TotalSize() const {
  std::uint64_t total = raw_.size() + config_.size;
  for (const Descriptor& layer : layers_) total += layer.size;
  return total;
}

Result<Index> Index::Parse(std::string_view bytes, std::string_view content_type, const DocumentLimits& limits) {
  ASSIGN_OR_RETURN(const Opened opened, Open(bytes, content_type, limits));
  if (!opened.is_index) return Invalid("a manifest where an index was expected");
  return Reader{bytes, limits}.ReadIndex(opened);
}

Result<std::variant<Manifest, Index>> ParseManifestOrIndex(std::string_view bytes, std::string_view content_type,
                                                           const DocumentLimits& limits) {
  ASSIGN_OR_RETURN(const Opened opened, Open(bytes, content_type, limits));
  const Reader reader{bytes, limits};
  if (opened.is_index) {
    ASSIGN_OR_RETURN(Index index, reader.ReadIndex(opened));
    return std::variant<Manifest, Index>(std::move(index));
  }
  ASSIGN_OR_RETURN(Manifest manifest, reader.ReadManifest(opened));
  return std::variant<Manifest, Index>(std::move(manifest));
}

std::vector<const Descriptor*> Index::Candidates() const {
  std::vector<const Descriptor*> out;
  for (const Descriptor& entry : manifests_)
    if (IsCandidate(entry)) out.push_back(&entry);
  return out;
}

std::vector<const Descriptor*> Index::Select(const PlatformMatcher& host) const {
  struct Ranked {
    std::size_t rank;
    const Descriptor* entry;
  };
  std::vector<Ranked> ranked;
  for (const Descriptor* entry : Candidates()) {
    constexpr std::size_t kLast = static_cast<std::size_t>(-1);
    const std::optional<std::size_t> rank = HasPlatform(*entry) ? host.Rank(*entry->platform) : kLast;
    if (rank) ranked.push_back({*rank, entry});
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) { return a.rank < b.rank; });
  std::vector<const Descriptor*> out;
  out.reserve(ranked.size());
  for (const Ranked& r : ranked) out.push_back(r.entry);
  return out;
}

std::vector<std::string> Index::Platforms() const {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const Descriptor& entry : manifests_) {
    if (!IsCandidate(entry) || !HasPlatform(entry)) continue;
    std::string name = entry.platform->ToString();
    if (seen.insert(name).second) names.push_back(std::move(name));
  }
  return names;
}

std::string Index::OfferedPlatforms() const { return DescribePlatforms(Platforms()); }

std::string DescribePlatforms(const std::vector<std::string>& platforms) {
  constexpr std::size_t kShown = 10;
  if (platforms.empty()) return "none";
  std::string out;
  for (std::size_t i = 0; i < std::min(platforms.size(), kShown); ++i) out += (i == 0 ? "" : ", ") + platforms[i];
  if (platforms.size() > kShown) out += " and " + std::to_string(platforms.size() - kShown) + " more";
  return out;
}

Result<> CheckIsImage(const Manifest& manifest) {
  const std::string& type = manifest.config().media_type;
  if (type == "application/octet-stream") return Schema1();  // what early schema 2 pushes of schema 1 images called it
  if (type != kOciConfig && type != kDockerConfig) {
    return Unsupported("not an image: its config is of type " + Quoted(type)).Next("an artifact cannot be run or mounted; check the name");
  }
  for (std::size_t i = 0; i < manifest.layers().size(); ++i) {
    if (Result<LayerKind> kind = LayerKindOf(manifest.layers()[i]); !kind) {
      return std::move(kind).error().Context("layer " + std::to_string(i + 1) + " of " + std::to_string(manifest.layers().size()));
    }
  }
  return {};
}

}  // namespace berth::oci
