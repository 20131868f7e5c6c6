// apps/berth/cli.h: the command line: arguments in, exit status out.
//
// Statuses are product 4.3's: 0 done, 2 usage, 3 … 13 by cause, 124 --timeout, 130 and 143 by signal. Everything a command
// does goes through `world`, so that Run() can be called any number of times in one process (the tests do).
#pragma once

#include <string>
#include <vector>

#include "apps/berth/world.h"

namespace berth::cli {

// `arguments` without the program's name. Secrets among them are wiped from the copies that are kept here.
int Run(World& world, std::vector<std::string> arguments);

// Overwrites passwords in the process's own argument vector, where ps reads them.
void HideSecrets(int argc, char** argv);

}  // namespace berth::cli
