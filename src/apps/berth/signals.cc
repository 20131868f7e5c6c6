#include "apps/berth/signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "host/poll.h"

namespace berth::cli {

Signals::Signals() {
  signal(SIGPIPE, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  struct sigaction old {};
  // A shell without job control starts background programs with SIGINT ignored: leave that as it is.
  if (sigaction(SIGINT, nullptr, &old) == 0 && old.sa_handler != SIG_IGN) sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  fd_.reset(signalfd(-1, &set, SFD_CLOEXEC));
  if (fd_.valid()) watcher_ = std::jthread([this](const std::stop_token& done) { Watch(done); });
  else pthread_sigmask(SIG_UNBLOCK, &set, nullptr);  // then signals simply end us
}

void Signals::Watch(const std::stop_token& done) {
  const task::Context ctx(done);
  while (host::AwaitReadable(ctx, fd_.get())) {
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof info) != sizeof info) continue;
    if (caught_.exchange(static_cast<int>(info.ssi_signo)) != 0) _exit(status());
    stop_.request_stop();
  }
}

}  // namespace berth::cli
