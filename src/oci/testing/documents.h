// oci/testing/documents.h: texts of manifests, indexes and configs for tests. No escaping: callers pass plain text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "digest/digest.h"
#include "oci/oci.h"

namespace berth::oci::testing {

inline constexpr std::string_view kLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";

// "sha256:<64 times c>": well-formed, of nothing in particular.
inline std::string DigestOf(char c) { return "sha256:" + std::string(64, c); }

// `more` is appended inside: ,"urls":["…"]
inline std::string DescriptorText(std::string_view type, const std::string& digest = DigestOf('a'), std::string_view size = "7",
                                  std::string_view more = "") {
  return R"({"mediaType":")" + std::string(type) + R"(","digest":")" + digest + R"(","size":)" + std::string(size) + std::string(more) + "}";
}

inline std::string List(const std::vector<std::string>& items) {
  std::string out = "[";
  for (const std::string& item : items) out += (out.size() == 1 ? "" : ",") + item;
  return out + "]";
}

inline std::string ConfigDescriptor() { return DescriptorText(kOciConfig, DigestOf('c'), "1470"); }

inline std::string ManifestText(const std::vector<std::string>& layers = {DescriptorText(kLayerGzip)},
                                const std::string& config = ConfigDescriptor(), std::string_view more = "",
                                std::string_view type = kOciManifest) {
  return R"({"schemaVersion":2,"mediaType":")" + std::string(type) + R"(","config":)" + config + R"(,"layers":)" + List(layers) +
         std::string(more) + "}";
}

// An entry of an index; `platform` as "os/arch" or "os/arch/variant", "" for none.
inline std::string Entry(std::string_view platform, char digest = 'a', std::string_view type = kOciManifest, std::string_view more = "") {
  std::string text;
  if (!platform.empty()) {
    const std::size_t one = platform.find('/'), two = platform.find('/', one + 1);
    text = R"(,"platform":{"os":")" + std::string(platform.substr(0, one)) + R"(","architecture":")" +
           std::string(platform.substr(one + 1, two == std::string_view::npos ? two : two - one - 1)) + '"';
    if (two != std::string_view::npos) text += R"(,"variant":")" + std::string(platform.substr(two + 1)) + '"';
    text += "}";
  }
  return DescriptorText(type, DigestOf(digest), "500", text + std::string(more));
}

inline std::string IndexText(const std::vector<std::string>& entries, std::string_view more = "", std::string_view type = kOciIndex) {
  return R"({"schemaVersion":2,"mediaType":")" + std::string(type) + R"(","manifests":)" + List(entries) + std::string(more) + "}";
}

// `run` is the object under "config".
inline std::string ConfigText(std::string_view run = "{}", const std::string& diff_ids = List({'"' + DigestOf('d') + '"'}),
                              std::string_view platform = R"("os":"linux","architecture":"amd64")") {
  return "{" + std::string(platform) + R"(,"config":)" + std::string(run) + R"(,"rootfs":{"type":"layers","diff_ids":)" + diff_ids + "}}";
}

}  // namespace berth::oci::testing
