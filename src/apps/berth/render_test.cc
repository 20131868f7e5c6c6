#include "apps/berth/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <numeric>

#include "apps/berth/format.h"
#include "json/document.h"

namespace berth::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kMiB = 1u << 20;
const std::string kDigest = "sha256:a08b224f3ace5ee0c62175fbed83da0dfb25c02a80a63bdc852f6742dbe421f2";

std::string LayerDigest(std::size_t i) {
  std::string digest = std::to_string(100000000000 + i);
  digest.resize(64, '0');
  return "sha256:" + digest;
}

LayerView Layer(std::size_t i, LayerPhase phase, std::uint64_t current, std::uint64_t total, double rate = 0) {
  return {.digest = LayerDigest(i), .host = "reg.test:5712", .phase = phase, .current = current, .total = total, .rate = rate};
}

PullView Resolved(std::string image, std::vector<LayerView> layers) {
  PullView view{.image = std::move(image), .phase = "fetching", .digest = kDigest, .platforms = "linux/amd64",
                .credential = "secret shop/regcred (alice)", .host = "reg.test:5712", .layers = std::move(layers)};
  view.resolved_in = milliseconds(41);
  view.elapsed = seconds(2);
  return view;
}

Moment At(time::Duration d) { return {time::SteadyTime(seconds(1000) + d), time::WallTime(seconds(1'795'415'831) + d)}; }

v1::Pulled Done() {
  v1::Pulled done;
  done.set_name("reg.test:5712/team/app:v1");
  done.set_digest(kDigest);
  done.set_bytes_fetched(91'099'833);
  done.set_resolve_seconds(0.04);
  done.set_total_seconds(1.3);
  done.set_credential("secret shop/regcred (alice)");
  done.set_host("reg.test:5712");
  return done;
}

const std::string kImage = "reg.test:5712/team/app:v1";

TEST(Frames, OneImage) {
  PullView view = Resolved(kImage, {Layer(0, LayerPhase::kDone, kMiB, kMiB),
                                    Layer(1, LayerPhase::kFetching, 12 * kMiB, 28 * kMiB, 38.2 * kMiB),
                                    Layer(2, LayerPhase::kFetching, 34 * kMiB, 57 * kMiB, 39 * kMiB),
                                    Layer(3, LayerPhase::kWaiting, 0, kMiB), Layer(4, LayerPhase::kPresent, 0, 900 * kMiB),
                                    Layer(5, LayerPhase::kUnpacking, 4 * kMiB, 4 * kMiB)});
  view.layers[0].finished = 1;
  view.layers[2].resumed_from = 19 * kMiB;
  view.layers[5].in_phase = milliseconds(3200);
  view.rate = 77 * kMiB;
  view.waiting_pulls = 2;
  view.disk_used_percent = 71;
  view.host = "https://mirror.test";
  EXPECT_THAT(Frame({view}, {100, 30}),
              ElementsAre("reg.test:5712/team/app:v1  linux/amd64  6 layers, 91.0 MiB to fetch, 1 here already",
                          "  resolved sha256:a08b224f3ace in 41ms  as secret shop/regcred (alice)  from https://mirror.test",
                          "  100000000000  [##################################]    1.0/  1.0 MiB  unpacked",
                          "  100000000001  [##############>...................]   12.0/ 28.0 MiB  38.2 MiB/s",
                          "  100000000002  [===========#########>.............]   34.0/ 57.0 MiB  39.0 MiB/s (resumed at 19.0)",
                          "  100000000003  [..................................]    0.0/  1.0 MiB  waiting",
                          "  100000000005  [......uuu.........................]    4.0/  4.0 MiB  unpacking 3s",
                          "  total 51.0/91.0 MiB  56%  77.0 MiB/s  eta 519ms   disk 71%   waiting: 2 pulls"));
}

TEST(Frames, NameTheHostWhenItIsNotTheRegistryItself) {
  PullView view = Resolved(kImage, {Layer(0, LayerPhase::kWaiting, 0, kMiB)});
  for (const auto& [host, shown] : std::vector<std::pair<std::string, bool>>{
           {"", false}, {"reg.test:5712", false}, {"https://reg.test:5712", false}, {"http://reg.test:5712", true}, {"https://reg.test", true}}) {
    view.host = host;
    EXPECT_EQ(Frame({view}, {200, 30})[1].find("  from ") != std::string::npos, shown) << host;
  }
}

TEST(Frames, BeforeItIsResolved) {
  PullView view{.image = kImage, .phase = "queued"};
  view.elapsed = milliseconds(4700);
  view.waiting_pulls = 3;
  EXPECT_THAT(Frame({view}, {80, 24}), ElementsAre(kImage, "  queued  4s   waiting: 3 pulls"));
}

TEST(Frames, ThirtyLayersTakeTwelveRows) {
  std::vector<LayerView> layers;
  for (std::size_t i = 0; i < 30; ++i) {
    LayerPhase phase = i < 10 ? LayerPhase::kDone : i < 14 ? LayerPhase::kFetching : LayerPhase::kWaiting;
    layers.push_back(Layer(i, phase, phase == LayerPhase::kDone ? kMiB : 0, kMiB));
    if (phase == LayerPhase::kDone) layers.back().finished = i + 1;
  }
  const auto lines = Frame({Resolved(kImage, layers)}, {80, 50});
  ASSERT_EQ(lines.size(), 2 + 12 + 1u);
  EXPECT_THAT(lines.back(), HasSubstr("+8 waiting   +10 done"));  // active first, then waiting: no room for finished ones
  layers.resize(16);                                             // 4 active, 2 waiting: room for the last two that ended
  const auto fewer = Frame({Resolved(kImage, layers)}, {80, 50});
  ASSERT_EQ(fewer.size(), 2 + 8 + 1u);
  EXPECT_THAT(fewer[2], HasSubstr("unpacked"));
  EXPECT_THAT(fewer[4], HasSubstr("starting"));
  EXPECT_THAT(fewer.back(), HasSubstr("+8 done"));
}

TEST(Frames, SeveralImagesWithTheirLayersAtWork) {
  std::vector<LayerView> layers{Layer(9, LayerPhase::kDone, kMiB, kMiB), Layer(8, LayerPhase::kWaiting, 0, kMiB)};
  for (std::size_t i = 0; i < 8; ++i)
    layers.push_back(Layer(i, i % 2 == 0 ? LayerPhase::kFetching : LayerPhase::kUnpacking, kMiB, 2 * kMiB));
  PullView one = Resolved("reg.test/a:1", {Layer(0, LayerPhase::kFetching, 5 * kMiB, 10 * kMiB, kMiB)});
  PullView two = Resolved("reg.test/b:1", layers);
  PullView three{.image = "reg.test/c:1", .phase = "resolving"};
  const auto of = [&](const TerminalSize& size) { return Frame({one, two, three}, size, true); };
  const auto all = of({100, 40});
  ASSERT_EQ(all.size(), 12 + 1u);  // three images, one layer of the first, eight of the second
  EXPECT_THAT(all[0], HasSubstr("reg.test/a:1"));
  EXPECT_THAT(all[1], AllOf(::testing::StartsWith("    100000000000  ["), HasSubstr("1.0 MiB/s")));
  EXPECT_THAT(all[2], HasSubstr("reg.test/b:1"));
  EXPECT_THAT(all[4], HasSubstr("unpacking"));
  EXPECT_THAT(all[11], HasSubstr("reg.test/c:1"));
  const auto few = of({100, 10});  // six rows: three are left for layers
  ASSERT_EQ(few.size(), 6 + 1u);
  EXPECT_THAT(few[1], HasSubstr("100000000000"));
  EXPECT_THAT(few[4], HasSubstr("100000000001"));
  EXPECT_EQ(of({100, 6}).size(), 2 + 1u);
  EXPECT_EQ(Frame({one, two, three}, {100, 40}).size(), 3 + 1u);
  for (std::size_t columns = 0; columns < 40; ++columns)
    for (const auto& line : of({columns, 40})) EXPECT_LT(Columns(line), std::max<std::size_t>(columns, 2)) << columns;
}

TEST(Frames, SeveralImages) {
  PullView one = Resolved("reg.test/a:1", {Layer(0, LayerPhase::kFetching, 5 * kMiB, 10 * kMiB, kMiB)});
  one.rate = kMiB;
  PullView two{.image = "reg.test/longer:2", .phase = "resolving"};
  two.elapsed = seconds(3);
  PullView three = Resolved("reg.test/c:3", {Layer(0, LayerPhase::kDone, kMiB, kMiB)});
  three.pulled = Done();
  PullView four = Resolved("reg.test/d:4", {Layer(0, LayerPhase::kUnpacking, kMiB, kMiB)});
  PullView five{.image = "reg.test/e:5"};
  five.failure = Failure{.code = "E-DNS"};
  EXPECT_THAT(Frame({one, two, three, four, five}, {81, 24}),
              ElementsAre("  reg.test/a:1       [##############>.............]    5.0/ 10.0 MiB  1.0 MiB/s", "  reg.test/longer:2  resolving  3s",
                          "  reg.test/d:4       [############################]    1.0/  1.0 MiB  unpacking",
                          "  5 images, 1 done, 1 failed  total 7.0/12.0 MiB  58%  1.0 MiB/s  eta 5s"));
}

// Whatever the terminal, no line wraps and the frame fits.
TEST(Frames, NeverWiderOrHigherThanTheTerminal) {
  std::vector<LayerView> layers;
  for (std::size_t i = 0; i < 30; ++i) layers.push_back(Layer(i, LayerPhase::kFetching, i * kMiB, 40 * kMiB, 999.9 * 1024));
  for (auto& layer : layers) layer.resumed_from = layer.current / 2;
  const Snapshot one{Resolved(kImage + "\x1b[31m\xe4\xb8\xad", layers)};
  Snapshot many;
  for (std::size_t i = 0; i < 30; ++i) many.push_back(Resolved(kImage + std::to_string(i), layers));
  for (std::size_t columns = 1; columns < 250; ++columns)
    for (const std::size_t rows : {1u, 3u, 5u, 10u, 60u})
      for (const auto& pulls : {one, many}) {
        const auto lines = Frame(pulls, {columns, rows});
        EXPECT_LE(lines.size(), std::clamp<std::size_t>(rows > 4 ? rows - 4 : 1, 1, 12) + 3) << rows;
        for (const auto& line : lines) {
          ASSERT_LE(Columns(line), std::max<std::size_t>(columns, 2) - 1) << line;
          ASSERT_EQ(line.find('\x1b'), std::string::npos);
        }
      }
}

struct BarRow { std::string name; std::uint64_t resumed, current, total; std::string want; };
std::ostream& operator<<(std::ostream& out, const BarRow& row) { return out << row.name; }
class Bars : public testing::TestWithParam<BarRow> {};
TEST_P(Bars, AreDrawn) {
  EXPECT_EQ(Bar(GetParam().resumed, GetParam().current, GetParam().total, 20), GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(Table, Bars,
                         testing::Values(BarRow{"nothing", 0, 0, 100, "[....................]"}, BarRow{"little", 0, 1, 100, "[>...................]"},
                                         BarRow{"half", 0, 50, 100, "[##########>.........]"}, BarRow{"full", 0, 100, 100, "[####################]"},
                                         BarRow{"resumed", 30, 50, 100, "[======####>.........]"},
                                         BarRow{"resumed_only", 50, 50, 100, "[==========>.........]"},
                                         BarRow{"too_much", 500, 500, 100, "[====================]"}, BarRow{"unknown", 0, 7, 0, "[>...................]"},
                                         BarRow{"huge", 0, UINT64_MAX / 2, UINT64_MAX, "[##########>.........]"}),
                         [](const auto& row) { return row.param.name; });

TEST(Summaries, SayWhatWasFetchedAndWhatNot) {
  PullView view{.image = kImage};
  view.pulled = Done();
  EXPECT_EQ(Summary(view), "pulled reg.test:5712/team/app:v1@sha256:a08b224f3ace  86.9 MiB in 1.3s  (resolve 40ms)");
  view.pulled->set_bytes_reused(kMiB);
  view.pulled->set_bytes_resumed(2 * kMiB);
  EXPECT_EQ(Summary(view), "pulled reg.test:5712/team/app:v1@sha256:a08b224f3ace  86.9 MiB in 1.3s  "
                           "(resolve 40ms, 1.0 MiB reused, 2.0 MiB resumed)");
  view.pulled->set_bytes_fetched(0);  // the registry was asked and had nothing new
  EXPECT_EQ(Summary(view), "pulled reg.test:5712/team/app:v1@sha256:a08b224f3ace: here already (1.3s)");
}

// --- Tracker

v1::PullEvent Event(std::uint64_t current, std::string_view phase = "fetching", std::uint64_t resumed = 0) {
  v1::PullEvent event;
  event.set_phase("fetching");
  event.set_digest(kDigest);
  auto& layer = *event.add_layers();
  layer.set_digest(LayerDigest(0));
  layer.set_phase(std::string(phase));
  layer.set_current(current);
  layer.set_total(100 * kMiB);
  layer.set_resumed_from(resumed);
  return event;
}

TEST(Trackers, RatesAreMeansOverThreeSecondsAndFall) {
  const time::SteadyTime start(seconds(5));
  Tracker tracker(kImage, "", start);
  tracker.Apply(Event(20 * kMiB, "fetching", 20 * kMiB), start);
  for (int i = 1; i <= 10; ++i) tracker.Apply(Event((20 + 2 * static_cast<std::uint64_t>(i)) * kMiB, "fetching", 20 * kMiB), start + seconds(i));
  EXPECT_DOUBLE_EQ(tracker.view().rate, 2.0 * kMiB);  // what was resumed is no speed
  EXPECT_DOUBLE_EQ(tracker.view().layers[0].rate, 2.0 * kMiB);
  EXPECT_DOUBLE_EQ(*tracker.view().eta(), 30);
  for (int i = 11; i <= 12; ++i) tracker.Sample(start + seconds(i));
  EXPECT_NEAR(tracker.view().rate, 2.0 * kMiB / 3, 1);
  for (int i = 13; i <= 20; ++i) tracker.Sample(start + seconds(i));
  EXPECT_EQ(tracker.view().rate, 0);
  EXPECT_FALSE(tracker.view().eta());
}

TEST(Trackers, ADownloadThatBeginsAgainHasNoNegativeRate) {
  const time::SteadyTime start(seconds(5));
  Tracker tracker(kImage, "", start);
  tracker.Apply(Event(50 * kMiB), start);
  tracker.Apply(Event(60 * kMiB), start + seconds(1));
  tracker.Apply(Event(0), start + seconds(2));
  EXPECT_EQ(tracker.view().rate, 0);
  tracker.Apply(Event(3 * kMiB), start + seconds(3));
  EXPECT_DOUBLE_EQ(tracker.view().rate, 3.0 * kMiB);
}

TEST(Trackers, KeepWhatLaterEventsDoNotSay) {
  const time::SteadyTime start(seconds(5));
  Tracker tracker(kImage, "", start);
  tracker.Apply(Event(100 * kMiB, "done"), start + milliseconds(300));
  v1::PullEvent last;
  last.set_phase("ended");
  *last.mutable_pulled() = Done();
  tracker.Apply(last, start + seconds(1));
  EXPECT_EQ(tracker.view().digest, kDigest);
  EXPECT_EQ(tracker.view().resolved_in, milliseconds(300));
  ASSERT_EQ(tracker.view().layers.size(), 1u);
  EXPECT_EQ(tracker.view().layers[0].finished, 1u);
  EXPECT_TRUE(tracker.view().ended());
}

TEST(Trackers, HostileNumbersStayInBounds) {
  Tracker tracker(kImage, "", time::SteadyTime());
  v1::PullEvent event = Event(UINT64_MAX, "no such phase", UINT64_MAX);
  tracker.Apply(event, time::SteadyTime());
  EXPECT_EQ(tracker.view().layers[0].current, 100 * kMiB);
  EXPECT_EQ(tracker.view().layers[0].resumed_from, 100 * kMiB);
  EXPECT_EQ(tracker.view().layers[0].phase, LayerPhase::kFetching);
  EXPECT_EQ(tracker.view().rate, 0);
}

// --- Reporters

TEST(Tty, DrawsFiveTimesASecondAndOnlyWhatChanged) {
  const auto reporter = MakeReporter(ProgressMode::kTty, {.size = [] { return TerminalSize{80, 24}; }});
  PullView view{.image = kImage};
  const std::string first = reporter->Update({view}, At(seconds(0)));
  EXPECT_EQ(first, kImage + "\x1b[K\n  queued  0ms\x1b[K\n\x1b[J");
  view.elapsed = seconds(1);
  EXPECT_EQ(reporter->Update({view}, At(milliseconds(199))), "");
  EXPECT_EQ(reporter->Update({view}, At(milliseconds(200))), "\r\x1b[2A" + kImage + "\x1b[K\n  queued  1s\x1b[K\n\x1b[J");
  EXPECT_EQ(reporter->Update({view}, At(milliseconds(600))), "");  // the same picture
  view.pulled = Done();
  EXPECT_EQ(reporter->Ended(view, At(seconds(2))), "\r\x1b[2A\x1b[J" + Summary(view) + "\n");
  EXPECT_EQ(reporter->Update({view}, At(seconds(3))), "");  // nothing after the last frame
  EXPECT_EQ(reporter->Clear(), "");
}

TEST(Tty, ANarrowerTerminalHasWrappedTheOldLines) {
  TerminalSize size{80, 24};
  const auto reporter = MakeReporter(ProgressMode::kTty, {.size = [&] { return size; }});
  PullView view{.image = std::string(60, 'a')};
  (void)reporter->Update({view}, At(seconds(0)));
  size.columns = 25;
  EXPECT_EQ(reporter->Update({view}, At(seconds(1))).substr(0, 5), "\r\x1b[4A");  // 3 rows of 25 for 60 columns, 1 for the other
}

TEST(Tty, FailuresReplaceTheFrame) {
  const auto reporter = MakeReporter(ProgressMode::kTty, {.size = [] { return TerminalSize{80, 24}; }, .colour = Colour::kYes});
  PullView view{.image = kImage};
  (void)reporter->Update({view}, At(seconds(0)));
  view.failure = Failure{"E-AUTH-401", "the registry said \x1b[31mno", "check the password", 4};
  EXPECT_EQ(reporter->Ended(view, At(seconds(1))),
            "\r\x1b[2A\x1b[J\x1b[31merror:\x1b[0m E-AUTH-401 " + kImage + ": the registry said \\x1b[31mno\nnext: check the password\n");
}

TEST(PlainLines, OneForEachStateAndAHeartbeat) {
  setenv("TZ", "UTC0", 1);
  tzset();
  const auto reporter = MakeReporter(ProgressMode::kPlain, {});
  PullView view{.image = kImage};
  EXPECT_EQ(reporter->Update({view}, At(seconds(0))), "06:37:11 pull reg.test:5712/team/app:v1 start policy=IfNotPresent\n");
  EXPECT_EQ(reporter->Update({view}, At(milliseconds(100))), "");
  view = Resolved(kImage, {Layer(0, LayerPhase::kDone, kMiB, kMiB), Layer(1, LayerPhase::kFetching, 12 * kMiB, 28 * kMiB)});
  EXPECT_EQ(reporter->Update({view}, At(milliseconds(200))),
            "06:37:11 pull reg.test:5712/team/app:v1 resolved " + kDigest +
                " platform=linux/amd64 2 layers 29.0MiB cred=\"secret shop/regcred (alice)\" host=reg.test:5712\n");
  view.rate = 2.5 * kMiB;
  EXPECT_EQ(reporter->Update({view}, At(seconds(9))), "");
  EXPECT_EQ(reporter->Update({view}, At(milliseconds(10200))),
            "06:37:21 pull reg.test:5712/team/app:v1 13.0/29.0MiB 44% 2.5MiB/s eta=6.4s active=1 done=1\n");
  view.pulled = Done();
  EXPECT_EQ(reporter->Update({view}, At(seconds(30))), "");
  EXPECT_EQ(reporter->Ended(view, At(seconds(35))), "06:37:46 pull reg.test:5712/team/app:v1 done " + kDigest + " 86.9MiB 1.3s\n");
}

// ---- a registry that makes us wait, and one that has something to say

constexpr std::string_view kWait = "waiting 60.0 s for https://reg.test:5712 (429)";

TEST(Waiting, IsPartOfEveryFrame) {
  PullView view{.image = kImage, .phase = "resolving", .wait = std::string(kWait)};
  EXPECT_THAT(Frame({view}, {100, 24}), Contains(AllOf(HasSubstr("resolving"), HasSubstr(kWait))));
  PullView resolved = Resolved(kImage, {Layer(0, LayerPhase::kWaiting, 0, kMiB)});
  resolved.wait = kWait;
  EXPECT_THAT(Frame({resolved}, {160, 24}).back(), AllOf(HasSubstr("total"), HasSubstr(kWait)));
  const auto several = Frame({view, resolved}, {160, 24});
  EXPECT_EQ(std::ranges::count_if(several, [](const std::string& line) { return line.find(kWait) != line.npos; }), 2);
}

TEST(Waiting, IsALineOrAnEventWhenItChanges) {
  setenv("TZ", "UTC0", 1);
  tzset();
  const auto plain = MakeReporter(ProgressMode::kPlain, {}), json = MakeReporter(ProgressMode::kJson, {});
  PullView view{.image = kImage};
  (void)plain->Update({view}, At(seconds(0)));
  (void)json->Update({view}, At(seconds(0)));
  view.wait = kWait;
  EXPECT_EQ(plain->Update({view}, At(seconds(1))), "06:37:12 pull " + kImage + " " + std::string(kWait) + "\n");
  EXPECT_EQ(plain->Update({view}, At(seconds(2))), "");
  EXPECT_THAT(json->Update({view}, At(seconds(1))), HasSubstr("\"event\":\"waiting\",\"image\":\"" + kImage + "\",\"text\":\"" + std::string(kWait) + "\"}\n"));
  EXPECT_EQ(json->Update({view}, At(seconds(2))), "");
  view.wait = "";
  EXPECT_EQ(plain->Update({view}, At(seconds(3))), "");
  EXPECT_THAT(json->Update({view}, At(seconds(3))), HasSubstr("\"event\":\"waiting\",\"image\":\"" + kImage + "\",\"text\":\"\"}\n"));
}

TEST(RegistryWarnings, AreToldEscaped) {
  setenv("TZ", "UTC0", 1);
  tzset();
  const PullView view{.image = kImage};
  const std::string host = "https://reg.test:5712", text = "move \x1b[31mon", shown = "warning: https://reg.test:5712 says \"move \\x1b[31mon\"\n";
  const auto tty = MakeReporter(ProgressMode::kTty, {.size = [] { return TerminalSize{80, 24}; }});
  (void)tty->Update({view}, At(seconds(0)));
  EXPECT_EQ(tty->Warned(view, host, text, At(seconds(1))), "\r\x1b[2A\x1b[J" + shown) << "above the frame";
  EXPECT_EQ(MakeReporter(ProgressMode::kPlain, {})->Warned(view, host, text, At(seconds(1))), "06:37:12 pull " + kImage + " " + shown);
  EXPECT_THAT(MakeReporter(ProgressMode::kJson, {})->Warned(view, host, text, At(seconds(1))),
              HasSubstr("\"event\":\"warning\",\"image\":\"" + kImage + "\",\"host\":\"https://reg.test:5712\",\"text\":\"move \\u001b[31mon\"}\n"));
  EXPECT_EQ(MakeReporter(ProgressMode::kNone, {})->Warned(view, host, text, At(seconds(1))), "");
}

TEST(PlainLines, NeverMoreThanSixAMinute) {
  const auto reporter = MakeReporter(ProgressMode::kPlain, {});
  PullView view{.image = kImage};
  std::vector<int> at;  // seconds in which a line was said
  for (int s = 0; s < 600; ++s) {
    if (s == 7) view = Resolved(kImage, {Layer(0, LayerPhase::kFetching, 0, kMiB)});
    const std::string said = reporter->Update({view}, At(seconds(s)));
    for (const char c : said)
      if (c == '\n') at.push_back(s);
  }
  for (const int from : at) EXPECT_LE(std::ranges::count_if(at, [&](int s) { return s >= from && s < from + 60; }), 6) << from;
  EXPECT_GE(at.size(), 55u);  // and it is never silent for long
  for (std::size_t i = 1; i < at.size(); ++i) EXPECT_LE(at[i] - at[i - 1], 20);
}

TEST(JsonEvents, AreOneObjectALine) {
  const auto reporter = MakeReporter(ProgressMode::kJson, {});
  PullView view{.image = kImage, .policy = "Always"};
  EXPECT_EQ(reporter->Update({view}, At(milliseconds(4))),
            "{\"ts\":\"2026-11-23T06:37:11.004Z\",\"event\":\"start\",\"image\":\"reg.test:5712/team/app:v1\",\"policy\":\"Always\"}\n");
  view = Resolved(kImage, {Layer(0, LayerPhase::kFetching, 12'792'627, 60'007'909, 40'789'606)});
  const std::string second = reporter->Update({view}, At(milliseconds(10)));
  EXPECT_THAT(second, HasSubstr("\"event\":\"resolved\""));
  EXPECT_THAT(second, HasSubstr("\"event\":\"phase\",\"image\":\"reg.test:5712/team/app:v1\",\"phase\":\"fetching\""));
  EXPECT_THAT(second, HasSubstr("{\"ts\":\"2026-11-23T06:37:11.010Z\",\"event\":\"progress\",\"image\":\"reg.test:5712/team/app:v1\","
                                "\"phase\":\"fetching\",\"layer\":\"" + LayerDigest(0) + "\",\"current\":12792627,\"total\":60007909,"
                                "\"resumed_from\":0,\"rate\":40789606,\"host\":\"reg.test:5712\"}\n"));
  view.pull = "p-17";
  view.layers[0].current += 5;
  EXPECT_EQ(reporter->Update({view}, At(milliseconds(900))), "");  // bytes alone: once a second
  EXPECT_THAT(reporter->Update({view}, At(milliseconds(1010))), AllOf(HasSubstr("\"pull\":\"p-17\",\"phase\":\"fetching\""), HasSubstr("\"current\":12792632")));
  view.layers[0].phase = LayerPhase::kUnpacking;
  EXPECT_THAT(reporter->Update({view}, At(milliseconds(1020))), HasSubstr("\"phase\":\"unpacking\""));  // phases: at once
  view.pulled = Done();
  view.pulled->set_queue_seconds(0.5);
  view.pulled->set_fetch_seconds(34.25);
  view.pulled->set_unpack_seconds(0.75);
  auto& used = *view.pulled->mutable_used_credential();
  used.set_source("secret");
  used.set_namespace_("shop");
  used.set_name("regcred");
  used.set_pattern("reg.test:5712");
  used.set_user("alice");
  const std::string last = reporter->Ended(view, At(seconds(2)));
  EXPECT_THAT(last, HasSubstr("\"credential\":{\"source\":\"secret\",\"namespace\":\"shop\",\"name\":\"regcred\",\"pattern\":\"reg.test:5712\","
                              "\"user\":\"alice\",\"text\":\"secret shop/regcred (alice)\"},\"host\":\"reg.test:5712\","
                              "\"seconds\":{\"queue\":0.5,\"resolve\":0.04,\"fetch\":34.25,\"unpack\":0.75,\"total\":1.3}}\n"));
  EXPECT_THAT(last, HasSubstr("\"event\":\"pulled\""));
  EXPECT_THAT(last, HasSubstr("\"bytes_fetched\":91099833"));
  view.pulled.reset();
  view.failure = Failure{"E-DNS", "no such host", "check the name", 5};
  EXPECT_THAT(reporter->Ended(view, At(seconds(2))),
              HasSubstr("\"event\":\"failed\",\"image\":\"reg.test:5712/team/app:v1\",\"pull\":\"p-17\",\"code\":\"E-DNS\",\"message\":\"no such host\","
                        "\"next\":\"check the name\",\"exit_status\":5}"));
  std::string_view all(last);
  EXPECT_TRUE(json::Document::Parse(all.substr(0, all.size() - 1), Reason::kInternal));
}

TEST(Quiet, SaysFailuresOnly) {
  const auto reporter = MakeReporter(ProgressMode::kNone, {});
  PullView view{.image = kImage};
  EXPECT_EQ(reporter->Update({view}, At(seconds(0))), "");
  view.pulled = Done();
  EXPECT_EQ(reporter->Ended(view, At(seconds(0))), "");
  view.pulled.reset();
  view.failure = Failure{"E-DNS", "no such host", "", 5};
  EXPECT_EQ(reporter->Ended(view, At(seconds(0))), "error: E-DNS reg.test:5712/team/app:v1: no such host\n");
}

}  // namespace
}  // namespace berth::cli
