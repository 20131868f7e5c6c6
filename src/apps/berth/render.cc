#include "apps/berth/render.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>

#include "apps/berth/format.h"
#include "json/document.h"

namespace berth::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t kMostRows = 12;

double Seconds(time::Duration d) { return std::chrono::duration<double>(d).count(); }

// While a layer is written and synced nobody knows how far it is: a mark that wanders, two cells a second.
std::string WanderingBar(time::Duration in_phase, std::size_t width) {
  std::string bar(width, '.');
  const std::size_t span = width - std::min<std::size_t>(3, width);
  const auto step = static_cast<std::size_t>(std::max<std::int64_t>(0, in_phase / milliseconds(500)));
  const std::size_t turn = span == 0 ? 0 : step % (2 * span);
  const std::size_t at = turn <= span ? turn : 2 * span - turn;
  for (std::size_t i = at; i < std::min(width, at + 3); ++i) bar[i] = 'u';
  return "[" + bar + "]";
}

// Cells of a bar beside the fixed parts of a row; 0: no bar fits.
std::size_t BarWidth(std::size_t columns, std::size_t others) {
  const std::size_t left = columns > others ? columns - others : 0;
  return left < 6 ? 0 : std::min<std::size_t>(left, 40);
}

std::string Padded(std::string text, std::size_t width) {
  const std::size_t columns = Columns(text);
  return columns < width ? text + std::string(width - columns, ' ') : text;
}

// `note_columns`: what the longest of the notes takes.
std::string LayerRow(const LayerView& layer, std::size_t columns, std::size_t note_columns) {
  const std::size_t width = BarWidth(columns, 2 + 12 + 2 + 2 + 2 + 15 + 2 + note_columns);
  std::string bar, note;
  switch (layer.phase) {
    case LayerPhase::kWaiting: note = "waiting"; break;
    case LayerPhase::kFetching: note = layer.current == 0 && layer.rate == 0 ? "starting" : Rate(layer.rate); break;
    case LayerPhase::kUnpacking:
      note = "unpacking " + Took(std::floor(Seconds(layer.in_phase)));
      if (layer.in_phase < seconds(1)) note = "unpacking";
      break;
    case LayerPhase::kPresent: note = "here already"; break;
    case LayerPhase::kDone: note = "unpacked"; break;
  }
  if (layer.resumed_from > 0 && layer.phase == LayerPhase::kFetching) {
    const std::string pair = SizePair(layer.resumed_from, layer.total);  // in the unit of the total
    const auto from = pair.find_first_not_of(' ');
    note += " (resumed at " + pair.substr(from, pair.find('/') - from) + ")";
  }
  if (width > 0)
    bar = (layer.phase == LayerPhase::kUnpacking ? WanderingBar(layer.in_phase, width)
                                                 : Bar(layer.resumed_from, layer.current, layer.total, width)) + "  ";
  return "  " + Padded(ShortHex(layer.digest), 12) + "  " + bar + SizePair(layer.current, layer.total) + "  " + note;
}

// Active first, then waiting, then the last two that ended: up to `most`, shown in their own order so that rows stay put.
template <class Item, class Class>
std::vector<const Item*> Select(const std::vector<Item>& items, std::size_t most, Class&& rank) {
  std::vector<std::pair<std::uint64_t, const Item*>> ranked;
  for (const auto& item : items) ranked.emplace_back(rank(item), &item);
  std::ranges::stable_sort(ranked, {}, [](const auto& pair) { return pair.first; });
  std::vector<const Item*> chosen;
  std::size_t ended = 0;
  for (const auto& [key, item] : ranked) {
    if (chosen.size() == most || key == UINT64_MAX) break;
    if (key >= 2 && ++ended > 2) break;
    chosen.push_back(item);
  }
  std::ranges::sort(chosen);
  return chosen;
}

