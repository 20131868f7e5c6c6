// explain/advise.h: from facts to one cause and one next step. A table, one row a cause; the first row that applies is it.
//
//   const Verdict verdict = Advise(facts);
//
// The order of the rows is the order in which a person can act (product 4.3): what is wrong with the name, with the Pod's
// policy and secrets, then what failed on the way, then what the registry said. `next` is one thing to do: a command, or an
// edit, that removes the cause when it is done as written (words in capitals are for the reader to fill in: a new password
// cannot be known). Pure functions, no I/O.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "explain/facts.h"

namespace berth::explain {

struct Next {
  std::string text;      // one sentence
  std::string command;   // one line for a shell; "" when the text is an edit
};

struct Verdict {
  std::string headline;  // "CANNOT PULL", "CAN PULL", "PRESENT", "WOULD PULL AGAIN", "PULLED", "WAITING"
  std::string cause;     // stable: the row's name, "password-rejected"; "" when nothing is wrong
  std::string code;      // "E-AUTH-401"; "" when nothing is wrong
  int exit_status = 0;   // of the CLI, product 4.3
  std::string sentence;  // lower case, no period
  Next next;
  bool ok() const { return code.empty(); }
};

Verdict Advise(const Facts& facts);

// The catalogue, for documentation and for the test that every row is reached.
struct CauseInfo {
  std::string_view cause;
  std::string_view code;  // "" when it is the failure's own
  std::string_view title; // "a Pod lists a secret that is in another namespace"
};
std::span<const CauseInfo> Causes();

}  // namespace berth::explain
