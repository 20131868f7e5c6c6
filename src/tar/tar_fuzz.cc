// The same calls, and the same verdict, whether the archive comes whole, in single bytes or in odd pieces; entries
// keep the promises of tar/reader.h, and what the reader holds stays below 4 MiB; a copy made by the builder of what was read reads the same again.
#include <algorithm>
#include <cstdlib>

#include "result/testing/heap.h"
#include "tar/reader.h"
#include "tar/testing/recorder.h"
#include "tar/testing/tar_builder.h"

namespace berth::tar {
namespace {

// What the reader may hold, with its default limits, too.
constexpr std::size_t kMemory = 4u << 20;
// Takes everything and keeps nothing.
class Nothing : public Handler {
  Result<> OnEntry(const Entry&) override { return {}; }
  Result<> OnData(std::uint64_t, bytes::View) override { return {}; }
  Result<> OnFileEnd() override { return {}; }
};

constexpr Limits kLimits{.entries = 64,
                         .extension_bytes = 16u << 10,
                         .extensions_in_a_row = 8,
                         .xattr_value_bytes = 1024,
                         .xattr_total_bytes = 4096,
                         .xattrs = 8,
                         .sparse_segments = 128,
                         .file_bytes = 1u << 20};

void Require(bool truth) {
  if (!truth) std::abort();
}

// Keeps the promises or aborts.
class Checker : public testing::Recorder {
 public:
  Result<> OnEntry(const Entry& e) override {
    Require(entries.empty() || entries.back().ended || entries.back().entry.type != Type::kFile);
    Require(entries.size() < kLimits.entries);
    Require(e.name.find('\0') == std::string::npos && e.link.find('\0') == std::string::npos);
    Require(e.name.size() <= kLimits.extension_bytes && e.link.size() <= kLimits.extension_bytes);
    Require(e.size <= kLimits.file_bytes && (e.type == Type::kFile || e.size == 0));
    Require(e.mode <= 07777 && e.uid != 0xffffffffu && e.gid != 0xffffffffu);
    Require(e.mtime_seconds >= 0 && e.mtime_seconds <= 9223372036 && e.mtime_nanos < 1'000'000'000);
    Require(e.xattrs.size() <= kLimits.xattrs && e.segments.size() <= kLimits.sparse_segments);
    Require(e.header_offset % 512 == 0);
    std::uint64_t end = 0;
    for (const auto& [offset, length] : e.segments) {
      Require(e.sparse && length > 0 && offset >= end && offset + length <= e.size);
      end = offset + length;
    }
    next_ = 0;
    return Recorder::OnEntry(e);
  }
  Result<> OnData(std::uint64_t offset, bytes::View data) override {
    Require(!data.empty() && offset >= next_ && offset + data.size() <= entries.back().entry.size);
    Require(entries.back().entry.type == Type::kFile && !entries.back().ended);
    next_ = offset + data.size();
    return Recorder::OnData(offset, data);
  }
  Result<> OnFileEnd() override {
    const testing::Recorded& r = entries.back();
    Require(r.entry.type == Type::kFile && !r.ended);
    if (!r.entry.sparse) Require(r.data.size() == r.entry.size);
    return Recorder::OnFileEnd();
  }

 private:
  std::uint64_t next_ = 0;
};

std::string Rebuild(const std::vector<testing::Recorded>& all) {
  static constexpr char kTypes[] = {'0', '1', '2', '3', '4', '5', '6'};
  testing::Builder b;
  for (const testing::Recorded& r : all) {
    const Entry& e = r.entry;
    testing::Records records{{"path", e.name}, {"linkpath", e.link}};
    records.emplace_back("mtime", std::to_string(e.mtime_seconds) + "." + std::to_string(1'000'000'000 + e.mtime_nanos).substr(1));
    for (const auto& [name, value] : e.xattrs) records.emplace_back("SCHILY.xattr." + name, value);
    b.Pax(records).Entry(kTypes[static_cast<int>(e.type)], "", "", r.Contents());
    b.Mode(e.mode).Uid(e.uid).Gid(e.gid).Device(e.dev_major, e.dev_minor);
  }
  return b.Finish();
}

}  // namespace
}  // namespace berth::tar

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::tar;
  const std::string archive = testing::WithChecksums({reinterpret_cast<const char*>(data), size});
  for (const Limits& limits : {kLimits, Limits{}}) {
    Nothing nothing;
    const berth::result::testing::HeapWatch heap;
    (void)testing::ReadAll(nothing, archive, 0, limits);
    Require(heap.most() < kMemory);
  }
  Checker whole;
  const auto verdict = testing::ReadAll(whole, archive, 0, kLimits);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{1} + size % 1500, std::size_t{512}}) {
    Checker pieces;
    const auto again = testing::ReadAll(pieces, archive, piece, kLimits);
    Require(again.has_value() == verdict.has_value());
    if (!verdict) Require(again.error().Text() == verdict.error().Text() && again.error().reason() == verdict.error().reason());
    Require(pieces.entries == whole.entries || !verdict);
    Require(pieces.entries.size() == whole.entries.size());
  }
  if (!verdict) return 0;
  Limits room = kLimits;
  room.extension_bytes *= 4;
  testing::Recorder copy;
  Require(testing::ReadAll(copy, Rebuild(whole.entries), 0, room).has_value());
  Require(copy.entries.size() == whole.entries.size());
  for (std::size_t i = 0; i < copy.entries.size(); ++i) {
    const testing::Recorded& a = whole.entries[i];
    const testing::Recorded& b = copy.entries[i];
    Require(a.entry.type == b.entry.type && a.entry.name == b.entry.name && a.entry.mode == b.entry.mode);
    Require(a.entry.uid == b.entry.uid && a.entry.gid == b.entry.gid && a.entry.link == b.entry.link);
    Require(a.entry.mtime_seconds == b.entry.mtime_seconds && a.entry.mtime_nanos == b.entry.mtime_nanos);
    Require(a.entry.xattrs == b.entry.xattrs && a.entry.dev_major == b.entry.dev_major);
    Require(a.entry.type != Type::kFile || a.Contents() == b.Contents());
  }
  return 0;
}
