#include "log/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>

namespace berth::log {
namespace {

// Whether stderr is systemd's journal (JOURNAL_STREAM=device:inode): it stamps lines itself and reads a priority before each.
bool IsJournal() {
  const char* told = std::getenv("JOURNAL_STREAM");
  struct stat st {};
  return told != nullptr && ::fstat(STDERR_FILENO, &st) == 0 && told == std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino);
}

// spdlog carries the lines (locking, flushing, the sink); the forms are ours.
struct Sink {
  Sink() : journal(IsJournal()), logger("berth", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    logger.set_pattern("%v");
    logger.set_level(spdlog::level::trace);
    logger.flush_on(spdlog::level::trace);
  }
  const bool journal;
  spdlog::logger logger;
  std::atomic<Level> level{Level::kInfo};
  std::atomic<Format> format{Format::kText};
};

Sink& TheSink() {
  static Sink sink;
  return sink;
}

std::string_view BaseName(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

// klog's name for it.
std::string_view KeyOf(const Field& field) { return field.key() == "error" ? "err" : field.key(); }

std::string Stamp(Level level) {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000;
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  char head[96];
  std::snprintf(head, sizeof head, "%c%02d%02d %02d:%02d:%02d.%06d %7d ", "DIWE"[static_cast<int>(level)], parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>(micros), static_cast<int>(::getpid()));
  return head;
}

std::string TextLine(Level level, std::string_view message, Fields fields, const Where& where) {
  std::string line = TheSink().journal ? "" : Stamp(level);
  line += BaseName(where.file_name());
  line += ':' + std::to_string(where.line()) + "] " + Quoted(message);
  for (const auto& f : fields) {
    line += ' ';
    line += KeyOf(f);
    line += '=';
    line += f.quoted() ? Quoted(f.text()) : f.text();
  }
  return line;
}

// Quoted() escapes with \xNN, which JSON does not know: spell those as \u00NN.
std::string JsonString(std::string_view raw) {
  const std::string quoted = Quoted(raw);
  std::string out;
  for (std::size_t i = 0; i < quoted.size(); ++i) {
    if (quoted[i] == '\\' && i + 1 < quoted.size()) {
      if (quoted[i + 1] == 'x') { out += "\\u00"; ++i; continue; }
      out += quoted[i++];
    }
    out += quoted[i];
  }
  return out;
}

std::string JsonLine(Level level, std::string_view message, Fields fields, const Where& where) {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  char ts[48];
  std::snprintf(ts, sizeof ts, "{\"ts\":%lld.%03lld", static_cast<long long>(now / 1000), static_cast<long long>(now % 1000));
  static constexpr std::string_view kNames[] = {"debug", "info", "warning", "error"};
  std::string line = ts;
  line += ",\"level\":\"" + std::string(kNames[static_cast<int>(level)]) + "\",\"caller\":\"";
  line += BaseName(where.file_name());
  line += ':' + std::to_string(where.line()) + "\",\"msg\":" + JsonString(message);
  if (level <= Level::kInfo) line += level == Level::kInfo ? ",\"v\":0" : ",\"v\":4";
  for (const auto& f : fields) {
    line += ',' + JsonString(KeyOf(f)) + ':';
    line += f.quoted() ? JsonString(f.text()) : f.text();
  }
  return line + '}';
}

}  // namespace

void Init(const Options& options) {
  TheSink().level = options.level;
  TheSink().format = options.format;
}

bool Enabled(Level level) { return level >= TheSink().level.load(std::memory_order_relaxed); }

void Write(Level level, std::string_view message, Fields fields, const Where& where) {
  if (!Enabled(level)) return;
  auto& sink = TheSink();
  static constexpr std::string_view kPriorities[] = {"<7>", "<6>", "<4>", "<3>"};
  std::string line(sink.journal ? kPriorities[static_cast<int>(level)] : "");
  line += sink.format == Format::kJson ? JsonLine(level, message, fields, where) : TextLine(level, message, fields, where);
  sink.logger.log(spdlog::level::info, line);
}

}  // namespace berth::log
