// apps/berth/kubectl_print.h: Kubernetes objects as kubectl prints them: tables, ages, `describe`.
//
// Column names, the STATUS of a Pod ("Init:0/1", "ErrImagePull", "Terminating", …), ages ("2m10s", "3d4h") and the layout of `describe pod`
// are kubectl's, so that fingers and scripts that know it find everything in its place. Pure functions; cells are escaped when they
// are printed (KubeTable).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kube/objects.h"
#include "time/clock.h"

namespace berth::cli {

// "21s", "2m10s", "9h", "2d3h"; "<unknown>" for no time.
std::string HumanDuration(time::Duration d);
std::string Age(const std::optional<time::WallTime>& then, time::WallTime now);

// Cells three blanks apart, as kubectl's tables. Rows that come later (--watch) fall into the columns of those before them.
class KubeTable {
 public:
  void Row(std::vector<std::string> cells);
  std::string Take();  // the rows since the last Take()

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> widths_;
};

struct PodRow {
  std::string ready, status, restarts;
};
PodRow SummarizePod(const kube::Pod& pod, time::WallTime now);

// "po", "pod", "pods" -> "Pod"; "" for what we do not know.
std::string KindFor(std::string_view word);
// "pod/web", "secret/regcred": how kubectl names an object.
std::string NameFor(std::string_view kind, std::string_view name);

struct PrintOptions {
  bool wide = false, all_namespaces = false;
  time::WallTime now{};
};
std::vector<std::string> HeadersFor(const std::string& kind, const PrintOptions& options);
std::vector<std::string> RowFor(const kube::Object& object, const PrintOptions& options);

// The time an Event was last seen; for ordering.
time::WallTime LastSeen(const kube::Event& event);
// "21s (x5 over 3m10s)"
std::string Seen(const kube::Event& event, time::WallTime now);

std::string DescribePod(const kube::Pod& pod, const std::vector<kube::Event>& events, time::WallTime now);
std::string DescribeSecret(const kube::Secret& secret, const kube::Object& object);

}  // namespace berth::cli
