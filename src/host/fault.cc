#include "host/fault.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "host/fd.h"
#include "host/poll.h"

namespace berth::host {
namespace {

using P = FaultPoint;
constexpr std::array<FaultPointInfo, kFaultPoints> kTable{{
    {P::kPullAccepted, 0, "pull.accepted"},
    {P::kPullIntent, 1, "pull.intent"},
    {P::kPullCredential, 2, "pull.credential"},
    {P::kPullToken, 3, "pull.token"},
    {P::kManifestReceived, 4, "pull.manifest.received"},
    {P::kManifestStored, 5, "pull.manifest.stored"},
    {P::kIngestCreated, 6, "ingest.created"},
    {P::kIngestHalf, 7, "ingest.half"},
    {P::kBlobComplete, 8, "blob.complete"},
    {P::kBlobVerified, 9, "blob.verified"},
    {P::kBlobRenamed, 10, "blob.renamed"},
    {P::kBlobRecorded, 11, "blob.recorded"},
    {P::kUnpackStarted, 12, "unpack.started"},
    {P::kUnpackHalf, 13, "unpack.half"},
    {P::kUnpackLast, 14, "unpack.last"},
    {P::kUnpackCompared, 15, "unpack.compared"},
    {P::kLayerSynced, 16, "layer.synced"},
    {P::kLayerRenamed, 17, "layer.renamed"},
    {P::kLayerDirSynced, 18, "layer.dir-synced"},
    {P::kLayerRecorded, 19, "layer.recorded"},
    {P::kImageRecorded, 20, "image.recorded"},
    {P::kPullRecorded, 21, "pull.recorded"},
    {P::kPullAnswered, 22, "pull.answered"},
    {P::kLeaseReleased, 23, "lease.released"},
    {P::kRemoveNameDeleted, 24, "remove.name-deleted"},
    {P::kRemoveMarked, 25, "remove.marked"},
    {P::kRemoveTrashed, 26, "remove.trashed"},
    {P::kRemoveDeleted, 27, "remove.deleted"},
    {P::kRemoveSynced, 28, "remove.synced"},
    {P::kRemovePurged, 29, "remove.purged"},
    {P::kGcMark, 30, "gc.mark"},
    {P::kGcRoots, 31, "gc.roots"},
    {P::kGcCandidates, 32, "gc.candidates"},
    {P::kGcDelete, 33, "gc.delete"},
    {P::kGcDone, 34, "gc.done"},
}};
constexpr bool InOrder() {
  for (std::size_t i = 0; i < kTable.size(); ++i)
    if (static_cast<std::size_t>(kTable[i].point) != i || kTable[i].step != static_cast<int>(i)) return false;
  return true;
}
static_assert(InOrder(), "one row per point, in the order of the steps");

#if BERTH_FAULTS

struct ErrnoName { std::string_view name; int value; };
constexpr ErrnoName kErrnos[] = {
    {"EACCES", EACCES}, {"EAGAIN", EAGAIN}, {"EBUSY", EBUSY},   {"EDQUOT", EDQUOT}, {"EEXIST", EEXIST},
    {"EINTR", EINTR},   {"EINVAL", EINVAL}, {"EIO", EIO},       {"EMFILE", EMFILE}, {"ENFILE", ENFILE},
    {"ENOENT", ENOENT}, {"ENOMEM", ENOMEM}, {"ENOSPC", ENOSPC}, {"ENOSYS", ENOSYS}, {"EPERM", EPERM},
    {"EPIPE", EPIPE},   {"EROFS", EROFS},   {"ESTALE", ESTALE}, {"ETIMEDOUT", ETIMEDOUT}};

struct Kill {};
struct Exit {};
struct Fail { int error; };
struct Delay { std::chrono::milliseconds time; };
struct Pause { std::string path; };
struct ShutdownFs {};
using Action = std::variant<std::monostate, Kill, Exit, Fail, Delay, Pause, ShutdownFs>;

struct Armed {
  Action action;
  std::uint64_t skip = 0;
  std::uint64_t count = ~0ull;
};

// Of the process by nature, like the environment it comes from. Constant-initialised.
std::mutex mutex;
std::array<Armed, kFaultPoints> armed;  // guarded by mutex

std::optional<std::uint64_t> Number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || problem != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "*3" or "@3" at the end of `text` is cut off and returned; `otherwise` when there is none; nothing when it is malformed.
std::optional<std::uint64_t> TakeSuffix(std::string_view& text, char mark, std::uint64_t otherwise) {
  const auto after = text.rfind(')');  // paths may contain the marks
  const auto at = text.rfind(mark);
  if (at == std::string_view::npos || (after != std::string_view::npos && at < after)) return otherwise;
  const auto number = Number(text.substr(at + 1));
  text = text.substr(0, at);
  return number;
}

std::optional<Action> ParseAction(std::string_view text) {
  if (text == "kill") return Kill{};
  if (text == "exit") return Exit{};
  if (text == "shutdownfs") return ShutdownFs{};
  const auto open = text.find('(');
  if (open == std::string_view::npos || !text.ends_with(')')) return std::nullopt;
  const auto verb = text.substr(0, open);
  const auto argument = text.substr(open + 1, text.size() - open - 2);
  if (verb == "error") {
    for (const auto& [name, value] : kErrnos)
      if (name == argument) return Fail{value};
  } else if (verb == "delay") {
    if (const auto ms = Number(argument); ms && *ms <= 3'600'000) return Delay{std::chrono::milliseconds(*ms)};
  } else if (verb == "pause" && argument.starts_with('/')) {
    return Pause{std::string(argument)};
  }
  return std::nullopt;
}

Result<> ShutDown() {
  const char* path = ::getenv("BERTH_FAULT_FS");
  if (path == nullptr) return Error(Reason::kConfig, "shutdownfs needs BERTH_FAULT_FS");
  const Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return OsError(errno, "open BERTH_FAULT_FS");
  std::uint32_t without_log_flush = 2;
  if (::ioctl(fd.get(), _IOR('X', 125, std::uint32_t), &without_log_flush) != 0) return OsError(errno, "shut down the file system");
  return {};
}

Result<> WaitForRelease(const task::Context& ctx, const std::string& path) {
  if (const Fd reached(::open((path + ".reached").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)); reached.valid())
    (void)!::write(reached.get(), "!", 1);
  // Read-write: the FIFO never looks ended, whoever opens and closes the other side.
  const Fd fifo(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fifo.valid()) return OsError(errno, "open the FIFO of a pause");
  while (true) {
    RETURN_IF_ERROR(AwaitReadable(ctx, fifo.get()));
    char byte;
    if (::read(fifo.get(), &byte, 1) == 1) return {};  // else another thread took that one
  }
}

struct Act {
  const task::Context& ctx;
  std::string_view name;
  Result<> operator()(std::monostate) const { return {}; }
  Result<> operator()(Kill) const {
    ::kill(::getpid(), SIGKILL);
    while (true) ::pause();  // another thread may be the one that takes it
  }
  Result<> operator()(Exit) const { ::_exit(1); }
  Result<> operator()(Fail f) const { return OsError(f.error, "fault point " + std::string(name)); }
  Result<> operator()(Delay d) const { return ctx.Sleep(d.time); }
  Result<> operator()(const Pause& p) const { return WaitForRelease(ctx, p.path); }
  Result<> operator()(ShutdownFs) const { return ShutDown(); }
};

#endif

}  // namespace

const std::array<FaultPointInfo, kFaultPoints>& AllFaultPoints() { return kTable; }

#if BERTH_FAULTS

Result<> ConfigureFaults(std::string_view spec) {
  std::array<Armed, kFaultPoints> wanted{};
  bool any = false;
  for (std::string_view rest = spec; !rest.empty();) {
    const auto semicolon = rest.find(';');
    const auto entry = rest.substr(0, semicolon);
    rest = semicolon == std::string_view::npos ? std::string_view() : rest.substr(semicolon + 1);
    if (entry.empty()) continue;
    const auto bad = [&](std::string_view why) { return Error(Reason::kConfig, "fault " + Quoted(entry) + ": " + std::string(why)); };
    const auto equals = entry.find('=');
    if (equals == std::string_view::npos) return bad("not name=action");
    const auto name = entry.substr(0, equals);
    auto action_text = entry.substr(equals + 1);
    const auto skip = TakeSuffix(action_text, '@', 0);
    const auto count = TakeSuffix(action_text, '*', ~0ull);
    if (!skip || !count) return bad("*count and @skip take a number");
    const auto action = ParseAction(action_text);
    if (!action) return bad("unknown action");
    bool found = false;
    for (const FaultPointInfo& info : kTable)
      if (info.name == name) {
        wanted[static_cast<std::size_t>(info.step)] = Armed{*action, *skip, *count};
        found = any = true;
      }
    if (!found) return bad("unknown point");
  }
  std::lock_guard lock(mutex);
  armed = std::move(wanted);
  internal::faults_armed.store(any, std::memory_order_relaxed);
  return {};
}

Result<> internal::HitFault(const task::Context& ctx, FaultPoint point) {
  const auto index = static_cast<std::size_t>(point);
  Action action;
  {
    std::lock_guard lock(mutex);
    Armed& mine = armed[index];
    if (mine.skip > 0) return --mine.skip, Result<>();
    if (mine.count == 0) return {};
    if (mine.count != ~0ull) --mine.count;
    action = mine.action;
  }
  return std::visit(Act{ctx, kTable[index].name}, action);
}

#else

Result<> ConfigureFaults(std::string_view spec) {
  if (spec.empty()) return {};
  return Error(Reason::kConfig, "this build has no fault points");
}

#endif

Result<> ConfigureFaultsFromEnvironment() {
  const char* spec = ::getenv("BERTH_FAULTS");
  return ConfigureFaults(spec != nullptr ? spec : "");
}

}  // namespace berth::host
