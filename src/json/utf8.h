// json/utf8.h: where well-formed UTF-8 sequences end.
#pragma once

#include <cstddef>
#include <string_view>

namespace berth::json {

// Length of the well-formed sequence at the start of `s` (Unicode table 3-7: no surrogates, nothing overlong, at most
// U+10FFFF); 0 when there is none.
std::size_t Utf8SequenceLength(std::string_view s);

}  // namespace berth::json
