// apps/berth/json_path.h: -o jsonpath=TEMPLATE, as kubectl has it.
//
// Text with expressions in braces: {.a.b}, {.a['b','c']}, {.list[*]}, {.list[0]}, {.list[-1]}, {.list[1:3]}, {.list[::2]}, {.map.*},
// {..name}, {.list[?(@.x=="y")]}, {range .list[*]}…{end}, {"text\n"}, {@}, {$}. Several results are joined by blanks; maps and lists
// are compact JSON. What is not there prints nothing; an index behind the end, or into what is no list, is an error, as there.
// Beyond kubectl: in filters && and ||, and null; $ is the document inside of loops, too; a slice that reaches too far is cut; the
// index of a filter that only asks whether there is something may find nothing; numbers of both kinds compare.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "apps/berth/datum.h"

namespace berth::cli {

class JsonPath {
 public:
  struct Node;
  // kUsage, with the column.
  static Result<JsonPath> Parse(std::string_view source);
  Result<std::string> Print(const json::Tree& document, std::uint64_t work = kTemplateWork) const;

 private:
  std::shared_ptr<const Node> root_;
  std::string source_;
};

}  // namespace berth::cli
