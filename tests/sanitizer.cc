// tests/sanitizer.cc: how the sanitizers' runtimes report, in every program of such a build.
//
// A program of ours is often the child of another, with nothing of its environment and its stderr nowhere. So the options are compiled
// in, and each report is a file in REPORTS/, which is empty after tests that found nothing (./dev asan, ./dev tsan look). The unpack
// worker cannot open files in its jail: it opens its own first, as its stderr (empty ones mean nothing).
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>

namespace {

// Called as the runtime starts, which has not yet found the functions that it wraps (readlink, memcmp).
template <std::size_t kSize>
bool IsProgram(const char (&name)[kSize]) {
  char path[4096];
  const long size = ::syscall(SYS_readlink, "/proc/self/exe", path, sizeof path), length = kSize - 1;
  for (long i = 0; i < length; ++i)
    if (size < length || path[size - length + i] != name[i]) return false;
  return true;
}
bool IsJailed() { return IsProgram("/berth-unpack"); }

[[gnu::constructor]] void OpenReport() {
  if (!IsJailed()) return;
  char path[4096];
  std::snprintf(path, sizeof path, BERTH_REPORTS "/report.berth-unpack.%d", static_cast<int>(::getpid()));
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (fd < 0) return;
  ::dup2(fd, STDERR_FILENO);
  ::close(fd);
}

}  // namespace

#define BERTH_OPTIONS "log_exe_name=1:"
#define BERTH_LOG "log_path=" BERTH_REPORTS "/report"

extern "C" {
[[gnu::visibility("default")]] const char* __asan_default_options() {  // NOLINT: these names are the runtimes'
#define BERTH_ASAN BERTH_OPTIONS "detect_stack_use_after_return=1:strict_init_order=1:check_initialization_order=1:"
  // Whoever starts process 1 of a pid namespace can look for leaks no more: he would wait for ever for a helper that is born in there.
  if (IsProgram("/berth-shim")) return BERTH_ASAN BERTH_LOG ":detect_leaks=0";
  return IsJailed() ? BERTH_ASAN : BERTH_ASAN BERTH_LOG;
}
[[gnu::visibility("default")]] const char* __ubsan_default_options() {
  return "print_stacktrace=1";
}
[[gnu::visibility("default")]] const char* __tsan_default_options() {
#define BERTH_TSAN BERTH_OPTIONS "second_deadlock_stack=1:suppressions=" BERTH_SUPPRESSIONS ":"
  // The worker ends as soon as one of its threads knows the verdict; nobody is left to join the others.
  return IsJailed() ? BERTH_TSAN "report_thread_leaks=0" : BERTH_TSAN BERTH_LOG;
}
}
