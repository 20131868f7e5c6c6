// apps/berth/list.h: --filter and --sort-by of lists of images. Pure.
//
// A filter is KEY=VALUE; an image is shown when all hold. What the list itself tells is judged here:
//   dangling=true|false   has no tag
//   pinned=true|false
//   reference=PATTERN     a name as fnmatch(3) has it ('*' goes over '/'): whole, without tag, or as people write it
//   registry=HOST         one of its names is of that registry
// What wants to know more is left to the caller: before=IMAGE, since=IMAGE (pulled); and to the daemon: label=KEY[=VALUE].
#pragma once

#include <google/protobuf/repeated_field.h>

#include <string>
#include <string_view>
#include <vector>

#include "berth/v1/berth.pb.h"
#include "result/result.h"

namespace berth::cli {

struct Filter {
  enum class Key : std::uint8_t { kDangling, kPinned, kReference, kRegistry, kBefore, kSince, kLabel } key;
  std::string value;
};
// kUsage with the keys there are, or what a key takes.
Result<std::vector<Filter>> ParseFilters(const std::vector<std::string>& texts);
// True for keys that are the caller's.
bool Holds(const Filter& filter, const v1::Image& image);

// To the nanosecond, with a berthd that tells them.
bool PulledBefore(const v1::Image& a, const v1::Image& b);

// "name", "size", …: members of the JSON.
const std::vector<std::string>& SortKeys();
// Ascending, by a key or "-" and a key (descending); equal ones stay in their order.
void SortImages(std::string_view key, google::protobuf::RepeatedPtrField<v1::Image>& images);

}  // namespace berth::cli
