// registry/session.h: one repository, its hosts, and one answered request at one of them. Internal.
//
// Session::Exchange is a request with everything that belongs to asking *one* host: authentication, redirects, the
// loopback fall-back, the Attempt records. Which host is asked next, and when, is registry/route.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/client.h"
#include "registry/attempt.h"
#include "registry/authenticator.h"
#include "registry/engine.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::registry {

// An Attempt under way. Reported once: by Finish, or when it goes. Default-constructed: nothing to report.
class Record {
 public:
  Record() = default;
  Record(const AttemptSink& sink, const task::Context& ctx, Attempt attempt)
      : sink_(sink ? &sink : nullptr), clock_(&ctx.clock()), start_(clock_->SteadyNow()), attempt_(std::move(attempt)) {}
  Record(Record&& o) noexcept
      : sink_(std::exchange(o.sink_, nullptr)), clock_(o.clock_), start_(o.start_), attempt_(std::move(o.attempt_)) {}
  Record& operator=(Record&& o) noexcept;
  ~Record() { Finish(""); }

  Attempt& attempt() { return attempt_; }
  void Finish(std::string next);

 private:
  const AttemptSink* sink_ = nullptr;  // null: nobody listens, or done
  const time::Clock* clock_ = nullptr;
  time::SteadyTime start_{};
  Attempt attempt_;
};

// What trying one host brought, and the record of its last request, which waits for what is done next.
template <class T>
struct Tried {
  Result<T> result;
  Record record;
};

struct Ask {
  http::Method method = http::Method::kGet;
  std::string path;    // below the repository: "manifests/v1"
  std::string what;    // "manifest v1"
  std::string accept;  // "" = none sent
  std::optional<std::uint64_t> from;  // Range: bytes=from-
  std::string query = {};             // of a page, from a Link of the same host
};

class Session;

class Host {
 public:
  Host(Session& session, HostEndpoint endpoint);

  const HostEndpoint endpoint;
  const std::string id;   // for what is remembered about it: base URL and `ns`
  Authenticator auth;

  http::Url Base() const;  // in the scheme that it is known to speak
  std::string Name() const { return Base().origin().ToString(); }

 private:
  Engine& engine_;
};

class Session {
 public:
  Session(Engine& engine, const reference::Reference& reference, std::vector<credentials::Credential> credentials, AttemptSink sink);

  // Reads the configuration at the first call; its error stays.
  Result<std::vector<Host*>> Hosts();
  // How long connecting to it may take.
  time::Duration ConnectLimit(const Host& host) const;
  // Headers of a 200, 203 or 206. Every other status is an error; its body has been looked at for the registry's code only.
  Tried<std::unique_ptr<http::Response>> Exchange(const task::Context& ctx, Host& host, const Ask& ask);
  Record Begin(const task::Context& ctx, const Host& host, std::string at, http::Method method, std::string what,
               std::string credential) const;

  // Which hosts gave bytes of a blob; asking empties the list.
  void Contributed(const digest::Digest& digest, const Host& host);
  std::set<std::string> TakeContributors(const digest::Digest& digest);
  // A host limits our rate, or failed and said for how long: nobody of this pull asks it again before. When the time has come
  // one does, and the others wait for what it is told: one request for each wait (P13). False: it has told `rounds` of them so,
  // with no other answer between, and is not asked any more.
  // A wait of nothing does not count.
  bool HoldOff(const Host& host, time::SteadyTime until, time::Duration wait, const Error& told);
  int Round(const Host& host) const;  // which wait in a row, from 0, one that HoldOff() is told of now would be
  struct Held {
    time::SteadyTime until;          // the epoch: go on
    std::stop_token over;            // stopped when the host gave an answer before that
    std::optional<Error> told = {};  // why, when it is not our own wait
    bool spent = false;              // not asked any more, for that reason
    // Another host may be asked meanwhile, which would only move the load of one that limits our rate.
    bool failing() const { return !spent && told && told->reason() != Reason::kRateLimited; }
  };
  Held HeldOff(const Host& host, time::SteadyTime now);
  void Answered(const Host& host);  // something else than that
  // What `place` wants users to know; each text once, kMostWarnings of them, and none that holds a secret of ours.
  std::vector<std::string> NewWarnings(const std::string& place, const http::Response& response, const secret::Secret* sent);
  std::vector<credentials::Credential> ForMirror(const Host& host) const;
  void Worked(const credentials::Credential& credential);
  const credentials::Credential* used() const;

  Engine& engine;
  const reference::Reference reference;
  const std::string name;  // "reg.test:5000/team/app", for messages
  const std::vector<credentials::Credential> credentials;

 private:
  Error StatusError(const task::Context& ctx, const Host& host, const Ask& ask, const http::Response& response,
                    const std::string& code) const;

  const AttemptSink sink_;
  mutable std::mutex mutex_;
  const credentials::Credential* used_ = nullptr;     // guarded by mutex_
  std::vector<std::unique_ptr<Host>> hosts_;          // guarded by mutex_ until filled, then constant
  std::optional<Error> hosts_error_;                  // guarded by mutex_
  static constexpr std::size_t kMostWarnings = 16;
  std::set<std::pair<std::string, std::string>> warnings_;        // guarded by mutex_: place and text
  struct Hold {
    time::SteadyTime until;
    time::Duration wait;
    Error told;
    int periods = 0;     // in a row that began with such an answer
    bool asked = false;  // by the one whose answer the others wait for
    bool spent = false;
    std::stop_source over;
  };
  std::map<const Host*, Hold> holds_;                             // guarded by mutex_
  std::map<digest::Digest, std::set<std::string>> contributors_;  // Host::id; guarded by mutex_
};

// The registry's error code if it is one of the specification's, "other" for any other, "" when there is none. Pure.
std::string ErrorCodeOf(std::string_view body);

}  // namespace berth::registry
