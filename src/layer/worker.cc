#include "layer/worker.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <tuple>

#include "bytes/encoding.h"
#include "host/poll.h"
#include "json/document.h"
#include "layer/exit_status.h"

namespace berth::layer {
namespace {

constexpr std::size_t kAnswerBytes = 4u << 20;
// The tree of a layer with many files takes tens of MiB: in pages of 4 KiB their faults cost as much as parsing the archive.
constexpr const char* kHugePages = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1";
constexpr std::size_t kTextBytes = 900;  // of an error: with our own words at most 1 KiB
constexpr json::Limits kJson{.bytes = kAnswerBytes, .depth = 8, .values = 200'000};
// Room for all marks (as hex in quotes) and the report.
static_assert(2 * kMarkBytes + (64u << 10) < kAnswerBytes && kMarkBytes / kMarkBytesEach + 1000 < kJson.values);

Error Nonsense(std::string_view what) {
  return Error(Reason::kInternal, "the unpack worker gave no proper answer: " + std::string(what));
}

// What a worker may blame. Anything else that it says is a defect of it.
constexpr std::array kVerdicts{Reason::kInvalidLayer, Reason::kUnsupported, Reason::kLimitExceeded, Reason::kPolicy,  Reason::kNoSpace,
                               Reason::kIo,           Reason::kCorrupt,     Reason::kUnavailable,   Reason::kDenied,  Reason::kInternal};

Error ErrorOf(const json::Value& value) {
  const auto member = [&](std::string_view key) -> Result<std::string_view> {
    ASSIGN_OR_RETURN(const json::Value found, value.Get(key));
    return found.AsString();
  };
  const auto code = member("code"), text = member("text");
  if (!code || !text) return Nonsense("an error without a code or a text");
  const result::ReasonInfo* info = result::FindByCode(*code);
  if (!info || std::ranges::find(kVerdicts, info->reason) == kVerdicts.end()) return Nonsense("an error with an unknown code");
  const bool plain = text->size() <= kTextBytes && std::ranges::all_of(*text, [](char c) { return c >= ' ' && c <= '~'; });
  // Its jail wants a right that we do not have; no registry denied anything.
  Error error(info->reason == Reason::kDenied ? Reason::kUnsupported : info->reason, plain ? std::string(*text) : Quoted(*text));
  if (info->reason == Reason::kDenied) return std::move(error).Next("give berthd the right that is named; berth doctor shows what it may do");
  if (info->reason == Reason::kNoSpace) return std::move(error).Next(kFreeSpace);
  return error;
}

// No honest worker needs that long for one slot of its input, or for its end.
constexpr auto kSilence = std::chrono::minutes(30);
Error Silent(const task::Context& ctx, Error error) {
  if (error.reason() != Reason::kTimeout || !ctx.Check()) return error;  // the caller's own time
  return Nonsense("it made no progress for 30 minutes");
}

Error Died(const host::ExitStatus& status) {
  if (!status.signalled && status.code == kAnswerLost) return Error(Reason::kIo, "the unpack worker could not write its answer").Retryable(true);
  if (!status.signalled) return Error(Reason::kInternal, "the unpack worker ended without an answer (" + status.Text() + ")");
  if (status.code != SIGKILL) return Error(Reason::kInternal, "the unpack worker crashed (" + status.Text() + ")");
  return Error(Reason::kInternal, "the unpack worker was killed: memory limit of its control group, or by hand")
      .Retryable(true)
      .Next("look for the out-of-memory killer in the kernel log");
}

Result<json::Document> ParseAnswer(std::string_view answer) {
  auto document = json::Document::Parse(answer, Reason::kInternal, kJson);
  if (!document || !document->root().IsObject()) return Nonsense("it is no JSON object");
  return document;
}

}  // namespace

Result<Worker> Worker::Start(const std::string& program, const std::string& options, std::vector<std::pair<int, int>> fds, bool input) {
  ASSIGN_OR_RETURN(const host::Fd text, host::MemFd("unpack-options", bytes::AsView(options)));
  ASSIGN_OR_RETURN(host::Pipe answer, host::MakePipe());
  std::optional<host::ChannelWriter> feed;
  host::ChannelWriter::ReaderEnd end;
  if (input) {
    ASSIGN_OR_RETURN(std::tie(feed, end), host::ChannelWriter::Open());
    fds.insert(fds.end(), {{kChannelFds[0], end.memory.get()}, {kChannelFds[1], end.lengths.get()}, {kChannelFds[2], end.freed.get()}});
  }
  fds.emplace_back(0, text.get());
  fds.emplace_back(1, answer.write.get());
  host::ProcessSpec spec{.program = program, .argv = {"berth-unpack"}, .env = {kHugePages}, .fds = std::move(fds)};
  spec.own = host::ProcessSpec::Own::kGroup;  // it shares our share of the processors
  spec.die_with_thread = false;  // a Staging may change threads; at our end the worker sees the end of its input
  ASSIGN_OR_RETURN(host::Process process, host::Process::Spawn(spec));
  if (feed) feed->AnswersOn(answer.read.get());
  return Worker(std::move(process), std::move(feed), std::move(answer.read));
}

// It has spoken, or ended, before it had read everything: that can only be an error.
Error Worker::EndedEarly(const task::Context& ctx) {
  const auto answer = Finish(ctx);
  return answer ? Nonsense("it ended before its input") : answer.error();
}

Result<bytes::MutableView> Worker::Room(const task::Context& ctx) {
  auto room = input_->Room(ctx.WithTimeout(kSilence));
  if (!room) return Silent(ctx, std::move(room).error());
  if (room->empty()) return EndedEarly(ctx);
  return room;
}

Result<> Worker::HandOver(const task::Context& ctx, std::size_t count) {
  const auto there = input_->HandOver(ctx.WithTimeout(kSilence), count);
  if (!there) return Silent(ctx, there.error());
  if (!*there) return EndedEarly(ctx);
  return {};
}

void Worker::Close() {
  if (input_) input_->Close();
}

Result<std::string> Worker::Finish(const task::Context& ctx) {
  Close();
  auto answer = Answer(ctx.WithTimeout(kSilence));
  return answer ? std::move(answer) : Silent(ctx, std::move(answer).error());
}

Result<std::string> Worker::Answer(const task::Context& ctx) {
  std::string answer;
  std::array<std::byte, 16384> piece;
  for (;;) {
    RETURN_IF_ERROR(host::AwaitReadable(ctx, output_.get()));
    ASSIGN_OR_RETURN(const std::size_t count, host::ReadSome(output_.get(), piece));
    if (count == 0) break;
    if (answer.size() + count > kAnswerBytes) return Nonsense("it is too long");
    answer += bytes::AsText(bytes::View(piece).first(count));
  }
  ASSIGN_OR_RETURN(const host::ExitStatus status, process_.Wait(ctx));
  if (status.signalled || answer.empty()) return Died(status);
  ASSIGN_OR_RETURN(const json::Document document, ParseAnswer(answer));
  if (const auto error = document.root().Find("error")) return ErrorOf(*error);
  if (!status.success()) return Died(status);
  return answer;
}

Result<std::unique_ptr<Unpack>> Unpack::Start(const task::Context& ctx, const std::string& program, int data_fd, int meta_fd,
                                              const UnpackOptions& options) {
  json::Writer w;
  w.BeginObject().Key("mode").String("unpack").Key("options").Raw(options.ToJson()).EndObject();
  ASSIGN_OR_RETURN(Worker worker, Worker::Start(program, w.text(), {{4, data_fd}, {5, meta_fd}}, /*input=*/true));
  return std::unique_ptr<Unpack>(new Unpack(ctx, std::move(worker), options));
}

Result<bytes::MutableView> Unpack::Room() {
  if (failed_) return *failed_;
  auto room = worker_.Room(ctx_);
  if (!room) failed_ = room.error();
  return room;
}

Result<> Unpack::HandOver(std::size_t count) {
  if (failed_) return *failed_;
  auto given = worker_.HandOver(ctx_, count);
  if (!given) failed_ = given.error();
  given_ += count;
  return given;
}

Result<Unpack::Answer> Unpack::Finish() {
  if (failed_) return *failed_;
  failed_ = Error(Reason::kInternal, "an unpack is finished once");
  ASSIGN_OR_RETURN(const std::string text, worker_.Finish(ctx_));
  ASSIGN_OR_RETURN(const json::Document document, ParseAnswer(text));
  const json::Value root = document.root();
  const auto report = root.Find("report"), opaque = root.Find("opaque"), origin = root.Find("origin");
  if (!report || !opaque || !origin || root.size() != 3) return Nonsense("it has other members than expected");
  auto parsed = UnpackReport::FromJson(report->Dump());
  if (!parsed) return Nonsense("its report cannot be read");
  Answer answer{std::move(*parsed), {}};
  for (const auto& [list, paths] : {std::pair(*opaque, &answer.marks.opaque), std::pair(*origin, &answer.marks.origin)}) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      const auto path = list.at(i).AsString();
      const auto decoded = path ? bytes::FromHex(*path) : std::nullopt;
      if (!decoded) return Nonsense("it names a directory badly");
      paths->push_back(*decoded);
    }
  }
  const UnpackReport& r = answer.report;
  if (r.blob != options_.blob || r.form != options_.form || r.compressed_bytes != given_ ||
      r.diff_id.algorithm() != options_.diff_algorithm || r.uncompressed_bytes > options_.codec.output_bytes) {
    return Nonsense("its report is about something else");
  }
  return answer;
}

