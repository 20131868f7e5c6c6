// kube/columns.h: the columns in which people see objects: `kubectl get` and `berth get` print the same.
//
// Names, order, types and priorities are those of Kubernetes' server-side printing; the STATUS of a Pod ("Init:0/1", "ErrImagePull",
// "Terminating", …), RESTARTS and ages ("2m10s", "3d4h") follow its rules. Pure functions; cells are not escaped.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "json/tree.h"
#include "kube/objects.h"
#include "time/clock.h"

namespace berth::kube {

// "21s", "2m10s", "9h", "2d3h"; of no time "<unknown>".
std::string HumanDuration(time::Duration d);
std::string Age(const std::optional<time::WallTime>& then, time::WallTime now);

struct PodRow {
  std::string ready, status, restarts;
};
PodRow SummarizePod(const Pod& pod, time::WallTime now);

// "pod/web", "secret/regcred": how kubectl names an object.
std::string NameFor(std::string_view kind, std::string_view name);

// The time an Event was last seen; for ordering.
time::WallTime LastSeen(const Event& event);

struct Column {
  std::string_view name;         // "Nominated Node"
  std::string_view type;         // "string", "integer", "date"
  bool is_name = false;
  int priority = 0;              // 1: `-o wide` only
};
// Of a kind that we speak; name and age for one that we do not.
std::span<const Column> ColumnsOf(std::string_view kind);
// One for each column: texts, and numbers where the column is of integers.
std::vector<json::Tree> CellsOf(const Object& object, time::WallTime now);

}  // namespace berth::kube
