// host/standard_streams.h: descriptors 0, 1 and 2, for the first line of main().
#pragma once

namespace berth::host {

// Takes the place of those that the caller closed (`program >&-`). Else the next file or socket that the program opens is its
// standard output, and what it says goes in there. Reading from and writing to such a one fails with EBADF, as if it were closed.
// Aborts when it cannot: nothing has a place to be told yet.
// A program that calls this has it called before the constructors of its libraries too, which open descriptors of their own: main()
// would be too late for a number that one of them has taken.
void KeepStandardStreams();

}  // namespace berth::host
