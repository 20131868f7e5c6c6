// layer/exit_status.h: what the end of a worker without an answer says. Private to layer/.
#pragma once

namespace berth::layer {

inline constexpr int kAnswerLost = 2;  // it has one, and could not write it

}  // namespace berth::layer
