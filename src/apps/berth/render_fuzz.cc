// Events of a pull, whatever they hold, become lines that a terminal can show: no control bytes, no bytes that are not
// UTF-8, never wider than the terminal; and JSON lines that are JSON.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>

#include "apps/berth/format.h"
#include "apps/berth/render.h"
#include "json/document.h"
#include "json/utf8.h"
#include "result/result.h"

namespace {

using namespace berth;
using namespace berth::cli;

void RequireShowable(std::string_view line) {
  for (; !line.empty(); line.remove_prefix(json::Utf8SequenceLength(line))) {
    const auto c = static_cast<unsigned char>(line[0]);
    BERTH_CHECK(json::Utf8SequenceLength(line) > 0 && c >= 0x20 && c != 0x7F);
    if (c == 0xC2) BERTH_CHECK(static_cast<unsigned char>(line[1]) >= 0xA0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  RequireShowable(Escape(text));
  BERTH_CHECK(Columns(Cut(text, 20)) <= 20);
  if (const auto t = ParseTime(text)) BERTH_CHECK(ParseTime(Timestamp(*t)).has_value());
  if (const auto d = ParseDuration(text)) BERTH_CHECK(d->count() >= 0);
  if (size < 3) return 0;
  google::protobuf::SetLogHandler(nullptr);

  // columns, rows, bytes of the first event; two events.
  const TerminalSize terminal{data[0], data[1]};
  const std::string_view first = text.substr(3).substr(0, data[2]), second = text.substr(3 + first.size());
  Tracker tracker("reg.test/app:v1", "", time::SteadyTime());
  const auto plain = MakeReporter(ProgressMode::kPlain, {}), lines = MakeReporter(ProgressMode::kJson, {});
  time::SteadyTime now{};
  for (const std::string_view bytes : {first, second}) {
    v1::PullEvent event;
    if (!event.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return 0;
    now += std::chrono::seconds(11);
    tracker.Apply(event, now);
    const Moment moment{now, time::WallTime(now.time_since_epoch())};
    for (const Snapshot& pulls : {Snapshot{tracker.view()}, Snapshot{tracker.view(), tracker.view()}})
      for (const auto& line : Frame(pulls, terminal)) {
        RequireShowable(line);
        BERTH_CHECK(Columns(line) <= std::max<std::size_t>(terminal.columns, 2) - 1);
      }
    const bool ended = tracker.view().ended();
    std::string said = plain->Update({tracker.view()}, moment) + (ended ? plain->Ended(tracker.view(), moment) : "");
    for (const auto& [host, warning] : tracker.view().warnings) said += plain->Warned(tracker.view(), host, warning, moment);
    std::erase(said, '\n');
    RequireShowable(said);
    std::string events = lines->Update({tracker.view()}, moment) + (ended ? lines->Ended(tracker.view(), moment) : "");
    for (const auto& [host, warning] : tracker.view().warnings) events += lines->Warned(tracker.view(), host, warning, moment);
    for (std::string_view rest = events; !rest.empty(); rest.remove_prefix(rest.find('\n') + 1))
      BERTH_CHECK(json::Document::Parse(rest.substr(0, rest.find('\n')), Reason::kInternal).has_value());
  }
  return 0;
}
