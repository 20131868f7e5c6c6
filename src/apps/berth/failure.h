// apps/berth/failure.h: how the command line fails: code, one sentence, next step, exit status.
//
// The same four values whether the failure is ours (an Error) or the daemon's (the Failure message in the trailer of a
// call): a client older than its daemon shows codes it has never heard of as they came. Text of the daemon is escaped.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "result/result.h"

namespace berth::cli {

struct Failure {
  std::string code;     // "E-AUTH-401"
  std::string message;  // one line, the place first
  std::string next;     // may be empty
  int exit_status = 1;
};

Failure FromError(const Error& error);
// Puts "PLACE: " in front, unless the message names the place already.
Failure At(std::string_view place, Failure failure);

enum class Colour : bool { kNo, kYes };
// "error: E-CODE place: sentence\nnext: what to do\n"
std::string Lines(const Failure& failure, Colour colour);
// {"error":{"code":…,"message":…,"next":…,"exit_status":…}} and a line break.
std::string JsonLine(const Failure& failure);

// The exit status of several attempts (product 4.3): 0 when all are 0, else the one a person should act on first.
int MostActionable(std::span<const int> statuses);

}  // namespace berth::cli
