// apps/berth/go_template.h: -o go-template=TEMPLATE, the part of Go's text/template that people use.
//
// Fields ({{.a.b}}), $ and variables, pipelines, parentheses; if/else if/else, range (lists, and maps sorted by key; with $i, $e :=;
// else, break, continue), with; quoted, raw and character texts, numbers, true, false, nil; {{- -}} and {{/* */}}.
// Functions: and or not eq ne lt le gt ge len index print printf println json.
// What is not there, and null, prints <no value>, fields of it too (Go stops at a field of null). Maps and lists are compact JSON, where
// Go writes map[a:1]. Integers and floats compare. %f takes integers, too. A variable that one list of a block declares is an unknown
// one in the other at once (in Go when it comes there).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "apps/berth/datum.h"

namespace berth::cli {

class GoTemplate {
 public:
  struct Statement;
  // kUsage, with the column.
  static Result<GoTemplate> Parse(std::string_view source);
  Result<std::string> Print(const json::Tree& document, std::uint64_t work = kTemplateWork) const;

 private:
  std::shared_ptr<const std::vector<Statement>> body_;
  std::string source_;
};

// Go's fmt.Sprintf of these values; nullopt when a width or a precision is above 1,000.
std::optional<std::string> GoPrintf(std::string_view format, const std::vector<Datum>& arguments);

}  // namespace berth::cli
