// apps/berth/json.h: the daemon's answers as the JSON that -o json prints: sizes in bytes, digests whole, times RFC 3339.
//
// Member names are a contract: scripts read them. They are added to, never renamed (json_test in cli_test.cc).
#pragma once

#include <string>
#include <string_view>

#include "berth/v1/berth.pb.h"
#include "json/document.h"

namespace berth::cli {

// Unpacked, of layers that other images have too.
std::uint64_t SharedSize(const berth::v1::Image& image);
void WriteImage(json::Writer& w, const berth::v1::Image& image);
void WritePulled(json::Writer& w, std::string_view asked, const berth::v1::Pulled& pulled);
void WriteInspect(json::Writer& w, const berth::v1::InspectImageResponse& answer);
void WriteDiskUsage(json::Writer& w, const berth::v1::DiskUsageResponse& usage,
                    const google::protobuf::RepeatedPtrField<berth::v1::Image>* by_image = nullptr);  // not null: a member more
void WriteFinding(json::Writer& w, const berth::v1::Finding& finding);
void WriteSummary(json::Writer& w, const berth::v1::CheckSummary& summary);
template <class Strings>
void WriteStrings(json::Writer& w, std::string_view key, const Strings& strings) {
  w.Key(key).BeginArray();
  for (const auto& text : strings) w.String(text);
  w.EndArray();
}

}  // namespace berth::cli
