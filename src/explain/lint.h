// explain/lint.h: what is wrong, or not what it looks like, with images, policies and pull secrets in Kubernetes objects.
//
// Reads what `berth apply -f` reads, before it is applied: Pods and everything with a Pod template, Secrets, ServiceAccounts. Findings in
// the order of the lines; each has a stable rule name. They quote names and keys, never values of Secrets.
//   invalid-image-name        the kubelet will say InvalidImageName               error
//   unknown-policy            imagePullPolicy is none of Kubernetes' words         error
//   secret-type               type and data of a pull secret do not agree          error
//   secret-malformed          its docker config is malformed                       error
//   pull-secret-not-a-pull-secret  a Pod lists a Secret of another type            error
//   pull-secret-not-here      a listed secret is not in this file                  note
//   pull-secret-other-namespace    it is in this file, in another namespace        error
//   pull-secret-no-match      none of the Pod's secrets in this file matches       warning
//   latest-if-not-present     :latest is not asked for again                       warning
//   no-tag                    a bare name means :latest                            warning
//   profiles-differ           digest and tag "latest" without a policy             note
//   never-needs-preload       Never, and a Pod on a fresh node fails               warning
//   never-with-secrets        Never does not use pull secrets                      note
//   digest-always             Always with a digest asks the registry for nothing   note
//   account-secrets-dropped   a Pod's own list hides its service account's         warning
//   and the rules of credentials/lint.h for the docker configs in Secrets, as "docker-config"
// Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "credentials/lint.h"
#include "credentials/match.h"
#include "result/result.h"

namespace berth::explain {

struct Finding {
  std::string file;
  int line = 1;
  credentials::LintFinding::Severity severity = credentials::LintFinding::Severity::kWarning;
  std::string rule;     // "latest-if-not-present"
  std::string object;   // "Pod shop/web"
  std::string field;    // "spec.containers[0].image"
  std::string message;  // what, and what to write instead
};

// kUsage: not YAML, not an object.
Result<std::vector<Finding>> LintObjects(std::string_view text, const std::string& file, const std::string& ns,
                                         credentials::Profile profile);

// Aligned, one line each, then "3 warnings, 2 errors".
std::string LintText(const std::vector<Finding>& findings);
// {"findings":[{"file","line","severity","rule","object","field","message"}],"notes":0,"warnings":1,"errors":0}
std::string LintJson(const std::vector<Finding>& findings);
// 0, 20 with warnings, 21 with errors (product 4.3).
int LintStatus(const std::vector<Finding>& findings);

}  // namespace berth::explain
