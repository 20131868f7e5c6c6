// apps/berth/cmd_admit.h: admit: objects as they would be stored, and why. No daemon, no cluster.
//
// stdout: the objects that were admitted, as YAML or as one JSON report with all changes; stderr: one line a change, warning and denial.
// A ResourceList comes out as a ResourceList (a KRM function). Only --pin talks to anybody: to the images' registries.
#pragma once

#include <string>
#include <vector>

#include "apps/berth/auth.h"
#include "apps/berth/session.h"

namespace berth::cli {

struct AdmitOptions {
  std::vector<std::string> files;   // none: stdin
  std::string profile = "Documented", as = "create", old, ns, defaults;  // defaults: "" or All, Policies, None
  bool always_pull = false, pin = false;
  AuthOptions auth;                 // for --pin, behind the objects' own pull secrets
};
// Exit status: 0; 2 for objects the API server would not take; 8 for those a policy denies; with --pin that of the registry's answer.
int Admit(Session& session, AdmitOptions options);

}  // namespace berth::cli
