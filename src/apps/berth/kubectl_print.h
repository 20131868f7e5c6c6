// apps/berth/kubectl_print.h: Kubernetes objects as kubectl prints them: tables, ages, `describe`.
//
// What is in the columns is kube/columns.h's; the layout here, also of `describe pod`, is kubectl's, so that fingers and scripts that
// know it find everything in its place. Pure functions; cells are escaped when they are printed (KubeTable).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kube/columns.h"
#include "kube/objects.h"
#include "time/clock.h"

namespace berth::cli {

using kube::Age;
using kube::HumanDuration;
using kube::LastSeen;
using kube::NameFor;

// Cells three blanks apart, as kubectl's tables. Rows that come later (--watch) fall into the columns of those before them.
class KubeTable {
 public:
  void Row(std::vector<std::string> cells);
  std::string Take();  // the rows since the last Take()

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> widths_;
};

// "po", "pod", "pods" -> "Pod"; "" for what we do not know.
std::string KindFor(std::string_view word);

struct PrintOptions {
  bool wide = false, all_namespaces = false;
  time::WallTime now{};
};
std::vector<std::string> HeadersFor(const std::string& kind, const PrintOptions& options);
std::vector<std::string> RowFor(const kube::Object& object, const PrintOptions& options);

// "21s (x5 over 3m10s)"
std::string Seen(const kube::Event& event, time::WallTime now);

std::string DescribePod(const kube::Pod& pod, const std::vector<kube::Event>& events, time::WallTime now);
std::string DescribeSecret(const kube::Secret& secret, const kube::Object& object);

}  // namespace berth::cli
