// cmake/tsan_protobuf.h: read before all else by what uses berth_proto under the thread sanitizer.
//
// <google/protobuf/map_field.h> gives every map two more members when __SANITIZE_THREAD__ is defined. The distribution's
// libprotobuf and the generated code, both not instrumented, do not have them: every map would lie 8 bytes further in our eyes.
#pragma once
#include <memory>  // the C++ library has to see the macro

#pragma push_macro("__SANITIZE_THREAD__")
#undef __SANITIZE_THREAD__
#include <google/protobuf/map_field.h>
#pragma pop_macro("__SANITIZE_THREAD__")
