#include "apps/berth/cli.h"
#include "apps/berth/signals.h"
#include "host/standard_streams.h"

int main(int argc, char** argv) {
  berth::host::KeepStandardStreams();
  berth::cli::Signals signals;
  berth::cli::World world = berth::cli::RealWorld();
  world.stop = signals.stop();
  world.interrupted_status = [&] { return signals.status(); };
  std::vector<std::string> arguments(argv + 1, argv + argc);
  berth::cli::HideSecrets(argc, argv);
  return berth::cli::Run(world, std::move(arguments));
}
