// result/testing/dirs.h: where the sources and this build are, for tests that read documents or start programs.
//
// Known to one generated file only, so that all others are the same in every folder, and a compiler cache has them.
#pragma once

namespace berth::result::testing {

extern const char* const kSourceDir;
extern const char* const kBinaryDir;

}  // namespace berth::result::testing
