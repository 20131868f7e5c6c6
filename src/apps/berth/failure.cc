#include "apps/berth/failure.h"

#include <algorithm>
#include <array>

#include "apps/berth/format.h"
#include "json/document.h"

namespace berth::cli {

Failure FromError(const Error& error) {
  return {std::string(error.info().code), error.Text(), error.next_step(), error.info().exit_status};
}

Failure At(std::string_view place, Failure failure) {
  if (!place.empty() && failure.message.find(place) == std::string::npos) failure.message.insert(0, std::string(place) + ": ");
  return failure;
}

std::string Lines(const Failure& failure, Colour colour) {
  const bool red = colour == Colour::kYes;
  std::string out = std::string(red ? "\x1b[31merror:\x1b[0m " : "error: ") + Escape(failure.code);
  if (!failure.message.empty()) out += " " + Escape(failure.message);
  out += "\n";
  if (!failure.next.empty()) out += "next: " + Escape(failure.next) + "\n";
  return out;
}

std::string JsonLine(const Failure& failure) {
  json::Writer w;
  w.BeginObject().Key("error").BeginObject();
  w.Key("code").String(failure.code).Key("message").String(failure.message).Key("next").String(failure.next);
  w.Key("exit_status").Int(failure.exit_status);
  w.EndObject().EndObject();
  return std::move(w).Take() + "\n";
}

int MostActionable(std::span<const int> statuses) {
  // Interrupted; what is wrong with this machine and command; then 4.3's order; then what nobody can do much about.
  constexpr std::array kOrder{143, 130, 124, 2, 12, 9, 6, 5, 10, 7, 4, 3, 8, 11, 13};
  int worst = 0;
  for (const int status : statuses)
    if (status != 0 && worst == 0) worst = status;
  for (const int candidate : kOrder)
    if (std::ranges::find(statuses, candidate) != statuses.end()) return candidate;
  return worst;
}

}  // namespace berth::cli