std::string Totals(std::uint64_t current, std::uint64_t total, double rate) {
  std::string out = SizePair(current, total);
  out.erase(0, out.find_first_not_of(' '));
  for (auto at = out.find("/ "); at != out.npos; at = out.find("/ ")) out.erase(at + 1, 1);
  while (out.back() == ' ') out.pop_back();
  out += "  " + std::to_string(Percent(current, total)) + "%";
  if (total == 0) return out;  // nothing is known of the layers yet
  if (current >= total) out += "  unpacking";
  else if (rate >= 1) out += "  " + Rate(rate) + "  eta " + Took(static_cast<double>(total - current) / rate);
  return out;
}

// A mirror answered, or the registry without TLS: both worth a word.
bool IsElsewhere(const PullView& pull) {
  std::string_view host = pull.host;
  if (host.starts_with("https://")) host.remove_prefix(8);
  return !host.empty() && !pull.image.starts_with(std::string(host) + "/");
}

bool NothingFetched(const v1::Pulled& pulled) { return pulled.was_present() || pulled.bytes_fetched() == 0; }

std::string WaitingPulls(const Snapshot& pulls) {
  std::uint32_t waiting = 0;
  for (const auto& pull : pulls) waiting = std::max(waiting, pull.waiting_pulls);
  return waiting == 0 ? "" : "   waiting: " + Count(waiting, "pull");
}

// What else bears on how it goes on.
std::string Around(const Snapshot& pulls) {
  std::uint32_t disk = 0;
  for (const auto& pull : pulls) disk = std::max(disk, pull.disk_used_percent);
  return (disk == 0 ? "" : "   disk " + std::to_string(disk) + "%") + WaitingPulls(pulls);
}

std::string Waits(const PullView& pull, std::string_view before) {
  return pull.wait.empty() ? "" : std::string(before) + Escape(pull.wait);
}

std::vector<std::string> OneImage(const PullView& pull, std::size_t columns, std::size_t most) {
  std::vector<std::string> lines;
  std::string head = Escape(pull.image);
  if (!pull.platforms.empty()) head += "  " + Escape(pull.platforms);
  if (!pull.layers.empty()) {
    const std::uint64_t here = pull.CountOf(LayerPhase::kPresent);
    head += "  " + Count(pull.layers.size(), "layer") + ", " + Size(pull.total_bytes()) + " to fetch";
    if (here > 0) head += ", " + std::to_string(here) + " here already";
  }
  lines.push_back(std::move(head));
  if (!pull.resolved()) {
    lines.push_back("  " + Escape(pull.phase) + "  " + Took(std::floor(Seconds(pull.elapsed))) + Waits(pull, "   ") + WaitingPulls({pull}));
    return lines;
  }
  std::string source = "  resolved " + Digest(pull.digest, false) + " in " + Took(Seconds(pull.resolved_in));
  if (!pull.credential.empty()) source += "  as " + Escape(pull.credential);
  if (IsElsewhere(pull)) source += "  from " + Escape(pull.host);
  lines.push_back(std::move(source));
  const auto rows = Select(pull.layers, most, [](const LayerView& layer) -> std::uint64_t {
    switch (layer.phase) {
      case LayerPhase::kFetching: case LayerPhase::kUnpacking: return 0;
      case LayerPhase::kWaiting: return 1;
      case LayerPhase::kDone: return UINT64_MAX / 2 - layer.finished;  // the latest first
      case LayerPhase::kPresent: break;
    }
    return UINT64_MAX;
  });
  const bool resumed = std::ranges::any_of(rows, [](const LayerView* layer) { return layer->resumed_from > 0; });
  for (const LayerView* layer : rows) lines.push_back(LayerRow(*layer, columns, resumed ? 28 : 15));
  std::uint64_t hidden_waiting = pull.CountOf(LayerPhase::kWaiting), hidden_done = pull.CountOf(LayerPhase::kDone);
  std::uint64_t hidden_active = pull.CountOf(LayerPhase::kFetching) + pull.CountOf(LayerPhase::kUnpacking);
  for (const LayerView* layer : rows) {
    if (layer->phase == LayerPhase::kWaiting) --hidden_waiting;
    else if (layer->phase == LayerPhase::kDone) --hidden_done;
    else --hidden_active;
  }
  std::string last = "  total " + Totals(pull.current_bytes(), pull.total_bytes(), pull.rate);
  if (hidden_active > 0) last += "   +" + std::to_string(hidden_active) + " active";
  if (hidden_waiting > 0) last += "   +" + std::to_string(hidden_waiting) + " waiting";
  if (hidden_done > 0) last += "   +" + std::to_string(hidden_done) + " done";
  if (pull.phase == "publishing") last += "   publishing";
  last += Waits(pull, "   ");
  lines.push_back(last + Around({pull}));
  return lines;
}

