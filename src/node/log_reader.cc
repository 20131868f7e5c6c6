#include "node/log_reader.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "host/fd.h"
#include "host/poll.h"
#include "kube/timestamp.h"

namespace berth::node {
namespace {

constexpr std::size_t kChunk = 64u << 10;
constexpr std::size_t kLine = 1u << 20;  // longer ones are passed on in pieces

Result<host::Fd> OpenLog(const std::string& path) {
  host::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return host::OsError(errno, "open the log " + path);
  return fd;
}

// Turns the file's bytes into what people read.
class Rendering {
 public:
  Rendering(const LogOptions& options, const LogSink& sink) : options_(options), left_(options.limit_bytes), sink_(sink) {}
  bool full() const { return left_ && *left_ <= 0; }

  Result<> Add(std::string_view bytes) {
    rest_ += bytes;
    std::size_t from = 0;
    for (;;) {
      const auto end = rest_.find('\n', from);
      if (end == rest_.npos) break;
      Line(std::string_view(rest_).substr(from, end - from));
      from = end + 1;
      if (out_.size() >= kChunk) RETURN_IF_ERROR(Flush());
    }
    rest_.erase(0, from);
    if (rest_.size() > kLine) {
      out_ += std::exchange(rest_, {});
    }
    return Flush();
  }

 private:
  void Line(std::string_view line) {
    const auto parsed = ParseCriLine(line);
    if (!parsed) {
      out_.append(line).append("\n");
      return;
    }
    if (options_.since && !begun_) {
      const auto at = kube::ParseTime(parsed->time);
      if (at && *at < *options_.since) return;
      begun_ = true;  // times only grow
    }
    if (options_.timestamps && !inside_) out_.append(parsed->time).append(" ");
    out_.append(parsed->text);
    inside_ = parsed->partial;
    if (!parsed->partial) out_ += '\n';
  }
  Result<> Flush() {
    if (left_) {
      if (out_.size() > static_cast<std::size_t>(std::max<std::int64_t>(*left_, 0)))
        out_.resize(static_cast<std::size_t>(std::max<std::int64_t>(*left_, 0)));
      *left_ -= static_cast<std::int64_t>(out_.size());
    }
    if (out_.empty()) return {};
    return sink_(std::exchange(out_, {}));
  }

  const LogOptions& options_;
  std::optional<std::int64_t> left_;
  const LogSink& sink_;
  std::string rest_, out_;
  bool inside_ = false;  // of a line in parts
  bool begun_ = false;   // `since` has come
};

// Where the last `lines` lines begin.
Result<off_t> TailOffset(int fd, off_t size, std::int64_t lines) {
  if (lines <= 0) return size;
  std::string block(kChunk, '\0');
  off_t end = size;
  std::int64_t seen = 0;
  while (end > 0) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(kChunk));
    const ssize_t n = ::pread(fd, block.data(), static_cast<std::size_t>(end - begin), begin);
    if (n <= 0) return n < 0 ? Result<off_t>(host::OsError(errno, "read a log")) : Result<off_t>(off_t{0});
    for (ssize_t i = n; i-- > 0;)
      // The break at the very end closes the last line.
      if (block[static_cast<std::size_t>(i)] == '\n' && begin + i + 1 < size && ++seen == lines) return begin + i + 1;
    end = begin;
  }
  return off_t{0};
}

Result<> Drain(const task::Context& ctx, int fd, Rendering& rendering) {
  std::string room(kChunk, '\0');
  for (;;) {
    RETURN_IF_ERROR(ctx.Check());
    const ssize_t n = ::read(fd, room.data(), room.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return host::OsError(errno, "read a log");
    if (n == 0 || rendering.full()) return {};
    RETURN_IF_ERROR(rendering.Add(std::string_view(room).substr(0, static_cast<std::size_t>(n))));
  }
}

bool Replaced(int fd, const std::string& path) {
  struct stat ours {}, theirs {};
  return ::fstat(fd, &ours) == 0 && ::lstat(path.c_str(), &theirs) == 0 && (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev);
}

}  // namespace

std::optional<CriLine> ParseCriLine(std::string_view line) {
  CriLine out;
  const auto word = [&]() -> std::optional<std::string_view> {
    const auto space = line.find(' ');
    if (space == line.npos) return std::nullopt;
    const auto w = line.substr(0, space);
    line.remove_prefix(space + 1);
    return w;
  };
  const auto time = word(), stream = word();
  if (!time || time->size() < 20 || !std::isdigit(static_cast<unsigned char>(time->front())) || (*time)[10] != 'T') return std::nullopt;
  if (!stream || (*stream != "stdout" && *stream != "stderr")) return std::nullopt;
  // Tags are separated by colons; the first says whether the line is whole.
  const auto space = line.find(' ');
  const auto tags = line.substr(0, space);
  const auto tag = tags.substr(0, tags.find(':'));
  if (tag != "F" && tag != "P") return std::nullopt;
  out.time = *time, out.stream = *stream, out.partial = tag == "P";
  out.text = space == line.npos ? std::string_view() : line.substr(space + 1);
  return out;
}

Result<> ReadLog(const task::Context& ctx, const std::string& path, const LogOptions& options, const std::stop_token& ended,
                 const LogSink& sink) {
  host::Fd notify;
  if (options.follow) {
    notify = host::Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    const std::string folder = path.substr(0, path.rfind('/') + 1);
    if (!notify.valid() || ::inotify_add_watch(notify.get(), folder.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
      return host::OsError(errno, "watch the log's folder");
  }
  ASSIGN_OR_RETURN(host::Fd fd, OpenLog(path));
  if (options.tail) {
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) return host::OsError(errno, "look at a log");
    ASSIGN_OR_RETURN(const off_t from, TailOffset(fd.get(), st.st_size, *options.tail));
    if (::lseek(fd.get(), from, SEEK_SET) < 0) return host::OsError(errno, "read a log");
  }
  Rendering rendering(options, sink);
  // Woken by the container's end or by the caller's, whichever is first.
  std::stop_source either;
  const std::stop_callback by_caller(ctx.stop(), [&] { either.request_stop(); });
  const std::stop_callback by_end(ended, [&] { either.request_stop(); });
  for (;;) {
    const bool last = !options.follow || ended.stop_requested();
    RETURN_IF_ERROR(Drain(ctx, fd.get(), rendering));
    if (rendering.full()) return {};
    if (Replaced(fd.get(), path)) {
      RETURN_IF_ERROR(Drain(ctx, fd.get(), rendering));  // what came before the rename
      ASSIGN_OR_RETURN(fd, OpenLog(path));
      continue;
    }
    if (last) return {};
    const auto ready = host::AwaitReadable(ctx.WithStop(either.get_token()), notify.get());
    if (!ready && !ready.error().cancelled()) return ready.error();
    RETURN_IF_ERROR(ctx.Check());
    alignas(inotify_event) char events[4096];
    while (::read(notify.get(), events, sizeof events) > 0) {}
  }
}

}  // namespace berth::node
