#include "reclaim/image_gc.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "bytes/text.h"
#include "host/fault.h"
#include "log/log.h"
#include "policy/messages.h"
#include "time/go_duration.h"

namespace berth::reclaim {
namespace {

// A use is written down when it ends, and while it lasts once in that time: a crash costs no more.
constexpr auto kSaveEvery = std::chrono::hours(1);
constexpr std::uint64_t kLongestBackOff = 16;  // periods
constexpr std::int64_t kEverything = std::numeric_limits<std::int64_t>::max();

// Who else has an object: what removing images in some order gives back.
class Ledger {
 public:
  void Add(const CollectableImage& image) {
    for (const auto& [object, bytes] : image.parts) ++users_[object];
  }
  std::uint64_t Alone(const CollectableImage& image) const {
    std::uint64_t sum = 0;
    for (const auto& [object, bytes] : image.parts)
      if (const auto users = users_.find(object); users != users_.end() && users->second == 1) sum += bytes;
    return sum;
  }
  void Drop(const std::string& object) { users_.erase(object); }
  std::uint64_t Take(const CollectableImage& image) {
    const std::uint64_t sum = Alone(image);
    for (const auto& [object, bytes] : image.parts)
      if (const auto users = users_.find(object); users != users_.end() && --users->second == 0) users_.erase(users), gone_.insert(object);
    return sum;
  }
  const std::set<std::string>& gone() const { return gone_; }  // that were taken

 private:
  std::map<std::string, std::size_t> users_;
  std::set<std::string> gone_;
};

std::string Number(std::int64_t n) { return std::to_string(n); }
std::string Number(std::uint64_t n) { return std::to_string(n); }

}  // namespace

struct ImageGc::Round {
  const bool dry_run;
  const bool sizes;      // somebody reads the rows
  const time::SteadyTime at;
  const time::WallTime began;
  GcReport report;
  Ledger ledger;
  std::vector<std::pair<Candidate, std::string>> kept;   // what is no candidate, and why
  std::uint64_t target_available = 0; // where it may end
  std::vector<std::string> errors;
};

std::string_view Name(GcReason reason) { return reason == GcReason::kAge ? "age" : "space"; }

ImageGc::ImageGc(GcPolicy policy, Parts parts) : policy_(policy), parts_(std::move(parts)), began_(parts_.clock.SteadyNow()) {}

std::map<std::string, ImageGc::Record> ImageGc::records() const {
  std::lock_guard lock(mutex_);
  return {known_.begin(), known_.end()};
}

GcCounters ImageGc::counters() const {
  std::lock_guard lock(counters_mutex_);
  return counters_;
}

void ImageGc::Run(const std::stop_token& stop) {
  const task::Context ctx(stop, parts_.clock);
  bool failed = false;
  do {
    Result<> done = {};
    if (policy_.enabled()) done = Collect(ctx, {.scheduled = true}).verdict;
    else done = Detect(ctx);
    if (!done && done.error().cancelled()) return;
    if (!done) {
      log::Warning("image garbage collection failed", {{"error", done.error()}, {"again", failed}});
      if (failed && policy_.enabled()) parts_.warn("ImageGCFailed", done.error().Text());
    }
    failed = !done;
  } while (parts_.clock.SleepFor(stop, kPeriod));
}

Result<> ImageGc::Detect(const task::Context& ctx) {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Look(ctx, parts_.clock.SteadyNow(), nullptr));
  return {};
}

std::optional<time::WallTime> ImageGc::Wall(const Record& record) const {
  if (!record.last_used) return std::nullopt;
  return parts_.clock.WallNow() - (parts_.clock.SteadyNow() - *record.last_used);
}

