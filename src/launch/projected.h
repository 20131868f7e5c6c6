// launch/projected.h: the files of secret, configMap, downwardAPI and projected volumes, for launch/ only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "host/dir.h"
#include "kube/objects.h"
#include "launch/sources.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::launch {

struct ProjectedFile {
  secret::Secret contents;   // wiped, whatever it is
  std::uint32_t mode = 0644;
};
using ProjectedFiles = std::map<std::string, ProjectedFile>;  // by relative path

// What a volume shall show now. A later source wins over an earlier one at the same path.
Result<ProjectedFiles> CollectFiles(const PodFacts& facts, const kube::Volume& volume, const ConfigSource& objects);

// Makes `dir` show exactly these files, in one step for readers (launch/volumes.h). Returns whether anything changed; leftovers of an
// attempt that was cut off are removed. Names in `dir` that do not begin with ".." and are no links into ..data are not touched.
Result<bool> WriteAtomically(const task::Context& ctx, const host::Dir& dir, const ProjectedFiles& files,
                             std::optional<std::uint32_t> fs_group);

}  // namespace berth::launch
