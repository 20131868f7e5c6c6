// tar/testing/recorder.h: a Handler that keeps everything it is told, for tests.
//
// Contents are the concatenated data, holes left out; data_at remembers where each run of data began, so that two
// readings of one archive compare equal whatever the pieces were.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "tar/reader.h"

namespace berth::tar::testing {

struct Recorded {
  Entry entry;
  std::string data;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs;  // (offset, length), adjacent ones merged
  bool ended = false;                                         // OnFileEnd came

  // The file with its holes as zeros.
  std::string Contents() const {
    std::string all(entry.size, '\0');
    std::size_t from = 0;
    for (const auto& [offset, length] : runs) {
      all.replace(offset, length, data, from, length);
      from += length;
    }
    return all;
  }
};

inline auto Key(const Entry& e) {
  return std::tie(e.type, e.name, e.link, e.mode, e.uid, e.gid, e.mtime_seconds, e.mtime_nanos, e.size, e.dev_major,
                  e.dev_minor, e.xattrs, e.sparse, e.segments, e.header_offset);
}
inline bool operator==(const Recorded& a, const Recorded& b) {
  return Key(a.entry) == Key(b.entry) && a.data == b.data && a.runs == b.runs && a.ended == b.ended;
}

class Recorder : public Handler {
 public:
  Result<> OnEntry(const Entry& entry) override {
    entries.push_back({.entry = entry});
    return {};
  }
  Result<> OnData(std::uint64_t offset, bytes::View data) override {
    Recorded& last = entries.back();
    if (!last.runs.empty() && last.runs.back().first + last.runs.back().second == offset) {
      last.runs.back().second += data.size();
    } else {
      last.runs.emplace_back(offset, data.size());
    }
    last.data.append(bytes::AsText(data));
    return {};
  }
  Result<> OnFileEnd() override {
    entries.back().ended = true;
    return {};
  }

  std::vector<Recorded> entries;
};

// Feeds `archive` in pieces of `piece` bytes (0: all at once) and finishes.
inline Result<> ReadAll(Handler& handler, std::string_view archive, std::size_t piece = 0, const Limits& limits = {}) {
  Reader reader(handler, limits);
  if (piece == 0) piece = archive.size();
  while (!archive.empty()) {
    RETURN_IF_ERROR(reader.Feed(bytes::AsView(archive.substr(0, piece))));
    archive.remove_prefix(piece < archive.size() ? piece : archive.size());
  }
  return reader.Finish();
}

}  // namespace berth::tar::testing