// Candidates in the order of their removal. Of a round also the rows of what is none, and who has what.
Result<std::vector<ImageGc::Candidate>> ImageGc::Look(const task::Context& ctx, time::SteadyTime at, Round* round) {
  using Sizes = ImageStore::Sizes;
  ASSIGN_OR_RETURN(auto images, parts_.images.List(ctx, round != nullptr && round->sizes ? Sizes::kYes : Sizes::kNo));
  ASSIGN_OR_RETURN(const InUse in_use, parts_.in_use(ctx));
  const time::SteadyTime now = parts_.clock.SteadyNow();
  const time::WallTime wall = parts_.clock.WallNow();
  std::map<std::string, Known> known;
  std::vector<Candidate> candidates;
  std::vector<std::string> used;
  for (auto& image : images) {
    const auto before = known_.find(image.id);
    Known record;
    if (before != known_.end()) {
      record = before->second;
    } else {
      record.first_detected = at;
    }
    // Of an earlier daemon, or of a use between two looks.
    if (image.last_used > record.saved) {
      record.saved = image.last_used;
      const time::SteadyTime use = now - std::max(wall - image.last_used, time::Duration::zero());
      record.last_used = record.last_used ? std::max(*record.last_used, use) : use;
    }
    const auto user = in_use.find(image.id);
    const bool is_used = user != in_use.end();
    if (is_used) record.last_used = now;
    if ((is_used && wall - record.saved > kSaveEvery) || (record.in_use && !is_used)) {
      used.push_back(image.id);
      record.saved = wall;
    }
    record.in_use = is_used;
    known.emplace(image.id, record);
    if (round != nullptr) round->ledger.Add(image);
    Candidate candidate{std::move(image), record};
    if (!is_used && !candidate.image.pin) {
      candidates.push_back(std::move(candidate));
    } else if (round != nullptr) {
      std::string why;
      if (candidate.image.pin) why = candidate.image.pin->Text();
      if (is_used) why += (why.empty() ? "in use by " : "; in use by ") + user->second;
      round->kept.emplace_back(std::move(candidate), std::move(why));
    }
  }
  known_ = std::move(known);
  // Not worth a round, least of all on a disk that is full.
  if (const auto saved = parts_.images.MarkUsed(used, wall); !saved)
    log::Warning("when images were used last could not be written down", {{"error", saved.error()}});
  std::ranges::stable_sort(candidates, [](const Candidate& a, const Candidate& b) {
    const auto key = [](const Candidate& c) {
      return std::tuple(c.record.last_used.value_or(time::SteadyTime::min()), c.record.first_detected, c.image.pulled);
    };
    return key(a) < key(b);
  });
  return candidates;
}

GcRow ImageGc::RowOf(const Candidate& candidate, const Round& round) const {
  return {.id = candidate.image.id, .names = candidate.image.names, .last_used = Wall(candidate.record),
          .frees = round.ledger.Alone(candidate.image), .action = GcRow::Action::kKeep, .why = ""};
}

GcReport ImageGc::Collect(const task::Context& ctx, const GcRequest& request) {
  std::lock_guard lock(mutex_);
  Round round{.dry_run = request.dry_run, .sizes = !request.scheduled, .at = parts_.clock.SteadyNow(), .began = parts_.clock.WallNow(),
              .report = {}, .ledger = {}, .kept = {}, .target_available = 0, .errors = {}};
  round.report.high_percent = request.target.value_or(policy_.high_percent);
  round.report.low_percent = request.target.value_or(policy_.low_percent);
  round.report.verdict = Carry(ctx, request, round);
  for (auto& [candidate, why] : round.kept) {
    round.report.rows.push_back(RowOf(candidate, round));
    round.report.rows.back().why = std::move(why);
  }
  if (request.dry_run) return std::move(round.report);
  std::lock_guard counting(counters_mutex_);
  ++counters_.rounds;
  if (!round.report.verdict) ++counters_.failures;
  counters_.unneeded_bytes += round.report.unneeded_freed;
  counters_.image_bytes += round.report.freed_by_age + round.report.freed - round.report.unneeded_freed;
  counters_.total += parts_.clock.SteadyNow() - round.at;
  return std::move(round.report);
}