std::string ImageRow(const PullView& pull, std::size_t name_width, std::size_t columns) {
  const std::size_t others = 2 + name_width + 2 + 2 + 2 + 15 + 2 + 10;
  const std::size_t width = BarWidth(columns, others);
  std::string row = "  " + Padded(Escape(pull.image), name_width) + "  ";
  if (!pull.resolved() || pull.layers.empty()) {
    return row + Escape(pull.phase) + "  " + Took(std::floor(Seconds(pull.elapsed))) + Waits(pull, "  ");
  }
  std::uint64_t resumed = 0;
  for (const auto& layer : pull.layers) resumed += layer.phase == LayerPhase::kPresent ? 0 : layer.resumed_from;
  if (width > 0) row += Bar(resumed, pull.current_bytes(), pull.total_bytes(), width) + "  ";
  row += SizePair(pull.current_bytes(), pull.total_bytes()) + "  ";
  const bool fetched = pull.current_bytes() >= pull.total_bytes();
  if (!pull.wait.empty()) return row + Waits(pull, "");
  return row + (pull.phase == "publishing" ? "publishing" : fetched ? "unpacking" : Rate(pull.rate));
}

std::vector<std::string> Images(const Snapshot& pulls, std::size_t columns, std::size_t most, bool layers) {
  std::vector<std::string> lines;
  const auto rows = Select(pulls, most, [](const PullView& pull) -> std::uint64_t {
    return pull.ended() ? UINT64_MAX : pull.phase == "queued" ? 1 : 0;  // what has ended stands above the frame
  });
  std::size_t name_width = 0;
  for (const PullView* pull : rows) name_width = std::max(name_width, Columns(Escape(pull->image)));
  // What the images leave of the rows is dealt to their layers at work, one at a time.
  std::vector<std::size_t> share(rows.size());
  std::size_t left = layers ? most - rows.size() : 0;
  for (bool more = true; more && left > 0;) {
    more = false;
    for (std::size_t i = 0; i < rows.size() && left > 0; ++i)
      if (share[i] < rows[i]->CountOf(LayerPhase::kFetching) + rows[i]->CountOf(LayerPhase::kUnpacking)) ++share[i], --left, more = true;
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    lines.push_back(ImageRow(*rows[i], name_width, columns));
    const auto active = Select(rows[i]->layers, share[i], [](const LayerView& layer) -> std::uint64_t {
      return layer.phase == LayerPhase::kFetching || layer.phase == LayerPhase::kUnpacking ? 0 : UINT64_MAX;
    });
    const bool resumed = std::ranges::any_of(active, [](const LayerView* layer) { return layer->resumed_from > 0; });
    for (const LayerView* layer : active)
      lines.push_back("  " + LayerRow(*layer, columns - std::min<std::size_t>(columns, 2), resumed ? 28 : 15));
  }
  std::uint64_t current = 0, total = 0, done = 0, failed = 0;
  double rate = 0;
  for (const auto& pull : pulls) {
    current += pull.current_bytes(), total += pull.total_bytes();
    if (!pull.ended()) rate += pull.rate;
    done += pull.pulled ? 1 : 0, failed += pull.failure ? 1 : 0;
  }
  std::string last = "  " + Count(pulls.size(), "image") + ", " + std::to_string(done) + " done";
  if (failed > 0) last += ", " + std::to_string(failed) + " failed";
  last += "  total " + Totals(current, total, rate);
  const std::uint64_t hidden = pulls.size() - done - failed - rows.size();
  if (hidden > 0) last += "   +" + std::to_string(hidden) + " more";
  lines.push_back(last + Around(pulls));
  return lines;
}

