// No document is both a manifest and an index, or read differently by two entrances; what is accepted keeps its bytes
// and stays within the limits; every refusal has one of the reasons of oci.h in one short line.
#include <algorithm>
#include <set>
#include <string>

#include "oci/oci.h"
#include "result/result.h"

namespace {

using namespace berth;

constexpr oci::DocumentLimits kLimits{.document_bytes = 1u << 16, .layers = 8, .index_entries = 16};

void CheckError(const Error& error, std::initializer_list<Reason> allowed) {
  BERTH_CHECK(std::find(allowed.begin(), allowed.end(), error.reason()) != allowed.end());
  const std::string text = error.Text();
  BERTH_CHECK(!text.empty() && text.size() <= 1024);
  BERTH_CHECK(std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }));
}

constexpr std::initializer_list<Reason> kDocumentReasons = {Reason::kInvalidManifest, Reason::kInvalidDigest, Reason::kDigestMismatch,
                                                            Reason::kLimitExceeded, Reason::kUnsupported};

void CheckDescriptor(const oci::Descriptor& d) {
  BERTH_CHECK(d.size <= kLimits.layer_bytes && d.media_type.size() <= 255);
  BERTH_CHECK(d.size > 0 || d.digest == digest::Digest::Of({}, d.digest.algorithm()));
  if (const auto kind = oci::LayerKindOf(d); !kind) CheckError(kind.error(), {Reason::kUnsupported});
}

bool Same(const oci::Manifest& a, const oci::Manifest& b) { return a.raw() == b.raw() && a.layers().size() == b.layers().size(); }
bool Same(const oci::Index& a, const oci::Index& b) { return a.raw() == b.raw() && a.manifests().size() == b.manifests().size(); }

void Check(const oci::Manifest& m) {
  BERTH_CHECK(oci::IsManifestType(m.media_type()) && m.layers().size() <= kLimits.layers);
  CheckDescriptor(m.config());
  for (const oci::Descriptor& d : m.layers()) CheckDescriptor(d);
  BERTH_CHECK(m.TotalSize() >= m.raw().size() + m.config().size);
  if (const auto image = oci::CheckIsImage(m); !image) CheckError(image.error(), {Reason::kUnsupported});
}

void Check(const oci::Index& index) {
  BERTH_CHECK(oci::IsIndexType(index.media_type()) && index.manifests().size() <= kLimits.index_entries);
  for (const oci::Descriptor& d : index.manifests()) CheckDescriptor(d);
  BERTH_CHECK(index.OfferedPlatforms().size() <= 16 * 1024);
  for (const char* host : {"linux/amd64/v3", "linux/arm64/v9.3"}) {
    const oci::PlatformMatcher matcher(*oci::Platform::Parse(host));
    std::set<const oci::Descriptor*> seen;
    std::size_t last = 0;
    for (const oci::Descriptor* d : index.Select(matcher)) {
      BERTH_CHECK(d >= index.manifests().data() && d < index.manifests().data() + index.manifests().size());
      BERTH_CHECK(seen.insert(d).second && (oci::IsManifestType(d->media_type) || oci::IsIndexType(d->media_type)));
      const bool named = d->platform && !(d->platform->os.empty() && d->platform->architecture.empty());
      const std::size_t rank = named ? matcher.Rank(*d->platform).value() : ~std::size_t{0};
      BERTH_CHECK(rank >= last);
      last = rank;
    }
  }
}

void CheckDocument(std::string_view text) {
  const auto got = oci::ParseManifestOrIndex(text, "", kLimits);
  const auto manifest = oci::Manifest::Parse(text, "", kLimits);
  const auto index = oci::Index::Parse(text, "", kLimits);
  BERTH_CHECK(!(manifest && index) && got.has_value() == (manifest.has_value() || index.has_value()));
  if (!got) return CheckError(got.error(), kDocumentReasons);
  std::visit(
      [&](const auto& document) {
        BERTH_CHECK(document.raw() == text);
        Check(document);
        const auto again = std::decay_t<decltype(document)>::Parse(text, document.media_type(), kLimits);
        BERTH_CHECK(again && again->media_type() == document.media_type() && Same(*again, document));
      },
      *got);
  // Called by the other's name it is refused.
  const bool is_index = index.has_value();
  BERTH_CHECK(!oci::ParseManifestOrIndex(text, is_index ? oci::kOciManifest : oci::kOciIndex, kLimits));
}

void CheckConfig(std::string_view text) {
  const auto got = oci::ImageConfig::Parse(text, kLimits);
  if (!got) return CheckError(got.error(), {Reason::kInvalidConfig, Reason::kInvalidDigest, Reason::kLimitExceeded});
  BERTH_CHECK(got->raw == text && got->diff_ids.size() <= kLimits.layers);
  const auto chain = oci::ChainIds(got->diff_ids);
  BERTH_CHECK(chain.size() == got->diff_ids.size() && (chain.empty() || chain[0] == got->diff_ids[0]));
  BERTH_CHECK(!(got->Uid() && !got->Username().empty()));
  if (const auto uid = got->Uid()) BERTH_CHECK(got->user.substr(0, got->user.find(':')) == std::to_string(*uid));
  BERTH_CHECK(got->user.find_first_of(std::string_view("\0\n\r", 3)) == std::string::npos);
  for (const auto* list : {&got->env, &got->entrypoint, &got->cmd, &got->volumes}) {
    for (const std::string& s : *list) BERTH_CHECK(s.find('\0') == std::string::npos);
  }
  const oci::Platform normal = got->platform.Normalized();
  BERTH_CHECK(normal == normal.Normalized());
  const oci::PlatformMatcher host(got->platform);
  BERTH_CHECK(host.acceptable().size() < 128);
}

void CheckPlatformText(std::string_view text) {
  const auto got = oci::Platform::Parse(text);
  if (!got) {
    BERTH_CHECK(got.error().reason() == Reason::kUsage);
    return;
  }
  BERTH_CHECK(*got == got->Normalized());
  if (got->os.size() <= 32 && got->architecture.size() <= 32 && got->variant.size() <= 32) {
    BERTH_CHECK(*oci::Platform::Parse(got->ToString()) == *got);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CheckDocument(text);
  CheckConfig(text);
  CheckPlatformText(text.substr(0, 200));
  return 0;
}
