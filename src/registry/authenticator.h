// registry/authenticator.h: what one host wants to see, and which credential it gets. Internal.
//
// One per host and Repository; used by all threads of the pull. A state machine: nothing sent -> challenge met with the
// first credential -> refused: a new token, then the next credential, ... -> exhausted. Each change is a new turn; an
// answer to an earlier turn changes nothing, so that ten refused layers cost one new token, not ten.
//
// A challenge out of the memory (registry/token_cache.h) is hearsay: it may be of another repository or another day. What is
// refused on its word alone is judged only after the host was asked once without authorization, so that what other pulls did
// before decides nothing but the number of requests. Likewise a token out of the cache may be older than the rights of its
// user: when it is denied access (403), a new one is tried.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "credentials/credential.h"
#include "http/client.h"
#include "registry/challenge.h"
#include "registry/token_cache.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::registry {

class Host;
class Session;

class Authenticator {
 public:
  struct Authorization {
    std::optional<secret::Secret> header;
    SharedToken token;                                    // when the header was made of one
    const credentials::Credential* credential = nullptr;  // nullptr: anonymous
    std::uint64_t turn = 0;
    std::string description = "anonymous";
  };

  // For a mirror the credentials come from `for_mirror`, at the first refusal.
  Authenticator(Session& session, Host& host, std::function<std::vector<credentials::Credential>()> for_mirror);

  // The header for the next request; fetches a token when one is needed.
  Result<Authorization> Prepare(const task::Context& ctx);
  // The host answered 401 or 403. What we do about it ("authenticate", "new token", "next credential: …"), or why
  // nothing is left to do. A 403 with a challenge, to a request without authorization, asks for credentials as a 401 does.
  // `expired`: it says that the login is over, as ECR does with 403.
  Result<std::string> Refused(const http::Response& response, const Authorization& used, bool expired = false);
  void Accepted(const http::Response& response, const Authorization& used);
  // Every further request would end in the same error, unsent.
  bool exhausted();

 private:
  using Candidates = std::vector<const credentials::Credential*>;
  const Candidates& All();                        // never empty; REQUIRES: mutex_ held
  bool Advance();                                 // to the next credential; REQUIRES: mutex_ held
  void AskAnew();                                 // without authorization what the host wants; REQUIRES: mutex_ held
  Error Exhausted(int status, bool expired = false);  // REQUIRES: mutex_ held
  Result<SharedToken> FetchToken(const task::Context& ctx, const Challenge& challenge, const credentials::Credential* credential,
                                 const SharedToken& stale, const std::string& address, bool& fetched) const;
  Session& session_;
  Host& host_;
  const std::function<std::vector<credentials::Credential>()> for_mirror_;

  std::mutex mutex_;  // guards all below
  std::vector<credentials::Credential> own_;  // of a mirror
  Candidates candidates_;
  std::size_t current_ = 0;
  std::uint64_t turn_ = 0;
  std::optional<Challenge> challenge_;
  std::string address_;        // of the server that made it
  bool recalled_ = false;      // the memory was asked
  bool remembered_ = false;    // the memory holds challenge_
  bool hearsay_ = false;       // it came from there, and no answer to us has confirmed it
  // What was refused on hearsay. When the host does want that, current_ is done with, and not sent a second time.
  struct Verdict {
    Challenge challenge;
    int status = 0;
    std::optional<Error> error = std::nullopt;  // of the token service
  };
  std::optional<Verdict> verdict_;
  bool accepted_ = false;      // current_ has worked
  SharedToken stale_;          // refused
  SharedToken fetched_;        // the last one made for us, as opposed to found in the cache
  int refused_ = 0;            // answers to current_, in a row
  std::optional<Error> exhausted_;
};

}  // namespace berth::registry