class Base : public Reporter {
 public:
  explicit Base(RenderOptions options) : options_(std::move(options)) {}

 protected:
  static std::string WarningText(const std::string& host, const std::string& text) {
    return "warning: " + Escape(host) + " says \"" + Escape(text) + "\"";
  }
  std::string FailureText(const Failure& failure) const {
    return options_.json_failures ? JsonLine(failure) : Lines(failure, options_.colour);
  }
  RenderOptions options_;
};

class None final : public Base {
 public:
  using Base::Base;
  std::string Update(const Snapshot&, const Moment&) override { return ""; }
  std::string Ended(const PullView& pull, const Moment&) override {
    return pull.failure ? FailureText(At(pull.image, *pull.failure)) : "";
  }
  std::string Warned(const PullView&, const std::string&, const std::string&, const Moment&) override { return ""; }
};

class Tty final : public Base {
 public:
  using Base::Base;
  std::string Update(const Snapshot& pulls, const Moment& now) override {
    if (drawn_ && now.steady - *drawn_ < kBeat) return "";
    if (std::ranges::all_of(pulls, &PullView::ended)) return "";
    const TerminalSize size = options_.size();
    std::vector<std::string> lines = Frame(pulls, size, options_.layers);
    drawn_ = now.steady;
    if (lines == lines_ && size.columns == columns_) return "";
    std::string out = Up(size.columns);
    for (const auto& line : lines) out += line + "\x1b[K\n";
    out += "\x1b[J";
    lines_ = std::move(lines);
    columns_ = size.columns;
    return out;
  }
  std::string Ended(const PullView& pull, const Moment&) override {
    return Clear() + (pull.failure ? FailureText(At(pull.image, *pull.failure)) : Summary(pull) + "\n");
  }
  std::string Warned(const PullView&, const std::string& host, const std::string& text, const Moment&) override {
    return Clear() + WarningText(host, text) + "\n";
  }
  std::string Clear() override {
    if (lines_.empty()) return "";
    std::string out = Up(options_.size().columns) + "\x1b[J";
    lines_.clear();
    drawn_.reset();
    return out;
  }

 private:
  // To the first column of the frame's first row; a terminal that has become narrower since has wrapped its lines.
  std::string Up(std::size_t columns) const {
    std::size_t rows = 0;
    for (const auto& line : lines_) rows += std::max<std::size_t>(1, (Columns(line) + columns - 1) / columns);
    return rows == 0 ? "" : "\r\x1b[" + std::to_string(rows) + "A";
  }
  std::vector<std::string> lines_;  // on the screen
  std::size_t columns_ = 0;
  std::optional<time::SteadyTime> drawn_;
};

class Plain final : public Base {
 public:
  using Base::Base;

