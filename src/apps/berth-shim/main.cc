// berth-shim: the small process beside each container, which outlives the daemon. Verbs and files:
// launch/shim.h.
#include <stdio.h>
#include <string.h>

#include "apps/berth-shim/kernel.h"

int main(int argc, char** argv) {
  using namespace berth::shim;
  if (argc == 1 && strcmp(argv[0], "pause") == 0) return Pause();
  int status = 64;
  if (argc > 1 && strcmp(argv[1], "run") == 0)
    status = Run(argc - 2, argv + 2);
  else if (argc > 1 && strcmp(argv[1], "sandbox") == 0)
    status = Sandbox(argc - 2, argv + 2);
  else if (argc > 1 && strcmp(argv[1], "view") == 0)
    status = View(argc - 2, argv + 2);
  if (status == 64) fputs("berth-shim is a part of berthd and is started by it: see launch/shim.h\n", stderr);
  return status;
}
