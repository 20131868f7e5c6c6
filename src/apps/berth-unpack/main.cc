// berth-unpack: the jailed worker that turns a layer's blob into an EROFS image. Started by berthd, never by people.
#include <unistd.h>

#include <cstdio>

#include "layer/worker.h"

int main(int argc, char**) {
  if (argc > 1 || isatty(STDIN_FILENO)) {
    std::fputs("berth-unpack is a part of berthd and is started by it: see layer/worker.h\n", stderr);
    return 64;
  }
  return berth::layer::WorkerMain();
}