  std::string Update(const Snapshot& pulls, const Moment& now) override {
    std::string out;
    for (std::size_t i = 0; i < pulls.size(); ++i) {
      const PullView& pull = pulls[i];
      State& state = states_[i];
      if (!state.started) {
        state.started = true;
        out += Line(pull, now, state, "start policy=" + (pull.policy.empty() ? "IfNotPresent" : Escape(pull.policy)));
      }
      if (pull.ended()) continue;
      if (!state.resolved && pull.resolved() && !pull.layers.empty()) {
        state.resolved = true;
        std::string text = "resolved " + Digest(pull.digest, true);
        if (!pull.platforms.empty()) text += " platform=" + Escape(pull.platforms);
        text += " " + Count(pull.layers.size(), "layer") + " " + Tight(Size(pull.total_bytes()));
        if (!pull.credential.empty()) text += " cred=" + Word(pull.credential);
        if (!pull.host.empty()) text += " host=" + Escape(pull.host);
        out += Line(pull, now, state, text);
      }
      if (pull.wait != state.wait && Lately(state, now) < kLinesPerMinute) {
        state.wait = pull.wait;
        if (!pull.wait.empty()) out += Line(pull, now, state, Escape(pull.wait));
      }
      if (now.steady - state.last >= kHeartbeat && Lately(state, now) < kLinesPerMinute) out += Line(pull, now, state, Heartbeat(pull));
    }
    return out;
  }

  std::string Ended(const PullView& pull, const Moment& now) override {
    State unused;
    if (pull.failure)
      return Line(pull, now, unused, "failed " + Escape(pull.failure->code) + " " + Took(Seconds(pull.elapsed))) +
             FailureText(At(pull.image, *pull.failure));
    const v1::Pulled& done = *pull.pulled;
    std::string text = "done " + Digest(done.digest(), true);
    if (NothingFetched(done)) text += " here already";
    else text += " " + Tight(Size(done.bytes_fetched()));
    if (done.bytes_resumed() > 0) text += " resumed=" + Tight(Size(done.bytes_resumed()));
    return Line(pull, now, unused, text + " " + Took(done.total_seconds()));
  }
  std::string Warned(const PullView& pull, const std::string& host, const std::string& text, const Moment& now) override {
    State unused;
    return Line(pull, now, unused, WarningText(host, text));
  }

 private:
  static constexpr time::Duration kHeartbeat = seconds(10);
  static constexpr std::size_t kLinesPerMinute = 6;
  struct State {
    bool started = false, resolved = false;
    std::string wait;
    time::SteadyTime last;
    std::deque<time::SteadyTime> lines;
  };

  static std::string Tight(std::string size) {  // "86.9MiB": one word of a log line
    std::erase(size, ' ');
    return size;
  }
  static std::string Word(std::string_view text) {
    std::string out = Escape(text);
    return out.find(' ') == out.npos ? out : "\"" + out + "\"";
  }
  static std::size_t Lately(State& state, const Moment& now) {
    while (!state.lines.empty() && now.steady - state.lines.front() >= seconds(60)) state.lines.pop_front();
    return state.lines.size();
  }
  static std::string Line(const PullView& pull, const Moment& now, State& state, const std::string& text) {
    state.last = now.steady;
    state.lines.push_back(now.steady);
    return ClockTime(now.wall) + " pull " + Escape(pull.image) + " " + text + "\n";
  }
  static std::string Heartbeat(const PullView& pull) {
    if (!pull.resolved() || pull.layers.empty()) {
      std::string text = Escape(pull.phase) + " " + Took(Seconds(pull.elapsed));
      if (pull.waiting_pulls > 0) text += " waiting=" + std::to_string(pull.waiting_pulls);
      return text;
    }
    std::string text = Tight(SizePair(pull.current_bytes(), pull.total_bytes())) + " " +
                       std::to_string(Percent(pull.current_bytes(), pull.total_bytes())) + "% " +
                       Tight(Rate(pull.rate));
    if (const auto eta = pull.eta()) text += " eta=" + Took(*eta);
    text += " active=" + std::to_string(pull.CountOf(LayerPhase::kFetching));
    if (const auto n = pull.CountOf(LayerPhase::kUnpacking); n > 0) text += " unpacking=" + std::to_string(n);
    return text + " done=" + std::to_string(pull.CountOf(LayerPhase::kDone));
  }