Result<> ImageGc::Carry(const task::Context& ctx, const GcRequest& request, Round& round) {
  GcReport& report = round.report;
  if (!round.dry_run) BERTH_FAULT_IN(ctx, kGcMark);
  ASSIGN_OR_RETURN(auto candidates, Look(ctx, round.at, &round));
  if (!round.dry_run) BERTH_FAULT_IN(ctx, kGcRoots);
  if (!request.unused) RETURN_IF_ERROR(ByAge(ctx, candidates, round));

  ASSIGN_OR_RETURN(const host::Space space, parts_.disk());
  report.capacity = space.total_bytes;
  report.available = std::min(space.available_bytes, space.total_bytes);
  if (report.capacity == 0 && !request.unused) {
    if (!round.dry_run) parts_.warn("InvalidDiskCapacity", "invalid capacity 0 on image filesystem");
    return Error(Reason::kIo, "invalid capacity 0 on image filesystem");
  }
  const auto capacity = static_cast<std::int64_t>(report.capacity), available = static_cast<std::int64_t>(report.available);
  // In ways that no capacity overflows: some network file systems have all that 63 bits can say.
  const auto percent_of = [&](std::int64_t percent) { return capacity / 100 * percent + capacity % 100 * percent / 100; };
  const unsigned shift = report.capacity >> 56 != 0 ? 20 : 0;
  if (capacity > 0) report.used_percent = 100 - ((available >> shift) * 100) / (capacity >> shift);
  if (!request.unused && report.used_percent < report.high_percent) {
    stalled_ = 0;
    for (const auto& candidate : candidates) {
      round.report.rows.push_back(RowOf(candidate, round));
      round.report.rows.back().why = "unused; the disk is used below " + Number(report.high_percent) + "%";
    }
    return {};
  }
  const std::int64_t amount = request.unused ? kEverything : percent_of(100 - report.low_percent) - available;
  report.wanted = request.unused || amount < 0 ? 0 : static_cast<std::uint64_t>(amount);
  round.target_available = request.unused ? std::numeric_limits<std::uint64_t>::max() : report.available + report.wanted;
  if (request.scheduled && BacksOff(candidates, round)) {
    ++stalled_;
    return {};
  }
  std::set<std::string> choice;
  for (const auto& candidate : candidates) choice.insert(candidate.image.id);
  if (!round.dry_run) BERTH_FAULT_IN(ctx, kGcCandidates);

  if (!request.unused && amount > 0) {
    auto freed = round.dry_run ? parts_.images.WouldFree(ctx, report.wanted, round.ledger.gone())
                               : parts_.images.FreeUnneeded(ctx, report.wanted);
    if (freed) {
      report.unneeded = *std::move(freed);
    } else {
      round.errors.push_back(freed.error().Text());
    }
    for (const auto& [object, bytes] : report.unneeded) {
      round.ledger.Drop(object);
      report.unneeded_freed += bytes;
    }
    report.freed += report.unneeded_freed;
  }
  RETURN_IF_ERROR(FreeSpace(ctx, candidates, amount, round));
  if (round.dry_run) return {};

  if (const auto now = parts_.disk()) report.grown = static_cast<std::int64_t>(now->available_bytes) - available;
  if (!request.unused && amount > 0) {
    // Some file systems give back late, or nothing at all (reflinks, snapshots, deleted files that are open).
    const bool helped = report.freed > 0 && report.grown >= static_cast<std::int64_t>(report.freed / 4);
    if (report.freed > 0 && !helped)
      log::Warning("the file system gives back less than was freed", {{"freed", report.freed}, {"grown", report.grown}});
    stalled_ = helped ? 0 : stalled_ + 1;
    tried_ = std::move(choice);
  }
  log::Info("images collected", {{"freed", report.freed}, {"of_it_unneeded", report.unneeded_freed}, {"wanted", report.wanted},
                                 {"used_percent", report.used_percent}});
  if (!round.errors.empty())
    return Error(Reason::kIo, "wanted to free " + Number(amount) + " bytes, but freed " + Number(report.freed) +
                                  " bytes space with errors in image deletion: " + policy::AggregateErrors(round.errors));
  RETURN_IF_ERROR(Hooks(ctx, round));
  BERTH_FAULT_IN(ctx, kGcDone);
  if (request.unused || amount <= 0 || report.freed >= report.wanted) return {};
  // Others may have given back what we could not.
  if (const auto now = parts_.disk(); now && now->available_bytes >= round.target_available) return {};
  const std::string text = "Insufficient free disk space on the node's image filesystem (" + Number(report.used_percent) + "% of " +
                           bytes::FormatSize(report.capacity) + " used). Failed to free sufficient space by deleting unused images (freed " +
                           Number(report.freed) +
                           " bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or other data.";
  parts_.warn("FreeDiskSpaceFailed", text);
  return Error(Reason::kNoSpace, text);
}

// Rounds that changed nothing are repeated ever more seldom, unless there is something new to remove.
bool ImageGc::BacksOff(const std::vector<Candidate>& candidates, const Round& round) const {
  if (stalled_ == 0 || stalled_ % kLongestBackOff == 0 || (stalled_ & (stalled_ - 1)) == 0) return false;
  return std::ranges::all_of(candidates, [&](const Candidate& c) {
    return tried_.contains(c.image.id) || round.at - c.record.first_detected < policy_.min_age;
  });
}