Result<std::vector<bool>> RunFit(const task::Context& ctx, const std::string& program, std::span<const FitLayer> layers,
                                 const UnpackOptions& options) {
  json::Writer w;
  w.BeginObject().Key("mode").String("fit").Key("options").Raw(options.ToJson()).Key("layers").BeginArray();
  std::vector<std::pair<int, int>> fds;
  int next = 4;
  for (const FitLayer& layer : layers) {
    w.BeginObject().Key("blob").String(layer.blob.ToString()).Key("variant").Bool(layer.variant_fd >= 0).EndObject();
    fds.emplace_back(next++, layer.meta_fd);
    if (layer.variant_fd >= 0) fds.emplace_back(next++, layer.variant_fd);
  }
  w.EndArray().EndObject();
  ASSIGN_OR_RETURN(Worker worker, Worker::Start(program, w.text(), std::move(fds), /*input=*/false));
  ASSIGN_OR_RETURN(const std::string text, worker.Finish(ctx));
  ASSIGN_OR_RETURN(const json::Document document, ParseAnswer(text));
  const auto variants = document.root().Find("variants");
  if (!variants || variants->size() != layers.size()) return Nonsense("it is about other layers");
  std::vector<bool> written;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto one = variants->at(i).AsBool();
    if (!one || (*one && layers[i].variant_fd < 0)) return Nonsense("it is about other layers");
    written.push_back(*one);
  }
  return written;
}

Result<std::string> TryJail(const task::Context& ctx, const std::string& program, int folder_fd, const UnpackOptions& options) {
  json::Writer w;
  w.BeginObject().Key("mode").String("try").Key("options").Raw(options.ToJson()).EndObject();
  ASSIGN_OR_RETURN(Worker worker, Worker::Start(program, w.text(), {{4, folder_fd}}, /*input=*/false));
  ASSIGN_OR_RETURN(const std::string text, worker.Finish(ctx));
  ASSIGN_OR_RETURN(const json::Document document, ParseAnswer(text));
  const auto jail = document.root().Find("jail");
  if (!jail) return Nonsense("it says nothing about its jail");
  ASSIGN_OR_RETURN(const std::string_view report, jail->AsString());
  return std::string(report);
}

}  // namespace berth::layer
