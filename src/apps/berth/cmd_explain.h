// apps/berth/cmd_explain.h: why: explain, probe, creds, lint.
//
// explain and probe ask the daemon; `creds match`, `creds lint` and `lint` need none. A report whose verdict is a failure gives the exit
// status of that failure (product 4.3); the report itself is data, on stdout.
#pragma once

#include <string>
#include <vector>

#include "apps/berth/auth.h"
#include "apps/berth/session.h"

namespace berth::cli {

struct ExplainOptions {
  std::vector<std::string> words;   // IMAGE, pod/NAME; of creds: match IMAGE, test [SECRET] IMAGE, lint [FILE…]
  std::vector<std::string> files;   // -f
  std::vector<std::string> admission;  // with -f: preview these
  std::string ns, policy;
  bool last = false;                // from the journal
  AuthOptions auth;
  std::string config, profile = "Documented", username;  // creds
};
// stdout: the reports. -o json: one object for an image, an array for a Pod or a file; -o jsonl: one a line.
int Explain(Session& session, ExplainOptions options);
int Probe(Session& session, ExplainOptions options);
// match: exit status 0 when an entry is for the image, else 1. test: that of the answer. lint: 20 with warnings, 21 with errors.
int Creds(Session& session, ExplainOptions options);
int Lint(Session& session, const ExplainOptions& options);

}  // namespace berth::cli