  std::map<std::size_t, State> states_;
};

class JsonLines final : public Reporter {
 public:
  std::string Update(const Snapshot& pulls, const Moment& now) override {
    std::string out;
    for (std::size_t i = 0; i < pulls.size(); ++i) {
      const PullView& pull = pulls[i];
      State& state = states_[i];
      if (!state.started) {
        state.started = true;
        json::Writer w = Begin("start", pull, now);
        w.Key("policy").String(pull.policy.empty() ? "IfNotPresent" : pull.policy);
        out += End(w);
      }
      if (pull.ended()) continue;
      if (!state.resolved && pull.resolved() && !pull.layers.empty()) {
        state.resolved = true;
        json::Writer w = Begin("resolved", pull, now);
        w.Key("digest").String(pull.digest).Key("platforms").String(pull.platforms);
        w.Key("credential").String(pull.credential).Key("host").String(pull.host);
        w.Key("layers").Uint(pull.layers.size()).Key("total").Uint(pull.total_bytes());
        out += End(w);
      }
      if (pull.phase != state.phase) {
        state.phase = pull.phase;
        json::Writer w = Begin("phase", pull, now);
        w.Key("phase").String(pull.phase).Key("waiting_pulls").Uint(pull.waiting_pulls);
        out += End(w);
      }
      if (pull.wait != state.wait) {
        state.wait = pull.wait;
        json::Writer w = Begin("waiting", pull, now);
        w.Key("text").String(pull.wait);
        out += End(w);
      }
      state.layers.resize(pull.layers.size());
      for (std::size_t j = 0; j < pull.layers.size(); ++j) out += Layer(pull, pull.layers[j], state.layers[j], now);
    }
    return out;
  }

  std::string Ended(const PullView& pull, const Moment& now) override {
    if (pull.failure) {
      json::Writer w = Begin("failed", pull, now);
      w.Key("code").String(pull.failure->code).Key("message").String(pull.failure->message);
      w.Key("next").String(pull.failure->next).Key("exit_status").Int(pull.failure->exit_status);
      return End(w);
    }
    const v1::Pulled& done = *pull.pulled;
    json::Writer w = Begin("pulled", pull, now);
    w.Key("name").String(done.name()).Key("digest").String(done.digest()).Key("was_present").Bool(done.was_present());
    w.Key("bytes_fetched").Uint(done.bytes_fetched()).Key("bytes_reused").Uint(done.bytes_reused());
    w.Key("bytes_resumed").Uint(done.bytes_resumed());
    const v1::CredentialUse& used = done.used_credential();
    w.Key("credential").BeginObject();
    w.Key("source").String(used.source()).Key("namespace").String(used.namespace_()).Key("name").String(used.name());
    w.Key("pattern").String(used.pattern()).Key("user").String(used.user()).Key("text").String(done.credential());
    w.EndObject();
    w.Key("host").String(done.host());
    w.Key("seconds").BeginObject();
    w.Key("queue").Double(done.queue_seconds()).Key("resolve").Double(done.resolve_seconds());
    w.Key("fetch").Double(done.fetch_seconds()).Key("unpack").Double(done.unpack_seconds()).Key("total").Double(done.total_seconds());
    w.EndObject();
    return End(w);
  }
  std::string Warned(const PullView& pull, const std::string& host, const std::string& text, const Moment& now) override {
    json::Writer w = Begin("warning", pull, now);
    w.Key("host").String(host).Key("text").String(text);
    return End(w);
  }

 private:
  struct LayerSeen { LayerPhase phase = LayerPhase::kWaiting; std::uint64_t current = 0; time::SteadyTime at; };
  struct State { bool started = false, resolved = false; std::string phase = "queued", wait; std::vector<LayerSeen> layers; };