Result<bool> ImageGc::Take(const task::Context& ctx, const Candidate& candidate, GcReason reason, Round& round) {
  GcRow row = RowOf(candidate, round);
  row.action = GcRow::Action::kRemove;
  row.why = reason == GcReason::kAge ? "unused for longer than " + time::FormatGoDuration(policy_.max_age) : "unused";
  if (round.dry_run) {
    row.frees = round.ledger.Take(candidate.image);
    round.report.freed += row.frees;
    round.report.rows.push_back(std::move(row));
    return true;
  }
  const auto removed = parts_.images.Remove(ctx, candidate.image.id, reason, [&]() -> Result<bool> {
    ASSIGN_OR_RETURN(const InUse now, parts_.in_use(ctx));
    return !now.contains(candidate.image.id);
  });
  if (!removed && removed.error().cancelled()) return removed.error();
  BERTH_FAULT_IN(ctx, kGcDelete);
  if (!removed) {
    row.action = GcRow::Action::kFailed;
    row.why = removed.error().Text();
    round.errors.push_back(row.why);
  } else if (!*removed) {
    row.action = GcRow::Action::kKeep;
    row.why = "somebody began to use it";
  } else {
    round.ledger.Take(candidate.image);
    row.frees = **removed;
    round.report.freed += row.frees;
    known_.erase(candidate.image.id);
    std::lock_guard counting(counters_mutex_);
    ++(reason == GcReason::kAge ? counters_.images_by_age : counters_.images_by_space);
  }
  const bool gone = row.action == GcRow::Action::kRemove;
  round.report.rows.push_back(std::move(row));
  return gone;
}

Result<> ImageGc::ByAge(const task::Context& ctx, std::vector<Candidate>& candidates, Round& round) {
  if (policy_.max_age <= time::Duration::zero() || round.at - began_ <= policy_.max_age) return {};
  std::vector<Candidate> rest;
  for (auto& candidate : candidates) {
    if (candidate.record.last_used && round.at - *candidate.record.last_used <= policy_.max_age) {
      rest.push_back(std::move(candidate));
      continue;
    }
    RETURN_IF_ERROR(Take(ctx, candidate, GcReason::kAge, round));
  }
  candidates = std::move(rest);
  // No size accounting: the space that is wanted is measured after this.
  round.report.freed_by_age = std::exchange(round.report.freed, 0);
  if (round.errors.empty()) return {};
  return Error(Reason::kIo, "wanted to free images older than " + time::FormatGoDuration(policy_.max_age) +
                                ", encountered errors in image deletion: " + policy::AggregateErrors(round.errors));
}

Result<> ImageGc::FreeSpace(const task::Context& ctx, std::vector<Candidate>& candidates, std::int64_t amount, Round& round) {
  bool enough = amount <= 0;
  for (const auto& candidate : candidates) {
    const auto keep = [&](std::string why) {
      round.report.rows.push_back(RowOf(candidate, round));
      round.report.rows.back().why = std::move(why);
    };
    if (!enough && amount != kEverything) {
      enough = round.report.freed >= static_cast<std::uint64_t>(amount);
      if (!enough && !round.dry_run)
        if (const auto now = parts_.disk()) enough = now->available_bytes >= round.target_available;
    }
    if (enough) {
      keep("unused; " + Number(round.report.low_percent) + "% is reached without it");
    } else if (candidate.record.last_used && *candidate.record.last_used >= round.at) {
      keep("used since the round began");
    } else if (round.at - candidate.record.first_detected < policy_.min_age) {
      keep("first seen less than " + time::FormatGoDuration(policy_.min_age) + " ago");
    } else {
      RETURN_IF_ERROR(Take(ctx, candidate, GcReason::kSpace, round));
    }
  }
  return {};
}

Result<> ImageGc::Hooks(const task::Context& ctx, const Round& round) {
  if (!parts_.after) return {};
  ASSIGN_OR_RETURN(const auto images, parts_.images.List(ctx, ImageStore::Sizes::kNo));
  std::set<std::string> present;
  for (const auto& image : images) present.insert(image.id);
  if (const auto done = parts_.after(ctx, present, round.began); !done) {
    if (done.error().cancelled()) return done;
    log::Warning("what goes with images could not be tidied up", {{"error", done.error()}});
  }
  return {};
}

}  // namespace berth::reclaim
