// apps/berth/cmd_objects.h: the verbs kubectl has for objects: apply, get, describe, delete, events, logs, secret.
//
// Words, flags and what is printed are kubectl's; failures are ours (code, next step, exit status).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/berth/session.h"

namespace berth::cli {

struct ObjectOptions {
  std::vector<std::string> words;       // "pods", "pod" "web", "pod/web"
  std::vector<std::string> files;       // -f: files, folders, "-"
  std::string ns;                       // -n; "" means default
  bool all_namespaces = false, watch = false;
  std::string selected;                 // events --for pod/web
  std::string grace;                    // delete --grace-period
  bool now = false, force = false, no_wait = false;
};
int ApplyObjects(Session& session, const ObjectOptions& options);
int GetObjects(Session& session, const ObjectOptions& options);
int DescribeObjects(Session& session, const ObjectOptions& options);
int DeleteObjects(Session& session, const ObjectOptions& options);
int Events(Session& session, const ObjectOptions& options);

struct LogsOptions {
  std::vector<std::string> words;       // POD, CONTAINER
  std::string ns, container, tail;
  bool follow = false, previous = false, timestamps = false;
};
int Logs(Session& session, const LogsOptions& options);

struct SecretOptions {
  std::vector<std::string> words;       // "create" "docker-registry" NAME
  std::string ns, server, username, password, email, from_file;
  bool append_hash = false, password_stdin = false, dry_run = false;
};
int CreateSecret(Session& session, SecretOptions options);

}  // namespace berth::cli