  static json::Writer Begin(std::string_view event, const PullView& pull, const Moment& now) {
    json::Writer w;
    w.BeginObject().Key("ts").String(Timestamp(now.wall)).Key("event").String(event).Key("image").String(pull.image);
    if (!pull.pull.empty()) w.Key("pull").String(pull.pull);
    return w;
  }
  static std::string End(json::Writer& w) {
    w.EndObject();
    return std::move(w).Take() + "\n";
  }
  static std::string Layer(const PullView& pull, const LayerView& layer, LayerSeen& seen, const Moment& now) {
    const bool moved = layer.current != seen.current && now.steady - seen.at >= seconds(1);
    if (layer.phase == seen.phase && !moved) return "";
    seen = {layer.phase, layer.current, now.steady};
    json::Writer w = Begin("progress", pull, now);
    w.Key("phase").String(Name(layer.phase)).Key("layer").String(layer.digest);
    w.Key("current").Uint(layer.current).Key("total").Uint(layer.total).Key("resumed_from").Uint(layer.resumed_from);
    w.Key("rate").Uint(static_cast<std::uint64_t>(layer.rate)).Key("host").String(layer.host);
    return End(w);
  }

  std::map<std::size_t, State> states_;
};

}  // namespace

std::string Bar(std::uint64_t resumed, std::uint64_t current, std::uint64_t total, std::size_t width) {
  const auto cells = [&](std::uint64_t bytes) -> std::size_t {
    if (bytes >= total) return total == 0 ? 0 : width;
    return static_cast<std::size_t>(static_cast<double>(bytes) / static_cast<double>(total) * static_cast<double>(width));
  };
  const std::size_t full = cells(current), old = std::min(cells(resumed), full);
  std::string bar(width, '.');
  std::fill_n(bar.begin(), full, '#');
  std::fill_n(bar.begin(), old, '=');
  if (full < width && current > 0) bar[full] = '>';
  return "[" + bar + "]";
}

std::string Summary(const PullView& pull) {
  const v1::Pulled& done = *pull.pulled;
  std::string out = "pulled " + Escape(pull.image);
  if (pull.image.find('@') == std::string::npos) out += "@" + Digest(done.digest(), false);
  if (NothingFetched(done)) return out + ": here already (" + Took(done.total_seconds()) + ")";
  out += "  " + Size(done.bytes_fetched()) + " in " + Took(done.total_seconds()) + "  (resolve " + Took(done.resolve_seconds());
  if (done.fetch_seconds() > 0) out += ", fetch " + Took(done.fetch_seconds()) + ", unpack " + Took(done.unpack_seconds()) + ", overlapped";
  if (done.bytes_reused() > 0) out += ", " + Size(done.bytes_reused()) + " reused";
  if (done.bytes_resumed() > 0) out += ", " + Size(done.bytes_resumed()) + " resumed";
  return out + ")";
}

std::vector<std::string> Frame(const Snapshot& pulls, const TerminalSize& size, bool layers) {
  const std::size_t columns = std::max<std::size_t>(size.columns, 2) - 1;
  // Head, resolved and total lines, and the row the cursor rests in.
  const std::size_t most = std::clamp<std::size_t>(size.rows > 4 ? size.rows - 4 : 1, 1, kMostRows);
  std::vector<std::string> lines = pulls.size() == 1 ? OneImage(pulls[0], columns, most) : Images(pulls, columns, most, layers);
  for (auto& line : lines) line = Cut(line, columns);
  return lines;
}

std::unique_ptr<Reporter> MakeReporter(ProgressMode mode, RenderOptions options) {
  switch (mode) {
    case ProgressMode::kTty: return std::make_unique<Tty>(std::move(options));
    case ProgressMode::kPlain: return std::make_unique<Plain>(std::move(options));
    case ProgressMode::kJson: return std::make_unique<JsonLines>();
    case ProgressMode::kNone: return std::make_unique<None>(std::move(options));
  }
  return std::make_unique<None>(std::move(options));
}

}  // namespace berth::cli
